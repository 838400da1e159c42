"""Knows the order of an instance's life as `brokersim start` leads it: rc1, the quorum, its program, cleanup, rc3.

What a state is called and who is told of it is in services/stages, how a script runs in services/scripts.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from typing import Final

import trio

from brokersim.instance import Instance
from brokersim.protocol.duration import parse_duration
from brokersim.protocol.plurals import counted
from brokersim.protocol.ranks import format_ranks
from brokersim.routing import logring
from brokersim.routing.attributes import RC1, RC3
from brokersim.services.broker import Broker
from brokersim.services.scripts import CLEANUP, Scripts, scripts_of
from brokersim.services.stages import Stages, own_stages

#: With it nothing is run in the instance, which goes on until it is stopped.
NO_PROGRAM: Final = "broker.rc2_none"
_SCRIPTS: Final = {RC1: "rc1", RC3: "rc3"}


class BadQuorum(ValueError):
    """broker.quorum is no number of ranks."""


class Phases:
    """Takes each rank from its first state to `run`, and from there to its last.

    Ranks without scripts of their own go along with rank 0: nothing is kept for them. ``environment`` is what a script
    of a rank finds in its own.
    """

    def __init__(self, instance: Instance, environment: Callable[[Broker], Mapping[str, str]]) -> None:
        self._instance = instance
        self._environment = environment
        self._attributes = instance.broker(0).attributes
        self._warning = ""
        self._quorum = self._needed()
        is_told = self._attributes.get("log-stderr-mode") == "local"
        self._are_apart = instance.size > 1 and (is_told or any(map(self._attributes.get, _SCRIPTS)))
        self._up = {rank: trio.Event() for rank in self._ranks}
        self._runs = trio.Event()
        self._has_quorum = trio.Event()
        self._rising: list[trio.CancelScope] = []
        self._is_hurried = False
        self._gone = {rank: trio.Event() for rank in self._ranks}
        self.code = 0
        first = self._stages(0)
        first.are_apart = self._are_apart
        if self._are_apart:
            first.online = set()
        for rank in self._ranks:
            self._stages(rank).begin()
            for attribute, name in _SCRIPTS.items():
                line = self._attributes.get(attribute)
                if line:
                    self._scripts(rank).push(name, [line])

    @property
    def _ranks(self) -> range:
        return range(self._instance.size if self._are_apart else 1)

    def _stages(self, rank: int) -> Stages:
        return own_stages(self._instance.broker(rank))

    def _scripts(self, rank: int) -> Scripts:
        return scripts_of(self._instance.broker(rank))

    def _needed(self) -> int:
        """How many ranks must be ready before the program runs. Raises BadQuorum."""
        size, text = self._instance.size, self._attributes.get("broker.quorum") or ""
        old = {f"0-{size - 1}": size, "0": 1}  # sets of ranks, as this was before 0.70
        if text in old and text != str(size):
            self._warning = f"warning: broker.quorum is now a size - assuming {old[text]}"
            return old[text]
        if not text.isdecimal() or len(text) > len(str(size)) or not 1 <= int(text) <= size:
            raise BadQuorum(
                f"Error parsing broker.quorum attribute: {text!r:.40} is no number from 1 to {size}"
            )
        return int(text)

    def _log(self, level: int, text: str) -> None:
        self._instance.broker(0).write_local_log(level, "broker", text)

    def _seconds(self, attribute: str) -> float:
        text = self._attributes.get(attribute)
        return math.inf if text in (None, "none") else parse_duration(text)

    def _period(self, attribute: str) -> float:
        """As often a word is to be said; 0 is never, as in Flux."""
        return self._seconds(attribute) or math.inf

    # -- up

    async def rise(self, nursery: trio.Nursery) -> bool:
        """Take rank 0 to `run`; whether it got there. Ranks the quorum can do without follow in ``nursery``."""
        if self._warning:
            self._log(logring.ERR, self._warning)
        for rank in self._ranks[1:]:
            nursery.start_soon(self._rise_behind, rank)
        if not await self._init(0, "parent-none", "sync-none"):
            return False
        await self._wait_for_quorum()
        if not self._has_quorum.is_set():
            self.code = self.code or 1
            self._stages(0).enter("quorum-fail", "shutdown")
            return False
        self._stages(0).enter("quorum-full", "run")
        self._runs.set()
        return True

    async def _wait_for_quorum(self) -> None:
        """Until it is there, or the instance is stopped."""
        async with trio.open_nursery() as nursery:
            nursery.start_soon(self._give_up, nursery.cancel_scope)
            await self._watch_quorum()
            nursery.cancel_scope.cancel()

    async def _give_up(self, scope: trio.CancelScope) -> None:
        await self._instance.stopped.wait()
        scope.cancel()

    async def _watch_quorum(self) -> None:
        if self._are_apart:
            with trio.move_on_after(self._period("broker.quorum-warn")) as scope:
                await self._has_quorum.wait()
            if scope.cancelled_caught:
                missing = set(self._ranks) - (self._stages(0).online or set())
                self._log(logring.ERR, f"quorum delayed: waiting for {self._who(missing)}")
                await self._has_quorum.wait()
                self._log(logring.ERR, "quorum reached")

    def _who(self, ranks: set[int]) -> str:
        names = [self._instance.broker(rank).attributes.get("hostname") or "?" for rank in sorted(ranks)]
        return f"{','.join(names)} (rank {format_ranks(sorted(ranks))})"

    async def _rise_behind(self, rank: int) -> None:
        stages = self._stages(rank)
        stages.enter("builtins-success", "join")
        above = self._instance.broker(rank).above
        with trio.CancelScope() as scope:
            self._rising.append(scope)
            await self._up[above or 0].wait()
            if await self._init(rank, "parent-ready", "sync-success"):
                await self._runs.wait()
                stages.enter("quorum-full", "run")

    async def _init(self, rank: int, parent: str, sync: str) -> bool:
        """What each rank does before it is ready; whether it is."""
        stages, scripts = self._stages(rank), self._scripts(rank)
        if rank == 0:
            stages.enter("builtins-success", "join")
        stages.enter(parent, "config-sync")
        stages.enter(sync, "init")
        event = "rc1-none"
        if scripts.has("rc1"):
            code = await scripts.run("rc1", self._environment(self._instance.broker(rank)))
            event = "rc1-fail" if code else "rc1-success"
            if code and self._attributes.get("broker.recovery-mode") is None:
                self._fail(rank, int(self._attributes.get("broker.exit-norestart") or code))
                stages.enter(event, "shutdown")
                return False
        stages.enter("rc1-ignorefail" if event == "rc1-fail" else event, "quorum")
        self._up[rank].set()
        online = self._stages(0)
        online.come_online(rank)
        if online.online is None or len(online.online) >= self._quorum:
            self._has_quorum.set()
        return True

    def _fail(self, rank: int, code: int) -> None:
        if rank == 0:
            self.code = self.code or code

    # -- down

    def interrupt(self) -> None:
        """A signal: what runs of the scripts is ended, and those that follow have only so much time."""
        self._is_hurried = True
        for rank in self._ranks:
            self._scripts(rank).abort()

    async def fall(self, event: str) -> int:
        """Take all ranks to their last state, the leaves first; the exit code of the first script that failed, or 0."""
        for scope in self._rising:
            scope.cancel()
        if self._stages(0).state == "run":
            self._stages(0).enter(event, "cleanup")
            await self._clean_up(0)
        with trio.move_on_after(self._seconds("broker.shutdown-timeout")) as scope:
            async with trio.open_nursery() as nursery:
                warning = trio.CancelScope()
                nursery.start_soon(self._warn, warning)
                async with trio.open_nursery() as falling:
                    for rank in self._ranks[1:]:
                        falling.start_soon(self._fall_behind, rank)
                warning.cancel()
        if scope.cancelled_caught:
            self._log(logring.ERR, "shutdown timeout")
            self.code = self.code or 1
        await self._finalize(0)
        return self.code

    async def _clean_up(self, rank: int) -> None:
        stages, scripts = self._stages(rank), self._scripts(rank)
        event = "cleanup-none"
        if scripts.has(CLEANUP):
            limit = self._seconds("broker.cleanup-timeout") if self._is_hurried else math.inf
            async with trio.open_nursery() as nursery:
                nursery.start_soon(self._abort_after, limit, scripts)
                code = await scripts.run(CLEANUP, self._environment(self._instance.broker(rank)))
                nursery.cancel_scope.cancel()
            self._fail(rank, code)
            event = "cleanup-fail" if code else "cleanup-success"
        stages.enter(event, "shutdown")

    async def _abort_after(self, seconds: float, scripts: Scripts) -> None:
        await trio.sleep(seconds)
        scripts.abort()

    async def _warn(self, scope: trio.CancelScope) -> None:
        with scope:
            while True:
                await trio.sleep(self._period("broker.shutdown-warn"))
                late = {rank for rank in self._instance.broker(0).below if not self._gone[rank].is_set()}
                peers = counted(len(late), "peer")
                self._log(logring.ERR, f"shutdown delayed: waiting for {peers}: {self._who(late)}")

    async def _fall_behind(self, rank: int) -> None:
        stages = self._stages(rank)
        if stages.state == "run":
            stages.enter("shutdown", "cleanup")
            await self._clean_up(rank)
        elif stages.state != "shutdown":
            stages.enter("parent-fail", "shutdown")
        for below in self._instance.broker(rank).below:
            await self._gone[below].wait()
        await self._finalize(rank)

    async def _finalize(self, rank: int) -> None:
        stages, scripts = self._stages(rank), self._scripts(rank)
        has_children = bool(self._instance.broker(rank).below)
        stages.enter("children-complete" if has_children else "children-none", "finalize")
        event = "rc3-none"
        if scripts.has("rc3"):
            code = await scripts.run("rc3", self._environment(self._instance.broker(rank)))
            self._fail(rank, code)
            event = "rc3-fail" if code else "rc3-success"
        stages.enter(event, "goodbye")
        stages.enter("goodbye", "unload-builtins")
        stages.enter("builtins-done", "exit")
        self._gone[rank].set()
