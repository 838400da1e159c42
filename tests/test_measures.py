"""The tails stay short and the types stay told: what `python -m benchmarks.measures` counts, held where it is.

Where a bound stands in the way of better code, move it here, in the change that needs it, and say why in the commit.
"""

from __future__ import annotations

from functools import cache

import pytest

from benchmarks.measures import MODULES, SOURCE, Measured, in_folders, measured

FILE, FUNCTION, FOLDER = 520, 53, 30
#: Classes of more than 25 methods. Most are doors: one object that has to offer all that Flux's or ours offers.
METHODS, LARGE = 25, 4
#: Times ``Any`` in 1,000 lines. What JSON decodes to is called ``Json`` (`protocol/decoded.py`); what is only passed
#: on is an ``object``.
ANYS = 8.0
#: The same of the shipped modules: classes beyond are the job manager's requests and its machine; what a probe
#: reads and what R or a jobspec holds is JSON of somebody else's, and still called ``Any`` there.
MODULES_LARGE, MODULES_ANYS = 2, 31.0
#: Percent of lines that are comments or docstrings.
PROSE = 11.0


@cache
def source() -> list[Measured]:
    return [measured(path) for path in sorted(SOURCE.rglob("*.py"))]


@cache
def modules() -> list[Measured]:
    return [measured(path) for path in sorted(MODULES.rglob("*.py"))]


def test_no_file_function_or_folder_is_longer_than_can_be_seen_at_once():
    files = source() + modules()
    too_long = [(one.lines, str(one.path)) for one in files if one.lines > FILE]
    too_long += [
        (size.length, size.where) for one in files for size in one.functions if size.length > FUNCTION
    ]
    too_long += [(n, str(folder)) for folder, n in in_folders(files).items() if n > FOLDER]
    assert too_long == []


@pytest.mark.parametrize(("files", "most"), [(source, LARGE), (modules, MODULES_LARGE)])
def test_large_classes_do_not_become_more(files, most):
    large = sorted(size for one in files() for size in one.classes if size.length > METHODS)
    assert len(large) <= most, large


@pytest.mark.parametrize(("files", "bound"), [(source, ANYS), (modules, MODULES_ANYS)])
def test_types_are_told(files, bound):
    lines = sum(one.lines for one in files())
    most = sorted(((one.anys, str(one.path)) for one in files()), reverse=True)[:10]
    assert 1000 * sum(one.anys for one in files()) / lines <= bound, most


@pytest.mark.parametrize("files", [source, modules])
def test_prose_does_not_become_rarer(files):
    lines = sum(one.lines for one in files())
    assert 100 * sum(one.prose for one in files()) / lines >= PROSE


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
