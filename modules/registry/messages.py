"""Knows the payloads of the registry's requests; not what is done about them."""

from __future__ import annotations

from typing import Any

import msgspec

from brokersim.brokermod import RequestError, errnums

from .records import ANY


class Listed(msgspec.Struct):
    """Payload of list and query."""

    collection: str
    filter: dict[str, Any] = {}
    sort: str | list[str] = ""
    skip: int | None = None
    limit: int | None = None
    fields: str | list[str] = ""


class Wanted(msgspec.Struct):
    """Payload of get: a record, or one of its kept versions; of history."""

    collection: str
    id: str
    version: int | None = None


class Posted(msgspec.Struct):
    """Payload of post."""

    collection: str
    records: list[Any]


class Written(msgspec.Struct):
    """Payload of put, patch and delete: ``if_version`` is what was read, 0 for none yet, null for whatever there is."""

    collection: str
    id: str
    record: Any = None
    if_version: int | msgspec.UnsetType | None = msgspec.UNSET

    def expected(self) -> int:
        """Raises RequestError(EINVAL): whoever says nothing would overwrite what he has not seen."""
        if self.if_version is msgspec.UNSET:
            text = "if_version is missing: give the version that was read, 0 for a new record, null for any"
            raise RequestError(errnums.EINVAL, text)
        return ANY if self.if_version is None else self.if_version


class Registered(msgspec.Struct):
    """Payload of register: records of any collections, each made or brought up to date."""

    records: dict[str, list[Any]]


class Watching(msgspec.Struct):
    """Payload of watch: of all collections unless one is named."""

    collection: str = ""
    filter: dict[str, Any] = {}
