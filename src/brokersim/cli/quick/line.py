"""Knows how words of a command line are options and arguments, as far as scripts write them; not what any means."""

from __future__ import annotations

from brokersim.cli.quick.peer import Aside

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    Options = dict[str, str]


def read(
    words: Sequence[str], flags: Mapping[str, str], values: Mapping[str, str]
) -> tuple[Options, list[str]]:
    """The options by name, a flag as ``"1"``, and the arguments.

    Raises Aside for what is no option of these: several in one word, values glued to a letter, help.
    """
    options: Options = {}
    arguments: list[str] = []
    left = iter(words)
    for word in left:
        if word in flags:
            options[flags[word]] = "1"
        elif word in values:
            options[values[word]] = _value(next(left, ""))
        elif word.startswith("--") and "=" in word:
            name, _, value = word.partition("=")
            if name not in values:
                raise Aside
            options[values[name]] = _value(value)
        elif word.startswith("-"):
            raise Aside
        else:
            arguments.append(word)
    return options, arguments


def _value(word: str) -> str:
    if not word or word.startswith("-"):
        raise Aside
    return word
