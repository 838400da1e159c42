"""Knows what the text of a module file says about Flux: imports, names it uses, handle methods. It runs nothing."""

from __future__ import annotations

import ast
import importlib
import importlib.util
from collections.abc import Iterator
from typing import Any, Final

import attrs

from brokersim.fluxapi.clib import is_function
from brokersim.fluxapi.core.handle import has_function
from brokersim.host.handle import Handle

#: Names that usually are the handle, in module files.
_HANDLES: Final = ("h", "handle", "flux_handle")
#: What a file of each tier may import beyond the one before it (tier 3: the rest of flux).
_TIERS: Final = (
    ("flux", "flux.brokermod", "flux.constants", "flux.message"),
    ("flux.kvs", "flux.job", "flux.job.JobID", "flux.future", "flux.rpc", "flux.core.watchers"),
)
_HANDLERS: Final = ("request_handler", "event_handler")
_TOP: Final = ("flux", "_flux")


@attrs.frozen
class Import:
    """One imported module, by its dotted name; ``within`` is the function that does it, "" at the top."""

    name: str
    line: int
    within: str
    #: Names taken out of it, by what they are called here.
    taken: dict[str, str]
    #: What the import binds in the file: a name to a dotted module name.
    binds: dict[str, str]


class Source:
    """A parsed module file. Raises SyntaxError."""

    def __init__(self, text: str, filename: str) -> None:
        self._tree = ast.parse(text, filename)
        self._imports = tuple(_imports(self._tree, ""))

    @property
    def api(self) -> str:
        """Whose API it is written for: ``flux`` or ``brokersim``."""
        return "brokersim" if self._of("brokersim") and not self._of(*_TOP) else "flux"

    def _of(self, *tops: str) -> list[Import]:
        return [one for one in self._imports if one.name.partition(".")[0] in tops]

    @property
    def flux_imports(self) -> tuple[str, ...]:
        return tuple(dict.fromkeys(one.name for one in self._of(*_TOP)))

    @property
    def tier(self) -> int:
        """1: brokermod, handle, constants; 2: KVS helpers and job ids; 3: the rest."""
        known: tuple[str, ...] = ()
        for tier, names in enumerate(_TIERS, 1):
            known += names
            if all(name in known for name in self.flux_imports):
                return tier
        return len(_TIERS) + 1

    @property
    def methods(self) -> tuple[str, ...]:
        """Attributes of what is called like a handle: ``h.x``, ``self.handle.x``."""
        return tuple(sorted(dict.fromkeys(_handle_attributes(self._tree))))

    def not_here(self) -> list[str]:
        """What brokersim does not have, or not where the file wants it."""
        found = [f"import {one.name}" for one in self._of(*_TOP) if not is_importable(one.name)]
        found += [text for one in self._of(*_TOP) for text in _lacking(one)]
        found += [f"C function {name}" for name in self._functions() if not is_function(name)]
        found += [f"{name}: brokersim has no such name" for name in self._used() if not _exists(name)]
        found += [
            f"line {one.line}: import {one.name} in {one.within}(): only found while the file is loaded; "
            "move it to the top, or load with --exec"
            for one in self._of(*_TOP)
            if one.within and is_importable(one.name)
        ]
        has = _is_ours if self.api == "brokersim" else is_handle_name
        found += [f"the handle's {name}" for name in self.methods if not has(name)]
        found += [f"line {line}: flux.Flux(): a module has the handle it is given" for line in self._opens()]
        return list(dict.fromkeys([*found, *self._coroutines()]))

    def not_in_flux(self) -> list[str]:
        """What Flux does not have."""
        found = [f"import {one.name}" for one in self._of("brokersim")]
        if self.api == "brokersim":
            found += [f"the handle's {name}" for name in self.methods if not is_handle_name(name)]
            found += [f"{name}(): Flux does not call it" for name in self._hooks()]
            found += [
                f"line {node.lineno}: {node.name} is a coroutine"
                for node in self._handlers(ast.AsyncFunctionDef)
            ]
        else:
            found += self._coroutines()
        return list(dict.fromkeys(found))

    def notes(self) -> list[str]:
        """What works, at a price one should know."""
        found = []
        sleeps = [call.lineno for call in self._calls() if _dotted(call.func) == ("time", "sleep")]
        if sleeps:
            found.append(
                f"line {sleeps[0]}: time.sleep() holds up every module of the broker, unless loaded with --exec"
            )
        if any(one.taken.get("trio_task") for one in self._of("brokersim")):
            found.append("@trio_task: needs the broker's own loop, so --exec refuses it")
        return found

    def _coroutines(self) -> list[str]:
        if self.api == "brokersim":
            return []
        return [
            f"line {node.lineno}: handler {node.name} is a coroutine, which nobody awaits; "
            "Flux's handlers are plain functions"
            for node in self._handlers(ast.AsyncFunctionDef)
        ]

    def _handlers(self, kind: type[Any]) -> Iterator[Any]:
        for node in ast.walk(self._tree):
            if isinstance(node, kind):
                marks = [one.func if isinstance(one, ast.Call) else one for one in node.decorator_list]
                if any(ast.unparse(mark).rpartition(".")[2] in _HANDLERS for mark in marks):
                    yield node

    def _hooks(self) -> list[str]:
        kinds = (ast.FunctionDef, ast.AsyncFunctionDef)
        names = {node.name for node in ast.walk(self._tree) if isinstance(node, kinds)}
        return [name for name in ("ready", "teardown", "stats") if name in names]

    def _opens(self) -> list[int]:
        taken = {name for one in self._of("flux") for name, origin in one.taken.items() if origin == "Flux"}
        return [
            call.lineno
            for call in self._calls()
            if _dotted(call.func) == ("flux", "Flux")
            or (isinstance(call.func, ast.Name) and call.func.id in taken)
        ]

    def _calls(self) -> Iterator[ast.Call]:
        return (node for node in ast.walk(self._tree) if isinstance(node, ast.Call))

    def _functions(self) -> list[str]:
        """What is taken from ``lib`` of the C library's binding."""
        libraries = {
            name for one in self._of("_flux") for name, origin in one.taken.items() if origin == "lib"
        }
        dotted = (_dotted(node) for node in ast.walk(self._tree))
        return list(dict.fromkeys(names[1] for names in dotted if len(names) == 2 and names[0] in libraries))

    def _used(self) -> list[str]:
        """Dotted names below what was imported of flux, each as far as it goes."""
        binds = {name: origin for one in self._of("flux") for name, origin in one.binds.items()}
        found = []
        for node in ast.walk(self._tree):
            dotted = _dotted(node)
            if dotted and dotted[0] in binds:
                found.append(".".join((binds[dotted[0]], *dotted[1:])))
        return list(dict.fromkeys(found))


def is_handle_name(name: str) -> bool:
    """A method of Flux's handle that is here."""
    plain = name.removeprefix("flux_")
    return has_function(plain) or plain == "aux_txn"


def _is_ours(name: str) -> bool:
    return hasattr(Handle, name) or name in ("name", "uuid", "module", "mask", "counts", "reactor")


def is_importable(name: str) -> bool:
    """A module of Flux that is here."""
    top, _, rest = name.partition(".")
    if top == "_flux":
        return rest in ("", "_core")
    if top != "flux" or name == "flux.core.inner":
        return False
    try:
        return not rest or importlib.util.find_spec(f"brokersim.fluxapi.{rest}") is not None
    except ModuleNotFoundError:
        return False


def _module(name: str) -> Any:
    rest = "clib" if name == "_flux._core" else name.partition(".")[2]
    return importlib.import_module(f"brokersim.fluxapi.{rest}" if rest else "brokersim.fluxapi")


def _lacking(one: Import) -> Iterator[str]:
    """Names that a ``from flux.x import`` wants and our module has not."""
    if is_importable(one.name):
        for origin in one.taken.values():
            if (
                origin != "*"
                and not hasattr(_module(one.name), origin)
                and not is_importable(f"{one.name}.{origin}")
            ):
                yield f"line {one.line}: {one.name} has no {origin}"


def _exists(dotted: str) -> bool:
    """Is there such a name, as far as modules and classes of ours tell? What follows a value is not looked at."""
    parts = dotted.split(".")
    at = max((n for n in range(1, len(parts) + 1) if is_importable(".".join(parts[:n]))), default=0)
    if at == 0 or at == len(parts):
        return True  # an import that is told by itself, or a module
    return hasattr(_module(".".join(parts[:at])), parts[at])


def _imports(tree: ast.AST, within: str) -> Iterator[Import]:
    for node in ast.iter_child_nodes(tree):
        inside = node.name if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef)) else within
        if isinstance(node, ast.Import):
            for alias in node.names:
                top = alias.name.partition(".")[0]
                binds = {alias.asname: alias.name} if alias.asname else {top: top}
                yield Import(alias.name, node.lineno, within, {}, binds)
        elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
            taken = {alias.asname or alias.name: alias.name for alias in node.names}
            modules = {
                name: f"{node.module}.{origin}"
                for name, origin in taken.items()
                if is_importable(f"{node.module}.{origin}")
            }
            yield Import(node.module, node.lineno, within, taken, modules)
        else:
            yield from _imports(node, inside)


def _handle_attributes(tree: ast.Module) -> Iterator[str]:
    for node in ast.walk(tree):
        if isinstance(node, ast.Attribute):
            origin = node.value
            if isinstance(origin, ast.Name):
                name = origin.id
            else:
                name = origin.attr if isinstance(origin, ast.Attribute) else ""
            if name in _HANDLES:
                yield node.attr


def _dotted(node: ast.AST) -> tuple[str, ...]:
    parts: list[str] = []
    while isinstance(node, ast.Attribute):
        parts.append(node.attr)
        node = node.value
    return (node.id, *reversed(parts)) if isinstance(node, ast.Name) and parts else ()
