"""Knows the payloads and flags of the kvs-watch service; not what is done about them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

import msgspec

from brokersim.brokermod import RequestError, errnums

WATCH: Final = 4
WAITCREATE: Final = 8
TREEOBJ: Final = 16
FULL: Final = 64
UNIQ: Final = 128
APPEND: Final = 256
STREAM: Final = 512
#: After what there is at the start, however much, one empty response follows.
SENTINEL: Final = 1024
#: What is left of the flags when kvs is asked: READDIR, READLINK, TREEOBJ.
LOOKUP_FLAGS: Final = 1 | 2 | TREEOBJ
_KINDS: Final = FULL | UNIQ | APPEND
_KNOWN: Final = LOOKUP_FLAGS | WATCH | WAITCREATE | _KINDS | STREAM | SENTINEL


class WatchRequest(msgspec.Struct):
    """kvs-watch.lookup."""

    key: str
    namespace: str
    flags: int

    def check(self, is_streaming: bool) -> None:
        """Raises RequestError: EINVAL for flags nobody knows, EPROTO for those that exclude each other."""
        flags = self.flags
        if flags & ~_KNOWN:
            raise RequestError(errnums.EINVAL, f"kvs-watch.lookup: flags {flags & ~_KNOWN:#x} are not known")
        if not is_streaming and flags & (WATCH | STREAM):
            raise RequestError(errnums.EPROTO, "kvs-watch.lookup must be a streaming request")
        if flags & WATCH and flags & STREAM:
            raise RequestError(errnums.EPROTO, "kvs-watch.lookup: WATCH and STREAM exclude each other")
        if flags & _KINDS and not flags & WATCH:
            raise RequestError(errnums.EPROTO, "kvs-watch.lookup: FULL, UNIQ and APPEND need WATCH")
        if flags & SENTINEL and not flags & APPEND:
            raise RequestError(errnums.EINVAL, "kvs-watch.lookup: INITIAL_SENTINEL needs APPEND")
        if (flags & _KINDS) not in (0, FULL, UNIQ, APPEND):
            raise RequestError(errnums.EPROTO, "kvs-watch.lookup: FULL, UNIQ and APPEND exclude each other")


class CancelRequest(msgspec.Struct):
    """kvs-watch.cancel."""

    matchtag: int


class Root(msgspec.Struct):
    """A root as kvs answers it and as its events announce it; ``keys`` are those a commit named."""

    namespace: str
    rootref: str
    rootseq: int
    owner: int
    keys: dict[str, Any] = {}


def plain_keys(keys: Mapping[str, None]) -> Mapping[str, None]:
    """The keys of a commit as they are compared: nearly all are so as they come, hundreds if many jobs share one."""
    text = ".".join(keys)
    if ".." not in text and text[:1] != "." and text[-1:] != ".":
        return keys
    return {plain_key(key): None for key in keys if key}


def plain_key(key: str) -> str:
    """A key without empty names, as it is compared: ``a..b.`` is ``a.b``, the root is ``.``.

    Raises RequestError(EINVAL) for an empty key.
    """
    if not key:
        raise RequestError(errnums.EINVAL, "a key must not be empty; the root is '.'")
    names = key.split(".")
    return (".".join([name for name in names if name]) or ".") if "" in names else key
