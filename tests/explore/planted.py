"""Bugs, each a change of a shipped module's text: what a client could see of it, a search has to find."""

from __future__ import annotations

import shutil
import time
from pathlib import Path

import attrs

from brokersim.explore.author import Author, merged_families
from brokersim.explore.draw import Space
from brokersim.explore.search import Report, search
from brokersim.host.loader import shipped_folder


@attrs.frozen
class Planted:
    """One bug: in which file, what was there, what is there instead, and which families look."""

    name: str
    file: str
    was: str
    now: str
    only: tuple[str, ...]


PLANTED = (
    Planted(
        "two commits at one time, one lost", "kvs/committer.py",
        "        namespace.busy = True\n", "        namespace.busy = False\n", ("kvs",),
    ),
    Planted(
        "a commit acknowledged though storing failed", "kvs/committer.py",
        "        if response.errnum and commit.error is None:\n            commit.error = _error_of(response)\n", "",
        ("kvs",),
    ),
    Planted(
        "a checkpoint that does not wait for commits", "kvs/roots.py",
        "        await self._finish_commits(primary)\n", "", ("kvs",),
    ),
    Planted(
        "a watch that sends answers as they come", "kvs_watch/watch.py",
        "        self._slots.append(slot)\n        self._handle.request",
        "        self._slots.appendleft(slot)\n        self._handle.request", ("kvs", "watch"),
    ),
    Planted(
        "a second reader of a blob that is forgotten", "content_cache/__init__.py",
        "        for msg in loads or ():\n            self.handle.respond(msg, bytes(entry.blob))\n",
        "        for msg in (loads or ())[:1]:\n            self.handle.respond(msg, bytes(entry.blob))\n",
        ("content",),
    ),
    Planted(
        "a store that failed, taken for done", "content_cache/write_back.py",
        "        if response.errnum:\n            self._failed(response, entry)\n        else:\n"
        "            self._succeeded(entry, now)\n",
        "        self._succeeded(entry, now)\n", ("content",),
    ),
    Planted(
        "a cron entry that fires after it was deleted", "cron/__init__.py",
        "        self._waiting.pop(entry.id, None)\n", "", ("cron",),
    ),
    Planted(
        "a cron entry that repeats once more", "cron/entry.py",
        "        if self.count == self.repeat and", "        if self.count == self.repeat + 1 and", ("cron",),
    ),
    Planted(
        "cores given back before their job ends", "sched/__init__.py",
        '        self.handle.respond(msg, {"id": job, "type": SUCCESS, "R": r, "annotations": annotations})\n',
        '        self.handle.respond(msg, {"id": job, "type": SUCCESS, "R": r, "annotations": annotations})\n'
        "        self._pool.free(dict(self._held[job]))\n", ("jobs",),
    ),
    Planted(
        "a commit answered before its root is there", "kvs/committer.py",
        "        self._roots.move(namespace, commit.rootref, rootseq)\n",
        "        self._handle.call_later(0.0005, self._roots.move, namespace, commit.rootref, rootseq)\n", ("kvs",),
    ),
    Planted(
        "a waiter for cores that is forgotten", "sched/__init__.py",
        '            self.handle.respond(waiting.tag[0], {"id": waiting.jobid, "type": CANCEL})\n', "", ("jobs",),
    ),
    Planted(
        "cores freed that nobody is told of", "job_manager/machine.py",
        '            self._handle.request("sched.free", {"id": job.id, "R": job.R, "final": True})\n', "",
        ("jobs",),
    ),
    Planted(
        "a cron entry that does not stop", "cron/__init__.py",
        "        self._change(entry.stop)\n        self._disarm(entry)\n", "        self._change(entry.stop)\n",
        ("cron",),
    ),
    Planted(
        "a version waited for that has just come", "kvs/namespaces.py",
        "for version, message in self.waiting if version <= rootseq]",
        "for version, message in self.waiting if version < rootseq]", ("kvs",),
    ),
    Planted(
        "a namespace removed under who waits in it", "kvs/namespaces.py",
        "        requests = [message for _version, message in self.waiting]\n", "        requests = []\n", ("kvs",),
    ),
    Planted(
        "an exception lost on a job that cleans up", "job_manager/machine.py",
        '        self.post(job, "exception", context)\n',
        "        if job.state is not State.CLEANUP:\n"
        '            self.post(job, "exception", context)\n', ("jobs",),
    ),
)  # fmt: skip


def plant(bug: Planted, folder: Path) -> Path:
    """A folder with the one module that has the bug, for a module path."""
    name = bug.file.partition("/")[0]
    shutil.copytree(shipped_folder() / name, folder / name, ignore=shutil.ignore_patterns("__pycache__"))
    path = folder / bug.file
    text = path.read_text()
    assert text.count(bug.was) == 1, f"{bug.name}: {bug.file} has changed; plant it anew"
    path.write_text(text.replace(bug.was, bug.now))
    return folder


def find(bug: Planted, folder: Path, seconds: float, seeds: range = range(100_000)) -> Report:
    """Search where the bug is, for so many seconds of this process."""
    path = plant(bug, folder)
    space = Space(families=merged_families(None), wanted=bug.only, sizes=(1, 2))
    return search(space, lambda: Author(module_path=(path,)), seeds, seconds=seconds, clock=time.process_time)
