"""How a real Flux is ended: what it left behind is ended too. Tried with a command that leaves something."""

from __future__ import annotations

import os
import select
import sys
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import pytest

from brokersim.realflux import started as starting
from brokersim.realflux.place import Flux, NoFlux
from brokersim.realflux.started import started

#: Says an address, and leaves a process behind in a group of its own, as brokers are in.
LEAVES_ONE = """\
import os, signal, sys
if os.fork() == 0:
    os.setpgid(0, 0)
    os.close(1)
    alive = os.open({fifo!r}, os.O_RDONLY)
    signal.pause()
print("local:///nowhere", flush=True)
sys.stdin.read()
{more}
"""


def flux_that(folder: Path, more: str = "") -> Flux:
    """A `flux` that leaves a process, which has the pipe ``alive`` open for as long as it lives."""
    os.mkfifo(folder / "alive")
    script = folder / "flux"
    script.write_text(f"#!{sys.executable}\n" + LEAVES_ONE.format(fifo=str(folder / "alive"), more=more))
    script.chmod(0o755)
    return Flux(command=script, version="flux-core 0")


@contextmanager
def looking_at(folder: Path) -> Iterator[Callable[[], bool]]:
    """Says whether the process that was left has ended; the block begins when it lives."""
    writing = os.open(folder / "alive", os.O_WRONLY)
    poll = select.poll()
    poll.register(writing, 0)
    yield lambda: bool(poll.poll(10_000))
    os.close(writing)


def test_what_was_left_behind_is_ended(tmp_path: Path) -> None:
    with ExitStack() as stack:
        with started(flux_that(tmp_path)) as uri:
            assert uri == "local:///nowhere"
            has_ended = stack.enter_context(looking_at(tmp_path))
        assert has_ended()


def test_one_that_does_not_end_is_killed_with_what_it_left(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(starting, "_PATIENCE", 0.05)
    with ExitStack() as stack:
        with started(flux_that(tmp_path, "signal.pause()")):
            has_ended = stack.enter_context(looking_at(tmp_path))
        assert has_ended()


def test_one_that_says_no_address_is_refused_and_ended(tmp_path: Path) -> None:
    script = tmp_path / "flux"
    script.write_text("#!/bin/sh\necho no such thing\n")
    script.chmod(0o755)
    with pytest.raises(NoFlux, match="it said 'no such thing'"), started(Flux(command=script, version="")):
        pass  # pragma: no cover
