"""Knows what an instance can be started with and what each setting may be; not how one is started."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from attrs import Attribute, field, frozen, validators

from brokersim.net.discovery import NAME
from brokersim.protocol.decoded import JsonObject
from brokersim.protocol.errnums import RequestError
from brokersim.protocol.resources import Resources
from brokersim.protocol.settings import ClockKind, check_hook, check_jobs
from brokersim.routing.attributes import check_start

#: Modules of an instance that is not told otherwise, in load order.
DEFAULT_MODULES = (
    "heartbeat", "content-cache", "content-sqlite", "kvs", "kvs-watch", "cron", "resource", "job-manager", "job-ingest",
    "job-list", "job-info", "sched", "job-exec",
)  # fmt: skip
#: 2^16 ranks of one process each hold a few kB; more is a typing error rather than an experiment.
MAX_SIZE = 65536


class StartError(Exception):
    """The instance cannot start, for a reason a person can mend; ``code`` is what its process ends with."""

    def __init__(self, what: str, *, hint: str = "", code: int = 1) -> None:
        super().__init__(what)
        self.hint = hint
        self.code = code


def check_clock(text: str) -> str:
    """``real``, ``virtual`` or ``real*N``. Raises ValueError that says so."""
    ClockKind.parse(text)
    return text


def check_stats(text: str) -> str:
    """``HOST:PORT`` of a statsd server, ``serve`` or ``mem:`` (kept in process), and words. Raises ValueError."""
    from brokersim.statsd_server.option import (
        parse_stats,
    )  # a sixth of what an instance imports, and most have none

    parse_stats(text)
    return text


def check_resources(text: str) -> str:
    """``N``, ``NxC`` or ``NxCxG``: nodes, cores and gpus. Raises ValueError that says so."""
    Resources.parse(text)
    return text


def _within(low: int, high: int) -> Any:
    def check(_instance: object, attribute: Attribute[int], value: int) -> None:
        if not low <= value <= high:
            raise ValueError(f"{attribute.name} must be {low} to {high}, not {value}")

    return check


def _checked_by(check: Any) -> Any:
    return lambda _instance, _attribute, value: check(value)


def _check_modules(_instance: object, _attribute: Attribute[Any], names: tuple[str, ...]) -> None:
    for name in names:
        if not name.strip() or name != name.strip():
            raise ValueError(f"not a module list: {','.join(names)!r} has an empty name; give a,b,c or none")
    twice = [name for name in dict.fromkeys(names) if names.count(name) > 1]
    if twice:
        raise ValueError(f"module {twice[0]!r} is listed twice; load the second with: module load -n NAME")


def _check_attrs(_instance: object, _attribute: Attribute[Any], attrs: dict[str, str]) -> None:
    for name, value in attrs.items():
        try:
            check_start(name, value)
        except RequestError as error:
            raise ValueError(error.text) from None


def _check_path(_instance: object, _attribute: Attribute[Any], folders: tuple[Path, ...]) -> None:
    for folder in folders:
        if not folder.is_dir():
            raise ValueError(f"module path {str(folder)!r} is not a folder")


def _check_command(_instance: object, _attribute: Attribute[Any], command: tuple[str, ...] | None) -> None:
    if command is not None and not (command and command[0]):
        raise ValueError("the command after -- is empty; leave -- away for a shell")


def _check_name(_instance: object, _attribute: Attribute[Any], name: str | None) -> None:
    if name is not None and NAME.fullmatch(name) is None:
        raise ValueError(f"not a name: {name!r}; give up to 32 of letters, digits, '_', '.', '-'")


@frozen(kw_only=True)
class StartOptions:
    """Everything one instance is started with, checked. Building it raises ValueError naming the bad setting.

    ``command`` is run inside the instance; with ``None`` a shell is, or nothing if ``detach``. ``state_dir``
    keeps content between runs (none: in memory); ``run_dir`` holds the sockets (none: chosen at start);
    ``name`` is what the instance is called (none: drawn).
    ``attrs`` and ``conf`` become broker attributes and configuration values.
    """

    size: int = field(default=1, validator=_within(1, MAX_SIZE))
    fanout: int = field(default=2, validator=_within(1, MAX_SIZE))
    clock: str = field(default="real", validator=_checked_by(check_clock))
    seed: int = field(default=0, validator=_within(0, 2**64 - 1))
    hook: str = field(default="prepare", validator=_checked_by(check_hook))
    stats: str | None = field(default=None, validator=validators.optional(_checked_by(check_stats)))
    aggregator: str | None = None
    modules: tuple[str, ...] = field(default=DEFAULT_MODULES, validator=_check_modules)
    module_path: tuple[Path, ...] = field(default=(), validator=_check_path)
    attrs: dict[str, str] = field(factory=dict, validator=_check_attrs)
    conf: JsonObject = field(factory=dict)
    resources: str = field(default="1x4", validator=_checked_by(check_resources))
    jobs: str = field(default="", validator=_checked_by(check_jobs))
    state_dir: Path | None = None
    run_dir: Path | None = None
    name: str | None = field(default=None, validator=_check_name)
    detach: bool = False
    command: tuple[str, ...] | None = field(default=None, validator=_check_command)

    @property
    def spins(self) -> bool:
        """The modules will never sleep: an idle watcher stays active and time does not jump."""
        return self.hook == "idle" and self.clock != "virtual"
