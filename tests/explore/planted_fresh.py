"""A fourth set, by somebody who had not seen what is searched: see `planted`."""

from __future__ import annotations

from tests.explore.planting import Planted

FRESH = (
    Planted(
        "commits put back in the wrong order", "kvs/namespaces.py",
        "self.queue.extendleft(reversed(alone))", "self.queue.extendleft(alone)", ("kvs",),
    ),
    Planted(
        "of those refused a namespace the first alone", "kvs/namespaces.py",
        "for _then, failed in self._awaited.pop(name, ()):",
        "for _then, failed in list(self._awaited.pop(name, ()))[:1]:", ("kvs",),
    ),
    Planted(
        "of those who wait for a namespace the first alone", "kvs/namespaces.py",
        "for then, _failed in self._awaited.pop(namespace.name, ()):",
        "for then, _failed in list(self._awaited.pop(namespace.name, ()))[:1]:", ("kvs",),
    ),
    Planted(
        "commits of a removed namespace, forgotten", "kvs/namespaces.py",
        "        requests += [waiting.request for waiting in self.queue or ()]\n", "", ("kvs",),
    ),
    Planted(
        "a commit that ends at its last store but one, and again", "kvs/committer.py",
        "        if commit.unanswered:\n", "        if commit.unanswered > 1:\n", ("kvs",),
    ),
    Planted(
        "of the watches of a client that goes the first alone", "kvs_watch/monitors.py",
        "        for watch in self._watches.of(sender):\n            watch.drop()",
        "        for watch in list(self._watches.of(sender))[:1]:\n            watch.drop()", ("watch",),
    ),
    Planted(
        "answers to a watch that has ended", "kvs_watch/watch.py",
        "            self._slots.clear()\n", "", ("watch",),
    ),
    Planted(
        "of two watched keys in one commit one", "kvs_watch/monitors.py",
        "        if len(keys) < 2:\n            return [one for key in keys for one",
        "        if keys:\n            return [one for key in sorted(keys)[:1] for one", ("watch",),
    ),
    Planted(
        "the first dirty blob, lost at the end", "content_cache/write_back.py",
        "        for entry in self._cache.dirty_entries():",
        "        for entry in list(self._cache.dirty_entries())[1:]:", ("content",),
    ),
    Planted(
        "an event without its payload", "cron/running.py",
        "self._handle.publish(action.topic, action.payload)", "self._handle.publish(action.topic, None)", ("cron",),
    ),
    Planted(
        "a request that failed, taken for done", "cron/running.py",
        "self._ended(entry, 1 << 8 if response.errnum else 0, note)", "self._ended(entry, 0, note)", ("cron",),
    ),
    Planted(
        "failures that end nothing", "cron/entry.py",
        "            if self.stop_on_failure and self.failcount >= self.stop_on_failure and not self.stopped:\n"
        "                self.stop()\n",
        "", ("cron",),
    ),
    Planted(
        "an entry that was deleted with its timer running", "cron/__init__.py",
        "            entry.stop()\n        self._disarm(entry)\n        del",
        "            entry.stop()\n        del", ("cron",),
    ),
    Planted(
        "cores that were freed, held all the same", "sched/__init__.py",
        "            del self._held[given.id]\n            self._ends.pop(given.id, None)",
        "            self._ends.pop(given.id, None)", ("jobs",),
    ),
    Planted(
        "a new priority, and nobody looked at", "sched/__init__.py",
        "            self._queue.reprioritize(job, priority)\n        self._serve()\n",
        "            self._queue.reprioritize(job, priority)\n", ("jobs",),
    ),
    Planted(
        "a request lost with its scheduler", "job_manager/machine.py",
        "            return\n        self._alloc_over(job)\n        if response.errnum in",
        "            return\n        if response.errnum in", ("jobs",),
    ),
    Planted(
        "a job that waits for nobody as its service goes", "job_manager/machine.py",
        "        if job.state is not State.RUN:\n            self.act(job)  # it is over",
        "        if job.state is State.RUN:\n            self.act(job)  # it is over", ("jobs",),
    ),
    Planted(
        "cores given back before the release", "job_manager/machine.py",
        "if job.state is not State.CLEANUP or job.start_pending:", "if job.state is not State.CLEANUP:", ("jobs",),
    ),
)  # fmt: skip
