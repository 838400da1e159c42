"""Knows where a job's output goes (its log, or files by templates) and in which pieces; not when it comes.

Source: flux-core's shell: its options ``output.stdout`` and ``output.stderr``, mustache templates, RFC 24's events.
"""

from __future__ import annotations

import os
import re
import socket
from collections.abc import Callable, Mapping
from typing import IO, Any, Final

import attrs

from brokersim.brokermod import files, jobid, ranks

from .guest import data_context
from .taskmap import ALONE, TaskMap

STREAMS: Final = ("stdout", "stderr")
#: Bytes of a stream in a log, unless ``output.limit`` says otherwise, and at most. Flux's own default is its most, as
#: its store is on disk; ours is in memory, where output takes five times its length.
LIMIT: Final = 100 << 20
LIMIT_MAX: Final = 1 << 30
_SIZE: Final = re.compile(r"(\d{1,12}(?:\.\d{0,9})?)([kKMG]?)", re.ASCII)
_UNITS: Final = {"": 1, "k": 1 << 10, "m": 1 << 20, "g": 1 << 30}
#: Bytes of a line that are put together before they are passed on as they are: looking for its end in all that came
#: so far takes time with the square of it.
LINE_MAX: Final = 256 << 10
#: No brace inside: looking for an end from each of a million begins would hold who looks.
_TAG: Final = re.compile(r"\{\{([^{}]*)\}\}")
#: Tags that differ from task to task.
_TASK: Final = re.compile(r"\{\{(taskid|task\.[a-z]+)\}\}")


@attrs.frozen(kw_only=True)
class Target:
    """Where one stream goes: ``path`` is a template, None for the job's log. Lines are numbered if ``label``."""

    path: str | None = None
    label: bool = False
    is_buffered: bool = True


@attrs.frozen(kw_only=True)
class OutputPlan:
    """Both streams' targets; ``append``: files are not emptied first."""

    stdout: Target = Target()
    stderr: Target = Target(is_buffered=False)
    append: bool = False
    #: Bytes of a stream that the log takes; the rest is dropped. Files take all.
    limit: int = LIMIT


def to_output(options: Mapping[str, Any]) -> OutputPlan:
    """The plan of ``shell.options.output``. Standard error goes where standard output does unless it has its own.

    Raises ValueError that names the option.
    """
    out, err = options.get("stdout"), options.get("stderr")
    mode = options.get("mode", "truncate")
    if mode not in ("append", "truncate"):
        raise ValueError(f"shell option output.mode={mode!r:.40}; give truncate or append")
    stdout = _target("stdout", out, Target())
    stderr = _target("stderr", err, attrs.evolve(stdout, is_buffered=False))
    return OutputPlan(
        stdout=stdout,
        stderr=stderr,
        append=mode == "append",
        limit=to_size("output.limit", options.get("limit", LIMIT), LIMIT_MAX),
    )


def to_size(name: str, option: Any, most: int) -> int:
    """Bytes, or a text such as 50M. Raises ValueError that names the option."""
    found = _SIZE.fullmatch(str(option)) if isinstance(option, str | int) and option is not True else None
    size = float(found[1]) * _UNITS[found[2].lower()] if found else 0.0
    if not 1 <= size <= most:
        top = in_units(most)
        raise ValueError(f"shell option {name}={option!r:.40}; give bytes, up to {top}, such as 5M")
    return int(size)


def in_units(size: int) -> str:
    """As flux-core writes a size: 1K for 1024."""
    unit, factor = max((one for one in _UNITS.items() if one[1] <= size), key=lambda one: one[1])
    return f"{size / factor:.8g}{unit.upper()}"


def _target(stream: str, option: Any, default: Target) -> Target:
    if option is None:
        return default
    if not isinstance(option, Mapping):
        raise ValueError(f"shell option output.{stream} must be an object")
    kind, path = option.get("type", "file" if "path" in option else "kvs"), option.get("path")
    if kind not in ("kvs", "file") or (kind == "file" and (not isinstance(path, str) or not path)):
        raise ValueError(f"shell option output.{stream} must be type kvs, or type file and a path")
    buffering = option.get("buffer")
    kept = buffering.get("type", "line") if isinstance(buffering, Mapping) else None
    if kept is not None and not isinstance(kept, str):
        raise ValueError(f"shell option output.{stream}.buffer.type must be a text, such as line or none")
    return Target(
        path=path if kind == "file" else None,
        label=bool(option.get("label")),
        is_buffered=default.is_buffered if kept is None else kept.lower() == "line",
    )


@attrs.frozen(kw_only=True)
class Names:
    """What the tags of a template stand for."""

    job: int
    name: str
    ntasks: int
    nnodes: int
    tmpdir: str = ""
    #: The node of each task: its index is its place among those of its node.
    taskmap: TaskMap = ALONE
    #: Where the tasks are: files whose path is relative are there.
    cwd: str = ""

    def render(self, template: str, task: int | None = None) -> str:
        """The template with its tags replaced; one that is not known here stays as it stands."""
        if "{{" not in template:
            return template
        return _TAG.sub(lambda found: self._value(found[1], task) or found[0], template)

    def _value(self, tag: str, task: int | None) -> str | None:
        kind, _, form = tag.removeprefix("job").partition(".")
        if kind == "id" or tag == "jobid":
            return _ID_FORMS[form](self.job) if form in _ID_FORMS else None
        node = self.taskmap.nodes[task or 0]
        if task is not None and tag in ("taskid", "task.id", "task.rank"):
            return str(task)
        if task is not None and tag in ("task.index", "task.localid"):
            return str(self.taskmap.place_of(task))
        return {
            "name": self.name, "nnodes": str(self.nnodes), "ntasks": str(self.ntasks), "size": str(self.ntasks),
            "node.id": str(node), "node.rank": str(node), "node.name": socket.gethostname(), "tmpdir": self.tmpdir,
        }.get(tag)  # fmt: skip


_ID_FORMS: Final[dict[str, Callable[[int], str]]] = {
    "": jobid.encode,
    "f58": jobid.encode,
    "f58plain": lambda job: "f" + jobid.encode(job)[1:],
    "dec": str,
    "hex": hex,
    "dothex": jobid.dothex,
    "kvs": jobid.job_kvspath,
}


class Outputs:
    """The output of ``ntasks`` tasks on its way: lines are put together, then go to files or become log contexts."""

    __slots__ = ("_files", "_names", "_ntasks", "_parts", "_plan", "_written")

    def __init__(self, plan: OutputPlan, names: Names) -> None:
        self._plan = plan
        self._names = names
        self._ntasks = names.ntasks
        self._files: dict[str, IO[bytes]] = {}
        self._written = dict.fromkeys(STREAMS, 0)
        self._parts: dict[tuple[str, int], bytes] = {}

    def open(self) -> list[dict[str, Any]]:
        """Make the files; the contexts of the ``redirect`` events. Raises OSError, with the file's name."""
        redirects = []
        for stream in STREAMS:
            path = self._target(stream).path
            if path is None:
                continue
            for task in range(self._ntasks):
                self._file(stream, task)
            ids = ranks.format_ranks(range(self._ntasks))
            shown = self._names.render(path)
            rank = f"[{ids}]" if self._ntasks > 1 else ids
            redirects.append({"stream": stream, "rank": rank, "path": shown})
        return redirects

    def take(self, stream: str, task: int, data: bytes) -> list[dict[str, Any]]:
        """What a task wrote (``b""``: no more): the contexts of ``data`` events it makes, none for files."""
        target = self._target(stream)
        key = (stream, task)
        whole = self._parts.pop(key, b"") + data
        lines = _lines(whole)
        is_part = lines and data and target.is_buffered and not lines[-1].endswith(b"\n")
        if is_part and len(lines[-1]) < LINE_MAX:
            self._parts[key] = lines.pop()
        if target.path is None:
            return [one for line in lines if (one := self._context(stream, task, line)) is not None]
        file = self._file(stream, task)
        for line in lines:
            file.write(b"%d: %s" % (task, line) if target.label else line)
        file.flush()
        return []

    def _context(self, stream: str, task: int, line: bytes) -> dict[str, Any] | None:
        """An event's context; where a stream is over its limit none, and once a line that says so."""
        before = self._written[stream]
        self._written[stream] = after = before + len(line)
        if after <= self._plan.limit or not line:
            return data_context(stream, task, line)
        if before > self._plan.limit:
            return None
        said = b"flux-shell: WARN: %s is truncated here: output.limit is %d bytes\n"
        return data_context("stderr", task, said % (stream.encode(), self._plan.limit))

    def close(self) -> None:
        """All is written."""
        for file in self._files.values():
            file.close()
        self._files.clear()

    def ends(self) -> list[tuple[str, int]]:
        """The streams and tasks whose end stands in the log."""
        return [
            (stream, task)
            for task in range(self._ntasks)
            for stream in ("stderr", "stdout")
            if self._target(stream).path is None
        ]

    def _target(self, stream: str) -> Target:
        return self._plan.stdout if stream == "stdout" else self._plan.stderr

    def _file(self, stream: str, task: int) -> IO[bytes]:
        template = self._target(stream).path or ""
        path = self._names.render(template, task if _TASK.search(template) else None)
        file = self._files.get(path)
        if file is None:
            try:
                number = files.open_output(os.path.join(self._names.cwd, path), append=self._plan.append)
            except OSError as error:
                raise OSError(error.errno, error.strerror, path) from None
            file = self._files[path] = os.fdopen(number, "wb")
        return file


def _lines(data: bytes) -> list[bytes]:
    """Cut at newlines only: a progress bar's carriage returns are part of its line."""
    *whole, rest = data.split(b"\n")
    return [line + b"\n" for line in whole] + ([rest] if rest else [])
