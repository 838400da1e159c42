"""A sink's queue: what it has no room for is counted, and what waits is written in parts, between messages."""

from __future__ import annotations

import pytest

from brokersim.host.run_database import RunDatabase
from brokersim.lab.keep.runs import find_runs
from brokersim.protocol.errnums import EINVAL, RequestError
from brokersim.statsd_server.outputs.rundb import read_all
from modules.metrics.outlets import QUEUE_MAX, Sink
from tests.modules.metrics.live import cluster


class Later:
    """A handle that keeps what is to be called later."""

    def __init__(self):
        self.calls = []

    def call_later(self, _seconds, fn, *args):
        self.calls.append((fn, args))

    def log(self, _level, _text):
        self.logged = getattr(self, "logged", 0) + 1


def test_a_sink_keeps_a_bounded_queue_and_counts_what_found_no_room():
    handle = Later()
    sink = Sink(handle, {"log": True}, {})
    for number in range(QUEUE_MAX + 25):
        sink.end(type("Stat", (), {"name": "s"})(), {"epoch": number})
    assert sink.dropped == 25
    rounds = 0
    while handle.calls:
        fn, args = handle.calls.pop(0)
        fn(*args)
        rounds += 1
    assert (sink.written, handle.logged) == (QUEUE_MAX, QUEUE_MAX)
    assert rounds == QUEUE_MAX // 500


MODULES = ["content-cache", "content-sqlite", "kvs", "metrics"]


def test_rows_are_series_of_a_run_database_that_a_module_loaded_again_goes_on_with(tmp_path):
    path = tmp_path / "run.db"

    async def body(one):
        await one.create(epoch=10.0, sinks=[{"rundb": str(path)}])
        two = [{"stream": "s", "apply": ["max"]}, {"stream": "x", "apply": ["average"]}]
        await one.create(name="u", reducers=two, sinks=[{"rundb": str(path)}])
        for value in (1, 2):
            for rank in range(3):
                one.observe(rank, "s", {"module": "kvs", "type": "rx"}, value)
                one.observe(rank, "s", "a b", 5)
            await one.instance.sleep(10.0)
        await one.gather("u")
        await one.instance.sleep(1.0)
        await one.instance.remove("metrics", 0)
        await one.instance.load("metrics", rank=0)
        await one.instance.sleep(0.5)
        one.observe(2, "s", "a b", 7)
        await one.gather("t")
        await one.instance.sleep(0.1)

    cluster(body, modules=MODULES)
    found = read_all(path)
    kvs = found["flux.metrics.t.kvs.rx.sum"]
    assert [value for _, value in kvs] == [3, 6] and kvs[1][0] - kvs[0][0] == pytest.approx(10.0, abs=0.01)
    assert [value for _, value in found["flux.metrics.t.a_b.sum"]] == [15, 15, 7]
    assert [value for _, value in found["flux.metrics.u.kvs.rx.s.max"]] == [2]
    assert found["flux.metrics.u.kvs.rx.x.n"][0][1] == 0
    assert [run.id for run in find_runs(tmp_path)] == ["run.db"]


def test_a_run_database_that_cannot_be_is_refused_when_a_stat_is_made(tmp_path):
    (tmp_path / "other").write_text("not a database, but long enough to be looked at as if it were one" * 20)
    RunDatabase(tmp_path / "probe.db", {"source": "measured", "module": "probe", "rank": "0"}).close()

    async def body(one):
        for path, says in (
            ("other", "cannot make the run database"),
            ("probe.db", "holds another run"),
            ("no/folder", "cannot make"),
        ):
            with pytest.raises(RequestError, match=says) as caught:
                await one.create(sinks=[{"rundb": str(tmp_path / path)}])
            assert caught.value.errno == EINVAL
        assert (await one.client.call("metrics.list", {}, 0)) == {"stats": []}

    cluster(body)


def test_a_run_database_that_is_gone_after_a_reload_loses_rows_counted_and_told(tmp_path):
    path = tmp_path / "folder" / "run.db"
    path.parent.mkdir()

    async def body(one):
        await one.create(sinks=[{"rundb": str(path)}])
        await one.instance.sleep(0.5)
        await one.instance.remove("metrics", 0)
        for file in path.parent.iterdir():
            file.unlink()
        path.parent.rmdir()
        await one.instance.load("metrics", rank=0)
        one.observe(1, "s", "a", 7)
        rows, _ = await one.gather("t")
        await one.instance.sleep(0.1)
        assert [row["sum"] for row in rows] == [7]
        stats = await one.client.call("metrics.stats-get", {}, 0)
        [sink] = stats["sinks"]["t"].values()
        assert sink["dropped"] == 2 and "cannot make the run database" in sink["error"]

    cluster(body, modules=MODULES)


def test_a_batch_is_there_whole_or_not_at_all_and_counters_keep_their_64_bits(tmp_path):
    database = RunDatabase(tmp_path / "run.db", {"module": "m"})
    database.write([("a", 1.0, 2**64 - 6), ("b", 1.0, -(2**63))])

    def broken():
        yield "c", 2.0, 1
        raise OSError("in between")

    with pytest.raises(OSError, match="in between"):
        database.write(broken())
    database.write([("a", 1.0, 5), ("d", 3.0, 1.5)])
    database.close()
    found = read_all(tmp_path / "run.db")
    assert found == {"a": [(1.0, 5)], "b": [(1.0, -(2**63))], "d": [(3.0, 1.5)]}


def test_statsd_gets_what_an_epoch_added_as_counters_and_the_rest_as_gauges():
    async def body(one):
        apply = ["sum", "min", "average"]
        await one.create(reducers=[{"stream": "s", "apply": apply}], sinks=[{"statsd": "app.x"}])
        for rank in range(3):
            one.observe(rank, "s", "k", -2)
        one.observe(1, "s", {"a": "ü:/", "b": "x" * 900}, 1)
        await one.gather()
        await one.instance.sleep(0.1)
        return b"\n".join(packet for _, packet in one.instance.sink.packets).decode().split("\n")

    lines = cluster(body, stats="mem:")
    mine = [line for line in lines if line.startswith("app.x.t.k.")]
    # A gauge below 0 is two lines: alone it would be a change by -2.
    assert sorted(mine) == sorted(
        ["app.x.t.k.n:3|c", "app.x.t.k.sum:-6|c", "app.x.t.k.min:0|g", "app.x.t.k.min:-2|g",
         "app.x.t.k.average:0|g", "app.x.t.k.average:-2|g"]
    )  # fmt: skip
    (odd,) = [line for line in lines if line.startswith("app.x.t._xfc__.x") and line.endswith(".n:1|c")]
    assert len(odd) < 300


def test_a_prefix_that_no_server_takes_is_refused_when_the_stat_is_made():
    async def body(one):
        with pytest.raises(RequestError, match="mangled") as caught:
            await one.create(sinks=[{"statsd": "a b"}])
        assert caught.value.errno == EINVAL

    cluster(body, size=1)


def test_a_file_that_cannot_be_written_is_refused_when_a_stat_is_made_and_told_once_later(tmp_path):
    folder = tmp_path / "folder"
    folder.mkdir()

    async def body(one):
        with pytest.raises(RequestError, match=r"sink file=.*no/x: No such file") as caught:
            await one.create(sinks=[{"file": str(tmp_path / "no" / "x")}])
        assert caught.value.errno == EINVAL
        await one.create(sinks=[{"file": str(folder / "x")}])
        folder.rmdir()
        for _ in range(3):
            one.observe(1, "s", "a", 7)
            await one.gather("t")
            await one.instance.sleep(0.1)
        return [line for line in one.instance.broker(0).log.lines() if "takes nothing" in line]

    said = cluster(body)
    assert len(said) == 1 and "No such file" in said[0]
