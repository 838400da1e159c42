"""Knows how people write masks, durations, ranks, targets, job ids and JSON; not what they are used for."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Final, NamedTuple

import click
import msgspec

from brokersim.protocol.duration import parse_duration
from brokersim.protocol.jobid import decode as decode_jobid
from brokersim.protocol.ranks import check_ranks

if TYPE_CHECKING:
    from click.shell_completion import CompletionItem

#: The mask bits with a name: bit, name, meaning.
MASK_BITS: Final = (
    (0x1000, "msgcount", "send the eight message counters as gauges when one moved"),
    (0x2000, "timing", "send timings of single operations"),
    (0x4000, "queue", "send queue lengths"),
    (0x8000, "hooks", "count and time the hooks themselves"),
    (0x10000, "trace", "log every message"),
)
_BIT_BY_NAME: Final = {name: bit for bit, name, _ in MASK_BITS}
_MASK_MAX: Final = 0xFFFFFFFF
_NUMBER: Final = re.compile(r"(0x[0-9a-f]+)|(0[0-7]*)|([1-9]\d*)", re.ASCII | re.IGNORECASE)
_BASES: Final = (16, 8, 10)


class IntMask(click.ParamType[int]):
    """A debug mask: hex, octal with a leading 0, decimal, or names joined with ``+``."""

    name = "mask"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> int:
        if isinstance(value, int):
            return value
        mask = 0
        for part in value.split("+"):
            bits = _BIT_BY_NAME[part] if part in _BIT_BY_NAME else _number(part)
            if bits is None:
                names = ", ".join(_BIT_BY_NAME)
                self.fail(
                    f"{part!r} is no mask; give 0x1000, 4096, 010000 or names of {names} with +", param, ctx
                )
            mask |= bits
        if mask > _MASK_MAX:
            self.fail(f"{value!r} has more than 32 bits", param, ctx)
        return mask

    def shell_complete(
        self, ctx: click.Context, param: click.Parameter, incomplete: str
    ) -> list[CompletionItem]:
        """Numbers and names of the bits, each with what it does; after a ``+`` the names not yet there."""
        from click.shell_completion import (
            CompletionItem,  # only a shell asks; every command imports this file
        )

        done, plus, word = incomplete.rpartition("+")
        known = [(name, text) for _, name, text in MASK_BITS if name not in done.split("+")]
        if not plus:
            known = [(f"{bit:#x}", text) for bit, _, text in MASK_BITS] + known
        return [
            CompletionItem(f"{done}{plus}{value}", help=text)
            for value, text in known
            if value.startswith(word)
        ]


def _number(text: str) -> int | None:
    match = _NUMBER.fullmatch(text)
    if match is None or len(text) > 20:
        return None
    for digits, base in zip(match.groups(), _BASES, strict=True):
        if digits:
            return int(digits, base)
    return None


class Parsed(click.ParamType[Any]):
    """A type made of one function that raises ValueError saying what would be right.

    ``words`` are what a shell offers, also for each of several joined by commas.
    """

    def __init__(self, name: str, parse: Callable[[str], Any], words: tuple[str, ...] = ()) -> None:
        self.name = name
        self._parse = parse
        self._words = words

    def shell_complete(
        self, ctx: click.Context, param: click.Parameter, incomplete: str
    ) -> list[CompletionItem]:
        from click.shell_completion import CompletionItem

        done, comma, word = incomplete.rpartition(",")
        return [CompletionItem(f"{done}{comma}{one}") for one in self._words if one.startswith(word)]

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        if not isinstance(value, str):
            return value
        try:
            return self._parse(value)
        except ValueError as error:
            self.fail(str(error), param, ctx)


class Target(NamedTuple):
    """A service, perhaps of one rank; ``str`` gives ``4!kvs``."""

    service: str
    rank: int | None = None

    def __str__(self) -> str:
        return self.service if self.rank is None else f"{self.rank}!{self.service}"


_TARGET: Final = re.compile(r"(?:(?P<rank>\d{1,10}|all|any)!)?(?P<service>[^\s!]+)", re.ASCII)


def words(*known: str) -> Callable[[click.Context, click.Parameter, str], list[str]]:
    """What a shell offers for an option that takes one of these words, or goes on from one such as ``timer:``."""
    return lambda _context, _param, incomplete: [word for word in known if word.startswith(incomplete)]


#: Of ``--hook``, ``--clock`` and the experiments' list of hooks.
HOOK_WORDS: Final = ("prepare", "check", "idle", "timer:1s")
complete_hook = words(*HOOK_WORDS)
complete_clock = words("real", "virtual", "real*8")


def parse_target(text: str) -> Target:
    """``kvs``, ``4!kvs`` (rank!service) or ``4`` (that rank's broker). Raises ValueError."""
    match = _TARGET.fullmatch(text)
    if match is None or match["rank"] == "all":
        raise ValueError(f"not a target: {text!r}; give SERVICE, RANK!SERVICE or RANK (kvs, 4!kvs, 4)")
    if match["rank"] is None and match["service"].isdecimal():
        return Target("broker", int(match["service"]))
    rank = match["rank"]
    return Target(match["service"], None if rank in (None, "any") else int(rank))


def parse_object(text: str) -> dict[str, Any]:
    """A JSON object. Raises ValueError with the place where it breaks."""
    try:
        value = msgspec.json.decode(text)
    except (msgspec.DecodeError, UnicodeError) as error:
        raise ValueError(f"{_shown(text)} is not JSON: {error}") from None
    if not isinstance(value, dict):
        raise ValueError(f"{_shown(text)} is no JSON object; give something like '{{\"key\":1}}'")
    return value


def parse_assignment(text: str) -> tuple[str, str]:
    """``KEY=VALUE``; the value may be empty and may hold ``=``. Raises ValueError."""
    key, equals, value = text.partition("=")
    if not equals or not key:
        raise ValueError(f"{_shown(text)} is no KEY=VALUE")
    return key, value


def parse_blobref(text: str) -> str:
    """A blobref. Raises ValueError."""
    from brokersim.protocol.blobref import digest

    digest(text)
    return text


def _shown(text: str) -> str:
    return repr(text) if len(text) <= 60 else f"{text[:60]!r}…"


MASK = IntMask()
DURATION = Parsed("fsd", parse_duration)
RANKS = Parsed("ranks", check_ranks)
TARGET = Parsed("target", parse_target)
JOBID = Parsed("id", decode_jobid)
OBJECT = Parsed("json", parse_object)
ASSIGNMENT = Parsed("key=value", parse_assignment)
BLOBREF = Parsed("blobref", parse_blobref)
RANK = click.IntRange(min=0, max=0xFFFFFFFD)
