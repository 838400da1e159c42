"""How long the files, functions and classes of a tree are, how much of it is prose, and how often it says Any.

    python -m benchmarks.measures [FOLDER]

Prints a line a room of src/brokersim (or of another folder), then what is longest. A line counts as prose if it has a
comment or belongs to a docstring; as code if it has anything else. `tests/test_measures.py` holds the figures.
"""

from __future__ import annotations

import ast
import io
import sys
import tokenize
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import attrs

SOURCE = Path(__file__).resolve().parent.parent / "src" / "brokersim"
MODULES = SOURCE.parent.parent / "modules"
_LAYOUT = {
    tokenize.NL, tokenize.NEWLINE, tokenize.INDENT, tokenize.DEDENT, tokenize.ENDMARKER, tokenize.ENCODING
}  # fmt: skip
_FUNCTIONS = ast.FunctionDef | ast.AsyncFunctionDef


@attrs.frozen(order=True)
class Size:
    """How long something is: lines of a file or function, methods of a class."""

    length: int
    where: str


@attrs.frozen(kw_only=True)
class Measured:
    """One file."""

    path: Path
    lines: int
    code: int
    prose: int
    #: Times the type ``Any`` is named, imports aside.
    anys: int
    functions: tuple[Size, ...]
    classes: tuple[Size, ...]


def measured(path: Path) -> Measured:
    text = path.read_text(encoding="utf-8")
    tree = ast.parse(text)
    nodes = list(ast.walk(tree))
    docs = {line for node in nodes for line in _docstring(node)}
    comments, code = _lines(text)
    return Measured(
        path=path,
        lines=len(text.splitlines()),
        code=len(code - docs),
        prose=len(comments | docs),
        anys=sum(isinstance(node, ast.Name) and node.id == "Any" for node in nodes),
        functions=tuple(
            Size(length=(node.end_lineno or 0) - node.lineno + 1, where=f"{path}:{node.lineno} {node.name}")
            for node in nodes
            if isinstance(node, _FUNCTIONS)
        ),
        classes=tuple(
            Size(
                length=sum(isinstance(one, _FUNCTIONS) for one in node.body),
                where=f"{path}:{node.lineno} {node.name}",
            )
            for node in nodes
            if isinstance(node, ast.ClassDef)
        ),
    )


def _docstring(node: ast.AST) -> range:
    if (
        isinstance(node, ast.Module | ast.ClassDef | _FUNCTIONS)
        and ast.get_docstring(node, clean=False) is not None
    ):
        return range(node.body[0].lineno, (node.body[0].end_lineno or 0) + 1)
    return range(0)


def _lines(text: str) -> tuple[set[int], set[int]]:
    """Lines with a comment, and lines with code or part of a string."""
    comments: set[int] = set()
    code: set[int] = set()
    for token in tokenize.generate_tokens(io.StringIO(text).readline):
        if token.type == tokenize.COMMENT:
            comments.add(token.start[0])
        elif token.type not in _LAYOUT:
            code.update(range(token.start[0], token.end[0] + 1))
    return comments, code


def rooms(files: list[Measured], source: Path) -> Iterator[tuple[str, list[Measured]]]:
    """The files of each folder right below, then all."""
    by_room: dict[str, list[Measured]] = {}
    for one in files:
        parts = one.path.relative_to(source).parts
        by_room.setdefault(parts[0] if len(parts) > 1 else "(top)", []).append(one)
    yield from sorted(by_room.items())
    yield "all", files


def in_folders(files: list[Measured]) -> Counter[Path]:
    """How many files each folder has, those of its folders not counted."""
    return Counter(one.path.parent for one in files)


def main() -> int:
    source = Path(sys.argv[1]) if len(sys.argv) > 1 else SOURCE
    files = [measured(path) for path in sorted(source.rglob("*.py"))]
    print(f"{'room':14} {'files':>5} {'lines':>6} {'code':>6} {'prose %':>7} {'Any a 1,000':>11}")
    for room, mine in rooms(files, source):
        lines = sum(one.lines for one in mine)
        code, prose, anys = (sum(getattr(one, what) for one in mine) for what in ("code", "prose", "anys"))
        print(
            f"{room:14} {len(mine):>5} {lines:>6} {code:>6} {100 * prose / lines:>7.1f} {1000 * anys / lines:>11.1f}"
        )
    longest = {
        "lines of a file": [Size(one.lines, str(one.path)) for one in files],
        "lines of a function": [size for one in files for size in one.functions],
        "methods of a class": [size for one in files for size in one.classes],
        "files of a folder": [Size(n, str(folder)) for folder, n in in_folders(files).items()],
    }
    for what, sizes in longest.items():
        print(f"\n{what}")
        for size in sorted(sizes, reverse=True)[:5]:
            print(f"{size.length:>6}  {size.where}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
