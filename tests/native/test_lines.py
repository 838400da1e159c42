"""The compiled tables of the statsd aggregator do what Python's do, to the last bit, and give back what they took."""

from __future__ import annotations

import gc
import re
import sys
import tracemalloc

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from brokersim.statsd.aggregator import Aggregator
from brokersim.statsd.config import AggregatorConfig
from brokersim.statsd.dialects import DIALECTS
from brokersim.statsd.keyed import BEST, PYTHON, Lists
from brokersim.statsd.numbers import format_number
from brokersim.statsd_server.outputs.line_texts import LineTexts
from tests.effort import examples

_lines = pytest.importorskip("brokersim.native._lines", reason="not compiled here")
pytestmark = pytest.mark.skipif(BEST is PYTHON, reason="BROKERSIM_PURE is set, or sources are newer")

KEYS = st.sampled_from(
    [b"a", b"b", b"flux.kvs.0.request_rx", b"flux.kvs.0.request_tx", b"t.x", b"n" * 8, b"new", b"a;b=c", b"\xc3\xa4",
     b"statsd.x", b"statsd.metrics_received", b"n" * 901, b"a b", b"", b"constructor"]
)  # fmt: skip
FIELDS = st.one_of(
    st.integers(0, 10**20).map(lambda n: b"%d" % n),
    st.floats(0, 1e6).map(lambda x: b"%.3f" % x),
    st.decimals(0, 10**9, places=6).map(lambda x: str(x).encode()),
    st.sampled_from(
        b";0;007;5.;.5;.;1.2.3;-0;-5;+5;-5.5;1e3; 5;5 ;1,2;NaN;inf;1e400;0x10;1\r;1:2;9007199254740993;"
        b"99999999999999999;9223372036854775807;123456789012345.6;0.1234567890123456".split(b";")
    ),
)
TYPES = st.sampled_from(
    [b"g", b"c", b"ms", b"h", b"s", b"C", b"x", b"g\r", b"c|@0.1", b"ms|@0.5", b"g|#a:b", b"", b"gg"]
)
PLAIN = st.builds(
    b"%b:%d|%b".__mod__, st.tuples(KEYS, st.integers(0, 10**6), st.sampled_from([b"g", b"c", b"ms"]))
)
LINES = st.one_of(
    PLAIN,
    st.builds(b"%b:%b|%b".__mod__, st.tuples(KEYS, FIELDS, TYPES)),
    st.sampled_from(b"a;:;::||;;a\0:1|c;a|b:1|c;a:1|c:2|g".split(b";")),
    st.binary(max_size=12),
)
PACKETS = st.builds(
    lambda lines, end: b"\n".join(lines) + end,
    st.lists(LINES, max_size=8),
    st.sampled_from([b"", b"", b"\n", b"\n\n", b"\na:1|c" * 700]),
)
WHOLE = re.compile(r"\b(\d+)\.0\b")


def told(aggregator: Aggregator, t: float, texts: LineTexts) -> object:
    """All that anybody is told of an interval. 0 and 0.0 are one number, and a table has no order of lines."""
    flush = aggregator.flush(t)
    values = sorted(WHOLE.sub(r"\1", f"{name} {value}") for name, value in flush.values.items())
    rest = [
        dict(flush.counters),
        dict(flush.totals),
        dict(flush.gauges),
        dict(flush.sets),
        dict(flush.samples),
    ]
    own = dict(flush.self_values), flush.packets, flush.metrics, flush.bad_lines
    block = texts.block(flush)
    return (
        values, WHOLE.sub(r"\1", repr(rest)), own, repr(flush.timed), block.lines, sorted(block.data.split(b"\n")),
        aggregator.bad_lines(), aggregator.statistics(), aggregator.cardinality(),
    )  # fmt: skip


CONFIGS = [
    AggregatorConfig(),
    AggregatorConfig(flush=3, timer_cap=4),
    AggregatorConfig(counter_ttl=1, gauge_ttl=2, timer_ttl=1, set_ttl=1, max_keys=9),
    AggregatorConfig(legacy_namespace=True, global_suffix="here", weighted_timers=True),
]


@settings(max_examples=examples(100))
@given(
    st.lists(st.lists(PACKETS, max_size=5), min_size=1, max_size=4),
    st.sampled_from(DIALECTS),
    st.sampled_from(CONFIGS),
)
@example([[b"a:5|g\na:+3|g\na:7|g"]] * 2, "strict", CONFIGS[0])
@example([[b"a:9223372036854775|c\na:9223372036854775807|c"]] * 3, "strict", CONFIGS[0])
@example([[b"a:1|c", b"b:2.5|g"], [], [b"a:1|c"]], "strict", CONFIGS[2])
@example([[b"a:0|c\na:1.5|c"]] * 2, "collectd", CONFIGS[0])
@example([[b"a:5|x"], [b"a:99999999999999999|c\na:884|g"]], "etsy", CONFIGS[3])
@example([[b"a:.1|ms"], [b"a:1.5|ms"]], "collectd", CONFIGS[0])
def test_compiled_tables_are_those_of_python(
    intervals: list[list[bytes]], dialect: str, config: AggregatorConfig
):
    both = [Aggregator(dialect, config, keyed=keyed) for keyed in (BEST, PYTHON)]
    texts = LineTexts(), LineTexts(compiled=False)
    for t, packets in enumerate(intervals):
        for each in both:
            each.feed_all(
                [bytearray(packet) for packet in packets], lambda index: f"sender {index}", float(t)
            )
            each.feed_lines(
                [line for packet in packets for line in packet.split(b"\n")][:8], "stream", float(t)
            )
        compiled, python = (told(each, t, text) for each, text in zip(both, texts, strict=True))
        assert compiled == python


FORMED = st.builds(
    b"%b:%b|%b".__mod__,
    st.tuples(
        st.sampled_from([b"a", b"b", b"a b", b"constructor"]),
        FIELDS,
        st.sampled_from(b"c|@0.1 c|#x:y g|#x:y g ms|#x:y ms ms|@0.5 h d s C c|@0.3|#x:y".split(b" ")),
    ),
)


@settings(max_examples=examples(100))
@given(
    st.lists(st.lists(FORMED, min_size=8, max_size=40), min_size=2, max_size=3),
    st.sampled_from(["strict", "etsy", "brubeck"]),
    st.sampled_from(CONFIGS),
)
@example(
    [[b"a:1|c|@0.1", b"a:99999999999999999|c|@0.1", b"a:-7|c|@0.1", b"a:2.5|c|@0.1"]] * 2,
    "strict",
    CONFIGS[0],
)
@example([[b"a:1|g|#x:y", b"a:+2|g|#x:y", b"a:-5.5|g|#x:y", b"a:007|g|#x:y"]] * 2, "etsy", CONFIGS[0])
@example(
    [[b"a:1|ms|#x:y", b"a:1:2:3.5|ms|#x:y", b"a:1:2:|ms|#x:y", b"a:1:-2|ms|#x:y"]] * 2, "strict", CONFIGS[0]
)
@example([[b"a:1:2|ms", b"a:" + b":".join([b"1"] * 65) + b"|ms", b"a:1:2|ms"]] * 2, "strict", CONFIGS[0])
def test_lines_of_known_forms_do_what_python_does_with_them(
    intervals: list[list[bytes]], dialect: str, config: AggregatorConfig
):
    both = [Aggregator(dialect, config, keyed=keyed) for keyed in (BEST, PYTHON)]
    texts = LineTexts(), LineTexts(compiled=False)
    for t, lines in enumerate(intervals):
        for each in both:
            each.feed(b"\n".join(lines), "sender", float(t))
        compiled, python = (told(each, t, text) for each, text in zip(both, texts, strict=True))
        assert compiled == python


def test_forms_are_bounded_and_known_ones_ask_nobody():
    taker = reader()
    counts = _lines.Numbers()
    counts[b"a;b=c"] = 0
    taker.point(counts, _lines.Numbers(), _lines.Samples())
    asked: list[bytes] = []
    for number in range(8192):
        taker.remember(b"a", b"c|#b:c" if not number else b"%d" % number, 0, b"a;b=c", 10.0)
    taker.take([b"a:1|c|#b:c\na:-2.5|c|#b:c"], lambda line, _: asked.append(line), None, None, None)
    assert (counts[b"a;b=c"], asked) == (-15.0, [])
    taker.remember(b"a", b"another", 0, b"a;b=c", 10.0)
    taker.take([b"a:1|c|#b:c"], lambda line, _: asked.append(line), None, None, None)
    assert asked == [b"a:1|c|#b:c"]
    with pytest.raises(ValueError, match="0, 1 or 2"):
        taker.remember(b"a", b"s", 3, b"a", 1.0)


class NumbersAreADict(RuleBasedStateMachine):
    """Any order of what a store does with a table, its copies and those that came of it."""

    @initialize()
    def begin(self) -> None:
        self.pairs: list[tuple[object, dict[bytes, object]]] = [(_lines.Numbers(), {})]

    keys = st.sampled_from([b"", b"a", b"ab", b"abcdefgh", b"abcdefghi", b"abcdefgh" * 9]) | st.binary(
        max_size=3
    )
    values = st.one_of(
        st.integers(-3, 3),
        st.integers(-(2**70), 2**70),
        st.floats(allow_nan=False),
        st.none(),
        st.text(max_size=2),
    )
    which = st.integers(0, 5)

    def pair(self, which: int):
        return self.pairs[which % len(self.pairs)]

    @rule(which=which, key=keys, value=values)
    def set(self, which, key, value):
        table, model = self.pair(which)
        table[key] = value
        model[key] = value

    @rule(which=which, key=keys)
    def delete(self, which, key):
        table, model = self.pair(which)
        assert table.pop(key, "none") == model.pop(key, "none")
        assert key not in table
        with pytest.raises(KeyError):
            del table[key]

    @rule(which=which, key=keys)
    def setdefault(self, which, key):
        table, model = self.pair(which)
        assert table.setdefault(key, 7) == model.setdefault(key, 7)

    @rule(which=which)
    def copy(self, which):
        table, model = self.pair(which)
        self.pairs.append((table.copy(), model.copy()))

    @rule(which=which)
    def zero(self, which):
        table, model = self.pair(which)
        self.pairs.append((table.zeroed(), dict.fromkeys(model, 0)))

    @rule(one=which, other=which)
    def add(self, one, other):
        table, model = self.pair(one)
        others, others_model = self.pair(other)
        numbers = [*model.values(), *others_model.values()]
        if table is others or any(value is None or isinstance(value, str) for value in numbers):
            return
        try:
            PYTHON.add_all(model, others_model)
        except OverflowError:  # the largest float and a larger int
            self.pairs = self.pairs[:1]
            self.begin()
            return
        table.add_all(others)

    @invariant()
    def all_are_as_their_models(self):
        for table, model in getattr(self, "pairs", ()):
            assert repr(table.items()) == repr(list(model.items()))
            assert list(table) == list(model)
            assert len(table) == len(model)
            assert all(table.get(key) == value and key in table for key, value in model.items())


TestNumbers = NumbersAreADict.TestCase
TestNumbers.settings = settings(max_examples=examples(40), stateful_step_count=20, deadline=None)


@given(
    st.lists(
        st.tuples(
            st.sampled_from(["extend", "of", "empty", "clear", "longer", "pop"]), st.binary(max_size=1)
        ),
        max_size=30,
    )
)
def test_samples_are_lists(calls):
    table, model = _lines.Samples(), Lists()
    for number, (call, key) in enumerate(calls):
        for each in (table, model):
            if call == "extend":
                each.extend(key, [float(number)] * number)
            elif call == "empty":
                each.empty(key)
            elif call == "clear":
                each.clear_samples()
        assert table.of(key) == model.of(key)
        assert table.longer(9) == model.longer(9)
        if call == "pop":
            assert table.pop(key, None) == model.pop(key, None)
        assert (list(table), len(table), key in table) == (list(model), len(model), key in model)


def test_a_table_that_grows_goes_over_to_a_larger_one_in_steps_and_finds_every_key_meanwhile():
    """All at once, the step from 700,000 keys to one more took 0.1 s, in which packets were lost."""
    table = _lines.Numbers()
    sizes, halfway = [], 0
    for number in range(5000):
        table[b"%d" % number] = number
        sizes.append(sys.getsizeof(table))
        if sizes[-1] < sizes[-2:][0]:
            # The old one is gone. It was there for some keys after the new one came, and what was there is found.
            halfway += 1
            grown = max(at for at in range(number) if sizes[at] - sizes[at - 1] > 8 * number)
            assert number - grown >= grown // 8
        if number % 97 == 0 or halfway % 2:
            assert all(table[b"%d" % each] == each for each in range(max(0, number - 300), number + 1, 7))
            assert all(table[b"%d" % each] == each for each in range(0, number + 1, 61))
            assert b"%d" % (number + 1) not in table
    assert halfway >= 5
    assert table.copy().items() == [(b"%d" % number, number) for number in range(5000)]


@given(
    st.lists(
        st.dictionaries(
            st.one_of(
                st.lists(st.sampled_from([b"a", b"b", b"", b"c;d.e", b"\xff"]), max_size=4).map(b".".join),
                st.binary(max_size=5),
            ),
            st.sampled_from([None, "1.2.3.4:5", "1.2.3.4:6", "elsewhere"]),
            max_size=12,
        ),
        max_size=3,
    ),
    st.integers(1, 4),
)
@example([{b"a.b.c;x=1.2": "s", b"a.b.d": "s", b"a": None, b"b.": "t"}, {b"a.b.c": "s"}], 2)
def test_who_makes_the_series_is_told_as_python_counts(models, top):
    tables = []
    for model in models:
        tables.append(_lines.Numbers())
        for key, sender in model.items():
            tables[-1][key] = sender
        tables[-1][b"gone.for.good"] = "nobody"
        del tables[-1][b"gone.for.good"]
    prefixes, senders = _lines.makers(tuple(tables), top)
    assert (prefixes, senders) == PYTHON.makers(tuple(models), top)
    assert list(senders) == list(PYTHON.makers(tuple(models), top)[1])


@pytest.mark.parametrize("top", [0, -1, 101])
def test_as_many_makers_are_told_as_one_reads(top):
    with pytest.raises(ValueError, match=f"the first 1 to 100 can be told, not {top}"):
        _lines.makers((), top)


def test_rows_that_went_are_forgotten():
    """Names that come and go for ever take no more memory than those that are there."""
    table, samples = _lines.Numbers(), _lines.Samples()
    sizes = []
    for number in range(12_000):
        for each in (b"%d" % number, b"%d" % (number - 50)):
            if number % 2:
                table[each] = number
                samples.extend(each, [1.0])
            else:
                table.pop(each, None)
                samples.pop(each, None)
        for old in (b"%d" % (number - 100), b"%d" % (number - 101), b"%d" % (number - 151)):
            table.pop(old, None)
            samples.pop(old, None)
        sizes.append((sys.getsizeof(table), sys.getsizeof(samples)))
    assert max(sizes) < (2 * max(sizes[:3000])[0], 2 * max(sizes[:3000])[1])


@pytest.mark.parametrize(
    "wrong",
    [
        lambda: _lines.Numbers(1),
        lambda: _lines.Numbers().get("a"),
        lambda: _lines.Numbers().__setitem__(b"a", [1]),
        lambda: _lines.Numbers().__setitem__(b"a", True),
        lambda: _lines.Numbers().__setitem__("a", 1),
        lambda: _lines.Numbers().add_all({}),
        lambda: _lines.makers(({},), 1),
        lambda: _lines.makers([_lines.Numbers()], 1),
        lambda: _lines.Samples().extend(b"a", [1]),
        lambda: _lines.Samples().extend(b"a", (1.0,)),
        lambda: _lines.Samples().of(3),
        lambda: _lines.Reader({}, {}, {}, True, True, 10),
        lambda: reader().take([3], None, None, None, None),
        lambda: reader().take_each(["a"], None, None, None),
        lambda: reader().take([b"new:1|c"], None, None, None, None),
        lambda: reader().take([b"a\0"], None, None, None, lambda _: "many"),
        lambda: reader().welcome((1, 2, 3, 4), (1, 1, 1), 9, 9, {}, b""),
        lambda: welcoming().take([b"new:1|c"], None, None, None, None),
        lambda: welcoming().take([b"new:1|c"], None, None, lambda _: [3], None),
        lambda: welcoming(most=0).take([b"new:1|c"], None, None, None, None),
        lambda: reader().point(_lines.Numbers(), {}, _lines.Samples()),
        lambda: odd().lines(b"", b"", b"", b"", None, None),
        lambda: odd().lines(bytearray(), b"", b"", b"", None, lambda _: "text"),
        lambda: odd().lines(bytearray(), b"", b"", b"", "1", None),
    ],
)
def test_what_has_the_wrong_type_is_a_TypeError(wrong):
    with pytest.raises(TypeError):
        wrong()


def reader():
    return _lines.Reader(_lines.Numbers(), _lines.Numbers(), _lines.Samples(), True, True, 10_000)


def welcoming(most=9):
    taker = reader()
    taker.welcome(tuple(_lines.Numbers() for _ in range(4)), (True, True, True), most, 900, {}, b"statsd.")
    return taker


@pytest.mark.parametrize("most", [2**63 - 1, -(2**63)])
def test_a_sum_that_does_not_fit_is_the_sum(most):
    step = 1 if most > 0 else -1
    for keyed in (BEST, PYTHON):
        table, more = keyed.numbers(), keyed.numbers()
        table[b"k"], more[b"k"] = step, most
        keyed.add_all(table, more)
        assert table[b"k"] == most + step


def test_newcomers_are_welcomed_once():
    taker = welcoming()
    with pytest.raises(RuntimeError):
        taker.welcome(tuple(_lines.Numbers() for _ in range(4)), (True, True, True), 9, 900, {}, b"statsd.")


def test_a_sender_is_asked_for_once_a_packet_that_has_new_names():
    aggregator = Aggregator()
    asked = []

    def sender_of(index: int) -> str:
        asked.append(index)
        return f"sender {index}"

    aggregator.feed_all([b"a:1|c\nb:1|c", b"a:1|c", b"c:1|g\nd:1|ms\na:1|c"], sender_of)
    assert asked == [0, 2]
    assert [aggregator.lookup(key).first_sender for key in "abcd"] == ["sender 0"] * 2 + ["sender 2"] * 2


def odd():
    table = _lines.Numbers()
    table[b"a b"] = 1
    return table


def test_what_python_raises_comes_out_and_what_was_taken_stays():
    table = _lines.Numbers()
    table[b"a"] = 1
    taker = _lines.Reader(table, _lines.Numbers(), _lines.Samples(), True, True, 10_000)

    def stop(line: bytes, index: int) -> None:
        raise KeyboardInterrupt(line, index)

    with pytest.raises(KeyboardInterrupt) as raised:
        taker.take([b"a:1|c", b"a:2|c\nb:1|c\na:4|c"], stop, None, None, None)
    assert raised.value.args == (b"b:1|c", 1)
    assert table[b"a"] == 4


def test_tables_may_be_exchanged_while_lines_are_taken():
    """What Python does with a line may be anything: no pointer outlives it."""
    taker = reader()
    kept = []

    def other(line: bytes, index: int) -> None:
        tables = _lines.Numbers(), _lines.Numbers(), _lines.Samples()
        for number in range(100):
            tables[0][b"%d" % number] = tables[1][b"%d" % number] = 0
        kept.append(tables)
        taker.point(*tables)

    taker.take([b"\n".join(b"%d:1|c" % (number % 101) for number in range(300))], other, None, None, None)
    assert [sum(counts.values()) for counts, _, _ in kept] == [99, 100, 98]


def work(aggregator: Aggregator) -> None:
    for number in range(20):
        aggregator.feed(
            b"a:1|c\nb:2.5|g\nt:1|ms\nbig:99999999999999999999|c\nnew%d:1|g\nc:1|c|#a:b\nbad" % (number % 3)
        )
    aggregator.flush(1.0).counters.items()
    for key in ("a", "b", "t", "new1"):
        for kind in ("counters", "gauges", "timers"):
            aggregator.delete(kind, key)


def test_nothing_leaks():
    aggregator = Aggregator()
    tracemalloc.start()
    for _ in range(30):  # until the ring of bad lines is full
        work(aggregator)
    gc.collect()
    before, references = tracemalloc.get_traced_memory()[0], sys.getrefcount(None)
    for _ in range(200):
        work(aggregator)
    gc.collect()
    grown = tracemalloc.get_traced_memory()[0] - before
    tracemalloc.stop()
    # A leak of one object a round would be 6,000 bytes.
    assert grown < 3000
    assert abs(sys.getrefcount(None) - references) < 100


def test_lines_are_those_that_python_writes():
    table = _lines.Numbers()
    numbers = [
        0,
        -1,
        2**53,
        2**53 + 1,
        -(2**53) - 3,
        2**63 - 1,
        10**30,
        1.0,
        -0.0,
        0.1,
        1e15,
        1e16,
        123456.789,
        5e-324,
    ]
    for number, value in enumerate(numbers):
        table[b"k%d" % number] = value
    table[b"infinite"] = float("inf")
    table[b"none"] = float("nan")
    for divisor in (None, 1, 3, 0.1, 10.0):
        text = bytearray(b"before\n")
        count = table.lines(text, b"p.", b".e", b" 7\n", divisor, None)
        expected = [
            f"p.k{index}.e {format_number(value if divisor is None else value / divisor)} 7\n"
            for index, value in enumerate(numbers)
        ]
        assert text.decode().splitlines(keepends=True) == ["before\n", *expected]
        assert count == len(expected)


def test_a_datagram_that_was_not_received_is_an_IndexError():
    datagrams = _lines.Datagrams(-1)
    assert (datagrams.receive(), datagrams.count, datagrams.size()) == (0, 0, 0)
    for ask in (datagrams.packet, datagrams.name):
        with pytest.raises(IndexError):
            ask(0)
        with pytest.raises(TypeError):
            ask("0")


def test_lines_of_lists_are_those_of_python():
    numbers = [1, -5, 10**30, 0.5, -0.0, 1e15, float("nan"), float("inf"), 123456789.125]
    text = bytearray()
    count = _lines.lines(text, [b"p%d " % index for index in range(len(numbers))], numbers, b" 7\n")
    finite = [(index, number) for index, number in enumerate(numbers) if abs(number) < float("inf")]
    assert text.decode().splitlines() == [f"p{index} {format_number(number)} 7" for index, number in finite]
    assert count == len(finite)
    for wrong in (([b"a"], ["1"], b""), (["a"], [1], b""), ([b"a"], (1,), b"")):
        with pytest.raises(TypeError):
            _lines.lines(text, *wrong)
    with pytest.raises(ValueError, match="each path has one number"):
        _lines.lines(text, [b"a"], [], b"")
    with pytest.raises(TypeError):
        _lines.lines(b"", [b"a"], [1], b"")
    assert text.decode().splitlines() == [f"p{index} {format_number(number)} 7" for index, number in finite]


def test_lines_that_fail_leave_nothing_and_nobody_takes_them_away():
    table, text = odd(), bytearray(b"before")
    table[b"b"] = 2

    def fail(key: bytes) -> bytes:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        table.lines(text, b"", b"", b"", None, fail)
    assert text == b"before"

    def clear(key: bytes) -> bytes:
        text.clear()
        return b"path"

    with pytest.raises(RuntimeError):
        table.lines(text, b"", b"", b"", None, clear)
    with memoryview(text), pytest.raises(BufferError):
        table.lines(text, b"", b"", b"", None, lambda _: b"path")
