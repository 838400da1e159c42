"""Knows the streams of job-info: an eventlog's lines, or a record and its updates; not who else follows what."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import msgspec

from brokersim.brokermod import Handle, Message, RequestError, errnums, eventlog, jobid, updates

from .copies import Copy
from .follow import FLAG_SENTINEL, FLAG_WAITCREATE, Follower, OnLine, OwnFollower

GUEST = "guest."
PRIMARY = "primary"
#: In the last line of every eventlog: nothing is ever posted after it.
_CLEAN = '"name":"clean"'


class Watch(msgspec.Struct, gc=False):
    """Payload of job-info.eventlog-watch."""

    id: int
    path: str = "eventlog"
    flags: int = 0
    #: ``path`` is in the job's own namespace: asked by this module only, whose way to a guest log leads there.
    guest: bool = False


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
        "_has_own",
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
        self._has_own = wish.guest
        self._flags = wish.flags
        self._following: list[Copy | Follower | OwnFollower] = []
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
        if self._has_own:
            waits = bool(self._flags & FLAG_WAITCREATE)
            self._watch(f"job-{self._job}", self._path, self._send, must_exist=not waits)
        elif not self._path.startswith(GUEST):
            waits = bool(self._flags & FLAG_WAITCREATE)
            self._watch(PRIMARY, record_key(self._job, self._path), self._main_line, must_exist=not waits)
        else:
            look = {"id": self._job, "keys": ["eventlog"], "flags": 0}
            self._handle.request(f"{self._handle.name}.lookup", look, self._main_log)

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

    def _watch(self, namespace: str, key: str, on_line: OnLine, *, must_exist: bool) -> None:
        """This log itself."""
        on_past = self._sentinel if self._owes_sentinel else None
        self._following.append(
            Follower(
                self._handle, namespace, key, on_line, self.finish, must_exist=must_exist, on_past=on_past
            )
        )

    def _ask_main(self, on_line: OnLine) -> None:
        """The main eventlog, which tells when there is a guest log or will be none."""
        waits = bool(self._flags & FLAG_WAITCREATE)
        self._following.append(
            OwnFollower(self._handle, self._job, "eventlog", on_line, self.finish, waits=waits)
        )

    def _ask_guest(self, *, waits: bool) -> None:
        on_past = self._sentinel if self._owes_sentinel else None
        key = self._path.removeprefix(GUEST)
        self._following.append(
            OwnFollower(
                self._handle,
                self._job,
                key,
                self._send,
                self._guest_ended,
                is_guest=True,
                waits=waits,
                on_past=on_past,
            )
        )

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
            events = eventlog.decode_log(response.payload["eventlog"].encode())
        except ValueError:
            self.finish(errnums.EPROTO)
            return
        if any(_is_over(event) for event in events):
            self._read_copy()
        elif any(event["name"] == "start" for event in events):
            self._follow_guest()
        else:
            self._ask_main(self._await_start)

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
        self._unfollow()
        self._ask_guest(waits=False)

    def _guest_ended(self, errnum: int) -> None:
        if errnum == errnums.ENOTSUP:  # the namespace has gone: the rest is in the copy
            self._read_copy()
        elif errnum == errnums.ENOENT:
            self._await_guest()
        else:
            self.finish(errnum)

    def _await_guest(self) -> None:
        """The log is not there yet, and will not be if the job ends before: both are waited for."""
        self._unfollow()
        self._ask_main(self._await_end)
        self._ask_guest(waits=True)

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
        key = record_key(self._job, self._path)
        self._following.append(Copy(self._handle, key, self._lines, self._send, self._copied))

    def _copied(self, errnum: int) -> None:
        if errnum:
            self.finish(self._missing if errnum == errnums.ENOENT else errnum)
            return
        self._sentinel()
        self.finish(errnums.ENODATA)


class UpdateStream:
    """One job-info.update-watch: the record at once, and again whenever the eventlog says that it changed."""

    __slots__ = ("_applied", "_follower", "_forget", "_handle", "_is_done", "_job", "_key", "_value", "msg")

    def __init__(
        self,
        handle: Handle,
        msg: Message,
        job: int,
        key: str,
        value: Any,
        applied: int,
        forget: Callable[[UpdateStream], object],
    ) -> None:
        self._handle = handle
        self._forget = forget
        self._key = key
        self._value = value
        #: So many updates of the log are in the value already.
        self._applied = applied
        self._is_done = False
        self.msg = msg
        self._job = job
        self._follower: OwnFollower | None = None

    def start(self) -> None:
        """Send the record, then follow."""
        self._handle.respond(self.msg, {self._key: self._value})
        self._follower = OwnFollower(self._handle, self._job, "eventlog", self._line, self.finish, waits=True)

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
            if self._applied:
                self._applied -= 1
                return
            try:
                updated = updates.apply_updates(self._key, self._value, [eventlog.decode_event(line)])
            except ValueError:
                self.finish(errnums.EPROTO)
                return
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
