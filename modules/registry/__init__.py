"""Knows the requests of the registry, one writer after the other; what records are is in the files beside this one."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from pathlib import Path
from typing import Any

import attrs
import msgspec

from brokersim.brokermod import (
    Handle,
    Message,
    OpenStreams,
    RequestError,
    errnums,
    request_handler,
)

from . import store
from .foreign import Foreign
from .messages import Listed, Posted, Registered, Wanted, Watching, Written
from .query import selected, to_test
from .records import Book, Change
from .samples import Samples
from .schemas import COLLECTIONS, SCHEMAS


@attrs.define(eq=False)
class Watcher:
    """Who is told of changes."""

    msg: Message
    collection: str
    test: Callable[[Any], bool]

    def wants(self, change: Change) -> bool:
        return self.collection in ("", change.collection) and self.test(change.record)


Plan = Callable[[float], list[Change]]


class Registry(Samples):
    """Nodes, services, measurements and metadata: records with versions, kept in the KVS, on rank 0; latest samples.

    Writes are carried out one after the other, as the KVS cannot compare before it sets. Arguments: ``schemas=PATH``
    of JSON Schemas that records must satisfy, too (a file, or a folder of them).
    """

    def __init__(self, h: Handle, *args: str) -> None:
        super().__init__(h, *args)
        self._foreign = _foreign(args)
        if h.rank:
            raise RequestError(errnums.EINVAL, f"it runs on rank 0, where all writes meet, not on {h.rank}")
        self._book = Book(lambda: f"{h.random.getrandbits(64):016x}", self._foreign.faults)
        self._writes: deque[tuple[Message, Plan, Written | None]] = deque()
        self._is_writing = False
        self._watchers: OpenStreams[Watcher] = OpenStreams()
        self._commits = 0

    async def ready(self) -> None:
        """What was kept is known before the first question."""
        try:
            await store.load(self.handle, self._book)
            await self._load_samples()
        except RequestError as error:
            if error.errno == errnums.ENOSYS:
                text = "it keeps its records in the KVS: load kvs first"
                raise RequestError(errnums.ENOSYS, text) from None
            raise

    def stats(self) -> dict[str, object]:
        """Records by collection, commits, who watches."""
        now = self.handle.time()
        records = {name: len(self._book.all(name, now)) for name in COLLECTIONS}
        return {"records": records, "commits": self._commits, "watchers": len(self._watchers)} | (
            self._sample_stats()
        )

    # -- reading

    @request_handler("list")
    def list_records(self, msg: Message) -> None:
        """Records of a collection: filtered, sorted, some of them, some of each."""
        wish = msg.unpack(Listed)
        records = self._book.all(wish.collection, self.handle.time())
        found, total = selected(records, msgspec.to_builtins(wish))
        self.handle.respond(msg, {"records": found, "total": total})

    @request_handler("get")
    def get(self, msg: Message) -> None:
        """One record."""
        wish = msg.unpack(Wanted)
        if wish.version is None:
            self.handle.respond(msg, {"record": self._book.get(wish.collection, wish.id, self.handle.time())})
            return
        kept = self._book.history(wish.collection, wish.id)
        found = next((one for one in kept if one["version"] == wish.version), None)
        if found is None:
            span = f"{kept[0]['version']} to {kept[-1]['version']}"
            text = f"record {wish.id!r}: version {wish.version} is not kept, but {span}"
            raise RequestError(errnums.ENOENT, text)
        self.handle.respond(msg, {"record": found})

    @request_handler("history")
    def history(self, msg: Message) -> None:
        """The kept versions of a record, the oldest first; a deleted one has no hash."""
        wish = msg.unpack(Wanted)
        self.handle.respond(msg, {"records": self._book.history(wish.collection, wish.id)})

    @request_handler("schemas")
    def schemas(self, msg: Message) -> None:
        """What a record of each collection may be: JSON Schema."""
        self.handle.respond(msg, {"schemas": {**SCHEMAS, **self._foreign.shown()}})

    # -- writing

    @request_handler("post")
    def post(self, msg: Message) -> None:
        """New records, all or none."""
        wish = msg.unpack(Posted)
        self._write(msg, lambda now: self._book.post(wish.collection, wish.records, now))

    @request_handler("put")
    def put(self, msg: Message) -> None:
        """A record as a whole, if it still is at the version that was read."""
        wish = msg.unpack(Written)
        at = wish.expected()
        self._write(msg, lambda now: self._book.put(wish.collection, wish.id, wish.record, at, now), wish)

    @request_handler("patch")
    def patch(self, msg: Message) -> None:
        """The same by a merge patch."""
        wish = msg.unpack(Written)
        at = wish.expected()
        self._write(msg, lambda now: self._book.patch(wish.collection, wish.id, wish.record, at, now), wish)

    @request_handler("delete")
    def delete(self, msg: Message) -> None:
        """A version that says it is gone."""
        wish = msg.unpack(Written)
        at = wish.expected()
        self._write(msg, lambda now: self._book.delete(wish.collection, wish.id, at, now))

    @request_handler("register")
    def register(self, msg: Message) -> None:
        """Whatever a rank has, of any collections, in one commit; what says nothing new makes none."""
        wish = msg.unpack(Registered)
        self._write(msg, lambda now: self._book.register(wish.records, now))

    def _write(self, msg: Message, plan: Plan, one: Written | None = None) -> None:
        self._writes.append((msg, plan, one))
        if not self._is_writing:
            self._is_writing = True
            self.handle.spawn(self._write_all())

    async def _write_all(self) -> None:
        try:
            while self._writes:
                await self._write_one(*self._writes.popleft())
        finally:
            self._is_writing = False

    async def _write_one(self, msg: Message, plan: Plan, one: Written | None) -> None:
        """Nobody sees what is not kept, and nobody's write is planned on what another's is about to change."""
        try:
            changes = plan(self.handle.time())
            if changes:
                self._commits += 1
                await store.save(self.handle, changes)
        except RequestError as error:
            self.handle.respond_error(msg, error.errno or errnums.EIO, error.text)
            return
        self._book.enter(changes)
        for change in changes:
            self._tell(change)
        records = [change.record for change in changes]
        if one is not None and not changes:  # it is as it was wanted
            records = [self._book.get(one.collection, one.id, self.handle.time())]
        self.handle.respond(msg, {"records": records})

    # -- who watches

    def _tell(self, change: Change) -> None:
        record = change.record
        event = {"collection": change.collection, **{key: record[key] for key in ("id", "version", "hash")}}
        self.handle.publish(f"{self.name}.changed", event)
        told = {"action": change.action, "collection": change.collection, "id": change.id}
        for watcher in list(self._watchers):
            try:
                if watcher.wants(change):
                    self.handle.respond(watcher.msg, {**told, "version": record["version"], "record": record})
            except RequestError as error:  # its filter takes too long; it is no fault of who writes
                self._watchers.remove(watcher)
                self.handle.respond_error(watcher.msg, error.errno or errnums.EINVAL, error.text)

    @request_handler("watch")
    def watch(self, msg: Message) -> None:
        """A stream of changes, from now on."""
        wish = msg.unpack(Watching)
        if not msg.is_streaming:
            raise RequestError(errnums.EPROTO, f"{self.name}.watch: a stream is needed")
        if wish.collection:
            self._book.collection(wish.collection)
        self._watchers.add(Watcher(msg, wish.collection, to_test(wish.filter)))

    @request_handler("cancel")
    def cancel(self, msg: Message) -> None:
        """End a stream; not answered itself."""
        for watcher in self._watchers.find(msg.sender, msg.unpack(dict[str, int])["matchtag"]):
            self._watchers.remove(watcher)
            self.handle.respond_error(watcher.msg, errnums.ENODATA)

    @request_handler("disconnect")
    def disconnect(self, msg: Message) -> None:
        for watcher in self._watchers.of(msg.sender):
            self._watchers.remove(watcher)

    async def teardown(self) -> None:
        """Streams end, whoever waits to write is told, and the latest samples are kept."""
        for watcher in list(self._watchers):
            self.handle.respond_error(watcher.msg, errnums.ENODATA)
        for msg, _, _ in self._writes:
            self.handle.respond_error(msg, errnums.ENOSYS, f"module {self.name!r} is being unloaded")
        self._writes.clear()
        await self._kept()


def _foreign(args: tuple[str, ...]) -> Foreign:
    """What the module's arguments say of other people's schemas. Raises RequestError(EINVAL)."""
    paths = [arg.removeprefix("schemas=") for arg in args if arg.startswith("schemas=")]
    other = [arg for arg in args if not arg.startswith("schemas=")]
    try:
        if other or len(paths) > 1:
            raise ValueError(f"it takes schemas=PATH and no more, not {' '.join(args)!r:.60}")
        return Foreign(Path(paths[0]) if paths else None)
    except ValueError as error:
        raise RequestError(errnums.EINVAL, str(error)) from None
