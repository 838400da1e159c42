"""Knows the payloads of the kvs service and what must be in them; not what is done about them."""

from __future__ import annotations

from typing import Annotated, Any, Final

import msgspec

from brokersim.brokermod import RequestError, blobref, errnums, treeobj

from .lookup import VALUE_MAX
from .transaction import Op

PRIMARY: Final = "primary"
USUAL_NAME: Final = "kvs"


class LookupRequest(msgspec.Struct):
    """kvs.lookup of a namespace; a root given, ``rootref`` or Flux's ``rootdir`` (a dirref), takes its place."""

    key: str
    flags: int = 0
    namespace: str = ""
    rootref: str | None = None
    rootdir: dict[str, Any] | None = None
    #: Ours: bytes of a value in several objects at most; who can read it object by object wants no longer ones whole.
    value_max: Annotated[int, msgspec.Meta(ge=0, le=VALUE_MAX)] = VALUE_MAX

    def root_given(self) -> str | None:
        """The root the lookup brings along. Raises RequestError(EINVAL) if it is none."""
        rootref = self.rootref
        if self.rootdir is not None:
            given = treeobj.check(self.rootdir)
            if given["type"] == "dirref":
                ref: str = given["data"][0]
                return ref
            rootref = ""
        if rootref is not None and not blobref.is_blobref(rootref):
            raise RequestError(errnums.EINVAL, f"key {self.key!r}: the root given is no blobref or dirref")
        if rootref is None and not self.namespace:
            raise RequestError(errnums.EPROTO, "kvs.lookup: payload lacks key 'namespace', or a root")
        return rootref


class CommitRequest(msgspec.Struct):
    """kvs.commit."""

    ops: list[Op]
    flags: int = 0
    namespace: str = PRIMARY


class NamespaceRequest(msgspec.Struct):
    """kvs.getroot."""

    namespace: str = PRIMARY


class RemoveRequest(msgspec.Struct):
    """kvs.namespace-remove."""

    namespace: str


class VersionRequest(msgspec.Struct):
    """kvs.wait-version."""

    rootseq: int
    namespace: str = PRIMARY


class CreateRequest(msgspec.Struct):
    """kvs.namespace-create; owner -1 is the instance's."""

    namespace: str
    rootref: str = treeobj.EMPTY_DIR_REF
    owner: int = -1
    flags: int = 0

    def check(self) -> None:
        """Raises RequestError(EINVAL) for a name that is none, and for a root that is none."""
        if not self.namespace:
            raise RequestError(errnums.EINVAL, "a namespace needs a name")
        if not blobref.is_blobref(self.rootref):
            text = f"namespace {self.namespace!r}: rootref {self.rootref!r} is no blobref"
            raise RequestError(errnums.EINVAL, text)


class Root(msgspec.Struct):
    """A root as getroot answers it, events announce it and checkpoints keep it."""

    rootref: str
    rootseq: int
    namespace: str = PRIMARY
    owner: int = 0
    flags: int = 0


def checkpoint(name: str, rootref: str, rootseq: int, timestamp: float) -> dict[str, Any]:
    """The value that content keeps for a kvs: where its primary namespace starts from next time.

    Two under two names find their own by ``kvs``; the one of the usual name has flux-core's keys and no more.
    """
    whose = {} if name == USUAL_NAME else {"kvs": name}
    return {"version": 1, "rootref": rootref, "sequence": rootseq, "timestamp": timestamp, **whose}


def last_of(name: str, checkpoints: list[dict[str, Any]]) -> dict[str, Any] | None:
    """The newest checkpoint that a kvs of that name left; the list has the newest first."""
    return next((one for one in checkpoints if one.get("kvs", USUAL_NAME) == name), None)
