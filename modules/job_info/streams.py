"""Knows the streams of job-info: an eventlog's lines, or a record and its updates; not who else follows what."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import msgspec

from brokersim.brokermod import Handle, Message, RequestError, errnums, eventlog, jobid, updates

from .follow import Follower, OnEnd, OnLine, value_bytes

#: Watch flag: a log that is not there yet is awaited.
FLAG_WAITCREATE = 1
#: An empty response tells that all there was at the start has been sent.
FLAG_SENTINEL = 2
GUEST = "guest."
PRIMARY = "primary"
#: In the last line of every eventlog: nothing is ever posted after it.
_CLEAN = '"name":"clean"'


class Watch(msgspec.Struct, gc=False):
    """Payload of job-info.eventlog-watch."""

    id: int
    path: str = "eventlog"
    flags: int = 0


class LogStream:
    """One job-info.eventlog-watch. Guest logs live in the job's own namespace while it runs.

    As flux-core's guest watch: the main eventlog tells where a guest log is. Before ``start`` it is awaited by
    following the main eventlog; after the final ``release`` the copy in the primary namespace is read instead.
    """

    __slots__ = (
        "_flags",
        "_following",
        "_forget",
        "_handle",
        "_job",
        "_lines",
        "_missing",
        "_owes_sentinel",
        "_path",
        "is_done",
        "msg",
    )

    def __init__(
        self,
        handle: Handle,
        msg: Message,
        wish: Watch,
        forget: Callable[[LogStream], object],
    ) -> None:
        self._handle = handle
        self._forget = forget
        self.msg = msg
        self._job = wish.id
        self._path = wish.path
        self._flags = wish.flags
        self._following: list[Follower] = []
        self._lines = 0
        self._owes_sentinel = bool(wish.flags & FLAG_SENTINEL)
        #: What a guest log that is not in the copy ends the stream with.
        self._missing = errnums.ENOENT
        self.is_done = False

    @property
    def is_guest(self) -> bool:
        """It follows a log in the job's own namespace."""
        return self._path.startswith(GUEST)

    def start(self) -> None:
        """Find the log and begin."""
        wish = {"key": record_key(self._job, "eventlog"), "namespace": PRIMARY, "flags": 0}
        if not self._path.startswith(GUEST):
            self._follow(PRIMARY, record_key(self._job, self._path), self._main_line, self.finish)
        else:
            self._handle.request("kvs.lookup", wish, self._main_log)

    def finish(self, errnum: int) -> None:
        """End the stream; 61 is the good end."""
        if not self.is_done:
            self.drop()
            self._handle.respond_error(self.msg, errnum)

    def drop(self) -> None:
        """Stop following; nobody is told."""
        self.is_done = True
        self._unfollow()
        self._forget(self)

    # -- following

    def _follow(self, namespace: str, key: str, on_line: OnLine, on_end: OnEnd) -> None:
        self._unfollow()
        must_exist = not self._flags & FLAG_WAITCREATE or namespace != PRIMARY
        self._add(namespace, key, on_line, on_end, must_exist)

    def _add(self, namespace: str, key: str, on_line: OnLine, on_end: OnEnd, must_exist: bool) -> None:
        # Of what is told; the main eventlog, followed to find a guest log, is not.
        on_past = self._sentinel if self._owes_sentinel and on_line in (self._send, self._main_line) else None
        follower = Follower(
            self._handle, namespace, key, on_line, on_end, must_exist=must_exist, on_past=on_past
        )
        self._following.append(follower)

    def _unfollow(self) -> None:
        following, self._following = self._following, []
        for follower in following:
            follower.drop()

    def _send(self, line: str) -> None:
        self._lines += 1
        self._handle.respond(self.msg, {"event": line})

    def _sentinel(self) -> None:
        if self._owes_sentinel:
            self._owes_sentinel = False
            self._handle.respond(self.msg)

    def _main_line(self, line: str) -> None:
        self._send(line)
        if _CLEAN in line:
            self._sentinel()
            self.finish(errnums.ENODATA)

    # -- guest logs

    def _main_log(self, response: Message, _arg: None) -> None:
        if self.is_done:
            return
        if response.errnum:
            self.finish(response.errnum)
            return
        try:
            events = eventlog.decode_log(value_bytes(response.payload))
        except ValueError:
            self.finish(errnums.EPROTO)
            return
        if any(_is_over(event) for event in events):
            self._read_copy()
        elif any(event["name"] == "start" for event in events):
            self._follow_guest()
        else:
            self._follow(PRIMARY, record_key(self._job, "eventlog"), self._await_start, self.finish)

    def _await_start(self, line: str) -> None:
        try:
            event = eventlog.decode_event(line)
        except ValueError:
            self.finish(errnums.EPROTO)
            return
        if event["name"] == "start":
            self._follow_guest()
        elif _is_over(event):
            self._missing = errnums.ENODATA  # it never ran: no log will ever come
            self._read_copy()

    def _follow_guest(self) -> None:
        key = self._path.removeprefix(GUEST)
        self._follow(f"job-{self._job}", key, self._send, self._guest_ended)

    def _guest_ended(self, errnum: int) -> None:
        if errnum == errnums.ENOTSUP:  # the namespace has gone: the rest is in the copy
            self._read_copy()
        elif errnum == errnums.ENOENT:
            self._await_guest()
        else:
            self.finish(errnum)

    def _await_guest(self) -> None:
        """The log is not there yet, and will not be if the job ends before: both are waited for."""
        self._follow(PRIMARY, record_key(self._job, "eventlog"), self._await_end, self.finish)
        key = self._path.removeprefix(GUEST)
        self._add(f"job-{self._job}", key, self._send, self._guest_ended, must_exist=False)

    def _await_end(self, line: str) -> None:
        try:
            is_over = _is_over(eventlog.decode_event(line))
        except ValueError:
            self.finish(errnums.EPROTO)
            return
        if is_over:
            self._read_copy()

    def _read_copy(self) -> None:
        self._unfollow()
        wish = {"key": record_key(self._job, self._path), "namespace": PRIMARY, "flags": 0}
        self._handle.request("kvs.lookup", wish, self._copy)

    def _copy(self, response: Message, _arg: None) -> None:
        if self.is_done:
            return
        if response.errnum:
            self.finish(self._missing if response.errnum == errnums.ENOENT else response.errnum)
            return
        for line in eventlog.split_lines(value_bytes(response.payload))[self._lines :]:
            self._send(line)
        self._sentinel()
        self.finish(errnums.ENODATA)


class UpdateStream:
    """One job-info.update-watch: the record at once, and again whenever the eventlog says that it changed."""

    __slots__ = ("_follower", "_forget", "_handle", "_is_done", "_key", "_log", "_value", "msg")

    def __init__(
        self,
        handle: Handle,
        msg: Message,
        job: int,
        key: str,
        value: Any,
        forget: Callable[[UpdateStream], object],
    ) -> None:
        self._handle = handle
        self._forget = forget
        self._key = key
        self._value = value
        self._is_done = False
        self.msg = msg
        self._log = record_key(job, "eventlog")
        self._follower: Follower | None = None

    def start(self) -> None:
        """Send the record, then follow."""
        self._handle.respond(self.msg, {self._key: self._value})
        self._follower = Follower(self._handle, PRIMARY, self._log, self._line, self.finish, must_exist=False)

    def finish(self, errnum: int) -> None:
        """End the stream; 61 is the good end."""
        if not self._is_done:
            self.drop()
            self._handle.respond_error(self.msg, errnum)

    def drop(self) -> None:
        """Stop following; nobody is told."""
        self._is_done = True
        follower, self._follower = self._follower, None  # it knows this stream
        if follower is not None:
            follower.drop()
        self._forget(self)

    def _line(self, line: str) -> None:
        if f'"name":"{updates.update_event(self._key)}"' in line:
            try:
                updated = updates.apply_updates(self._key, self._value, [eventlog.decode_event(line)])
            except ValueError:
                self.finish(errnums.EPROTO)
                return
            if updated != self._value:  # the first look-up finds updates that were sent already
                self._value = updated
                self._handle.respond(self.msg, {self._key: updated})
        elif _CLEAN in line:
            self.finish(errnums.ENODATA)


def _is_over(event: dict[str, Any]) -> bool:
    """After these events nothing is in the guest namespace any more."""
    if event["name"] == "release":
        return bool(event.get("context", {}).get("final"))
    return bool(event["name"] == "clean")


def record_key(job: int, key: str) -> str:
    """The KVS key of a job's record. Raises RequestError(EINVAL) if the id is none."""
    try:
        return jobid.job_kvspath(job, key)
    except ValueError as error:
        raise RequestError(errnums.EINVAL, str(error)) from None
