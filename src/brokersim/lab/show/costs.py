"""Knows how what a hook costs is said: one sentence, and the cells of a row; not how it was measured.

Nothing is said in figures that differs by less than equal runs do.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from brokersim.lab.measure.noise import Times, all_times
from brokersim.lab.result import Row

#: What a modelled difference must exceed to be told: there is no noise, and a timer of 1 s still costs something.
MODELLED = 0.005
#: Said wherever one loop was measured. 21 times: Flux 0.28 with the journal's patch, two cores; 50: flux-core 0.88.
IN_FLUX = "In Flux idle costs 21 to 50 times (bench watchers --clock virtual)."
#: Hooks that are told together, the dearest first; timers come last.
GROUPS = (("idle",), ("prepare", "check"))


def sentence(runs: Sequence[Row], clock: str) -> str:
    """What each hook costs beside none, the same words in the same order each time. Rows as `watchers` makes them."""
    rows = {row["hook"]: row for row in runs}
    none = rows.pop("none", None)
    if none is None or not rows:
        return f"Run under {', '.join(rows) or 'no hook'}: what a hook costs is said beside none."
    cpus, walls = costs(list(runs), clock)
    if clock != "real":
        return f"With a thread a module, as in Flux, {_told(walls, 'wall time')}."
    return f"In this program {_told(cpus, 'CPU')}. Wall time {_wall_told(walls)}. {IN_FLUX}"


def costs(runs: Sequence[Row], clock: str) -> tuple[dict[str, Times], dict[str, Times]]:
    """What each hook takes of CPU and of wall time beside none; CPU is known in real time only."""
    none = next((row for row in runs if row["hook"] == "none"), None)
    rows = [row for row in runs if row is not none]
    if none is None:
        return {}, {}
    if clock != "real":
        return {}, all_times({row["hook"]: [row["wall_s"]] for row in rows}, [none["wall_s"]], MODELLED)
    cpus, walls = (
        all_times({row["hook"]: row.get(key) or () for row in rows}, none.get(key) or ())
        for key in ("cpus", "walls")
    )
    return cpus, walls


def _told(found: Mapping[str, Times], what: str) -> str:
    """``idle costs 8.0 times the CPU of no hook, prepare and check 1.4 times, timer:1s nothing measurable``."""
    timers = tuple((hook,) for hook in found if hook.startswith("timer"))
    parts = []
    for group in (*GROUPS, *timers):
        each = {hook: found[hook] for hook in group if hook in found}
        if each:
            parts.append((" and ".join(each), _of(list(each.values()))))
    (first, cost), *others = parts
    verb = "cost" if " and " in first else "costs"
    beside = f" the {what} of no hook" if cost.endswith("times") else f" {what} beside no hook"
    return ", ".join([f"{first} {verb} {cost}{beside}", *(f"{names} {cost}" for names, cost in others)])


def _of(each: Sequence[Times]) -> str:
    """``8.2 times``, ``1.3 to 1.6 times``, ``+3 %``; what is within the noise is nothing measurable."""
    if all(one.is_noise for one in each):
        return "nothing measurable"
    least, most = (pick(one.times for one in each) for pick in (min, max))
    if most < 1.1:
        told = [f"{share - 1:+.0%}" for share in (least, most)]
        return told[0] if told[0] == told[1] else " to ".join(told)
    told = [f"{one:.1f}" if one < 10 else f"{one:.0f}" for one in (least, most)]
    return f"{told[0] if told[0] == told[1] else ' to '.join(told)} times"


def _wall_told(walls: Mapping[str, Times]) -> str:
    noise = max(one.noise for one in walls.values())
    above = [f"{hook} {one.share:+.0%}" for hook, one in walls.items() if not one.is_noise]
    return f"beyond the noise of ±{noise:.0%}: {', '.join(above) or 'no difference'}"


# -- the rows


def shown(runs: Sequence[Row], clock: str) -> list[Row]:
    """Rows of `watchers` in words: what a person compares."""
    cpus, walls = costs(runs, clock)
    return [
        {
            "hook": row["hook"],
            "cpu": _cpu(row, cpus.get(row["hook"])),
            "wall": _wall(row),
            "added": _added(walls.get(row["hook"])),
            "packets_per_message": row["packets_per_message"],
            "metrics_per_s_peak": row["metrics_per_s_peak"],
        }
        for row in runs
    ]


def _cpu(row: Row, found: Times | None) -> str:
    """``1.70 s  ×1.38``."""
    if row["cpu_s"] is None:
        return "-"
    return f"{row['cpu_s']:.2f} s" + ("" if found is None else f"  ×{found.times:.2f}")


def _wall(row: Row) -> str:
    """``4.65 s ± 3%``: half the spread of the rounds."""
    walls = row.get("walls") or [row["wall_s"]]
    spread = f" ± {(max(walls) - min(walls)) / 2 / row['wall_s']:.0%}" if len(walls) > 1 else ""
    return f"{row['wall_s']:.2f} s{spread}"


def _added(found: Times | None) -> str | None:
    if found is None:
        return None
    return "within noise" if found.is_noise else f"{found.share:+.1%}"
