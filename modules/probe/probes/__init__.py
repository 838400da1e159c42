"""Knows which probes there are by name, and whether a configuration fits one."""

from __future__ import annotations

import difflib
from collections.abc import Mapping
from typing import Any, Final

from ..contract import Probe
from ..faults import Gathered
from .command import Command, Nagios
from .cpu import Cpu
from .disk import Disk
from .isolated import Execd, Isolated
from .mem import Mem
from .messages import Module, Ping
from .net import Net
from .netlogger import NetLogger
from .numa import Numa
from .pressure import Pressure
from .process import Process
from .replay import Dummy, Replay

PROBES: Final[dict[str, type[Probe]]] = {
    "command": Command,
    "cpu": Cpu,
    "disk": Disk,
    "dummy": Dummy,
    "execd": Execd,
    "mem": Mem,
    "module": Module,
    "nagios": Nagios,
    "net": Net,
    "netlogger": NetLogger,
    "numa": Numa,
    "ping": Ping,
    "pressure": Pressure,
    "process": Process,
    "replay": Replay,
}


def find(name: str) -> type[Probe]:
    """A probe by its name. Raises ValueError that names the nearest."""
    probe = PROBES.get(name)
    if probe is None:
        raise ValueError(f"no probe {name!r:.40}{_near(name, PROBES)}")
    return probe


def made(name: str, is_isolated: bool) -> Probe:
    """A probe to open: itself, or what asks a process in which it is."""
    return Isolated(name) if is_isolated else find(name)()


def checked(name: str, config: Mapping[str, Any]) -> dict[str, Any]:
    """A probe's configuration as it is used. Raises ValueError that names the keys and what would be right."""
    probe = find(name)
    fine: dict[str, Any] = {}
    if not isinstance(config, Mapping):
        raise ValueError(f"probe {name}: config must be an object, not {config!r:.40}")
    found = Gathered()
    for key, value in config.items():
        fine[key] = found.of(_option, probe, name, key, value)
    found.faults += [f"probe {name}: {key} is missing" for key in probe.required if key not in fine]
    found.tell()
    try:
        probe.check(fine)
    except ValueError as error:
        raise ValueError(f"probe {name}: {error}") from None
    return fine


def _option(probe: type[Probe], name: str, key: str, value: Any) -> Any:
    if key not in probe.options:
        raise ValueError(f"probe {name}: no key {key!r:.40}{_near(key, probe.options)}")
    return _typed(name, key, value, probe.options[key])


def _typed(name: str, key: str, value: Any, default: Any) -> Any:
    """The value, if it is what the default is: a list may be said with commas, a number may be whole."""
    kind = type(default)
    if isinstance(default, float) and type(value) is int:
        return float(value)
    if isinstance(default, list) and isinstance(value, str):
        return value.split(",")
    if isinstance(default, str) and type(value) in (int, float):
        return str(value)
    if default is not None and type(value) is not kind:
        raise ValueError(f"probe {name}: {key} must be {_KINDS[kind]}, not {value!r:.40}")
    return value


_KINDS: Final[dict[type, str]] = {
    bool: "true or false", int: "a whole number", float: "a number", str: "text", list: "a list", dict: "an object"
}  # fmt: skip


def _near(word: str, known: Mapping[str, Any]) -> str:
    near = difflib.get_close_matches(str(word), known, n=1)
    return f"; is {near[0]} meant?" if near else f"; there is {', '.join(known) or 'none'}"
