"""Knows Flux's job id class: an int with many spellings (RFC 19). The words and emoji spellings are not here."""

from __future__ import annotations

import errno
from collections.abc import Callable
from typing import Any, Final, Self

from brokersim.protocol import jobid

_ENCODINGS: Final[dict[str, Callable[[int], str]]] = {
    "dec": str,
    "hex": lambda value: f"{value:#x}",
    "dothex": jobid.dothex,
    "kvs": jobid.job_kvspath,
    "f58": jobid.encode,
    "f58plain": lambda value: "f" + jobid.encode(value)[1:],
}


def id_parse(jobid_str: str) -> int:
    """The number of a job id in any spelling. Raises OSError(EINVAL), as Flux's does."""
    try:
        return jobid.decode(jobid_str)
    except ValueError as error:
        raise OSError(errno.EINVAL, str(error)) from None


def id_encode(jobid: int, encoding: str = "f58") -> str:
    """A spelling of a job id. Raises OSError for one that is not known here."""
    encode = _ENCODINGS.get(encoding)
    if encode is None:
        raise OSError(
            errno.EPROTO, f"job id encoding {encoding!r} is not supported; there are {', '.join(_ENCODINGS)}"
        )
    return encode(int(jobid))


class JobID(int):
    """A job id; made from an int or any spelling. Raises ValueError for anything else."""

    orig_str: str

    def __new__(cls, value: Any) -> Self:
        if isinstance(value, JobID):
            return cls(value.orig_str)
        if isinstance(value, int):
            number = value
        else:
            try:
                number = id_parse(value)
            except OSError:
                raise ValueError(f"{value} is not a valid Flux jobid") from None
        self = super().__new__(cls, number)
        self.orig_str = str(value)
        return self

    def encode(self, encoding: str = "dec") -> str:
        return id_encode(self, encoding)

    @property
    def dec(self) -> str:
        return self.encode()

    @property
    def f58(self) -> str:
        return self.encode("f58")

    @property
    def f58plain(self) -> str:
        return self.encode("f58plain")

    @property
    def hex(self) -> str:
        return self.encode("hex")

    @property
    def dothex(self) -> str:
        return self.encode("dothex")

    @property
    def words(self) -> str:
        return self.encode("words")

    @property
    def emoji(self) -> str:
        return self.encode("emoji")

    @property
    def kvs(self) -> str:
        return self.encode("kvs")

    @property
    def orig(self) -> str:
        """The text it was made from."""
        return self.orig_str

    def __str__(self) -> str:
        return self.encode("f58")

    def __repr__(self) -> str:
        return f"JobID({self.dec})"
