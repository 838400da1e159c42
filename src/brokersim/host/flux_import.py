"""Knows how `import flux` finds our names while a module file is being loaded, and only then; not what they are.

The names are those of package ``brokersim.fluxapi``, which stands floors higher: it is imported by name, at run
time. No package called flux exists, and a real one is untouched: it is hidden during the load and back after it.
"""

from __future__ import annotations

import importlib
import importlib.util
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from importlib.abc import Loader
from importlib.machinery import ModuleSpec
from types import ModuleType
from typing import Any, Final, Protocol

from brokersim.host.handle import Handle, Living
from brokersim.host.ports import Home

_API: Final = "brokersim.fluxapi"


class Program(Protocol):
    """How a file written for Flux is run: what it is handed, and what calls its entry point."""

    def make_handle(self, broker: Home, name: str, uuid: str | int, module: Living) -> Handle:
        """The endpoint of one module loaded from the file."""

    def start(self, handle: Handle, args: tuple[str, ...]) -> None:
        """Begin ``mod_main(h, *args)``."""


class Imported:
    """What of Flux a file imported while it was loaded."""

    def __init__(self) -> None:
        self.names: list[str] = []

    def program(self, module: ModuleType) -> Program:
        """Raises ValueError if the file has no entry point (flux-core's rule)."""
        api: Any = importlib.import_module(f"{_API}.program")
        program: Program = api.program_of(module)
        return program


class _Finder:
    """Answers `flux`, `flux.x` with copies of our modules' names, `_flux._core` with the functions that are here.

    What else there is of `_flux`, the C library, is answered with an explanation.
    """

    def __init__(self, imported: Imported) -> None:
        self._imported = imported

    def find_spec(
        self, name: str, path: Sequence[str] | None = None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        top, _, rest = name.partition(".")
        if top == "_flux" and rest in ("", "_core"):
            self._imported.names.append(name)
            return ModuleSpec(name, _Copier(f"{_API}.clib" if rest else _API), is_package=True)
        if top == "_flux":
            raise ImportError(
                f"{name} is the binding of Flux's C library, which is not here; use flux.brokermod, flux.constants, "
                "flux.kvs or the handle's methods instead",
                name=name,
            )
        if top != "flux":
            return None
        self._imported.names.append(name)
        ours = f"{_API}.{rest}" if rest else _API
        if not _is_there(ours):
            raise ModuleNotFoundError(
                f"{name} is not supported by brokersim; see docs/flux-compat.md", name=name
            )
        return ModuleSpec(name, _Copier(ours), is_package=True)


def _is_there(name: str) -> bool:
    try:
        return importlib.util.find_spec(name) is not None
    except ModuleNotFoundError:  # below a module that is no package
        return False


class _Copy(ModuleType):
    """A package whose class ``Rv1Pool`` stays that when its module ``Rv1Pool`` is imported."""

    def __setattr__(self, name: str, value: object) -> None:
        if not isinstance(value, ModuleType) or isinstance(vars(self).get(name, value), ModuleType):
            super().__setattr__(name, value)


class _Copier(Loader):
    """Loads a module by copying the names of another one, which keeps its own identity."""

    def __init__(self, ours: str) -> None:
        self._ours = ours

    def create_module(self, spec: ModuleSpec) -> ModuleType | None:
        return _Copy(spec.name)

    def exec_module(self, module: ModuleType) -> None:
        names = vars(importlib.import_module(self._ours))
        vars(module).update(
            {key: value for key, value in names.items() if not key.startswith("__") or key == "__all__"}
        )


def is_flux(name: str) -> bool:
    """A name of Flux's Python package."""
    # Asked of all that is imported, for each module that is loaded: nearly none begins so.
    return name.startswith(("flux", "_flux")) and name.partition(".")[0] in ("flux", "_flux")


@contextmanager
def flux_importable() -> Iterator[Imported]:
    """Inside, `import flux` and its submodules are ours; afterwards everything is as it was."""
    imported = Imported()
    finder: Any = _Finder(imported)
    hidden = {name: sys.modules.pop(name) for name in list(sys.modules) if is_flux(name)}
    sys.meta_path.insert(0, finder)
    try:
        yield imported
    finally:
        sys.meta_path.remove(finder)
        for name in [name for name in sys.modules if is_flux(name)]:
            del sys.modules[name]
        sys.modules.update(hidden)
