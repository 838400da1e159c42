"""More of them: of one decision changed each, as a stranger would, in a module's text; see `planted`."""

from __future__ import annotations

from tests.explore.planting import Planted

LATER = (
    Planted(
        "an append that replaces", "kvs/transaction.py",
        "            self._append(directory, name, op)\n", "            directory.put(name, op.dirent)\n", ("kvs",),
    ),
    Planted(
        "a root that is not there asked for once", "kvs_watch/monitors.py",
        "            self._absent = None  # the first since it was not there: it may be now\n"
        "            self._ask()\n",
        "            self._refuse(watch, self._absent)\n", ("kvs", "watch"),
    ),
    Planted(
        "a load that failed, kept as one under way", "content_cache/__init__.py",
        "            self._cache.drop(entry)\n            for msg in entry.loads", "            for msg in entry.loads",
        ("content",),
    ),
    Planted(
        "a flush of one that went, and none behind it", "content_cache/write_back.py",
        "            self._flushes = deque(item for item in self._flushes if item[1].sender != sender)\n",
        "            self._flushes = None\n", ("content",),
    ),
    Planted(
        "a flush that failed, answered as done", "content_cache/write_back.py",
        "        for _seq, request in flushes or ():\n            self._handle.respond_error(request, errnum, text)\n",
        "        for _seq, request in flushes or ():\n            self._handle.respond(request)\n", ("content",),
    ),
    Planted(
        "cores taken back, and nobody looked at", "sched/__init__.py",
        '            self.handle.respond(msg, {"id": given.id})\n        self._serve()\n',
        '            self.handle.respond(msg, {"id": given.id})\n', ("jobs",),
    ),
    Planted(
        "of those that wait for sync the first alone", "cron/__init__.py",
        "        for entry in waiting.values():\n            self._running.begin(entry)\n",
        "        for entry in list(waiting.values())[:1]:\n            self._running.begin(entry)\n", ("cron",),
    ),
    Planted(
        "an entry that counts from before its start", "cron/entry.py",
        "        self.count = self.failcount = 0\n", "        self.failcount = 0\n", ("cron",),
    ),
    Planted(
        "cores that come too late for who was ended, kept", "job_manager/machine.py",
        '                self._handle.request("sched.free", {"id": job.id, "R": answer.R, "final": True})\n',
        "                pass\n", ("jobs",),
    ),
    Planted(
        "of those that wait for one end the first alone", "job_manager/machine.py",
        "        self._verdicts.extend(verdicts)\n", "        self._verdicts.extend(verdicts[:1])\n", ("jobs",),
    ),
    Planted(
        "a job that waits for who has ended already", "job_manager/dependencies.py",
        "        if other.state is State.INACTIVE:\n            return _verdict(scheme, other, job, description)\n", "",
        ("jobs",),
    ),
    Planted(
        "a cancelled log, and all others of its client", "job_info/records.py",
        "        for stream in self._streams.find(msg.sender, matchtag)[:1]:\n",
        "        for stream in self._streams.of(msg.sender):\n", ("records",),
    ),
    Planted(
        "a log without its last line", "job_info/streams.py",
        "        self._send(line)\n        if _CLEAN in line:\n",
        "        if _CLEAN not in line:\n            self._send(line)\n        if _CLEAN in line:\n", ("records",),
    ),
    Planted(
        "a log that is not there yet, not waited for", "job_info/streams.py",
        "            self._watch(PRIMARY, record_key(self._job, self._path), self._main_line, must_exist=not waits)\n",
        "            self._watch(PRIMARY, record_key(self._job, self._path), self._main_line, must_exist=True)\n",
        ("records",),
    ),
    Planted(
        "a guest log that ends with its namespace", "job_info/streams.py",
        "            self._read_copy()\n        elif errnum == errnums.ENOENT:\n",
        "            self.finish(errnums.ENODATA)\n        elif errnum == errnums.ENOENT:\n", ("records",),
    ),
    Planted(
        "a drain that nobody is told of", "resource/holder.py",
        "        if self._scheduler is not None and change and not",
        '        if self._scheduler is not None and "up" in change and not', ("jobs",),
    ),
    Planted(
        "a scheduler that went, told on", "resource/holder.py",
        "        if self._scheduler is not None and self._scheduler.sender == sender:\n"
        "            self._scheduler = None\n", "", ("jobs",),
    ),
)  # fmt: skip
