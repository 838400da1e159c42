"""Knows how content names itself, ``sha1-`` and 40 hex digits; not what a blob holds, nor where it is.

Also blobs that carry their digest: in process, one goes from hand to hand hashed once, and a large one that grew by a
little at the price of what is new in it. On the wire, and for whoever asks, it is bytes like any other.
"""

from __future__ import annotations

import binascii
import struct
from collections.abc import Callable, Sequence
from hashlib import sha1
from typing import Final, NamedTuple

import msgspec

from brokersim.protocol.quoting import quoted

PREFIX: Final = "sha1-"
#: Bytes of a raw digest: what content.store answers and content.load asks for.
DIGEST_SIZE: Final = 20
_LENGTH: Final = len(PREFIX) + 2 * DIGEST_SIZE


def blobref(data: bytes) -> str:
    """The name of a blob: ``sha1-`` and the lower-case hex SHA-1 of its bytes (RFC 10)."""
    return PREFIX + sha1(data).hexdigest()


def digest(ref: str) -> bytes:
    """The 20 raw bytes a blobref stands for. Raises ValueError if it is no blobref."""
    raw = _digest(ref)
    if raw is None:
        raise ValueError(f"not a blobref: {quoted(ref)}; it must be {PREFIX!r} and 40 lower-case hex digits")
    return raw


def _digest(ref: str) -> bytes | None:
    if len(ref) != _LENGTH:
        return None
    try:
        raw = binascii.unhexlify(ref[len(PREFIX) :])
    except ValueError:
        return None
    # And back: capitals would be taken, too, and a blob with two names would be two blobs. A third of a pattern's cost.
    return raw if PREFIX + raw.hex() == ref else None


def from_digest(raw: bytes) -> str:
    """The blobref of a raw digest. Raises ValueError unless it has 20 bytes."""
    if len(raw) != DIGEST_SIZE:
        raise ValueError(f"a SHA-1 digest has {DIGEST_SIZE} bytes, not {len(raw)}")
    return PREFIX + raw.hex()


def is_blobref(value: object) -> bool:
    """Whether a value is a well-formed blobref; whether the blob exists is the content service's to say."""
    return isinstance(value, str) and _digest(value) is not None


#: Of one difference among several: where in the base, so many bytes become so many others.
_HUNK: Final = struct.Struct("<QQQ")
#: The offset that says that there are several.
SEVERAL: Final = -1
#: Bytes at an offset of the base that become others: (offset, how many, the others).
Hunk = tuple[int, int, bytes]


class Patch(NamedTuple):
    """What turns the blob of digest ``base`` into another: ``removed`` bytes at ``offset`` become ``inserted``.

    With the offset ``SEVERAL`` that happens in ``removed`` places; ``inserted`` holds them (`hunks`).
    """

    base: bytes
    offset: int
    removed: int
    inserted: bytes

    @classmethod
    def of(cls, base: bytes, hunks: Sequence[Hunk]) -> Patch:
        """From one difference or more, in the order of their offsets in the base, none over another."""
        if len(hunks) == 1:
            return cls(base, *hunks[0])
        parts = [part for at, removed, new in hunks for part in (_HUNK.pack(at, removed, len(new)), new)]
        return cls(base, SEVERAL, len(hunks), b"".join(parts))

    @property
    def hunks(self) -> list[Hunk]:
        """Its differences in the order of their offsets. Raises ValueError if that is not what is held there."""
        if self.offset != SEVERAL:
            return [(self.offset, self.removed, self.inserted)]
        found: list[Hunk] = []
        at, held = 0, self.inserted
        while at < len(held):
            if at + _HUNK.size > len(held):
                raise ValueError("a difference is cut off")
            offset, removed, length = _HUNK.unpack_from(held, at)
            at += _HUNK.size + length
            if at > len(held):
                raise ValueError("a difference is cut off")
            found.append((offset, removed, held[at - length : at]))
        return found

    def apply(self, data: bytearray) -> None:
        """Turn the bytes of the base into those of the other."""
        for offset, removed, inserted in reversed(self.hunks):
            data[offset : offset + removed] = inserted


class Blob(msgspec.Struct, frozen=True, eq=False):
    """A blob by its SHA-1 digest: ``bytes(blob)`` gives its bytes, ``len(blob)`` costs nothing.

    ``source`` is its bytes, or what makes them anew each time. ``patch`` tells how it differs from another blob, if
    that is known. Who makes one answers for all of it: nobody hashes it again. ``is_rooted``: it is part of a tree, and
    needed only as long as a root of the kvs leads to it.
    """

    digest: bytes
    size: int
    source: bytes | Callable[[], bytes]
    patch: Patch | None = None
    is_rooted: bool = False

    def __len__(self) -> int:
        return self.size

    def __bytes__(self) -> bytes:
        source = self.source
        return source if isinstance(source, bytes) else source()

    def __repr__(self) -> str:
        return f"Blob({from_digest(self.digest)}, {self.size} bytes)"


def named(data: bytes) -> tuple[str, Blob]:
    """The blobref of bytes, and their blob as part of a tree: hashed once."""
    raw = sha1(data).digest()
    return PREFIX + raw.hex(), Blob(raw, len(data), data, None, True)


def alone(blob: Blob) -> Blob:
    """The same blob, as part of no tree."""
    return Blob(blob.digest, blob.size, blob.source, blob.patch)


def as_blob(data: bytes | Blob) -> Blob:
    """A blob that knows its digest: itself, or the bytes, hashed."""
    return data if isinstance(data, Blob) else Blob(sha1(data).digest(), len(data), data)
