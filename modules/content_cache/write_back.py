"""Knows how dirty entries are written further down, so many at a time, none lost; not where blobs come from."""

from __future__ import annotations

import syslog
from collections import deque

from brokersim.brokermod import NODEID_ANY, NODEID_UPSTREAM, Handle, Message, RequestError, errnums

from .entries import BlobCache, Entry
from .timing import Timing

BACKING = "content-backing"


class WriteBack:
    """Stores dirty entries: rank 0 into the backing store, if one is registered, the others into rank 0's cache."""

    __slots__ = (
        "_cache", "_errnum", "_flushes", "_handle", "_limit", "_nodeid", "_paused", "_queue", "_service",
        "_store_topic", "_timing", "is_open",
    )  # fmt: skip

    def __init__(self, handle: Handle, cache: BlobCache, timing: Timing, limit: int) -> None:
        self._handle = handle
        self._cache = cache
        self._timing = timing
        self._limit = limit
        self._service, self._nodeid = ("content", NODEID_UPSTREAM) if handle.rank else (BACKING, NODEID_ANY)
        self._store_topic = f"{self._service}.store"
        #: Dirty entries whose store has to be started. Made when needed: most ranks only load.
        self._queue: deque[Entry] | None = None
        #: Open flushes: everything dirty up to the number has to be stored.
        self._flushes: deque[tuple[int, Message]] | None = None
        #: A store failed: no more until the next heartbeat or flush.
        self._paused = False
        self._errnum = 0
        #: There is somewhere to write to.
        self.is_open = handle.rank > 0

    def add(self, entry: Entry) -> None:
        """An entry has become dirty."""
        if not self._queue and self.is_open and not self._paused and self._timing.in_flight < self._limit:
            self._start(entry)
            return
        if self._queue is None:
            self._queue = deque()
        self._queue.append(entry)
        self.pump()

    def _start(self, entry: Entry) -> None:
        entry.store_started = self._timing.begin()
        blob = entry.blob
        entry.went_rooted = blob.is_rooted
        self._handle.request(self._store_topic, blob, self._stored, entry, self._nodeid)

    def open(self) -> None:
        """There is a backing store now: write all that waits."""
        self.is_open = True
        self.retry()

    def close(self) -> None:
        """There is no backing store any more; what is dirty waits for the next one."""
        self.is_open = False
        self._answer_flushes(errnums.ENOSYS)

    def retry(self) -> None:
        """Go on after a failure."""
        self._paused = False
        self.pump()

    def pump(self) -> None:
        """Start as many stores as may be under way at once."""
        if self._paused or not self.is_open:
            return
        queue, timing = self._queue, self._timing
        while queue and timing.in_flight < self._limit:
            self._start(queue.popleft())

    def _stored(self, response: Message, entry: Entry) -> None:
        now = self._timing.end(entry.store_started)
        if response.errnum:
            self._failed(response, entry)
        elif self._errnum or entry.is_pinned or entry.stores is not None:
            self._succeeded(entry, now)
        else:  # as nearly always
            entry.stored_at = now
            self._cache.clean(entry)
        if self._queue:
            self.pump()
        if self._flushes:
            self._finish_flushes()

    def _succeeded(self, entry: Entry, now: float) -> None:
        if self._errnum:
            self._errnum = 0
            self._handle.log(syslog.LOG_INFO, f"{self._service}.store works again")
        if entry.went_rooted and entry.is_pinned:
            if self._queue is None:
                self._queue = deque()
            self._queue.append(entry)  # somebody else stored it meanwhile, for good
            return
        entry.stored_at = now
        self._cache.clean(entry)
        if entry.stores is not None:
            for request in entry.stores:
                self._handle.respond(request, entry.digest)
            entry.stores = None

    def _failed(self, response: Message, entry: Entry) -> None:
        error = response.error()
        if error.errno != self._errnum:  # once, not for each of a thousand entries
            self._errnum = error.errno or errnums.EIO
            self._handle.log(
                syslog.LOG_ERR,
                f"{self._service}.store fails: {error}; {self._cache.dirty} entries stay dirty",
            )
        if self._handle.rank:
            self._give_up(entry, error)
            return
        if self._queue is None:
            self._queue = deque()
        self._queue.append(entry)
        self._paused = True
        self._answer_flushes(self._errnum, str(error))

    def _give_up(self, entry: Entry, error: RequestError) -> None:
        """Above rank 0 a store is answered only when it is done; who asked is told and has the data."""
        self._cache.drop(entry)
        for request in entry.stores or ():
            self._handle.respond_error(request, error.errno or errnums.EIO, error.text)

    # -- flush

    @property
    def in_flight(self) -> int:
        """Stores under way."""
        return self._timing.in_flight

    def flush(self, request: Message) -> None:
        """Answer once all that is dirty now is stored for good, or with the errnum that prevents it."""
        if not self.is_open:
            text = f"{self._cache.dirty} dirty entries and no backing store; load content-sqlite"
            raise RequestError(errnums.ENOSYS, text)
        if self._flushes is None:
            self._flushes = deque()
        self._flushes.append((self._cache.last_seq, request))
        self.retry()
        self._finish_flushes()

    def forget(self, sender: str) -> None:
        """A client is gone: nobody waits for its flushes."""
        if self._flushes:
            self._flushes = deque(item for item in self._flushes if item[1].sender != sender)

    def _finish_flushes(self) -> None:
        while self._flushes and self._cache.is_stored_up_to(self._flushes[0][0]):
            _seq, request = self._flushes.popleft()
            self._handle.request(f"{self._service}.flush", None, self._flushed, request, self._nodeid)

    def _flushed(self, response: Message, request: Message) -> None:
        # A backing store without a flush of its own keeps what it has acknowledged.
        if response.errnum in (0, errnums.ENOSYS):
            self._handle.respond(request)
        else:
            self._handle.respond_error(request, response.errnum, response.payload_str or "")

    def _answer_flushes(self, errnum: int, text: str = "") -> None:
        flushes, self._flushes = self._flushes, None
        for _seq, request in flushes or ():
            self._handle.respond_error(request, errnum, text)

    async def drain(self) -> None:
        """At the end: write what is still dirty, one by one. Raises RequestError at the first that fails."""
        for entry in self._cache.dirty_entries():
            await self._handle.call(f"{self._service}.store", entry.blob, self._nodeid)
        await self._handle.call(f"{self._service}.flush", None, self._nodeid)
