"""Forms of lines: what was judged once is taken as if it were judged each time."""

from __future__ import annotations

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from brokersim.statsd.aggregator import Aggregator
from brokersim.statsd.config import AggregatorConfig
from brokersim.statsd.dialects import DIALECTS, open_dialect
from brokersim.statsd.forms import Form, Forms, plain_value
from brokersim.statsd.keyed import BEST, PYTHON, Keyed
from brokersim.statsd.sample import GAUGES
from tests.effort import examples

HEADS = st.sampled_from(
    [b"a", b"b/c d", b"t;x=y", b"_e{1,1}", b"toString", b"constructor", b"statsd.x", b"k|#q", b"", b"a\0"]
)
VALUES = st.one_of(
    st.integers(-20, 20).map(lambda n: b"%+d" % n),
    st.integers(0, 10**19).map(lambda n: b"%d" % n),
    st.floats(0, 1e6).map(lambda x: b"%.2f" % x),
    st.sampled_from(b";1:2:3;1:x:3;1:;-5;-0;1e3;5.;.5;.;nan;0x10; 5;1e400;1_0;99999999999999999;5\0;+;+-1".split(b";")),
)  # fmt: skip
TAILS = st.sampled_from(
    b"c;g;ms;h;d;C;s;x;c|@0.1;ms|@0.5;g|@0.1;c|@+0.5;c|@0;c|@1e-12;g|#b:1,a;c|#a:b|@0.5;c|@0.5|#a:b;c\r;c:5|g;ms:7|ms"
    b";c|#a|#b;c|T1".split(b";")
)
TABLES = [PYTHON] if BEST is PYTHON else [PYTHON, BEST]
LINES = st.builds(b"%b:%b|%b".__mod__, st.tuples(HEADS, VALUES, TAILS))


def judging(dialect: str, config: AggregatorConfig) -> Aggregator:
    """One that knows no forms."""
    opened = open_dialect(dialect, config)
    opened.has_forms = False  # type: ignore[misc]  # of this one alone
    return Aggregator(opened, keyed=PYTHON)


@pytest.mark.parametrize("keyed", TABLES, ids=lambda keyed: type(keyed).__name__)
@settings(max_examples=examples(100))
@given(
    st.lists(st.lists(LINES, max_size=8), max_size=4),
    st.sampled_from(["strict", "etsy"]),
    st.sampled_from([0, 1]),
)
@example([[b"a:1|ms", b"a:1:2|ms", b"a:1:2|ms"]], "etsy", 0)
@example([[b"a:5|g", b"a:+5|g|#b:1", b"a:-0|g"]], "strict", 0)
@example([[b"a:1|ms|@0.5", b"a:1:2|ms|@0.5"]], "strict", 0)
@example([[b"a:0|C", b"a:7|C", b"a:3|C"]], "strict", 1)
@example([[b"toString:0|g", b"toString:+1|g"]], "etsy", 0)
def test_a_known_form_says_what_the_judge_says(
    keyed: Keyed, rounds: list[list[bytes]], dialect: str, ttl: int
):
    config = AggregatorConfig(counter_ttl=ttl, gauge_ttl=ttl, timer_ttl=ttl, max_keys=12)
    quick, slow = Aggregator(dialect, config, keyed=keyed), judging(dialect, config)
    for number, lines in enumerate(rounds):
        # Twice: the second time all forms are known.
        for line in lines + lines:
            quick.feed(line, "someone", 1.0)
            slow.feed(line, "someone", 1.0)
        ours, theirs = quick.flush(float(number)), slow.flush(float(number))
        assert ours.values == pytest.approx(theirs.values, nan_ok=True)
        for table in ("counters", "gauges", "sets"):
            assert getattr(ours, table) == pytest.approx(getattr(theirs, table), nan_ok=True)
        assert (ours.samples, ours.timer_counts) == (theirs.samples, theirs.timer_counts)
        assert quick.bad_lines() == slow.bad_lines()
        assert quick.statistics() == slow.statistics()


def test_forms_without_end_cost_no_memory_without_end():
    aggregator = Aggregator(config=AggregatorConfig(max_keys=10))
    for number in range(9000):
        aggregator.feed(b"k:1|c|@0.5|#n:%d" % number)
        aggregator.feed(b"k:1|c|#t:%d" % (number % 5))
    assert len(aggregator._judged.forms) <= 8192
    assert aggregator.flush(1.0).counters["k;t=0"] == 1800


@pytest.mark.parametrize(
    ("field", "value"),
    [
        (b"12", 12),
        (b"-12", -12),
        (b"12.0", 12.0),
        (b"1" * 15, int("1" * 15)),
        (b"1" * 16, None),
        (b"1e3", None),
        (b"", None),
    ],
)
def test_a_plain_number_is_whole_if_it_was_written_so_and_none_is_longer_than_others_read(
    field: bytes, value: float | None
):
    found = plain_value(GAUGES, field)
    assert (found, type(found)) == (value, type(value))


@pytest.mark.parametrize(
    ("line", "form"),
    [
        (b"k:1|c|@0.5", Form("counters", b"k", 2.0)),
        (b"k:1|c|#a:b", Form("counters", b"k;a=b", 1)),
        (b"k:1|g", Form("gauges", b"k", 1)),
        (b"k:1:2|ms", Form("timers", b"k", 1)),
        (b"k:1:2|c", None),  # of counters a line is one value
        (b"k:1|c|@1e-10", None),  # a weight that no sum would bear
        (b"k:1|c|T1700000000", None),  # a time of its own
        (b"k:x|c", None),
        (b"k:1", None),
        (b"w:1|c", None),  # what is judged each time
    ],
)
def test_the_form_of_a_line_is_kept_if_its_values_mean_the_same_wherever_it_stands(line, form):
    forms = Forms(without={b"w"})
    forms.remember(line, open_dialect("strict", AggregatorConfig()).judge(line))
    name, _, rest = line.partition(b":")
    assert forms.find((name, rest.partition(b"|")[2])) == form and len(forms) == (form is not None)


@pytest.mark.parametrize("keyed", TABLES)
@pytest.mark.parametrize("packets", [[b"k:%d|c"], [b"k:0|c", b"k:%d|c"], [b"k:%d|c\n" + b"jj:1|c\n" * 999]])
@pytest.mark.parametrize("number", [2**53 - 1, 2**53 + 1, 10**16 + 1, 10**17 - 1])
def test_a_count_that_no_double_holds_is_one_number_in_each_dialect_however_it_comes(keyed, packets, number):
    """etsy and collectd read doubles; brubeck and strict keep integers. The short ways in must not differ."""
    for dialect in DIALECTS:
        short, alone = Aggregator(dialect, keyed=keyed), Aggregator(dialect, keyed=PYTHON)
        for packet in packets:
            short.feed(packet.replace(b"%d", b"%d" % number))
        alone.feed(b"k:%d|c" % number)
        found, one = (each.flush(1.0).counters for each in (short, alone))
        assert found["k"] == one["k"], dialect


@pytest.mark.parametrize("keyed", TABLES)
@pytest.mark.parametrize("field", [b"1.5", b".5", b"0.75", b"1.", b"12345678901234.5"])
def test_a_time_with_decimals_is_one_time_in_each_dialect_whether_its_name_is_new_or_known(keyed, field):
    for dialect in DIALECTS:
        aggregator = Aggregator(dialect, keyed=keyed)
        for _ in range(3):
            aggregator.feed(b"k:%b|ms" % field)
        assert aggregator.flush(1.0).samples["k"] == [float(field)] * 3, dialect
