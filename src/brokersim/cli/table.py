"""Knows how rows become aligned columns or tab-separated lines; not what they are about."""

from __future__ import annotations

import re
from collections.abc import Sequence

_NUMBER = re.compile(r"-?[\d,]+(\.\d+)?( ?%)?|0x[0-9a-f]+")
_NOTHING = "-"
_GAP = "  "


def render(
    titles: Sequence[str], rows: Sequence[Sequence[str]], tsv: bool = False, header: bool = True
) -> str:
    """Lines without the last newline: columns padded with blanks, numbers to the right; or tabs if ``tsv``."""
    lines = [list(titles), *map(list, rows)] if header else [list(row) for row in rows]
    if tsv:
        return "\n".join("\t".join(map(_one_line, line)) for line in lines)
    widths = [max((len(line[at]) for line in lines), default=0) for at in range(len(titles))]
    right = [_is_numeric([row[at] for row in rows]) for at in range(len(titles))]
    return "\n".join(
        _GAP.join(_pad(*one) for one in zip(line, widths, right, strict=True)).rstrip() for line in lines
    )


def fitting(
    titles: Sequence[str], rows: list[list[str]], width: int, drop: Sequence[str]
) -> tuple[Sequence[str], list[list[str]]]:
    """The same table without as many columns of ``drop``, in that order, as keep it from ``width`` characters."""
    for title in drop:
        lines = [titles, *rows]
        widths = [max(len(line[at]) for line in lines) for at in range(len(titles))]
        if sum(widths) + len(_GAP) * (len(titles) - 1) <= width:
            break
        gone = titles.index(title)
        titles, *rows = ([*line[:gone], *line[gone + 1 :]] for line in lines)
    return titles, rows


def _is_numeric(column: Sequence[str]) -> bool:
    """Numbers, and perhaps places where there is none."""
    there = [cell for cell in column if cell != _NOTHING]
    return bool(there) and all(_NUMBER.fullmatch(cell) for cell in there)


def _pad(text: str, width: int, right: bool) -> str:
    return text.rjust(width) if right else text.ljust(width)


def _one_line(text: str) -> str:
    # A tab or newline inside a cell would break the line into other cells.
    return text.replace("\\", "\\\\").replace("\t", "\\t").replace("\n", "\\n")
