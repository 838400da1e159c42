"""Knows how content names itself, ``sha1-`` and 40 hex digits; not what a blob holds, nor where it is.

Also blobs that are not held as bytes: in process, a large one that grew by a little can go from hand to hand at the
price of what is new in it. On the wire, and for whoever asks, it is bytes like any other.
"""

from __future__ import annotations

import binascii
import re
from collections.abc import Callable
from hashlib import sha1
from typing import Final, NamedTuple

from brokersim.protocol.quoting import quoted

PREFIX: Final = "sha1-"
#: Bytes of a raw digest: what content.store answers and content.load asks for.
DIGEST_SIZE: Final = 20
_match = re.compile(r"sha1-[0-9a-f]{40}").fullmatch


def blobref(data: bytes) -> str:
    """The name of a blob: ``sha1-`` and the lower-case hex SHA-1 of its bytes (RFC 10)."""
    return PREFIX + sha1(data).hexdigest()


def digest(ref: str) -> bytes:
    """The 20 raw bytes a blobref stands for. Raises ValueError if it is no blobref."""
    # unhexlify alone would take capitals too, and a blob with two names would be two blobs.
    if is_blobref(ref):
        return binascii.unhexlify(ref[len(PREFIX) :])
    raise ValueError(f"not a blobref: {quoted(ref)}; it must be {PREFIX!r} and 40 lower-case hex digits")


def from_digest(raw: bytes) -> str:
    """The blobref of a raw digest. Raises ValueError unless it has 20 bytes."""
    if len(raw) != DIGEST_SIZE:
        raise ValueError(f"a SHA-1 digest has {DIGEST_SIZE} bytes, not {len(raw)}")
    return PREFIX + raw.hex()


def is_blobref(value: object) -> bool:
    """Whether a value is a well-formed blobref; whether the blob exists is the content service's to say."""
    return isinstance(value, str) and _match(value) is not None


class Patch(NamedTuple):
    """What turns the blob of digest ``base`` into another: ``removed`` bytes at ``offset`` become ``inserted``."""

    base: bytes
    offset: int
    removed: int
    inserted: bytes

    def apply(self, data: bytearray) -> None:
        """Turn the bytes of the base into those of the other."""
        data[self.offset : self.offset + self.removed] = self.inserted


class Blob:
    """A blob by its SHA-1 digest; ``bytes(blob)`` makes its bytes anew each time, ``len(blob)`` costs nothing.

    ``patch`` tells how it differs from another blob, if that is known. Who makes one answers for digest, size and
    patch: nobody hashes it again.
    """

    __slots__ = ("_make", "_size", "digest", "patch")

    def __init__(
        self, digest: bytes, size: int, make: Callable[[], bytes], patch: Patch | None = None
    ) -> None:
        self.digest = digest
        self._size = size
        self._make = make
        self.patch = patch

    def __len__(self) -> int:
        return self._size

    def __bytes__(self) -> bytes:
        return self._make()

    def __repr__(self) -> str:
        return f"Blob({from_digest(self.digest)}, {self._size} bytes)"


def digest_of(data: bytes | Blob) -> bytes:
    """The SHA-1 of a blob's bytes, 20 bytes; one that is not held as bytes knows its own."""
    return data.digest if isinstance(data, Blob) else sha1(data).digest()
