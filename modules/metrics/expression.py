"""Knows what a threshold is about: sums, differences, products and ratios of ``stream.reducer`` and numbers."""

from __future__ import annotations

import ast
import math
import operator
import warnings
from collections.abc import Callable, Mapping

import attrs

from brokersim.brokermod import quoted

from .values import is_number, plain

_OPERATORS: dict[type[ast.operator], Callable[[float, float], float]] = {
    ast.Add: operator.add,
    ast.Sub: operator.sub,
    ast.Mult: operator.mul,
    ast.Div: operator.truediv,
}
#: What a row shows of each stream besides its reducers.
ALWAYS = ("n", "begin", "end")
#: Characters of an expression: a sum of some 40 streams. A peer may have sent megabytes.
LENGTH_MAX = 1000
#: A number, a (stream, result), or what to do with the two values before it.
Step = int | float | tuple[str, str] | Callable[[float, float], float]


@attrs.frozen
class Expression:
    """An expression over a row; ``terms`` are the (stream, result) it reads.

    ``is_sum``: nothing but terms and numbers added, so it grows as its terms do.
    """

    text: str
    terms: tuple[tuple[str, str], ...]
    is_sum: bool
    _steps: tuple[Step, ...] = attrs.field(eq=False, repr=False)

    @classmethod
    def parse(cls, text: str, streams: Mapping[str, tuple[str, ...]]) -> Expression:
        """``streams`` are the results each stream has. Raises ValueError that says what is wrong.

        A stream's name may hold dots; a result without a stream is that of the only one.
        """
        if len(text) > LENGTH_MAX:
            raise ValueError(f"an expression has at most {LENGTH_MAX} characters, not {len(text)}")
        nodes = _operands_first(_tree(text))
        steps = [_step(node, streams, text) for node in nodes]
        terms = dict.fromkeys(step for step in steps if isinstance(step, tuple))
        is_sum = not set(steps).intersection(_OPERATORS.values()) - {operator.add}
        return cls(text, tuple(terms), is_sum, tuple(steps))

    def value(self, read: Callable[[str, str], float]) -> float | None:
        """``read(stream, result)`` gives the terms; None where one is missing, or it is no finite number."""
        values: list[float] = []
        try:
            for step in self._steps:
                if isinstance(step, tuple):
                    values.append(read(*step))
                elif callable(step):
                    right = values.pop()
                    values.append(step(values.pop(), right))
                else:
                    values.append(step)
            return plain(values[0]) if math.isfinite(values[0]) else None
        except (TypeError, ZeroDivisionError, OverflowError):
            return None


def _tree(text: str) -> ast.expr:
    try:
        with warnings.catch_warnings(action="ignore"):  # "1if" is told below, not on stderr
            return ast.parse(text.removeprefix("constant ").strip(), mode="eval").body
    # The last two: Python's own parser, at what nests too deep.
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        raise ValueError(
            f"not an expression: {quoted(text)}; give one like sum, test.sum or a.sum / b.n"
        ) from None


def _operands_first(tree: ast.expr) -> list[ast.expr]:
    """Each operator behind its two sides; without recursion, since a sum of 500 nests as deep as it is long."""
    left, found = [tree], []
    while left:
        node = left.pop()
        found.append(node)
        if isinstance(node, ast.BinOp):
            left += [node.left, node.right]
    return found[::-1]


def _step(node: ast.expr, streams: Mapping[str, tuple[str, ...]], text: str) -> Step:
    if isinstance(node, ast.Constant) and is_number(node.value):
        return node.value  # type: ignore[return-value]  # a number
    if isinstance(node, ast.BinOp) and type(node.op) in _OPERATORS:
        return _OPERATORS[type(node.op)]
    name = _dotted(node)
    if name is None:
        raise ValueError(f"{quoted(text)}: only stream.reducer, numbers and + - * / are known here")
    return _term(name, streams, text)


def _dotted(node: ast.expr) -> str | None:
    parts: list[str] = []
    while isinstance(node, ast.Attribute):
        parts.append(node.attr)
        node = node.value
    return ".".join([node.id, *reversed(parts)]) if isinstance(node, ast.Name) else None


def _term(name: str, streams: Mapping[str, tuple[str, ...]], text: str) -> tuple[str, str]:
    stream, _, result = name.rpartition(".")
    if not stream and len(streams) == 1:
        stream = next(iter(streams))
    if stream not in streams:
        raise ValueError(
            f"{quoted(text)}: no stream {quoted(stream)} in this stat; it has {', '.join(streams)}"
        )
    if result not in (*streams[stream], *ALWAYS):
        raise ValueError(
            f"{quoted(text)}: stream {stream} has no {quoted(result)}; it has n, {', '.join(streams[stream])}"
        )
    return stream, result
