"""Knows what a shell is offered for a word that has begun, by what the word is; not which words a line takes.

Free of click: both ways of a completion, the short and the whole one, offer by it. An offer is a value and what it
means, or None.
"""

from __future__ import annotations

from brokersim.cli.mask import MASK_BITS

#: What a shell acts on, or what ends a word.
_ACTS = frozenset(" $`\"'\\;&|<>(){}")

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from brokersim.protocol.decoded import JsonObject

    Offers = list[tuple[str, str | None]]


def addressable(mods: Iterable[JsonObject]) -> list[str]:
    """Everything one can address: modules, as module.list gives them, and their services."""
    return list(dict.fromkeys(name for mod in mods for name in (mod["name"], *mod["services"])))


def key_offers(begun: str, entries: Mapping[str, JsonObject]) -> Offers:
    """Of a directory of the KVS, in name order; a directory in it ends with the dot to go on behind."""
    folder, dot, _ = begun.rpartition(".")
    keys = [
        f"{folder}{dot}{name}{'.' if entry['type'] in ('dir', 'dirref') else ''}"
        for name, entry in sorted(entries.items())
    ]
    return word_offers(begun, keys)


def mask_offers(begun: str) -> Offers:
    """Numbers and names of the bits, each with what it does; after a ``+`` the names not yet there."""
    done, plus, word = begun.rpartition("+")
    known = [(name, text) for _, name, text in MASK_BITS if name not in done.split("+")]
    if not plus:
        known = [(f"{bit:#x}", text) for bit, _, text in MASK_BITS] + known
    return [(f"{done}{plus}{value}", text) for value, text in known if value.startswith(word)]


def comma_offers(begun: str, words: Sequence[str]) -> Offers:
    """Of several words joined by commas."""
    done, comma, word = begun.rpartition(",")
    return [(f"{done}{comma}{one}", None) for one in words if one.startswith(word) and is_a_word(one)]


def word_offers(begun: str, words: Iterable[str]) -> Offers:
    """Those that begin so."""
    return [(word, None) for word in words if word.startswith(begun) and is_a_word(word)]


def is_a_word(text: str) -> bool:
    """Does a shell take it as one word that does nothing? Names are whoever's: ``$(rm x)`` is one for a key."""
    return text.isprintable() and not _ACTS.intersection(text)
