"""What somebody else named or wrote does nothing to the terminal of who looks at it."""

from __future__ import annotations

import io
import sys

import pytest
from rich.console import Console

from brokersim.cli.harmless import harmless
from brokersim.cli.quick.offers import comma_offers, key_offers, word_offers
from brokersim.cli.session import Session
from brokersim.cli.top.table import harmless_line
from brokersim.cli.top.widgets import to_text


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


def test_a_screen_that_is_drawn_anew_gets_no_control_at_all():
    line = [("na\x1b[31mme\n\x9b2J", "bold"), ("plain é", "")]
    assert harmless_line(line) == [("na\\x1b[31mme\\n\\x9b2J", "bold"), ("plain é", "")]
    shown = io.StringIO()
    Console(file=shown, force_terminal=False).print(to_text([line, [("\x1b]0;title\x07", "")]]))
    assert shown.getvalue() == "na\\x1b[31mme\\n\\x9b2Jplain é\n\\x1b]0;title\\x07\n"


@pytest.mark.parametrize("name", ["$(id)", "`id`", "a b", "a;b", "a\nb", "a\x1b[2J", "a'b", "a|b", "a>b"])
def test_no_shell_is_offered_a_name_that_it_would_act_on(name: str) -> None:
    assert word_offers("", [name, "kvs"]) == [("kvs", None)]
    assert comma_offers("kvs,", [name, "sched"]) == [("kvs,sched", None)]
    assert key_offers("", {name: {"type": "val"}, "dir": {"type": "dir"}}) == [("dir.", None)]
