"""Knows the cron service: create, list, start, stop, delete, sync; when entries are due is in schedule."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from itertools import islice
from typing import Any

import msgspec

from brokersim.brokermod import (
    BrokerModule,
    Handle,
    Message,
    RequestError,
    errnums,
    event_handler,
    request_handler,
)

from .action import to_action
from .awaited import Awaited
from .entry import HISTORY_MAX, Entry
from .options import SyncOption, sync_option
from .running import Running
from .schedule import OnEvent, to_schedule

HEARTBEAT = "heartbeat.pulse"
#: Entries that an error names, at most: there may be a million.
NAMED_MAX = 20
#: Seconds that the wall clock may move against the reactor's before calendar entries are looked up anew.
CLOCK_SLACK = 0.1


class Create(
    msgspec.Struct, rename={"task_history_count": "task-history-count", "stop_on_failure": "stop-on-failure"}
):
    """Payload of cron.create."""

    type: str
    name: str
    command: str
    args: dict[str, Any]
    environ: dict[str, str] | None = None
    cwd: str | None = None
    repeat: int = 0
    rank: int = 0
    task_history_count: int = 1
    stop_on_failure: int = 0
    timeout: float = -1.0


class EntryId(msgspec.Struct):
    """Payload of cron.start, stop and delete; ``kill`` ends a running task too."""

    id: int
    kill: bool = False


class Sync(msgspec.Struct):
    """Payload of cron.sync."""

    topic: str | None = None
    disable: bool = False
    sync_epsilon: float | None = None


class Cron(BrokerModule):
    """Runs commands, or sends messages, at intervals, on events and at times.

    Runs begin when they are due; with ``sync=TOPIC`` (argument, or cron.sync) at the next such event, usually
    heartbeat.pulse, so that the work of all entries falls together (flux-core's noise reduction).
    """

    def __init__(self, h: Handle, *args: str) -> None:
        super().__init__(h, *args)
        try:
            self._sync: SyncOption = sync_option(args)
        except ValueError as error:
            raise RequestError(errnums.EINVAL, f"module {self.name!r}: {error}") from None
        self._entries: dict[int, Entry] = {}
        self._awaited = Awaited()
        self._timers: dict[int, Any] = {}
        self._running = Running(h, self.log, self._disarm)
        #: Runs that wait for the sync event, by entry; the first to come due is the first to begin.
        self._waiting: dict[int, Entry] = {}
        self._next_id = 1
        self._is_utc = (h.attr_get("clock") or "").startswith("virtual")
        self._drift = h.time() - h.now()

    async def ready(self) -> None:
        """Subscribe to what is needed, instead of to everything ``event`` could match."""
        self.handle.event_subscribe(HEARTBEAT)
        self.handle.event_unsubscribe("")
        if self._sync.topic not in (None, HEARTBEAT):
            self.handle.event_subscribe(str(self._sync.topic))

    def teardown(self) -> None:
        """End what still runs."""
        self._running.end()

    def stats(self) -> dict[str, object]:
        """Entries, and how many of them have a task running."""
        return {"entries": len(self._entries), "running": len(self._running)}

    # -- requests

    @request_handler("create")
    def create(self, msg: Message) -> None:
        """A new entry, started; answered with the entry."""
        wish = msg.unpack(Create)
        now = self.handle.time()
        try:
            entry = self._to_entry(wish, now)
        except ValueError as error:
            raise RequestError(errnums.EINVAL, f"cron.create: {error}") from None
        self._next_id += 1
        self._entries[entry.id] = entry
        if isinstance(entry.schedule, OnEvent):
            unheard = self._awaited.add(entry.schedule.topic, entry)
            if unheard is not None:
                self.handle.event_subscribe(unheard)
        entry.start(now)
        self._arm(entry)
        self.handle.respond(msg, entry.to_dict())

    def _to_entry(self, wish: Create, now: float) -> Entry:
        if wish.rank < 0:
            raise ValueError(f"no rank {wish.rank}")
        if wish.repeat < 0 or wish.stop_on_failure < 0:
            raise ValueError("repeat and stop-on-failure must be 0 (off) or more")
        if not 0 <= wish.task_history_count <= HISTORY_MAX:
            raise ValueError(f"task-history-count must be 0 to {HISTORY_MAX}, not {wish.task_history_count}")
        message = wish.args.get("message")
        if message is not None and not isinstance(message, dict):
            raise ValueError("args.message must be an object with topic and payload")
        return Entry(
            id=self._next_id,
            name=wish.name,
            command=wish.command,
            action=to_action(wish.command, message, wish.cwd, wish.environ),
            type=wish.type,
            schedule=to_schedule(wish.type, wish.args, self._is_utc),
            ctime=now,
            rank=wish.rank,
            # One moment comes once.
            repeat=1 if wish.type == "at" else wish.repeat,
            stop_on_failure=wish.stop_on_failure,
            timeout=wish.timeout,
            history=deque(maxlen=wish.task_history_count),
        )

    @request_handler("list")
    def list_entries(self, msg: Message) -> None:
        """All entries, oldest first."""
        self.handle.respond(msg, {"entries": [entry.to_dict() for entry in self._entries.values()]})

    @request_handler("start")
    def start(self, msg: Message) -> None:
        """Start a stopped entry anew; answered with the entry."""
        entry = self._entry(msg.unpack(EntryId).id)
        self._change(entry.start, self.handle.time())
        self._arm(entry)
        self.handle.respond(msg, entry.to_dict())

    @request_handler("stop")
    def stop_entry(self, msg: Message) -> None:
        """Stop an entry; a task under way goes on. Answered with the entry."""
        entry = self._entry(msg.unpack(EntryId).id)
        self._change(entry.stop)
        self._disarm(entry)
        self.handle.respond(msg, entry.to_dict())

    @request_handler("delete")
    def delete(self, msg: Message) -> None:
        """Drop an entry, with ``kill`` its task too; answered with the entry as it was."""
        wish = msg.unpack(EntryId)
        entry = self._entry(wish.id)
        answer = entry.to_dict()
        if wish.kill:
            self._running.kill(entry)
        if not entry.stopped:
            entry.stop()
        self._disarm(entry)
        del self._entries[entry.id]
        self._waiting.pop(entry.id, None)
        if isinstance(entry.schedule, OnEvent):
            unwanted = self._awaited.remove(entry.schedule.topic, entry)
            if unwanted is not None:
                self.handle.event_unsubscribe(unwanted)
        self.handle.respond(msg, answer)

    @request_handler("sync")
    def sync(self, msg: Message) -> None:
        """Ask, set or end the event that runs wait for."""
        if msg.data is None:
            raise RequestError(errnums.EPROTO, "cron.sync: the request has no payload")
        wish = msg.unpack(Sync)
        if wish.sync_epsilon is not None and not wish.sync_epsilon >= 0:
            raise RequestError(errnums.EINVAL, "cron.sync: sync_epsilon must be 0 seconds or more")
        if wish.topic is not None or wish.disable:
            self._set_sync(wish.topic or None)
        if wish.sync_epsilon is not None:
            self._sync.epsilon = wish.sync_epsilon
        if self._sync.topic is None:
            self.handle.respond(msg, {"sync_disabled": True})
        else:
            answer = {"sync_event": self._sync.topic, "sync_epsilon": self._sync.epsilon}
            self.handle.respond(msg, answer)

    def _set_sync(self, topic: str | None) -> None:
        if self._sync.topic is not None and self._sync.topic != HEARTBEAT:
            self.handle.event_unsubscribe(self._sync.topic)
        if topic is not None and topic != HEARTBEAT:
            self.handle.event_subscribe(topic)
        self._sync.topic = topic
        if topic is None:
            self._release()

    def _entry(self, number: int) -> Entry:
        entry = self._entries.get(number)
        if entry is None:
            known = ", ".join(map(str, islice(self._entries, NAMED_MAX))) or "none"
            if len(self._entries) > NAMED_MAX:
                known += f" and {len(self._entries) - NAMED_MAX} more"
            raise RequestError(errnums.ENOENT, f"no cron entry {number}; there are: {known}")
        return entry

    def _change(self, change: Callable[..., None], *args: Any) -> None:
        try:
            change(*args)
        except ValueError as error:
            raise RequestError(errnums.EINVAL, str(error)) from None

    # -- coming due

    @event_handler("*", prefix=False)
    def event(self, msg: Message) -> None:
        """An event that an entry, the sync or the clock check waits for."""
        now = self.handle.time()
        for entry in self._awaited.for_event(msg.topic):
            assert isinstance(entry.schedule, OnEvent)
            self._count(entry, entry.schedule, now)
        if msg.topic == self._sync.topic:
            self._sync.last = now
            self._release()
        if msg.topic == HEARTBEAT:
            self._check_clock()

    def _count(self, entry: Entry, schedule: OnEvent, now: float) -> None:
        was_put_off = schedule.next_wakeup is not None
        if schedule.event(now, entry.lastrun):
            self._due(entry)
            return
        self._arm(entry)
        if schedule.next_wakeup is not None and not was_put_off:
            delay = schedule.next_wakeup - now
            self.log.debug(f"cron-{entry.id}: delaying {delay:4.3f}s due to min interval")

    def _check_clock(self) -> None:
        """Entries are woken by the reactor's clock; if the wall clock was set, calendar times lie elsewhere now."""
        drift = self.handle.time() - self.handle.now()
        if abs(drift - self._drift) > CLOCK_SLACK:
            self._drift = drift
            for entry in self._entries.values():
                self._arm(entry)

    def _arm(self, entry: Entry) -> None:
        self._disarm(entry)
        due = entry.schedule.next_wakeup
        if due is not None:
            delay = max(0.0, due - self.handle.time())
            self._timers[entry.id] = self.handle.call_later(delay, self._wake, entry)
        elif not entry.stopped and not isinstance(entry.schedule, OnEvent):
            entry.stop()  # it can never come due again

    def _disarm(self, entry: Entry) -> None:
        timer = self._timers.pop(entry.id, None)
        if timer is not None:
            timer.cancel()

    def _wake(self, entry: Entry) -> None:
        del self._timers[entry.id]
        entry.schedule.fired(self.handle.time())
        self._due(entry)
        if not entry.stopped:
            self._arm(entry)

    def _due(self, entry: Entry) -> None:
        if not entry.due():
            if entry.has_news():
                self.log.info(f"cron-{entry.id}: {entry.name}: task still running or scheduled")
            return
        if entry.stopped:
            self._disarm(entry)
        if self._sync.must_wait(self.handle.time()):
            entry.is_waiting = True
            entry.due_since = self.handle.time()
            entry.deferred += 1
            self._waiting[entry.id] = entry
        else:
            self._running.begin(entry)

    def _release(self) -> None:
        waiting, self._waiting = self._waiting, {}
        for entry in waiting.values():
            self._running.begin(entry)
