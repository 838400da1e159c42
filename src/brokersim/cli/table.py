"""Knows how rows become aligned columns or tab-separated lines, and fit a terminal; not what they are about."""

from __future__ import annotations

import sys
from itertools import zip_longest

TYPE_CHECKING = False  # typing and collections take longer than a short table
if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    Line = Sequence[str]

_HEX = frozenset("0123456789abcdef")
_NOTHING = "-"
_GAP = "  "
#: A column of text is not folded to less than this: one letter a line is no text.
_LEAST = 12


def laid_out(
    titles: Line,
    rows: Iterable[Sequence[object]],
    drop: Line = (),
    *,
    tsv: bool,
    header: bool,
    width: int | None,
) -> tuple[str, str]:
    """The table as it is printed, and what is to be told of columns that it had no room for (``""`` if of none).

    It is aligned columns, or tab-separated; fitted into ``width`` characters if given. Columns of ``drop`` go, first
    named first, until the rest fits; what is still too wide is folded.
    """
    cells = [[cell(one) for one in row] for row in rows]
    if not tsv:
        cells = [[in_a_line(one) for one in row] for row in cells]
    if width is None or tsv:
        return render(titles, cells, tsv, header), ""
    kept, cells = fitting(titles, cells, width, drop)
    missing = [title for title in titles if title not in kept]
    return folded(kept, cells, width, header), left_out(missing, "--tsv and --json show")


def left_out(titles: Line, ways: str) -> str:
    """The line about columns that a terminal is too narrow for, and how to see them; ``""`` if there are none."""
    if not titles:
        return ""
    return f"no room for {', '.join(titles)}: a wider terminal, {ways} {'it' if len(titles) == 1 else 'them'}"


def terminal_width() -> int | None:
    """Columns of the terminal that stdout is; None if it is none."""
    if not sys.stdout.isatty():
        return None
    import shutil  # it brings every kind of archive, and most output is read by a program

    return shutil.get_terminal_size().columns


def cell(value: object) -> str:
    """A table cell's text; a dash where there is nothing."""
    if value is None or value == "":
        return _NOTHING
    return f"{value:g}" if isinstance(value, float) else str(value)


def render(titles: Line, rows: Sequence[Line], tsv: bool = False, header: bool = True) -> str:
    """Lines without the last newline: columns padded with blanks, numbers to the right; or tabs if ``tsv``."""
    lines = [list(titles), *map(list, rows)] if header else [list(row) for row in rows]
    if tsv:
        return "\n".join("\t".join(map(_one_line, line)) for line in lines)
    return "\n".join(_aligned(lines, _widths(lines, len(titles)), _right(titles, rows)))


def fitting(titles: Line, rows: list[list[str]], width: int, drop: Line) -> tuple[Line, list[list[str]]]:
    """The same table without as many columns of ``drop``, in that order, as keep it from ``width`` characters."""
    for title in drop:
        if _span(_widths([titles, *rows], len(titles))) <= width:
            break
        gone = titles.index(title)
        titles, *rows = ([*line[:gone], *line[gone + 1 :]] for line in _lines(titles, rows))
    return titles, rows


def folded(titles: Line, rows: Sequence[Line], width: int, header: bool = True) -> str:
    """The table in lines of at most ``width`` characters, whatever is in it, and with all that is in it.

    The widest columns of text are folded; if that is not enough the table is cut into several, one below the other,
    each of which begins with the first column.
    """
    pieces = (
        [[line[at] for at in piece] for line in _lines(titles, rows)]
        for piece in _pieces(titles, rows, width)
    )
    return "\n\n".join(_folded(piece[0], piece[1:], width, header) for piece in pieces)


def _lines(titles: Line, rows: Sequence[Line]) -> list[Line]:
    """Titles and rows alike."""
    return [titles, *rows]


def _pieces(titles: Line, rows: Sequence[Line], width: int) -> Iterator[list[int]]:
    """Numbers of columns that stand beside each other, when each is as narrow as it can be."""
    natural = _widths(_lines(titles, rows), len(titles))
    least = [
        wide if right else min(wide, max(_LEAST, len(title)))
        for title, wide, right in zip(titles, natural, _right(titles, rows), strict=True)
    ]
    piece = [0]
    for at in range(1, len(titles)):
        if len(piece) > 1 and _span([least[one] for one in (*piece, at)]) > width:
            yield piece
            piece = [0]
        piece.append(at)
    yield piece


def _folded(titles: Line, rows: Sequence[Line], width: int, header: bool) -> str:
    lines = _lines(titles, rows) if header else list(rows)
    widths, right = _widths(lines, len(titles)), _right(titles, rows)
    while _span(widths) > width:
        # Text first, whatever is widest; numbers only where there is nothing else left.
        at = max(range(len(widths)), key=lambda one: (not right[one] and widths[one] > _LEAST, widths[one]))
        if widths[at] <= 1:
            break
        widths[at] -= 1
    from textwrap import wrap

    broken: list[Line] = []
    for line in lines:
        cells = [
            [cell] if len(cell) <= wide else wrap(cell, wide) for cell, wide in zip(line, widths, strict=True)
        ]
        broken += zip_longest(*cells, fillvalue="")
    return "\n".join(_aligned(broken, widths, right))


def _aligned(lines: Sequence[Line], widths: Sequence[int], right: Sequence[bool]) -> Iterator[str]:
    for line in lines:
        yield _GAP.join(_pad(*one) for one in zip(line, widths, right, strict=True)).rstrip()


def _widths(lines: Sequence[Line], columns: int) -> list[int]:
    return [max((len(line[at]) for line in lines), default=0) for at in range(columns)]


def _span(widths: Sequence[int]) -> int:
    return sum(widths) + len(_GAP) * (len(widths) - 1)


def _right(titles: Line, rows: Sequence[Line]) -> list[bool]:
    return [_is_numeric([row[at] for row in rows]) for at in range(len(titles))]


def _is_numeric(column: Sequence[str]) -> bool:
    """Numbers, and perhaps places where there is none."""
    there = [cell for cell in column if cell != _NOTHING]
    return bool(there) and all(map(_is_number, there))


def _is_number(cell: str) -> bool:
    """``-1,024``, ``0.5``, ``12 %`` or ``0x1f``."""
    if cell.startswith("0x"):
        return len(cell) > 2 and _HEX.issuperset(cell[2:])
    number = cell.removeprefix("-")
    if number.endswith("%"):
        number = number[:-1].removesuffix(" ")
    whole, dot, part = number.partition(".")
    return bool(whole) and (not dot or part.isdecimal()) and whole.replace(",", "0").isdecimal()


def in_a_line(text: str) -> str:
    """Of a text that stands in a line with others the line ends and tabs are written, too."""
    return text.replace("\n", "\\n").replace("\t", "\\t")


def _pad(text: str, width: int, right: bool) -> str:
    return text.rjust(width) if right else text.ljust(width)


def _one_line(text: str) -> str:
    # A tab or newline inside a cell would break the line into other cells.
    return text.replace("\\", "\\\\").replace("\t", "\\t").replace("\n", "\\n")
