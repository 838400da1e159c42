"""Lines read as columns: the same as one by one, for any bytes, and each bad line has its own sender."""

from __future__ import annotations

import re

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from brokersim.statsd.aggregator import Aggregator
from brokersim.statsd.config import AggregatorConfig
from brokersim.statsd.dialects import DIALECTS
from brokersim.statsd.keyed import BEST, PYTHON, Keyed
from brokersim.statsd.plain import joined_lines, packets_of_lines, plain_lines
from tests.effort import examples

KEYS = st.sampled_from(
    [b"a", b"b", b"flux.kvs.0.request_rx", b"known", b"t.x", b"new", b"a;b=c", b"statsd.x", b"n" * 901]
)
NUMERALS = st.one_of(
    st.integers(0, 10**19).map(lambda n: b"%d" % n),
    st.floats(0, 1e6).map(lambda x: b"%.3f" % x),
    st.sampled_from(
        b";0;007;5.;.5;.;1.2.3;-0;-5;+5;1e3; 5;5 ;1,2;true;null;NaN;1e400;0x10;1_0;1\r;[1]".split(b";")
    ),
)
TYPES = st.sampled_from([b"g", b"c", b"ms", b"h", b"s", b"C", b"x", b"g\r", b"c|@0.1", b"g|#a:b", b"", b"gg"])
PLAIN = st.builds(
    b"%b:%d|%b".__mod__, st.tuples(KEYS, st.integers(0, 10**6), st.sampled_from([b"g", b"c", b"ms"]))
)
LINES = st.one_of(
    PLAIN,
    PLAIN,
    st.builds(b"%b:%b|%b".__mod__, st.tuples(KEYS, NUMERALS, TYPES)),
    # What makes columns slip: separators too many here, too few there.
    st.sampled_from(b"known;5|g:other;known:5;a:1|c:2|g;|g;:;::||;;a\0:1|c;a|b:1|c".split(b";")),
    st.binary(max_size=12),
)  # fmt: skip
PACKETS = st.builds(
    lambda lines, end: b"\n".join(lines) + end,
    st.lists(LINES, max_size=6),
    st.sampled_from([b"", b"", b"\n"]),
)
WARM = [b"\n".join(b"%b:1|%b" % (key, kind) for kind in (b"g", b"c", b"ms"))
        for key in (b"a", b"b", b"flux.kvs.0.request_rx", b"known", b"t.x")]  # fmt: skip


# Python's, which read columns, and what is compiled where it is.
TABLES = [PYTHON] if BEST is PYTHON else [PYTHON, BEST]
WHOLE = re.compile(r"\b(\d+)\.0\b")


@settings(max_examples=examples(120))
@given(st.lists(PACKETS, min_size=1, max_size=12), st.sampled_from(DIALECTS))
@example([b"known\n5|g:other:6|g"], "strict")
@example([b"known:1|g", b"\n", b"known:2|g"], "brubeck")
@example([b"known:1|g\n", b"known:2|g\n", b""], "brubeck")
@example([b"known:1|g\na:3|g\nknown:2|g", b"b:4|g"], "strict")
@example([b"known:1|g\nnew:3|g\nknown:2|g"], "etsy")
@example([b"a:0|c"], "collectd")
@example([b"known:7|g\na:7|g", b"known:2|g\na:5|c\n" * 300], "strict")
@example([b"known:7|g", b"known:1.5|c", b"known:2.5|g"], "collectd")
@pytest.mark.parametrize("keyed", TABLES, ids=lambda keyed: type(keyed).__name__)
def test_packets_taken_in_at_once_do_what_they_do_one_by_one(
    keyed: Keyed, packets: list[bytes], dialect: str
):
    """The first interval makes some keys known, so that the second goes both ways."""
    at_once, one_by_one = Aggregator(dialect, keyed=keyed), Aggregator(dialect, keyed=keyed)
    for share in (WARM, packets):
        for index, packet in enumerate(share):
            one_by_one.feed(packet, f"sender {index}", 1.0)
        at_once.feed_all([bytearray(packet) for packet in share], lambda index: f"sender {index}", 1.0)
        ours, theirs = at_once.flush(1.0), one_by_one.flush(1.0)
        # As text: of an infinite timing statsd makes NaN, which equals nothing. 0 and 0.0 are one number.
        assert WHOLE.sub(r"\1", repr(ours)) == WHOLE.sub(r"\1", repr(theirs))
        assert at_once.bad_lines() == one_by_one.bad_lines()
        assert at_once.statistics() == one_by_one.statistics()


@given(
    st.lists(
        st.one_of(st.integers(0, 10**15), st.floats(0, 1e9).map(lambda x: round(x, 4))),
        min_size=1,
        max_size=50,
    )
)
def test_numbers_are_those_that_python_reads(numbers: list[float]):
    # repr of small floats has an exponent, which is not plain.
    texts = [f"{number:.4f}" if isinstance(number, float) else str(number) for number in numbers]
    found = plain_lines("\n".join(f"k:{text}|ms" for text in texts).encode())
    assert found is not None
    assert found.numbers == [float(text) if "." in text else int(text) for text in texts]
    assert [type(number) for number in found.numbers] == [float if "." in text else int for text in texts]


def test_a_line_knows_its_packet():
    packets = [b"a:1|c\nb:1|c\n", b"", b"c:1|c", b"d:1|c\ne:1|c"]
    assert [packets_of_lines(packets)(line) for line in range(5)] == [0, 0, 2, 3, 3]


@pytest.mark.parametrize("keyed", TABLES, ids=lambda keyed: type(keyed).__name__)
def test_a_long_packet_of_known_gauges_and_a_counter_is_not_taken_for_gauges_alone(keyed: Keyed):
    aggregator = Aggregator("strict", keyed=keyed)
    aggregator.feed(b"a:1|g\nb:1|g")
    aggregator.feed(b"a:2|g\nb:5|c\n" * 400 + b"a:3|g")  # it begins and ends with one
    flush = aggregator.flush(1.0)
    assert (flush.gauges, flush.counters) == ({"a": 3, "b": 1}, {"b": 2000})


@pytest.mark.parametrize(
    ("known", "line", "reason"),
    [(b"a:1|g\nb:1|g", b"new:1|g", "too_many_keys"), (b"a/b:1|g", b"a-b:1|g", "same_name")],
)
@pytest.mark.parametrize("keyed", TABLES, ids=lambda keyed: type(keyed).__name__)
def test_a_new_name_in_columns_is_refused_for_what_refuses_it_alone(
    keyed: Keyed, known: bytes, line: bytes, reason: str
):
    aggregator = Aggregator(config=AggregatorConfig(max_keys=2), keyed=keyed)
    aggregator.feed(known)
    aggregator.feed_all([line, b"a:2|g"], lambda index: f"sender {index}")
    bad = aggregator.bad_lines()[0]
    assert (bad.reason, bad.line, bad.sender) == (reason, line, "sender 0")
    assert sum(aggregator.statistics().keys.values()) == known.count(b":") + (reason == "same_name")


@pytest.mark.parametrize("packets", [(b"a", b"b"), (b"a\n", b"b"), (b"a", b"b\n"), (b"a\n", b"b\n")])
def test_a_newline_at_the_end_of_a_packet_makes_no_empty_line(packets):
    assert joined_lines(packets) == b"a\nb"
