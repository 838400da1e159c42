"""Knows what a set of resources must be able to do to stand behind ``flux.resource.ResourceSet``."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import Any


class ResourceSetImplementation(ABC):
    """One version of R."""

    version: int

    @abstractmethod
    def dumps(self) -> str:
        """Short text for people."""

    def encode(self) -> str:
        """R as JSON text."""
        raise NotImplementedError

    @abstractmethod
    def nodelist(self) -> Any:
        """Hosts, as a Hostlist."""

    @abstractmethod
    def ranks(self) -> Any:
        """Ranks, as an IDset."""

    @abstractmethod
    def get_properties(self) -> str:
        """Properties (RFC 20) as JSON text."""

    @abstractmethod
    def nnodes(self) -> int:
        """How many ranks."""

    @abstractmethod
    def count(self, name: str) -> int:
        """How many of a kind: ``core``, ``gpu``."""

    @abstractmethod
    def copy(self) -> Any:
        """The same again."""

    @abstractmethod
    def copy_ranks(self, ranks: object) -> Any:
        """Of these ranks only."""

    @abstractmethod
    def union(self, rset: Any) -> Any:
        """What is in either."""

    @abstractmethod
    def intersect(self, rset: Any) -> Any:
        """What is in both."""

    @abstractmethod
    def diff(self, rset: Any) -> Any:
        """What is here and not there."""

    @abstractmethod
    def append(self, rset: Any) -> Any:
        """Take another in."""

    @abstractmethod
    def add(self, rset: Any) -> Any:
        """Take in what is not here yet."""

    @abstractmethod
    def remove_ranks(self, ranks: object) -> Any:
        """Have these ranks no more."""

    @abstractmethod
    def get_expiration(self) -> float:
        """When it ends (s since the epoch), 0 for never."""

    @abstractmethod
    def set_expiration(self, expiration: float) -> None:
        """Another end."""

    @abstractmethod
    def get_starttime(self) -> float:
        """When it begins (s since the epoch)."""

    @abstractmethod
    def set_starttime(self, starttime: float) -> None:
        """Another beginning."""
