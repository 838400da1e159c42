"""Knows the service job-info: a job's records, looked up or followed; not how jobs change or how logs are followed."""

from __future__ import annotations

from typing import Any, Protocol

import msgspec

from brokersim.brokermod import (
    Handle,
    Message,
    OpenStreams,
    RequestError,
    errnums,
    eventlog,
    jobid,
    treeobj,
    updates,
)

from .follow import FLAG_SENTINEL, FLAG_WAITCREATE
from .streams import PRIMARY, LogStream, UpdateStream, Watch, record_key

#: Lookup flags: decode values that are JSON; give jobspec and R with the updates of the eventlog applied.
FLAG_DECODE = 1
FLAG_CURRENT = 2


class Stream(Protocol):
    """What the service wants of each open stream."""

    msg: Message

    def finish(self, errnum: int) -> None: ...

    def drop(self) -> None: ...


class Lookup(msgspec.Struct, gc=False):
    """Payload of job-info.lookup."""

    id: int
    keys: list[str]
    flags: int = 0


class UpdateWatch(msgspec.Struct, gc=False):
    """Payload of job-info.update-watch and update-lookup: key R or jobspec."""

    id: int
    key: str
    flags: int = 0


class Cancel(msgspec.Struct, gc=False):
    """Payload of job-info.eventlog-watch-cancel and update-watch-cancel."""

    matchtag: int


class JobInfo:
    """Everything of a job that is in the KVS: ``job.<id>.KEY``."""

    __slots__ = ("_handle", "_streams", "lookups")

    def __init__(self, handle: Handle) -> None:
        self._handle = handle
        #: Look-ups under way.
        self.lookups = 0
        self._streams = OpenStreams[Stream]()

    def __len__(self) -> int:
        """Streams open now."""
        return len(self._streams)

    def figures(self) -> dict[str, object]:
        """What is open, under flux-core's names."""
        logs = [stream for stream in self._streams if isinstance(stream, LogStream)]
        guests = sum(stream.is_guest for stream in logs)
        return {
            "lookups": self.lookups,
            "watchers": len(logs) - guests,
            "guest_watchers": guests,
            "update_lookups": 0,
            "update_watchers": len(self._streams) - len(logs),
        }

    # -- looking up

    async def lookup(self, msg: Message) -> None:
        """Answer ``{"id": n, KEY: text, …}``, one kvs.lookup a key. Raises RequestError(ENOENT) for any missing."""
        wish = msg.unpack(Lookup)
        if wish.flags & ~(FLAG_DECODE | FLAG_CURRENT):
            raise RequestError(errnums.EPROTO, "job-info.lookup request rejected with invalid flag")
        answer: dict[str, Any] = {"id": wish.id}
        self.lookups += 1
        try:
            await self._fill(answer, wish)
        except RequestError as error:
            if error.errno == errnums.ENOENT:
                await self._check_known(wish.id)
            raise
        finally:
            self.lookups -= 1
        self._handle.respond(msg, answer)

    async def _fill(self, answer: dict[str, Any], wish: Lookup) -> None:
        for key in wish.keys:
            raw = await self._value(wish.id, key)
            if wish.flags & FLAG_CURRENT and updates.update_event(key):
                raw = msgspec.json.encode(await self._current(wish.id, key, raw))
            is_json = wish.flags & FLAG_DECODE and key in ("jobspec", "R")
            answer[key] = decoded(key, raw) if is_json else raw.decode(errors="replace")

    async def _check_known(self, job: int) -> None:
        """Raises RequestError(ENOENT): there is no such job at all."""
        try:
            await self._value(job, "eventlog")
        except RequestError as error:
            text = f"invalid job id: there is no job {jobid.encode(job)}"
            raise RequestError(error.errno or errnums.ENOENT, text) from None

    async def owner(self, job: int) -> int:
        """The user whose job it is. Raises RequestError."""
        try:
            first = eventlog.split_lines(await self._value(job, "eventlog"))[0]
            return int(eventlog.decode_event(first)["context"]["userid"])
        except (LookupError, ValueError, TypeError):
            raise RequestError(errnums.EPROTO, "error parsing eventlog") from None

    async def _current(self, job: int, key: str, raw: bytes) -> Any:
        try:
            log = await self._value(job, "eventlog")
        except RequestError as error:
            if error.errno != errnums.ENOENT:
                raise
            return decoded(key, raw)  # its first events are still in their 10 ms window: no updates yet
        return self._applied(key, decoded(key, raw), log)[0]

    def _applied(self, key: str, value: Any, log: bytes) -> tuple[Any, list[eventlog.Event]]:
        """With the updates of the log, and its events. Raises RequestError(EPROTO)."""
        try:
            events = eventlog.decode_log(log)
            return updates.apply_updates(key, value, events), events
        except ValueError as error:
            raise RequestError(errnums.EPROTO, str(error)) from None

    async def _value(self, job: int, key: str) -> bytes:
        look = {"key": record_key(job, key), "namespace": PRIMARY, "flags": 0}
        try:
            return treeobj.val_bytes((await self._handle.call("kvs.lookup", look))["val"])
        except RequestError as error:
            why = "key not found" if error.errno == errnums.ENOENT else error.text
            text = f"job {jobid.encode(job)}: {key:.80}: {why}"
            raise RequestError(error.errno or errnums.ENOENT, text) from None

    async def update_watch(self, msg: Message) -> None:
        """Stream ``{KEY: value}``: as it is now, and again after each update, until the job is inactive."""
        wish = _to_update(msg, "update-watch")
        _must_stream(msg)
        value, events = await self._updated(wish)
        if any(event["name"] == "clean" for event in events):
            self._handle.respond(msg, {wish.key: value})
            self._handle.respond_error(msg, errnums.ENODATA)
            return
        applied = sum(event["name"] == updates.update_event(wish.key) for event in events)
        self._open(UpdateStream(self._handle, msg, wish.id, wish.key, value, applied, self._forget))

    async def update_lookup(self, msg: Message) -> None:
        """Answer ``{KEY: value}`` as it is now."""
        wish = _to_update(msg, "update-lookup")
        value, _ = await self._updated(wish)
        self._handle.respond(msg, {wish.key: value})

    async def _updated(self, wish: UpdateWatch) -> tuple[Any, list[eventlog.Event]]:
        """The record with all updates so far, and the events so far."""
        look = {"id": wish.id, "keys": [wish.key, "eventlog"], "flags": 0}
        found = await self._handle.call(f"{self._handle.name}.lookup", look)
        return self._applied(
            wish.key, decoded(wish.key, found[wish.key].encode()), found["eventlog"].encode()
        )

    # -- streams

    def watch(self, msg: Message) -> None:
        """Stream ``{"event": line}`` until the log is complete."""
        _must_stream(msg)
        wish = msg.unpack(Watch)
        if wish.flags & ~(FLAG_WAITCREATE | FLAG_SENTINEL):
            raise RequestError(errnums.EPROTO, "job-info.eventlog-watch request rejected with invalid flag")
        self._open(LogStream(self._handle, msg, wish, self._forget))

    def cancel(self, msg: Message) -> None:
        """End one stream of this client; unknown matchtags are ignored, the stream may just have ended."""
        matchtag = msg.unpack(Cancel).matchtag
        for stream in self._streams.find(msg.sender, matchtag)[:1]:
            stream.finish(errnums.ENODATA)

    def leave(self, sender: str) -> None:
        """A client went: nothing more is sent to it."""
        for stream in self._streams.of(sender):
            stream.drop()

    def _open(self, stream: LogStream | UpdateStream) -> None:
        self._streams.add(stream)
        stream.start()

    def _forget(self, stream: Stream) -> None:
        self._streams.remove(stream)


def _to_update(msg: Message, what: str) -> UpdateWatch:
    """Raises RequestError: EPROTO for flags, of which there are none; EINVAL for a record that is never updated."""
    wish = msg.unpack(UpdateWatch)
    if wish.flags:
        raise RequestError(errnums.EPROTO, f"{what} request rejected with invalid flag")
    if not updates.update_event(wish.key):
        raise RequestError(
            errnums.EINVAL, f"{what} unsupported key specified: {wish.key!r:.60}; there are R and jobspec"
        )
    return wish


def _must_stream(msg: Message) -> None:
    if not msg.is_streaming:
        raise RequestError(errnums.EPROTO, f"{msg.topic} must be a streaming request")


def decoded(key: str, raw: bytes) -> Any:
    """The JSON value of a record. Raises RequestError(EPROTO)."""
    try:
        return msgspec.json.decode(raw)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        raise RequestError(errnums.EPROTO, f"{key} is not JSON") from None
