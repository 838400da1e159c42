"""Knows Flux's KVS helpers: they read and commit by RPC and wait for the answer, as in a module of Flux."""

from __future__ import annotations

import errno
import json
import os
from abc import ABC, abstractmethod
from collections.abc import Iterator, MutableMapping
from types import TracebackType
from typing import TYPE_CHECKING, Any, Self

from brokersim.fluxapi.constants import (
    FLUX_KVS_READDIR,
    FLUX_KVS_WAITCREATE,
    FLUX_KVS_WATCH,
    FLUX_KVS_WATCH_FULL,
    FLUX_KVS_WATCH_UNIQ,
    FLUX_NODEID_ANY,
)
from brokersim.fluxapi.future import Future
from brokersim.fluxapi.payload import to_text
from brokersim.fluxapi.rpc import RPC
from brokersim.host.future import Future as Inner
from brokersim.protocol import treeobj
from brokersim.protocol.decoded import Json, JsonObject, JsonView
from brokersim.protocol.message import FLAG_STREAMING

if TYPE_CHECKING:
    from brokersim.fluxapi.core.handle import Flux


def _namespace(namespace: str | None) -> str:
    return namespace or os.environ.get("FLUX_KVS_NAMESPACE") or "primary"


def _lookup(flux_handle: Flux, key: str, flags: int, namespace: str | None) -> treeobj.TreeObj:
    request = {"key": key, "namespace": _namespace(namespace), "flags": flags}
    found: treeobj.TreeObj = RPC(flux_handle, "kvs.lookup", request).get()["val"]
    return found


def get_key_direct(flux_handle: Flux, key: str, namespace: str | None = None) -> Json:
    """The value of a key: from JSON if it is that, else text, else bytes; None if it is empty. Raises OSError."""
    return _decoded(treeobj.val_bytes(_lookup(flux_handle, key, 0, namespace)))


def _decoded(data: bytes) -> Json:
    if not data:
        return None
    try:
        return json.loads(data)
    except ValueError:
        pass
    try:
        return data.decode()
    except UnicodeDecodeError:
        return data


def exists(flux_handle: Flux, key: str, namespace: str | None = None) -> bool:
    """There is such a value or directory."""
    return _errnum(flux_handle, key, namespace) in (0, errno.EISDIR)


def isdir(flux_handle: Flux, key: str, namespace: str | None = None) -> bool:
    """There is such a directory."""
    return _errnum(flux_handle, key, namespace) == errno.EISDIR


def _errnum(flux_handle: Flux, key: str, namespace: str | None) -> int:
    try:
        _lookup(flux_handle, key, 0, namespace)
    except OSError as error:
        if error.errno not in (errno.ENOENT, errno.EISDIR):
            raise
        return error.errno
    return 0


def get_dir(
    flux_handle: Flux, key: str = ".", namespace: str | None = None, _kvstxn: KVSTxn | None = None
) -> KVSDir:
    """A directory. Raises OSError."""
    return KVSDir(flux_handle, key, namespace=namespace, _kvstxn=_kvstxn)


def get(flux_handle: Flux, key: str, namespace: str | None = None, _kvstxn: KVSTxn | None = None) -> Json:
    """A value, or a KVSDir if the key is a directory. Raises OSError."""
    try:
        return get_key_direct(flux_handle, key, namespace=namespace)
    except OSError as error:
        if error.errno != errno.EISDIR:
            raise
    return get_dir(flux_handle, key, namespace=namespace, _kvstxn=_kvstxn)


def _txn(flux_handle: Flux, kvstxn: KVSTxn | None) -> KVSTxn:
    if kvstxn is not None:
        return kvstxn
    if flux_handle.aux_txn is None:
        flux_handle.aux_txn = KVSTxn(flux_handle)
    txn: KVSTxn = flux_handle.aux_txn
    return txn


def put(flux_handle: Flux, key: str, value: Json, _kvstxn: KVSTxn | None = None, raw: bool = False) -> None:
    """Stage a value for the next commit; JSON, or bytes as they are. Raises TypeError for what JSON cannot hold."""
    if raw:
        data = value if isinstance(value, bytes) else value.encode()
    else:
        data = value if isinstance(value, bytes) else json.dumps(value).encode()
    _txn(flux_handle, _kvstxn).stage(key, treeobj.val(data))


def put_mkdir(flux_handle: Flux, key: str, _kvstxn: KVSTxn | None = None) -> None:
    """Stage an empty directory."""
    _txn(flux_handle, _kvstxn).stage(key, treeobj.directory())


def put_unlink(flux_handle: Flux, key: str, _kvstxn: KVSTxn | None = None) -> None:
    """Stage a removal."""
    _txn(flux_handle, _kvstxn).stage(key, None)


def put_symlink(flux_handle: Flux, key: str, target: str, _kvstxn: KVSTxn | None = None) -> None:
    """Stage a symlink."""
    _txn(flux_handle, _kvstxn).stage(key, treeobj.symlink(target))


def commit(
    flux_handle: Flux, flags: int = 0, namespace: str | None = None, _kvstxn: KVSTxn | None = None
) -> None:
    """Write what is staged and wait for it; without a transaction and with nothing staged, nothing. Raises OSError."""
    if _kvstxn is None and flux_handle.aux_txn is None:
        return
    commit_async(flux_handle, flags, namespace, _kvstxn).get()


def commit_async(
    flux_handle: Flux, flags: int = 0, namespace: str | None = None, _kvstxn: KVSTxn | None = None
) -> Future:
    """Write what is staged; a future of it."""
    txn = _txn(flux_handle, _kvstxn)
    if _kvstxn is None:
        flux_handle.aux_txn = None
    request = {"namespace": _namespace(namespace or txn.namespace), "flags": flags, "ops": list(txn.ops)}
    return RPC(flux_handle, "kvs.commit", request)


def namespace_create(flux_handle: Flux, namespace: str, owner: int = os.getuid(), flags: int = 0) -> None:
    """Raises OSError(EEXIST)."""
    request = {"namespace": namespace, "rootref": treeobj.EMPTY_DIR_REF, "owner": owner, "flags": flags}
    RPC(flux_handle, "kvs.namespace-create", request, 0).get()


def namespace_remove(flux_handle: Flux, namespace: str) -> None:
    """Raises OSError(ENOTSUP) if there is none."""
    RPC(flux_handle, "kvs.namespace-remove", {"namespace": namespace}, 0).get()


def namespace_list(flux_handle: Flux) -> list[str]:
    """The names of all namespaces."""
    return [one["namespace"] for one in RPC(flux_handle, "kvs.namespace-list").get()["namespaces"]]


def join(*args: str) -> str:
    """A key of several parts."""
    return ".".join(arg for arg in args if arg)


def walk(
    directory: str | KVSDir,
    topdown: bool = False,
    flux_handle: Flux | None = None,
    namespace: str | None = None,
) -> Iterator[tuple[str, Iterator[str], Iterator[str]]]:
    """``(path, directories, files)`` of a directory and all below, as ``os.walk``; the path is relative to it.

    Raises ValueError for a key without handle.
    """
    if not isinstance(directory, KVSDir):
        if flux_handle is None:
            raise ValueError("If directory is a key, flux_handle must be specified")
        directory = KVSDir(flux_handle, directory, namespace=namespace)
    return _walk(directory, "", topdown, namespace)


def _walk(
    here: KVSDir, path: str, topdown: bool, namespace: str | None
) -> Iterator[tuple[str, Iterator[str], Iterator[str]]]:
    if topdown:
        yield path, here.directories(), here.files()
    for name in here.directories():
        below = get_dir(here.fhdl, here.key_at(name), namespace)
        yield from _walk(below, join(path, name), topdown, namespace)
    if not topdown:
        yield path, here.directories(), here.files()


class WatchImplementation(Future, ABC):
    """A stream of values; who makes one says how a value is taken and how the stream is cancelled."""

    def __init__(self, future_handle: object) -> None:
        super().__init__(future_handle)
        self.needs_cancel = True

    @abstractmethod
    def watch_get(self, future: object) -> Json:
        """The value in hand."""

    @abstractmethod
    def watch_cancel(self, future: object) -> None:
        """Ask for the end."""

    def get(self, autoreset: bool = True) -> Json:
        """The next value, None at the end; waits for it. Raises OSError if the watch failed."""
        try:
            self.wait_for()
        except OSError as error:
            if error.errno == errno.ENODATA:
                self.needs_cancel = False
                return None
            raise
        value = self.watch_get(self.inner)
        if autoreset is True:
            self.reset()
        return value

    def cancel(self, stop: bool = False) -> None:
        """End the stream; what is under way still comes, unless ``stop``."""
        self.watch_cancel(self.inner)
        self.needs_cancel = False
        if stop:
            self.stop()


class KVSWatchFuture(WatchImplementation):
    """The values of one key, as :func:`kvs_watch_async` asked for them."""

    def __init__(self, future_handle: object) -> None:
        super().__init__(future_handle)

    def watch_get(self, future: Json) -> Json:
        found = json.loads(to_text(future.latest.data) or "null")["val"]
        return None if found is None else _decoded(treeobj.val_bytes(found))

    def watch_cancel(self, future: Any) -> None:
        future.cancel_by("kvs-watch.cancel")


def kvs_watch_async(
    flux_handle: Flux,
    key: str,
    namespace: str | None = None,
    waitcreate: bool = False,
    uniq: bool = False,
    full: bool = False,
) -> KVSWatchFuture:
    """A future that is fulfilled anew each time the key is committed."""
    flags = FLUX_KVS_WATCH
    flags |= FLUX_KVS_WAITCREATE if waitcreate else 0
    flags |= FLUX_KVS_WATCH_UNIQ if uniq else 0
    flags |= FLUX_KVS_WATCH_FULL if full else 0
    request = {"key": key, "namespace": _namespace(namespace), "flags": flags}
    inner = Inner(flux_handle.endpoint, "kvs-watch.lookup", request, FLUX_NODEID_ANY, FLAG_STREAMING)
    future = KVSWatchFuture(inner)
    future.set_flux(flux_handle)
    return future


class KVSTxn:
    """Operations for one commit; as a context manager it commits at the end of the block."""

    def __init__(
        self, flux_handle: Flux | None = None, path: str = ".", namespace: str | None = None
    ) -> None:
        self.fhdl = flux_handle
        self.path = path
        self.namespace = namespace
        self.ops: list[JsonObject] = []

    def stage(self, key: str, entry: treeobj.TreeObj | None) -> None:
        """Add an operation, its key below the transaction's path."""
        key = key if self.path == "." else join(self.path, key)
        self.ops.append({"key": key, "flags": 0, "dirent": entry})

    def _handle(self) -> Flux:
        if self.fhdl is None:
            raise ValueError("a transaction without handle cannot do that")
        return self.fhdl

    def commit(self, flags: int = 0) -> None:
        """Write it and wait; then it is empty. Raises OSError."""
        try:
            commit(self._handle(), flags, self.namespace, self)
        finally:
            self.clear()

    def commit_async(self, flags: int = 0) -> Future:
        future = commit_async(self._handle(), flags, self.namespace, self)
        self.clear()
        return future

    def put(self, key: str, value: object, raw: bool = False) -> None:
        put(self._handle(), key, value, self, raw)

    def mkdir(self, key: str) -> None:
        put_mkdir(self._handle(), key, self)

    def unlink(self, key: str) -> None:
        put_unlink(self._handle(), key, self)

    def symlink(self, key: str, target: str) -> None:
        put_symlink(self._handle(), key, target, self)

    def clear(self) -> None:
        self.ops = []

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, type_arg: type[BaseException] | None, value: BaseException | None, tb: TracebackType | None
    ) -> None:
        self.commit()  # also after an exception: so does Flux's


class KVSDir(MutableMapping[str, Json]):
    """A directory as a mapping: reading asks the KVS, writing is staged until ``commit``."""

    def __init__(
        self,
        flux_handle: Flux | None = None,
        path: str = ".",
        handle: object = None,
        namespace: str | None = None,
        _kvstxn: KVSTxn | None = None,
    ) -> None:
        if flux_handle is None:
            raise ValueError("flux_handle must be a valid flux handle")
        self.fhdl = flux_handle
        self.path = path
        self.namespace = namespace
        self.kvstxn = KVSTxn(flux_handle, ".", namespace) if _kvstxn is None else _kvstxn
        self._entries()

    def _entries(self) -> dict[str, treeobj.TreeObj]:
        entries: dict[str, treeobj.TreeObj] = _lookup(self.fhdl, self.path, FLUX_KVS_READDIR, self.namespace)[
            "data"
        ]
        return entries

    def commit(self, flags: int = 0) -> None:
        self.kvstxn.commit(flags)

    def commit_async(self, flags: int = 0) -> Future:
        return self.kvstxn.commit_async(flags)

    def key_at(self, key: str) -> str:
        """The whole key of one of its names."""
        return key if self.path == "." else join(self.path, key)

    def exists(self, name: str) -> bool:
        return exists(self.fhdl, self.key_at(name), self.namespace)

    def __getitem__(self, key: str) -> Json:
        try:
            return get(self.fhdl, self.key_at(key), self.namespace, self.kvstxn)
        except OSError as error:
            if error.errno == errno.ENOENT:
                raise KeyError(f"{key} not found under directory {self.path}") from None
            raise

    def __setitem__(self, key: str, value: object) -> None:
        put(self.fhdl, self.key_at(key), value, self.kvstxn)

    def __delitem__(self, key: str) -> None:
        put_unlink(self.fhdl, self.key_at(key), self.kvstxn)

    def __iter__(self) -> Iterator[str]:
        return iter(self._entries())

    def __len__(self) -> int:
        return len(self._entries())

    def fill(self, contents: JsonView) -> None:
        """Write many values and commit."""
        for key, value in contents.items():
            self[key] = value
        self.commit()

    def mkdir(self, key: str, contents: JsonView | None = None) -> None:
        """Make a directory, with something in it if given, and commit."""
        put_mkdir(self.fhdl, self.key_at(key), self.kvstxn)
        self.commit()
        if contents:
            get_dir(self.fhdl, self.key_at(key), self.namespace).fill(contents)

    def files(self) -> Iterator[str]:
        """Names of values."""
        return (name for name, entry in self._entries().items() if entry["type"] not in ("dir", "dirref"))

    def directories(self) -> Iterator[str]:
        """Names of directories."""
        return (name for name, entry in self._entries().items() if entry["type"] in ("dir", "dirref"))

    def list_all(self) -> tuple[list[str], list[str]]:
        """Names of values, and of directories."""
        return list(self.files()), list(self.directories())

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, type_arg: type[BaseException] | None, value: BaseException | None, tb: TracebackType | None
    ) -> None:
        self.commit()
