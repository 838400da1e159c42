"""The one file of the reactor that awaits trio: runs a Reactor as a task, admits posts, parks, jumps.

**One task turns the loop**, and parks when nothing is queued or due. All other tasks are outside. They never touch the
queue: what they send is *posted*, and who waits for an answer sleeps until the loop resumes it. An I/O task may drain
in its own turn (``drain_inline``), which saves two task switches a request; it is inside while it does.

**Real time.** Posts go in between two batches, timers fire when they are due, the park ends at the earliest of them.
A loop that spins never lets the queue be empty, so neither may wait for that (``_keep_up``).

**Virtual time** moves only at quiescence: trio asks its clock how long to sleep exactly when no task can run, and our
clock asks ``_quiescent``. There, in this order: posts are admitted, sorted by (number of the task, order within it);
what is due now fires; else time jumps to the reactor's next timer or trio's next deadline, whichever is earlier, at
the same instant to the deadline: what tasks do there comes before what timers do. Trio
runs the tasks of one batch in a random order: so numbers and not arrival make the order of posts, which is what makes
equal seeds equal runs.

**The licence to jump.** A park costs two task switches of trio a timer. As long as it is known that no task can become
runnable before some instant (``_solo_until``: trio's next deadline, taken back as soon as any task is scheduled or
posts), the loop jumps from timer to timer by itself (``_burst``; ``Reactor.pass_to`` does so within one).

**What stops time:** a hold (a process or thread is really waited for), and outside clients. With those, time moves only
while one waits for an answer (``may_jump``) and all have come to rest (``is_settled``); such a run has no order of its
own and is not reproducible.
"""

from __future__ import annotations

import math
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from typing import Any

import outcome
import trio

from brokersim.protocol.errnums import EDEADLK, EHOSTUNREACH, RequestError
from brokersim.reactor import standstill
from brokersim.reactor.clock import RealClock, VirtualClock
from brokersim.reactor.loop import BUDGET, NS, Reactor
from brokersim.reactor.posts import LAST, Posts
from brokersim.reactor.standstill import Instant
from brokersim.reactor.step import Wait

#: Jumps of virtual time between two looks at trio's other tasks.
BURST = 1024
#: Messages queued at which nothing is read any further that makes more: a flood stays with its sender.
QUEUE_AT = 10_000
#: Real seconds between two looks at whether outside clients have come to rest: soon at first, then seldom, because
#: looking takes the processor from a client that needs it to come to rest.
_LOOK_AGAIN, _LOOK_SELDOM = 0.0002, 0.01
_FORKED = b"brokersim: a module has forked and let the child go on as a second broker; the child is ended\n"
_FOR_EVER = "nothing is queued or due any more: this would wait for ever"
_ENDED = "the instance has ended: nobody is left to answer"


class Runner:
    """Runs one reactor in the trio task that calls ``run``.

    Trio tasks never touch the FIFO: they ``post``. Under the virtual clock posts are admitted when nothing else
    can run, ordered by (number of the task, order within it), which takes trio's random batch order out.
    """

    is_alone = False

    def __init__(self, reactor: Reactor, clock: RealClock | VirtualClock) -> None:
        self.reactor = reactor
        self.clock = clock
        self.is_virtual = isinstance(clock, VirtualClock)
        self._task: trio.lowlevel.Task | None = None
        self._parked = False
        self._stopping = False
        self._has_ended = False
        #: Who runs it: a child that a callback forked is not.
        self._pid = -1
        self.posts = Posts()
        self._waits = _TaskWaits()
        self._hold = 0
        #: Turns for timers at one instant.
        self._turns = Instant()
        #: Virtual time up to which no trio task can become runnable by itself (ns).
        self._solo_until = -1.0
        #: Virtual time with outside clients: may time move? They need it only while they wait for an answer.
        self.may_jump: Callable[[], bool] | None = None
        #: And have they all come to rest? A request that is about to be sent must not find that time has passed.
        self.is_settled: Callable[[], bool] = lambda: True
        self._look_again = _LOOK_AGAIN / 2
        reactor.hosted_by(self, jumps=self.is_virtual)

    # -- for other tasks

    def post(self, fn: Callable[[], object]) -> None:
        """Have the reactor call ``fn`` soon; the only way in for a trio task."""
        # In real time posts go in as they come, so tasks need no numbers.
        self._post(self.posts.number(trio.lowlevel.current_task()) if self.is_virtual else 0, fn)

    def _post(self, number: int, fn: Callable[[], object]) -> None:
        self.posts.add(number, fn)
        self.reactor.free_until = -1
        if not self.is_virtual:
            self.wake()

    def now_ns(self) -> int:
        return self.clock.now_ns()

    def passed(self, when: int) -> None:
        """The reactor has moved virtual time by itself (ns)."""
        assert isinstance(self.clock, VirtualClock)
        self.clock.now = when

    @contextmanager
    def hold(self) -> Iterator[None]:
        """Virtual time stands still inside: something real (a process, a thread) is outstanding."""
        self._hold += 1
        self.reactor.free_until = -1
        try:
            yield
        finally:
            self._hold -= 1

    def wake(self) -> None:
        """Let the reactor task run; harmless when it is not parked."""
        if self._parked:
            self._parked = False
            self.reactor.parked_until = -1
            assert self._task is not None
            trio.lowlevel.reschedule(self._task)

    def drain_inline(self) -> None:
        """Handle what was just queued in the calling task (an I/O task), saving a task switch."""
        reactor = self.reactor
        reactor.now = self.clock.now_ns()
        reactor.drain()
        self.flush()
        if reactor.fifo:
            self.wake()

    def flush(self) -> None:
        """Call what waits for the end of a batch: output that has come together is written."""
        calls = self.reactor.after_batch
        while calls:
            calls.pop()()

    def stop(self) -> None:
        """End ``run`` after the iteration in progress."""
        self._stopping = True
        self.reactor.free_until = -1
        self.wake()

    async def wait_in_task(self, wait: Wait) -> Any:
        """Await a reactor wait from a trio task: cancellable, the answer dropped if cancelled."""
        if self._stopping or self._has_ended:
            raise RequestError(EHOSTUNREACH, _ENDED)
        with self._waits.one(wait, abandon=partial(self._post, LAST)) as pending:
            self.post(pending.begin)
            return await trio.lowlevel.wait_task_rescheduled(pending.abort)

    @property
    def is_running(self) -> bool:
        return self._task is not None

    # -- the task

    async def run(self, task_status: Any = trio.TASK_STATUS_IGNORED) -> None:
        """Drain, fire timers, park; until ``stop``. Shielded: who is cancelled outside still unloads in good order."""
        # Who is broken off before this says that it runs stays our parent, and would wait for what is shielded.
        await trio.lowlevel.checkpoint_if_cancelled()
        self._task = trio.lowlevel.current_task()
        self._pid = os.getpid()
        instrument = _TaskWatch(self)
        if isinstance(self.clock, VirtualClock):
            self.clock.quiescent = self._quiescent
            trio.lowlevel.add_instrument(instrument)
        task_status.started()
        try:
            with trio.CancelScope(shield=True):
                while not self._stopping:
                    await self._turn()
        finally:
            self._parked = False
            self._task = None
            self._has_ended = True
            if isinstance(self.clock, VirtualClock):
                self.clock.quiescent = self.clock.jump
                trio.lowlevel.remove_instrument(instrument)
            self._waits.fail(EHOSTUNREACH, _ENDED)
            self.reactor.discard()

    async def _turn(self) -> None:
        reactor, clock = self.reactor, self.clock
        reactor.now = clock.now_ns()
        if reactor.fifo:
            reactor.drain()
            _end_if_forked(self._pid)
            self.flush()
            if not self.is_virtual:
                self._keep_up()
                await trio.lowlevel.checkpoint()
            elif reactor.fifo and self.may_jump is not None:
                # Outside clients may come in between; tasks of ours wait for the end of the instant.
                await self._yield()
            return
        if self.posts.waiting and not self.is_virtual:
            self._admit()
            return
        due = reactor.next_due()
        if due is not None and due <= reactor.now:
            reactor.fire_due()
            _end_if_forked(self._pid)
            self.flush()
            self._watch_instant(1)
            return
        if (
            due is not None
            and due < self._solo_until
            and not self.posts.waiting
            and not self._hold
            and self._is_waited_for()
            and self.is_settled()
        ):
            before = reactor.batches
            self._burst(due)
            self._watch_instant(reactor.batches - before)
            await self._yield()
            return
        await self._park(due)
        if self.posts.waiting:
            self._admit()

    def _keep_up(self) -> None:
        """In real time posts and timers do not wait for an empty FIFO: a loop that spins never lets it be."""
        reactor = self.reactor
        if self.posts.waiting:
            self._admit()
        for _ in range(BUDGET):
            due = reactor.next_due()
            if due is None or due > reactor.now:
                return
            reactor.fire_due()

    def _burst(self, due: int | None) -> None:
        """Jump from timer to timer while no trio task can have anything to say."""
        reactor, clock = self.reactor, self.clock
        assert isinstance(clock, VirtualClock)
        for _ in range(BURST):
            if due is None or self._stopping:
                return
            # What is due at this very instant comes first: a task that was resumed finds the instant complete.
            if due > reactor.now:
                if due >= self._solo_until or self.posts.waiting or self._hold:
                    return
                clock.now = reactor.now = due
            if not (self.posts.waiting or self._hold):
                reactor.free_until = self._solo_until
            reactor.fire_due()
            reactor.free_until = -1
            while reactor.fifo:
                reactor.drain()
            due = reactor.next_due()
            if reactor.after_batch:
                self.flush()
                if self.may_jump is not None:
                    return

    def _watch_instant(self, turns: int) -> None:
        """Timers that fall due at the instant they are set keep virtual time from ever moving."""
        now = self.reactor.now
        if self._turns.count(now, turns) >= standstill.TIMER_LIVELOCK and self.is_virtual:
            self._turns.reset(now)
            self.reactor.end_timer_livelock()

    async def _yield(self) -> None:
        """Let trio's other tasks run; if none wanted to, the licence to jump holds on (see `_TaskWatch`)."""
        if self.may_jump is not None:
            self._solo_until = -1
        await trio.lowlevel.checkpoint()

    async def _park(self, due: int | None) -> None:
        reactor = self.reactor
        self._parked = True
        reactor.parked_until = -1 if self.is_virtual else (due if due is not None else 1 << 62)
        try:
            if self.is_virtual:
                await trio.lowlevel.wait_task_rescheduled(self._abort)
            else:
                with trio.CancelScope(deadline=math.inf if due is None else due / NS):
                    await trio.lowlevel.wait_task_rescheduled(self._abort)
        finally:
            self._parked = False
            reactor.parked_until = -1

    def _abort(self, _: object) -> trio.lowlevel.Abort:
        self._parked = False
        return trio.lowlevel.Abort.SUCCEEDED

    def _admit(self) -> None:
        self.reactor.now = self.clock.now_ns()
        with self.inside():
            for fn in self.posts.take(in_order=self.is_virtual):
                fn()

    @contextmanager
    def inside(self) -> Iterator[None]:
        """What is sent inside goes straight to the FIFO: for the reactor's task and for I/O tasks that drain."""
        self.reactor.enter()
        try:
            yield
        finally:
            self.reactor.leave()

    def _quiescent(self, deadline: float) -> float:
        """trio has nothing to run until ``deadline`` (ns, may be infinite): move time, or say how long to sleep."""
        clock = self.clock
        assert isinstance(clock, VirtualClock)
        if not self._parked:
            sleep = clock.jump(deadline)
            self.reactor.now = clock.now
            return sleep
        if self.posts.waiting or self._stopping:
            self.wake()
            return 0.0
        due = self.reactor.next_due()
        if due is not None and due <= clock.now and not self._hold:
            # Put off by a client's request that drained here: it needs no time, so nobody has to wait for it.
            self.wake()
            return 0.0
        if self._hold or not self._is_waited_for():
            return math.inf
        if not self.is_settled():
            self._look_again = min(2 * self._look_again, _LOOK_SELDOM)
            return self._look_again
        self._look_again = _LOOK_AGAIN / 2
        if due is None and deadline == math.inf:
            # Nothing can ever happen again by itself: whoever waits in a task waits for ever, so say so.
            return 0.0 if self.may_jump is None and self._waits.fail(EDEADLK, _FOR_EVER) else math.inf
        # Tasks of that very instant first: in one batch of trio's with them, the loop's place would be chance.
        if due is None or due >= deadline:
            self.reactor.now = clock.now = math.ceil(deadline)
            return 0.0
        self.reactor.now = clock.now = max(clock.now, due)
        self._solo_until = deadline
        self.wake()
        return 0.0

    def _is_waited_for(self) -> bool:
        """With outside clients about, time moves only while a task or a client waits for an answer."""
        return self.may_jump is None or bool(self._waits) or self.may_jump()

    def task_scheduled(self, task: trio.lowlevel.Task) -> None:
        """A trio task was made runnable: time may not jump past it."""
        if task is not self._task:
            self._solo_until = -1
            self.reactor.free_until = -1


class _TaskWatch(trio.abc.Instrument):
    """Sees every trio task become runnable, whoever made it so: an Event that a handler set, a cancelled scope.

    It also gives each task its place in the order of posts where it is spawned, because trio shuffles first steps.
    Only used under the virtual clock, where both matter.
    """

    def __init__(self, runner: Runner) -> None:
        self._runner = runner

    def task_spawned(self, task: trio.lowlevel.Task) -> None:
        self._runner.posts.number(task)

    def task_scheduled(self, task: trio.lowlevel.Task) -> None:
        self._runner.task_scheduled(task)

    def task_exited(self, task: trio.lowlevel.Task) -> None:
        self._runner.posts.forget(task)


class _TaskWait:
    """One trio task's wait for the reactor; ends once, by the answer or by cancellation."""

    __slots__ = ("_abandon", "_task", "_wait")

    def __init__(
        self, task: trio.lowlevel.Task, wait: Wait, abandon: Callable[[Callable[[], object]], object]
    ) -> None:
        self._task: trio.lowlevel.Task | None = task
        self._wait = wait
        self._abandon = abandon

    def begin(self) -> None:
        if self._task is None:
            return
        try:
            self._wait.begin(self.resume)
        except Exception as error:
            self.resume(None, error)

    def resume(self, value: object, error: BaseException | None) -> None:
        task, self._task = self._task, None
        if task is None:
            return
        trio.lowlevel.reschedule(task, _outcome(value, error))

    def abort(self, _: object) -> trio.lowlevel.Abort:
        # The wait is abandoned by the reactor, not by the task that was cancelled.
        self._task = None
        self._abandon(self._wait.abandon)
        return trio.lowlevel.Abort.SUCCEEDED


class _TaskWaits:
    """All waits of trio tasks that have not ended, in the order they began."""

    def __init__(self) -> None:
        self._open: dict[_TaskWait, None] = {}

    def __len__(self) -> int:
        return len(self._open)

    @contextmanager
    def one(self, wait: Wait, *, abandon: Callable[[Callable[[], object]], object]) -> Iterator[_TaskWait]:
        """A wait of the task that asks; ``abandon`` has the reactor call how it is given up."""
        pending = _TaskWait(trio.lowlevel.current_task(), wait, abandon)
        self._open[pending] = None
        try:
            yield pending
        finally:
            del self._open[pending]

    def fail(self, errnum: int, text: str) -> bool:
        """Nobody will ever answer: end every wait with that. False if there was none."""
        for pending in list(self._open):
            pending.resume(None, RequestError(errnum, text))
        return bool(self._open)


async def room(reactor: Reactor) -> None:
    """Wait while `QUEUE_AT` messages are queued: for tasks that read what makes more."""
    while len(reactor.fifo) > QUEUE_AT:
        await trio.lowlevel.checkpoint()


def _outcome(value: object, error: BaseException | None) -> Any:
    return outcome.Value(value) if error is None else outcome.Error(error)


def _end_if_forked(pid: int) -> None:
    """A callback forked and came back twice: the child has our sockets, would answer with us, and clean up."""
    if os.getpid() != pid:
        os.write(2, _FORKED)
        os._exit(1)
