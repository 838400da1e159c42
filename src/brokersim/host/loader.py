"""Knows how a module file becomes a class: where it is searched, how it is imported, what must be in it."""

from __future__ import annotations

import contextlib
import glob
import importlib.util
import itertools
import os
import re
import sys
import time
import traceback
from collections.abc import Sequence
from functools import cache
from importlib.machinery import (
    EXTENSION_SUFFIXES,
    SOURCE_SUFFIXES,
    ExtensionFileLoader,
    FileFinder,
    ModuleSpec,
    SourceFileLoader,
)
from pathlib import Path
from types import FrameType
from typing import Any, Never

import attrs

from brokersim.host import own_packets
from brokersim.host.flux_import import Program, flux_importable, is_flux
from brokersim.host.handler_table import EMPTY_TABLE, HandlerTable
from brokersim.protocol.errnums import EINVAL, ENOENT, ENOTSUP, RequestError
from brokersim.protocol.quoting import quoted
from brokersim.reactor.interrupts import is_failure

_serial = itertools.count(1)
#: Flux's names of modules that have another one here, in lists and counters.
FLUX_NAMES = {"content": "content-cache", "sched-simple": "sched"}
#: A C module: ``name.so``, or with a version behind it.
_SHARED = re.compile(r"\.so(\.\d+)*$", re.ASCII)


class NeedsFlux(RequestError):
    """A file that only Flux's own loader can run."""


def is_shared_object(path: Path) -> bool:
    """A module in C."""
    return _SHARED.search(path.name) is not None


@attrs.frozen(kw_only=True)
class ModuleCode:
    """An imported module file: its path, the BrokerModule subclass in it, and that class's handlers."""

    path: Path
    cls: type
    table: HandlerTable
    #: Its callbacks may wait for answers (``rpc(...).get()``), so they run on stacks of their own.
    may_block: bool = False
    #: A file written for Flux, or with a ``mod_main``: how it is run.
    program: Program | None = None


@cache
def shipped_folder() -> Path:
    """Where brokersim's own modules lie: inside the package when installed, beside ``src`` in a checkout."""
    package = Path(__file__).resolve().parent.parent
    inside = package / "modules"
    return inside if inside.is_dir() else package.parent.parent / "modules"


#: Imported files of this process by (path, newest change in ns): every rank of every instance shares one import.
_imported: dict[tuple[Path, int], ModuleCode] = {}
#: Shipped modules: where they are, by stem; when they were last looked at (s) and what their newest change was (ns).
_found: dict[str, Path] = {}
_looked: dict[Path, tuple[float, int]] = {}
#: Seconds for which that stands: who edits a shipped module reloads it no faster, and tests load all of them each time.
_STANDS = 1.0


class Loader:
    """Finds and imports module files. One import serves every rank, until the file changes."""

    def __init__(self, folders: Sequence[Path] = (), last: Sequence[Path] = ()) -> None:
        self._folders = (*folders, shipped_folder(), *last)

    def find(self, name: str) -> Path:
        """The file of a module given by path or by name (``content-cache``).

        Raises RequestError(ENOENT) that says where was looked.
        """
        if "/" in name or name.endswith(".py"):
            path = _file_at(name)
            if path is not None:
                return path
            raise RequestError(ENOENT, f"module file {quoted(name)}: no such file")
        names = (name, FLUX_NAMES.get(name, name))
        for folder in self._folders:
            for stem in dict.fromkeys(one.replace("-", "_") for one in names):
                found = _shipped(stem) if folder == shipped_folder() else _in_folder(folder, stem, name)
                if found is not None:
                    return found
        looked = ", ".join(str(folder) for folder in self._folders)
        near = _similar(name, self._folders)
        raise RequestError(
            ENOENT,
            f"no module {quoted(name)} (module not found in search path); looked in {looked}; "
            + (f"a similar one is there: {near}" if near else "give a path with a / for your file"),
        )

    def load(self, path: Path) -> ModuleCode:
        """Import a module file. Raises RequestError that names the file and what would be right, or NeedsFlux."""
        if is_shared_object(path):
            raise NeedsFlux(
                ENOTSUP, f"{path} is a module in C: it needs the loader of a flux on the broker's PATH"
            )
        try:
            key = (path, _version(path))
        except OSError as error:
            raise RequestError(error.errno or ENOENT, f"module file {path}: {error.strerror}") from None
        code = _imported.get(key)
        # Payload types are resolved when first used, in their module: code whose module was taken out of
        # sys.modules (pytester does, after a run inside a run) is of no use any more.
        if code is None or code.cls.__module__ not in sys.modules:
            code = _imported[key] = _import(path)
        return code


def shipped_package(name: str) -> Any:
    """A shipped module as a package to call, for what its rules are needed for where it is not loaded."""
    loader = Loader()
    return sys.modules[loader.load(loader.find(name)).cls.__module__]


def _in_folder(folder: Path, stem: str, name: str = "") -> Path | None:
    for candidate in (f"{folder / stem}/__init__.py", f"{folder / stem}.py", f"{folder / name}.py"):
        found = _file_at(candidate) if candidate != f"{folder}.py" else None
        if found is not None:
            return found
    shared = [one for one in folder.glob(f"{glob.escape(name)}.so*") if is_shared_object(one)] if name else []
    return _file_at(str(min(shared))) if shared else None


def _shipped(stem: str) -> Path | None:
    """A shipped module's file; they do not move, and looking anew cost a fresh instance a twentieth."""
    found = _found.get(stem)
    if found is None:
        found = _in_folder(shipped_folder(), stem)
        if found is not None:
            _found[stem] = found
    return found


def _similar(name: str, folders: Sequence[Path]) -> str:
    """The name of a module in these folders that is most like this one; ``""`` if none is."""
    import difflib  # most names are found

    found = list(FLUX_NAMES)
    for folder in folders:
        with contextlib.suppress(OSError):
            files = [_file_at(str(entry)) for entry in folder.iterdir() if not entry.name.startswith("_")]
            found += [
                default_name(one) for one in files if one and (one.suffix == ".py" or is_shared_object(one))
            ]
    near = difflib.get_close_matches(name, found, n=1)
    return near[0] if near else ""


def _version(path: Path) -> int:
    """The newest change of a module's files (ns); a shipped one's is taken to stand for a second."""
    if path.parent.parent != shipped_folder():
        return _newest(path)
    now = time.monotonic()
    looked, newest = _looked.get(path, (-_STANDS, 0))
    if now - looked >= _STANDS:
        newest = _newest(path)
        _looked[path] = (now, newest)
    return newest


def _file_at(name: str) -> Path | None:
    """The module file a path means, if there is one; what no path can be (too long, NUL, no UTF-8) means none."""
    try:
        # os.path: a tenth of a fresh instance's cost went into Path objects made here and in `_newest`.
        path = os.path.expanduser(name)
        path = os.path.join(path, "__init__.py") if os.path.isdir(path) else path
        return Path(os.path.realpath(path)) if os.path.isfile(path) else None
    except (OSError, ValueError, RuntimeError):
        return None


def default_name(path: Path) -> str:
    """The name a file's module gets: the base name up to its first dot; underscores of ours become dashes."""
    stem = path.parent.name if path.name == "__init__.py" else path.name.partition(".")[0]
    return stem.replace("_", "-") if path.parent == shipped_folder() or path.name == "__init__.py" else stem


def _newest(path: Path) -> int:
    if path.name != "__init__.py":
        return os.stat(path).st_mtime_ns
    with os.scandir(path.parent) as entries:
        return max(entry.stat().st_mtime_ns for entry in entries if entry.name.endswith(".py"))


class _Uncached(SourceFileLoader):
    """Python takes compiled code for that of a source of the same size and second: an edit by a script is both."""

    def path_stats(self, path: object) -> Never:
        raise OSError  # without the source's time nothing compiled is looked for or kept


def _spec(name: str, path: Path) -> ModuleSpec | None:
    folders = [str(path.parent)] if path.name == "__init__.py" else None
    spec = importlib.util.spec_from_file_location(name, path, submodule_search_locations=folders)
    if (
        spec is not None
        and isinstance(spec.loader, SourceFileLoader)
        and shipped_folder() not in path.parents
    ):
        spec.loader = _Uncached(name, str(path))
        for folder in folders or ():
            kinds = (ExtensionFileLoader, EXTENSION_SUFFIXES), (_Uncached, SOURCE_SUFFIXES)
            sys.path_importer_cache[folder] = FileFinder(folder, *kinds)
    return spec


def _import(path: Path) -> ModuleCode:
    # A name of its own for each import: a reload is fresh code, and two files of one name do not meet.
    name = (
        f"_brokersim_module_{next(_serial)}_{path.parent.name if path.name == '__init__.py' else path.stem}"
    )
    spec = _spec(name, path)
    if spec is None or spec.loader is None:
        raise RequestError(EINVAL, f"{path} is no Python file")
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module
    try:
        with flux_importable() as imported:
            spec.loader.exec_module(module)
        if shipped_folder() not in path.parents:
            own_packets.watch(
                file for key, file in sys.modules.items() if key == name or key.startswith(f"{name}.")
            )
        if imported.names or hasattr(module, "mod_main"):
            return ModuleCode(
                path=path,
                cls=type(module),
                table=EMPTY_TABLE,
                may_block=True,
                program=imported.program(module),
            )
        cls = _find_class(vars(module), path, name)
    except BaseException as error:
        for loaded in [key for key in sys.modules if key == name or key.startswith(f"{name}.")]:
            del sys.modules[loaded]
        if isinstance(error, RequestError) or not is_failure(error):
            raise
        if isinstance(error, ImportError) and is_flux(error.name or ""):
            raise NeedsFlux(EINVAL, f"{path} raises at import: {describe(error)}") from error
        raise RequestError(EINVAL, f"{path} raises at import: {describe(error)}") from error
    table = HandlerTable.of(cls)
    if table.is_empty and not _works_by_itself(cls):
        text = f"decorate a method of {cls.__name__} with @request_handler or @event_handler"
        raise RequestError(EINVAL, f"{path} defines no handlers; {text}, or start a timer in its __init__")
    return ModuleCode(path=path, cls=cls, table=table, may_block=_names_rpc(path))


def _works_by_itself(cls: type) -> bool:
    """Does a class without handlers bring code that runs all the same: in ``__init__``, ``ready`` or ``run``?"""
    own = [base for base in cls.__mro__ if base.__module__.startswith("_brokersim_module_")]
    return any(name in vars(base) for base in own for name in ("__init__", "ready", "run"))


def _names_rpc(path: Path) -> bool:
    """Does a module say ``rpc`` anywhere? Only what that returns can wait, so others needn't pay for stacks."""
    files = path.parent.glob("*.py") if path.name == "__init__.py" else (path,)
    return any(b".rpc(" in file.read_bytes() for file in files)


def _find_class(names: dict[str, object], path: Path, module: str) -> type:
    """The one BrokerModule subclass defined by a file (flux-core's entry point rule)."""
    classes = [
        value
        for value in names.values()
        if isinstance(value, type)
        and getattr(value, "_is_broker_module", False)
        and value.__module__.startswith(module)
    ]
    classes = [
        cls for cls in classes if not any(cls is not other and issubclass(other, cls) for other in classes)
    ]
    if len(classes) == 1:
        return classes[0]
    found = ", ".join(cls.__name__ for cls in classes) or "none"
    raise RequestError(EINVAL, f"{path} must define exactly one subclass of BrokerModule, not {found}")


def is_ours(filename: str) -> bool:
    """A file of the package: an error that surfaced there came from the module's line that called it."""
    package = Path(__file__).parent.parent
    path = Path(filename)
    return path.is_relative_to(package) and not path.is_relative_to(shipped_folder())


def place_of(frame: FrameType | None) -> str:
    """The line of the module that is being executed: the innermost that is not ours."""
    while frame is not None and is_ours(frame.f_code.co_filename):
        frame = frame.f_back
    return "between two lines" if frame is None else f"{Path(frame.f_code.co_filename).name}:{frame.f_lineno}"


def describe(error: BaseException) -> str:
    """An exception as one line with the place it came from."""
    frames = traceback.extract_tb(error.__traceback__)
    theirs = [frame for frame in frames if not is_ours(frame.filename)] or frames
    place = f" ({Path(theirs[-1].filename).name}:{theirs[-1].lineno})" if theirs else ""
    text = " ".join(_text_of(error).split())
    return f"{type(error).__name__}: {text}{place}" if text else f"{type(error).__name__}{place}"


def _text_of(error: BaseException) -> str:
    try:
        text = str(error)
    except Exception as failure:  # whoever raises may have written its class, too
        return f"its text cannot be had: {type(failure).__name__}"
    return text.encode("utf-8", "backslashreplace").decode()  # what is no text goes into no message
