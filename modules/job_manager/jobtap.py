"""Knows which plugins are loaded, calls them at their topics and drops those that raise; not what they do."""

from __future__ import annotations

import importlib.util
import itertools
import traceback
from collections.abc import Callable
from fnmatch import fnmatchcase
from pathlib import Path
from types import ModuleType
from typing import Any, Final

import attrs

from brokersim.brokermod import (
    Handle,
    JobTable,
    RequestError,
    errnums,
    jobid,
)

from .hooks import PRIORITY_GET, JobHooks, Listener, matches
from .job import Job
from .plugin import Call, Handler, Log, Plugin

SHIPPED: Final = Path(__file__).resolve().parent / "plugins"
#: What a plugin file defines.
INIT: Final = "plugin_init"
_serial = itertools.count(1)


@attrs.define(eq=False)
class _Loaded:
    plugin: Plugin
    listeners: list[Listener] = attrs.field(factory=list)
    calls: int = 0


class Jobtap:
    """The plugins of one job manager, in the order they were loaded, which is the order they are called in."""

    __slots__ = ("_handle", "_hooks", "_jobs", "_loaded", "_log")

    def __init__(self, handle: Handle, log: Log, hooks: JobHooks, jobs: JobTable[Job]) -> None:
        self._handle = handle
        self._log = log
        self._hooks = hooks
        self._jobs = jobs
        self._loaded: dict[str, _Loaded] = {}

    def load(self, path: str, conf: dict[str, Any]) -> str:
        """Load a plugin by path or shipped name; its name. It gets ``job.new`` for each active job, as in flux-core.

        Raises RequestError: ENOENT no such file, EEXIST loaded already, ENOTSUP it is in C, EINVAL it is no plugin
        or refuses its settings.
        """
        file = find(path)
        if ".so" in file.suffixes:
            text = f"{file} is a plugin in C, of which none can be loaded here; write it as a Python file"
            raise RequestError(errnums.ENOTSUP, text)
        name = file.stem.replace("_", "-")
        if name in self._loaded:
            raise RequestError(errnums.EEXIST, f"plugin {name!r} is already loaded; remove it first")
        plugin = Plugin(name, str(file), conf, self._handle, self._log)
        _init(plugin, file)
        self._add(plugin)
        for job in list(self._jobs.active.values()):
            for topic, handler in plugin.handlers:
                if matches(topic, "job.new"):
                    self._call(plugin, handler, "job.new", job)
        return name

    def remove(self, glob: str) -> list[str]:
        """Remove all plugins whose name matches; their names."""
        names = [name for name in self._loaded if fnmatchcase(name, "*" if glob == "all" else glob)]
        for name in names:
            self._drop(self._loaded.pop(name))
        return names

    def names(self) -> str:
        """Those loaded, for people."""
        return ", ".join(self._loaded)

    def to_list(self) -> list[dict[str, Any]]:
        """A row a plugin: name, path, calls so far."""
        return [
            {"name": name, "path": one.plugin.path, "calls": one.calls} for name, one in self._loaded.items()
        ]

    def query(self, name: str) -> dict[str, Any]:
        """Name, path and whatever the plugin adds. Raises RequestError(ENOENT)."""
        loaded = self._loaded.get(name)
        if loaded is None:
            raise RequestError(errnums.ENOENT, f"no plugin {name!r}; loaded: {self.names() or 'none'}")
        try:
            return {"name": name, "path": loaded.plugin.path, **loaded.plugin.on_query()}
        except Exception as error:
            self._failed(loaded.plugin, "a query", error)
            raise RequestError(errnums.EINVAL, f"plugin {name!r} raises at a query: {_told(error)}") from None

    # -- calls

    def _add(self, plugin: Plugin) -> None:
        loaded = self._loaded[plugin.name] = _Loaded(plugin)
        for topic, handler in plugin.handlers:
            listener = self._listener(plugin, handler)
            loaded.listeners.append(listener)
            self._hooks.add(topic, listener)

    def _listener(self, plugin: Plugin, handler: Handler) -> Callable[[str, Job], Any]:
        return lambda topic, job: self._call(plugin, handler, topic, job)

    def _call(self, plugin: Plugin, handler: Handler, topic: str, job: Job) -> Any:
        loaded = self._loaded.get(plugin.name)
        if loaded is None or loaded.plugin is not plugin:
            return None  # an earlier handler of this very topic raised
        loaded.calls += 1
        left = self._hooks.previous if topic.startswith("job.state.") else None
        call = Call(topic=topic, job=job, state=job.state.name, previous=None if left is None else left.name)
        try:
            answer = handler(call)
            if topic == PRIORITY_GET and answer is not None and type(answer) is not int:
                raise TypeError(f"{PRIORITY_GET} answers {answer!r:.40}; it must be an int or None")
        except Exception as error:
            self._failed(plugin, f"{topic}, job {jobid.encode(job.id)}", error)
            return None
        return answer

    def _failed(self, plugin: Plugin, where: str, error: Exception) -> None:
        self._log.error(f"plugin {plugin.name!r} is removed: it raised at {where}: {_told(error)}")
        loaded = self._loaded.pop(plugin.name, None)
        if loaded is not None:
            self._drop(loaded)

    def _drop(self, loaded: _Loaded) -> None:
        for listener in loaded.listeners:
            self._hooks.remove(listener)
        _end(loaded.plugin)


def find(path: str) -> Path:
    """The file of a plugin given by path, or by name if it is a shipped one. Raises RequestError(ENOENT)."""
    is_path = "/" in path or path.endswith(".py")
    file = Path(path) if is_path else SHIPPED / f"{path.replace('-', '_')}.py"
    try:
        found = file.expanduser().resolve()
        if found.is_file():
            return found
    except (OSError, ValueError, RuntimeError):
        pass
    shipped = ", ".join(sorted(one.stem.replace("_", "-") for one in SHIPPED.glob("[a-z]*.py")))
    raise RequestError(
        errnums.ENOENT, f"no plugin {path!r:.80}; shipped are {shipped}; give a path for a file of yours"
    )


def _init(plugin: Plugin, file: Path) -> None:
    try:
        init = getattr(_import(file), INIT, None)
    except (Exception, SystemExit) as error:
        raise RequestError(errnums.EINVAL, f"{file} raises at import: {_told(error)}") from None
    if not callable(init):
        raise RequestError(errnums.EINVAL, f"{file} is no plugin; define a function {INIT}(plugin) in it")
    try:
        init(plugin)
    except Exception as error:
        _end(plugin)
        raise RequestError(errnums.EINVAL, f"plugin {plugin.name!r} does not load: {_told(error)}") from None


def _import(file: Path) -> ModuleType:
    """The file as fresh code under a name of its own."""
    spec = importlib.util.spec_from_file_location(f"_brokersim_plugin_{next(_serial)}_{file.stem}", file)
    if spec is None or spec.loader is None:
        raise ImportError("it is no Python file")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def _end(plugin: Plugin) -> None:
    try:
        plugin.on_remove()
    except Exception as error:
        plugin.log.error(f"plugin {plugin.name!r} raised at its end: {_told(error)}")


def _told(error: BaseException) -> str:
    """An exception in one line: what, and where in whose file."""
    frames = traceback.extract_tb(error.__traceback__)
    place = f" ({Path(frames[-1].filename).name}:{frames[-1].lineno})" if frames else ""
    return f"{type(error).__name__}: {' '.join(str(error).split())}{place}"
