"""Sinks that another configuration changes, adds or takes away while measurements run: what waits is not lost."""

from __future__ import annotations

import os
import sys

import pytest

from brokersim.brokermod import RequestError
from tests.modules.probe.harness import documents, every, lined, probing, run, samples


def config(probes=("m",), **sinks):
    record = lined("dummy", every(1))
    return {"config": {"sinks": sinks, "probes": dict.fromkeys(probes, record)}}


def opened():
    return sorted(os.readlink(f"/proc/self/fd/{fd}") for fd in os.listdir("/proc/self/fd") if _is_link(fd))


def _is_link(fd):
    try:
        return os.readlink(f"/proc/self/fd/{fd}").startswith("/tmp")
    except OSError:
        return False


def test_another_path_is_written_to_from_then_on_and_numbers_go_on(tmp_path):
    first, second = str(tmp_path / "a"), str(tmp_path / "b")

    async def main():
        async with probing() as (instance, client):
            await client.call("probe.reload", config(lines={"path": first}))
            await instance.sleep(2.5)
            await client.call("probe.reload", config(lines={"path": second}))
            await instance.sleep(2)
            return opened(), (await client.call("probe.status"))["sinks"]

    paths, (sink,) = run(main)
    assert [one["seq"] for one in samples(tmp_path / "a")] == [1, 2, 3]
    assert [one["seq"] for one in samples(tmp_path / "b")] == [4, 5]
    assert "series" in documents(tmp_path / "b")[0], "the new file knows nothing yet"
    assert first not in paths and second in paths
    assert sink["inserted"] == sink["delivered"] == 5


@pytest.mark.parametrize("is_removed", [True, False])
def test_a_file_that_is_rotated_away_is_begun_anew_with_its_series(tmp_path, is_removed):
    path, older = tmp_path / "a", tmp_path / "a.1"

    async def main():
        async with probing() as (instance, client):
            await client.call("probe.reload", config(lines={"path": str(path)}))
            await instance.sleep(2.5)
            path.unlink() if is_removed else path.rename(older)
            await instance.sleep(2)

    before = opened()
    run(main)
    assert "series" in documents(path)[0]
    assert [one["seq"] for one in samples(path)] == [4, 5]
    assert is_removed or [one["seq"] for one in samples(older)] == [1, 2, 3]
    assert opened() == before


def broken(instance, monkeypatch, failure="Down"):
    """Line files take nothing until it is undone."""
    own = type(instance.module(0, "probe").handle.body).__module__
    sinks = sys.modules[f"{own}.sinks"]

    def down(self, data):
        raise getattr(sinks, failure, ValueError)("not there")

    monkeypatch.setattr(sinks.LineFile, "_write", down)


def test_a_reload_tries_a_sink_again_at_once_and_what_waited_goes_to_the_new_one(tmp_path, monkeypatch):
    first, second = str(tmp_path / "a"), str(tmp_path / "b")

    async def main():
        async with probing() as (instance, client):
            broken(instance, monkeypatch)
            await client.call("probe.reload", config(lines={"path": first}))
            await instance.sleep(200.5)  # by now it would be tried once a minute
            monkeypatch.undo()
            await client.call("probe.reload", config(lines={"path": second, "queue": {"max_samples": 100}}))
            return (await client.call("probe.status"))["sinks"][0]

    sink = run(main)
    assert samples(tmp_path / "a") == []
    seqs = [one["seq"] for one in samples(tmp_path / "b")]
    assert seqs == list(range(102, 202)), "the newest hundred: the queue has become shorter"
    assert (sink["delivered"], sink["dropped"], sink["queued"]) == (100, {"full": 101}, 0)


@pytest.mark.parametrize(
    ("failure", "says", "dropped"),
    [("Down", "not there", {}), ("ValueError", "ValueError: not there", {"encode": 2})],
)
def test_what_a_sink_did_not_expect_is_told_with_its_kind(tmp_path, monkeypatch, failure, says, dropped):
    async def main():
        async with probing() as (instance, client):
            broken(instance, monkeypatch, failure)
            await client.call("probe.reload", config(lines={"path": str(tmp_path / "a")}))
            await instance.sleep(1.5)
            return (await client.call("probe.status"))["sinks"][0]

    sink = run(main)
    assert (sink["trouble"], sink["dropped"]) == (says, dropped)


def test_a_sink_that_nobody_wants_any_more_gets_its_last_samples_and_is_closed(tmp_path):
    first, second = str(tmp_path / "a"), str(tmp_path / "b")

    async def main():
        async with probing() as (instance, client):
            both = {"lines": {"path": first}, "more": {"type": "lines", "path": second}}
            record = lined("dummy", every(1), reporting={"sinks": ["lines", "more"], "every_n": 10})
            wanted = {"sinks": both, "probes": {"m": record}}
            await client.call("probe.reload", {"config": wanted})
            await instance.sleep(3.5)
            await client.call("probe.reload", config(lines={"path": first}))
            return opened(), [one["name"] for one in (await client.call("probe.status"))["sinks"]]

    paths, names = run(main)
    assert second not in paths and names == ["lines"]
    assert [one["seq"] for one in samples(tmp_path / "b")] == [1, 2, 3, 4]


def test_a_configuration_that_is_refused_has_opened_nothing(tmp_path):
    async def main():
        async with probing() as (_, client):
            before = opened()
            wrong = {
                "lines": {"path": str(tmp_path / "a")},
                "z": {"type": "lines", "path": "/no/b"},
            }
            with pytest.raises(RequestError, match="No such file"):
                await client.call("probe.reload", config(**wrong))
            assert opened() == before
            spooled = {"path": str(tmp_path / "c"), "queue": {"spool": str(tmp_path / "spool")}}
            await client.call("probe.reload", config(lines=spooled))
            other = {"path": str(tmp_path / "c"), "queue": {"spool": str(tmp_path / "other")}}
            with pytest.raises(RequestError, match="/sinks/lines/queue/spool is another one: unload"):
                await client.call("probe.reload", config(lines=other))
            return [path for path in opened() if path not in before]

    assert run(main) == sorted([str(tmp_path / "c"), str(tmp_path / "spool")])
