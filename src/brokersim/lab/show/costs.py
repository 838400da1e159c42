"""Knows how what a hook costs is said: one sentence, and the cells of a row; not how it was measured.

Nothing is said in figures that differs by less than equal runs do.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

from brokersim.lab.measure.noise import Times, all_times, half_spread
from brokersim.lab.result import Row

#: What a modelled difference must exceed to be told: there is no noise, and a timer of 1 s still costs something.
MODELLED = 0.005
#: Said wherever one loop was measured. Two cores: 18 to 50 times in runs of flux-core 0.88, 21 of 0.28 with the
#: journal's patch.
IN_FLUX = "In Flux idle costs 20 to 50 times (bench watchers --clock virtual)."
#: The order in which hooks are told, whatever was measured; timers come last.
TOLD = ("idle", "check", "prepare")


def sentence(runs: Sequence[Row], clock: str) -> str:
    """What each hook costs beside none, the same words in the same order each time. Rows as `watchers` makes them."""
    rows = {row["hook"]: row for row in runs}
    none = rows.pop("none", None)
    if none is None or not rows:
        return f"Run under {', '.join(rows) or 'no hook'}: what a hook costs is said beside none."
    if clock != "real":
        _, walls = costs(list(runs), clock)
        return f"With a thread a module, as in Flux, {_told(walls, 'wall time')}."
    silent = [hook for hook in _in_order(rows) if _is_silent(rows[hook])]
    told = [row for row in runs if row["hook"] not in silent]
    if len(told) == 1:
        return f"{', '.join(silent)} sent nothing in rounds this short: give more --jobs."
    cpus, walls = costs(told, clock)
    unsaid = f"{', '.join(silent)} sent nothing in rounds this short. " if silent else ""
    return f"In this program {_told(cpus, 'CPU')}. Wall time {_wall_told(walls)}. {unsaid}{IN_FLUX}"


def _is_silent(row: Row) -> bool:
    """Was nothing sent under this hook? Then its cost says nothing: a timer of a second in rounds of less."""
    return row["hook"] != "none" and not row["packets_per_message"]


def engine_sentence(runs: Sequence[Row], engine: str) -> str:
    """What each hook added to the wall time in a real Flux: ``engine`` is which."""
    _, walls = costs(runs, "real")
    if not walls:
        return f"In {engine}, under {', '.join(row['hook'] for row in runs)}: what a hook costs is said beside none."
    return f"In {engine} wall time {_wall_told(walls)}."


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
    """``idle costs 8.0 times the CPU of no hook, check 1.5 times, prepare 1.4 times, timer:1s nothing measurable``."""
    (first, cost), *others = [(hook, _of(found[hook])) for hook in _in_order(found)]
    beside = f"{' in' if found[first].is_noise else ''} {what} beside no hook"
    beside = f" the {what} of no hook" if cost.endswith("times") else beside
    return ", ".join([f"{first} costs {cost}{beside}", *(f"{hook} {cost}" for hook, cost in others)])


def _in_order(hooks: Iterable[str]) -> list[str]:
    """The same from run to run."""
    return sorted(hooks, key=lambda hook: (TOLD.index(hook), "") if hook in TOLD else (len(TOLD), hook))


def _of(one: Times) -> str:
    """``8.2 times``, ``+3%``; what is within the noise is nothing measurable."""
    if one.is_noise:
        return "nothing measurable"
    if one.times < 1.1:
        return f"{one.share:+.0%}"
    return f"{one.times:.1f} times" if one.times < 10 else f"{one.times:.0f} times"


def _wall_told(walls: Mapping[str, Times]) -> str:
    """Each figure above the noise, the noise itself, and which hooks add nothing that can be told from it."""
    noise = max(one.noise for one in walls.values())
    above = [f"{hook} {walls[hook].share:+.0%}" for hook in _in_order(walls) if not walls[hook].is_noise]
    within = [hook for hook in _in_order(walls) if walls[hook].is_noise]
    parts = [", ".join(above)] if above else []
    parts += [f"nothing measurable under {', '.join(within)}"] if within else []
    return f"added: {', '.join(parts)} (equal rounds differ by ±{noise:.0%})"


# -- the rows


def shown(runs: Sequence[Row], clock: str) -> list[Row]:
    """Rows of `watchers` in words: what a person compares."""
    cpus, walls = costs(runs, clock)
    return [
        {
            "hook": row["hook"],
            "cpu": _cpu(row, None if _is_silent(row) else cpus.get(row["hook"])),
            "wall": _wall(row),
            "added": "sent nothing" if _is_silent(row) else _added(walls.get(row["hook"])),
            "packets_per_message": row["packets_per_message"],
            "metrics_per_s_peak": row["metrics_per_s_peak"],
        }
        for row in runs
    ]


def _cpu(row: Row, found: Times | None) -> str:
    """``1.70 s  ×1.38``; what is within the noise has no factor."""
    if row["cpu_s"] is None:
        return "-"
    factor = "" if found is None else "  within noise" if found.is_noise else f"  ×{found.times:.2f}"
    return f"{row['cpu_s']:.2f} s{factor}"


def _wall(row: Row) -> str:
    """``4.65 s ± 3%``: half the spread of the rounds."""
    walls = row.get("walls") or [row["wall_s"]]
    spread = f" ± {half_spread(walls) / row['wall_s']:.0%}" if len(walls) > 1 else ""
    return f"{row['wall_s']:.2f} s{spread}"


def _added(found: Times | None) -> str | None:
    if found is None:
        return None
    return "within noise" if found.is_noise else f"{found.share:+.0%}"
