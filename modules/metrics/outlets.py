"""Knows where rows and records go beside whoever asked: sinks with bounded queues, and those that follow a stat.

A sink that is slow, full or broken loses rows, counted, and keeps nobody waiting: rows are written between messages.
"""

from __future__ import annotations

import hashlib
import re
import syslog
from collections import deque
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import msgspec

from brokersim.brokermod import Handle, Message, RunDatabase, files, quoted

from .root import Taker
from .stat import Rows, Stat

#: Lines that wait for a sink; what comes beyond is dropped and counted.
QUEUE_MAX = 10_000
#: Lines written in one go, between two messages.
_AT_ONCE = 500

Write = Callable[[list[dict[str, Any]]], object]
#: Run databases that are open, by path: several stats may write to one.
Shelf = dict[str, RunDatabase]


def _to_file(handle: Handle, wish: Mapping[str, Any], shelf: Shelf) -> Write:
    path = Path(wish["file"])

    def write(lines: list[dict[str, Any]]) -> None:
        with open(files.open_output(path, append=True), "ab") as file:
            file.write(b"".join(msgspec.json.encode(line) + b"\n" for line in lines))

    return write


def _check_file(path: str) -> None:
    try:
        files.check_output(path)
    except OSError as error:
        raise ValueError(f"sink file={path}: {error.strerror}") from None


def _to_event(handle: Handle, wish: Mapping[str, Any], shelf: Shelf) -> Write:
    return lambda lines: handle.publish(str(wish["event"]), {"lines": lines})


def _to_log(handle: Handle, wish: Mapping[str, Any], shelf: Shelf) -> Write:
    def write(lines: list[dict[str, Any]]) -> None:
        for line in lines:
            handle.log(syslog.LOG_INFO, f"metrics: {msgspec.json.encode(line).decode()}")

    return write


#: Results that say how much an epoch added, not how things are: a server adds them up.
_ADDED = ("n", "sum")
#: Characters of a name behind the prefix; statsd's servers and graphite's files take little more.
_NAME_MAX = 400


def _to_statsd(handle: Handle, wish: Mapping[str, Any], shelf: Shelf) -> Write:
    """``n`` and ``sum`` as counters, all else as gauges. Raises ValueError for a prefix that is none."""
    client = handle.stats_client(str(wish["statsd"]), 0.0)

    def write(lines: list[dict[str, Any]]) -> None:
        for line in lines:
            for name, value in _numbers(line):
                send = client.inc if name.rpartition(".")[2] in _ADDED else client.gauge_set
                send(_statsd_name(name), value)

    return write


def _statsd_name(name: str) -> str:
    """What every server takes as it is: other letters by their number, a long name by its begin and its hash."""
    told = "".join(char if char.isascii() else f"_x{ord(char):x}" for char in name)
    told = re.sub(r"[^\w.\-]", "_", told, flags=re.ASCII)
    if len(told) <= _NAME_MAX:
        return told
    front, _, result = told.rpartition(".")
    digest = hashlib.sha256(name.encode()).hexdigest()[:12]
    return f"{front[: _NAME_MAX // 2]}_{digest}.{result}"


def _to_run_database(handle: Handle, wish: Mapping[str, Any], shelf: Shelf) -> Write:
    path = str(wish["rundb"])
    if path not in shelf:
        # The same file after a reload: definitions outlive the module.
        meta = {"source": "measured", "module": handle.name, "rank": str(handle.rank)}
        shelf[path] = RunDatabase(Path(path), meta, is_gone_on=True)

    def write(lines: list[dict[str, Any]]) -> None:
        now, front = handle.time(), f"flux.{handle.name}."
        shelf[path].write((front + name, now, value) for line in lines for name, value in _numbers(line))

    return write


def _numbers(line: Mapping[str, Any]) -> Iterator[tuple[str, float]]:
    """What a row shows that is a number: ``stat.key.result``, of several streams ``stat.key.stream.result``."""
    if "key" not in line:
        return
    front = ".".join([line["name"], *(_plain(value) for value in line["key"].values())])
    streams = line.get("streams", {"": line})
    for stream, found in streams.items():
        middle = f"{_plain(stream)}." if stream else ""
        for name, value in found.items():
            if type(value) in (int, float) and name not in ("begin", "end"):
                yield f"{front}.{middle}{name}", value


def _plain(value: Any) -> str:
    return "".join(char if char.isalnum() or char in "-_" else "_" for char in str(value))


#: A sink is an object with one of these; its value is where to.
SINKS: dict[str, Callable[[Handle, Mapping[str, Any], Shelf], Write]] = {
    "file": _to_file, "event": _to_event, "log": _to_log, "statsd": _to_statsd, "rundb": _to_run_database
}  # fmt: skip


class Sink(Taker):
    """One sink of one stat: a queue, and what empties it."""

    def __init__(self, handle: Handle, wish: Mapping[str, Any], shelf: Shelf) -> None:
        kind = next(iter(wish))
        self.name = f"{kind}:{wish[kind]}"
        self.written = 0
        self.dropped = 0
        self.error = ""
        self._handle = handle
        self._write = SINKS[kind](handle, wish, shelf)
        self._queue: deque[dict[str, Any]] = deque()
        self._is_waiting = False

    def rows(self, stat: Stat, rows: Rows) -> None:
        for row in rows:
            self._add({"name": stat.name, **stat.finish(row)})

    def crossed(self, stat: Stat, crossing: dict[str, Any]) -> None:
        self._add({"name": stat.name, "crossed": crossing})

    def end(self, stat: Stat, record: dict[str, Any]) -> None:
        self._add({"name": stat.name, "record": record})

    def _add(self, line: dict[str, Any]) -> None:
        if len(self._queue) >= QUEUE_MAX:
            self.dropped += 1
            return
        self._queue.append(line)
        if not self._is_waiting:
            self._is_waiting = True
            self._handle.call_later(0.0, self.flush, _AT_ONCE)

    def flush(self, most: int = QUEUE_MAX) -> None:
        """Write what waits; what cannot be written is dropped, and why is kept."""
        lines = [self._queue.popleft() for _ in range(min(most, len(self._queue)))]
        try:
            if lines:
                self._write(lines)
            self.written += len(lines)
        except (OSError, ValueError) as error:
            self.dropped += len(lines)
            if str(error) != self.error:  # once, not for each epoch
                self.error = str(error)
                self._handle.log(
                    syslog.LOG_WARNING, f"sink {self.name} takes nothing: {error}; its rows are dropped"
                )
        self._is_waiting = bool(self._queue)
        if self._is_waiting:
            self._handle.call_later(0.0, self.flush, _AT_ONCE)


class Lost(Sink):
    """A sink that cannot be any more: what goes to it is counted as dropped."""

    def __init__(self, handle: Handle, wish: Mapping[str, Any], why: str) -> None:
        def write(_lines: list[dict[str, Any]]) -> None:
            raise OSError(why)

        super().__init__(handle, {"log": next(iter(wish.values()))}, {})
        self._write = write


class Follower(Taker):
    """Somebody who streams a stat's log."""

    def __init__(self, handle: Handle, request: Message) -> None:
        self.request = request
        self._handle = handle

    def rows(self, stat: Stat, rows: Rows) -> None:
        self._handle.respond(self.request, {"rows": [stat.finish(row) for row in rows]})

    def crossed(self, stat: Stat, crossing: dict[str, Any]) -> None:
        self._handle.respond(self.request, {"crossed": crossing})

    def end(self, stat: Stat, record: dict[str, Any]) -> None:
        self._handle.respond(self.request, {"record": record})


class Outlets:
    """The sinks and followers of all stats, on rank 0."""

    def __init__(self, handle: Handle) -> None:
        self._handle = handle
        self._sinks: dict[str, list[Sink]] = {}
        self._shelf: Shelf = {}
        self._followers: dict[str, list[Follower]] = {}

    def check(self, stat: Stat) -> None:
        """Raises ValueError for a sink there is not, or cannot be."""
        for wish in stat.definition.sinks:
            where = wish.get(next(iter(wish), ""))
            if len(wish) != 1 or not wish.keys() <= SINKS.keys() or not isinstance(where, str) or not where:
                raise ValueError(
                    f"no sink {quoted(wish)}; give one of {', '.join(SINKS)} with where to, such as file=PATH"
                )
            if "file" in wish:
                _check_file(where)
            if "rundb" in wish:
                _to_run_database(self._handle, wish, self._shelf)
            if "statsd" in wish:
                _to_statsd(self._handle, wish, self._shelf)

    def of(self, stat: Stat) -> list[Taker]:
        """All that take a stat's rows."""
        if stat.name not in self._sinks:
            self._sinks[stat.name] = [self._sink(wish) for wish in stat.definition.sinks]
        return [*self._sinks[stat.name], *self._followers.get(stat.name, ())]

    def _sink(self, wish: Mapping[str, Any]) -> Sink:
        try:
            return Sink(self._handle, wish, self._shelf)
        except ValueError as error:  # it was there when the stat was made
            return Lost(self._handle, wish, str(error))

    def follow(self, stat: Stat, request: Message) -> None:
        """Tell every epoch to come, until whoever asked goes."""
        self._followers.setdefault(stat.name, []).append(Follower(self._handle, request))

    def disconnect(self, sender: str) -> None:
        """A follower is gone."""
        for name, followers in self._followers.items():
            self._followers[name] = [one for one in followers if one.request.sender != sender]

    def drop(self, name: str) -> None:
        """A stat is gone: its followers' streams end."""
        for follower in self._followers.pop(name, ()):
            self._handle.respond_error(follower.request, 61)
        for sink in self._sinks.pop(name, ()):
            sink.flush()

    def close(self) -> None:
        """Write all that waits, and let go of everything."""
        for sinks in self._sinks.values():
            for sink in sinks:
                sink.flush()
        for database in self._shelf.values():
            database.close()
        self._shelf.clear()

    def figures(self) -> dict[str, Any]:
        """Per stat and sink: lines written and dropped, and the last reason."""
        return {
            name: {
                sink.name: {"written": sink.written, "dropped": sink.dropped, "error": sink.error}
                for sink in sinks
            }
            for name, sinks in self._sinks.items()
        }
