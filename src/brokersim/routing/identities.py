"""Knows the identities of an instance's parties: they depend on its seed, and on how often each name was used."""

from __future__ import annotations

import hashlib
from array import array

from brokersim.routing.ports import Naming


class Identities(Naming):
    """Those of ``size`` ranks."""

    def __init__(self, seed: int, size: int) -> None:
        self._seed = seed
        self._size = size
        #: How often each name was used, a number a rank: a dict entry apiece would be 100 bytes a module.
        self._serials: dict[str, array[int]] = {}

    def uuid(self, rank: int, name: str) -> str:
        """One that nobody had before."""
        return self.identity(rank, name, self.serial(rank, name))

    def serial(self, rank: int, name: str) -> int:
        """How often a name was used on a rank, with this time."""
        serials = self._serials.get(name)
        if serials is None:
            serials = self._serials[name] = array("I", bytes(4 * self._size))
        serials[rank] += 1
        return serials[rank]

    def identity(self, rank: int, name: str, serial: int) -> str:
        """The one that `uuid` gave, or would have given, that time."""
        digest = hashlib.sha256(f"{self._seed}/{rank}/{name}/{serial}".encode()).hexdigest()
        return f"{digest[:8]}-{digest[8:12]}-{digest[12:16]}-{digest[16:20]}-{digest[20:32]}"
