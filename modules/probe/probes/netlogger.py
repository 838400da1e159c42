"""Knows events of a log: lines of ``key=value`` words in the form of NetLogger; how a log is followed is beside it."""

from __future__ import annotations

import hashlib
import math
import os
import shlex
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any, ClassVar, Final

import attrs
import msgspec

from brokersim.brokermod import RequestError, quoted, treeobj

from ..contract import COUNTER, Context, Field, Probe, Value
from ..parse import value as value_of
from .tail import Position, Tail

#: Lines read before others have their turn: a few milliseconds.
_SLICE: Final = 500
_PREFIX: Final = "ps:tools:blipp:netlogger:"
_STARTS: Final = ("resume", "begin", "end")


class NoEvent(ValueError):
    """A line without ``ts`` and ``event``, or with values they cannot have."""


def parse_ts(text: str) -> float:
    """Seconds since the epoch, said so or as ISO 8601; without an offset it is UTC. Raises NoEvent."""
    try:
        seconds = float(text)
    except ValueError:
        try:
            when = datetime.fromisoformat(text)
        except ValueError:
            raise NoEvent(f"ts is no time: {quoted(text)}") from None
        seconds = (when if when.tzinfo else when.replace(tzinfo=UTC)).timestamp()
    if not math.isfinite(seconds):
        raise NoEvent(f"ts is no time: {quoted(text)}")
    return seconds


def parse_line(line: str, prefix: str = _PREFIX) -> dict[str, Value]:
    """The metrics of a line, with ``ts``. Raises NoEvent.

    ``VAL`` is the value of the event; without it each other key is a metric of its own (a caliper).
    """
    try:
        # Cutting words as a shell does takes fifty times as long, and few lines have quotes.
        words = shlex.split(line) if not {'"', "'", "\\"}.isdisjoint(line) else line.split()
    except ValueError as error:
        raise NoEvent(str(error)) from None
    pairs: dict[str, str] = {}
    for word in words:
        key, is_pair, value = word.partition("=")
        if not is_pair or not key:
            raise NoEvent(f"no key=value: {quoted(word)}")
        pairs[key] = value
    if not pairs.get("ts") or not pairs.get("event"):
        raise NoEvent("ts or event is missing")
    found: dict[str, Value] = {"ts": parse_ts(pairs.pop("ts"))}
    event = prefix + pairs.pop("event")
    if "VAL" in pairs:
        return found | {event: value_of(pairs["VAL"])}
    return found | {f"{event}:{key}": value_of(text) for key, text in pairs.items()}


class NetLogger(Probe):
    """Events of a log, each with its own time; where it stands is kept in the KVS."""

    summary = "events of a growing log of key=value lines (NetLogger)"
    fields: ClassVar[dict[str, Field]] = {
        name: Field(unit="{line}", kind=COUNTER) for name in ("malformed", "cut")
    } | {name: Field(unit="{time}", kind=COUNTER) for name in ("truncated", "rotated")}
    options: ClassVar[dict[str, Any]] = {"file": "", "start": "resume", "app": "", "max_lines": 10_000}
    required: ClassVar[tuple[str, ...]] = ("file",)

    @classmethod
    def inline_only(cls, config: Mapping[str, Any]) -> str:
        return "where it stands is kept by messages, and a process beside the module has no way to"

    @classmethod
    def check(cls, config: Mapping[str, Any]) -> None:
        if config.get("start", "resume") not in _STARTS:
            raise ValueError(f"start must be {', '.join(_STARTS)}, not {quoted(config['start'])}")
        if config.get("max_lines", 1) < 1:
            raise ValueError(f"max_lines must be at least 1, not {config['max_lines']}")

    def open(self, context: Context) -> None:
        super().open(context)
        path = os.path.abspath(self.config["file"])
        self._tail = Tail(path, self.config["max_lines"])
        self._prefix = _PREFIX + (f"{self.config['app']}:" if self.config["app"] else "")
        # Two measurements of one log that differ keep a position each.
        which = f"{path}\0{self.config['app']}".encode("utf-8", "surrogateescape")
        name = hashlib.sha1(which, usedforsecurity=False).hexdigest()
        self._key = f"probe.netlogger.{context.ask.rank}.{name}"
        self._malformed = 0
        #: Whether the position could be kept, and what was kept last.
        self._is_kept = True
        self._last: Position | None = None
        self._has_begun = False
        if self.config["start"] != "resume":
            self._begin(None)
        else:
            os.stat(path)  # a missing file is told at once; where to begin is asked at the first reading

    def close(self) -> None:
        if hasattr(self, "_tail"):
            self._tail.close()

    async def read(self) -> Any:
        """The events since the last reading."""
        if not self._has_begun:
            self._begin(await self._saved())
        answers: list[dict[str, Any]] = []
        for number, line in enumerate(self._tail.lines(), 1):
            try:
                answers.append(parse_line(line.decode(errors="replace"), self._prefix))
            except NoEvent:
                self._malformed += bool(line.strip())
            if not number % _SLICE:
                await self.context.ask.sleep(0)
        await self._save()
        counts = {"malformed": self._malformed, "cut": self._tail.cut}
        counts |= {"truncated": self._tail.truncated, "rotated": self._tail.rotated}
        return [*answers, {**counts, "partial": () if self._is_kept else ("position",)}]

    def _begin(self, at: Position | None) -> None:
        self._tail.begin(at, is_end=self.config["start"] == "end")
        self._has_begun = True

    async def _saved(self) -> Position | None:
        try:
            answer = await self.context.ask.call(
                "kvs.lookup", {"key": self._key, "namespace": "primary", "flags": 0}
            )
            return Position(*msgspec.json.decode(treeobj.val_bytes(answer["val"]), type=tuple[int, int, int]))
        except (RequestError, ValueError, KeyError, TypeError):
            return None

    async def _save(self) -> None:
        position = self._tail.position
        if position == self._last:
            return
        value = treeobj.val(msgspec.json.encode(attrs.astuple(position)))
        put = {"key": self._key, "flags": 0, "dirent": value}
        try:
            await self.context.ask.call("kvs.commit", {"namespace": "primary", "flags": 0, "ops": [put]})
        except RequestError:
            self._is_kept = False  # no KVS: it lives as long as the measurement
        else:
            self._is_kept = True
            self._last = position
