"""A third set: what waits, what is handed on, what a reload must keep; one decision changed each; see `planted`."""

from __future__ import annotations

from tests.explore.planting import Planted

ANEW = (
    Planted(
        "versions waited for, forgotten with the first", "kvs/namespaces.py",
        "self.waiting = [(version, message) for version, message in self.waiting if version > rootseq]",
        "self.waiting = []", ("kvs",),
    ),
    Planted(
        "a synced commit merged with one that is not", "kvs/namespaces.py",
        " and not (queue[0].flags ^ first.flags) & SYNC:", ":", ("kvs",),
    ),
    Planted(
        "an older root in the place of a newer", "kvs/namespaces.py",
        "        if rootseq <= self.rootseq:\n", "        if rootseq == self.rootseq:\n", ("kvs",), "hostile",
    ),
    Planted(
        "blobs behind what came later", "kvs_watch/watch.py",
        "        self._slots.extendleft(reversed(slots))  # in front",
        "        self._slots.extend(slots)  # not in front",
        ("watch",),
    ),
    Planted(
        "of two watches of a key the first alone", "kvs_watch/monitors.py",
        "            return [one for key in keys for one in self._by_key[key]]\n",
        "            return [next(iter(self._by_key[key])) for key in keys]\n", ("watch",),
    ),
    Planted(
        "a blob whose store failed, never tried again", "content_cache/write_back.py",
        "        self._queue.append(entry)\n        self._paused = True\n",
        "        self._paused = True\n", ("content",),
    ),
    Planted(
        "a second writer above rank 0, forgotten", "content_cache/write_back.py",
        "            for request in entry.stores:\n", "            for request in entry.stores[:1]:\n", ("content",),
    ),
    Planted(
        "a store of what is being loaded, never written", "content_cache/__init__.py",
        "                self._answer_loads(entry)\n            return True\n",
        "                self._answer_loads(entry)\n            return False\n", ("content",),
    ),
    Planted(
        "cores of a job manager that went, never free", "sched/__init__.py",
        "        for held in self._held.values():\n            self._pool.free(held)\n        self._queue",
        "        self._queue", ("jobs",),
    ),
    Planted(
        "cores told of before the resources came, given again", "sched/__init__.py",
        "            if not self._pool.hold(held):\n"
        "                del self._held[job]\n                self._lost(job)\n",
        "            pass\n", ("jobs",),
    ),
    Planted(
        "an event heard by the first entry alone", "cron/awaited.py",
        "found += entries.values()", "found += list(entries.values())[:1]", ("cron",),
    ),
    Planted(
        "a topic nobody listens to, as one entry went", "cron/awaited.py",
        "        if by_topic:\n            return None\n        del self", "        del self", ("cron",),
    ),
    Planted(
        "a wait for who has ended already", "job_manager/waiters.py",
        "        elif job.state is State.INACTIVE:\n            self._handle.respond(msg, outcome(job))\n", "",
        ("jobs",),
    ),
    Planted(
        "one who waits for a job goes, and all with it", "job_manager/waiters.py",
        "            left = [msg for msg in self._watching[wanted] if msg.sender != sender]\n",
        "            left = []\n", ("jobs",),
    ),
    Planted(
        "a job nobody took in, acknowledged", "job_ingest/intake.py",
        '            self._refuse(batch, response.errnum, response.payload_str or "")\n'
        "            return\n        try:",
        '            for candidate in batch:\n                self._handle.respond(candidate.msg, {"id": candidate.id})'
        "\n            return\n        try:", ("jobs",),
    ),
    Planted(
        "of those that wait for a state the first alone", "job_list/__init__.py",
        "[one for one in waiting if one not in left]:", "[one for one in waiting if one not in left][:1]:",
        ("records",),
    ),
    Planted(
        "a state awaited, told at the next change", "job_list/__init__.py",
        "        left = [one for one in waiting if not (over or not one[1] or job.state & one[1])]\n",
        "        left = []\n", ("records",),
    ),
    Planted(
        "a drain forgotten by a reload", "resource/__init__.py",
        "                self._replay(event)\n", "                pass\n", ("jobs",),
    ),
    Planted(
        "rows handed over, and dropped", "metrics/__init__.py",
        "        held.carry(told.rows)\n", "", ("metrics",),
    ),
    Planted(
        "what came too late for an epoch, dropped", "metrics/member.py",
        "        self.carry([row for row in rows if last is None or key_of(row) > last])\n", "", ("metrics",),
    ),
    Planted(
        "a restart that only stops", "probe/works.py",
        "                self._stop(name)\n            self._start(name)\n",
        "                self._stop(name)\n                return\n            self._start(name)\n", ("probe",),
    ),
)  # fmt: skip
