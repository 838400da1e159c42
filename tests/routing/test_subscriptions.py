"""Who wants an event: what a list of pairs says, entry by entry."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from brokersim.routing import subscriptions
from brokersim.routing.subscriptions import Subscriptions

PREFIXES = ["", "a", "a.", "a.b", "a.b.c", "b", "."]
steps = st.lists(
    st.tuples(
        st.sampled_from(["add", "add", "add", "remove", "drop"]), st.sampled_from(PREFIXES), st.integers(0, 3)
    ),
    max_size=30,
)


@given(steps, st.booleans())
def test_subscriptions_are_what_a_list_of_pairs_is(steps, are_many):
    held, model = Subscriptions(), []
    with pytest.MonkeyPatch.context() as patch:
        if are_many:
            patch.setattr(subscriptions, "FEW", 0)
        check_steps(held, model, steps)


def check_steps(held, model, steps):
    endpoints: list[Any] = [object() for _ in range(4)]
    for action, prefix, number in steps:
        one = endpoints[number]
        if action == "add":
            held.add(prefix, one)
            model.append((prefix, one))
        elif action == "remove":
            assert held.remove(prefix, one) == ((prefix, one) in model)
            if (prefix, one) in model:
                model.remove((prefix, one))
        else:
            held.drop(one)
            model = [entry for entry in model if entry[1] is not one]
        for topic in (
            "",
            "a",
            "a.b.c",
            "ab.c",
            "b",
            "b.a",
            "c",
            ".a",
        ):  # after each step: what was remembered must be void
            wanted = dict.fromkeys(by for prefix, by in model if topic.startswith(prefix))
            assert held.wanting(topic) == list(wanted)
    for one in endpoints:
        assert held.of(one) == [prefix for prefix, by in model if by is one]
