"""An instance that takes part in turns: it costs in its rounds, and rests between them."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

from brokersim.lab.load.loads import load_of
from brokersim.lab.measure.hook_run import HookTask
from brokersim.lab.measure.live_run import LiveRun, run_script
from brokersim.net.client import Client


@pytest.fixture(scope="module")
def live() -> Iterator[LiveRun]:
    """The idle hook's, which would spin whenever its masks are set; after two rounds of one job."""
    with closing(LiveRun(HookTask(hook="idle", load=load_of("bulk", 1, 0.0)))) as live:
        run_script(live.uri)
        live.round()
        live.round()
        yield live


def test_between_rounds_no_mask_is_set_so_that_nothing_spins(live: LiveRun) -> None:
    with Client.connect(live.uri) as client:
        assert client.rpc("kvs.debug", {"op": "set", "flags": 0})["flags"] == 0
        turns = [client.rpc("module.list")["mods"] for _ in range(2)]
    first, then = ({each["name"]: each["iterations"] for each in mods} for mods in turns)
    assert sum(then.values()) - sum(first.values()) < 20


def test_rounds_stand_one_behind_the_other(live: LiveRun) -> None:
    found = live.found()
    assert (found.jobs, len(found.walls), len(found.cpus)) == (1, 2, 2)
    times = [t for t, _ in found.curve]
    assert times == sorted(times)
    assert 0 <= times[0] < found.walls[0] < times[-1] <= sum(found.walls)
    assert found.packets >= len(found.curve) > 100
    row = found.to_row()
    assert row["wall_s"] == sum(found.walls) / 2
    assert row["packets"] == round(found.packets / 2)


@pytest.mark.parametrize(("said", "code"), [("nothing of an address", 0), ("local:///gone 7", 1)])
def test_an_instance_that_did_not_start_is_told_with_its_own_words(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, said: str, code: int
) -> None:
    stub = tmp_path / "python"
    stub.write_text(f"#!/bin/sh\necho '{said}'\necho no room >&2\nexit {code}\n")
    stub.chmod(0o755)
    monkeypatch.setattr(sys, "executable", str(stub))
    with pytest.raises(RuntimeError, match="the instance did not start: no room"):
        LiveRun(HookTask(hook="none", load=load_of("bulk", 1, 0.0)))
