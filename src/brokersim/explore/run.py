"""Knows how one plan is run and judged: instance, schedule, steps, faults, rest, and the sentences that say what broke.

Equal plans give equal runs, byte by byte; nothing here looks at a clock, a process or an address.
"""

from __future__ import annotations

import hashlib
import os
import random
import tempfile
from collections.abc import Callable, Collection, Iterator, Mapping
from contextlib import ExitStack
from functools import partial
from pathlib import Path
from typing import Any

import attrs
import trio

from brokersim.explore.author import Author, merged_families
from brokersim.explore.disk import Disk, SyncTrace
from brokersim.explore.families.family import Family
from brokersim.explore.faults import KINDS, LOSSY, Trouble
from brokersim.explore.plan import Plan, Step
from brokersim.explore.schedule import LONGEST, SeededSchedule
from brokersim.explore.world import Moment, World
from brokersim.host.course import RUNNING
from brokersim.instance import Instance
from brokersim.kit.laws import Relaxation
from brokersim.kit.ledger import Line
from brokersim.kit.restarts import end_all
from brokersim.kit.witness import Witness
from brokersim.protocol.decoded import JsonObject
from brokersim.protocol.errnums import EINVAL, RequestError, errname
from brokersim.reactor.clock import VirtualClock
from brokersim.reactor.loop import NS
from brokersim.services.composition import DEFAULT_MODULES, RANK0_MODULES
from brokersim.testing.broker import Broker
from brokersim.testing.callers import HandleCaller, Listening
from brokersim.testing.metrics import StatsSink
from brokersim.testing.options import TestOptions, merged

#: Seconds after the last fault within which everything has to be answered, and modules to be back.
PATIENCE = 60.0
#: Seconds between two looks while that is waited for: a beat's half, so that few are looked at.
_LOOK = 0.25
#: A disk in memory: on a real one each sync takes as long as half an example.
_MEMORY = next((path for path in ("/dev/shm",) if os.access(path, os.W_OK)), None)

#: Faults that take what a module had in memory, and its counts.
_MEMORY_LOST = {"kill", "crash", "disconnect"}
Call = Callable[[], object]


@attrs.frozen(kw_only=True)
class Outcome:
    """What came of one plan. ``broken`` are sentences; none: nothing broke."""

    broken: tuple[str, ...]
    #: Kinds of faults that hit something, and how often.
    hits: dict[str, int]
    #: (module, topic, errnum) of all that was received.
    seen: frozenset[tuple[str, str, int]]
    messages: int
    #: Of everything that was sent and handed out; "" unless asked for.
    digest: str
    trace: tuple[Line, ...]
    moments: tuple[Moment, ...] = ()

    @property
    def what(self) -> str:
        """What broke, without its details: the law, or the family."""
        return self.broken[0].partition(":")[0] if self.broken else ""


def modules_of(plan: Plan, families: dict[str, Family]) -> tuple[str, ...]:
    """What an example loads, in the order of a start."""
    if plan.modules:
        return (*plan.modules, *plan.own)
    wanted = {module for name in plan.families for module in families[name].modules}
    others = sorted(wanted - set(DEFAULT_MODULES))
    return (*(module for module in DEFAULT_MODULES if module in wanted), *others, *plan.own)


def run_plan(plan: Plan, author: Author | None = None, *, keeps_trace: bool = False) -> Outcome:
    """Run a plan from beginning to end, in virtual time.

    Raises RequestError if its instance cannot start, or nobody knows what is in it (EINVAL).
    """
    families = merged_families(author)
    _check_words(plan, families)
    with ExitStack() as stack:
        state_dir = None
        if plan.has_disk:
            state_dir = Path(
                stack.enter_context(tempfile.TemporaryDirectory(prefix="brokersim-", dir=_MEMORY))
            )
        options = merged(
            {
                "size": plan.size,
                "fanout": plan.fanout,
                "modules": modules_of(plan, families),
                "seed": plan.seed,
                "latency": plan.latency,
                "attrs": plan.attributes,
                "state_dir": state_dir,
                "module_path": author.module_path if author is not None else (),
            }
        )
        example = _Example(plan, families, author or Author(), options)
        return trio.run(partial(example.run, keeps_trace), clock=VirtualClock())


def _check_words(plan: Plan, families: Mapping[str, Family]) -> None:
    """Plans are kept in files, and written by hand."""
    words: list[tuple[str, str, Collection[str]]] = [("family", name, families) for name in plan.families]
    words += [("fault", fault.kind, KINDS) for fault in plan.faults]
    for step in plan.steps:
        name, _, verb = step.op.partition(".")
        words += [
            ("family", name, families),
            ("operation", verb, families[name].does if name in families else {}),
        ]
    for what, word, known in words:
        if word not in known:
            raise RequestError(EINVAL, f"the plan has {what} {word!r:.40}; there are {', '.join(known)}")
    for step in plan.steps:
        name, _, verb = step.op.partition(".")
        family = families[name]
        wanted = family.draws.get(verb, _no_args)(random.Random(0), step.id)
        lacking = [arg for arg in wanted if arg not in step.args and arg not in family.optional]
        if lacking:
            raise RequestError(
                EINVAL, f"the plan's step {step.id}, {step.op}, has no {', no '.join(lacking)}"
            )


def _no_args(_rng: random.Random, _: int) -> JsonObject:
    return {}


class _Example:
    """One plan while it runs."""

    def __init__(self, plan: Plan, families: dict[str, Family], author: Author, options: TestOptions) -> None:
        self._plan = plan
        self._families = families
        self._author = author
        self._options = options
        self._broken: list[str] = []
        self._world: World
        #: Messages of lives before this one.
        self._earlier: list[Line] = []
        self._disk = None if options.state_dir is None else Disk(options.state_dir)
        self._hits: dict[str, int] = {}
        #: Places of items that have been, and when (s) the first life began to have them.
        self._been: dict[int, None] = {}
        self._began: float | None = None

    async def run(self, keeps_trace: bool) -> Outcome:
        self._world = World(self._new_life())
        self._world.slack = _slack(self._plan)
        try:
            while (outcome := await self._live(keeps_trace)) is None:
                self._earlier += self._world.witness.ledger.kept
                self._world.reborn(self._new_life())
            return outcome
        except RequestError as error:
            if not self._world.life:
                raise  # that is for whoever gave it what it starts with
            self._say(f"start: the instance cannot be started anew: {error}")
        except Exception as error:
            self._say(f"instance: ended by {_innermost(error)!r}")
        return self._outcome(keeps_trace)

    def _new_life(self) -> Witness:
        return Witness(Instance(self._options.settings(), StatsSink()))

    async def _live(self, keeps_trace: bool) -> Outcome | None:
        """One life of the instance: to the end of the example, or to its own, which has no outcome."""
        instance = self._world.instance
        self._trouble = Trouble(self._world, self._disk, self._hits)
        outcome = None
        if self._disk is not None:
            instance.broker(0).add_trace(SyncTrace(self._disk))
        async with instance.running():
            with trio.CancelScope() as life:
                self._world.end_life = life.cancel
                await self._play(instance)
                await self._judge()
                outcome = self._outcome(keeps_trace)
            if not self._plan.has_disk:
                # Nothing is judged of an end in good order, and nobody reads a log of it.
                instance.runner.post(partial(end_all, instance, is_told=False))
        return outcome

    async def _play(self, instance: Instance) -> None:
        """All steps and faults that have not been, and then rest."""
        await self._world.witness.settle()
        caller = HandleCaller(Listening(instance.broker(0), lambda _: None))
        self._broker = Broker(self._world.witness, caller, StatsSink(), {})
        self._schedule = schedule = SeededSchedule(instance.reactor, self._plan.order, self._plan.spread)
        instance.reactor.put_schedule(schedule)
        if self._author.always_checks:
            schedule.watch = self._always
        self._world.note("boot", "started")
        self._start(instance)
        await instance.sleep(self._length())
        self._trouble.heal()
        await self._come_to_rest()
        schedule.end()
        is_open = self._trouble.is_open
        self._trouble.heal()  # an anchor may have begun some as the last messages came: what they hit counts
        if is_open:
            await self._come_to_rest()  # they are over before anybody judges

    # -- what happens

    def _start(self, instance: Instance) -> None:
        for name in self._plan.families:
            instance.runner.post(partial(self._families[name].begin, self._world))
        reactor, moments = instance.reactor, dict[float, list[Call]]()
        steps = [partial(self._do, step) for step in self._plan.steps]
        faults = [partial(self._trouble.begin, fault) for fault in self._plan.faults]
        for place, (item, act) in enumerate(zip(self._plan.items, (*steps, *faults), strict=True)):
            call = partial(self._once, place, act)
            if item.on is not None:
                topic, rank, number = item.on
                self._schedule.anchor(topic, rank, number, call)
            else:
                moments.setdefault(item.at or 0.0, []).append(call)
        for at, together in moments.items():
            reactor.call_at(reactor.now + round(max(0.0, at - self._age()) * NS), _call_all, together)

    def _once(self, place: int, act: Call) -> None:
        """What has been in an earlier life of the instance is not again."""
        if place not in self._been:
            self._been[place] = None
            act()

    def _age(self) -> float:
        """Seconds since the first life had its first step."""
        if self._began is None:
            self._began = trio.current_time()
        return trio.current_time() - self._began

    def _do(self, step: Step) -> None:
        if step.rank in self._world.down:
            return  # there is no client on a rank that is not there
        self._world.note("step", _told(step), step.rank)
        family, _, verb = step.op.partition(".")
        self._families[family].does[verb](self._world, step)

    def _length(self) -> float:
        """Seconds until all has begun that begins at a time."""
        times = [item.at for item in self._plan.items if item.at is not None]
        ends = [fault.at + fault.seconds for fault in self._plan.faults if fault.at is not None]
        return max(0.0, max(0.0, *times, *ends, 0.0) - self._age()) + 0.001

    def _always(self) -> None:
        if not self._own_run():
            return  # nothing holds of a module that is not there, or only begins
        for check in self._author.always_checks:
            try:
                check(self._broker)
            except AssertionError as error:
                self._say(f"always: {_sentence(check, error)}")

    def _own_run(self) -> bool:
        """The modules of the one who explores run on all ranks that are there."""
        return all(
            any(
                str(module.path) == path and module.status == RUNNING
                for module in self._world.instance.modules(rank)
            )
            for path in self._plan.own
            for rank in self._world.up()
        )

    # -- rest

    async def _come_to_rest(self) -> None:
        instance = self._world.instance
        until = instance.reactor.now + round(PATIENCE * NS)
        await self._world.witness.settle()
        while instance.reactor.now < until and (
            self._world.unanswered()
            or self._missing()
            or self._schedule.holding
            or self._trouble.links_are_busy_until() > instance.reactor.now
        ):
            await instance.sleep(_LOOK)
            self._trouble.heal()  # what an anchor began meanwhile
        await self._world.witness.settle()

    def _missing(self) -> list[str]:
        """Modules that are not back."""
        return [
            f"{Path(name).stem} on rank {rank}"
            for rank in range(self._plan.size)
            for name in self._expected(rank)
            if not any(
                module.status == RUNNING and name in (module.name, str(module.path))
                for module in self._world.instance.modules(rank)
            )
        ]

    def _expected(self, rank: int) -> list[str]:
        return [name for name in self._options.modules if rank == 0 or name not in RANK0_MODULES]

    # -- what is wrong

    def _say(self, sentence: str) -> None:
        if self._options.state_dir is not None:  # its name is another in each run
            sentence = sentence.replace(str(self._options.state_dir), "…")
        if sentence not in self._broken:
            self._broken.append(sentence)
            self._world.note("broken", sentence)

    async def _judge(self) -> None:
        world = self._world
        world.note("rest", "at rest")
        for rank in range(self._plan.size):
            for line in world.instance.broker(rank).log.lines():
                if "ended by" in line and "killed on purpose" not in line:
                    self._say(f"crash: {line.split(' - - - ')[-1]} (rank {rank})")
        for name in self._missing():
            self._say(f"modules: {name} is not running at rest")
        is_lossy = bool(LOSSY & self._trouble.hits.keys())
        for asked in [] if is_lossy else world.unanswered():
            self._say(f"answered: {asked} was never answered")
        if not is_lossy:
            self._look_for_refusals()
            await self._ask_families()
        for check in self._author.rest_checks:
            try:
                await check(self._broker)
            except AssertionError as error:
                self._say(f"rest: {_sentence(check, error)}")
        world.dismiss()
        await world.witness.settle()
        relaxed = {law: Relaxation(reason=reason) for law, reason in self._relaxed(is_lossy)}
        for violation in world.witness.violations(relaxed=relaxed):
            for place in violation.places:
                self._say(f"law {violation.law.name}: {place}")

    def _relaxed(self, is_lossy: bool) -> Iterator[tuple[str, str]]:
        """Laws that need not hold after what has been, and why."""
        if is_lossy:
            yield from dict.fromkeys(("answered", "pending"), "messages got lost").items()
        if (LOSSY | {"delay"}) & self._trouble.hits.keys():
            yield "events", "one may have been lost, or come late"
        if (0, "kvs") in self._world.disturbed:
            yield "kvs-events", "an event was on its way to one that was loaded anew"
        is_counted = not any(name == "metrics" for _, name in self._world.disturbed)
        if not is_counted and _MEMORY_LOST & self._hits.keys():
            yield "metrics-conserved", "who had counted was killed"

    def _look_for_refusals(self) -> None:
        """While nothing goes wrong nobody is refused what could be done."""
        if self._hits.keys() - {"slow"} or self._world.failing:
            return
        for asked in self._world.asked:
            name, _, verb = asked.step.op.partition(".")
            family = self._families[name]
            if asked.is_acked and verb in family.never:
                self._say(f"{name}: {asked} was acknowledged, and cannot be done")
            fair = family.fair.get(verb)
            if fair is not None and asked.errnum and asked.errnum not in fair:
                self._say(f"refused: {asked}: {asked.text or errname(asked.errnum)}")

    async def _ask_families(self) -> None:
        for family in (self._families[name] for name in self._plan.families):
            name = family.name
            is_void = self._may_have_lost(family) or (self._world.life and not family.survives)
            try:
                await family.end(self._world)
                found = [] if is_void else await family.check(self._world)
            except RequestError as error:
                found = [] if is_void else [f"{name}: what it promises cannot be looked at: {error}"]
            for sentence in found:
                self._say(sentence)

    def _may_have_lost(self, family: Family) -> bool:
        """What keeps a promise until that is written was loaded anew, and that was refused: Flux loses it, too."""
        disturbed = self._world.disturbed
        if {(0, "kvs"), (0, "content-cache")} <= disturbed.keys() and "kvs.0" in family.lossy:
            return True  # one that starts while there is no content service starts empty, as its log says
        return any(f"{name}.{rank}" in family.lossy for rank, name in self._world.hindered)

    def _outcome(self, keeps_trace: bool) -> Outcome:
        ledger = self._world.witness.ledger
        seen = frozenset(
            (name, topic, 0) for (_, name), tally in ledger.tallies.items() for _, topic in tally
        ) | frozenset((asked.step.op, asked.topic, asked.errnum) for asked in self._world.asked)
        trace = (*self._earlier, *ledger.kept) if keeps_trace else ()
        digest = hashlib.sha256("\n".join(map(str, trace)).encode()).hexdigest() if keeps_trace else ""
        return Outcome(
            broken=tuple(self._broken),
            hits=dict(self._trouble.hits),
            seen=seen,
            messages=len(self._earlier) + ledger.moves,
            digest=digest,
            trace=trace,
            moments=tuple(self._world.moments) if keeps_trace else (),
        )


def _innermost(error: BaseException) -> BaseException:
    """What was raised, out of the groups it came in."""
    return _innermost(error.exceptions[0]) if isinstance(error, BaseExceptionGroup) else error


def _slack(plan: Plan) -> float:
    """Seconds: a dozen hops, each as late as one may be, over links as slow as the plan makes them."""
    slow = max([0.0, *(fault.delay for fault in plan.faults if fault.kind == "slow")])
    return 12 * (plan.latency + LONGEST * plan.spread + slow) + 1e-3


def _told(step: Step) -> str:
    return " ".join([f"step {step.id}: {step.op}", *(f"{name}={value}" for name, value in step.args.items())])


def _call_all(calls: list[Call]) -> None:
    """What happens at one moment is sent before any of it is handed over: that is how requests meet."""
    for call in calls:
        call()


def _sentence(check: Any, error: AssertionError) -> str:
    """What an author's check says of itself."""
    text = " ".join(str(error).split())
    name = check.__name__.strip("_") or "check"
    line = check.__code__.co_firstlineno
    return f"{name} (line {line}): {text}" if text else f"{name} (line {line}) does not hold"
