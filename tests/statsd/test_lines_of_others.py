"""Lines of four other projects' tests: each is read, or its difference told in docs/statsd-dialects.md.

Of statsd_exporter, gostatsd, telegraf and Datadog's client. Only what the lines mean was taken from there.
"""

from __future__ import annotations

import pytest

from brokersim.statsd import Aggregator

COUNTS = {
    # statsd_exporter: Librato's, InfluxDB's and SignalFx' tags
    b"a#x=1,y=2:9|c": ("a;x=1;y=2", 9),
    b"a#0x=1,x.y=2:9|c": ("a;0x=1;x.y=2", 9),
    b"a,x=1,y=2:9|c": ("a;x=1;y=2", 9),
    b"a.[x=1,y=2]b:9|c": ("a.b;x=1;y=2", 9),
    b"a.b[x=1,y=2]:9|c": ("a.b;x=1;y=2", 9),
    b"[x=1,y=2]a.b:9|c": ("a.b;x=1;y=2", 9),
    b"a.[]b:9|c": ("a.b", 9),
    b"a[x=1]:9|c|#y:2": ("a;x=1;y=2", 9),
    b"a#x=1:9|c|@0.1|#y:2": ("a;x=1;y=2", 90),
    # what is no tag there
    b"a.[x]b:9|c": ("a.xb", 9),
    b"cpu[0]:9|c": ("cpu0", 9),
    b"a#x:9|c": ("ax", 9),
    # ... and DogStatsD's
    b"a:9|c|#x:1,#y:2": ("a;x=1;y=2", 9),
    b"a:9|c|#0x:1,x.y:2": ("a;0x=1;x.y=2", 9),
    b"a:9|c|#bare": ("a;bare=true", 9),
    b"a:9|c|#bare,x:1": ("a;bare=true;x=1", 9),
    b"a:9|c|#x:1,,": ("a;x=1", 9),
    b"a:9|c|#,,x:1": ("a;x=1", 9),
    b"a:9|c|@0.1|#x:1:2": ("a;x=1:2", 90),
    b"a:9|c|#x:1|c:sha256:ab12": ("a;x=1", 9),
    b"a:9|c|#x:1|c:": ("a;x=1", 9),
    # gostatsd
    b"a.b:2|c": ("a.b", 2),
    b"a:5|c|@0.1|#Foo:Bar,baz|c:xyz": ("a;Foo=Bar;baz=true", 50),
    b"a:1|c|#,,|c::,#@": ("a", 1),
    b"a:1|c|c:xyz|#f:b|@0.1": ("a;f=b", 10),
    b"a:1|c|#,|c:xyz|x:": ("a", 1),
    # telegraf
    b"a:4.696E+5|c": ("a", 469_600),
    b"a:100|c\na:-5|c": ("a", 95),
    b"a:1|c|@0.1\na:1|c": ("a", 11),
    # Datadog's client
    b"a:3|c|#x:1|c:ci-1|e:it-false,cn-app|card:low": ("a;x=1", 3),
    b"a:-1|c|@0.5": ("a", -2),
}
GAUGES = {
    b"a:3|g|@0.2": 3,
    b"a:-10|g": -10,
    b"a:100|g\na:-10|g\na:+30|g": 120,
    b"a:100|g\na:300|g": 300,
    b"a:4.7E-5|g": 0.000047,
    b"a:1:2|g": 2,
    b"a:123.4|g|c:ci-1": 123.4,
}
TIMINGS = {
    b"a:0.5:120:3000|ms|@0.5|#x:1": ([0.5, 120.0, 3000.0], 6),
    b"a:0.01|h|@0.2": ([0.01], 5),
    b"a:200|d": ([200.0], 1),
    b"a:+10|ms": ([10.0], 1),
    b"a:4.6968460083008E-5|h": ([4.6968460083008e-05], 1),
}
SETS = {
    b"a:joe|s": 1,
    b"a:100|s\na:100|s\na:101|s": 2,
    b"a:4.696E+5|s\na:4.697E+5|s": 2,
    b"a:john|s|#some:42": 1,
    b"a:45|s|@0.1": 1,
    b"a:+10|s": 1,
}
BAD = {
    b"a": "no_value",
    b"a:1": "no_type",
    b"a:45g": "no_type",
    b"a45|c": "no_value",
    b":1|ms": "no_name",
    b"[x=1]:1|c": "no_name",
    b"a:1o|c": "bad_number",
    b"a:NaN|g": "bad_number",
    b"a:1d1|c": "bad_number",
    b"a:2|t": "unknown_type",
    b"a:1|q": "unknown_type",
    b"a:1|c|": "unknown_section",
    b"a:1|g|:": "unknown_section",
    b"a:1|c|c": "unknown_section",
    b"a:1|c|0.1": "unknown_section",
    b"a:1|c|@foo": "bad_rate",
    b"a:1|c|@0": "bad_rate",
    b"a:1|g|@": "bad_rate",
    b"a:  0.1  -0.05 (  2.4)": "no_type",
    b"|h|#x:A::B,y:1": "no_value",
    b"a\xc3\x28b:1|c": "bad_name",
    b"a:9|c|#x:ok,y:\xc3\x28": "bad_name",
    b"[x=1,y=2a.b$,:1|c": "bad_name",
    b"a,b$:1|g": "bad_name",
    b"_e{1,1}:a|b|d:123|h:host|#x": "event",
    b"_sc|a|0|#x": "service_check",
}


def taken(lines: bytes) -> Aggregator:
    aggregator = Aggregator()
    aggregator.feed(lines)
    return aggregator


@pytest.mark.parametrize("lines", COUNTS)
def test_a_counter_is_read_with_its_tags(lines: bytes):
    key, count = COUNTS[lines]
    assert dict(taken(lines).flush(1.0).counters) == {key: pytest.approx(count)}


@pytest.mark.parametrize("lines", GAUGES)
def test_a_gauge_ends_where_its_lines_lead(lines: bytes):
    assert dict(taken(lines).flush(1.0).gauges) == {"a": GAUGES[lines]}


@pytest.mark.parametrize("lines", TIMINGS)
def test_a_timing_is_each_of_its_values(lines: bytes):
    flush = taken(lines).flush(1.0)
    assert (*flush.samples.values(), *flush.timer_counts.values()) == TIMINGS[lines]


@pytest.mark.parametrize("lines", SETS)
def test_a_set_is_its_different_members(lines: bytes):
    assert list(taken(lines).flush(1.0).sets.values()) == [SETS[lines]]


@pytest.mark.parametrize("line", BAD)
def test_a_line_that_says_nothing_sure_is_bad_for_its_reason(line: bytes):
    aggregator = taken(line)
    assert [bad.reason for bad in aggregator.bad_lines()] == [BAD[line]]
    assert not any(aggregator.statistics().keys.values())


@pytest.mark.parametrize("style", [b"a#x=1:1|c", b"a[x=1]:1|c", b"a,x=1:1|c", b"a;x=1:1|c", b"a:1|c|#x:1"])
def test_tags_are_the_same_series_however_they_are_written(style: bytes):
    aggregator = taken(b"a;x=1:1|c")
    aggregator.feed(style)
    assert (dict(aggregator.flush(1.0).counters), aggregator.bad_lines()) == ({"a;x=1": 2}, ())
