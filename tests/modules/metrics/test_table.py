"""What a rank counts: keys and their filters, what is refused, the swap, rows carried over, tables that are full."""

from __future__ import annotations

import math
from decimal import Decimal
from enum import IntEnum
from fractions import Fraction

import msgspec
import pytest

from modules.metrics import keys
from tests.modules.metrics.rig import shown, stat, table


class Level(IntEnum):
    HIGH = 3


def raising(key, value):
    raise RuntimeError("no")


def test_a_swap_takes_all_and_counting_goes_on_in_a_new_table():
    one = stat(apply=("sum", "max"))
    held = table(one)
    (tap,) = held.taps
    for at, value in enumerate((3, 4)):
        held._clock.reactor.now = at * 10**9
        tap.observe("a", value)
    first = held.swap()
    tap.observe("a", 1)
    assert shown(one, first)["a"] == {
        "key": {"str": "a"},
        "n": 2,
        "begin": 0.0,
        "end": 1.0,
        "sum": 7,
        "max": 4,
    }
    assert shown(one, held.swap())["a"]["sum"] == 1
    assert held.swap() == []


def test_rows_ascend_by_the_canonical_text_of_their_keys():
    held = table(stat())
    for key in ("b", {"z": 1, "a": 2}, "a", {"a": 2, "z": 1}):
        held.taps[0].observe(key, 1)
    assert [row[0] for row in held.swap()] == ['{"a":2,"z":1}', '{"str":"a"}', '{"str":"b"}']


def test_a_text_counts_as_one_and_as_itself():
    one = stat(apply=("sum", "average", "unique", "topk"))
    held = table(one)
    for value in ("a", "b", "a"):
        held.taps[0].observe({"host": "h"}, value)
        held.taps[0].observe("h", value)  # the second of a text key takes the short way
    for row in shown(one, held.swap()).values():
        assert (row["n"], row["sum"], row["average"], row["unique"]) == (3, 3, 1.0, 2)
        assert row["topk"] == [["a", 2, 0], ["b", 1, 0]]


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf, None, [1], {"a": 1}, 1e151, 10**200])
def test_what_is_no_number_is_refused_and_counted(value):
    held = table(stat())
    held.taps[0].observe("a", 1)
    held.taps[0].observe("a", value)
    held.taps[0].observe("b", value)
    assert held.taps[0].refused == 2
    assert [row[1][0][0] for row in held.swap()] == [1]


@pytest.mark.parametrize("key", [{"a": [1]}, 7, None, "x" * 1001, {"a": math.nan}, ["a"]])
def test_what_is_no_key_is_refused_and_counted(key):
    held = table(stat())
    held.taps[0].observe(key, 1)
    if key == {"a": math.nan}:  # JSON has null for it
        assert [row[0] for row in held.swap()] == ['{"a":null}']
    else:
        assert (held.taps[0].refused, held.swap()) == (1, [])


@pytest.mark.parametrize(
    ("normalize", "key", "becomes"),
    [
        ({"mask": 24}, {"host": "10.1.2.3", "p": 1}, {"network": "10.1.2.0/24", "p": 1}),
        ({"mask": 64}, {"host": "10.1.2.3"}, {"network": "10.1.2.3/32"}),
        ({"mask": 64}, {"host": "2001:db8::1"}, {"network": "2001:db8::/64"}),
        ({"table": ["10.0.0.0/8", "10.1.0.0/16"]}, {"host": "10.1.2.3"}, {"network": "10.1.0.0/16"}),
        ({"table": ["10.0.0.0/8"]}, {"host": "11.1.2.3"}, None),
        ({"table": ["10.0.0.0/8"]}, {"str": "x"}, {"str": "x"}),
        ({"drop": ["p"]}, {"host": "h", "p": 1}, {"host": "h"}),
        ({"keep": ["host", "q"]}, {"host": "h", "p": 1}, {"host": "h", "q": None}),
    ],
)
def test_a_stat_changes_a_copy_of_the_key(normalize, key, becomes):
    held, plain = table(stat(normalize=normalize)), table(stat())
    given = dict(key)
    for one in (held, plain):
        one.taps[0].observe(key, 1)
    assert key == given
    assert [row[0] for row in plain.swap()] == [keys.canonical(given)]
    assert [row[0] for row in held.swap()] == ([] if becomes is None else [keys.canonical(becomes)])


def test_a_host_that_is_none_is_refused_by_a_mask():
    held = table(stat(normalize={"mask": 8}))
    held.taps[0].observe({"host": "nowhere"}, 1)
    assert held.taps[0].refused == 1


def test_only_what_a_filter_wants_is_counted():
    held = table(stat(where={"module": "kvs*", "type": "*_tx"}))
    for module, kind in (("kvs", "a_tx"), ("kvs-watch", "b_tx"), ("kvs", "a_rx"), ("sched", "a_tx")):
        held.taps[0].observe({"module": module, "type": kind}, 1)
    held.taps[0].observe("kvs", 1)
    assert len(held.swap()) == 2


ASKED: list[tuple[dict[str, object], object]] = []


def small_networks(key, value):
    """A filter that keeps what it is asked, wants one network, and would change its key."""
    ASKED.append((dict(key), value))
    is_wanted = key.get("network") == "10.1.0.0/16" and value != 7
    key.clear()
    return is_wanted


def test_a_filter_is_asked_of_the_key_as_it_counts_and_where_of_the_key_as_it_is_given():
    ASKED.clear()
    held = table(
        stat(
            normalize={"mask": 16},
            where={"host": "10.*"},
            pred="tests.modules.metrics.test_table:small_networks",
        )
    )
    given = {"host": "10.1.2.3"}
    for key, value in (
        (given, 1),
        ({"host": "10.2.0.1"}, 2),
        ({"host": "11.1.0.1"}, 3),
        (given, 7),
        (given, "x"),
    ):
        held.taps[0].observe(key, value)
    assert given == {"host": "10.1.2.3"}
    assert ASKED == [
        ({"network": "10.1.0.0/16"}, 1), ({"network": "10.2.0.0/16"}, 2), ({"network": "10.1.0.0/16"}, 7),
        ({"network": "10.1.0.0/16"}, "x"),
    ]  # fmt: skip
    assert [(row[0], row[1][0][0]) for row in held.swap()] == [('{"network":"10.1.0.0/16"}', 2)]


def test_a_filter_that_raises_is_used_no_more_and_said():
    held = table(stat(pred="tests.modules.metrics.test_table:raising"))
    for _ in range(2):
        held.taps[0].observe("a", 1)
    assert held.swap() == []
    assert held.taps[0].fault == "s: RuntimeError: no"


def test_a_full_table_counts_new_keys_in_one_row():
    one = stat(max_keys=2)
    held = table(one)
    for key in ("a", "b", "c", "d", "c", "a"):
        held.taps[0].observe(key, 1)
    assert {key: row["sum"] for key, row in shown(one, held.swap()).items()} == {"a": 2, "b": 1, "True": 3}
    assert held.taps[0].overflowed >= 2


def test_carried_rows_are_counted_once_in_the_next_epoch():
    one = stat()
    held, other = table(one), table(one, rank=1)
    for key, value in (("a", 1), ("b", 2)):
        other.taps[0].observe(key, value)
    late = other.swap()
    held.carry(late)
    held.carry(late[:1])
    held.taps[0].observe("a", 10)
    assert {key: row["sum"] for key, row in shown(one, held.swap()).items()} == {"a": 12, "b": 2}
    assert held.swap() == []


def test_a_look_at_one_key_resets_nothing():
    one = stat()
    held = table(one)
    held.taps[0].observe("a", 5)
    held.carry(held.peek(keys.canonical("a")))
    for _ in range(2):
        assert shown(one, held.peek(keys.canonical("a")))["a"]["sum"] == 10
    assert held.peek(keys.canonical("b")) == []


def test_a_stat_of_two_streams_shows_both_and_an_empty_one_where_there_was_none():
    from modules.metrics.stat import read

    one = read(
        {"name": "t", "reducers": [{"stream": "x", "apply": ["sum"]}, {"stream": "y", "apply": ["max"]}]}
    )
    held = table(one)
    held.taps[0].observe("a", 5)
    held.taps[1].observe("b", 6)
    rows = shown(one, held.swap())
    assert (rows["a"]["streams"]["x"]["sum"], rows["a"]["streams"]["y"]["n"]) == (5, 0)
    assert (rows["b"]["streams"]["x"]["sum"], rows["b"]["streams"]["y"]["max"]) == (0, 6)


def test_a_value_of_an_odd_kind_is_refused_also_for_a_key_that_is_known():
    """The first of a key goes another way than those after it."""
    for apply in ("sum", "max"):
        one = stat(apply=(apply,))
        held = table(one)
        held.taps[0].observe("k", 2)
        for odd in (Decimal(1), Fraction(1, 2), Level.HIGH, None, [], float("nan"), 1e151):
            held.taps[0].observe("k", odd)
        held.taps[0].observe("k", True)
        (row,) = held.swap()
        assert held.taps[0].refused == 7
        assert (row[1][0][0], row[1][0][3]) == (2, [3 if apply == "sum" else 2])


def test_a_text_that_is_no_utf8_is_counted_as_what_can_be_sent():
    one = stat(apply=("unique", "topk", "last"))
    held = table(one)
    held.taps[0].observe("k", "a\ud800")
    held.taps[0].observe("k", "a?")
    held.taps[0].observe("\ud800", 1)
    assert held.taps[0].refused == 1
    (row,) = msgspec.json.decode(msgspec.json.encode(held.swap()))
    assert one.finish(row)["unique"] == 1


def test_a_key_of_the_last_epoch_is_counted_as_any_other():
    """The first observation of a known key goes a short way, but not into a full table, nor if it is no integer."""
    one = stat(max_keys=2)
    held = table(one)
    tap = held.taps[0]
    listen = tap.listener()
    for _ in range(2):
        for key, value in (
            ("a", 1),
            ("b", 2.5),
            ("c", 3),
            ("a", 2),
            ("c", True),
            ("b", 2**70),
            ("a", 2**61),
            ("a", 2**61),
        ):
            listen(key, value)
        found = shown(one, held.swap())
        assert {key: (row["n"], row["sum"]) for key, row in found.items()} == {
            "a": (4, float(2**62)), "b": (2, 2.0**70), "True": (2, 4)
        }  # fmt: skip
    assert tap.overflowed == 4


def test_who_listens_goes_on_with_the_next_epoch():
    one = stat()
    held = table(one)
    listen = held.taps[0].listener()
    listen("a", 1)
    first = held.cut()  # its rows are made later
    listen("a", 10)
    assert [one.finish(row)["sum"] for row in first] == [1]
    assert [one.finish(row)["sum"] for row in held.swap()] == [10]


def test_texts_of_keys_are_kept_for_all_tables_and_not_without_end(monkeypatch):
    monkeypatch.setattr(keys, "TEXTS", {})
    monkeypatch.setattr(keys, "_TEXTS_MAX", 3)
    one = stat()
    held, other = table(one), table(one)
    for key in "abcd":
        held.taps[0].listener()(key, 1)
    assert keys.TEXTS == {"d": '{"str":"d"}'}
    one_long = "l" * 129  # of such ones so many would be half a gigabyte
    held.taps[0].listener()(one_long, 1)
    assert one_long not in keys.TEXTS
    other.taps[0].listener()("d", 2)
    assert other.swap()[0][0] is held.swap()[3][0] is keys.TEXTS["d"]


def test_a_filter_sees_also_keys_whose_text_another_stat_has_found():
    table(stat()).taps[0].listener()("seen", 1)
    held = table(stat(where={"str": "other"}))
    held.taps[0].listener()("seen", 1)
    assert held.swap() == []
