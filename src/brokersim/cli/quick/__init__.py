"""Knows the few command lines that are answered without the whole command line, and when to step aside for that.

A script that calls us two hundred times waits for imports: click and msgspec take 45 of 85 ms. So the commands scripts
call most have a short way for the words they usually have: no help, no errors, no rare options here. Whatever a
short way doesn't know is raised as Aside, and the whole command line goes on with the same connection and what was
answered on it so far (docs/decisions/0160-a-short-way-for-common-commands.md). Nothing below imports click, msgspec,
typing or pathlib before it must.
"""

from __future__ import annotations

import os
import sys

from brokersim.cli.quick.asking import Asking
from brokersim.cli.quick.commands import COMMANDS
from brokersim.cli.quick.line import read
from brokersim.cli.quick.peer import Aside, Peer
from brokersim.protocol.lean import Unsure

TYPE_CHECKING = False
if TYPE_CHECKING:
    from brokersim.cli.quick.commands import Command
    from brokersim.cli.quick.line import Options

#: Common options before a command's name, and behind it: flags, and those with a value.
_FLAGS = {"--json": "json"}
_VALUES = {"-u": "uri", "--uri": "uri"}
_HELP: tuple[list[str], ...] = ([], ["-h"], ["--help"])
#: Set by a shell that asks for what could be typed next.
_COMPLETING = "_BROKERSIM_COMPLETE"
#: What an answer of another form than we know leads to is the whole command line's to tell, too.
_UNKNOWN = (Aside, Unsure, KeyError, TypeError, AttributeError, ValueError)

__all__ = ["Aside", "Peer", "run"]


def run(words: list[str]) -> int:
    """Carries out a command line; its exit code. Raises Aside, and what a broken stdout raises."""
    instruction = os.environ.get(_COMPLETING)
    if instruction:
        from brokersim.cli.quick.completing import complete

        try:
            return complete(os.environ, instruction)
        except _UNKNOWN as unknown:
            raise Aside(unknown.peer if isinstance(unknown, Aside) else None) from None
    if words in _HELP or words == ["--version"]:
        return _say(words)
    start = next((at for at, word in enumerate(words) if word in COMMANDS), len(words))
    settings, left = read(words[:start], _FLAGS, _VALUES)
    if left or start == len(words):
        raise Aside
    command, arguments = _command(words[start:])
    return _carry_out(command, arguments, settings)


def _say(words: list[str]) -> int:
    """The help or version of all. Raises Aside where stdout spells in another way."""
    from brokersim.cli.told import HELP, version_line

    text = HELP if words in _HELP else version_line()
    if not text.isascii() and (sys.stdout.encoding or "").lower() != "utf-8":
        raise Aside
    sys.stdout.write(f"{text}\n")
    sys.stdout.flush()
    return 0


def _command(words: list[str]) -> tuple[Command, list[str]]:
    """The command that the first words name, and what is behind them. Raises Aside."""
    found = COMMANDS[words[0]]
    if not isinstance(found, dict):
        return found, words[1:]
    if len(words) < 2 or words[1] not in found:
        raise Aside
    return found[words[1]], words[2:]


def _carry_out(command: Command, words: list[str], settings: Options) -> int:
    given, arguments = read(words, {**_FLAGS, **command.flags}, {**_VALUES, **command.values})
    asking = Asking({**settings, **given}, arguments)
    try:
        command.act(asking)
    except _UNKNOWN:
        raise Aside(asking.hand_over()) from None
    finally:
        asking.close()
    return 0
