"""Knows a job's guest records: its own KVS namespace with exec.eventlog and output; not what the job runs.

The order and number of commits are those of flux-core's execution system and shell (docs/flux-compat.md), because
they make the message counts of a job.
"""

from __future__ import annotations

from typing import Any

import msgspec

from brokersim.brokermod import Handle, RequestError, jobid, treeobj

APPEND = 32
TREEOBJ = 16
EVENTLOG = "exec.eventlog"
OUTPUT = "output"
INPUT = "input"
PRIMARY = "primary"


class GuestLogs:
    """The logs in the namespace ``job-<id>``, for one of the two who write there: execution system and job shell."""

    __slots__ = ("_handle", "_namespace")

    def __init__(self, handle: Handle, job: int) -> None:
        self._handle = handle
        self._namespace = f"job-{job}"

    def event(self, name: str, context: dict[str, Any] | None = None) -> bytes:
        """A line for any log, with the time of now."""
        event: dict[str, Any] = {"timestamp": self._handle.time(), "name": name}
        if context is not None:
            event["context"] = context
        return msgspec.json.encode(event) + b"\n"

    async def append(self, key: str, *lines: bytes) -> None:
        """Append lines to a log in one commit and as one object. Raises RequestError."""
        piece = treeobj.val(b"".join(lines))
        await self._commit(self._namespace, {"key": key, "flags": APPEND, "dirent": piece})

    async def _commit(self, namespace: str, operation: dict[str, Any]) -> None:
        await self._handle.call("kvs.commit", {"namespace": namespace, "flags": 0, "ops": [operation]})


class GuestRecords(GuestLogs):
    """All records: the namespace is linked as ``guest`` while the job runs, and copied there at its end."""

    __slots__ = ("_link", "_userid", "exists")

    def __init__(self, handle: Handle, job: int, userid: int) -> None:
        super().__init__(handle, job)
        self._link = jobid.job_kvspath(job, "guest")
        self._userid = userid
        self.exists = False

    async def create(self) -> None:
        """Make the namespace, write ``init``, link it into the job's directory. Raises RequestError."""
        new = {
            "namespace": self._namespace,
            "rootref": treeobj.EMPTY_DIR_REF,
            "owner": self._userid,
            "flags": 0,
        }
        await self._handle.call("kvs.namespace-create", new, nodeid=0)
        self.exists = True
        await self.append(EVENTLOG, self.event("init"))
        link = treeobj.symlink(".", self._namespace)
        await self._commit(PRIMARY, {"key": self._link, "flags": 0, "dirent": link})

    async def adopt(self) -> None:
        """Go on where one who made the namespace and went has left it, if it is there still. Raises RequestError."""
        try:
            await self._handle.call("kvs.getroot", {"namespace": self._namespace}, nodeid=0)
        except RequestError:
            return  # all of it is kept
        self.exists = True
        await self.append(EVENTLOG, self.event("reattach"), self.event("done"))

    async def keep(self) -> None:
        """Put a copy of all records in place of the link, and remove the namespace. Raises RequestError.

        It goes with or without its copy: whoever follows a log in it would wait for ever for more.
        """
        look = {"key": ".", "namespace": self._namespace, "flags": TREEOBJ}
        try:
            root = await self._handle.call("kvs.lookup", look)
            await self._commit(PRIMARY, {"key": self._link, "flags": 0, "dirent": root["val"]})
        except RequestError:
            await self._remove()
            raise
        await self._remove()

    async def _remove(self) -> None:
        self.exists = False
        await self._handle.call("kvs.namespace-remove", {"namespace": self._namespace}, nodeid=0)


def data_context(stream: str, rank: int, data: bytes) -> dict[str, Any]:
    """Context of an output event with data (RFC 24): text as it is, other bytes as base64."""
    context: dict[str, Any] = {"stream": stream, "rank": str(rank)}
    try:
        context["data"] = data.decode()
    except UnicodeDecodeError:
        context["data"] = msgspec.to_builtins(data)
        context["encoding"] = "base64"
    return context


def eof_context(stream: str, rank: int) -> dict[str, Any]:
    """Context of the output event that ends a stream."""
    return {"stream": stream, "rank": str(rank), "eof": True}


HEADER = {
    "version": 1,
    "encoding": {"stdout": "UTF-8", "stderr": "UTF-8"},
    "count": {"stdout": 1, "stderr": 1},
    "options": {},
}
INPUT_HEADER = {"version": 1, "encoding": {"stdin": "UTF-8"}, "count": {"stdin": 1}, "options": {}}
