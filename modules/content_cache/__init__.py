"""Knows the requests of the content service and who waits for which blob; caching and writing are beside this file."""

from __future__ import annotations

import errno
import math
from functools import partial
from typing import Any, Final

import msgspec

from brokersim.brokermod import (
    NODEID_ANY,
    NODEID_UPSTREAM,
    BrokerModule,
    Handle,
    Message,
    RequestError,
    blobref,
    errnums,
    event_handler,
    pass_on,
    request_handler,
)

from .entries import BlobCache, Entry
from .mapped import Mapped
from .settings import settings
from .timing import TIMINGS, emitter, timing_clock
from .write_back import BACKING, WriteBack

_Blob: Final = blobref.Blob
#: Seconds after which what is stored again goes further down again: well below the time in which a store without a
#: file lets go what no root leads to (content-sqlite).
STORED_FOR: Final = 200.0
#: Rank 0's word to the other caches that garbage is collected below.
COLLECTED: Final = "content.collected"
#: The attribute that names the backing store.
BACKING_MODULE: Final = "content.backing-module"


class TagRequest(msgspec.Struct, gc=False):
    """content.mmap-remove."""

    tag: str


class FileRequest(msgspec.Struct):
    """content.mmap-add."""

    path: str
    chunksize: int
    tag: str


class BackingRequest(msgspec.Struct):
    """content.register-backing."""

    name: str


class ContentCache(BrokerModule):
    """Flux's content service: a write-back cache on rank 0, over it a tree of caches that ask their parents."""

    def __init__(self, h: Handle, *args: str) -> None:
        super().__init__(h, *args)
        options = settings(h, args)
        self._size_limit = options.blob_size_limit
        h.service_register("content")
        self._cache = BlobCache(
            purge_target_size=options.purge_target_size, purge_old_entry=options.purge_old_entry
        )
        timing, clock = TIMINGS[options.timing], timing_clock(h)
        self._loads, self._stores = (timing(clock, emitter(h, kind)) for kind in ("load", "store"))
        self._write_back = WriteBack(h, self._cache, self._stores, options.flush_batch_limit)
        # Under a name that carries no rank one rank may set gauges: the one that holds everything.
        self._tells_gauges = not h.rank or "{rank}" in (h.attr_get("stats.prefix") or "{rank}")
        self._mapped = Mapped()
        #: What was stored up to then may be let go further down; none is, until somebody collects garbage there.
        self._stored_after = -math.inf
        self._backing: Message | None = None
        #: What blobs are written to, by the start's word or since the first came; another store would not have them.
        self._backing_name: str | None = h.attr_get(BACKING_MODULE)
        #: It is over rank 0's, and what is stored here is answered when that has it.
        self._is_above = h.rank > 0
        self._source, self._nodeid = ("content", NODEID_UPSTREAM) if h.rank else (BACKING, NODEID_ANY)
        if not h.rank:
            # A backing store that is there already (this module was reloaded) registers again.
            h.request(f"{BACKING}.announce")

    # -- blobs

    @request_handler("content.load", prefix=False)
    def load(self, msg: Message) -> None:
        digest = msg.raw
        if len(digest) != blobref.DIGEST_SIZE:
            raise RequestError(
                errnums.EPROTO, f"content.load of {len(digest)} bytes; give a raw SHA-1, 20 bytes"
            )
        entry = self._cache.find(digest)
        if entry is None:
            if self._mapped and (data := self._mapped.find(digest)) is not None:
                self.handle.respond(msg, data)
                return
            if not self._write_back.is_open:
                raise RequestError(errnums.ENOENT)
            entry = self._cache.create(digest)
            entry.loads = [msg]
            entry.load_started = self._loads.begin()
            self.handle.request(f"{self._source}.load", digest, self._loaded, entry, self._nodeid)
        elif entry.is_valid:
            self.handle.respond(msg, bytes(entry.blob))
        else:
            assert entry.loads is not None
            entry.loads.append(msg)

    def _loaded(self, response: Message, entry: Entry) -> None:
        self._loads.end(entry.load_started)
        if entry.is_valid:
            return  # somebody stored it meanwhile, and whoever waited was answered
        blob = blobref.as_blob(response.raw)
        error = _fault(response, blob, entry)
        if error is not None:
            self._cache.drop(entry)
            for msg in entry.loads or ():
                self.handle.respond_error(msg, error.errno or errnums.EIO, error.text)
        else:
            self._cache.fill(entry, blob)
            self._answer_loads(entry)

    def _answer_loads(self, entry: Entry) -> None:
        loads, entry.loads = entry.loads, None
        for msg in loads or ():
            self.handle.respond(msg, bytes(entry.blob))

    @request_handler("content.store", prefix=False)
    def store(self, msg: Message) -> None:
        data = msg.data
        # Nearly all are what a kvs in this process has hashed, and short enough.
        is_sound = type(data) is _Blob and data.size <= self._size_limit
        blob: blobref.Blob = data if is_sound else _to_blob(msg, self._size_limit)
        digest = blob.digest
        entry = self._cache.find(digest)
        if entry is None:
            is_new = True
            entry = self._cache.create_dirty(blob)
        else:
            is_new = self._store_again(entry, blob)
        if self._is_above and entry.is_dirty:
            entry.stores = entry.stores or []
            entry.stores.append(msg)
        else:
            self.handle.respond(msg, digest)
        if is_new:
            self._write_back.add(entry)

    def _store_again(self, entry: Entry, blob: blobref.Blob) -> bool:
        """Somebody stores what there is an entry for; whether it has become dirty by that."""
        if not entry.is_valid:
            self._cache.fill_dirty(entry, blob)
            entry.is_pinned = not blob.is_rooted
            if entry.loads is not None:
                self._answer_loads(entry)
            return True
        if not self._must_go_again(entry, blob):
            return False
        if not blob.is_rooted:
            entry.blob, entry.is_pinned = blob, True
        if entry.is_dirty:
            return False
        self._cache.soil(entry)
        return True

    def _must_go_again(self, entry: Entry, blob: blobref.Blob) -> bool:
        """The store further down may have let it go since no root led to it, or may let it go and must not."""
        if not blob.is_rooted and not entry.is_pinned:
            return True
        if entry.is_dirty:
            return False
        if entry.stored_at <= self._stored_after:
            return True
        return blob.is_rooted and self._stores.clock() - entry.stored_at > STORED_FOR

    @request_handler("content.store-anew", prefix=False)
    def store_anew(self, msg: Message) -> None:
        """Somebody collects garbage in the backing store: what is stored here from now on goes there again."""
        self._stored_after = self._stores.clock()
        self.handle.publish(COLLECTED)
        self.handle.respond(msg)

    @event_handler(COLLECTED, prefix=False)
    def collected(self, msg: Message) -> None:
        """The same, for the caches above."""
        if self.handle.rank:
            self._stored_after = self._stores.clock()

    @request_handler("content.flush", prefix=False)
    def flush(self, msg: Message) -> None:
        self._write_back.flush(msg)

    @request_handler("content.dropcache", prefix=False)
    def dropcache(self, msg: Message) -> None:
        before = self._cache.count
        dropped = self._cache.drop_clean()
        self.log.debug(f"dropcache: {dropped} of {before} entries dropped")
        self.handle.respond(msg)

    # -- the backing store

    @request_handler("content.register-backing", prefix=False)
    def register_backing(self, msg: Message) -> None:
        name = msg.unpack(BackingRequest).name
        if self.handle.rank:
            raise RequestError(
                errnums.EINVAL, f"backing store {name!r} on rank {self.handle.rank}; it belongs on rank 0"
            )
        if self._backing is not None and self._backing.sender != msg.sender:
            raise RequestError(errno.EBUSY, f"backing store {name!r}: one is already active")
        if self._backing_name not in (None, name):
            text = f"backing store {name!r}: it was {self._backing_name!r}, which cannot be changed while this runs"
            raise RequestError(errnums.EINVAL, text)
        if self._backing_name is None:
            self._backing_name = name
            self.handle.attr_set(BACKING_MODULE, name)
        self._backing = msg
        self.handle.respond(msg)
        self._write_back.open()

    @request_handler("content.mmap-add", prefix=False)
    def mmap_add(self, msg: Message) -> None:
        """A file stands in for its blobs until its tag is removed. Raises RequestError."""
        wish = msg.unpack(FileRequest)
        if self.handle.rank:
            raise RequestError(errnums.EINVAL, "content may only be mmapped on rank 0")
        self._mapped.add(wish.path, wish.chunksize, wish.tag)
        self.handle.respond(msg)

    @request_handler("content.mmap-remove", prefix=False)
    def mmap_remove(self, msg: Message) -> None:
        """Files that are mapped under a tag are no longer."""
        wish = msg.unpack(TagRequest)
        if self.handle.rank:
            raise RequestError(errnums.EINVAL, "content can only be mmapped on rank 0")
        self._mapped.remove(wish.tag)
        self.handle.respond(msg)

    @request_handler("content.unregister-backing", prefix=False)
    def unregister_backing(self, msg: Message) -> None:
        if self._backing is None:
            raise RequestError(errnums.EINVAL, "a backing store is not active")
        self._drop_backing()
        self.handle.respond(msg)

    def _drop_backing(self) -> None:
        self._backing = None
        self._write_back.close()

    @request_handler("content.checkpoint-get", prefix=False)
    def checkpoint_get(self, msg: Message) -> None:
        self._pass_on("checkpoint-get", msg)

    @request_handler("content.checkpoint-put", prefix=False)
    def checkpoint_put(self, msg: Message) -> None:
        self._pass_on("checkpoint-put", msg)

    def _pass_on(self, method: str, msg: Message) -> None:
        if not self._write_back.is_open:
            raise RequestError(errnums.ENOSYS, "no backing store is registered; load content-sqlite")
        self.handle.request(
            f"{self._source}.{method}", msg.data, partial(pass_on, self.handle), msg, self._nodeid
        )

    @request_handler("content.disconnect", prefix=False)
    def disconnect(self, msg: Message) -> None:
        if self._backing is not None and self._backing.sender == msg.sender:
            self._drop_backing()
        self._write_back.forget(msg.sender)

    # -- time, figures, the end

    @event_handler("heartbeat.pulse", prefix=False)
    def heartbeat(self, msg: Message) -> None:
        self._cache.purge()
        self._write_back.retry()
        if self._tells_gauges and self.handle.stats.enabled:
            for name, value in self._gauges().items():
                self.handle.stats.gauge_set(name, value)

    def _gauges(self) -> dict[str, int]:
        cache = self._cache
        return {
            "count": cache.count,
            "valid": cache.valid,
            "dirty": cache.dirty,
            "size": cache.size,
            "flush-batch-count": self._write_back.in_flight,
        }

    def stats(self) -> dict[str, Any]:
        """Flux's figures under Flux's names, and the durations of loads and stores in ms."""
        timings = {"load": self._loads.statistics(), "store": self._stores.statistics()}
        return self._gauges() | timings | {"mmap": self._mapped.to_dict()}

    def listed_figures(self) -> dict[str, Any]:
        """What a listing of modules shows of it: how long loads and stores took, in ms."""
        return {"timings": {"load": self._loads.statistics(), "store": self._stores.statistics()}}

    async def teardown(self) -> None:
        """Writes what is dirty to the backing store."""
        if self.handle.rank or not self._cache.dirty:
            return
        if not self._write_back.is_open:
            return  # an instance without a backing store keeps nothing, by design
        try:
            await self._write_back.drain()
        except RequestError as error:
            self.log.error(f"{self._cache.dirty} dirty entries are lost: {error}")


def _to_blob(msg: Message, limit: int) -> blobref.Blob:
    """What is to be stored, hashed. Raises RequestError(EFBIG) if it is too long."""
    data = msg.data if type(msg.data) is _Blob else msg.raw
    if len(data) > limit:
        text = f"blob of {len(data)} bytes, the limit (content.blob-size-limit) is {limit}"
        raise RequestError(errnums.EFBIG, text)
    return blobref.as_blob(data)


def _fault(response: Message, blob: blobref.Blob, entry: Entry) -> RequestError | None:
    """What is wrong with the answer to a load, if anything."""
    if response.errnum:
        return response.error()
    if blob.digest != entry.digest:
        return RequestError(
            errnums.EIO, f"blob {blobref.from_digest(entry.digest)} came back with another hash"
        )
    return None
