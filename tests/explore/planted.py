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
        "        if response.errnum:\n            self._failed(response, entry)\n        elif",
        "        if", ("content",),
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
    Planted(
        "a merged commit that fails, and all with it", "kvs/committer.py",
        "        if len(commit.transactions) == 1 or namespace.is_removed:\n",
        "        if True:\n",
        ("kvs",),
    ),
    Planted(
        "a checkpoint of the root before", "kvs/committer.py",
        "checkpoint(self._handle.name, commit.rootref, namespace.rootseq + 1,",
        "checkpoint(self._handle.name, namespace.rootref, namespace.rootseq,",
        ("kvs",),
    ),
    Planted(
        "a client that went, served on", "kvs_watch/monitors.py",
        "            watch.drop()\n",
        "            pass\n",
        ("watch",),
    ),
    Planted(
        "a cancel that ends all watches of a client", "kvs_watch/monitors.py",
        "self._watches.find(sender, matchtag)",
        "self._watches.of(sender)",
        ("watch",),
    ),
    Planted(
        "a sentinel forgotten where nothing is yet", "kvs_watch/watch.py",
        "            self._slots.extendleft(self._sentinel(response))\n            return\n",
        "            return\n",
        ("watch",),
    ),
    Planted(
        "a full watch that heeds its own key only", "kvs_watch/monitors.py",
        "            if watch.rootseq < 0 or watch.flags & FULL or watch.key in changed:\n",
        "            if watch.rootseq < 0 or watch.key in changed:\n",
        ("watch",),
    ),
    Planted(
        "blobs taken for clean without a store", "content_cache/__init__.py",
        "            entry = self._cache.create_dirty(blob)\n",
        "            entry = self._cache.create_dirty(blob)\n            if not self._write_back.is_open:\n"
        "                self._cache.clean(entry)\n                self.handle.respond(msg, digest)\n"
        "                return\n",
        ("content",),
    ),
    Planted(
        "a store answered before it is further down", "content_cache/__init__.py",
        "        if self._nodeid == NODEID_UPSTREAM and entry.is_dirty:\n",
        "        if False:\n",
        ("content",),
    ),
    Planted(
        "a load overtaken by a store, forgotten", "content_cache/__init__.py",
        "            if entry.loads is not None:\n                self._answer_loads(entry)\n",
        "",
        ("content",),
    ),
    Planted(
        "a cancelled request that keeps its place", "sched/__init__.py",
        "        waiting = self._queue.remove(msg.unpack(Cancel).id)\n",
        "        waiting = self._queue._jobs.get(msg.unpack(Cancel).id)\n",
        ("jobs",),
    ),
    Planted(
        "who stood behind a cancelled one, not looked at", "sched/__init__.py",
        '"type": CANCEL})\n            self._serve()\n',
        '"type": CANCEL})\n',
        ("jobs",),
    ),
    Planted(
        "first come, last served", "sched/queue.py",
        "    return (-job.priority, job.t_submit, job.jobid)",
        "    return (-job.priority, -job.t_submit, job.jobid)",
        ("jobs",),
    ),
    Planted(
        "a new priority that is not heeded", "sched/queue.py",
        "        job.priority = priority\n        heapq.heappush(self._heap, _place(job))\n",
        "        job.priority = priority\n",
        ("jobs",),
    ),
    Planted(
        "cores held before a reload, given again", "sched/__init__.py",
        '            self._keep(response.payload["id"], response.payload.get("R"))\n',
        "            pass\n",
        ("jobs",),
    ),
    Planted(
        "dependencies on an end, met by a start", "job_manager/dependencies.py",
        "self._take(other, lambda scheme: scheme in STARTS)",
        "self._take(other, lambda scheme: True)",
        ("jobs",),
    ),
    Planted(
        "afterok met by a failure", "job_manager/dependencies.py",
        '    "afterok": lambda job: job.success,\n',
        '    "afterok": lambda job: True,\n',
        ("jobs",),
    ),
    Planted(
        "a prior run that still counts after a start", "cron/entry.py",
        "        self.count = self.failcount = 0\n        self.in_time", "        self.in_time", ("cron",),
    ),
    Planted(
        "an interval that drifts", "cron/schedule.py",
        "        due = self._begun + self._count * self.interval\n",
        "        due = self._begun + self._count * self.interval * 1.1\n", ("cron",),
    ),
    Planted(
        "an id that is given a second time", "cron/__init__.py",
        "        self._next_id += 1\n        self._entries[entry.id] = entry\n",
        "        self._entries[entry.id] = entry\n        self._next_id = len(self._entries) + 1\n", ("cron",),
    ),
    Planted(
        "a new priority the scheduler is not told", "job_manager/machine.py",
        '            self._handle.request("sched.prioritize", {"jobs": [[job.id, job.priority]]})\n',
        "            pass\n", ("jobs",),
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
