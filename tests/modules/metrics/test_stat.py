"""Definitions: what is refused says why; thresholds read rows; equal definitions have one hash."""

from __future__ import annotations

from functools import reduce

import pytest

from modules.metrics.expression import Expression
from modules.metrics.stat import read
from modules.metrics.values import INT_MAX
from tests.modules.metrics.rig import stat

SUM = [{"stream": "s", "apply": ["sum"]}]


@pytest.mark.parametrize(
    ("definition", "says"),
    [
        ({}, "missing required field `name`"),
        ({"name": "t", "reducers": []}, "stat t: name a stream"),
        ({"name": "", "reducers": SUM}, "name has no blank"),
        ({"name": "t", "reducers": [*SUM, *SUM]}, "stream s is named twice"),
        ({"name": "t", "reducers": [{"stream": "s", "apply": ["summ"]}]}, "did you mean sum"),
        ({"name": "t", "reducers": [{"stream": "s", "apply": ["sum", "sum"]}]}, "sum is applied twice"),
        ({"name": "t", "reducers": [{"stream": "s", "apply": []}]}, "apply a reducer"),
        (
            {"name": "t", "reducers": [{"stream": "s", "params": {"topk": 3}}]},
            "no parameter 'topk' of a reducer",
        ),
        ({"name": "t", "reducers": [{"stream": "s", "normalize": {"mask": 8, "table": []}}]}, "not by both"),
        ({"name": "t", "reducers": [{"stream": "s", "normalize": {"mask": 129}}]}, "0 to 128 bits"),
        ({"name": "t", "reducers": [{"stream": "s", "pred": "nosuch:f"}]}, "No module named 'nosuch'"),
        (
            {"name": "t", "reducers": [{"stream": "s", "where": {"a": "[a" * 251}}]},
            "at most 500 characters, not 502",
        ),
        ({"name": "t", "reducers": SUM, "late": "never"}, "late is 'merge-next' or 'drop'"),
        ({"name": "t", "reducers": SUM, "epoch": -1}, "epoch is from 0 to"),
        ({"name": "t", "reducers": SUM, "epoch": 0, "align": "clock"}, "cannot follow the clock"),
        ({"name": "t", "reducers": SUM, "ranks": "3-1"}, "counts down"),
        ({"name": "t", "reducers": SUM, "surprise": 1}, "unknown field `surprise`"),
        ({"name": "t", "reducers": SUM, "threshold": {"value": "sum"}}, "give one of the two"),
        (
            {"name": "t", "reducers": SUM, "threshold": {"value": "sum", "at": 1, "series": [1]}},
            "one of the two",
        ),
        ({"name": "t", "reducers": SUM, "threshold": {"value": "sum", "series": [2, 2]}}, "ascends"),
        ({"name": "t", "reducers": SUM, "threshold": {"value": "max", "at": 1}}, "stream s has no 'max'"),
        (
            {"name": "t", "reducers": SUM, "threshold": {"value": "x.sum", "at": 1}},
            "no stream 'x' in this stat",
        ),
        (
            {"name": "t", "reducers": SUM, "threshold": {"value": "f()", "at": 1}},
            "only stream.reducer, numbers",
        ),
        ({"name": "t", "reducers": SUM, "threshold": {"value": "1 +", "at": 1}}, "not an expression"),
        ({"name": "t", "reducers": SUM, "threshold": {"value": "sum", "at": 1, "hysteresis": 1}}, "below 1"),
    ],
)
def test_what_is_no_stat_is_told(definition, says):
    with pytest.raises(ValueError, match=says):
        read(definition)


def test_equal_definitions_have_one_hash_and_others_another():
    assert stat().hash == stat().hash
    assert len({stat().hash, stat(epoch=1).hash, stat(apply=("sum", "max")).hash, stat(stream="z").hash}) == 4


@pytest.mark.parametrize(
    ("text", "value", "is_sum"),
    [
        ("test.metric.sum", 7, True),
        ("constant 2.0", 2.0, True),
        ("test.metric.sum + 2 * 3", 13, False),
        ("test.metric.sum + test.metric.n + 1", 10, True),
        ("test.metric.sum / test.metric.n", 3.5, False),
        ("test.metric.sum / (test.metric.n - 2)", None, False),
        ("max + n", None, True),
    ],
)
def test_expressions_are_read_and_valued(text, value, is_sum):
    found = Expression.parse(text, {"test.metric": ("sum", "max")})
    terms = {"sum": 7, "n": 2, "max": None}
    assert found.value(lambda stream, result: terms[result]) == value
    assert found.is_sum == is_sum


@pytest.mark.parametrize(
    ("value", "is_watched"),
    [
        ("sum", True),
        ("n + sum", True),
        ("unique + 1", True),
        ("sum / n", False),
        ("average", False),
        ("2.0", True),
    ],
)
def test_only_what_grows_is_watched_during_an_epoch(value, is_watched):
    one = stat(apply=("sum", "average", "unique"), threshold={"value": value, "at": 1.0})
    assert one.is_watched == is_watched


@pytest.mark.parametrize("apply", [["sum"], ["max"], ["sum", "max"]])
def test_rows_of_one_key_at_once_are_as_two_by_two(apply):
    one = read({"name": "t", "reducers": [{"stream": "s", "apply": apply}]})
    odd = [[0.5], INT_MAX - 1, 3, -7, [2.0**70, 0.25]]
    rows = [
        ['{"str":"k"}', [[at + 1, 10 - at, at, [state] * len(apply)]]]
        for at, state in enumerate(odd if apply == ["sum"] else [5, 2, 9, 9, -1])
    ]
    for size in range(1, len(rows) + 1):
        part = rows[-size:]
        assert one.finish(one.merge_all(part)) == one.finish(reduce(one.merge, part))


def test_a_parameter_of_a_reducer_that_is_not_applied_is_refused():
    with pytest.raises(ValueError, match="alpha is a parameter of quantile, which is not applied here: sum"):
        stat(apply=("sum",), params={"alpha": 0.1})
    # Given once for all streams of a stat: it is that of one of them.
    both = {"params": {"topk_size": 3}}
    read({"name": "t", "reducers": [{"stream": "a", "apply": ["topk"], **both}, {"stream": "b", **both}]})
