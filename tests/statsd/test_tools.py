"""Replay, explain, lint and retention: what they say of streams whose faults are known."""

from __future__ import annotations

import json
import math
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from brokersim.statsd.aggregator import Aggregator
from brokersim.statsd.client import StatsClient
from brokersim.statsd.config import AggregatorConfig
from brokersim.statsd.creates import CreateLimit, Unstored
from brokersim.statsd.recorded.explain import explain
from brokersim.statsd.recorded.lint import CODES, fix, lint
from brokersim.statsd.recorded.replay import compare, replay
from brokersim.statsd.recorded.stream import StreamError, intervals, records_from_json
from brokersim.statsd.retention import explain_retention


def stream(*datagrams: str, every: float = 1.0, start: float = 0.5) -> list[tuple[float, bytes]]:
    return [(start + number * every, each.encode()) for number, each in enumerate(datagrams)]


def codes(*datagrams: str, **options: object) -> dict[str, set[str | None]]:
    found: dict[str, set[str | None]] = {}
    for finding in lint(stream(*datagrams), **options):  # type: ignore[arg-type]
        found.setdefault(finding.code, set()).add(finding.series)
    return found


# --- replay


def test_replay_flushes_on_the_recordings_own_time_in_the_dialects_names():
    records = [(0.1, b"k:1|c\nbad"), (0.9, b"g:5|g"), (2.5, b"k:2|c")]
    flushes = [each.to_json() for each in replay(records, dialect="brubeck")]
    assert flushes == [
        {"t": 1.0, "values": {"k": 1, "g": 5}, "bad_lines": 1},
        {"t": 2.0, "values": {"k": 0, "g": 5}, "bad_lines": 0},
        {"t": 3.0, "values": {"k": 2, "g": 5}, "bad_lines": 0},
    ]
    assert replay(records)[0].values["counters.k.count"] == 1


def test_a_datagram_at_a_flush_belongs_to_the_next_one_or_to_that_one_on_a_virtual_clock():
    records = [(0.0, b"k:1|c"), (1.0, b"k:2|c"), (2.0, b"k:4|c")]
    counts = {
        inclusive: [
            (each.t, each.values["counters.k.count"]) for each in replay(records, inclusive=inclusive)
        ]
        for inclusive in (False, True)
    }
    assert counts == {False: [(1, 1), (2, 2), (3, 4)], True: [(1, 3), (2, 4)]}


def test_tenths_of_a_second_are_not_rounded_into_the_interval_before():
    records = [(number / 10, b"k:1|c") for number in range(50)]
    flushes = replay(records, flush=0.1)
    assert [each.t for each in flushes] == [(number + 1) / 10 for number in range(50)]
    assert all(each.values["counters.k.count"] == 1 for each in flushes)


@given(
    st.lists(st.floats(0, 100), min_size=1, max_size=20),
    st.sampled_from([0.1, 0.25, 1.0, 10.0]),
    st.booleans(),
)
def test_every_record_is_in_exactly_one_interval_that_ends_behind_it(
    times: list[float], flush: float, inclusive: bool
):
    cut = list(intervals([(t, b"") for t in times], flush, inclusive=inclusive))
    assert sorted(t for _, share in cut for _, (t, _) in share) == sorted(times)
    for end, share in cut:
        assert all(end - flush - 1e-9 <= t <= end for _, (t, _) in share)
    ends = [end for end, _ in cut]
    assert all(later - end == pytest.approx(flush) for end, later in pairwise(ends))


@pytest.mark.parametrize(
    ("line", "words"),
    [
        ("{", "line 2"),
        ('{"t": "x", "data": "k:1|c"}', "line 2"),
        ('{"t": 1}', '{"t": 0.5, "data": "k:1|c"}'),
        ('{"t": 1, "data": 5}', "line 2"),
        ("[1]", "line 2"),
        ('{"t": NaN, "data": ""}', "finite"),
        ('{"t": true, "data": ""}', "line 2"),
        ("[" * 100_000, "line 2"),
    ],
)
def test_a_record_that_cannot_be_read_is_named_with_its_line(line: str, words: str):
    with pytest.raises(StreamError) as error:
        list(records_from_json(['{"t": 0, "data": "k:1|c"}', line]))
    assert words in str(error.value)


def test_a_recording_that_would_flush_for_ever_is_refused():
    with pytest.raises(StreamError, match="cut the recording"):
        replay([(0.0, b""), (1.7e9, b"")], flush=1.0)
    for flush in (0.0, -1.0, math.nan, math.inf):
        with pytest.raises(StreamError):
            replay([(0.0, b"")], flush=flush)


def test_values_json_has_no_number_for_are_words():
    (flush,) = replay(stream("g:Infinity|g\nh:nan|g"), dialect="collectd")
    assert flush.to_json()["values"] == {"gauge-g": "Infinity", "gauge-h": "nan"}
    json.dumps(flush.to_json(), allow_nan=False)


def test_two_dialects_differ_where_they_read_a_line_differently():
    found = compare(stream("k:3|x\nj:1|c"), "etsy", "strict")
    assert [(each.key, each.one, each.other) for each in found] == [("k|c", 3, None)]
    assert compare(stream("k:1.5|c"), "etsy", "strict") == []


# --- explain


def test_explain_names_the_packets_that_made_a_gauge():
    records = stream("run:+30|g\nother:1|c", "other:2|c", "run:0|g", "run:-15|g")
    found = explain(records, "gauges.run")
    assert [(each.packet, each.effect, each.before, each.after, each.flush_t) for each in found] == [
        (1, "add 30", 0, 30, 1.0),
        (3, "set 0", 30, 0, 3.0),
        (4, "add -15", 0, -15, 4.0),
    ]


@pytest.mark.parametrize("series", ["t", "timers.t.upper_90", "stats.timers.t.upper_90", "timers.t.count"])
def test_a_series_goes_by_its_key_or_by_any_name_it_is_shown_under(series: str):
    found = explain(stream("t:5|ms|@0.5", "x:1|c", "t:1:2|ms"), series)
    assert [(each.packet, each.effect, each.after) for each in found] == [
        (1, "sample 5 ms", 1),
        (3, "sample 1 ms, sample 2 ms", 2),
    ]


def test_explain_follows_brubecks_first_type_and_finds_nothing_for_a_stranger():
    records = stream("k:5|g\nk:3|c")
    assert [each.after for each in explain(records, "k", dialect="brubeck")] == [5, 3]
    assert explain(records, "nobody") == []
    (count,) = explain(stream("k:1|c|@0.1"), "count-k", dialect="collectd")
    assert (count.effect, count.after) == ("add 10", 10)


def test_explain_shows_the_bad_lines_of_a_key_and_why_they_changed_nothing():
    records = stream("t:1:2|ms", "t:3|ms\nt:x|ms", "u:x|ms")
    told = [(each.packet, each.effect, each.after) for each in explain(records, "t", dialect="brubeck")]
    assert told == [(1, "bad: bad_number", 0), (2, "sample 3 ms", 1), (2, "bad: bad_number", 1)]
    by_flushed_name = explain(records, "stats.timers.t.upper_90", dialect="etsy")
    assert [each.effect for each in by_flushed_name] == [
        "sample 2 ms, bad: no_type", "sample 3 ms", "bad: bad_number"
    ]  # fmt: skip
    # Its sender's spelling and the cleaned one are both its name.
    assert [each.effect for each in explain(stream("a b:x|c"), "a_b")] == ["bad: bad_number"]
    assert [each.effect for each in explain(stream("a b:x|c"), "a b")] == ["bad: bad_number"]


# --- lint


def test_a_sound_stream_has_no_finding():
    sound = [
        "a:1|c\ng:5|g\nt:1:2:3|ms",
        "g:0|g\na:3|c\nn:0|g\nn:-5|g",
        "n:0|g\nn:-5|g\ng:7|g",
        "d:+2|g",
        "d:-2|g",
    ]
    assert codes(*sound) == {}


@pytest.mark.parametrize(
    ("code", "datagrams", "series"),
    [
        ("S101", ["run:+30|g", "run:0|g", "run:-15|g"], "run"),
        ("S102", ["new:-10000|g"], "new"),
        ("S103", ["g:5|g\ng:+2|g"], "g"),
        ("S105", ["\n".join(f"long.name.of.a.counter.{n}:1|c" for n in range(60))], None),
        ("S106", ["x" * 124 + ":1|c"], "x" * 124),
        ("S107", ["k:x|c"], "k"),
        ("S109", ["k:100|c", "k:150|c", "k:180|c", "k:250|c"], "k"),
        ("S110", ["a b/c:1|c"], "a_b-c"),
        ("S112", ["g:+5|g", "g:+5|g", "g:+5|g"], "g"),
    ],
)
def test_lint_finds_a_trap(code: str, datagrams: list[str], series: str | None):
    assert codes(*datagrams) == {code: {series}}


def test_lint_names_packed_timings_where_the_server_takes_one():
    packed = ["t:1.5:2.5:3.5|ms"]
    assert codes(*packed) == {}
    for dialect in ("etsy", "brubeck", "collectd"):
        assert codes(*packed, dialect=dialect) == {"S113": {"t"}}
    # Pipelined values are each whole; a bad number stays one.
    assert codes("t:1|ms:2|ms", dialect="etsy") == {}
    assert set(codes("t:1:x|ms", dialect="etsy")) == {"S107"}


def test_lint_names_totals_only_where_they_are_not_known():
    for dialect, found in (
        ("etsy", {"S104": {"k"}}),
        ("collectd", {"S104": {"k"}}),
        ("brubeck", {}),
        ("strict", {}),
    ):
        assert codes("k:100|C", "k:150|C", "k:175|C", "k:200|C", dialect=dialect) == found, dialect


def test_the_negative_snapshot_of_the_journal_is_found_as_sign_and_as_drift():
    findings = lint(stream(*["flux.job-states.new:-10000|g"] * 5))
    assert [(each.code, each.packet) for each in findings] == [("S102", 1), ("S112", 1)]
    assert findings[0].line == b"flux.job-states.new:-10000|g"
    assert "-10000" in findings[1].text


def test_a_finding_is_told_once_and_counted():
    (finding,) = lint(stream("k:x|c", "k:y|c", "j:1|c", "k:z|c"))
    assert (finding.code, finding.packet, finding.t, finding.times) == ("S107", 1, 0.5, 3)
    assert "bad_number" in finding.text
    assert finding.hint == CODES["S107"][1]


def test_lint_names_series_that_never_arrived_and_those_carbon_would_not_create():
    assert codes("a:1|g", expected=["a", "b"]) == {"S108": {"b"}}
    many = "\n".join(f"g{n}:1|g" for n in range(72))
    missing = codes(many, max_creates=50)["S108"]
    assert len(missing) == 22
    assert "S108" not in codes(*[many] * 60, max_creates=50)


def test_lint_refuses_a_retention_below_a_second():
    assert codes("a:1|g", retention="0.1s:1d") == {"S111": {None}}
    assert codes("a:1|g", retention="1s:1d") == {}


def test_fixed_streams_keep_the_running_value_and_fit_their_packets():
    long = "\n".join(f"long.name.of.a.counter.{n}:1|c" for n in range(60))
    broken = [*stream("run:+30|g", "run:0|g", "run:-15|g", "n:0|g\nn:-5|g"), (9.5, long.encode())]
    mended = list(fix(broken))
    assert {each.code for each in lint(mended)} == set()
    assert all(len(datagram) <= 1440 for _, datagram in mended)
    last = replay(mended)[-1].values
    assert (last["gauges.run"], last["gauges.n"], last["counters.long.name.of.a.counter.59.count"]) == (
        15,
        -5,
        1,
    )


def test_what_our_client_sends_is_sound_and_what_the_client_of_2021_sends_is_not():
    for compat, wanted in ((None, set()), ("fripp-2021", {"S101", "S102", "S112"})):
        records: list[tuple[float, bytes]] = []
        client = StatsClient(
            lambda packet, to=records: to.append((len(to) / 2, packet)) is None, compat=compat
        )
        for period in range(8):
            client.gauge_inc("run", 30 if period == 0 else 0 if period % 2 else -1)
            client.gauge_set("new", -10_000)
            client.inc("commits", 3 if period % 2 else 2)
            client.flush()
        assert {
            each.code for each in lint([(number + 0.5, each) for number, (_, each) in enumerate(records)])
        } == wanted


@given(st.lists(st.binary(max_size=60) | st.sampled_from([b"k:1|c", b"g:-5|g", b"g:0|g", b"t:1|ms"]), max_size=10),
       st.sampled_from(["strict", "etsy", "brubeck", "collectd"]))  # fmt: skip
def test_no_stream_makes_a_tool_raise(datagrams: list[bytes], dialect: str):
    records = [(number / 3, each) for number, each in enumerate(datagrams)]
    lint(records, dialect=dialect)
    explain(records, "k", dialect=dialect)
    assert len(replay(fix(records), dialect=dialect)) == len(replay(records, dialect=dialect))


# --- retention


def test_a_tenth_of_a_second_cannot_be_kept_and_the_hint_says_what_can():
    report = explain_retention("0.1s:1d")
    assert not report.ok
    assert (
        "whole seconds" in report.text
        and "carbon refuses to start" in report.text
        and "60s:1d" in report.text
    )
    assert report.hint.startswith("1s:1d = 86,400 points, 1.04 MB a series")


def test_a_retention_that_can_be_kept_has_its_points_and_its_size():
    report = explain_retention("1s:1d")
    assert (report.ok, report.bytes, report.archives[0].points) == (True, 16 + 12 + 86_400 * 12, 86_400)
    assert "one gauge in 6" in explain_retention("60s:1d", flush=10).hint
    assert explain_retention("60s:1d", flush=60).hint == explain_retention("60s:1d").hint == ""
    assert explain_retention("60:1440").archives == explain_retention("1m:1d").archives


def test_units_are_the_beginnings_of_whispers_words():
    for text in ("1s:1d", "1sec:1day", "1seconds:24hours", "1:86400"):
        assert explain_retention(text).archives == explain_retention("1s:1d").archives, text
    assert explain_retention("1min:2weeks").archives == explain_retention("60s:14d").archives


@pytest.mark.parametrize(
    "text",
    [
        "",
        "x",
        "1s",
        "1min:1mon",
        "10S:1D",
        "1 s:1d",
        "1s:1d:1y",
        "1s:",
        ":1d",
        "10s:1h,15s:1d",
        "10s:1d,60s:1h",
        "10s:5s",
        "0s:1d",
        "1s:1d,",
        "60s:2m,1h:1d",
    ],
)
def test_a_retention_that_makes_no_sense_says_why(text: str):
    report = explain_retention(text)
    assert not report.ok and report.text and report.hint


@pytest.mark.parametrize(
    ("just", "not_quite"),
    [
        ("10s:10s", "10s:9s"),
        ("1s:1d", "1.5s:1d"),
        ("1:1", "1:0"),
        ("10s:1h,20s:2h", "10s:1h,10s:2h"),
        ("10s:1h,60s:61m", "10s:1h,60s:1h"),
        ("60s:1h,1h:1d", "60s:59m,1h:1d"),
        ("999999999999:1", "9999999999999:1"),
        ("1000ms:1d", "999ms:1d"),
    ],
)
def test_what_can_just_be_kept_and_what_just_cannot(just: str, not_quite: str):
    assert explain_retention(just).ok and not explain_retention(not_quite).ok


def test_of_several_rows_the_finest_is_thinned_and_all_are_paid_for():
    report = explain_retention("60s:7d,10s:6h", flush=2.5)
    assert [archive.step for archive in report.archives] == [10, 60]
    assert report.bytes == 16 + 2 * 12 + 12 * (2_160 + 10_080) and "one gauge in 4" in report.hint
    assert explain_retention("2.5s:1h").hint.startswith("2s:1h = 1,800 points")


@given(st.text("0123456789.smhdwy:, ", max_size=30))
def test_no_text_makes_retention_raise(text: str):
    explain_retention(text)


def test_of_new_series_those_that_say_most_come_first():
    limit = CreateLimit(per_minute=4)
    values = dict.fromkeys(
        ["timers.t.sum_squares", "timers.t.count", "counters.n.rate", "gauges.g", "counters.n.count",
         "timers.t.upper_90"], 1,
    )  # fmt: skip
    assert list(limit.admit(values, 0.0)) == [
        "timers.t.count",
        "gauges.g",
        "counters.n.count",
        "timers.t.upper_90",
    ]
    # What is there goes on, whatever waits; then the next two have their token.
    assert set(limit.admit(values, 30.0)) == set(values)


def test_what_carbons_shipped_limit_keeps_waiting_is_known_by_counting():
    unstored = Unstored()
    names = {f"gauges.g{number}": 1 for number in range(64)}
    assert [unstored.note([names], t) for t in (0.0, 1.0, 2.0)] == [14, 14, 13]
    assert unstored.seconds_left == pytest.approx(13 * 1.2, abs=1.2)
    assert [unstored.note([names], t) for t in (10.0, 17.0, 30.0)] == [6, 0, 0]
    # A name that comes later is one more; those that went and came back are not.
    assert unstored.note([{**names, "new": 1}], 31.0) == 0
    assert unstored.note([{f"x{number}": 1 for number in range(100)}], 32.0) > 0


def test_the_limit_on_new_series_drops_whole_series_until_they_have_a_token():
    aggregator = Aggregator("brubeck", AggregatorConfig(max_creates_per_minute=50))
    for number in range(72):
        aggregator.feed(b"g%d:1|g" % number)
    seen = [len(aggregator.flush(t).values) for t in (1.0, 13.0, 25.0, 61.0)]
    assert seen == [50, 60, 70, 72]
    assert aggregator.statistics().dropped_creates == 22 + 12 + 2
