"""Knows how an instance starts, what happens to it while it runs, and how it ends: one story, in this order."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, nullcontext
from functools import partial
from types import FrameType

import trio

from brokersim.host.course import FINALIZING, Loaded
from brokersim.host.loader import place_of
from brokersim.host.waits import Occurrence
from brokersim.protocol.errnums import EINVAL, RequestError
from brokersim.reactor.watchdog import watchdog
from brokersim.routing import logring
from brokersim.services.broker import Whole
from brokersim.services.composition import RANK0_MODULES, START_ARGS, Settings


async def boot_rank(instance: Whole, settings: Settings, rank: int) -> None:
    """Load the modules of one rank. Raises RequestError that names the module."""
    for name in settings.modules:
        if rank == 0 or name not in RANK0_MODULES:
            try:
                args = START_ARGS.get(name, ())
                load = partial(instance.loaded.load, rank, name, args, None)
                await Occurrence(instance.broker(0).endpoint, load)
            except RequestError as error:
                raise RequestError(
                    error.errno or EINVAL, f"module {name!r} on rank {rank}: {error.text}"
                ) from error


@asynccontextmanager
async def living(instance: Whole, settings: Settings) -> AsyncIterator[None]:
    """The instance with its modules loaded, rank 0 first; at the end they are unloaded."""
    failure: BaseException | None = None
    limit = settings.watchdog
    with watchdog(instance.reactor, limit, partial(_tell_held, instance)) if limit else nullcontext():
        async with trio.open_nursery() as nursery:
            try:  # from here on: who is interrupted in the start would wait for a loop that nobody ends
                await nursery.start(instance.runner.run)
                async with trio.open_nursery() as tasks:
                    instance.background.nursery = tasks
                    try:
                        for rank in range(instance.size):
                            await boot_rank(instance, settings, rank)
                        yield
                    except trio.Cancelled:
                        with trio.CancelScope(shield=True):
                            await _shut_down(instance)
                        raise
                    except BaseException as error:
                        failure = error  # raised outside the nurseries, which would wrap it in a group
                    with trio.CancelScope(shield=True):
                        await _shut_down(instance)
                    instance.background.nursery = None
                    tasks.cancel_scope.cancel()
            finally:
                instance.runner.stop()
                instance.sink.close()
    if failure is not None:
        raise failure


async def _shut_down(instance: Whole) -> None:
    """Unload everything, last loaded first, the root last."""
    if not instance.runner.is_running:
        return  # ended by a fault, which is being told
    for rank in reversed(range(instance.size)):
        for module in reversed(instance.modules(rank)):
            if module.status <= FINALIZING and not await _has_stopped(instance, module):
                return


async def _has_stopped(instance: Whole, module: Loaded) -> bool:
    """Has it stopped? Not if a fault, or a ^C, ended the loop meanwhile, which is being told."""
    try:
        await Occurrence(instance.broker(0).endpoint, module.stop)
    except RequestError:
        if instance.runner.is_running:
            raise
        return False
    return True


def _tell_held(instance: Whole, name: str, seconds: float, frame: FrameType | None) -> None:
    """A line in rank 0's log while it lasts: those that wait for an answer meanwhile can be told why."""
    held = f"module '{name}' has held the loop for {seconds:.1f} s ({place_of(frame)})"
    instance.broker(0).write_log(logring.WARNING, "broker", f"{held}: all others of this broker wait")
