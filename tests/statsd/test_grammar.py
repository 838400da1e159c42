"""Numbers, names and lines: what each server makes of odd text, and the strict grammar held to a model."""

from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from brokersim.statsd.aggregator import Aggregator
from brokersim.statsd.dialects import DIALECTS, UnknownDialectError, dialect_name
from brokersim.statsd.keys import graphite_path
from brokersim.statsd.names import MAX_KEY, StatsNameError, check_name
from brokersim.statsd.numbers import (
    brubeck_number,
    brubeck_plaintext,
    format_number,
    javascript_number,
    strict_number,
    strtod_number,
)
from brokersim.statsd.parse import judge_strict
from brokersim.statsd.sample import COUNTERS, GAUGES, SETS, TIMERS, BadLineError, Sample

BAD = object()


def outcome(dialect: str, *lines: str) -> object:
    """What the counter k is after the lines, or BAD."""
    aggregator = Aggregator(dialect)
    for line in lines:
        aggregator.feed(line.encode())
    flush = aggregator.flush(1.0)
    if not aggregator.statistics().bad_lines:
        return flush.counters["k"]
    assert flush.counters == {}
    return BAD


# statsd, brubeck, collectd, strict
TEXTS = {
    "k:1e3|c": (1000, 1000, 1000, 1000),
    "k:+5|c": (5, 5, 5, 5),
    "k:1.5|c": (1.5, 1.5, 1.5, 1.5),
    "k:0x10|c": (16, BAD, 16, BAD),
    "k: 5 |c": (5, BAD, BAD, 5),
    "k: 5|c": (5, BAD, 5, 5),
    "k:|c": (BAD, 0, BAD, BAD),
    "k:nan|c": (BAD, BAD, BAD, BAD),
    "k:inf|c": (BAD, BAD, BAD, BAD),
    "k": (BAD, BAD, BAD, BAD),
    "k:1": (BAD, BAD, BAD, BAD),
    "k:x|c": (BAD, BAD, BAD, BAD),
    "k:1_0|c": (BAD, BAD, BAD, BAD),
    "k:1|c|foo": (BAD, BAD, BAD, BAD),
    "k:1|c|@": (BAD, BAD, BAD, BAD),
    "k:1|c|@-0.5": (BAD, BAD, BAD, BAD),
    "k:1|c|@0.1": (10, 10, 10, 10),
    "k:1|c|@1e-1": (1, 10, 10, 10),
    "k:1|c|@0": (math.inf, BAD, BAD, BAD),
    "k:1|c|@2": (0.5, BAD, BAD, BAD),
    "k:1|c|@+0.5": (BAD, 2, 2, 2),
    "k:1|c|@Infinity": (BAD, BAD, BAD, BAD),
    "k:1e400|c": (math.inf, math.inf, BAD, BAD),
}


@pytest.mark.parametrize("line", TEXTS)
@pytest.mark.parametrize("dialect", ["etsy", "brubeck", "collectd", "strict"])
def test_a_text_is_the_number_its_server_reads(line: str, dialect: str):
    wanted = dict(zip(("etsy", "brubeck", "collectd", "strict"), TEXTS[line], strict=True))[dialect]
    got = outcome(dialect, line)
    if wanted is not BAD:
        assert got == pytest.approx(wanted)
    else:
        assert got is BAD


@pytest.mark.parametrize(
    ("line", "reason"),
    [
        ("k:1|c\0", "nul"),
        ("_e{5,4}:title|text", "event"),
        ("_sc|name|0", "service_check"),
        ("k", "no_value"),
        ("k:|c", "no_value"),
        ("k: |g", "no_value"),
        ("k:1", "no_type"),
        ("k:1|", "no_type"),
        ("k:1:2", "no_type"),
        ("k:1|c:2", "no_type"),
        ("k:1|x", "unknown_type"),
        ("k:1|cc", "unknown_type"),
        ("k:1|c|foo", "unknown_section"),
        ("k:1|c|@0.5|@0.5", "unknown_section"),
        ("k:1|c|T", "bad_time"),
        ("k:1|c|T0", "bad_time"),
        ("k:1|c|Tomorrow", "bad_time"),
        ("k:1|c|T1656581409|T1656581410", "unknown_section"),
        ("k:1|c|@0", "bad_rate"),
        ("k:1|c|@1.5", "bad_rate"),
        ("k:1|c|@1e-320", "bad_rate"),
        ("k:1e300|c|@0.1", "bad_rate"),
        ("k:1|C|@0.5", "sampled_total"),
        ("k:-1|C", "negative_total"),
        ("k:-1|ms", "negative_timing"),
        ("k:1e200|ms", "bad_number"),
        ("k:1e400|g", "bad_number"),
        ("k:" + "9" * 400 + "|c", "bad_number"),
        ("k:" + "9" * 5000 + "|g", "bad_number"),
        ("k:²|c", "bad_number"),
        (":1|c", "no_name"),
        ("!!:1|c", "no_name"),
        ("a\x01b:1|c", "bad_name"),
        ("a,b:1|c", "bad_name"),
        ("k:1|c|#:x", "bad_tag"),
        ("st!atsd.x:1|c", "reserved_name"),
        (";a=1:1|c", "no_name"),
        ("x" * (MAX_KEY + 1) + ":1|c", "name_too_long"),
        ("statsd.mine:1|g", "reserved_name"),
        ("k:1|c|#a:1|#b:2", "tags_twice"),
    ],
)
def test_a_bad_line_is_counted_by_its_reason_and_kept_with_its_sender(line: str, reason: str):
    aggregator = Aggregator()
    aggregator.feed(line.encode(), sender="host:9", t=7.5)
    aggregator.feed(b"k:1|c")
    health = aggregator.statistics()
    assert health.bad_by_reason == {reason: 1}
    (bad,) = aggregator.bad_lines()
    assert (bad.sender, bad.t, health.last_bad_t) == ("host:9", 7.5, 7.5)
    assert line.encode().startswith(bad.line)
    flush = aggregator.flush(8.0)
    assert flush.counters == {"k": 1}
    assert flush.self_values[f"counters.statsd.bad_lines.{reason}.count"] == 1


def test_a_name_that_begins_like_a_service_check_is_a_name():
    aggregator = Aggregator()
    aggregator.feed(b"_score:1|c\n_e:1|c\n_sc:1|c")
    assert aggregator.flush(1.0).counters == {"_score": 1, "_e": 1, "_sc": 1}


def test_dogstatsd_tags_and_packed_values_are_read_wherever_they_stand():
    aggregator = Aggregator("dogstatsd")
    aggregator.feed(b"k:1:2|c|#b:2,a:1|@0.5\nk;b=2:4|c|#a:1\nt:1:2|h\nt:3|d\ng:1:+2|g\ns:a:b|s\ns:a|s:b|s")
    flush = aggregator.flush(1.0)
    assert (flush.counters, flush.gauges, flush.sets) == ({"k;a=1;b=2": 10}, {"g": 3}, {"s": 3})
    assert flush.samples == {"t": [1, 2, 3]}
    assert flush.bad_lines == 0


@pytest.mark.parametrize(
    "line", ["foo:1|c|c:x", "foo:1|c|#a:b|c:ci-1", "foo:1|c|e:it-0,cn-x,pu-y", "foo:1|c|card:low|@1",
             "foo:1|c|new_one:a:b", "foo:1|c|c:x|card:none|e:y"],
)  # fmt: skip
def test_sections_of_later_dogstatsd_are_left_alone(line: str):
    aggregator = Aggregator()
    for _ in range(3):  # by its form, too
        aggregator.feed(line.encode())
    flush = aggregator.flush(1.0)
    assert (list(flush.counters.values()), flush.bad_lines) == ([3], 0)


def test_histograms_and_distributions_may_be_below_zero_and_timings_not():
    aggregator = Aggregator()
    for _ in range(2):
        aggregator.feed(b"d:-1.5|d\nd:-3|h\nt:-1|ms")
    flush = aggregator.flush(1.0)
    assert (flush.samples, flush.bad_lines) == ({"d": [-3, -3, -1.5, -1.5]}, 2)
    assert (flush.values["timers.d.lower"], flush.values["timers.d.sum"]) == (-3, -9)


def test_a_timing_may_be_as_large_as_its_sum_of_squares_can_still_be_told():
    aggregator = Aggregator()
    aggregator.feed(b"t:1e150|ms\nh:-1e150|h\nt:1.0000000000000002e150|ms\nh:-1.0000000000000002e150|h")
    flush = aggregator.flush(1.0)
    assert (flush.samples, flush.bad_lines) == ({"t": [1e150], "h": [-1e150]}, 2)


def test_a_value_with_a_time_is_shown_at_that_time_and_counted_in_the_total():
    aggregator = Aggregator()
    aggregator.feed(b"n:2:3|c|T1656581400|@0.5|#a:b\nn:4|c|T1656581400|@0.5|#a:b\nn:1|c|T1656581401|#a:b")
    aggregator.feed(b"g:-5|g|T1656581400\nt:1|ms|T1656581400")
    flush = aggregator.flush(9.0)
    assert flush.timed == {
        1656581400: {"counters.n.rate;a=b": 18, "counters.n.count;a=b": 18, "gauges.g": -5},
        1656581401: {"counters.n.rate;a=b": 1, "counters.n.count;a=b": 1},
    }
    # Of this interval they say nothing; a gauge is what it was last said to be, and a time is no matter of timings.
    assert (flush.counters, flush.totals, flush.gauges) == ({"n;a=b": 0}, {"n;a=b": 19}, {"g": -5})
    assert (flush.samples, flush.bad_lines) == ({"t": [1]}, 0)
    assert aggregator.flush(10.0).timed == {}


def test_strict_keeps_the_values_of_tags_and_names_of_other_alphabets():
    aggregator = Aggregator()
    lines = [
        "k:1|c|#ip:1.2.3.4:5", "k:1|c|#ip:1.2.3.45", "k:1|c|#live", "k:1|c|#a:b;c", "k:1|c|#a b:c d",
        "ключ:1|c", "λ.ω:1|c", "foo,tag=v:1|c", "GET /a:1|c",
    ]  # fmt: skip
    for line in lines:
        aggregator.feed(line.encode())
        aggregator.feed(line.encode())
    flush = aggregator.flush(1.0)
    assert flush.bad_lines == 0
    assert flush.counters == {
        "k;ip=1.2.3.4:5": 2, "k;ip=1.2.3.45": 2, "k;live=true": 2, "k;a=b_c": 2, "k;a_b=c d": 2,
        "ключ": 2, "λ.ω": 2, "foo;tag=v": 2, "GET_-a": 2,
    }  # fmt: skip
    assert aggregator.lookup("GET_-a") is not None
    assert aggregator.delete("counters", "k;a=b_c") == ["k;a=b_c"]


@pytest.mark.parametrize(
    ("first", "second"),
    [("a b:1|c", "a_b:1|c"), ("a_b:1|c", "a b:1|c"), ("a!b:1|c", "ab:1|c"), ("k:1|c|#a:b;c", "k:1|c|#a:b_c"),
     ("k;a=b_c:1|c", "k:1|g|#a:b;c"), ("k:1|c|#a:x y", "k:1|c|#a:x_y")],
)  # fmt: skip
def test_of_two_series_that_would_look_alike_the_later_is_bad(first: str, second: str):
    aggregator = Aggregator()
    for line in (first, second, first, second):
        aggregator.feed(line.encode())
    flush = aggregator.flush(1.0)
    assert list(flush.counters.values()) == [2]
    assert aggregator.statistics().bad_by_reason == {"same_name": 2}
    # Once the first is gone its name is free.
    (name,) = flush.counters
    aggregator.delete("counters", name)
    aggregator.feed(second.encode())
    assert aggregator.flush(2.0).bad_lines == 0


NAME_BYTES = st.text("ab_ /!é;=,.", min_size=1, max_size=5)


@given(st.lists(st.tuples(NAME_BYTES, st.none() | st.text("ab_ ;=:~é", max_size=4)), max_size=12))
def test_what_is_shown_of_names_adds_up_only_what_is_one_series(lines: list[tuple[str, str | None]]):
    aggregator = Aggregator()
    kept: dict[bytes, int] = {}
    for name, tags in lines:
        line = f"{name}:1|c{'' if tags is None else '|#' + tags}".encode()
        try:
            (sample,) = judge_strict(line)
        except BadLineError:
            aggregator.feed(line)
            continue
        before = aggregator.statistics().bad_lines
        aggregator.feed(line)
        if aggregator.statistics().bad_lines == before:
            kept[sample.key] = kept.get(sample.key, 0) + 1
    flush = aggregator.flush(1.0)
    assert sorted(flush.counters.values()) == sorted(kept.values())
    stored = {
        graphite_path(name) for name, _ in flush.graphite() if name.endswith(".count") or ".count;" in name
    }
    own = {name for name in stored if "statsd." in name}
    assert len(stored - own) == len(kept)


def test_a_line_with_a_bad_part_changes_nothing_in_strict():
    aggregator = Aggregator()
    aggregator.feed(b"k:1|c:x|g:5|ms\nt:1:2:x|ms")
    flush = aggregator.flush(1.0)
    assert (flush.values, flush.bad_lines, flush.metrics) == ({}, 2, 2)


# What kills or garbles node's server. The names every JavaScript object has; a message more is all it takes.
@pytest.mark.parametrize("name", ["toString", "constructor", "hasOwnProperty", "__proto__", "valueOf"])
@pytest.mark.parametrize("line", ["{}:1|ms", "{}:x|s", "{}:1|c", "{}:+1|g", "{}:1|g"])
def test_names_every_javascript_object_has_are_ordinary_in_strict_and_never_lethal(name: str, line: str):
    strict, etsy = Aggregator("strict"), Aggregator("etsy")
    for aggregator in (strict, etsy):
        aggregator.feed(line.format(name).encode() + b"\nk:1|c")
    shown = strict.flush(1.0)
    assert shown.bad_lines == 0 and any(name in each for each in shown.values)
    assert etsy.flush(1.0).counters["k"] == 1
    lethal = "ms" in line or "|s" in line
    if lethal:
        assert etsy.statistics().bad_by_reason == {"peer_would_crash": 1}


def test_of_a_line_that_would_end_the_peer_not_even_the_good_values_before_are_taken():
    etsy = Aggregator("etsy")
    etsy.feed(b"k:5|c:1|ms|@+0.5\nj:5|c:x|c")
    assert etsy.flush(1.0).counters.get("k", 0) == 0
    assert etsy.statistics().bad_by_reason["peer_would_crash"] == 1
    assert etsy.flush(2.0).counters["j"] == 0, "one bad value of a line takes nothing from the others"


def test_brubeck_takes_no_name_with_a_blank():
    brubeck = Aggregator("brubeck")
    brubeck.feed(b"a b:1|c\nab:1|c")
    assert brubeck.statistics().bad_by_reason == {"blank_in_name": 1}


def test_an_unknown_dialect_is_refused_with_the_known_ones():
    with pytest.raises(UnknownDialectError, match="strict, etsy, brubeck, collectd"):
        Aggregator("statds")
    assert dialect_name("statsd") == "etsy"


# --- numbers against Python's own


@given(st.integers(-(10**40), 10**40))
def test_integers_stay_integers_of_any_size(value: int):
    read = strict_number(str(value).encode())
    assert read == value and isinstance(read, int)
    assert int(format_number(value)) == value


@given(st.floats(-1e300, 1e300))
def test_floats_come_back_as_they_were_from_every_reader(value: float):
    text = format_number(value)
    assert text != "-0"
    assert strict_number(text.encode()) == strtod_number(text.encode()) == javascript_number(text) == value
    assert brubeck_number(text.encode()) == value


@given(st.text("0123456789+-.eExXinfaN_ ", max_size=12))
def test_readers_take_nothing_that_python_would_not_and_never_raise(text: str):
    raw = text.encode()
    strict = strict_number(raw)
    if strict is not None:
        assert strict == float(text)
        assert strtod_number(raw.strip()) == strict == javascript_number(text)
    javascript_number(text)
    brubeck_number(raw)


@pytest.mark.parametrize(
    ("value", "shown"),
    [(0.7, 0.6999), (-2.5, -2.5), (16777217, 16777216), (5e9, 705032704), (-5e9, -705032704), (0.00001, 0.0),
     (math.inf, 2**32 - 1), (1e30, 2**32 - 1)],
)  # fmt: skip
def test_brubeck_shows_single_precision_whole_parts_of_32_bits_and_four_decimals(value: float, shown: float):
    assert brubeck_plaintext(value) == pytest.approx(shown, abs=1e-12)


# --- the strict grammar against a model that builds lines


NAMES = st.from_regex(r"[A-Za-z0-9_.\-]{1,20}", fullmatch=True).filter(
    lambda name: not name.startswith("statsd.")
)
NUMBERS = st.integers(-(10**12), 10**12) | st.floats(-1e9, 1e9).filter(lambda value: value != 0)
LETTERS = {"c": COUNTERS, "g": GAUGES, "ms": TIMERS, "h": TIMERS, "d": TIMERS}


@given(NAMES, st.lists(st.tuples(NUMBERS, st.booleans()), min_size=1, max_size=4), st.sampled_from(sorted(LETTERS)),
       st.none() | st.sampled_from(["0.1", "0.5", "1", "1e-3"]), st.dictionaries(NAMES, NAMES, max_size=3),
       st.permutations(["rate", "tags"]), st.sampled_from(["", "\r"]))  # fmt: skip
def test_every_line_that_can_be_built_is_read_back(
    name: str, numbers: list[tuple[float, bool]], letter: str, rate: str | None, tags: dict[str, str],
    order: list[str], end: str,
):  # fmt: skip
    kind = LETTERS[letter]
    values = [abs(value) if kind == TIMERS else value for value, _ in numbers]
    texts = [
        f"{'+' if plus and value >= 0 else ''}{value!r}"
        for value, (_, plus) in zip(values, numbers, strict=True)
    ]
    sections = {"rate": f"|@{rate}" if rate else "", "tags": ""}
    if tags:
        sections["tags"] = "|#" + ",".join(f"{tag}:{value}" for tag, value in tags.items())
    line = f"{name}:{':'.join(texts)}|{letter}{sections[order[0]]}{sections[order[1]]}{end}"
    key = ";".join([name, *sorted(f"{tag}={value}" for tag, value in tags.items())])
    weight = 1 / float(rate) if rate and kind != GAUGES else 1
    assert judge_strict(line.encode()) == tuple(
        Sample(kind, key.encode(), value, weight, kind == GAUGES and text[0] in "+-")
        for value, text in zip(values, texts, strict=True)
    )


@given(NAMES, st.text(max_size=10).filter(lambda text: not set(text) & set("|\0\r")))
def test_a_set_takes_any_string_colons_included(name: str, element: str):
    (sample,) = judge_strict(f"{name}:{element}|s".encode())
    assert (sample.kind, sample.element) == (SETS, element.encode() or b"0")


@given(st.binary(max_size=80))
def test_no_bytes_raise_anything_but_a_bad_line(line: bytes):
    try:
        samples = judge_strict(line, b"statsd.")
    except BadLineError:
        return
    assert samples and all(0 < len(sample.key) <= MAX_KEY for sample in samples)


@pytest.mark.parametrize("name", ["", "a b", "a:b", "a|b", "é", "a\n", "x" * 901])
def test_a_name_that_would_be_mangled_is_refused_with_a_reason(name: str):
    with pytest.raises(StatsNameError, match="metric name"):
        check_name(name)


@given(NAMES)
def test_a_name_that_may_be_sent_reaches_every_dialect_as_it_is(name: str):
    assert check_name(name) == name
    for dialect in DIALECTS:
        if dialect == "brubeck" and name.endswith("."):
            continue
        aggregator = Aggregator(dialect)
        aggregator.feed(f"{name}:3|g".encode())
        # Node statsd keeps what is called so on no object of its own, and finds nothing wrong with the line.
        is_lost = dialect == "etsy" and name == "__proto__"
        flush = aggregator.flush(1.0)
        assert (flush.gauges, flush.bad_lines) == ({} if is_lost else {name: 3}, 0)


@pytest.mark.parametrize("kind", ["g", "c"])
def test_what_is_called_like_every_objects_prototype_is_lost_in_etsy_without_a_word(kind: str):
    aggregator = Aggregator("etsy")
    aggregator.feed(f"__proto__:3|{kind}".encode())
    flush = aggregator.flush(1.0)
    assert (flush.gauges, flush.counters.get("__proto__"), flush.bad_lines) == ({}, None, 0)
