"""Knows records and their versions: what a write would make of them, and what that breaks; not where they are kept.

A write is planned on the book as it is, kept by somebody, and only then entered: so nothing is seen that is not kept.
"""

from __future__ import annotations

import errno
import re
from collections.abc import Callable, Iterable, Mapping
from typing import Any, Final, NamedTuple

import msgspec

from brokersim.brokermod import RequestError, blobref, check_nesting, errnums

from .schemas import COLLECTIONS, RECORD_MAX, SCHEMAS, TTL, faults

Record = dict[str, Any]
#: What the registry writes into a record, whatever a client says of it.
SERVER_KEYS: Final = ("id", "version", "ts", "hash", "state", "selfRef")
#: Versions kept of a record, the newest last.
HISTORY: Final = 16
#: An id is a part of a key of the KVS, where a dot would begin another.
_ID: Final = re.compile(r"[A-Za-z0-9_-]{1,128}", re.ASCII)
#: `if_version` of who takes whatever there is.
ANY: Final = -1


class Change(NamedTuple):
    """A record's new version among its old ones."""

    collection: str
    id: str
    versions: list[Record]
    action: str

    @property
    def record(self) -> Record:
        return self.versions[-1]


def fields_of(given: Any) -> Record:
    """What a client says of a record."""
    return {key: value for key, value in given.items() if key not in SERVER_KEYS}


def content_hash(fields: Record) -> str:
    """A blobref of canonical JSON: sorted keys, no spaces, UTF-8."""
    return blobref.blobref(msgspec.json.encode(fields, order="sorted"))


def merge_patch(target: Any, patch: Any) -> Any:
    """RFC 7396: objects by key, null takes away, everything else is replaced whole."""
    if not isinstance(patch, dict):
        return patch
    result = dict(target) if isinstance(target, dict) else {}
    for key, value in patch.items():
        if value is None:
            result.pop(key, None)
        else:
            result[key] = merge_patch(result.get(key), value)
    return result


def is_deleted(record: Record) -> bool:
    return record["hash"] is None


class Book:
    """All collections. ``new_id()`` draws an id for who gives none; ``more``: faults by others' schemas."""

    def __init__(
        self,
        new_id: Callable[[], str],
        more: Callable[[str, Any, str], Iterable[str]] = lambda *_: (),
    ) -> None:
        self._new_id = new_id
        self._more = more
        self._versions: dict[str, dict[str, list[Record]]] = {name: {} for name in COLLECTIONS}
        #: When a service was heard of last (s since the epoch), where that is later than its record.
        self._heard: dict[str, float] = {}

    # -- reading

    def load(self, collection: str, ident: str, versions: list[Record]) -> None:
        """As it was kept."""
        self._versions[collection][ident] = versions

    def collection(self, name: str) -> dict[str, list[Record]]:
        """Raises RequestError(ENOENT) that says which there are."""
        if name not in self._versions:
            raise RequestError(
                errnums.ENOENT, f"no collection {name!r:.40}; there are {', '.join(COLLECTIONS)}"
            )
        return self._versions[name]

    def history(self, collection: str, ident: str) -> list[Record]:
        """All versions kept, the oldest first. Raises RequestError(ENOENT)."""
        found = self.collection(collection).get(ident)
        if found is None:
            raise RequestError(errnums.ENOENT, f"no record {ident!r:.140} in {collection}")
        return found

    def get(self, collection: str, ident: str, now: float) -> Record:
        """A record as it is now. Raises RequestError(ENOENT), for a deleted one, too."""
        record = self.history(collection, ident)[-1]
        if is_deleted(record):
            text = f"record {ident!r} of {collection} was deleted (version {record['version']})"
            raise RequestError(errnums.ENOENT, text)
        return self._shown(collection, record, now)

    def all(self, collection: str, now: float) -> list[Record]:
        """Those that are not deleted, by id."""
        found = sorted(self.collection(collection).items())
        last = (versions[-1] for _, versions in found)
        return [self._shown(collection, record, now) for record in last if not is_deleted(record)]

    def _shown(self, collection: str, record: Record, now: float) -> Record:
        """A service that was not heard of for its time to live is expired, not erased."""
        if collection != "services":
            return record
        heard = max(record["ts"], self._heard.get(record["id"], 0.0))
        is_over = now - heard > record.get("ttl", TTL)
        return {**record, "state": "expired" if is_over else "alive"}

    # -- writing: plans, which change nothing

    def post(self, collection: str, given: Iterable[Any], now: float) -> list[Change]:
        """New records, all or none. Raises RequestError: EEXIST, EINVAL."""
        there = self.collection(collection)
        changes: list[Change] = []
        for number, record in enumerate(given):
            self._check(collection, record, f"/{number}")
            ident = self._id_of(record, f"/{number}")
            old = there.get(ident, [])
            if (old and not is_deleted(old[-1])) or any(change.id == ident for change in changes):
                raise RequestError(errnums.EEXIST, f"record {ident!r} of {collection} is there already")
            changes.append(_next(collection, ident, old, fields_of(record), now, "created"))
        return changes

    def put(self, collection: str, ident: str, given: Any, if_version: int, now: float) -> list[Change]:
        """A record as a whole. ``if_version``: the one that was read, 0 for none yet. Raises ESTALE, ENOENT, EINVAL."""
        old = self._expected(collection, ident, if_version)
        self._check(collection, given, "")
        return self._changed(collection, ident, old, fields_of(given), now)

    def patch(self, collection: str, ident: str, patch: Any, if_version: int, now: float) -> list[Change]:
        """A merge patch on it. The same errors."""
        old = self._expected(collection, ident, if_version)
        if not old or is_deleted(old[-1]):
            raise RequestError(errnums.ENOENT, f"no record {ident!r:.140} in {collection}")
        _check_nesting(patch)
        record = merge_patch(fields_of(old[-1]), fields_of(patch) if isinstance(patch, dict) else patch)
        self._check(collection, record, "")
        return self._changed(collection, ident, old, record, now)

    def delete(self, collection: str, ident: str, if_version: int, now: float) -> list[Change]:
        """A version that says it is gone. The same errors."""
        old = self._expected(collection, ident, if_version)
        if not old or is_deleted(old[-1]):
            raise RequestError(errnums.ENOENT, f"no record {ident!r:.140} in {collection}")
        return [_next(collection, ident, old, None, now, "deleted")]

    def register(self, given: Mapping[str, list[Any]], now: float) -> list[Change]:
        """Records of many collections, made or brought up to date; those that say nothing new change nothing."""
        changes: dict[tuple[str, str], Change] = {}
        for collection, records in given.items():
            there = self.collection(collection)
            for number, record in enumerate(records):
                self._check(collection, record, f"/{collection}/{number}")
                ident = self._id_of(record, f"/{collection}/{number}")
                before = changes.get((collection, ident))
                old = there.get(ident, []) if before is None else before.versions
                for change in self._changed(collection, ident, old, fields_of(record), now):
                    changes[collection, ident] = change
        return list(changes.values())

    def enter(self, changes: Iterable[Change]) -> None:
        """They are kept: from now on they are seen."""
        for change in changes:
            self._versions[change.collection][change.id] = change.versions

    # -- inside

    def _expected(self, collection: str, ident: str, if_version: int) -> list[Record]:
        old = self.collection(collection).get(ident, [])
        at = old[-1]["version"] if old and not is_deleted(old[-1]) else 0
        if if_version not in (ANY, at):
            text = f"record {ident!r:.140} of {collection} is at version {at}, not {if_version}"
            raise RequestError(errno.ESTALE, text)
        _check_id(ident, "")
        return old

    def _changed(
        self, collection: str, ident: str, old: list[Record], fields: Record, now: float
    ) -> list[Change]:
        """Nothing, if it says what the last version says; a service is heard of all the same."""
        if collection == "services":
            self._heard[ident] = now
        is_there = bool(old) and not is_deleted(old[-1])
        if is_there and old[-1]["hash"] == content_hash(fields):
            return []
        return [_next(collection, ident, old, fields, now, "changed" if is_there else "created")]

    def _id_of(self, record: Record, pointer: str) -> str:
        return _check_id(record["id"], pointer) if "id" in record else self._new_id()

    def _check(self, collection: str, record: Any, pointer: str) -> None:
        _check_nesting(record)
        found = list(
            faults(
                record if not isinstance(record, dict) else fields_of(record), SCHEMAS[collection], pointer
            )
        )
        if not found:
            found = list(self._more(collection, fields_of(record), pointer))
        if not found and len(msgspec.json.encode(record)) > RECORD_MAX:
            found = [f"{pointer or '/'} is larger than {RECORD_MAX} bytes"]
        if found:
            raise RequestError(errnums.EINVAL, "; ".join(found[:20]))


def _check_id(ident: Any, pointer: str) -> str:
    if not isinstance(ident, str) or not _ID.fullmatch(ident):
        text = f"{pointer}/id must be 1 to 128 letters, digits, _ and -, not {ident!r:.60}"
        raise RequestError(errnums.EINVAL, text)
    return ident


def _check_nesting(value: Any) -> None:
    try:
        check_nesting(value, "a record")
    except ValueError as error:
        raise RequestError(errnums.EINVAL, str(error)) from None


def _next(
    collection: str, ident: str, old: list[Record], fields: Record | None, now: float, action: str
) -> Change:
    version = old[-1]["version"] + 1 if old else 1
    digest = None if fields is None else content_hash(fields)
    record = {**(fields or {}), "id": ident, "version": version, "ts": now, "hash": digest}
    return Change(collection, ident, [*old, record][-HISTORY:], action)
