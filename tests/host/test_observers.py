"""Who listens to a rank's streams; and which line of a module runs."""

from __future__ import annotations

import sys

from brokersim.host.loader import place_of
from brokersim.host.observers import Observers, unobserved


class Handle:
    observe = staticmethod(unobserved)


def test_two_that_listen_to_one_stream_are_both_told_until_one_goes():
    handle, first, second = Handle(), [], []
    rank = Observers(lambda: [handle])
    end = rank.listen("s", lambda key, value: first.append((key, value)), "a")
    rank.listen("s", lambda key, value: second.append((key, value)), "b")
    handle.observe("s", "x", 2)
    assert first == second == [("x", 2)]
    end()
    handle.observe("s", "y", 3)
    assert (first, second) == ([("x", 2)], [("x", 2), ("y", 3)])
    rank.drop("b")
    assert handle.observe is unobserved


class _Frame:
    """A frame of a file, called from another."""

    def __init__(self, file, line, back=None):
        self.f_code, self.f_lineno, self.f_back = type("Code", (), {"co_filename": file}), line, back


def test_the_line_of_a_module_that_runs_is_the_innermost_that_is_not_ours():
    ours = sys.modules[place_of.__module__].__file__
    outer = _Frame("/x/theirs.py", 7)
    assert place_of(_Frame(ours, 1, _Frame(ours, 2, outer))) == "theirs.py:7"
    assert place_of(_Frame("/x/inner.py", 3, outer)) == "inner.py:3"
    assert place_of(_Frame(ours, 1)) == place_of(None) == "between two lines"
