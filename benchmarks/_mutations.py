"""Knows small behavioural mutations of a module's source: one more request, a lost answer, a wrong rank, …

It doesn't run anything. Each mutation changes one place of one file, found in its syntax tree.
"""

from __future__ import annotations

import ast
import copy
from collections.abc import Callable, Iterator
from pathlib import Path

import attrs

#: Methods that send, and what is left out or done again.
_TWICE = {
    "request": "one request more", "stream": "one stream more", "call": "one request more",
    "respond": "answered twice", "respond_error": "refused twice", "publish": "event published twice",
}  # fmt: skip
_LOST = {
    "request": "request not sent", "stream": "stream not opened", "respond": "answer lost",
    "respond_error": "refusal lost", "publish": "event lost", "gauge_set": "gauge not sent",
    "timing": "timing not sent", "event_subscribe": "not subscribed", "event_unsubscribe": "still subscribed",
    "call_later": "timer not started", "start": "timer not started", "reset": "timer not reset",
}  # fmt: skip


@attrs.frozen
class Mutant:
    """One mutated file: what was done, in which line, and the new source."""

    file: str
    line: int
    what: str
    source: str


def mutants(folder: Path) -> list[Mutant]:
    """All of a module's, in the order of its files and lines."""
    found: list[Mutant] = []
    for file in sorted(folder.glob("*.py")):
        tree = ast.parse(file.read_text(encoding="utf-8"))
        for at, node in enumerate(ast.walk(tree)):
            for what, change in _changes(node):
                mutated = copy.deepcopy(tree)
                change(mutated, list(ast.walk(mutated))[at])
                source = ast.unparse(ast.fix_missing_locations(mutated))
                found.append(Mutant(file.name, getattr(node, "lineno", 0), what, source))
    return sorted(found, key=lambda mutant: (mutant.file, mutant.line, mutant.what))


Change = Callable[[ast.AST, ast.AST], None]


def _changes(node: ast.AST) -> Iterator[tuple[str, Change]]:
    if isinstance(node, ast.Expr):
        name = _method(node.value)
        if name in _TWICE:
            yield f"{_TWICE[name]}", _twice
        if name in _LOST:
            yield f"{_LOST[name]}", _lost
    elif isinstance(node, (ast.Assign, ast.AnnAssign, ast.Return)) and _method(node.value) == "call":
        yield "one request more", _ask_twice
    elif isinstance(node, ast.Name) and node.id == "NODEID_UPSTREAM" and isinstance(node.ctx, ast.Load):
        yield "wrong rank", _to_root
    elif isinstance(node, ast.keyword) and node.arg == "nodeid" and isinstance(node.value, ast.Constant):
        yield "wrong rank", _elsewhere
    elif isinstance(node, ast.keyword) and node.arg == "repeat":
        yield "timer runs once", _once
    elif isinstance(node, ast.Call) and _method(node) in _TWICE:
        if _topic(node) is not None:
            yield "wrong topic", _mistaken
        if _method(node) == "request" and len(node.args) > 2:
            yield "answer not wanted", _deaf
    elif isinstance(node, (ast.If, ast.IfExp)) and _is_hit(node.test):
        yield "cache hit skipped", _miss
    elif isinstance(node, ast.If) and _sends(node):
        yield "condition negated", _negated
    elif isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef)) and _is_handler(node):
        yield "handler does nothing", _nothing


def _method(value: ast.expr | None) -> str:
    """``request`` of ``self.handle.request(...)`` or ``await self.handle.request(...)``."""
    if isinstance(value, ast.Await):
        value = value.value
    if isinstance(value, ast.Call) and isinstance(value.func, ast.Attribute):
        return value.func.attr
    return ""


def _topic(node: ast.AST) -> ast.Constant | None:
    """The topic of a call that sends, if it is written out there."""
    first = node.args[0] if isinstance(node, ast.Call) and node.args else None
    return first if isinstance(first, ast.Constant) and isinstance(first.value, str) else None


def _sends(node: ast.If) -> bool:
    """The condition decides about a message or a timer."""
    return any(
        isinstance(inner, ast.Call) and _method(inner) in (*_TWICE, *_LOST)
        for statement in (*node.body, *node.orelse)
        for inner in ast.walk(statement)
    )


def _is_hit(test: ast.expr) -> bool:
    text = ast.unparse(test)
    return text in ("entry.is_valid", "self.words is not None", "data is not None", "found is not None")


def _is_handler(node: ast.FunctionDef | ast.AsyncFunctionDef) -> bool:
    return any(
        isinstance(mark, ast.Call) and isinstance(mark.func, ast.Name) and mark.func.id.endswith("_handler")
        for mark in node.decorator_list
    )


# -- what is done to the tree


def _body_of(tree: ast.AST, node: ast.AST) -> tuple[list[ast.stmt], int]:
    """The list of statements that holds a node, and its place in it."""
    for parent in ast.walk(tree):
        for field in ("body", "orelse", "finalbody"):
            body = getattr(parent, field, None)
            if isinstance(body, list):
                for at, statement in enumerate(body):
                    if statement is node:
                        return body, at
    raise AssertionError("a node that is in no body")


def _twice(tree: ast.AST, node: ast.AST) -> None:
    body, at = _body_of(tree, node)
    body.insert(at, copy.deepcopy(body[at]))


def _lost(tree: ast.AST, node: ast.AST) -> None:
    body, at = _body_of(tree, node)
    body[at] = ast.Pass()


def _ask_twice(tree: ast.AST, node: ast.AST) -> None:
    body, at = _body_of(tree, node)
    assert isinstance(node, (ast.Assign, ast.AnnAssign, ast.Return)) and node.value is not None
    body.insert(at, ast.Expr(copy.deepcopy(node.value)))


def _to_root(tree: ast.AST, node: ast.AST) -> None:
    assert isinstance(node, ast.Name)
    node.id = "int"
    for parent in ast.walk(tree):
        for field, value in ast.iter_fields(parent):
            if value is node:
                setattr(parent, field, ast.Constant(0))
            elif isinstance(value, list) and node in value:
                value[value.index(node)] = ast.Constant(0)


def _elsewhere(tree: ast.AST, node: ast.AST) -> None:
    assert isinstance(node, ast.keyword)
    node.value = ast.Constant(1)


def _once(tree: ast.AST, node: ast.AST) -> None:
    assert isinstance(node, ast.keyword)
    node.value = ast.Constant(0)


def _miss(tree: ast.AST, node: ast.AST) -> None:
    assert isinstance(node, (ast.If, ast.IfExp))
    node.test = ast.Constant(False)


def _deaf(tree: ast.AST, node: ast.AST) -> None:
    assert isinstance(node, ast.Call)
    node.args[2] = ast.Constant(None)


def _negated(tree: ast.AST, node: ast.AST) -> None:
    assert isinstance(node, (ast.If, ast.IfExp))
    node.test = ast.UnaryOp(ast.Not(), node.test)


def _mistaken(tree: ast.AST, node: ast.AST) -> None:
    topic = _topic(node)
    assert topic is not None
    topic.value = f"{topic.value}x"


def _nothing(tree: ast.AST, node: ast.AST) -> None:
    assert isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef))
    node.body = [ast.Pass()]
