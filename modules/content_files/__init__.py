"""Knows the requests of a backing store that keeps each blob in a file of its own; not what the blobs are."""

from __future__ import annotations

import shutil
import tempfile
from pathlib import Path
from typing import Any, Final

import msgspec

from brokersim.brokermod import BrokerModule, Handle, Message, RequestError, blobref, errnums, request_handler

from .folder import Folder

SERVICE: Final = "content-backing"
NAME: Final = "content-files"
#: The file of the one checkpoint there is.
CHECKPOINT: Final = "kvs-primary"
ARGUMENTS: Final = ("testing", "truncate")


class CheckpointPut(msgspec.Struct):
    """content-backing.checkpoint-put."""

    value: dict[str, Any]


class ContentFiles(BrokerModule):
    """Flux's backing store for those who want to look at its blobs: files of ``content.files`` in the state directory.

    Without one they are in the run directory, or in a folder that goes with the module. Arguments: ``truncate`` (begin
    with nothing), ``testing`` (do not tell the content cache of it).
    """

    def __init__(self, h: Handle, *args: str) -> None:
        super().__init__(h, *args)
        for arg in args:
            if arg not in ARGUMENTS:
                known = ", ".join(ARGUMENTS)
                raise RequestError(errnums.EINVAL, f"module {h.name!r}: argument {arg!r}; known are {known}")
        if h.rank:
            raise RequestError(
                errnums.EINVAL, f"module {h.name!r} on rank {h.rank}; the backing store belongs on rank 0"
            )
        self._is_told = "testing" not in args
        place = h.attr_get("statedir") or h.attr_get("rundir")
        self._passing = None if place else tempfile.mkdtemp(prefix="content-files-")
        self._folder = Folder(Path(place or self._passing or "") / "content.files", is_new="truncate" in args)
        h.service_register(SERVICE)

    async def ready(self) -> None:
        """It is RUNNING once the content cache knows it."""
        if self._is_told:
            await self._register()

    async def _register(self) -> None:
        await self.handle.call("content.register-backing", {"name": NAME})

    @request_handler(f"{SERVICE}.announce", prefix=False)
    async def announce(self, msg: Message) -> None:
        """The content cache was loaded anew and asks who is there."""
        if self._is_told:
            await self._register()

    @request_handler(f"{SERVICE}.load", prefix=False)
    def load(self, msg: Message) -> None:
        """A blob by its hash."""
        self.handle.respond(msg, self._folder.read(_key(msg)))

    @request_handler(f"{SERVICE}.store", prefix=False)
    def store(self, msg: Message) -> None:
        """A blob; answered with its hash when it is in its file."""
        data = msg.raw
        name = blobref.blobref(data)
        self._folder.write(name, data)
        self.handle.respond(msg, blobref.digest(name))

    @request_handler(f"{SERVICE}.validate", prefix=False)
    def validate(self, msg: Message) -> None:
        """Whether a blob is here and is what its hash says. Raises RequestError(EINVAL) if not."""
        name = _key(msg)
        if blobref.blobref(self._folder.read(name)) != name:
            raise RequestError(errnums.EINVAL, f"{name}: the file is not what its name says")
        self.handle.respond(msg)

    @request_handler(f"{SERVICE}.flush", prefix=False)
    def flush(self, msg: Message) -> None:
        """All is in files already."""
        self.handle.respond(msg)

    @request_handler(f"{SERVICE}.checkpoint-get", prefix=False)
    def checkpoint_get(self, msg: Message) -> None:
        """The one that is kept."""
        value = msgspec.json.decode(self._folder.read(CHECKPOINT))
        self.handle.respond(msg, {"value": [value]})

    @request_handler(f"{SERVICE}.checkpoint-put", prefix=False)
    def checkpoint_put(self, msg: Message) -> None:
        """Another one in its place."""
        self._folder.write(CHECKPOINT, msgspec.json.encode(msg.unpack(CheckpointPut).value))
        self.handle.respond(msg)

    def stats(self) -> dict[str, Any]:
        """How many files there are, the checkpoint's included, as flux-core 0.88 counts them."""
        return {"object_count": self._folder.count()}

    def teardown(self) -> None:
        """A folder that nobody asked for goes."""
        if self._passing is not None:
            shutil.rmtree(self._passing, ignore_errors=True)


def _key(msg: Message) -> str:
    digest = msg.raw
    if len(digest) != blobref.DIGEST_SIZE:
        raise RequestError(
            errnums.EPROTO,
            f"Protocol error: {msg.topic} of {len(digest)} bytes; give a raw SHA-1, {blobref.DIGEST_SIZE} bytes",
        )
    return blobref.from_digest(digest)
