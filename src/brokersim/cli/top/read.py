"""Knows the requests of which a look at an instance is made, and those that a key sends; not what is shown of them.

A look is one ``broker.status`` and one ``module.list`` to each rank, all sent at once; rank 0 is always asked, since it
has the jobs. No module is asked anything, so none counts a message for being looked at.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from typing import Final

from brokersim.cli.errors import UNREACHABLE, CommandError
from brokersim.cli.session import Session, nodeid_of
from brokersim.cli.top.rates import Cost, Look, Module
from brokersim.net.client import Client, Unreachable
from brokersim.protocol.decoded import Json, JsonObject, JsonView
from brokersim.protocol.errnums import ENODATA
from brokersim.protocol.message import FLAG_STREAMING, Message

#: Seconds after which a rank that has not answered counts as missing from the look.
PATIENCE: Final = 5.0
#: Seconds of waiting after which whoever watches is asked whether to go on.
SLICE: Final = 0.1

#: Seconds for a connection to be greeted in: so long the end of the screen may wait, at worst.
_GREETING: Final = 1.0

_HOOKS: Final = ("prepare", "check", "idle")
_TIMER: Final = "timer:1s"

Pause = Callable[[float], bool]


class Stopped(Exception):
    """Whoever watched said to stop."""


def _go_on(_waited: float) -> bool:
    return True


class Reader:
    """Looks at one instance over its own connection. ``pause(waited_s)`` is called while it waits; False stops it."""

    def __init__(self, session: Session, ranks: Sequence[int], size: int, pause: Pause = _go_on) -> None:
        self._client = session.client
        self._ranks = tuple(ranks)
        self._size = size
        self.pause = pause
        self.patience = PATIENCE

    def look(self) -> Look | None:
        """What there is now; None if the instance did not answer in time. Raises Unreachable, Stopped."""
        client = self._client
        status_tag = client.send_request("broker.status")
        asked = dict.fromkeys((0, *self._ranks))
        tags = {rank: client.send_request("module.list", nodeid=nodeid_of(rank)) for rank in asked}
        until = time.monotonic() + self.patience
        told = self._answer(status_tag, until)
        status = {} if told is None or told.errnum else told.payload
        lists: dict[int, JsonObject] = {}
        for rank, tag in tags.items():
            response = self._answer(tag, until)
            if response is not None and not response.errnum:
                lists[rank] = response.payload
        if told is None and not lists:
            return None
        return to_look(status, lists, self._ranks, self._size)

    def _answer(self, tag: int, until: float) -> Message | None:
        """The response, in slices so that a stopped instance holds nobody; None, and forgotten, past ``until``."""
        start = time.monotonic()
        while True:
            now = time.monotonic()
            response = self._client.recv_within(tag, max(0.0, min(SLICE, until - now)))
            if response is not None:
                return response
            if now >= until:
                self._client.abandon(tag)
                return None
            if not self.pause(now - start):
                raise Stopped

    def ask(self, topic: str, payload: object, rank: int) -> Json:
        """One answer. Raises RequestError, TimeoutError if none comes in time, Unreachable, Stopped."""
        tag = self._client.send_request(topic, payload, nodeid_of(rank))
        response = self._answer(tag, time.monotonic() + self.patience)
        if response is None:
            raise TimeoutError(f"{topic}: no answer within {self.patience:g} s")
        if response.errnum:
            raise response.error()
        return response.payload

    def set_bits(self, rank: int, name: str, bits: int, on: bool) -> int:
        """Sets or clears bits of a module's debug mask; the new mask."""
        request = {"op": "setbit" if on else "clrbit", "flags": bits}
        return int(self.ask(f"{name}.debug", request, rank)["flags"])

    def set_hook(self, rank: int, name: str, hook: str) -> str:
        """Changes the hook a module's counters are emitted from; the new one."""
        return str(self.ask("module.hook", {"name": name, "hook": hook}, rank)["hook"])


def next_hook(hook: str | None) -> str:
    """The hook behind this one: prepare, check, idle, a timer of one second, and again."""
    following = dict(zip(_HOOKS, (*_HOOKS[1:], _TIMER), strict=True))
    return following.get(hook or "", _HOOKS[0])


def ended(error: Unreachable, uri: str) -> CommandError:
    """One line for the end of the instance that is watched."""
    why = str(error).removeprefix(f"{uri}: ")
    return CommandError(f"{uri}: the instance has ended, or was started anew ({why})", code=UNREACHABLE)


# --- answers into a look


def to_look(status: JsonView, lists: Mapping[int, JsonView], ranks: Sequence[int], size: int) -> Look:
    """A look from the answers of broker.status and of each rank's module.list; what is not told is left open."""
    now = time.monotonic()
    jobs = [
        mod["figures"]["jobs"] for answer in lists.values() for mod in answer["mods"] if _has(mod, "jobs")
    ]
    root = lists.get(0, {"mods": ()})
    metrics = [mod["figures"]["metrics"] for mod in root["mods"] if _has(mod, "metrics")]
    return Look(
        modules=tuple(_module(rank, mod) for rank in ranks if rank in lists for mod in lists[rank]["mods"]),
        # A broker that tells no time (a real Flux) has only ours to go by.
        times={rank: float(answer.get("time", now)) for rank, answer in lists.items()},
        missing=tuple(rank for rank in ranks if rank not in lists),
        size=int(status.get("size", size)),
        clock=str(status.get("clock", "real")),
        uptime=float(status["uptime"]) if "uptime" in status else None,
        messages=status.get("messages"),
        own=2 * (bool(status) + len(lists)),
        jobs=jobs[0] if jobs else None,
        costs={rank: cost for rank, answer in lists.items() for cost in map(_cost, answer["mods"]) if cost},
        stats=metrics[0].get("epochs", {}) if metrics else {},
    )


def _cost(mod: JsonView) -> Cost | None:
    if not _has(mod, "cost"):
        return None
    told = mod["figures"]["cost"]
    return Cost(cpu=told.get("cpu"), resident=told.get("resident"), looking=told.get("looking"))


def _has(mod: JsonView, name: str) -> bool:
    return name in mod.get("figures", {})


def _module(rank: int, mod: JsonView) -> Module:
    return Module(
        rank=rank,
        name=mod["name"],
        uuid=mod.get("uuid", ""),
        status=mod["status"],
        rx=mod.get("rx"),
        tx=mod.get("tx"),
        waiting=mod["sendqueue"] + mod["recvqueue"],
        open=mod.get("open"),
        timings=mod["figures"]["timings"] if _has(mod, "timings") else {},
        mask=mod.get("mask"),
        hook=mod.get("hook"),
        packets=mod.get("packets"),
    )


# --- the messages of one module


class Follower:
    """Follows the messages of one module over a connection of its own, so that looks never wait behind them."""

    def __init__(self, uri: str, rank: int, name: str) -> None:
        self._client = Client.connect(uri, timeout=_GREETING)
        request = {"typemask": 15, "topic_glob": "*", "names": [name], "full": False}
        self._tag = self._client.send_request("module.trace", request, nodeid_of(rank), flags=FLAG_STREAMING)

    def take(self, most: int) -> list[JsonObject] | None:
        """What has come, at most so many; it waits for one slice. None at the end. Raises RequestError."""
        found: list[JsonObject] = []
        response = self._client.recv_within(self._tag, SLICE)
        while response is not None:
            if response.errnum == ENODATA:
                return None
            if response.errnum:
                raise response.error()
            found.append(response.payload)
            response = self._client.recv_within(self._tag, 0.0) if len(found) < most else None
        return found

    def close(self) -> None:
        """Ends the connection, and the trace with it."""
        self._client.close()
