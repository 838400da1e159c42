"""Knows which experiments there are, what of the journal each covers, and the journal's own parameters; runs none.

A preset is a table of a Plan's fields: ``small`` is the Plan's defaults, ``journal`` what the journal did.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from importlib import import_module
from typing import Any

import attrs

from brokersim.lab.experiments.checklist import Say, silent

PRESETS = ("small", "journal")


@attrs.frozen(kw_only=True)
class Experiment:
    """One command of ``bench``: where its Plan and function are, and the fields of the preset ``journal``.

    ``covers`` are ids of the journal's checklist and laws. ``spreads``: its runs can go to a process a core.
    """

    name: str
    module: str
    covers: tuple[str, ...]
    journal: Mapping[str, Any] = attrs.field(factory=dict)
    spreads: bool = False

    def plan(self, given: Mapping[str, Any], preset: str = "small") -> Any:
        """The preset's Plan with ``given`` put over it. Raises ValueError for what cannot be."""
        kind = import_module(self.module).Plan
        known = {field.name for field in attrs.fields(kind)}
        for name in given:
            if name not in known:
                raise ValueError(_unknown(self.name, name))
        clock = given.get("clock")
        clocks = clocks_of(kind)
        if clock is not None and clock not in clocks:
            raise ValueError(f"--clock {clock}: {self.name} has a meaning under the {clocks[0]} clock only")
        return kind(**{**(self.journal if preset == "journal" else {}), **given})

    def run(self, plan: Any, say: Say = silent, workers: int = 1) -> dict[str, Any]:
        """What the experiment found: ``{"meta", "runs", "checks", …}``.

        A program may ask for more than one worker behind ``if __name__ == "__main__"`` only.
        """
        run: Callable[..., dict[str, Any]] = getattr(import_module(self.module), self.name)
        return run(plan, say, workers) if self.spreads else run(plan, say)

    def has(self, field: str) -> bool:
        """Its Plan knows such a field."""
        return any(one.name == field for one in attrs.fields(import_module(self.module).Plan))

    @property
    def has_own_reps(self) -> bool:
        """Its Plan knows repetitions; of others the whole is repeated."""
        return self.has("reps")


def clocks_of(kind: Any) -> tuple[str, ...]:
    """The clocks a Plan can be run on."""
    validator: Any = attrs.fields_dict(kind)["clock"].validator
    return tuple(validator.options)


#: What an option means that not every experiment has.
_MEANING = {
    "jobs": "it submits none",
    "size": "it looks at one broker",
    "clock": "its clock is given",
    "seed": "nothing in it is drawn",
}


def _unknown(experiment: str, field: str) -> str:
    why = _MEANING.get(field, "its plan has no such field")
    return f"bench {experiment} has no --{field.replace('_', '-')}: {why}"


#: In the order of the book.
EXPERIMENTS = {
    one.name: one
    for one in (
        Experiment(
            name="watchers",
            module="brokersim.lab.experiments.watchers",
            covers=("J3", "J4", "J5", "J6", "J7", "J8", "L1", "L3", "L4", "L7"),
            journal={"jobs": 10_000},
            spreads=True,
        ),
        Experiment(
            name="overhead", module="brokersim.lab.experiments.overhead", covers=("J3", "L7"), journal={"jobs": 10_000},
            spreads=True,
        ),
        Experiment(
            name="modules", module="brokersim.lab.experiments.modules", covers=("J4", "J7", "L1", "L3"),
            journal={"jobs": 10_000},
        ),
        Experiment(name="decay", module="brokersim.lab.experiments.decay", covers=("J8",), journal={"jobs": 10_000}),
        Experiment(
            name="idle",
            module="brokersim.lab.experiments.idle",
            covers=("J9", "J10", "J11", "L2", "L3", "L4", "L5", "L6"),
            journal={"spans": {"check": 548.0, "idle": 657.0, "prepare": 584.0}},
        ),
        Experiment(
            name="latency", module="brokersim.lab.experiments.latency", covers=("J12",),
            journal={"jobs": 10_000, "flush": 10.0, "cache_bytes": 16 << 20},
        ),
        Experiment(
            name="states", module="brokersim.lab.experiments.states", covers=("J13", "J14", "J15", "L8"),
            journal={"jobs": 10_000, "flush": 10.0, "sends": 370},
        ),
        Experiment(
            name="resolution", module="brokersim.lab.experiments.resolution", covers=("J16", "J17", "J18"),
            journal={
                "jobs": 10_000, "batches": 2, "timers": (1.0, 0.1, 0.025), "flushes": (10.0, 1.0),
                "retentions": (60.0, 10.0, 1.0, 0.1),
            },
        ),
        Experiment(
            name="period", module="brokersim.lab.experiments.period", covers=("J20", "J21"),
            journal={"jobs": 10_000, "flush": 10.0},
        ),
        Experiment(
            name="aggregator", module="brokersim.lab.experiments.aggregator", covers=("J1", "J2", "J14"),
            journal={"lines": 100_000, "flush": 1.0},
        ),
    )
}  # fmt: skip


def repeated(
    experiment: Experiment, plan: Any, reps: int, say: Say = silent, workers: int = 1
) -> dict[str, Any]:
    """The experiment with as many seeds: ``seed``, ``seed`` + 1, …; in real time as many runs.

    The first run's figures are the result; a check agrees if it does in every run, and says in how many it did.
    ``repetitions`` has the rows of all.
    """
    if reps == 1 or experiment.has_own_reps:
        return experiment.run(plan, say, workers)
    found = []
    for rep in range(reps):
        say(f"run {rep + 1} of {reps}")
        found.append(experiment.run(attrs.evolve(plan, seed=plan.seed + rep), say, workers))
    first = found[0]
    checks = [_agreed(list(same)) for same in zip(*(one["checks"] for one in found), strict=True)]
    return {**first, "repetitions": [one["runs"] for one in found], "checks": checks}


def _agreed(same: list[dict[str, Any]]) -> dict[str, Any]:
    agree = sum(one["ok"] for one in same)
    return {
        **same[0],
        "ok": agree == len(same),
        "ours": f"{same[0]['ours']} ({agree} of {len(same)} runs agree)",
    }
