"""Tasks of modules beside the loop: what ends a module, and what ends the program."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import trio

from brokersim.host.background import Background
from brokersim.protocol.errnums import EINVAL, RequestError


@pytest.mark.parametrize("error", [ValueError("x"), SystemExit(1)], ids=lambda error: type(error).__name__)
async def test_what_a_task_raises_is_told_inside_the_loop_and_ends_nothing_else(error: BaseException) -> None:
    posts: list[Callable[[], object]] = []
    told: list[BaseException] = []

    async def fail() -> None:
        raise error

    background = Background(posts.append)
    async with trio.open_nursery() as background.nursery:
        background.start_for(fail, told.append)
    assert told == []
    for post in posts:
        post()
    assert told == [error]


async def test_an_interrupt_of_the_program_in_a_task_is_the_programs_and_nobody_is_told() -> None:
    posts: list[Callable[[], object]] = []

    async def outcome() -> None:
        pytest.fail("an outcome of pytest is the program's")

    background = Background(posts.append)
    with pytest.raises(BaseExceptionGroup):
        async with trio.open_nursery() as background.nursery:
            background.start_for(outcome, print)
    assert posts == []


def test_while_an_instance_does_not_run_no_task_can_be_started() -> None:
    with pytest.raises(RequestError, match="the instance is not running") as caught:
        Background(print).start(trio.lowlevel.checkpoint)
    assert caught.value.errno == EINVAL
