"""Knows what a disk may hold of a state directory at a power cut: what was synced, and of the rest any part, torn.

It doesn't know when something was synced: that it is told. What is written without a sync is SQLite's log, which only
grows while its database is open.
"""

from __future__ import annotations

import random
import sqlite3
from collections.abc import Sequence
from pathlib import Path
from typing import Final

from brokersim.protocol.message import RESPONSE, Message

#: A disk writes so many bytes whole or not at all.
SECTOR: Final = 512


class Disk:
    """The disk below one folder."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._lengths: dict[str, int] = {}
        #: From now on it says that it has synced, and has not: the cheap ones do.
        self.lies = False

    def synced(self) -> None:
        """What its files hold now is on it."""
        if not self.lies:
            self._lengths = {path.name: path.stat().st_size for path in self._files()}

    def kill(self, databases: Sequence[sqlite3.Connection]) -> None:
        """Whoever had these open is killed: they are closed, and the files are what they were before."""
        before = {path: path.read_bytes() for path in self._files()}
        for database in databases:
            database.close()
        for path in self._files():
            if path not in before:
                path.unlink()
        for path, content in before.items():
            path.write_bytes(content)

    def cut(self, seed: int) -> None:
        """The power goes and comes back: of what was written since the last sync anything may be there."""
        chance = random.Random(seed)
        for path in self._files():
            whole = path.read_bytes()
            # What is shorter than it was has been written anew, which SQLite syncs by itself.
            length = self._lengths.get(path.name, len(whole))
            if length < len(whole):
                path.write_bytes(left_of(whole, length, chance))

    def _files(self) -> list[Path]:
        return sorted(path for path in self._folder.iterdir() if path.is_file())


class SyncTrace:
    """Tells a disk when content-sqlite has synced: it was opened, or has answered for a checkpoint."""

    def __init__(self, disk: Disk) -> None:
        self._disk = disk

    def wants(self, name: str) -> bool:
        """Its messages."""
        return name == "content-sqlite"

    def record(self, direction: str, actor: object, message: Message) -> None:
        """See `Ledger.record`."""
        if message.type == RESPONSE and not message.errnum and (direction, message.topic) in _SYNCED:
            self._disk.synced()


#: After these, all it has written is on the disk.
_SYNCED: Final = {("tx", "content-backing.checkpoint-put"), ("rx", "content.register-backing")}


def left_of(whole: bytes, synced: int, chance: random.Random) -> bytes:
    """What may be left of a file of which so many bytes were synced: each other sector by itself, a hole of zeros."""
    share = chance.choice((0.0, 0.5, 1.0))
    left = bytearray(whole[:synced])
    for at in range(synced, len(whole), SECTOR):
        if chance.random() < share:
            left.extend(bytes(at - len(left)))
            left.extend(whole[at : at + SECTOR])
    return bytes(left)
