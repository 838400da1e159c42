"""Knows how a plan is drawn from a seed: swarm, sizes, times that meet, anchors, faults. Not whether it finds anything.

Swarm: each example switches every family and every kind of fault on with one half, so that some examples hold nothing
but what another would bury. One in three has no fault at all.
"""

from __future__ import annotations

import random
from collections.abc import Mapping, Sequence

import attrs
from msgspec.structs import replace

from brokersim.explore.author import names_of
from brokersim.explore.families import OF_MODULES
from brokersim.explore.families.family import Family
from brokersim.explore.faults import HOSTILE, MODELS, ON_DISK
from brokersim.explore.plan import Anchor, Plan, PlannedFault, Step
from brokersim.explore.run import modules_of
from brokersim.protocol.decoded import JsonObject
from brokersim.protocol.errnums import EIO, ENOSPC
from brokersim.services.composition import RANK0_MODULES

#: Seconds within which nearly everything happens, and those of a long example, which sees heartbeats.
_SHORT, _LONG = 0.01, 5.0
#: Operations of one family at most.
_VERBS = 5
#: How many plans have the operations of one theme.
_THEMED = 0.5
#: Limits that no example of so little would reach, and how many plans have some.
_LIMITS = (
    {"content.purge-target-size": "0", "content.purge-old-entry": "0"},
    {"content.flush-batch-limit": "1"},
)
_LIMITED = 0.2
#: How many plans of what outlives the instance have a state directory; of others half as many.
_ON_DISK = 0.2
#: One plan in so many has all modules that its families use.
_FULL = 4
#: Seconds of a fault of messages in the place of hardly any: commits come in windows of 10 ms, and its count says how
#: many it hits.
_WINDOWS = {0.0: 0.02, 1e-4: 0.5}
#: How many of the requests that fail are those that a family names (`Family.failures`).
_BEHIND = 0.5
#: How many of the faults that no Flux does to a message are of an event: whoever hears it relies on its order.
_OF_EVENTS = 0.5
#: Faults at most.
_FAULTS = 3
#: Seconds that a slow link takes more: what others do in a moment, in a while, or what nobody waits for any more.
_LATE = (1e-4, 1e-3, 0.1, 10.0)
_LATENCIES = (50e-6, 50e-6, 0.0, 1e-3)


@attrs.frozen(kw_only=True)
class Space:
    """What plans are drawn from."""

    families: Mapping[str, Family]
    #: Those that may be switched on.
    wanted: tuple[str, ...]
    sizes: tuple[int, int] = (1, 4)
    model: str = "flux"
    #: Modules of the one who explores.
    own: tuple[str, ...] = ()


def draw(space: Space, seed: int) -> Plan:
    """The plan of a seed; the same one each time."""
    rng = random.Random(seed)
    families = _swarm(rng, space.wanted)
    if "own" in space.wanted and "own" not in families:
        families = (*families, "own")
    plan = Plan(
        seed=rng.randrange(1 << 16),
        size=rng.randint(*space.sizes),
        fanout=rng.choice((2, 2, 1)),
        latency=rng.choice(_LATENCIES),
        order=rng.randrange(1 << 32),
        spread=rng.choice(space.families[rng.choice(families)].spreads),
        own=space.own,
        families=names_of(families),
        has_disk=rng.random() < (_ON_DISK if _survives(space, families) else _ON_DISK / 2),
    )
    if "content-cache" in modules_of(plan, dict(space.families)) and rng.random() < _LIMITED:
        plan = plan.replace(attributes=rng.choice(_LIMITS))
    plan = plan.replace(modules=_lean(plan, space, seed))
    length = _LONG if rng.random() < 0.25 or plan.families == ("cron",) else _SHORT
    moments = [round(rng.uniform(0, length), 6) for _ in range(rng.randint(1, 4))]
    when = _When(rng, plan, space.families, moments)
    plan = plan.replace(steps=_steps(rng, plan, space, when))
    return plan.replace(faults=_faults(rng, plan, space, when, length))


def _lean(plan: Plan, space: Space, seed: int) -> tuple[str, ...]:
    """What to load, where that is less than what the families of a plan use; else nothing."""
    chosen = [space.families[name] for name in plan.families]
    if plan.has_disk or not all(family.spare for family in chosen) or seed % _FULL == 0:
        return ()
    spare = {name for family in chosen for name in family.spare}
    return tuple(name for name in modules_of(plan, dict(space.families)) if name not in (*spare, *plan.own))


def _survives(space: Space, names: Sequence[str]) -> bool:
    """Something of it is to outlive the instance, so that a disk is worth its time."""
    return any(space.families[name].survives for name in names)


def _swarm(rng: random.Random, names: Sequence[str]) -> tuple[str, ...]:
    found = tuple(name for name in names if rng.random() < 0.5)
    return found if found and len(found) <= 3 else (rng.choice(names),)


class _When:
    """Draws times that meet, and anchors."""

    def __init__(
        self, rng: random.Random, plan: Plan, families: Mapping[str, Family], moments: list[float]
    ) -> None:
        self._rng = rng
        self._size = plan.size
        self._moments = moments
        self._topics = [topic for name in plan.families for topic in families[name].topics]

    def step(self) -> JsonObject:
        if self._topics and self._rng.random() < 0.2:
            return {"on": self._anchor()}
        return {"at": self._time()}

    def fault(self) -> JsonObject:
        if self._topics and self._rng.random() < 0.5:
            return {"on": self._anchor()}
        return {"at": self._time()}

    def _time(self) -> float:
        # Mostly at one of few moments, or a little behind: what is to race has to be near.
        return round(self._rng.choice(self._moments) + self._rng.choice((0.0, 0.0, 1e-5, 1e-4, 1e-3)), 6)

    def _anchor(self) -> Anchor:
        rank = self._rng.choice((0, self._rng.randrange(self._size)))
        return self._rng.choice(self._topics), rank, self._rng.choice((1, 1, 2, 3, 5))


def _steps(rng: random.Random, plan: Plan, space: Space, when: _When) -> tuple[Step, ...]:
    # Verbs are switched, too: an example of nothing but appends and reloads finds what a mixture hides.
    pool = []
    for name in plan.families:
        family = space.families[name]
        themes = (plan.has_disk and family.lasting) or family.themes
        if themes and rng.random() < _THEMED:
            verbs = list(rng.choice(themes))
        else:
            verbs = rng.sample(list(family.draws), min(len(family.draws), rng.randint(1, _VERBS)))
        pool += [(family, verb) for verb in verbs]
    steps: list[Step] = []
    most = min(space.families[name].most for name in plan.families)
    left = {name: space.families[name].most_made for name in plan.families}
    for number in range(rng.randint(2, most)):
        family, verb = rng.choice(pool)
        left[family.name] -= family.makes.get(verb, 0)
        if left[family.name] < 0:
            continue
        steps.append(_step(rng, plan, when, family, verb, number))
    for name in plan.families:
        family = space.families[name]
        if family.makes and not any(step.op in family.making for step in steps):
            place = rng.randrange(len(steps))
            verb = rng.choice(tuple(family.makes))
            steps[place] = _step(rng, plan, when, family, verb, steps[place].id)
    return tuple(steps)


def _step(rng: random.Random, plan: Plan, when: _When, family: Family, verb: str, number: int) -> Step:
    args = family.draws[verb](rng, number)
    rank = rng.randrange(plan.size)
    return Step(id=number, op=f"{family.name}.{verb}", rank=rank, args=args, **when.step())


def _faults(
    rng: random.Random, plan: Plan, space: Space, when: _When, length: float
) -> tuple[PlannedFault, ...]:
    kinds = [kind for kind in MODELS[space.model] if kind not in ON_DISK and rng.random() < 0.5]
    if plan.has_disk:
        kinds += [kind for kind in MODELS[space.model] if kind in ON_DISK and rng.random() < 0.5]
    if not kinds or rng.random() < 1 / 3:
        return ()
    chosen = [rng.choice(kinds) for _ in range(rng.randint(1, _FAULTS))]
    if plan.has_disk and _survives(space, plan.families) and space.model != "none":
        chosen[0] = rng.choice(("crash", "power-cut"))
    drawn = (_fault(rng, plan, space, kind, when, length) for kind in chosen)
    return tuple(fault for fault in drawn if fault is not None)


def _fault(
    rng: random.Random, plan: Plan, space: Space, kind: str, when: _When, length: float
) -> PlannedFault | None:
    seconds = round(rng.choice((0.0, 1e-4, 1e-3, length / 4)), 6)
    rank = rng.randrange(plan.size)
    moment = when.fault()
    if kind in ON_DISK or (kind == "crash" and plan.has_disk and rng.random() < 0.5):
        if "content-sqlite" not in modules_of(plan, dict(space.families)):
            return None
        return PlannedFault(kind=kind, seconds=seconds, count=rng.randrange(1000), **moment)
    if kind in ("slow", "crash", "disconnect"):
        if plan.size == 1:
            return None
        rank = rng.randrange(1, plan.size)
        return PlannedFault(kind=kind, rank=rank, seconds=seconds, delay=rng.choice(_LATE), **moment)
    if kind in ("kill", "reload"):
        return _ended(rng, plan, space, PlannedFault(kind=kind, rank=rank, seconds=seconds, **moment))
    if kind == "fill-disk":
        if not {"content-sqlite"} & set(modules_of(plan, dict(space.families))):
            return None
        return PlannedFault(kind=kind, seconds=seconds, **moment)
    topics = [topic for name in plan.families for topic in space.families[name].topics]
    if not topics:
        return None
    to, rank = rng.choice(topics), rng.choice((0, rank))
    behind = [pair for name in plan.families for pair in space.families[name].failures]
    if kind == "fail" and behind and rng.random() < _BEHIND:
        (anchor, to), rank = rng.choice(behind), 0
        moment = {"on": (anchor, 0, rng.choice((1, 1, 2, 3)))}
    events = [topic for name in plan.families for topic in space.families[name].events]
    if kind in HOSTILE and events and rng.random() < _OF_EVENTS:
        to = rng.choice(events)
    return PlannedFault(
        kind=kind, rank=rank, to=to, seconds=_WINDOWS.get(seconds, seconds),
        errnum=rng.choice((EIO, ENOSPC)), count=rng.choice((1, 1, 2, 5)), delay=rng.choice((1e-4, 1e-2)),
        **moment,
    )  # fmt: skip


def _ended(rng: random.Random, plan: Plan, space: Space, fault: PlannedFault) -> PlannedFault | None:
    """A module that ends or is loaded anew, maybe one that owes something for a step, right behind its anchor."""
    on_rank_0 = _may_end(plan, space, fault.kind, 0)
    owed = []
    for op in sorted({step.op for step in plan.steps}):
        name, _, verb = op.partition(".")
        owed.append([pair for pair in space.families[name].reloads.get(verb, ()) if pair[1] in on_rank_0])
    owed = [pairs for pairs in owed if pairs]
    if owed and rng.random() < _BEHIND:
        anchor, module = rng.choice(rng.choice(owed))
        return replace(fault, rank=0, to=module, at=None, on=(anchor, 0, rng.choice((1, 1, 2, 3))))
    names = _may_end(plan, space, fault.kind, fault.rank)
    # What a family looks at, first of all: it has the promises.
    looked_at = [name for name in names if OF_MODULES.get(name, name) in plan.families]
    if looked_at and rng.random() < 0.5:
        return replace(fault, to=rng.choice(looked_at))
    return replace(fault, to=rng.choice(names)) if names else None


def _may_end(plan: Plan, space: Space, kind: str, rank: int) -> list[str]:
    """Modules that are loaded there, and that may be ended so without breaking a promise."""
    chosen = [space.families[family] for family in plan.families]
    lossy = {name for family in chosen for name in family.lossy} if kind == "kill" else set()
    loaded = modules_of(plan, dict(space.families))
    lossy |= {
        name for family in chosen if set(family.spare).difference(loaded) for name in family.kept_by_spare
    }
    return [
        name.rsplit("/")[-1].removesuffix(".py")
        for name in loaded
        if (rank == 0 or name not in RANK0_MODULES) and f"{name}.{rank}" not in lossy
    ]
