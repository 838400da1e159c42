"""Knows what a test's instances are to be: options of the command line, the test's marker, and what its run keeps.

Doesn't know how a test is run. brokersim (and with it trio) is imported when a test first wants it.
"""

from __future__ import annotations

import functools
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from brokersim.protocol.decoded import JsonObject

if TYPE_CHECKING:
    from brokersim.reactor.clock import VirtualClock
    from brokersim.testing import StatsSink, TestOptions
    from brokersim.testing.fixtures import TestInstances

#: Parameters that options of ours add to a test.
_OURS = ("_brokersim_hook", "_brokersim_flux")
_INSTANCES: pytest.StashKey[TestInstances] = pytest.StashKey()
_CLOCK: pytest.StashKey[VirtualClock] = pytest.StashKey()


def check_options(config: pytest.Config) -> None:
    """A wrong option is told once, before anything runs."""
    given = given_options(config)
    if given.get("hook") == "all":
        del given["hook"]
    if not given:
        return
    from brokersim.testing import merged

    for name, value in given.items():
        try:
            merged({name: value})
        except (ValueError, TypeError) as error:
            raise pytest.UsageError(f"--brokersim-{name}: {error}") from None


def given_options(config: pytest.Config) -> JsonObject:
    values = {name: config.getoption(f"brokersim_{name}") for name in ("hook", "transport", "clock", "seed")}
    return {name: value for name, value in values.items() if value is not None}


def instances(item: pytest.Function) -> TestInstances:
    """What there is once a test: its sink, and the instances that are open."""
    found = item.stash.get(_INSTANCES, None)
    if found is None:
        from brokersim.testing.fixtures import TestInstances

        found = item.stash[_INSTANCES] = TestInstances(
            options=functools.partial(options, item),
            sink=new_sink(item),
            snapshots=functools.partial(snapshot, item),
        )
    return found


def new_sink(item: pytest.Function) -> StatsSink:
    from brokersim.testing import StatsSink, StatsUdp

    return StatsUdp() if "stats_udp" in item.fixturenames else StatsSink()


def options(item: pytest.Function, **more: object) -> TestOptions:
    """Command line, then marker, then arguments. Raises pytest.UsageError that names the bad setting."""
    from brokersim.testing import merged

    config = item.config
    line = {**given_options(config), "hook": hook(item)}
    marked: JsonObject = {}
    for marker in reversed(list(item.iter_markers("brokersim"))):
        marked |= marker.kwargs
    if is_flux(item):
        more["clock"] = "real"
    try:
        return merged({name: value for name, value in line.items() if value is not None} | marked, more)
    except (ValueError, TypeError) as error:
        raise pytest.UsageError(f"{item.nodeid}: brokersim: {error}") from None


def param(item: pytest.Function, name: str) -> str | None:
    callspec = getattr(item, "callspec", None)
    return None if callspec is None or name not in callspec.params else str(callspec.params[name])


def hook(item: pytest.Function) -> str | None:
    hook = item.config.getoption("brokersim_hook")
    return param(item, "_brokersim_hook") or (None if hook == "all" else hook)


def is_flux(item: pytest.Function) -> bool:
    """This is the run of the test that is against a real Flux."""
    return param(item, "_brokersim_flux") == "flux"


def virtual_clock(item: pytest.Function) -> VirtualClock:
    from brokersim.reactor.clock import VirtualClock

    return item.stash.setdefault(_CLOCK, VirtualClock())


def snapshot(item: pytest.Function, name: str) -> Any:
    from brokersim.kit.snapshots import FileSnapshot, snapshot_file

    path = Path(item.path)
    return FileSnapshot(
        file=snapshot_file(path),
        test_file=path,
        test=name_without_hook(item),
        name=name,
        update=item.config.getoption("brokersim_update"),
    )


def name_without_hook(item: pytest.Function) -> str:
    """The name of a test, the same under every hook of ``--brokersim-hook=all``: its counters are."""
    ours = {value for name in _OURS if (value := param(item, name)) is not None}
    if not ours:
        return item.name
    kept = [part for part in item.callspec.id.split("-") if part not in ours]
    return f"{item.originalname}[{'-'.join(kept)}]" if kept else item.originalname


def forget_clock(item: pytest.Function) -> None:
    """The next instance of the test starts at time 0."""
    if _CLOCK in item.stash:
        del item.stash[_CLOCK]
