"""Knows the requests of job-info; how records are looked up and logs followed is elsewhere."""

from __future__ import annotations

from typing import Final

import msgspec

from brokersim.brokermod import BrokerModule, Handle, Message, RequestError, errnums, request_handler

from .records import JobInfo

ROLE_OWNER: Final = 1


class JobOf(msgspec.Struct, gc=False):
    """The job that any request is about."""

    id: int


class JobInfoModule(BrokerModule):
    """Records of jobs, looked up or followed; logs are followed through kvs-watch, as in flux-core."""

    def __init__(self, h: Handle, *args: str) -> None:
        super().__init__(h, *args)
        if args:
            raise RequestError(
                errnums.EINVAL, f"module {self.name!r}: unknown argument {args[0]!r}; it has none"
            )
        self._info = JobInfo(h)

    def stats(self) -> dict[str, object]:
        """Streams and look-ups open now."""
        return self._info.figures()

    async def _check_readable(self, msg: Message) -> None:
        """Raises RequestError(EPERM): a guest reads the records of its own jobs only."""
        if not msg.rolemask & ROLE_OWNER and await self._info.owner(msg.unpack(JobOf).id) != msg.userid:
            raise RequestError(errnums.EPERM, "guests can only read their own jobs")

    @request_handler("lookup", allow_guest=True)
    async def lookup(self, msg: Message) -> None:
        """Records of a job by key: jobspec, R, J, eventlog, guest.exec.eventlog, guest.output."""
        await self._check_readable(msg)
        await self._info.lookup(msg)

    @request_handler("eventlog-watch", allow_guest=True)
    async def eventlog_watch(self, msg: Message) -> None:
        """The lines of an eventlog as they are written."""
        await self._check_readable(msg)
        self._info.watch(msg)

    @request_handler("eventlog-watch-cancel", allow_guest=True)
    def eventlog_watch_cancel(self, msg: Message) -> None:
        """End such a stream; not answered itself."""
        self._info.cancel(msg)

    @request_handler("update-watch", allow_guest=True)
    async def update_watch(self, msg: Message) -> None:
        """A job's R or jobspec, and again each time it is updated."""
        await self._check_readable(msg)
        await self._info.update_watch(msg)

    @request_handler("update-lookup", allow_guest=True)
    async def update_lookup(self, msg: Message) -> None:
        """A job's R or jobspec with the updates so far."""
        await self._check_readable(msg)
        await self._info.update_lookup(msg)

    @request_handler("update-watch-cancel", allow_guest=True)
    def update_watch_cancel(self, msg: Message) -> None:
        """End such a stream; not answered itself."""
        self._info.cancel(msg)

    @request_handler("disconnect", allow_guest=True)
    def disconnect(self, msg: Message) -> None:
        """A client went: its streams end."""
        self._info.leave(msg.sender)
