"""Lines of the log on standard error and in a file: which are shown, in which form, and what ends a file."""

from __future__ import annotations

import errno
import os
import sys
from typing import Any

import pytest

from brokersim import open_instance, run
from brokersim.net.log_outlets import log_outlets, parts
from brokersim.routing.logring import CRIT, DEBUG, ERR, INFO


def logged(size: int = 1, **attributes: str) -> None:
    """Each rank says something at four levels, rank 0 with other outlets half-way."""

    async def main() -> None:
        named = {name.replace("_", "-"): value for name, value in attributes.items()}
        async with open_instance(size=size, modules=(), attrs=named) as instance:
            with log_outlets(instance):
                for rank in range(size):
                    for level in (CRIT, ERR, INFO, DEBUG):
                        instance.broker(rank).write_local_log(level, "me", f"level {level}")

    run(main, clock="virtual")


def told(text: str) -> list[str]:
    """Without the time in front."""
    return [line.partition("2026 ")[2] or line for line in text.splitlines()]


@pytest.mark.parametrize(
    ("attributes", "shown"),
    [
        ({}, [CRIT, ERR]),
        ({"log_stderr_level": "6"}, [CRIT, ERR, INFO]),
        ({"log_stderr_level": "-1"}, [CRIT]),
        ({"log_stderr_level": "-1", "log_critical_level": "-1"}, []),
    ],
)
def test_lines_down_to_the_level_of_the_moment_are_shown_on_standard_error(attributes, shown, capfd):
    logged(**attributes)
    names = {CRIT: "crit", ERR: "err", INFO: "info"}
    assert told(capfd.readouterr().err) == [f"me.{names[one]}[0]: level {one}" for one in shown]


def test_local_mode_shows_each_ranks_own_lines_with_their_level_and_without_time(capfd):
    logged(size=2, log_stderr_mode="local", log_stderr_level="3")
    err = capfd.readouterr().err.splitlines()
    assert err == [f"<{n}>me.{w}[{rank}]: level {n}" for rank in (0, 1) for n, w in ((2, "crit"), (3, "err"))]


class Gone:
    """Standard error whose reader has gone."""

    def write(self, text: str) -> int:
        raise BrokenPipeError(errno.EPIPE, "Broken pipe")

    def flush(self) -> None:
        """Nothing is kept."""


def test_nobody_who_reads_standard_error_ends_nothing(tmp_path, monkeypatch):
    monkeypatch.setattr(sys, "stderr", Gone())
    logged(log_filename=str(tmp_path / "log"))
    assert len((tmp_path / "log").read_text().splitlines()) == 4


def test_a_file_has_all_lines_of_rank_0(tmp_path):
    logged(log_filename=str(tmp_path / "log"))
    lines = told((tmp_path / "log").read_text())
    assert lines == [
        "me.crit[0]: level 2", "me.err[0]: level 3", "me.info[0]: level 6", "me.debug[0]: level 7",
    ]  # fmt: skip


def test_a_file_that_cannot_be_written_is_an_error_at_the_start(tmp_path):
    with pytest.raises(OSError) as caught:
        logged(log_filename=str(tmp_path))
    assert str(tmp_path) in str(caught.value)


@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="needs a device that takes nothing")
def test_a_file_that_takes_no_more_is_left_alone_with_a_word(capfd):
    logged(log_filename="/dev/full")
    assert told(capfd.readouterr().err) == [
        "me.crit[0]: level 2",
        "broker.err[0]: log-filename: No space left on device; no more is written",
        "me.err[0]: level 3",
    ]


@pytest.mark.parametrize("line", ["", "no line of a log", "<x>1 a b c - - - d"])
def test_what_is_no_line_is_said_by_nobody(line: str) -> None:
    found: Any = parts(line)
    assert found == (-1, "", "", line)


def test_a_line_with_a_time_that_is_none_is_shown_with_it():
    assert parts("<24>1 soon 3 me - - - hello") == (3, "3", "soon", "me.err[3]: hello")
