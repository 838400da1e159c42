"""What a key may hold at rest, by who wrote it and what they were told."""

from __future__ import annotations

import pytest

from brokersim.explore.families.written import judge_value
from brokersim.explore.plan import Step
from brokersim.explore.world import Asked
from brokersim.protocol.errnums import EHOSTUNREACH


def put(value: str, sent: int, answered: int | None, errnum: int = 0) -> Asked:
    step = Step(id=sent, op="kvs.put", args={"key": "a", "value": value})
    return Asked(step, "kvs.commit", {}, None, sent, 0.0, answered=answered, errnum=errnum)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("first", "value", "is_fine"),
    [
        (put("1", 0, 1), "1", False),  # acknowledged, and replaced
        (put("1", 0, 1), "2", True),
        (put("1", 0, 1), None, False),
        (put("1", 0, 1, EHOSTUNREACH), "1", True),  # who was told so: it may have been on its way still
        (put("1", 0, None), "1", True),
        (put("1", 0, 3), "1", True),  # at the same time as the other
    ],
)
def test_a_write_is_replaced_by_one_sent_after_it_was_acknowledged(
    first: Asked, value: str | None, is_fine: bool
) -> None:
    last = put("2", 2, 4)
    kept = [one for one in (first, last) if one.is_acked]
    assert (judge_value([first, last], kept, value) == "") == is_fine
