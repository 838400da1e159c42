"""Knows how a test that has instances is run: by pytest-trio or by us, once or for each example, then judged.

Doesn't know which tests those are, nor what their instances are made of.
"""

from __future__ import annotations

import functools
import inspect
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import AsyncExitStack, asynccontextmanager, contextmanager
from typing import Any

import pytest

from brokersim.pytest_plugin import asked

TRIO = "trio"
#: What the test's instances looked like when it failed.
REPORTS: pytest.StashKey[list[str]] = pytest.StashKey()


def is_given(item: pytest.Function) -> bool:
    return hasattr(item.obj, "hypothesis")


def is_async(item: pytest.Function) -> bool:
    test = item.obj.hypothesis.inner_test if is_given(item) else item.obj
    return inspect.iscoroutinefunction(getattr(test, "_brokersim_test", test))


def has_trio(config: pytest.Config) -> bool:
    return bool(config.pluginmanager.hasplugin(TRIO))


def run_for_trio(
    item: pytest.Function, main: Callable[[], Any], *, clock: object = None, instruments: object = ()
) -> Any:
    """What pytest-trio runs our tests with: trio.run on the clock their instance needs."""
    __tracebackhide__ = True
    return run_trio(main, clock or trio_clock(item), instruments)


def run_trio(main: Callable[[], Any], clock: Any, instruments: Any = ()) -> Any:
    """``trio.run``; one exception inside groups of one comes out as itself, so that pytest can show it."""
    __tracebackhide__ = True
    import trio

    try:
        return trio.run(main, clock=clock, instruments=instruments)
    except BaseExceptionGroup as group:
        error: BaseException = group
        while isinstance(error, BaseExceptionGroup) and len(error.exceptions) == 1:
            error = error.exceptions[0]
        if isinstance(error, BaseExceptionGroup):
            raise
    raise error from None


def trio_clock(item: pytest.Function) -> Any:
    from brokersim.testing import clock_for

    return clock_for(asked.options(item), asked.virtual_clock(item))


def take_over(item: pytest.Function) -> None:
    """Another plugin's way to run coroutines (pytest-asyncio's, in auto mode) is not for a test of ours: it needs trio.

    Such plugins make items of a class of their own, which wait for a coroutine where `_wrap` leaves a plain function.
    """
    if type(item).runtest is not pytest.Function.runtest:
        item.runtest = functools.partial(pytest.Function.runtest, item)  # type: ignore[method-assign]


def wrap(item: pytest.Function) -> None:
    """Have the test followed by the verdict on its instances, and run it if nobody else does."""
    if is_given(item):
        # One function may stand for several items (parametrize): each wraps the test itself.
        inner = item.obj.hypothesis.inner_test
        inner = getattr(inner, "_brokersim_test", inner)
        wrapped: Any = (
            each_example(item, inner) if inspect.iscoroutinefunction(inner) else judged_sync(item, inner)
        )
        wrapped._brokersim_test = inner
        wrapped._trio_test_runner_wrapped = True
        item.obj.hypothesis.inner_test = wrapped
    elif is_async(item):
        watched = judged(item, item.obj)
        item.obj = (
            watched if item.get_closest_marker(TRIO) and has_trio(item.config) else run_alone(item, watched)
        )
    else:
        item.obj = judged_sync(item, item.obj)


def judged(item: pytest.Function, test: Callable[..., Any]) -> Callable[..., Any]:
    @functools.wraps(test)
    async def judged(*args: object, **named: object) -> None:
        __tracebackhide__ = True
        with reported(item):
            await test(*args, **named)
            for broker in asked.instances(item).opened:
                await broker.verify()

    return judged


def judged_sync(item: pytest.Function, test: Callable[..., Any]) -> Callable[..., Any]:
    @functools.wraps(test)
    def judged(*args: object, **named: object) -> None:
        __tracebackhide__ = True
        with reported(item):
            test(*args, **named)
            for broker in asked.instances(item).opened:
                broker.verify()

    return judged


@contextmanager
def reported(item: pytest.Function) -> Iterator[None]:
    """When the test fails, keep what its instances looked like then: their end would bury it."""
    __tracebackhide__ = True
    try:
        yield
    except BaseException:
        item.stash[REPORTS] = [broker.report() for broker in asked.instances(item).opened]
        raise


def run_alone(item: pytest.Function, test: Callable[..., Any]) -> Callable[..., Any]:
    """A coroutine test as a function: fixtures that are `Opening` are opened inside trio, for each call anew."""

    @functools.wraps(test)
    def run(*args: object, **named: object) -> None:
        __tracebackhide__ = True

        async def main() -> None:
            __tracebackhide__ = True
            instances = asked.instances(item)
            instances.opened.clear()
            instances.sink.clear()  # of the example before, under @given
            async with AsyncExitStack() as stack:
                opened = {
                    name: await stack.enter_async_context(value.open())
                    if isinstance(value, Opening)
                    else value
                    for name, value in named.items()
                }
                await test(*args, **opened)

        run_trio(main, trio_clock(item))

    # Not a coroutine function any more, whatever functools.wraps copied.
    del run.__wrapped__
    return run


def each_example(item: pytest.Function, test: Callable[..., Any]) -> Callable[..., Any]:
    """Of ``@given``: every example gets a fresh instance, on a clock that starts at 0."""
    run = run_alone(item, judged(item, test))

    def example(*args: object, **named: object) -> None:
        __tracebackhide__ = True
        asked.forget_clock(item)
        run(*args, **named)

    return example


class Opening:
    """A fixture's instance, to be opened by whoever runs the test."""

    def __init__(self, item: pytest.Function) -> None:
        self._item = item

    def open(self) -> Any:
        return open_flux(self._item) if asked.is_flux(self._item) else asked.instances(self._item).open()


@asynccontextmanager
async def open_flux(item: pytest.Function) -> AsyncIterator[Any]:
    from brokersim.testing.real_flux import opened_flux

    async with opened_flux(asked.options(item)) as broker:
        yield asked.instances(item).add(broker)
