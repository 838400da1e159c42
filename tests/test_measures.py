"""The tails stay short and the types stay told: what `python -m benchmarks.measures` counts, held where it is.

Where a bound stands in the way of better code, move it here, in the change that needs it, and say why in the commit.
"""

from __future__ import annotations

from functools import cache

from benchmarks.measures import SOURCE, Measured, in_folders, measured

FILE, FUNCTION, FOLDER = 520, 53, 30
#: Classes of more than 25 methods. Most are doors: one object that has to offer all that Flux's or ours offers.
METHODS, LARGE = 25, 21
#: Times ``Any`` in 1,000 lines. What JSON decodes to is called ``Json`` (`protocol/decoded.py`); what is only passed
#: on is an ``object``.
ANYS = 8.0
#: Percent of lines that are comments or docstrings.
PROSE = 11.0


@cache
def source() -> list[Measured]:
    return [measured(path) for path in sorted(SOURCE.rglob("*.py"))]


def test_no_file_function_or_folder_is_longer_than_can_be_seen_at_once():
    too_long = [(one.lines, str(one.path)) for one in source() if one.lines > FILE]
    too_long += [
        (size.length, size.where) for one in source() for size in one.functions if size.length > FUNCTION
    ]
    too_long += [(n, str(folder)) for folder, n in in_folders(source()).items() if n > FOLDER]
    assert too_long == []


def test_large_classes_do_not_become_more():
    large = sorted(size for one in source() for size in one.classes if size.length > METHODS)
    assert len(large) <= LARGE, large


def test_types_are_told():
    lines = sum(one.lines for one in source())
    most = sorted(((one.anys, str(one.path)) for one in source()), reverse=True)[:10]
    assert 1000 * sum(one.anys for one in source()) / lines <= ANYS, most


def test_prose_does_not_become_rarer():
    lines = sum(one.lines for one in source())
    assert 100 * sum(one.prose for one in source()) / lines >= PROSE


SAMPLE = '''"""One line.

Another."""

from typing import Any

NUMBERS = """no
docstring"""  # but a comment


class C:
    """Of two methods."""

    def f(self, x: Any) -> list[Any]:
        # why
        return [x]

    async def g(self): ...
'''


def test_what_is_counted_is_what_there_is(tmp_path):
    (tmp_path / "x.py").write_text(SAMPLE)
    found = measured(tmp_path / "x.py")
    assert (found.lines, found.code, found.prose, found.anys) == (18, 7, 6, 2)
    assert [size.length for size in found.functions] == [3, 1]
    assert [(size.length, size.where.split()[-1]) for size in found.classes] == [(2, "C")]
