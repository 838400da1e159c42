"""Knows what a threshold is about: sums, differences, products and ratios of ``stream.reducer`` and numbers."""

from __future__ import annotations

import ast
import operator
from collections.abc import Callable, Mapping
from typing import Any

import attrs

_OPERATORS: dict[type[ast.operator], Callable[[float, float], float]] = {
    ast.Add: operator.add,
    ast.Sub: operator.sub,
    ast.Mult: operator.mul,
    ast.Div: operator.truediv,
}
#: What a row shows of each stream besides its reducers.
ALWAYS = ("n", "begin", "end")


@attrs.frozen
class Expression:
    """An expression over a row; ``terms`` are the (stream, result) it reads.

    ``is_sum``: nothing but terms and numbers added, so it grows as its terms do.
    """

    text: str
    terms: tuple[tuple[str, str], ...]
    is_sum: bool
    _tree: ast.expr = attrs.field(eq=False, repr=False)

    @classmethod
    def parse(cls, text: str, streams: Mapping[str, tuple[str, ...]]) -> Expression:
        """``streams`` are the results each stream has. Raises ValueError that says what is wrong.

        A stream's name may hold dots; a result without a stream is that of the only one.
        """
        source = text.removeprefix("constant ")
        try:
            tree = ast.parse(source.strip(), mode="eval").body
        except (SyntaxError, ValueError):
            raise ValueError(
                f"not an expression: {text!r}; give one like sum, test.sum or a.sum / b.n"
            ) from None
        terms: dict[tuple[str, str], None] = {}
        is_sum = _read(tree, streams, terms, text)
        return cls(text, tuple(terms), is_sum, tree)

    def value(self, read: Callable[[str, str], float]) -> float | None:
        """``read(stream, result)`` gives the terms; None where one is missing or nothing can be divided by."""
        try:
            found = _value(self._tree, self.terms, read)
        except (TypeError, ZeroDivisionError, OverflowError):
            return None
        return found if found == found else None


def _read(node: ast.expr, streams: Any, terms: dict[tuple[str, str], None], text: str) -> bool:
    if isinstance(node, ast.Constant) and type(node.value) in (int, float):
        return True
    if isinstance(node, ast.BinOp) and type(node.op) in _OPERATORS:
        sides = [_read(side, streams, terms, text) for side in (node.left, node.right)]
        return all(sides) and isinstance(node.op, ast.Add)
    name = _dotted(node)
    if name is None:
        raise ValueError(f"{text!r}: only stream.reducer, numbers and + - * / are known here")
    terms[_term(name, streams, text)] = None
    return True


def _dotted(node: ast.expr) -> str | None:
    if isinstance(node, ast.Name):
        return node.id
    if isinstance(node, ast.Attribute):
        before = _dotted(node.value)
        return None if before is None else f"{before}.{node.attr}"
    return None


def _term(name: str, streams: Mapping[str, tuple[str, ...]], text: str) -> tuple[str, str]:
    stream, _, result = name.rpartition(".")
    if not stream and len(streams) == 1:
        stream = next(iter(streams))
    if stream not in streams:
        raise ValueError(f"{text!r}: no stream {stream!r} in this stat; it has {', '.join(streams)}")
    if result not in (*streams[stream], *ALWAYS):
        raise ValueError(
            f"{text!r}: stream {stream} has no {result!r}; it has n, {', '.join(streams[stream])}"
        )
    return stream, result


def _value(node: ast.expr, terms: tuple[tuple[str, str], ...], read: Callable[[str, str], float]) -> float:
    if isinstance(node, ast.Constant):
        return node.value  # type: ignore[return-value]  # parse has let numbers in only
    if isinstance(node, ast.BinOp):
        return _OPERATORS[type(node.op)](_value(node.left, terms, read), _value(node.right, terms, read))
    name = _dotted(node)
    assert name is not None
    stream, _, result = name.rpartition(".")
    if not stream:
        stream = next(one for one, what in terms if what == result)
    return read(stream, result)
