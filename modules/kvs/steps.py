"""Knows how a lookup or commit says what it lacks and goes on when it has it; not how that is fetched.

A step function is a generator: it yields a need and is sent what was found by name, or has the failure thrown
into it. So it stays free of messages, and it never starts over after a load.
"""

from __future__ import annotations

from collections.abc import Generator, Mapping
from typing import Any, Final, Protocol, TypeAlias, TypeVar

from .objects import StoredObject

T = TypeVar("T")
#: What is needed, and the names of all that are needed at once.
Need: TypeAlias = tuple[str, tuple[str, ...]]
Steps: TypeAlias = Generator[Need, Mapping[str, Any], T]

OBJECTS: Final = "objects"
"""Need for stored objects; names are blobrefs, what is sent are StoredObjects."""
ROOTS: Final = "roots"
"""Need for namespaces; names are theirs, what is sent are root blobrefs."""


class View(Protocol):
    """What is at hand without asking anybody."""

    def get(self, ref: str) -> StoredObject | None:
        """The stored object of that blobref, or None if it has to be loaded."""

    def root(self, namespace: str) -> str | None:
        """The blobref of a namespace's root, or None if it has to be asked for."""

    def holds(self, ref: str) -> bool:
        """The content store is known to have that object."""
