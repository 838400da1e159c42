"""Knows a log that grows: lines of ``key=value`` words in the form of NetLogger, from where it stopped reading before.

The position is a device, an inode and an offset. Another inode under the name is a log that was rotated: the old file,
still open here, is read to its end first. A file shorter than the offset was truncated. A last line without its end
waits for it; one that grows beyond `LINE_MAX` is given up and counted, and so is a line that is no event.
"""

from __future__ import annotations

import hashlib
import math
import os
import shlex
import stat
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any, ClassVar, Final

import attrs
import msgspec

from brokersim.brokermod import RequestError, quoted, treeobj

from ..contract import COUNTER, Context, Field, Probe, Value
from ..parse import value as value_of

#: Bytes of a line.
LINE_MAX: Final = 64 << 10
#: Bytes asked of the file at once.
_CHUNK: Final = 256 << 10
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


@attrs.frozen
class Position:
    """Up to where a log was read."""

    device: int = 0
    inode: int = 0
    offset: int = 0


class Tail:
    """The lines of one file by its name, from a position on. Every method raises OSError."""

    def __init__(self, path: str, max_lines: int) -> None:
        self.path = path
        self.max_lines = max_lines
        self.cut = self.truncated = self.rotated = 0
        self._fd = -1
        self._device = self._inode = self._offset = 0
        self._is_skipping = False

    @property
    def position(self) -> Position:
        """What has been read."""
        return Position(self._device, self._inode, self._offset)

    def begin(self, at: Position | None, is_end: bool = False) -> None:
        """Open the file, at a position if that is of this very file, else at its begin or end."""
        self._open()
        if is_end:
            self._offset = os.fstat(self._fd).st_size
        elif at is not None and (at.device, at.inode) == (self._device, self._inode):
            self._offset = at.offset

    def lines(self) -> list[bytes]:
        """New whole lines, so many at most."""
        found = self._more(self.max_lines)
        if len(found) < self.max_lines and self._is_other_file():
            found += self._rest()  # nobody writes to it any more: what has no end is a line, too
            self.rotated += 1
            self._open()
            found += self._more(self.max_lines - len(found))
        return found

    def close(self) -> None:
        """Let go of the file."""
        if self._fd >= 0:
            os.close(self._fd)
            self._fd = -1

    def _open(self) -> None:
        # Without waiting: a pipe under that name would hold the loop for ever.
        fd = os.open(self.path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)
        status = os.fstat(fd)
        if not stat.S_ISREG(status.st_mode):
            os.close(fd)
            raise ValueError(f"{self.path} is no regular file")
        self.close()
        self._fd, self._device, self._inode, self._offset = fd, status.st_dev, status.st_ino, 0
        self._is_skipping = False

    def _is_other_file(self) -> bool:
        try:
            status = os.stat(self.path)
        except FileNotFoundError:
            return False  # between two: the new one comes
        return (status.st_dev, status.st_ino) != (self._device, self._inode)

    def _more(self, most: int) -> list[bytes]:
        if os.fstat(self._fd).st_size < self._offset:
            self.truncated += 1
            self._offset, self._is_skipping = 0, False
        found: list[bytes] = []
        while len(found) < most:
            data = os.pread(self._fd, _CHUNK, self._offset)
            end = data.rfind(b"\n") + 1
            if not end:
                if len(data) <= LINE_MAX:
                    break
                self._skip(len(data))
                continue
            lines = data[:end].splitlines(keepends=True)[: most - len(found)]
            self._offset += sum(map(len, lines))
            if self._is_skipping:
                del lines[0]
                self._is_skipping = False
            found += self._short(lines)
        return found

    def _short(self, lines: list[bytes]) -> list[bytes]:
        kept = [line for line in lines if len(line) <= LINE_MAX]
        self.cut += len(lines) - len(kept)
        return kept

    def _skip(self, size: int) -> None:
        self.cut += not self._is_skipping
        self._is_skipping = True
        self._offset += size

    def _rest(self) -> list[bytes]:
        data = os.pread(self._fd, LINE_MAX, self._offset)
        return [] if self._is_skipping or not data else [data]


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
