"""Knows how records are kept in the KVS: a value a record, with its versions, and one commit for all of a write."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

import msgspec

from brokersim.brokermod import Handle, RequestError, errnums, treeobj

from .records import Book, Change
from .schemas import COLLECTIONS

_READDIR: Final = 1


async def load(handle: Handle, book: Book) -> None:
    """All that was kept. Raises RequestError: ENOSYS without a KVS, EIO for what is no record."""
    for collection in COLLECTIONS:
        folder = f"{handle.name}.{collection}"
        for ident in await _names(handle, folder):
            answer = await _lookup(handle, f"{folder}.{ident}", 0)
            try:
                book.load(collection, ident, msgspec.json.decode(treeobj.val_bytes(answer["val"])))
            except (msgspec.DecodeError, KeyError, TypeError) as error:
                raise RequestError(errnums.EIO, f"kvs key {folder}.{ident} is no record: {error}") from None


async def save(handle: Handle, changes: Sequence[Change]) -> None:
    """One commit for all of them, or none of them."""
    ops = [
        {
            "key": f"{handle.name}.{change.collection}.{change.id}",
            "flags": 0,
            "dirent": treeobj.val(msgspec.json.encode(change.versions)),
        }
        for change in changes
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
