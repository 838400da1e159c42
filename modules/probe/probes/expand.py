"""Knows how a command is said in a configuration and becomes words; no shell has a part in it."""

from __future__ import annotations

import re
import shlex
from collections.abc import Mapping
from typing import Any, Final

_INSIDE: Final = re.compile(r"\$\$|\$\{([^${}]*)\}")


def split(text: str) -> list[str]:
    """Words as a shell would part them, quotes taken off. Raises ValueError for a quote that does not end."""
    try:
        return shlex.split(text)
    except ValueError as error:
        raise ValueError(f"command {text!r:.60}: {str(error).lower()}") from None


def expand(command: str, config: Mapping[str, Any]) -> list[str]:
    """The words of a command with its ``$`` words looked up. Raises ValueError for a ``${name}`` there is none of.

    A word that begins with ``$`` is looked up by the rest of it: absent, null or false it goes; true it is the key;
    a key that begins with ``-`` stands before its value; a list is a word each. Inside a word ``${name}`` is the value,
    and ``$$`` a dollar.
    """
    return [found for word in split(command) for found in _word(word, config)]


def _word(word: str, config: Mapping[str, Any]) -> list[str]:
    if not word.startswith("$") or word.startswith(("$$", "${")):
        return [_INSIDE.sub(lambda match: _inside(match, config, word), word)]
    key = word[1:]
    value = config.get(key)
    if value is None or value is False:
        return []
    if value is True:
        return [key]
    values = [text_of(one) for one in value] if isinstance(value, list | tuple) else [text_of(value)]
    return [key, *values] if key.startswith("-") else values


def _inside(match: re.Match[str], config: Mapping[str, Any], word: str) -> str:
    if match[0] == "$$":
        return "$"
    value = config.get(match[1])
    if value is None:
        raise ValueError(f"word {word!r:.60}: there is no {match[1]!r:.40} to put in")
    return text_of(value)


def text_of(value: Any) -> str:
    """A value as a command takes it."""
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, float) and value.is_integer() and abs(value) < 1e15:
        return str(int(value)) if str(value).endswith(".0") else str(value)
    return str(value)
