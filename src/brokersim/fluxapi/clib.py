"""Knows what stands for ``_flux._core.lib`` here: the C functions whose handle is the module's, as functions again."""

from __future__ import annotations

import ast
from collections.abc import Callable
from functools import partial
from pathlib import Path
from types import ModuleType
from typing import Final

from brokersim.fluxapi.core.handle import Flux, has_function
from brokersim.fluxapi.message import Message
from brokersim.protocol import message as wire


class _Library:
    """``lib.flux_x(h, ...)`` is the handle's ``h.flux_x(...)``; a reactor is stood for by its handle."""

    def __getattr__(self, name: str) -> Callable[..., object]:
        if not is_function(name):
            raise AttributeError(
                f"{name}: brokersim has no such C function; see docs/flux-compat.md", name=name, obj=self
            )
        return _reactor_of if name == "flux_get_reactor" else partial(_call, name)


def is_function(name: str) -> bool:
    """A C function that is here."""
    return name.startswith("flux_") and has_function(name.removeprefix("flux_"))


def functions_named(module: ModuleType) -> set[str]:
    """The C functions that a file's code takes from the library, by its compiled names."""
    if lib not in vars(module).values() or module.__file__ is None:
        return set()
    text = Path(module.__file__).read_text(encoding="utf-8")
    return {
        node.attr
        for node in ast.walk(ast.parse(text))
        if isinstance(node, ast.Attribute)
        and isinstance(node.value, ast.Name)
        and vars(module).get(node.value.id) is lib
    }


def _reactor_of(handle: Flux) -> Flux:
    return handle


def _call(name: str, handle: Flux, *args: object) -> object:
    return getattr(handle, name)(*map(_to_python, args))


def _to_python(value: object) -> object:
    if isinstance(value, bytes):
        return value.decode()
    return Message(handle=value) if isinstance(value, wire.Message) else value


lib: Final = _Library()
