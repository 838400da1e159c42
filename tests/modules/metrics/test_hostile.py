"""Whatever a request or an event to the service is made of, it is answered or logged in a line; the module stays."""

from __future__ import annotations

import math
from typing import Any

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from brokersim.protocol.errnums import EINVAL, EPROTO, RequestError
from modules.metrics.expression import Expression
from modules.metrics.stat import read
from tests.effort import examples
from tests.modules.metrics.live import Cluster, cluster

STREAMS = {"s": ("sum", "average"), "a.b": ("sum",)}
PLAIN = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(),
    st.floats(allow_nan=False, allow_infinity=False),
    st.text(max_size=8),
)
JSON = st.recursive(
    PLAIN,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=4), inner, max_size=3),
    max_leaves=8,
)


def nested(levels: int) -> Any:
    value: Any = 1
    for _ in range(levels):
        value = [value]
    return value


# -- thresholds


def value_of(text: str, **terms: float) -> float | None:
    return Expression.parse(text, STREAMS).value(lambda stream, result: terms[result])


def test_a_sum_as_long_as_can_be_said_is_worked_out():
    text = "+".join(["1"] * 500)
    assert len(text) == 999 and value_of(text) == 500
    deep = "(" * 150 + "s.sum" + ")" * 150
    assert value_of(deep, sum=7) == 7
    left = "1-(" * 90 + "s.sum" + ")" * 90
    assert value_of(left, sum=7) == 7


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("+".join(["1"] * 600), "at most 1000 characters, not 1199"),
        ("(" * 300 + "1" + ")" * 300, "not an expression"),
        ("-" * 900 + "1", "only stream.reducer, numbers"),
        ("a." * 480 + "b", "no stream"),
        ("9" * 999, "only stream.reducer, numbers"),
        ("1if 1else 0", "only stream.reducer, numbers"),
        ("s.sum(1)", "only stream.reducer, numbers"),
        ("s.sum ** 9999", "only stream.reducer, numbers"),
        ("\0", "not an expression"),
        ("", "not an expression"),
    ],
)
def test_what_is_no_expression_is_said_so_in_a_line(text, says, recwarn):
    with pytest.raises(ValueError, match=says) as caught:
        Expression.parse(text, STREAMS)
    assert len(str(caught.value)) < 200
    assert not recwarn.list


def test_a_value_beyond_all_numbers_is_none():
    product = " * ".join(["s.sum"] * 30)
    assert value_of(product, sum=10**20) is None
    assert value_of(product, sum=1e20) is None
    assert value_of("s.sum * 1e150 * 1e150", sum=1) == pytest.approx(1e300)
    assert value_of("s.sum * s.sum", sum=2**40) == 2.0**80
    assert value_of("s.sum / s.average", sum=1, average=0) is None
    assert value_of("s.sum / s.average", sum=1, average=5e-324) is None  # not a zero, and Python says inf
    assert value_of("s.sum / s.average - s.sum / s.average", sum=1, average=5e-324) is None  # nan
    assert value_of("1 / (s.sum / s.average)", sum=1, average=5e-324) == 0


ATOMS = st.one_of(
    st.integers(0, 10**6).map(str),
    st.floats(0, 1e6).map(repr),
    st.sampled_from(["s.sum", "s.average", "a.b.sum", "s.n"]),
)
EXPRESSIONS = st.recursive(
    ATOMS,
    lambda inner: st.tuples(inner, st.sampled_from("+-*/"), inner).map(lambda three: f"({' '.join(three)})"),
    max_leaves=12,
)


@given(
    text=EXPRESSIONS,
    terms=st.fixed_dictionaries({name: st.floats(-1e3, 1e3) for name in ("sum", "average", "n")}),
)
@example("1 / 5e-324", {"sum": 0.0, "average": 0.0, "n": 0.0})
@example("s.sum / s.average", {"sum": 1.0, "average": 2.2250738585e-313, "n": 0.0})
@settings(max_examples=examples(150), deadline=None)
def test_an_expression_is_what_Python_makes_of_it(text, terms):
    plain = text.replace("a.b.sum", "sum").replace("s.", "")
    try:
        wanted = eval(plain, {"__builtins__": {}}, terms)
    except ZeroDivisionError:
        wanted = math.nan
    found = value_of(text, **terms)
    # What is no number, or beyond all, is none: a threshold says nothing of it.
    assert found == pytest.approx(wanted) if math.isfinite(wanted) else found is None
    assert Expression.parse(text, STREAMS).is_sum == (not set("-*/") & set(text.replace("e-", "")))


# -- definitions

REDUCERS = st.sampled_from(["sum", "topk", "unique", "quantile", "histogram", "last", "sample"])
PARAMS = st.sampled_from(["topk_size", "bounds", "alpha", "max_bins", "unique_max"])
NORMALISERS = st.sampled_from(["mask", "table", "drop", "keep", "function"])
FIELDS = [
    "epoch",
    "align",
    "timeout",
    "late",
    "retain",
    "quorum",
    "group",
    "max_keys",
    "ranks",
    "sinks",
    "compat",
]
SOURCES = st.fixed_dictionaries(
    {"stream": st.just("s") | JSON},
    optional={
        "apply": st.lists(REDUCERS | st.text(max_size=3), max_size=4) | JSON,
        "params": st.dictionaries(PARAMS, JSON, max_size=2) | JSON,
        "normalize": st.dictionaries(NORMALISERS, JSON, max_size=2) | JSON,
        "where": JSON,
        "pred": JSON,
    },
)
THRESHOLDS = st.fixed_dictionaries(
    {"value": EXPRESSIONS | JSON}, optional={"at": JSON, "series": st.lists(PLAIN)}
)
DEFINITIONS = st.fixed_dictionaries(
    {"name": st.just("t") | JSON, "reducers": st.lists(SOURCES, max_size=2) | JSON},
    optional={"threshold": THRESHOLDS | JSON, **dict.fromkeys(FIELDS, JSON)},
)


@given(definition=DEFINITIONS)
@settings(max_examples=examples(150), deadline=None)
def test_a_definition_is_a_stat_or_a_ValueError(definition):
    told = ""
    try:
        found = read(definition)
    except ValueError as error:
        told = str(error)
    assert 0 < len(told) < 2000 if told else found.streams


@pytest.mark.parametrize(
    ("more", "says"),
    [
        ({"epoch": 1e-6}, "epoch is 0.01 s or more, or 0"),
        ({"name": "n" * 201}, "at most 200 characters"),
        ({"reducers": [{"stream": "s" * 201}]}, "at most 200 characters"),
        ({"reducers": [{"stream": f"s{at}"} for at in range(101)]}, "100 streams are the most"),
        ({"reducers": [{"stream": "s", "apply": [f"x{at}" for at in range(50_000)]}]}, "no reducer 'x0'"),
        ({"reducers": [{"stream": "s", "params": {"bounds": nested(200)}}]}, "at most 64 deep"),
        ({"sinks": [{"file": nested(900)}]}, "at most 64 deep"),
    ],
)
def test_bounds_of_a_definition(more, says):
    with pytest.raises(ValueError, match=says) as caught:
        read({"name": "t", "reducers": [{"stream": "s"}], **more})
    assert len(str(caught.value)) < 300


# -- the service

ORDER = {"uid": "u", "name": "t", "hash": "HASH", "epoch": 1, "requested": 0, "budget": 1}
HOSTILE: tuple[tuple[str, Any, int], ...] = (
    ("create", {"definition": {"name": "d", "reducers": nested(900)}}, EINVAL),
    ("create", {"definition": {"name": "d", "reducers": [{"stream": "s", "params": {"bounds": nested(300)}}]}}, EINVAL),
    ("create", {"definition": {"name": "d", "reducers": [{"stream": "s"}], "sinks": [{"file": 5}]}}, EINVAL),
    ("create", {"definition": {"name": "d", "reducers": [{"stream": "s"}], "sinks": [{}]}}, EINVAL),
    (
        "create",
        {"definition": {"name": "d", "reducers": [{"stream": "s"}], "threshold": {"value": "1+" * 600 + "1", "at": 1}}},
        EINVAL,
    ),
    ("create", {"definition": nested(10)}, EPROTO),
    ("create", {"definition": {"name": "d", "reducers": [{"stream": "s"}], "ranks": "0-4294967295"}}, EINVAL),
    ("observe", {"stream": "s", "key": {"a": nested(900)}}, EINVAL),
    ("observe", {"stream": "s", "key": nested(900)}, EPROTO),
    ("observe", {"stream": "s", "key": "k", "value": nested(900)}, EPROTO),
    ("observe", {"stream": "s", "key": "k" * 100_000}, EINVAL),
    ("request-key", {"name": "t", "key": {"a": nested(900)}}, EINVAL),
    ("gather", {"name": "t", "top": -1}, EPROTO),
    ("gather", {"name": "t", "by": nested(3)}, EPROTO),
    ("handover", {"name": "t", "hash": "?", "rows": []}, 2),
    ("handover", {"name": "t", "hash": "HASH", "rows": [5]}, EPROTO),
    ("handover", {"name": "t", "hash": "HASH", "rows": [["{}", [["n", 1, 2, [3]]]]]}, EPROTO),
    ("handover", {"name": "t", "hash": "HASH", "rows": [["{}", [[1, 1, 2, ["x"]]]]]}, EPROTO),
    ("handover", {"name": "t", "hash": "HASH", "rows": [["no key", [[1, 1, 2, [3]]]]]}, EPROTO),
    ("handover", {"name": "t", "hash": "HASH", "rows": [["{}", [[1, 1, 2, nested(900)]]]]}, EPROTO),
    ("collect", {"uid": "u"}, EPROTO),
    ("collect", {**ORDER, "members": "?"}, EPROTO),
    ("collect", {**ORDER, "members": "all", "life": -1}, EPROTO),
    ("collect", {**ORDER, "members": "all", "credit": 0}, EPROTO),
    ("credit", {"uid": 5, "n": 1}, EPROTO),
)  # fmt: skip
EVENTS: tuple[tuple[str, Any], ...] = (
    ("define", {}), ("define", {"definition": {"name": "d", "reducers": nested(300)}}), ("define", None),
    ("define", {"remove": [1]}), ("done", {}), ("done", {"name": "t", "uid": "u", "ok": "what"}),
    ("done", {"name": "t", "uid": "u", "ok": "0", "truncated": [["?", "k"]]}), ("slack", {"name": 5}),
    ("cluster_collect", {}), ("cluster_results", {"uid": "u", "data": {"a": "b"}, "done": 1}), ("slack", "text"),
)  # fmt: skip


def test_requests_that_make_no_sense_are_refused_on_every_rank_and_the_module_stays():
    async def body(one: Cluster) -> None:
        await one.create()
        [listed] = (await one.client.call("metrics.list", {}, 0))["stats"]
        known = listed["hash"]
        for topic, payload, errnum in HOSTILE:
            told = {**payload, "hash": known} if payload.get("hash") == "HASH" else payload
            for rank in (0, 2):
                if topic in ("gather", "collect"):
                    answers = await one.stream(f"metrics.{topic}", told, rank)
                    assert answers == [errnum], (topic, payload, answers)
                    continue
                with pytest.raises(RequestError) as caught:
                    await one.client.call(f"metrics.{topic}", told, rank)
                assert caught.value.errno == errnum, (topic, payload, caught.value)
                assert len(str(caught.value)) < 400
        for topic, payload in EVENTS:
            one.client.publish(f"metrics.{topic}", payload)
        await one.instance.sleep(1.0)
        one.observe(2, "s", "a", 3)
        rows, record = await one.gather()
        assert ([row["sum"] for row in rows], record["ok"]) == ([3], "0-2")
        assert any(
            "event not understood, ignored: metrics.done" in line
            for line in one.instance.broker(1).log.lines()
        )

    cluster(body)
