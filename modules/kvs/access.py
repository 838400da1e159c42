"""Knows who may use a namespace: the instance owner all of them, a guest those that are its own (flux-core's rule)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final, TypeVar

from brokersim.brokermod import Message, RequestError, errnums

from .namespaces import Namespace, Namespaces
from .steps import ROOTS, Steps, View
from .transaction import Op

T = TypeVar("T")
ROLE_OWNER: Final = 1


def permit(namespace: Namespace, msg: Message) -> None:
    """Raises RequestError(EPERM) if the sender may not use the namespace."""
    if not msg.rolemask & ROLE_OWNER and msg.userid != namespace.owner:
        raise RequestError(errnums.EPERM, f"namespace {namespace.name!r} belongs to another user")


def permit_ops(ops: Sequence[Op]) -> None:
    """What a guest may commit: values, empty directories, unlinks.

    Raises RequestError(EPERM) for anything else: links, and references to blobs that may be another user's
    (flux-core's rule).
    """
    for op in ops:
        dirent = op.dirent
        if dirent is None or dirent.get("type") == "val":
            continue
        kind = dirent.get("type")
        if kind != "dir":
            raise RequestError(errnums.EPERM, f"key {op.key!r}: guests may not commit {kind} objects")
        if dirent.get("data"):
            raise RequestError(errnums.EPERM, f"key {op.key!r}: guests may not commit non-empty dir objects")


class GuestView:
    """What is at hand, but no roots: a guest's links into other namespaces go by ``guarded``, which sees the owner."""

    __slots__ = ("get", "holds")

    def __init__(self, view: View) -> None:
        self.get = view.get
        self.holds = view.holds

    def root(self, namespace: str) -> None:
        """Unknown, so it is asked for."""


def guarded(steps: Steps[T], namespaces: Namespaces, msg: Message) -> Steps[T]:
    """The same steps, ended with RequestError(EPERM) where they enter a namespace that is not the sender's."""
    try:
        need = next(steps)
        while True:
            try:
                found: Mapping[str, Any] = yield need
            except RequestError as error:
                need = steps.throw(error)
                continue
            for name in need[1] if need[0] == ROOTS else ():
                entered = namespaces.get(name)
                if entered is not None:
                    permit(entered, msg)
            need = steps.send(found)
    except StopIteration as stop:
        value: T = stop.value
        return value
