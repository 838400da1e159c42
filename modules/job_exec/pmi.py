"""Knows the protocol by which tasks of a parallel program find each other (PMI-1, RFC 13); not how lines travel."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final

import attrs

#: Characters, an end included, as flux-core's shell tells them (``get_maxes``).
NAME_MAX: Final = 64
KEY_MAX: Final = 64
VALUE_MAX: Final = 1024
#: A line that is longer is none: the longest request, generously.
LINE_MAX: Final = 8192
#: Bytes that a job may put: more than 10,000 tasks need that put the longest value twice each.
STORE_MAX: Final = 32 << 20
#: Results (PMI_ERR_*).
FAIL, NO_MEMORY, INVALID_KEY, KEY_LENGTH, VALUE_LENGTH, LENGTH = -1, 2, 4, 5, 7, 8
#: Keys of one node only; here one shell serves all of them, each task under its node's number.
LOCAL: Final = "local::"
#: Names in the list of ``-o pmi=`` that mean this one.
_NAMES: Final = frozenset({"simple", "pmi1", "pmi2"})
_NOT_HERE: Final = {
    "publish_name": "publish_result",
    "unpublish_name": "unpublish_result",
    "lookup_name": "lookup_result",
}


class ProtocolError(Exception):
    """A task wrote what is no request."""


class Aborted(Exception):
    """A task asked for the end of the whole job; the text says why."""


@attrs.frozen(kw_only=True)
class PmiPlan:
    """What the shell options ``pmi`` and ``pmi-simple`` say: whether tasks get it, whether it tells where they are."""

    is_on: bool = True
    has_map: bool = True


def to_pmi(options: Mapping[str, Any]) -> PmiPlan:
    """From a jobspec's shell options. Raises ValueError that says what would be right."""
    names = options.get("pmi", "simple")
    if not isinstance(names, str):
        raise ValueError("shell option pmi must be a string, such as simple or off")
    simple = options.get("pmi-simple", {})
    if not isinstance(simple, Mapping) or set(simple) - {"kvs", "exchange", "nomap"}:
        raise ValueError("shell option pmi-simple has kvs, exchange.k and nomap only")
    exchange = simple.get("exchange", {})
    if not isinstance(exchange, Mapping) or set(exchange) - {"k"} or type(exchange.get("k", 0)) is not int:
        raise ValueError("shell option pmi-simple.exchange has k only, a number")
    if simple.get("kvs", "exchange") != "exchange" or type(simple.get("nomap", 0)) is not int:
        raise ValueError("shell option pmi-simple: kvs is exchange, nomap a number")
    return PmiPlan(is_on=bool(_NAMES.intersection(names.split(","))), has_map=not simple.get("nomap"))


class Pmi:
    """What the tasks of one job tell each other: a store of texts, ``given`` those from the start, and a barrier.

    ``nodes`` has the node of each task.
    """

    __slots__ = ("_inside", "_nodes", "_size", "_spawning", "_store", "_stored", "name")

    def __init__(self, name: str, nodes: Sequence[int], given: Mapping[str, str]) -> None:
        self.name = name
        self._size = len(nodes)
        self._nodes = nodes
        self._store: dict[str, str] = dict(given)
        self._stored = 0
        #: Tasks in the barrier.
        self._inside: list[int] = []
        #: Tasks in the midst of a request of several lines.
        self._spawning: set[int] = set()

    def ask(self, task: int, line: str) -> list[tuple[int, str]]:
        """A request of a task, without its newline: the answers that are due, as (task, line).

        Raises ProtocolError, Aborted.
        """
        if task in self._spawning:
            if line != "endcmd":
                return []
            self._spawning.discard(task)
            return [(task, "cmd=spawn_result rc=-1")]
        if _word(line, "mcmd") == "spawn":
            self._spawning.add(task)
            return []
        command = _word(line, "cmd") or ""
        if command == "barrier_in":
            return self._enter(task)
        answer = _ANSWERS.get(command)
        if answer is None:
            raise ProtocolError(f"{line!r:.80} is no request")
        return [(task, answer(self, task, line))]

    def _enter(self, task: int) -> list[tuple[int, str]]:
        self._inside.append(task)
        if len(self._inside) < self._size:
            return []
        inside, self._inside = self._inside, []
        return [(one, "cmd=barrier_out rc=0") for one in inside]

    # -- requests that have one answer, at once

    def _init(self, _task: int, line: str) -> str:
        version = _number(line, "pmi_version"), _number(line, "pmi_subversion")
        is_one = (1, 1) <= version < (2, 0)
        return "cmd=response_to_init " + ("rc=0 pmi_version=1 pmi_subversion=1" if is_one else "rc=-1")

    def _maxes(self, _task: int, _line: str) -> str:
        return f"cmd=maxes rc=0 kvsname_max={NAME_MAX} keylen_max={KEY_MAX} vallen_max={VALUE_MAX}"

    def _abort(self, _task: int, line: str) -> str:
        raise Aborted(shown(_text(line, "error_msg") or "aborted"))

    def _finalize(self, _task: int, _line: str) -> str:
        return "cmd=finalize_ack rc=0"

    def _universe(self, _task: int, _line: str) -> str:
        return f"cmd=universe_size rc=0 size={self._size}"

    def _appnum(self, _task: int, _line: str) -> str:
        return "cmd=appnum rc=0 appnum=0"

    def _my_name(self, _task: int, _line: str) -> str:
        return f"cmd=my_kvsname rc=0 kvsname={self.name}"

    def _put(self, task: int, line: str) -> str:
        key, fault = _key_of(line)
        value = _text(line, "value")
        if value is None:
            raise ProtocolError(f"{line!r:.80} has no value")
        if not fault and len(value) >= VALUE_MAX:
            fault = VALUE_LENGTH
        if not fault and self._stored + len(key) + len(value) > STORE_MAX:
            fault = NO_MEMORY
        if not fault:
            self._stored += len(key) + len(value)
            self._store[self._place(task, key)] = value
        return f"cmd=put_result rc={fault}"

    def _get(self, task: int, line: str) -> str:
        key, fault = _key_of(line)
        value = self._store.get(self._place(task, key)) if not fault else None
        if value is None:
            return f"cmd=get_result rc={fault or INVALID_KEY}"
        return f"cmd=get_result rc=0 value={value}"

    def _place(self, task: int, key: str) -> str:
        return f"{self._nodes[task]} {key}" if key.startswith(LOCAL) else key

    def _is_not_here(self, _task: int, line: str) -> str:
        return f"cmd={_NOT_HERE[_word(line, 'cmd') or '']} rc=-1 msg=command not implemented"


_ANSWERS: Final[Mapping[str, Callable[[Pmi, int, str], str]]] = {
    "init": Pmi._init,
    "get_maxes": Pmi._maxes,
    "abort": Pmi._abort,
    "finalize": Pmi._finalize,
    "get_universe_size": Pmi._universe,
    "get_appnum": Pmi._appnum,
    "get_my_kvsname": Pmi._my_name,
    "put": Pmi._put,
    "get": Pmi._get,
    **dict.fromkeys(_NOT_HERE, Pmi._is_not_here),
}


def _key_of(line: str) -> tuple[str, int]:
    """The key of a put or get, and what is wrong with it or with the store's name (0: nothing)."""
    name, key = _word(line, "kvsname"), _word(line, "key")
    if name is None or key is None:
        raise ProtocolError(f"{line!r:.80} lacks kvsname or key")
    return key, LENGTH if len(name) >= NAME_MAX else KEY_LENGTH if len(key) >= KEY_MAX else 0


def _word(line: str, key: str) -> str | None:
    found = re.search(rf"(?:^|\s){key}=(\S*)", line)
    return found[1] if found else None


def _text(line: str, key: str) -> str | None:
    """What stands behind ``key=`` to the end of the line; some clients put a word of their own behind a value."""
    found = re.search(rf"(?:^|\s){key}=(.*)", line, re.DOTALL)
    return found[1].removesuffix(" found=TRUE") if found else None


def _number(line: str, key: str) -> int:
    word = _word(line, key) or ""
    if not word.isdecimal() or len(word) > 9:
        raise ProtocolError(f"{line!r:.80}: {key} is no number")
    return int(word)


def shown(line: str) -> str:
    """For a log, which has text only: bytes that are none are replaced."""
    return line.encode(errors="surrogateescape").decode(errors="replace")


class Lines:
    """Puts together the lines of one task."""

    __slots__ = ("_rest",)

    def __init__(self) -> None:
        self._rest = b""

    def take(self, data: bytes) -> list[str]:
        """Lines that are whole now. Raises ProtocolError for one that is too long."""
        *whole, self._rest = (self._rest + data).split(b"\n")
        if max(map(len, (*whole, self._rest))) > LINE_MAX:
            raise ProtocolError(f"a request is longer than {LINE_MAX} bytes")
        return [line.decode(errors="surrogateescape") for line in whole]
