"""Knows how content names itself, ``sha1-`` and 40 hex digits; not what a blob holds, nor where it is."""

from __future__ import annotations

import binascii
import re
from hashlib import sha1
from typing import Final

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
