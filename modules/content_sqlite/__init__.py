"""Knows the requests of the content-backing service and when batches are written; not where they are kept."""

from __future__ import annotations

import errno
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any, Final

import msgspec

from brokersim.brokermod import BrokerModule, Handle, Message, RequestError, blobref, errnums, request_handler

from .batches import Batches, Waiting
from .collector import Collector
from .gc import Garbage
from .mark import Mark
from .memory import MemoryStore
from .options import Options, options
from .store import BlobStore

SERVICE: Final = "content-backing"
#: What it is called where content says which backing store it has.
NAME: Final = "content-sqlite"
#: Seconds a blob waits in memory for company, at most.
BATCH_WAIT: Final = 0.01
#: Seconds between attempts to write while writing fails; a store that comes tries it, too, each BATCH_WAIT at most.
RETRY_WAIT: Final = 1.0


class CheckpointPut(msgspec.Struct):
    """content-backing.checkpoint-put."""

    value: dict[str, Any]


class ContentSqlite(BrokerModule):
    """Flux's backing store: blobs in ``content.sqlite`` of the state directory, in memory if there is none.

    What it acknowledged outlives it in either case: it may be loaded anew, or have crashed.
    """

    def __init__(self, h: Handle, *args: str) -> None:
        super().__init__(h, *args)
        # What goes with the instance needs no disk.
        statedir = h.attr_get("statedir") if h.attr_get("statedir-cleanup") != "1" else None
        self._options = options(h, args, is_kept=statedir is not None)
        if h.rank:
            raise RequestError(
                errnums.EINVAL, f"module {h.name!r} on rank {h.rank}; the backing store belongs on rank 0"
            )
        self._store = _open(h, statedir, self._options, self.log.warning)
        self._store.checkpoints_max = self._options.max_checkpoints
        self.log.debug(f"journal_mode={self._options.journal_mode} synchronous={self._options.synchronous}")
        self._timer: Any = h.call_later(BATCH_WAIT, self._due) if self._store.pending else None
        #: Writing failed the last time.
        self._fails = False
        self._failed_at = 0.0
        store = self._store
        self._garbage = Garbage(h, store)
        self._collector = Collector(h, store, self.log.debug) if isinstance(store, MemoryStore) else None
        try:
            h.service_register(SERVICE)
        except RequestError:
            self._store.close()
            raise

    async def ready(self) -> None:
        """It is RUNNING once the content cache knows it."""
        try:
            await self._register()
        except RequestError as error:
            self._store.close()
            hint = "; load content-cache first" if error.errno == errnums.ENOSYS else ""
            raise RequestError(
                error.errno or errnums.EIO, f"cannot register with the content service: {error}{hint}"
            ) from None

    async def _register(self) -> None:
        await self.handle.call("content.register-backing", {"name": NAME})

    @request_handler(f"{SERVICE}.announce", prefix=False)
    async def announce(self, msg: Message) -> None:
        """The content cache was loaded anew and asks who is there."""
        await self._register()

    @request_handler(f"{SERVICE}.load", prefix=False)
    def load(self, msg: Message) -> None:
        try:
            data = self._store.load(_digest(msg))
        except RequestError as error:
            if error.errno != errnums.ENOENT:
                self.log.error(str(error))
            raise
        self.handle.respond(msg, data)

    @request_handler(f"{SERVICE}.store", prefix=False)
    def store(self, msg: Message) -> None:
        data, store = msg.data, self._store
        if self._fails:
            self._try_again()
        self.handle.respond(msg, store.store(data if type(data) is blobref.Blob else msg.raw))
        if store.is_batch_full:
            self._write_batch()
        elif self._timer is None:
            self._timer = self.handle.call_later(BATCH_WAIT, self._due)

    @request_handler(f"{SERVICE}.validate", prefix=False)
    def validate(self, msg: Message) -> None:
        """Whether a blob is here and what its hash says; answered without it (flux-core's fsck asks)."""
        self._store.load(_digest(msg))
        self.handle.respond(msg)

    @request_handler(f"{SERVICE}.flush", prefix=False)
    def flush(self, msg: Message) -> None:
        self._write(self._store.flush)
        self.handle.respond(msg)

    @request_handler(f"{SERVICE}.checkpoint-get", prefix=False)
    def checkpoint_get(self, msg: Message) -> None:
        """All that are kept, the newest first."""
        values = [one["value"] for one in self._store.checkpoints()]
        if not values:
            raise RequestError(errnums.ENOENT)
        self.handle.respond(msg, {"value": values})

    @request_handler(f"{SERVICE}.checkpoint-put", prefix=False)
    def checkpoint_put(self, msg: Message) -> None:
        request = msg.unpack(CheckpointPut)
        self._write(partial(self._store.checkpoint_put, request.value))
        self.handle.respond(msg)

    @request_handler(f"{SERVICE}.gc-info", prefix=False)
    def gc_info(self, msg: Message) -> None:
        self._garbage.info(msg)

    @request_handler(f"{SERVICE}.mark", prefix=False)
    def mark(self, msg: Message) -> None:
        self._garbage.mark(msg)

    @request_handler(f"{SERVICE}.sweep", prefix=False)
    def sweep(self, msg: Message) -> None:
        self._garbage.sweep(msg)

    def _try_again(self) -> None:
        """What kept it from writing may be over: who comes first after that is not refused for what has been."""
        if self.handle.now() - self._failed_at >= BATCH_WAIT:
            self._write_batch()

    def _due(self) -> None:
        self._timer = None
        self._write_batch()

    def _write_batch(self) -> None:
        if not self._store.pending:
            return
        try:
            self._write(self._store.flush)
        except RequestError:
            return  # logged, and tried again: everything stays in memory
        if self._collector is not None:
            self._collector.look()

    def _write(self, write: Callable[[], None]) -> None:
        """Do something that writes; log when that begins to fail and when it works again."""
        try:
            write()
        except RequestError as error:
            self._failed_at = self.handle.now()
            if not self._fails:
                self._fails = True
                self.log.error(f"{error}; {self._store.pending} blobs wait in memory")
            if self._timer is None:
                self._timer = self.handle.call_later(RETRY_WAIT, self._due)
            raise
        if self._fails:
            self._fails = False
            self.log.info(f"{self._store.path}: writing works again")

    def stats(self) -> dict[str, Any]:
        config = {"journal_mode": self._options.journal_mode, "synchronous": self._options.synchronous}
        return self._store.statistics() | {"config": config}

    def teardown(self) -> None:
        """Writes what is pending and closes the file."""
        if isinstance(self._store, BlobStore):
            Mark(Path(self._store.path)).closing()
        try:
            self._store.close()
        except RequestError as error:
            self.log.error(f"{error}; {self._store.pending} blobs are lost unless it is loaded again")


class _Left:
    """What one leaves to the next: blobs it acknowledged and did not write, and its file, which a crash leaves open."""

    def __init__(self) -> None:
        self.pending: dict[bytes, Waiting] = {}
        self.store: BlobStore | None = None


def _digest(msg: Message) -> bytes:
    digest = msg.raw
    if len(digest) != blobref.DIGEST_SIZE:
        raise RequestError(errnums.EPROTO, f"{msg.topic} of {len(digest)} bytes; give a raw SHA-1, 20 bytes")
    return digest


def _open(h: Handle, statedir: str | None, options: Options, say: Callable[[str], object]) -> Batches:
    """Where blobs are kept. Raises RequestError(ENOTDIR) if the state directory is none, and what the file raises."""
    if statedir is None:
        store = h.inherit(MemoryStore)
        if options.truncate:
            store.truncate()
        return store
    folder = Path(statedir)
    if not folder.is_dir():
        raise RequestError(errno.ENOTDIR, f"state directory {statedir} is no directory; create it first")
    path = str(folder / "content.sqlite")
    mark = Mark(Path(path))
    left = h.inherit(_Left)
    if left.store is not None:
        mark.closing()
        left.store.abandon()
    if options.truncate:
        left.pending.clear()
        mark.forget()
        for suffix in ("", "-wal", "-shm", "-journal"):
            Path(f"{path}{suffix}").unlink(missing_ok=True)
    gone = mark.gone()
    if gone and not options.recover:
        raise RequestError(
            errno.ENOENT,
            f"{gone}; restore it from a copy, or go on with what is there: brokersim start --recover",
        )
    file = left.store = BlobStore(
        path, journal_mode=options.journal_mode, synchronous=options.synchronous, pending=left.pending
    )
    if options.recover:
        say(f"recovering: {gone or 'nothing is missing'}; {file.look_over()}")
    mark.opened(options.journal_mode)
    return file
