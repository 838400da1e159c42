"""Knows the short way of a shell's question for what may come next: by a table of all commands, and one request.

The table is made of the commands by ``make completions`` (`cli/quick/table_maker.py`); importing them takes ten bare
interpreters. Quotes, a ``--``, options unknown or of a rare kind: the whole command line answers.
"""

from __future__ import annotations

import os
import sys

from brokersim.cli.quick.asking import Asking
from brokersim.cli.quick.offers import addressable, comma_offers, key_offers, mask_offers, word_offers
from brokersim.cli.quick.peer import Aside
from brokersim.protocol.lean import from_json

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from typing import Any

    from brokersim.cli.quick.offers import Offers
    from brokersim.protocol.decoded import JsonObject

TABLE = os.path.join(os.path.dirname(__file__), "completions.txt")
#: Seconds an instance has for its answer; then the whole command line waits a little longer.
_PATIENCE = 0.25
_READDIR = 1
#: Of an option in the table.
_NAMES, _FIELD, _FLAG, _MULTIPLE, _HIDDEN, _HELP, _HOW = range(7)


class _Line:
    """What the words before the one that has begun say: the command, the options given, how many arguments."""

    def __init__(self) -> None:
        self.command: JsonObject = {}
        self.given: dict[str, str] = {}
        #: Options of the groups before it: an instance that is named there holds, and may be named again.
        self.before: dict[str, str] = {}
        self.arguments = 0
        #: The option whose value the word that has begun is.
        self.open: list[Any] | None = None


def complete(environment: Mapping[str, str], instruction: str) -> int:
    """Answers as click would. Raises Aside, and what an answer of another form leads to."""
    shell, _, what = instruction.partition("_")
    if what != "complete" or shell not in _SHOWN:
        raise Aside
    words = _words(environment["COMP_WORDS"])
    begun, before = (_begun_fish if shell == "fish" else _begun)(words, environment["COMP_CWORD"])
    if "=" in begun:
        raise Aside
    line = _read(before)
    asking = Asking({**line.before, **line.given}, [], _PATIENCE)
    try:
        kind, offers = _offers(line, begun, asking)
    except Exception:  # the whole command line goes on with what was answered
        raise Aside(asking.hand_over()) from None
    finally:
        asking.close()
    shown = [_SHOWN[shell](kind, value, text) for value, text in offers]
    sys.stdout.flush()
    sys.stdout.buffer.write("\n".join(shown).encode() + b"\n")
    sys.stdout.buffer.flush()
    return 0


# --- the words


def _words(text: str) -> list[str]:
    plain = text.replace("\n", " ").replace("\t", " ")
    if not plain.isascii() or not plain.isprintable() or any(char in plain for char in "'\"\\"):
        raise Aside
    return plain.split()


def _begun(words: list[str], at: str) -> tuple[str, list[str]]:
    number = int(at)
    if number < 1:
        raise Aside
    return words[number] if number < len(words) else "", words[1:number]


def _begun_fish(words: list[str], begun: str) -> tuple[str, list[str]]:
    if begun and _words(begun) != [begun]:
        raise Aside
    before = words[1:]
    if begun and before and before[-1] == begun:
        before.pop()
    return begun, before


def _read(words: list[str]) -> _Line:
    with open(TABLE, "rb") as file:
        table = file.read()
    line, path = _Line(), ""
    line.command = _row(table, path)
    if not words:
        _take_option(line, "--help", iter(()))  # which a line without words asks for
    left = iter(words)
    for word in left:
        if word.startswith("-"):
            _take_option(line, word, left)
        elif "commands" in line.command:
            path = f"{path} {word}".strip()
            line.command = _row(table, path)
            line.before.update(line.given)
            line.given = {}
        else:
            line.arguments += 1
    return line


def _row(table: bytes, path: str) -> JsonObject:
    start = table.find(f"\n{path}\t".encode())
    if start < 0:
        raise Aside
    found: JsonObject = from_json(table[start + len(path) + 2 : table.index(b"\n", start + 1)])
    return found


def _take_option(line: _Line, word: str, left: Any) -> None:
    option = next((one for one in line.command["options"] if word in one[_NAMES]), None)
    if option is None or option[_HOW] == ["aside"] or (line.arguments and not line.command["scattered"]):
        raise Aside
    if option[_FLAG]:
        line.given[option[_FIELD]] = "1"
        return
    value = next(left, None)
    if value is None:
        line.open = option
    elif value.startswith("-"):
        raise Aside
    else:
        line.given[option[_FIELD]] = value


# --- the offers


def _offers(line: _Line, begun: str, asking: Asking) -> tuple[str, Offers]:
    """What kind they are of to a shell, and they themselves."""
    command = line.command
    if begun.startswith("-"):
        return "plain", _options(line, begun)
    if line.open is not None:
        return _values(line.open[_HOW], begun, asking)
    if "commands" in command:
        return "plain", [(name, text) for name, text in command["commands"] if name.startswith(begun)]
    open_ended = (
        how for at, (count, how) in enumerate(command["arguments"]) if count < 0 or at >= line.arguments
    )
    return _values(next(open_ended, None), begun, asking)


def _options(line: _Line, begun: str) -> Offers:
    shown = (
        one
        for one in line.command["options"]
        if not one[_HIDDEN] and (one[_MULTIPLE] or one[_FIELD] not in line.given)
    )
    return [(name, one[_HELP]) for one in shown for name in one[_NAMES] if name.startswith(begun)]


def _values(how: list[str] | None, begun: str, asking: Asking) -> tuple[str, Offers]:
    if how is None:
        return "plain", []
    kind, *words = how
    if kind in ("file", "dir"):
        return kind, [(begun, None)]
    if kind == "aside":
        raise Aside
    return "plain", _LIVE[kind](begun, asking) if kind in _LIVE else _FIXED[kind](begun, words)


def _modules(begun: str, asking: Asking) -> Offers:
    return word_offers(begun, addressable(asking.rpc("module.list")["mods"]))


def _keys(begun: str, asking: Asking) -> Offers:
    namespace = asking.options.get("namespace_") or "primary"
    folder = begun.rpartition(".")[0] or "."
    request = {"key": folder, "namespace": namespace, "flags": _READDIR}
    return key_offers(begun, asking.rpc("kvs.lookup", request)["val"]["data"])


_LIVE: dict[str, Callable[[str, Asking], Offers]] = {"module": _modules, "key": _keys}
_FIXED: dict[str, Callable[[str, list[str]], Offers]] = {
    "mask": lambda begun, _words: mask_offers(begun),
    "commas": comma_offers,
    "words": word_offers,
}


# --- what a shell's script reads: click's formats


def _bash(kind: str, value: str, _text: str | None) -> str:
    return f"{kind},{value}"


def _zsh(kind: str, value: str, text: str | None) -> str:
    shown = value.replace(":", r"\:") if text else value
    return f"{kind}\n{shown}\n{text or '_'}"


def _fish(kind: str, value: str, text: str | None) -> str:
    return f"{kind},{value}\t{text}" if text else f"{kind},{value}"


_SHOWN: dict[str, Callable[[str, str, str | None], str]] = {"bash": _bash, "zsh": _zsh, "fish": _fish}
