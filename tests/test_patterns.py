"""No expression in the code takes time with the square of what somebody sends, or worse.

Each constant given to `re` is tried on texts that are made of its own characters, repeated: with four times the text
it may take nine times as long. An expression that goes back and tries again takes sixteen times, or never ends.
"""

from __future__ import annotations

import ast
import itertools
import re
import signal
import time
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
#: Lengths of the two texts, and seconds of CPU under which nobody would notice.
SHORT, LONG = 3000, 12_000
UNNOTICED = 0.01
#: Seconds of CPU after which a text is given up.
PATIENCE = 0.3
_MATCHES = {"match": "match", "fullmatch": "match"}
METHODS = ("compile", "match", "search", "fullmatch", "sub", "split", "findall", "finditer")


def constants() -> Iterator[tuple[str, str | bytes, int, str]]:
    for folder in ("src", "modules"):
        for path in sorted((ROOT / folder).rglob("*.py")):
            yield from constants_in(path)


def constants_in(path: Path) -> Iterator[tuple[str, str | bytes, int, str]]:
    """Where, what, flags and by which method each is used; those put together of parts are found by their names."""
    text = path.read_text()
    if "re." not in text:
        return
    for node in ast.walk(ast.parse(text)):
        if not (
            isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute) and node.func.attr in METHODS
        ):
            continue
        if not (isinstance(node.func.value, ast.Name) and node.func.value.id == "re" and node.args):
            continue
        given = node.args[0]
        if isinstance(given, ast.Constant) and isinstance(given.value, str | bytes):
            flags = re.DOTALL if "DOTALL" in ast.dump(node) else 0
            how = uses(text, node) if node.func.attr == "compile" else _MATCHES.get(node.func.attr, "search")
            yield f"{path.relative_to(ROOT)}:{node.lineno}", given.value, flags, how


def uses(text: str, node: ast.Call) -> str:
    """``match`` if the name it is given to is only used to match from the beginning; else ``search``."""
    line = text.splitlines()[node.lineno - 1]
    name = line.split("=")[0].split(":")[0].strip()
    methods = {one for one in METHODS if re.search(rf"\b{re.escape(name)}\.{one}\b", text)}
    direct = re.search(r"\)\.(\w+)", line)
    methods |= {direct[1]} if direct else set()
    return "match" if methods and methods <= {"match", "fullmatch"} else "search"


def samples(pattern: str | bytes) -> list[str]:
    """Characters that the expression knows, and one that it does not."""
    text = pattern.decode("latin-1") if isinstance(pattern, bytes) else pattern
    plain = re.sub(r"\\[dDwWsSbBAZ]|\(\?P<\w+>|\(\?[:!=>]|\(\?<[!=]", " ", text)
    literal = [char for char in dict.fromkeys(plain) if char not in "()*+?^|\\ "]
    classes = [
        char
        for mark, char in ((r"\d", "1"), (r"\w", "a"), (r"\s", " "), (r"\S", "a"), ("0-9", "1"))
        if mark in text
    ]
    return list(dict.fromkeys([*classes, *literal, "x"]))[:8]


@contextmanager
def at_most(seconds: float) -> Iterator[None]:
    def end(*_: object) -> None:
        raise TimeoutError

    before = signal.signal(signal.SIGVTALRM, end)
    signal.setitimer(signal.ITIMER_VIRTUAL, seconds)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_VIRTUAL, 0)
        signal.signal(signal.SIGVTALRM, before)


def cost(pattern: re.Pattern[str] | re.Pattern[bytes], how: str, pump: str, end: str, length: int) -> float:
    """Seconds of CPU."""
    text = pump * (length // len(pump)) + end
    subject = text.encode("latin-1", "replace") if isinstance(pattern.pattern, bytes) else text
    begun = time.process_time()
    try:
        with at_most(PATIENCE):
            if how == "match":
                pattern.fullmatch(subject)  # type: ignore[arg-type]
            else:
                for _ in pattern.finditer(subject):  # type: ignore[arg-type]
                    pass
    except TimeoutError:
        return PATIENCE
    return time.process_time() - begun


def runs_away(given: str | bytes, flags: int, how: str) -> str:
    """A text on which it does; empty if none of those tried is one."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        pattern = re.compile(given, flags)
    chars = samples(given)
    pumps = [*chars, *("".join(two) for two in itertools.permutations(chars, 2))]
    end = "\0!"
    for pump in pumps:
        short = cost(pattern, how, pump, end, SHORT)
        if short < UNNOTICED / 5:
            continue
        long = cost(pattern, how, pump, end, LONG)
        if long >= PATIENCE or long > max(UNNOTICED, 9 * min(short, cost(pattern, how, pump, end, SHORT))):
            return f"{pump!r} times {LONG // len(pump)} and {end!r}: {long:.2f} s"
    return ""


@pytest.mark.parametrize(
    ("pattern", "how"),
    [(r"\{\{(.*?)\}\}", "search"), (r"(a+)+b", "match"), (r"\d*\d*x", "match"), (r"\s+x", "search")],
)
def test_one_that_runs_away_is_found(pattern: str, how: str) -> None:
    assert runs_away(pattern, re.DOTALL, how)


def test_no_expression_runs_away() -> None:
    found = {where: runs_away(given, flags, how) for where, given, flags, how in constants()}
    assert len(found) > 60
    assert {where: what for where, what in found.items() if what} == {}
