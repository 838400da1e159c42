"""Bugs, each a change of a shipped module's text: what a client could see of it, a search has to find."""

from __future__ import annotations

from tests.explore.planted_anew import ANEW
from tests.explore.planted_fresh import FRESH
from tests.explore.planted_later import LATER
from tests.explore.planting import Planted, find, plant

__all__ = ["PLANTED", "Planted", "find", "plant"]

PLANTED = (
    Planted(
        "two commits at one time, one lost", "kvs/committer.py",
        "        namespace.busy = True\n", "        namespace.busy = False\n", ("kvs",),
    ),
    Planted(
        "a commit acknowledged though storing failed", "kvs/committer.py",
        "        if response.errnum and commit.error is None:\n            commit.error = response.error()\n", "",
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
        "        self.handle.respond(job.tag, answer)\n",
        "        self.handle.respond(job.tag, answer)\n        self._pool.free(dict(self._held[job.jobid]))\n",
        ("jobs",),
    ),
    Planted(
        "a commit answered before its root is there", "kvs/committer.py",
        "        self._roots.move(namespace, commit.rootref, rootseq)\n",
        "        self._handle.call_later(0.0005, self._roots.move, namespace, commit.rootref, rootseq)\n", ("kvs",),
    ),
    Planted(
        "a waiter for cores that is forgotten", "sched/__init__.py",
        '            self.handle.respond(waiting.tag, {"id": waiting.jobid, "type": CANCEL})\n', "", ("jobs",),
    ),
    Planted(
        "cores freed that nobody is told of", "job_manager/housekeeping.py",
        '            self._handle.request("sched.free", {"id": job.id, "R": job.R, "final": True})\n',
        "            pass\n", ("jobs",),
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
        "if is_first or one.flags & FULL or one.key in changed]",
        "if is_first or one.key in changed]",
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
        "        if self._is_above and entry.is_dirty:\n",
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
    Planted(
        "a synced commit that waits for no disk", "kvs/committer.py",
        '            self._handle.request("content.flush", None, self._flushed, commit)\n',
        '            self._handle.request("content.flush", None)\n'
        "            self._finish(commit)\n",
        ("kvs",),
    ),
    Planted(
        "a removed namespace kept on other ranks", "kvs/roots.py",
        "            self.remove(root.namespace)\n"
        "        elif",
        "            pass\n"
        "        elif",
        ("kvs",),
    ),
    Planted(
        "who waits goes, and all others with it", "kvs/namespaces.py",
        "for version, message in self.waiting if message.sender != sender",
        "for version, message in self.waiting if False",
        ("kvs",),
    ),
    Planted(
        "a watch that survives the end of its value", "kvs_watch/watch.py",
        "return bool(self.flags & WAITCREATE) and not self.has_answered",
        "return bool(self.flags & WAITCREATE)",
        ("watch",),
    ),
    Planted(
        "a flush answered early", "content_cache/write_back.py",
        "while self._flushes and self._cache.is_stored_up_to(self._flushes[0][0]):",
        "while self._flushes:",
        ("content",),
    ),
    Planted(
        "a second reader of what is not there", "content_cache/__init__.py",
        "            for msg in entry.loads or ():\n"
        "                self.handle.respond_error",
        "            for msg in (entry.loads or ())[:1]:\n"
        "                self.handle.respond_error",
        ("content",),
    ),
    Planted(
        "a second writer of what cannot be written", "content_cache/write_back.py",
        "        for request in entry.stores or ():\n"
        "            self._handle.respond_error",
        "        for request in (entry.stores or ())[:1]:\n"
        "            self._handle.respond_error",
        ("content",),
    ),
    Planted(
        "a beat that drops what is dirty", "content_cache/entries.py",
        "        for entry in self._clean.values():\n"
        "            if excess",
        "        for entry in [*self._clean.values(), *self._dirty.values()]:\n"
        "            if excess",
        ("content",),
    ),
    Planted(
        "a subscription behind the root", "kvs_watch/monitors.py",
        '        handle.event_subscribe(f"{EVENTS}{name}-")\n',
        '        handle.call_later(0.001, handle.event_subscribe, f"{EVENTS}{name}-")\n',
        ("watch",),
    ),
    Planted(
        "a cancelled watch that goes on", "kvs_watch/watch.py",
        "            self._slots.clear()\n"
        "            self._ended(self)\n",
        "            self._ended(self)\n",
        ("watch",),
    ),
    Planted(
        "a removed namespace told to one watch", "kvs_watch/monitors.py",
        "        for watch in tuple(self.watches):\n"
        '            watch.finish(errnums.ENOTSUP, f"namespace',
        "        for watch in tuple(self.watches)[:1]:\n"
        '            watch.finish(errnums.ENOTSUP, f"namespace',
        ("watch",),
    ),
    Planted(
        "the sentinel before the blobs", "kvs_watch/watch.py",
        "            slots = [*slots, *self._sentinel(response)]\n",
        "            slots = [*self._sentinel(response), *slots]\n",
        ("watch",),
    ),
    Planted(
        "cores of a job whose R was not written", "sched/__init__.py",
        "            self._give_back(job.jobid)\n"
        "            note",
        "            note",
        ("jobs",),
    ),
    Planted(
        "a drain that is not heeded", "sched/__init__.py",
        "            self._pool.take_down(change.down)\n",
        "            pass\n",
        ("jobs",),
    ),
    Planted(
        "an undrain after which nobody is looked at", "sched/__init__.py",
        '                self.log.error(f"resource.acquire: {error}")\n'
        "            self._serve()\n",
        '                self.log.error(f"resource.acquire: {error}")\n',
        ("jobs",),
    ),
    Planted(
        "one served at each turn", "sched/__init__.py",
        "        while (job := self._queue.first()) is not None:",
        "        for job in filter(None, [self._queue.first()]):",
        ("jobs",),
    ),
    Planted(
        "a run that waits when sync ends", "cron/__init__.py",
        "        if topic is None:\n"
        "            self._release()\n",
        "",
        ("cron",),
    ),
    Planted(
        "events counted off their phase", "cron/schedule.py",
        "(self.counter - self.after) % self.nth",
        "self.counter % self.nth",
        ("cron",),
    ),
    Planted(
        "an interval that starts where it was", "cron/schedule.py",
        "        self.next_wakeup = self._begun = now + self.after\n"
        "        self._count = 0\n",
        "        self.next_wakeup = self._begun = now + self.after\n",
        ("cron",),
    ),
    Planted(
        "a run that waited, begun twice", "cron/__init__.py",
        "        waiting, self._waiting = self._waiting, {}\n",
        "        waiting = self._waiting\n",
        ("cron",),
    ),
    Planted(
        "a drain answered at the first end", "job_manager/waiters.py",
        "        if self._drains and not jobs.active:",
        "        if self._drains:",
        ("jobs",),
    ),
    Planted(
        "a second drain that is forgotten", "job_manager/waiters.py",
        "            for msg in drains:\n",
        "            for msg in drains[:1]:\n",
        ("jobs",),
    ),
    Planted(
        "a second wait for a job that is forgotten", "job_manager/waiters.py",
        "        for msg in self._watching.pop(job.id, ()):",
        "        for msg in self._watching.pop(job.id, [])[:1]:",
        ("jobs",),
    ),
    Planted(
        "a held job whose request stays", "job_manager/machine.py",
        "        if not job.priority:\n"
        "            self.cancel_alloc(job)\n",
        "        if not job.priority:\n"
        "            pass\n",
        ("jobs",),
    ),
    Planted(
        "a drain that goes, and all with it", "job_manager/waiters.py",
        "        self._drains = [msg for msg in self._drains if msg.sender != sender]\n",
        "        self._drains = []\n",
        ("jobs",),
    ),
    Planted(
        "a fatal exception that job-exec does not hear", "job_manager/machine.py",
        '        self._handle.publish("job-exception", {"id": job.id, "type": kind, "severity": severity, **given})\n',
        "",
        ("jobs",),
    ),
    Planted(
        "cores given to a job that was cancelled meanwhile", "job_manager/machine.py",
        "        if answer.type == ALLOC_SUCCESS and answer.R is not None:",
        "        if answer.type == ALLOC_SUCCESS and answer.R is not None and job.state is State.SCHED:",
        ("jobs",),
    ),
    Planted(
        "events of a commit that failed, lost", "job_manager/batch.py",
        "        self._operations[:0] = operations\n",
        "",
        ("jobs",),
    ),
    Planted(
        "a submission answered before its log is there", "job_manager/__init__.py",
        'self._machine.batch.when_committed(lambda: self.handle.respond(msg, {"errors": errors}))',
        'self.handle.respond(msg, {"errors": errors})',
        ("jobs",),
    ),
    Planted(
        "a purge of one too many", "job_manager/purging.py",
        "place < beyond or",
        "place <= beyond or",
        ("jobs",),
    ),
    Planted(
        "a doomed job that runs on", "job_exec/simulated.py",
        "        if self.killed_by:\n"
        "            return self.killed_by\n"
        "        if self._plan.output_rate",
        "        if self._plan.output_rate",
        ("jobs",),
    ),
    *LATER,
    *ANEW,
    *FRESH,
)  # fmt: skip
