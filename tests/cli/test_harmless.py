"""What somebody else named or wrote does nothing to the terminal of who looks at it."""

from __future__ import annotations

import io
import sys

import pytest

from brokersim.cli.harmless import harmless
from brokersim.cli.session import Session


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("a\nb\tc é ✓", "a\nb\tc é ✓"),
        ("\x1b[32m✓\x1b[0m", "\x1b[32m✓\x1b[0m"),
        ("\x1b[2J", "\\x1b[2J"),
        ("\x1b]0;title\x07", "\\x1b]0;title\\x07"),
        ("\x1b[\x1b[0m2J", "\\x1b[\x1b[0m2J"),
        ("over\rwritten", "over\\rwritten"),
        ("\x9b2J", "\\x9b2J"),
        ("\u202eabc", "\\u202eabc"),
    ],
)
def test_a_terminal_gets_colours_and_lines_and_of_other_controls_their_names(text: str, shown: str) -> None:
    assert harmless(text) == shown


def test_a_line_of_data_moves_no_cursor_and_a_pipe_has_it_as_it_is(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    terminal = Terminal()
    monkeypatch.setattr(sys, "stdout", terminal)
    Session().out("key\x1b[2J\rgone")
    assert terminal.getvalue() == "key\\x1b[2J\\rgone\n"
    pipe = io.StringIO()
    monkeypatch.setattr(sys, "stdout", pipe)
    Session().out("over\rwritten")
    assert pipe.getvalue() == "over\rwritten\n"


def test_a_name_with_a_line_end_makes_no_row_of_its_own(capsys: pytest.CaptureFixture[str]) -> None:
    Session().table(("id", "name"), [(1, "a\n2   forged"), (3, "b\tc")])
    assert capsys.readouterr().out.splitlines() == ["id  name", " 1  a\\n2   forged", " 3  b\\tc"]
