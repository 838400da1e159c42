"""Knows how to make hostile inputs of good ones, the same ones each time; not who is attacked with them."""

from __future__ import annotations

import os
import random
from collections.abc import Iterator, Sequence

#: Inputs a port. `make torture` asks for 100,000.
COUNT = int(os.environ.get("BROKERSIM_FUZZ_INPUTS", "400"))
_SPECIALS = (
    b"\0", b"[", b"]", b"//", b"%", b"%00", b"%zz", b"\r", b"\n", b"\r\n", b"\r\n\r\n", b":", b"|", b"@", b"#", b" ",
    b"\xff", b"\xe2\x84\x80", b"\xed\xa0\x80", b"-1", b"0", b"1e999", b"nan", b"9" * 400, b"2147483648", b"\\", b'"',
    b"a" * 5000, b"../", b"*", b"?", b"=", b"&", b"\x16\x03\x01", b"+", b"\x80", b"{", b"}",
)  # fmt: skip


def hostile_inputs(templates: Sequence[bytes], count: int = COUNT, seed: int = 14) -> Iterator[bytes]:
    """``count`` inputs: each template as it is, then templates cut, spliced, repeated and strewn with what hurts."""
    chance = random.Random(seed)
    yield from templates[:count]
    for _ in range(count - len(templates)):
        data = chance.choice(templates)
        for _ in range(chance.randint(1, 4)):
            data = _twisted(chance, data, templates)
        yield data[:20_000]


def _twisted(chance: random.Random, data: bytes, templates: Sequence[bytes]) -> bytes:
    at, end = sorted((chance.randint(0, len(data)), chance.randint(0, len(data))))
    match chance.randrange(6):
        case 0:
            return data[:at]
        case 1:
            return data[:at] + data[end:]
        case 2:
            return data[:at] + chance.choice(_SPECIALS) + data[end if chance.random() < 0.3 else at :]
        case 3:
            return data[:at] + chance.randbytes(chance.randint(1, 8)) + data[at:]
        case 4:
            return data[:end] + data[at:end] * chance.randint(1, 3) + data[end:]
        case _:
            other = chance.choice(templates)
            return data[:at] + other[chance.randint(0, len(other)) :]
