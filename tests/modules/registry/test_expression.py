"""Expressions of whoever asks: found as Python finds them, in steps that do not run away."""

from __future__ import annotations

import re
import warnings

import pytest
from hypothesis import given
from hypothesis import strategies as st

from brokersim.brokermod import RequestError
from modules.registry.expression import STEPS_MAX, Expression, Steps, TooLong
from modules.registry.pattern import NODES_MAX
from modules.registry.query import STEPS_A_RECORD, selected, to_test
from tests.modules.registry.test_records import refused


def found(pattern: str, text: str) -> bool:
    return Expression(pattern).is_in(text, Steps())


ATOMS = st.sampled_from(
    [
        "a",
        "b",
        "ab",
        ".",
        "[ab]",
        "[^a]",
        r"[\w-]",
        r"\w",
        r"\d",
        r"\s",
        r"\.",
        r"\x61",
        "^",
        "$",
        r"\b",
        r"\A",
        r"\Z",
        "\n",
        "",
    ]
)
PATTERNS = st.recursive(
    ATOMS,
    lambda inner: st.one_of(
        st.tuples(inner, st.sampled_from(["*", "+", "?", "*?", "{2}", "{,2}", "{1,3}", "{2,}"])).map(
            lambda two: f"(?:{two[0]}){two[1]}"
        ),
        st.tuples(inner, inner).map("".join),
        st.tuples(inner, inner).map("|".join),
        inner.map(lambda one: f"({one})"),
    ),
    max_leaves=6,
)


@given(
    pattern=PATTERNS,
    text=st.text("aAb1-.\n ", min_size=1, max_size=8),
    flags=st.sampled_from(["", "(?i)", "(?s)", "(?is)"]),
)
def test_it_finds_what_python_finds(pattern, text, flags):
    assert found(flags + pattern, text) == (re.search(flags + pattern, text) is not None)


@pytest.mark.parametrize(
    "text",
    [
        "a{2",
        "a{}",
        "a{x}",
        "x-]",
        "[]a]+",
        "[^]]",
        "(?P<name>a)b",
        "é+",
        "a|",
        "(|a)*b",
        "(a*)*b",
        "[[a]",
        "a{,}b",
    ],
)
def test_odd_ways_of_writing_are_read_as_python_reads_them(text):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        expected = re.compile(text)
    for subject in ("", "a", "aab", "a{2", "a{}", "a{x}", "x-]", "]", "b", "éé", "[a", "ab"):
        assert found(text, subject) == (expected.search(subject) is not None), subject


@pytest.mark.parametrize(
    "pattern", ["(a+)+$", "(a|a)*$", "(a|aa)+$", "a*a*a*a*a*a*b", "(.*)*x", "(a?){40}a{40}$"]
)
def test_what_takes_python_for_ever_takes_a_step_a_character(pattern):
    steps = Steps()
    found(pattern, "a" * 10)
    expression = Expression(pattern)
    expression.is_in("a" * 20_000 + "!", steps)
    assert STEPS_MAX - steps.left < 50_000


@pytest.mark.parametrize(
    ("pattern", "says"),
    [
        ("(", "unterminated"), ("a" * 201, "longer than 200"), (r"(a)\1", "not known"), ("(?=a)", "not known"),
        ("(?<!a)b", "not known"), ("a*+", "not known"), ("(?>a)", "not known"), ("(?m)^a", "not known"),
        ("(?i:a)", "not known"), ("((a{99}){99}){99}", f"more than {NODES_MAX} nodes"),
        ("(|){65000}", f"more than {NODES_MAX} nodes"),
    ],
)  # fmt: skip
def test_what_cannot_be_bounded_or_is_not_known_is_refused_with_what_is(pattern, says):
    with pytest.raises(ValueError, match=re.escape(says)):
        Expression(pattern)


def test_steps_are_counted_over_all_texts():
    steps = Steps(100)
    expression = Expression("x")
    assert not any(expression.is_in("a" * 10, steps) for _ in range(5))
    with pytest.raises(TooLong):
        any(expression.is_in("a" * 10, steps) for _ in range(100))


def test_an_expression_about_odd_sets_warns_nobody(recwarn):
    Expression("[[a]")
    assert not recwarn.list


# -- questions


def test_a_question_that_would_hold_the_registry_is_refused():
    records = [{"id": str(number), "text": "ab" * 500} for number in range(1000)]
    error = refused(selected, records, {"filter": {"text": {"re": "(a|b)*c"}}})
    assert "more than 1,000,000 steps for 1000 records" in error.text


def test_conditions_count_as_steps_too():
    records = [{"id": str(number)} for number in range(1000)]
    many = {"or": [{"id": {"in": ["x"] * 1000}}] * 2}
    assert "steps for 1000 records" in refused(selected, records, {"filter": many}).text


@pytest.mark.parametrize(
    ("wish", "says"),
    [
        ({"filter": {"a." * 600: 1}}, "at most 1000 characters"), ({"sort": "a." * 600}, "at most 1000 characters"),
        ({"fields": ["a"] * 101}, "at most 100 names"),
        ({"filter": {"or": [{"a": {"re": "x"}}] * 60}}, "too many expressions"),
    ],
)  # fmt: skip
def test_questions_are_bounded_in_length(wish, says):
    assert says in refused(selected, [], wish).text


def test_a_watchers_filter_has_its_steps_anew_at_each_record():
    test = to_test({"text": {"re": "a+$"}})
    assert all(test({"text": "b" * (STEPS_A_RECORD // 2) + "a"}) for _ in range(5))
    with pytest.raises(RequestError, match="50,000 steps for a record"):
        test({"text": "b" * STEPS_A_RECORD + "a"})
