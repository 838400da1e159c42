"""Knows what a disk may hold at a power cut: all that was synced, and of the rest whatever it likes; not who wrote it.

A write that was not synced may be there, not be there, or be torn at a sector; each by itself, in any order. A new name
of a file is there when the file or its folder was synced, a removal or another name when the folder was; before that,
the folder's changes are there up to one of them, as journaling file systems keep their order.
"""

from __future__ import annotations

import os
import random
import subprocess
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path

import attrs
import pytest

SECTOR = 512
_SHIM = Path(__file__).with_name("shim.c")


@attrs.frozen
class Event:
    """``kind``: W write, T truncate, S sync, U unlink, R rename, A something was answered for (``path`` says what)."""

    kind: str
    path: str
    data: bytes = b""
    number: int = 0
    other: str = ""


@attrs.define(eq=False)
class _File:
    content: bytearray = attrs.field(factory=bytearray)
    unsynced: list[Event] = attrs.field(factory=list)


def library(folder: Path) -> Path:
    """The preloaded library, built there; skips the test where nothing can build it."""
    built = folder / "shim.so"
    words = ["cc", "-shared", "-fPIC", "-O1", "-o", str(built), str(_SHIM), "-ldl"]
    try:
        subprocess.run(words, check=True, capture_output=True, text=True)
    except FileNotFoundError:
        pytest.skip("no C compiler here")
    return built


def events_of(program: str, folder: Path, scratch: Path, *args: str) -> list[Event]:
    """What a Python program does to the files of a folder. It says what is answered for by ``answered(text)``."""
    log = scratch / "log"
    helper = (
        "import os, sys\n"
        "def answered(text):\n"
        "    log = os.open(os.environ['POWER_LOG'], os.O_WRONLY | os.O_APPEND)\n"
        "    os.write(log, f'A {text}\\n'.encode())\n"
        "    os.close(log)\n"
    )
    environment = {
        **os.environ, "LD_PRELOAD": str(library(scratch)), "POWER_FOLDER": f"{folder}", "POWER_LOG": str(log),
    }  # fmt: skip
    words = [sys.executable, "-c", helper + program, str(folder), *args]
    subprocess.run(words, check=True, env=environment, cwd=Path(__file__).parents[2])
    return list(_parsed(log.read_bytes()))


def _parsed(log: bytes) -> Iterator[Event]:
    at = 0
    while at < len(log):
        end = log.index(b"\n", at)
        kind, _, rest = log[at:end].decode().partition(" ")
        at = end + 1
        if kind == "W":
            size, offset, path = rest.split(" ", 2)
            yield Event(kind, path, log[at : at + int(size)], int(offset))
            at += int(size)
        elif kind == "T":
            length, path = rest.split(" ", 1)
            yield Event(kind, path, number=int(length))
        elif kind == "R":
            before, after = rest.split("\t")
            yield Event(kind, before, other=after)
        else:
            yield Event(kind, rest)


def after_cut(events: Sequence[Event], chance: random.Random) -> dict[str, bytes]:
    """What the disk may hold when the power goes behind these events: content by path."""
    #: Names as they are, and changes of names that are not on the disk yet: with the files they had then.
    names: dict[str, _File] = {}
    lasting: dict[str, _File] = {}
    changes: list[tuple[str, _File | None]] = []

    def change(path: str, file: _File | None) -> None:
        changes.append((path, file))
        if file is None:
            names.pop(path, None)
        else:
            names[path] = file

    def settle(count: int) -> None:
        for path, file in changes[:count]:
            if file is None:
                lasting.pop(path, None)
            else:
                lasting[path] = file
        del changes[:count]

    for event in events:
        file = names.get(event.path)
        if event.kind in "WT":
            if file is None:
                file = _File()
                change(event.path, file)
            file.unsynced.append(event)
        elif event.kind == "S":
            if file is None and "." in event.path.rpartition("/")[2]:  # a file nothing was written to yet
                change(event.path, _File())
                settle(len(changes))
            elif file is None:  # the folder
                settle(len(changes))
            else:
                for one in file.unsynced:
                    _apply(file.content, one)
                file.unsynced.clear()
                own = max((at for at, (_, each) in enumerate(changes) if each is file), default=-1)
                settle(own + 1)
        elif event.kind == "U":
            change(event.path, None)
        elif event.kind == "R" and file is not None:
            change(event.other, file)
            change(event.path, None)
    settle(chance.randint(0, len(changes)))
    return {path: _left(file, chance) for path, file in lasting.items()}


def _left(file: _File, chance: random.Random) -> bytes:
    content = bytearray(file.content)
    share = chance.choice((0.0, 0.5, 1.0))
    for event in file.unsynced:
        if chance.random() < share:
            _apply(content, _torn(event, chance))
    return bytes(content)


def _torn(event: Event, chance: random.Random) -> Event:
    if event.kind != "W" or len(event.data) <= SECTOR or chance.random() < 0.7:
        return event
    sectors = chance.randint(1, len(event.data) // SECTOR)
    return attrs.evolve(event, data=event.data[: sectors * SECTOR])


def _apply(content: bytearray, event: Event) -> None:
    if event.kind == "T":
        del content[event.number :]
        content.extend(bytes(event.number - len(content)))
        return
    end = event.number + len(event.data)
    content.extend(bytes(max(0, end - len(content))))
    content[event.number : end] = event.data


def cuts(events: Sequence[Event], count: int, seed: int) -> Iterator[tuple[list[str], dict[str, bytes]]]:
    """At random moments: what had been answered for, and what the disk may hold."""
    chance = random.Random(seed)
    for _ in range(count):
        before = events[: chance.randint(0, len(events))]
        yield [event.path for event in before if event.kind == "A"], after_cut(before, chance)
