"""A log that grows, is rotated, cut short and read on after a restart; each line once."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from modules.probe.contract import Context
from modules.probe.probes.netlogger import NetLogger, NoEvent, parse_line, parse_ts
from modules.probe.probes.tail import LINE_MAX, Tail
from tests.modules.probe.harness import documents, every, lined, probing, run, samples

PREFIX = "ps:tools:blipp:netlogger:"

# -- a line


@pytest.mark.parametrize(
    ("line", "wanted"),
    [
        ("ts=2013-02-11T12:00:00.5Z event=xfer.start VAL=7", {"ts": 1360584000.5, "xfer.start": 7}),
        (
            "sum=12 event=disk.read ts=2013-02-11T12:00:00Z n=3",
            {"ts": 1360584000.0, "disk.read:sum": 12, "disk.read:n": 3},
        ),
        ("ts=1360584000 event=e", {"ts": 1360584000.0}),
        ("event=e ts=2013-02-11T13:00:00.123456789+01:00 VAL=0.5", {"ts": 1360584000.123456, "e": 0.5}),
        ("ts=1 event=e DEST=\"two words\" q='a=b' VAL=", {"ts": 1.0, "e": ""}),
        ("ts=1 event=e DEST=\"two words\" q='a=b'", {"ts": 1.0, "e:DEST": "two words", "e:q": "a=b"}),
        ("ts=1 event=e VAL=nan", {"ts": 1.0, "e": "nan"}),
        ("ts=1 event=e VAL=1e999", {"ts": 1.0, "e": "1e999"}),
        ("ts=2013-02-11T12:00:00 event=e", {"ts": 1360584000.0}),
    ],
)
def test_words_in_any_order(line, wanted):
    assert parse_line(line) == {key if key == "ts" else PREFIX + key: value for key, value in wanted.items()}


@pytest.mark.parametrize(
    "line",
    ["", "event=e VAL=1", "ts=1 VAL=1", "ts= event=e", "ts=1 event=", "ts=never event=e", "ts=1 event=e word",
     "ts=1 event=e =x", 'ts=1 event=e "open', "ts=nan event=e", "ts=inf event=e"],
)  # fmt: skip
def test_what_is_no_event(line):
    with pytest.raises(NoEvent):
        parse_line(line)


def test_an_application_stands_in_the_name():
    assert parse_line("ts=1 event=e VAL=2", PREFIX + "gridftp:") == {"ts": 1.0, PREFIX + "gridftp:e": 2}


@given(st.integers(1, 9), st.integers(0, 10**9 - 1))
def test_a_fraction_has_one_to_nine_digits(digits, billionths):
    text = f"{billionths:09d}"[:digits]
    assert parse_ts(f"2013-02-11T12:00:00.{text}Z") == pytest.approx(
        1360584000 + float(f"0.{text}"), abs=2e-6
    )


# -- a file


def tail(path: Path, most: int = 10_000) -> Tail:
    found = Tail(str(path), most)
    found.begin(None)
    return found


def test_a_line_without_its_end_waits_for_it(tmp_path: Path):
    log = tmp_path / "log"
    log.write_bytes(b"one\ntw")
    lines = tail(log)
    assert lines.lines() == [b"one\n"]
    with log.open("ab") as more:
        more.write(b"o\nthree\n")
    assert (lines.lines(), lines.lines()) == ([b"two\n", b"three\n"], [])


def test_a_log_that_was_rotated_is_read_to_its_end_first(tmp_path: Path):
    log = tmp_path / "log"
    log.write_bytes(b"one\n")
    lines = tail(log)
    assert lines.lines() == [b"one\n"]
    with log.open("ab") as more:
        more.write(b"two\nthree")
    log.rename(tmp_path / "log.1")
    assert lines.lines() == [b"two\n"]  # no new one yet
    log.write_bytes(b"four\n")
    assert lines.lines() == [b"three", b"four\n"]
    assert (lines.rotated, lines.truncated) == (1, 0)


def test_a_log_cut_short_begins_again(tmp_path: Path):
    log = tmp_path / "log"
    log.write_bytes(b"one\ntwo\n")
    lines = tail(log)
    lines.lines()
    log.write_bytes(b"a\n")
    assert (lines.lines(), lines.truncated) == ([b"a\n"], 1)


def test_so_many_lines_at_once_and_the_rest_at_the_next_reading(tmp_path: Path):
    log = tmp_path / "log"
    log.write_bytes(b"".join(b"%d\n" % n for n in range(25)))
    lines = tail(log, 10)
    log.rename(tmp_path / "log.1")
    log.write_bytes(b"new\n")
    assert [len(lines.lines()) for _ in range(4)] == [10, 10, 6, 0]
    assert lines.rotated == 1


@pytest.mark.parametrize("size", [LINE_MAX - 1, LINE_MAX, LINE_MAX + 1, 10 * LINE_MAX])
def test_a_line_that_is_too_long_is_counted_and_passed_over(tmp_path: Path, size: int):
    log = tmp_path / "log"
    log.write_bytes(b"x" * size)
    lines = tail(log)
    assert lines.lines() == []
    with log.open("ab") as more:
        more.write(b"x\nshort\n")
    is_fine = size + 2 <= LINE_MAX
    assert [len(line) for line in lines.lines()] == ([size + 2] if is_fine else []) + [6]
    assert lines.cut == (not is_fine)


def test_a_long_line_in_between_too(tmp_path: Path):
    log = tmp_path / "log"
    log.write_bytes(b"a\n" + b"x" * (LINE_MAX + 5) + b"\nb\n")
    lines = tail(log)
    assert (lines.lines(), lines.cut) == ([b"a\n", b"b\n"], 1)


def test_what_is_no_file_is_refused(tmp_path: Path):
    os.mkfifo(tmp_path / "pipe")
    for path in (tmp_path / "pipe", tmp_path):
        with pytest.raises(ValueError, match="no regular file"):
            tail(path)


_pieces = st.lists(st.sampled_from([b"a\n", b"bb\n", b"\n", b"c", b"dd\nee", b"f\n" * 7]), max_size=8)


@given(st.lists(st.tuples(_pieces, st.booleans()), max_size=6), st.integers(1, 5))
def test_whatever_is_written_and_rotated_each_line_comes_once_in_order(tmp_path_factory, steps, most):
    log = tmp_path_factory.mktemp("log") / "log"
    log.touch()
    lines, found, written = tail(log, most), [], b""
    for number, (pieces, is_rotated) in enumerate(steps):
        with log.open("ab") as more:
            more.write(b"".join(pieces))
        written += b"".join(pieces)
        if is_rotated:
            log.rename(log.with_name(f"log.{number}"))
            log.touch()
            # A last line without its end is a line of the old file.
            written += b"" if not written or written.endswith((b"\n", b"|")) else b"|"
        while more := lines.lines():
            found += more
        if is_rotated:
            assert lines.lines() == []
    whole = written.replace(b"|", b"\n").split(b"\n")[:-1]
    assert [line.rstrip(b"\n") for line in found] == whole


# -- the probe


async def measured(
    log: Path, out: Path, until: float = 2.5, modules=("content-cache", "content-sqlite", "kvs"), **config
) -> dict:
    async with probing(out, modules=modules) as (instance, client):
        record = lined("netlogger", every(1.0), {"file": str(log), **config}, hold_clock=True)
        await client.call("probe.add", {"name": "log", "record": record})
        await instance.sleep(until)
        return await client.call("probe.status", {"name": "log"})


def values(out: Path, metric: str) -> list[tuple[float, float]]:
    """Times and values of one metric."""
    told = [one["series"] for one in documents(out) if "series" in one]
    mids = {one["mid"] for one in told if one["metric"] == metric}
    return [(one["ts"], one["value"]) for one in samples(out) if one["mid"] in mids]


def test_events_have_their_own_times_and_bad_lines_are_counted(tmp_path: Path):
    log, out = tmp_path / "log", tmp_path / "out"
    log.write_text("ts=100.5 event=a VAL=1\nnonsense\n\nts=101 event=a VAL=2\n")
    run(measured, log, out)
    assert values(out, PREFIX + "a") == [(100.5, 1), (101.0, 2)]
    assert {value for _, value in values(out, "malformed")} == {1}


def test_begin_and_end(tmp_path: Path):
    log, out = tmp_path / "log", tmp_path / "out"
    log.write_text("ts=1 event=a VAL=1\n")
    run(lambda: measured(log, out, start="end"))
    assert (values(out, PREFIX + "a"), len(values(out, "cut"))) == ([], 3)


def test_after_a_restart_it_goes_on_where_it_was(tmp_path: Path):
    log, state = tmp_path / "log", tmp_path / "state"
    record = lined("netlogger", every(1.0), {"file": str(log)}, hold_clock=True)

    async def once(out: Path) -> list[float]:
        async with probing(out, modules=("content-cache", "content-sqlite", "kvs"), state_dir=state) as (
            instance,
            client,
        ):
            await client.call("probe.add", {"name": "log", "record": record})
            await instance.sleep(2.5)
        return [value for _, value in values(out, PREFIX + "a")]

    state.mkdir()
    log.write_text("ts=1 event=a VAL=1\n")
    assert run(once, tmp_path / "first") == [1]
    with log.open("a") as more:
        more.write("ts=2 event=a VAL=2\n")
    assert run(once, tmp_path / "second") == [2]


def test_without_a_kvs_the_position_is_named_as_not_kept(tmp_path: Path):
    log, out = tmp_path / "log", tmp_path / "out"
    log.write_text("ts=1 event=a VAL=1\n")
    told = run(lambda: measured(log, out, modules=()))
    assert told["measurements"][0]["counts"] == {"runs": 3, "partial": 3}
    assert values(out, PREFIX + "a") == [(1.0, 1)]


def test_configurations_that_cannot_be():
    for config, why in (({"start": "middle"}, "start must be"), ({"max_lines": 0}, "at least 1")):
        with pytest.raises(ValueError, match=why):
            NetLogger.check(config)


def test_a_missing_file_is_told_at_the_beginning(tmp_path: Path):
    probe = NetLogger()
    with pytest.raises(FileNotFoundError):
        probe.open(Context(ask=type("Ask", (), {"rank": 0})(), config={"file": str(tmp_path / "none")}))
