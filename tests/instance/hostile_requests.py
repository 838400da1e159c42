"""Knows what every service and event of the shipped modules may be sent that nobody means well, by their shapes.

A request's shape is learned by asking: what a handler unpacks its payload into is noted. Not what is right to answer.
"""

from __future__ import annotations

import random
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from msgspec import inspect as shapes

from brokersim.host.methods import METHODS
from brokersim.instance import Instance
from brokersim.protocol.message import Message
from brokersim.services.composition import DEFAULT_MODULES
from brokersim.services.table import BUILTINS, TABLE

MODULES = (*DEFAULT_MODULES, "metrics", "probe")
#: They are there to end what answers them, or somebody else.
_ENDING = ("shutdown", "disconnect", "module.remove", "module.load", "overlay.disconnect-parent", "goodbye")

ODD: tuple[Any, ...] = (
    None, True, False, 0, -1, 1, 2**31, 2**32, -(2**31), 2**63 - 1, 2**64 - 1, 1e308, -1e308, 1e-308, 0.5, "", "a", ".",
    "..", "/", "a..b", ".a.", "a" * 5000, "\0", "\n", "\x1b[2J", "é" * 300, "primary", "0-4294967295", "0-9999999", "-",
    "sha1-" + "0" * 40, "sha1-zz", "*", "[0-", "9" * 400, "1e999", "inf", "nan", "-1s", "infd", [], [[]], [None],
    [0] * 300, ["a"] * 50, {}, {"": None}, {"a": {"b": {"c": []}}}, {str(n): n for n in range(200)},
    [{}], [1, "a", None, {}, []],
)  # fmt: skip


def deep(depth: int, *, has_names: bool = False) -> bytes:
    """JSON nested so deep."""
    return b'{"a":' * depth + b"0" + b"}" * depth if has_names else b"[" * depth + b"]" * depth


def topics(instance: Instance, rank: int) -> list[str]:
    """All that can be asked of a rank, but what ends it."""
    found = dict.fromkeys(TABLE)
    for table in BUILTINS.values():
        found |= dict.fromkeys(table)
    for module in instance.modules(rank):
        found |= dict.fromkeys(module.handle.table.request_topics(module.name))
        found |= dict.fromkeys(f"{module.name}.{method}" for method in METHODS)
    return [topic for topic in found if not topic.endswith(_ENDING)]


def events(instance: Instance, rank: int) -> list[str]:
    """All events that modules of a rank act on."""
    modules = instance.modules(rank)
    return list(
        dict.fromkeys(e.full_topic(module.name) for module in modules for e in module.handle.table.events)
    )


@contextmanager
def learned() -> Iterator[dict[str, Any]]:
    """Shapes by topic, as handlers unpack them inside."""
    found: dict[str, Any] = {}
    unpack = Message.unpack

    def noting(self: Message, schema: Any) -> Any:
        found[self.topic] = schema
        return unpack(self, schema)

    Message.unpack = noting  # type: ignore[method-assign]
    try:
        yield found
    finally:
        Message.unpack = unpack  # type: ignore[method-assign]


def names_of(schema: Any) -> list[str]:
    """The keys of a shape."""
    fields = [] if schema is None else getattr(shapes.type_info(schema), "fields", ())
    return [field.encode_name for field in fields]


def drawn(rng: random.Random, schema: Any) -> dict[str, Any]:
    """A payload of a shape, its values odd, some of another type."""
    fields = getattr(shapes.type_info(schema), "fields", None)
    if fields is None:
        return {rng.choice("ab"): rng.choice(ODD) for _ in range(rng.randrange(3))}
    return {
        field.encode_name: _fitting(rng, field.type) if rng.random() < 0.9 else rng.choice(ODD)
        for field in fields
        if field.required or rng.random() < 0.6
    }


def _fitting(rng: random.Random, kind: Any) -> Any:
    """A value that a type takes, plain or as odd as it may be."""
    make = _FITTING.get(type(kind))
    return rng.choice(ODD) if make is None else make(rng, kind)


def _of(*types: type) -> Any:
    choices = [one for one in ODD if type(one) in types]
    small = [0, 1, 2, 3, 4, 8, 16, 64, 256] if int in types else []
    return lambda rng, _: rng.choice(choices + small)


def _list(rng: random.Random, kind: Any) -> Any:
    return [_fitting(rng, kind.item_type) for _ in range(rng.randrange(4))]


def _struct(rng: random.Random, kind: Any) -> Any:
    fields = [field for field in kind.fields if field.required or rng.random() < 0.5]
    return {field.encode_name: _fitting(rng, field.type) for field in fields}


def _dict(rng: random.Random, kind: Any) -> Any:
    return {_fitting(rng, kind.key_type): _fitting(rng, kind.value_type) for _ in range(rng.randrange(3))}


_FITTING: dict[type, Any] = {
    shapes.UnionType: lambda rng, kind: _fitting(rng, rng.choice(kind.types)),
    shapes.IntType: _of(int),
    shapes.FloatType: _of(int, float),
    shapes.BoolType: _of(bool),
    shapes.StrType: _of(str),
    shapes.NoneType: lambda rng, kind: None,
    shapes.ListType: _list,
    shapes.VarTupleType: _list,
    shapes.TupleType: lambda rng, kind: [_fitting(rng, one) for one in kind.item_types],
    shapes.DictType: _dict,
    shapes.StructType: _struct,
    shapes.TypedDictType: _struct,
    shapes.LiteralType: lambda rng, kind: rng.choice(kind.values),
}
