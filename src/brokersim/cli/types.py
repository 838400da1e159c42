"""Knows how people write masks, durations, ranks, targets, job ids and JSON; not what they are used for."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, NamedTuple

import click
import msgspec

from brokersim import files
from brokersim.cli.mask import parse_mask
from brokersim.cli.ping_text import shown_target
from brokersim.cli.quick.offers import comma_offers, mask_offers
from brokersim.protocol.decoded import JsonObject
from brokersim.protocol.duration import parse_duration
from brokersim.protocol.jobid import decode as decode_jobid
from brokersim.protocol.ranks import check_ranks
from brokersim.routing.attributes import FLAGS

if TYPE_CHECKING:
    from click.shell_completion import CompletionItem

    from brokersim.cli.quick.offers import Offers


def items(offers: Offers) -> list[CompletionItem]:
    """As click takes them."""
    from click.shell_completion import CompletionItem  # only a shell asks; every command imports this file

    return [CompletionItem(value, help=text) for value, text in offers]


class IntMask(click.ParamType[int]):
    """A debug mask: hex, octal with a leading 0, decimal, or names joined with ``+``."""

    name = "mask"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> int:
        if isinstance(value, int):
            return value
        try:
            return parse_mask(value)
        except ValueError as error:
            self.fail(str(error), param, ctx)

    def shell_complete(
        self, ctx: click.Context, param: click.Parameter, incomplete: str
    ) -> list[CompletionItem]:
        return items(mask_offers(incomplete))


class Parsed(click.ParamType[Any]):
    """A type made of one function that raises ValueError saying what would be right.

    ``words`` are what a shell offers, also for each of several joined by commas.
    """

    def __init__(self, name: str, parse: Callable[[str], Any], words: tuple[str, ...] = ()) -> None:
        self.name = name
        self._parse = parse
        self.words = words

    def shell_complete(
        self, ctx: click.Context, param: click.Parameter, incomplete: str
    ) -> list[CompletionItem]:
        return items(comma_offers(incomplete, self.words))

    def convert(self, value: object, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        if not isinstance(value, str):
            return value
        try:
            return self._parse(value)
        except ValueError as error:
            self.fail(str(error), param, ctx)


class Output(click.Path):
    """A file to write or, with ``is_folder``, a folder to write files in: that it can be is told before the work."""

    def __init__(self, *, is_folder: bool = False, path_type: type[Path | str] = Path) -> None:
        super().__init__(path_type=path_type, dir_okay=is_folder, file_okay=not is_folder)
        self._check = files.check_folder if is_folder else files.check_output

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        try:
            self._check(value)
        except OSError as error:
            self.fail(f"{error.filename}: {error.strerror}", param, ctx)
        return super().convert(value, param, ctx)


class Target(NamedTuple):
    """A service, perhaps of one rank; ``str`` gives ``4!kvs``."""

    service: str
    rank: int | None = None

    def __str__(self) -> str:
        return shown_target(self.service, self.rank)


#: A nodeid is 32 bits; the two above it are any rank and the next one up.
_RANK_MAX: Final = 0xFFFFFFFD
_TARGET: Final = re.compile(r"(?:(?P<rank>\d{1,10}|all|any)!)?(?P<service>[^\s!]+)", re.ASCII)


class Words:
    """What a shell offers for an option that takes one of these words, or goes on from one such as ``timer:``."""

    def __init__(self, *known: str) -> None:
        self.known = known

    def __call__(self, _context: click.Context, _param: click.Parameter, incomplete: str) -> list[str]:
        return [word for word in self.known if word.startswith(incomplete)]


#: Of ``--hook``, ``--clock`` and the experiments' list of hooks.
HOOK_WORDS: Final = ("prepare", "check", "idle", "timer:1s")
complete_hook = Words(*HOOK_WORDS)
complete_clock = Words("real", "virtual", "real*8")


def parse_target(text: str) -> Target:
    """``kvs``, ``4!kvs`` (rank!service) or ``4`` (that rank's broker). Raises ValueError."""
    match = _TARGET.fullmatch(text)
    if match is None or match["rank"] == "all":
        raise ValueError(f"not a target: {text!r}; give SERVICE, RANK!SERVICE or RANK (kvs, 4!kvs, 4)")
    if match["rank"] is None and match["service"].isdecimal():
        return Target("broker", _rank(match["service"]))
    rank = match["rank"]
    return Target(match["service"], None if rank in (None, "any") else _rank(rank))


def _rank(text: str) -> int:
    if len(text) > len(str(_RANK_MAX)) or int(text) > _RANK_MAX:
        raise ValueError(f"not a rank: {text}; the largest there can be is {_RANK_MAX}")
    return int(text)


def parse_object(text: str) -> JsonObject:
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


def parse_attribute(text: str) -> tuple[str, str]:
    """``KEY=VALUE``, or the name alone of one that only has to be there. Raises ValueError."""
    return (text, "1") if text in FLAGS else parse_assignment(text)


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
ATTRIBUTE = Parsed("key=value", parse_attribute)
BLOBREF = Parsed("blobref", parse_blobref)
OUT_FILE = Output()
OUT_FOLDER = Output(is_folder=True)
RANK = click.IntRange(min=0, max=_RANK_MAX)
