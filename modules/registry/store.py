"""Knows how records and samples are kept in the KVS: a value a record or series, one commit for all of a write."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Mapping, Sequence
from typing import Any, Final

import msgspec

from brokersim.brokermod import Handle, RequestError, errnums, treeobj

from .records import Book, Change
from .schemas import COLLECTIONS

_READDIR: Final = 1
#: The folder of samples, beside those of the collections.
DATA: Final = "data"


async def load(handle: Handle, book: Book) -> None:
    """All that was kept. Raises RequestError: ENOSYS without a KVS, EIO for what is no record."""
    for collection in COLLECTIONS:
        async for ident, value in values(handle, collection):
            try:
                book.load(collection, ident, msgspec.json.decode(value))
            except (msgspec.DecodeError, KeyError, TypeError) as error:
                key = f"{handle.name}.{collection}.{ident}"
                raise RequestError(errnums.EIO, f"kvs key {key} is no record: {error}") from None


async def save(handle: Handle, changes: Sequence[Change]) -> None:
    """One commit for all of them, or none of them."""
    await _commit(
        handle,
        {f"{change.collection}.{change.id}": msgspec.json.encode(change.versions) for change in changes},
    )


async def save_values(handle: Handle, folder: str, given: Mapping[str, bytes]) -> None:
    """The same for values of one folder."""
    await _commit(handle, {f"{folder}.{name}": value for name, value in given.items()})


async def values(handle: Handle, folder: str) -> AsyncGenerator[tuple[str, bytes]]:
    """Name and value of all that a folder has, by name; nothing where it is not there."""
    path = f"{handle.name}.{folder}"
    for name in await _names(handle, path):
        answer = await _lookup(handle, f"{path}.{name}", 0)
        try:
            yield name, treeobj.val_bytes(answer["val"])
        except (KeyError, TypeError, ValueError) as error:
            raise RequestError(errnums.EIO, f"kvs key {path}.{name} is no record: {error}") from None


async def _commit(handle: Handle, given: Mapping[str, bytes]) -> None:
    ops = [
        {"key": f"{handle.name}.{key}", "flags": 0, "dirent": treeobj.val(value)}
        for key, value in given.items()
    ]
    await handle.call("kvs.commit", {"namespace": "primary", "flags": 0, "ops": ops})


async def _names(handle: Handle, folder: str) -> list[str]:
    try:
        answer = await _lookup(handle, folder, _READDIR)
    except RequestError as error:
        if error.errno == errnums.ENOENT:
            return []
        raise
    return sorted(answer["val"]["data"])


async def _lookup(handle: Handle, key: str, flags: int) -> Any:
    return await handle.call("kvs.lookup", {"key": key, "namespace": "primary", "flags": flags})
