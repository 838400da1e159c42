"""The run database: what was flushed can be read back; what goes wrong costs nothing but itself."""

from __future__ import annotations

import random
import sqlite3
import threading

import attrs
import pytest
import trio
from hypothesis import given
from hypothesis import strategies as st

from brokersim.reactor.clock import VirtualClock
from brokersim.statsd.buckets import LogBuckets
from brokersim.statsd.slots import parse_retention
from brokersim.statsd_server.outputs.rundb import (
    TIMER,
    RunDatabase,
    RunDatabaseError,
    RunDatabaseOutput,
    from_blob,
    merged,
    read_histograms,
    read_meta,
    read_samples,
    read_series,
    to_blob,
)
from tests.statsd_server.harness import flush_of, serving, until


def test_values_come_back_with_their_instants_below_a_second(tmp_path):
    path = tmp_path / "run.db"
    database = RunDatabase(path, {"command": "bench", "seed": "7"})
    for number in range(5):
        database.write(flush_of(round(number / 10, 6), packets=[b"k:%d|g\nc:2|c" % number]))
    database.close()
    assert read_samples(path, "gauges.k") == [(0.0, 0), (0.1, 1), (0.2, 2), (0.3, 3), (0.4, 4)]
    assert read_samples(path, "gauges.k", 0.1, 0.3) == [(0.1, 1), (0.2, 2)]
    assert {"gauges.k", "counters.c.count", "counters.c.rate", "statsd.numStats"} <= set(read_series(path))
    assert read_meta(path)["seed"] == "7"
    assert [each.name for each in tmp_path.iterdir()] == ["run.db"], "one file, closed"


@pytest.mark.parametrize("value", [2**63 - 1, 2**63, -(2**63) - 1, 2**70])
def test_an_integer_of_any_size_is_kept_beyond_sqlites_as_a_float(tmp_path, value):
    database = RunDatabase(tmp_path / "run.db")
    database.write(attrs.evolve(flush_of(1.0), timed={2: {"gauges.k": value}}))
    database.close()
    ((at, kept),) = read_samples(tmp_path / "run.db", "gauges.k")
    assert (at, kept) == (2.0, value if abs(value) < 2**63 else float(value))
    assert type(kept) is (int if abs(value) < 2**63 else float)


def test_it_can_be_read_while_it_is_written(tmp_path):
    path = tmp_path / "run.db"
    database = RunDatabase(path)
    database.write(flush_of(1.0, packets=[b"k:1|g"]))
    assert read_samples(path, "gauges.k") == [(1.0, 1)]
    with sqlite3.connect(path) as other:
        assert other.execute("PRAGMA journal_mode").fetchone() == ("wal",)
    database.close()


def test_timers_come_back_as_histograms_that_merge(tmp_path):
    path = tmp_path / "run.db"
    chance = random.Random(3)
    database = RunDatabase(path)
    samples = []
    for number in range(4):
        values = [round(chance.expovariate(0.1), 3) for _ in range(200)]
        samples += values
        database.write(flush_of(float(number), packets=[b"t:%.3f|ms" % value for value in values]))
    database.close()
    assert read_series(path, TIMER) == ["t"]
    whole = merged(read_histograms(path, "t"))
    exact = sorted(samples)
    assert (whole.n, whole.lower, whole.upper) == (800, exact[0], exact[-1])
    assert whole.at_rank(720) == pytest.approx(exact[719], rel=0.01)
    assert len(read_histograms(path, "t", 1.0, 3.0)) == 2


@given(st.lists(st.floats(0, 1e12), max_size=50))
def test_a_histogram_survives_its_blob(values):
    buckets = LogBuckets()
    buckets.add_many(values)
    back = from_blob(to_blob(buckets))
    assert attrs.asdict(back) == attrs.asdict(buckets)
    assert len(to_blob(buckets)) < 120 + 6 * len(values)


def test_bytes_that_are_no_histogram_are_refused():
    with pytest.raises(RunDatabaseError, match="not a histogram"):
        from_blob(b"\x93\x01")


def test_integers_beyond_sqlites_and_values_that_are_none_do_not_stop_a_write(tmp_path):
    path = tmp_path / "run.db"
    database = RunDatabase(path)
    flush = flush_of(1.0, packets=[b"big:%d|g\nneg:0|g\nneg:-%d|g" % (10**30, 2**63)])
    database.write(attrs.evolve(flush, values={**flush.values, "none": float("nan"), "inf": float("inf")}))
    assert read_samples(path, "gauges.big") == [(1.0, 1e30)]
    assert read_samples(path, "gauges.neg") == [(1.0, float(-(2**63)))]
    assert read_samples(path, "none") == []
    assert read_samples(path, "inf") == [(1.0, float("inf"))]
    database.close()


def test_the_same_instant_again_keeps_the_later_value(tmp_path):
    path = tmp_path / "run.db"
    database = RunDatabase(path)
    database.write(flush_of(1.0, packets=[b"k:1|g"]), flush_of(1.0, packets=[b"k:2|g"]))
    assert read_samples(path, "gauges.k") == [(1.0, 2)]
    database.close()


def test_a_file_that_holds_a_run_already_is_not_written_to(tmp_path):
    path = tmp_path / "run.db"
    RunDatabase(path).close()
    before = path.read_bytes()
    with pytest.raises(RunDatabaseError, match="a run database holds one run; choose a new name"):
        RunDatabase(path)
    assert path.read_bytes() == before


def test_a_place_that_cannot_be_written_is_named(tmp_path):
    with pytest.raises(RunDatabaseError, match=r"cannot make the run database .*no/run\.db: unable to open"):
        RunDatabase(tmp_path / "no" / "run.db")


def test_files_that_are_no_run_database_are_named(tmp_path):
    text, other = tmp_path / "text", tmp_path / "other.db"
    text.write_text("hello, world; this is no database at all" * 50)
    with sqlite3.connect(other) as connection:
        connection.execute("CREATE TABLE t (x)")
    with pytest.raises(RunDatabaseError, match="text cannot be read as a run database"):
        read_series(text)
    with pytest.raises(RunDatabaseError, match=r"other\.db is no run database"):
        read_series(other)
    with pytest.raises(RunDatabaseError, match="no run database at"):
        read_series(tmp_path / "nothing")


def test_a_write_that_fails_leaves_nothing_of_itself_and_the_next_one_works(tmp_path):
    path = tmp_path / "run.db"
    database = RunDatabase(path)
    good = flush_of(1.0, packets=[b"k:1|g"])
    with pytest.raises(sqlite3.Error):
        database.write(good, attrs.evolve(good, t=None))
    assert read_samples(path, "gauges.k") == []
    database.write(good)
    assert read_samples(path, "gauges.k") == [(1.0, 1)]
    database.close()


async def test_the_output_writes_every_flush_and_closes_with_the_server(tmp_path, autojump_clock):
    path = tmp_path / "run.db"
    autojump_clock.autojump_threshold = 0.05
    async with serving(listen=(), flush_s=0.1, outputs=(f"db:{path}",), wall=trio.current_time) as server:
        for number in range(5):
            server.feed(b"k:%d|g" % number)
            await trio.sleep(0.1)
    assert [t for t, _ in read_samples(path, "gauges.k")][:5] == [0.1, 0.2, 0.3, 0.4, 0.5]


def test_under_virtual_time_no_flush_is_overtaken(tmp_path):
    path = tmp_path / "run.db"

    async def main():
        async with serving(listen=(), flush_s=0.01, outputs=(f"db:{path}",)) as server:
            server.feed(b"k:1|g")
            await trio.sleep(5)
            assert server.statistics().outputs[0].dropped == 0

    trio.run(main, clock=VirtualClock())
    assert len(read_samples(path, "gauges.k")) == 501


async def test_a_disk_that_hangs_drops_and_counts_flushes_and_does_not_hold_up_the_end(tmp_path, nursery):
    output = RunDatabaseOutput(tmp_path / "run.db", limit=3)
    stuck = threading.Event()
    output._database.write = lambda *flushes, held: stuck.wait(10)
    nursery.start_soon(output.run)
    for number in range(10):
        output.offer(flush_of(float(number)))
        await until(lambda: output._writing)
    told = output.statistics()
    assert (told.queued, told.dropped, told.unit) == (3, 7, "flushes")
    nursery.cancel_scope.cancel()
    stuck.set()


async def test_a_write_that_fails_is_told_and_the_next_flush_is_written(tmp_path, nursery):
    path = tmp_path / "run.db"
    output = RunDatabaseOutput(path)
    real, faults = output._database.write, [sqlite3.OperationalError("disk I/O error")]
    output._database.write = lambda *flushes, held: (
        (_ for _ in ()).throw(faults.pop()) if faults else real(*flushes)
    )
    nursery.start_soon(output.run)
    output.offer(flush_of(1.0, packets=[b"k:1|g"]))
    with trio.fail_after(60):
        while output.statistics().state != "failed":
            await trio.sleep(0.001)
        assert output.statistics().last_error == "disk I/O error"
        output.offer(flush_of(2.0, packets=[b"k:2|g"]))
        while output.statistics().state != "connected":
            await trio.sleep(0.001)
    output.close()
    assert (output.statistics().dropped, read_samples(path, "gauges.k")) == (1, [(2.0, 2)])


# --- retention


def test_what_is_older_than_a_length_becomes_the_average_of_a_coarser_slot_and_then_goes(tmp_path):
    path = tmp_path / "run.db"
    database = RunDatabase(path, keeps=parse_retention("1s:4s,4s:12s"))
    for t in range(1, 21):
        database.write(flush_of(float(t), packets=[b"k:%d|g\nload:%d|ms" % (t, t)]))
    # At 20: 16 and later are points of a second, 8 to 15 are averages of 4 s, what was before 8 has gone.
    assert read_samples(path, "gauges.k") == [
        (8.0, 9.5), (12.0, 13.5), (16.0, 16), (17.0, 17), (18.0, 18), (19.0, 19), (20.0, 20),
    ]  # fmt: skip
    histograms = read_histograms(path, "load")
    assert [(t, each.n, each.lower, each.upper) for t, each in histograms][:3] == [
        (8.0, 4, 8.0, 11.0), (12.0, 4, 12.0, 15.0), (16.0, 1, 16.0, 16.0),
    ]  # fmt: skip
    database.close()


def test_points_below_a_second_age_at_exact_instants(tmp_path):
    path = tmp_path / "run.db"
    database = RunDatabase(path, keeps=parse_retention("0.1s:0.4s,0.2s:0.8s"))
    for number in range(1, 21):
        database.write(flush_of(round(number / 10, 6), packets=[b"k:%d|g" % number]))
    assert read_samples(path, "gauges.k") == [
        (1.2, 12.5), (1.4, 14.5), (1.6, 16), (1.7, 17), (1.8, 18), (1.9, 19), (2.0, 20),
    ]  # fmt: skip
    database.close()


def test_a_write_that_fails_ages_nothing(tmp_path):
    path = tmp_path / "run.db"
    database = RunDatabase(path, keeps=parse_retention("1s:2s,2s:8s"))
    for t in (1.0, 2.0, 3.0):
        database.write(flush_of(t, packets=[b"k:%d|g" % t]))
    broken = attrs.evolve(flush_of(6.0), values={"k": object()})
    with pytest.raises((sqlite3.Error, TypeError)):
        database.write(broken)
    database.write(flush_of(6.0, packets=[b"k:6|g"]))
    assert read_samples(path, "gauges.k") == [(0.0, 1), (2.0, 2.5), (6.0, 6)]
    database.close()


def test_a_server_keeps_what_its_retention_says(tmp_path):
    """Flushes of 0.1 s, kept as slots of 0.2 s: sums for counters, the last value for gauges."""
    path = tmp_path / "run.db"

    async def main():
        settings = {"listen": (), "flush_s": 0.1, "retention": "0.2s:1h", "outputs": (f"db:{path}",)}
        async with serving(**settings) as server:
            for number in range(6):
                await trio.sleep(0.05)
                server.feed(b"k:%d|g\nc:%d|c" % (number, number))
                await trio.sleep(0.05)

    trio.run(main, clock=VirtualClock())
    assert read_samples(path, "gauges.k") == [(0.0, 0), (0.2, 2), (0.4, 4), (0.6, 5)]
    assert read_samples(path, "counters.c.count") == [(0.0, 0), (0.2, 3), (0.4, 7), (0.6, 5)]
    assert [(t, round(v, 6)) for t, v in read_samples(path, "counters.c.rate")][:3] == [
        (0.0, 0),
        (0.2, 15),
        (0.4, 35),
    ]


async def test_a_server_that_starts_again_goes_on_with_its_gauges_and_totals(mock_clock, tmp_path):
    path, logged = tmp_path / "run.db", []
    lines = b"depth:7|g\nbelow:0|g\nbelow:-3|g\norders:5|c\nkept;a=b:1.5|g\nodd name:4|g\nt:1|ms"
    async with serving(outputs=(f"db:{path}",), goes_on=True, listen=()) as server:
        server.feed(lines)
    async with serving(outputs=(f"db:{path}",), goes_on=True, listen=(), log=logged.append) as server:
        server.feed(b"orders:2|c\ndepth:+1|g")
        flush = server.flush_now()
        assert dict(flush.gauges) == {"depth": 8, "below": -3, "kept;a=b": 1.5, "odd_name": 4}
        assert (dict(flush.counters), dict(flush.totals)) == ({"orders": 2}, {"orders": 7})
        # The name that is shown bent is still its sender's.
        server.feed(b"odd name:9|g\nodd_name:1|g")
        assert server.flush_now().gauges["odd_name"] == 9
        assert server.statistics().bad_by_reason == {"same_name": 1}
    assert logged == [f"db:{path}: 5 gauges and totals taken up from the run before"]
    assert read_series(path).count("gauges.depth") == 1


async def test_what_another_dialect_held_is_left_and_a_run_of_something_else_is_not_gone_on_with(tmp_path):
    path, other = tmp_path / "run.db", tmp_path / "other.db"
    async with serving(outputs=(f"db:{path}",), goes_on=True, listen=()) as server:
        server.feed(b"k:5|g")
    async with serving(outputs=(f"db:{path}",), goes_on=True, listen=(), dialect="brubeck") as server:
        assert dict(server.flush_now().gauges) == {}
    RunDatabase(other).close()
    with pytest.raises(RunDatabaseError, match="holds one run"):
        RunDatabase(other, goes_on=True)
    with pytest.raises(RunDatabaseError, match="holds one run"):
        RunDatabase(path)
