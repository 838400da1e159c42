"""A number of things as a sentence has it, and no sentence that has it otherwise."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

import brokersim
from brokersim.protocol.plurals import counted, one_of


@pytest.mark.parametrize(
    ("number", "noun", "text"),
    [
        (1, "bad line", "1 bad line"),
        (0, "bad line", "0 bad lines"),
        (1024, "packet", "1,024 packets"),
        (2, "entry", "2 entries"),
        (2, "day", "2 days"),
        (2, "finish", "2 finishes"),
        (3, "series", "3 series"),
        (1, "series", "1 series"),
    ],
)
def test_one_is_one_thing_and_others_are_several(number: int, noun: str, text: str) -> None:
    assert counted(number, noun) == text


@pytest.mark.parametrize(
    "noun", ["line", "packet", "flush", "entry", "day", "series", "message", "box", "time"]
)
def test_what_is_named_as_several_can_be_counted_as_one(noun: str) -> None:
    _, several = counted(2, noun).split()
    assert one_of(several) == noun


#: A count as it stands in a text for people, and behind it a word that is right of several alone.
_LOOSE = re.compile(
    r"\{(?:len\([^{}]*\)|[a-z_.]*counts?)(?::,)?\} (?:bad |more )?"
    r"(?:lines|packets|jobs|runs|rows|modules|measurements|files|findings|differences)\b"
)


def test_no_command_counts_things_in_the_plural_whatever_their_number() -> None:
    folder = Path(brokersim.__file__).parent / "cli"
    loose = [
        f"{path.relative_to(folder)}: {found[0]}"
        for path in sorted(folder.rglob("*.py"))
        for found in _LOOSE.finditer(path.read_text())
    ]
    assert loose == []
