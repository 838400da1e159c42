"""Knows lists of hosts as Flux's Python code has them (RFC 29): ``Hostlist("n[0-3],login")``; not who they are."""

from __future__ import annotations

import errno
import numbers
import os
import re
from collections.abc import Iterable, Iterator
from typing import Any, Final, overload

from brokersim.protocol import hostlist

_PART: Final = re.compile(r"(?:\[[^\[\]]*+\]|[^,\s])+")
_NUMBERED: Final = re.compile(r"(.*[^0-9])?([0-9]*)", re.DOTALL)


class Hostlist:
    """Hosts in their order, some maybe twice; made from text or texts. Raises ValueError, TypeError."""

    __slots__ = ("_hosts",)

    def __init__(self, arg: Any = "", handle: Any = None) -> None:
        self._hosts: list[str] = list(_hosts(arg) if handle is None else handle)

    # -- text

    def encode(self) -> str:
        """``n[0-3],login``."""
        return hostlist.compress(self._hosts)

    def __str__(self) -> str:
        return self.encode()

    def __repr__(self) -> str:
        return f"Hostlist('{self}')"

    # -- what is in it

    def __len__(self) -> int:
        return len(self._hosts)

    def count(self) -> int:
        return len(self)

    def __iter__(self) -> Iterator[str]:
        return iter(self._hosts)

    def expand(self) -> list[str]:
        return list(self._hosts)

    @overload
    def __getitem__(self, index: int) -> str: ...
    @overload
    def __getitem__(self, index: slice | Iterable[int]) -> Hostlist: ...
    def __getitem__(self, index: object) -> str | Hostlist:
        if isinstance(index, slice):
            return Hostlist(handle=self._hosts[index])
        if not isinstance(index, Iterable):
            return self._nth(index)
        return Hostlist(handle=[self._nth(one) for one in index])

    def _nth(self, index: object) -> str:
        if not isinstance(index, numbers.Integral):
            raise TypeError(f"Invalid Hostlist index {index!r}")
        at = int(index)
        if not -len(self) <= at < len(self):
            raise IndexError("Hostlist index out of range")
        return self._hosts[at]

    def find(self, host: str) -> int:
        """Where a host stands first. Raises FileNotFoundError."""
        try:
            return self._hosts.index(host)
        except ValueError:
            raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT)) from None

    def __contains__(self, name: object) -> bool:
        return name in self._hosts

    def index(self, hosts: object, ignore_nomatch: bool = False) -> list[int]:
        """Where each of ``hosts`` stands. Raises FileNotFoundError that names those that are not there."""
        wanted = hosts if isinstance(hosts, Hostlist) else Hostlist(hosts)
        places = {host: at for at, host in reversed(list(enumerate(self._hosts)))}
        lacking = Hostlist(handle=[host for host in wanted if host not in places])
        if lacking and not ignore_nomatch:
            raise FileNotFoundError(f"host{'s' if len(lacking) > 1 else ''} '{lacking}' not found")
        return [places[host] for host in wanted if host in places]

    # -- changes

    def append(self, *args: Any) -> int:
        """How many were added."""
        before = len(self)
        for arg in args:
            self._hosts += _hosts(arg)
        return len(self) - before

    def delete(self, hosts: object) -> int:
        """Take each of ``hosts`` out once, where it stands first; how many there were."""
        before = len(self)
        for host in _hosts(hosts):
            if host in self._hosts:
                self._hosts.remove(host)
        return before - len(self)

    def sort(self) -> Hostlist:
        """By name, then by the number at its end."""
        self._hosts.sort(key=_order)
        return self

    def uniq(self) -> Hostlist:
        """Sorted, each once."""
        self._hosts = sorted(set(self._hosts), key=_order)
        return self

    def copy(self) -> Hostlist:
        return Hostlist(handle=self._hosts)


def decode(arg: object) -> Hostlist:
    """The list a text means, or texts do. Raises ValueError, TypeError."""
    return Hostlist(arg)


def _hosts(arg: object) -> list[str]:
    if isinstance(arg, Hostlist):
        return arg._hosts
    if isinstance(arg, str):
        return _expanded(arg)
    if not isinstance(arg, Iterable):
        raise TypeError(f"Hostlist(): expected string or Iterable, got {type(arg)}")
    found: list[str] = []
    for text in arg:
        if not isinstance(text, str):
            raise TypeError(f"Hostlist(): expected string or Iterable, got {type(text)}")
        found += _expanded(text)
    return found


def _expanded(text: str) -> list[str]:
    """Blanks part hosts as commas do, and nothing between two commas is nothing."""
    parts = _PART.findall(text)
    try:
        return [host for part in parts for host in hostlist.expand(part)]
    except ValueError:
        raise ValueError(f"Invalid hostlist: '{text:.60}'") from None


def _order(host: str) -> tuple[str, int, int]:
    name = _NUMBERED.fullmatch(host)
    assert name is not None
    return name[1] or "", int(name[2]) if name[2] else -1, len(name[2])
