"""Knows what one kind of work did under each hook in one home, and by what two homes differ; measures nothing.

Also the figures of real Fluxes that were measured before: what `brokersim bench hooks --json` found where one was
(recorded.json beside this file), and what is known of two that nobody can ask any more. They are named as recorded.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from functools import cache
from importlib.resources import files

import attrs
import msgspec

from brokersim.lab.measure.noise import FLOOR, Times, all_times
from brokersim.lab.result import Row
from brokersim.protocol.decoded import JsonObject

#: Hooks whose cost is told, in this order; a timer sends too seldom for its packets to say anything.
COSTS = ("timer:1s", "prepare", "check", "idle")
SHOWS = ("prepare", "check", "idle")
#: Packets and turns of an operation that differ by less are the same: a continuation more or less may share a turn.
SAME = 0.25
#: Packets and turns a message of many jobs: by this share (prepare and check of flux-core 0.88 lay within 4 %).
SAME_SHARE = 0.05
JOB, KVS = "job", "kvs"
#: What is told first: the others are for those who ask for more.
FIRST = ("rpc", JOB, KVS)
#: Kinds of work, as they are called in a table.
WORKS = {
    "plain": "request", "rpc": "one rpc", "commit": "commit", "event": "event", JOB: "job", KVS: "job, kvs",
}  # fmt: skip


@attrs.frozen(kw_only=True)
class Figures:
    """One kind of work in one home. Packets and turns are an operation's; of jobs they are a message's.

    ``seconds`` an operation takes without a hook. ``times`` says by hook how many times as long it takes, with the
    noise of its rounds; ``packets`` what it sends. ``turns`` are those without a hook. ``recorded`` says when figures
    were measured that were not measured now. What was not looked at is missing, or None.
    """

    work: str
    home: str
    seconds: float | None = None
    times: Mapping[str, Times] = attrs.field(factory=dict)
    packets: Mapping[str, float] = attrs.field(factory=dict)
    turns: float | None = None
    recorded: str = ""

    @property
    def is_flux(self) -> bool:
        """Is it the real one that ours are held against?"""
        return self.home.startswith("flux-core")

    def to_row(self) -> JsonObject:
        """As a row of a result; `from_row` reads it back."""
        row: JsonObject = {
            "work": self.work,
            "home": self.home,
            "seconds": self.seconds,
            "turns": self.turns,
        }
        for hook, one in self.times.items():
            row |= {f"times {hook}": one.times, f"noise {hook}": one.noise}
        return (
            row | {f"packets {hook}": one for hook, one in self.packets.items()} | {"recorded": self.recorded}
        )

    @classmethod
    def from_row(cls, row: Row) -> Figures:
        """Raises KeyError for a row of something else."""
        return cls(
            work=row["work"], home=row["home"], seconds=row.get("seconds"), turns=row.get("turns"),
            times={
                key.partition(" ")[2]: Times(times=value, noise=row[f"noise {key.partition(' ')[2]}"])
                for key, value in row.items() if key.startswith("times ")
            },
            packets={
                key.partition(" ")[2]: value for key, value in row.items() if key.startswith("packets ")
            },
            recorded=row.get("recorded", ""),
        )  # fmt: skip


def job_figures(rows: Iterable[Row], home: str, jobs: int, floor: float = FLOOR) -> Figures:
    """Of rows as `watchers` makes them: ``jobs`` one after the other, once a round."""
    by_hook = {row["hook"]: row for row in rows}
    none = by_hook.get("none")
    walls = {hook: row.get("walls") or [row["wall_s"]] for hook, row in by_hook.items()}
    base = walls.pop("none", [])
    return Figures(
        work=JOB,
        home=home,
        seconds=none["wall_s"] / jobs if none else None,
        times=all_times(walls, base, floor),
        packets={hook: by_hook[hook]["packets_per_message"] for hook in SHOWS if hook in by_hook},
        turns=none["turns_per_message"] if none else None,
    )


def kvs_figures(modules: Mapping[str, Sequence[Row]], home: str) -> Figures:
    """What the kvs module alone showed in the same jobs; ``modules`` by hook, as `watchers` has them."""
    kvs = {
        hook: one for hook, each in modules.items() for one in each
        if one["name"] == "kvs" and sum(one["counts"][1::2])
    }  # fmt: skip
    shares = {hook: one["packets"] / sum(one["counts"][1::2]) for hook, one in kvs.items()}
    none = kvs.get("none")
    return Figures(
        work=KVS,
        home=home,
        packets={hook: shares[hook] for hook in SHOWS if hook in shares},
        turns=none["iterations"] / sum(none["counts"][1::2]) if none else None,
    )


# -- two homes


def unlike(ours: Figures, real: Figures) -> list[str]:
    """What differs by more than the noise of both, in a few words each."""
    found = []
    for hook in COSTS:
        if hook in ours.times and hook in real.times and _apart(ours.times[hook], real.times[hook]):
            found.append(f"{hook} ×{ours.times[hook].times:.2g} for ×{real.times[hook].times:.2g}")
    for hook in SHOWS:
        if hook in ours.packets and hook in real.packets:
            here, there = ours.packets[hook], real.packets[hook]
            if not _is_same(ours.work, here, there):
                found.append(f"{hook} {here:.3g} packets for {there:.3g}")
    if ours.turns is not None and real.turns is not None and not _is_same(ours.work, ours.turns, real.turns):
        found.append(f"{ours.turns:.2g} turns for {real.turns:.2g}")
    return found


def _apart(one: Times, other: Times) -> bool:
    noise = one.noise * max(1.0, one.times) + other.noise * max(1.0, other.times)
    return abs(one.times - other.times) > noise


def _is_same(work: str, here: float, there: float) -> bool:
    return abs(here - there) <= (SAME_SHARE * there if work in (JOB, KVS) else SAME)


# -- what is known


def _walls(**walls: float) -> dict[str, Times]:
    """Nobody said how far equal runs lay apart, so nothing of them is judged."""
    return {hook.replace("timer", "timer:1s"): Times(times=one, noise=0.0) for hook, one in walls.items()}


#: A native run of 20 jobs of flux-core 0.28 with the journal's patch, and the journal itself: 10,000 jobs.
OLDER = (
    Figures(
        work=JOB, home="Flux 0.28", recorded="2021, 2 cores", times=_walls(prepare=1.07, check=1.10, idle=21.0)
    ),
    Figures(
        work=JOB, home="journal", recorded="2021, 12 cores",
        times=_walls(timer=1.002, prepare=1.154, check=1.119, idle=1.658),
    ),
    Figures(
        work=KVS, home="journal", recorded="2021, 12 cores", packets={"prepare": 1.17, "check": 1.00, "idle": 1.09}
    ),
)  # fmt: skip


@cache
def recorded() -> tuple[Figures, ...]:
    """Every home where the shipped table was measured, a real Flux among them; each names the day."""
    document = msgspec.json.decode(files(__package__).joinpath("recorded.json").read_bytes())
    day = document["meta"]["date"]
    return tuple(
        attrs.evolve(Figures.from_row(row), recorded=day) for row in document["runs"] if not row["recorded"]
    )


def real_of(work: str, found: Iterable[Figures]) -> Figures | None:
    """The real Flux that a kind of work is held against: one measured now, else the recorded one."""
    both = [one for one in (*found, *recorded()) if one.work == work and one.is_flux]
    return both[0] if both else None


def one_table(found: Iterable[Figures] = ()) -> list[Figures]:
    """By kind of work: the real Flux, measured now or recorded, then ours, then the older ones.

    Without ``found`` it is the table as it was recorded.
    """
    measured = list(found)
    shown: list[Figures] = []
    for work in WORKS:
        ours = [one for one in measured or recorded() if one.work == work]
        real = real_of(work, measured)
        shown += ([] if real is None or real in ours else [real]) + ours
        shown += [one for one in OLDER if one.work == work]
    return shown


# -- in words


def told(figures: Sequence[Figures]) -> list[dict[str, str]]:
    """The table for people: a ratio within its own noise stands as ``~1``, what nobody looked at as a dash."""
    return [
        {
            "work": WORKS.get(one.work, one.work),
            "home": one.home,
            "none": _time(one.seconds),
            **{hook: _ratio(one.times.get(hook)) for hook in COSTS},
            "packets": " / ".join(_figure(one.packets.get(hook)) for hook in SHOWS) if one.packets else "–",
            "turns": _figure(one.turns),
            "measured": one.recorded or "now",
        }
        for one in figures
    ]


def _time(seconds: float | None) -> str:
    if seconds is None:
        return "–"
    return f"{seconds * 1e3:.3g} ms" if seconds >= 1e-3 else f"{seconds * 1e6:.3g} µs"


def _ratio(one: Times | None) -> str:
    return "–" if one is None else "~1" if one.is_noise else f"×{one.times:.3g}"


def _figure(value: float | None) -> str:
    return "–" if value is None else f"{value:.2f}"
