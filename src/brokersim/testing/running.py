"""Knows how a coroutine function is given a fresh instance without pytest's fixtures. Not what it does with it."""

from __future__ import annotations

import inspect
from collections.abc import Awaitable, Callable
from typing import TypeVar

import trio

from brokersim.testing.broker import Broker, opened
from brokersim.testing.options import merged
from brokersim.testing.sync import clock_for

T = TypeVar("T")


def run(test: Callable[..., Awaitable[T]], *args: object, **settings: object) -> T:
    """Run ``await test(broker, *args)`` in a fresh instance, and verify it. Returns what ``test`` returns.

    For ``@given``, where each example wants an instance of its own. Settings are the marker's (``seed=7, size=2``);
    a function that has no place for a broker, only for ``args``, is run on the clock and opens instances itself.
    """
    if not _wants_broker(test, len(args)):
        return trio.run(test, *args, clock=clock_for(merged(settings)))
    return with_broker(lambda broker: test(broker, *args), **settings)


def with_broker(test: Callable[[Broker], Awaitable[T]], **settings: object) -> T:
    """Run ``await test(broker)`` in a fresh instance, and verify it."""
    options = merged(settings)

    async def main() -> T:
        async with opened(options) as broker:
            result = await test(broker)
            await broker.verify()
            return result

    return trio.run(main, clock=clock_for(options))


def _wants_broker(test: Callable[..., object], given: int) -> bool:
    """It has room for one argument more than it was given."""
    try:
        inspect.signature(test).bind(*[None] * (given + 1))
    except TypeError:
        return False
    return True
