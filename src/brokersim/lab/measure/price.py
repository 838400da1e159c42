"""Knows what an emission costs in job throughput: predicted by the cost model, or of real runs with an interval.

Doesn't know how good its curve is. The runs are those of the watchers experiment, serial jobs, all modules emitting.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Mapping, Sequence
from statistics import median

import attrs

from brokersim.lab.experiments.watchers import Plan, watchers
from brokersim.lab.result import Row
from brokersim.reactor.cost import CostModel

Say = Callable[[str], object]
#: Resamples of a bootstrap interval: at 2,000 its ends move by less than a tenth of its width.
RESAMPLES = 2_000


@attrs.frozen(kw_only=True)
class Price:
    """Share of job throughput lost, with its 95 % interval, and the share of CPU time added if it was measured.

    ``kind`` is ``predicted`` (no interval: the model has no noise) or ``real``.
    """

    kind: str
    loss: float
    low: float
    high: float
    cpu: float | None = None


def predicted(
    emissions: Sequence[str], jobs: int, seed: int, *, aggregated: bool = False, cost: CostModel | None = None
) -> dict[str, Price]:
    """Prices by emission, from virtual runs with modelled costs.

    ``aggregated``: a client with a period takes what the hooks say, so their turns cost but their packets do not.
    """
    cost = cost or CostModel()
    cost = attrs.evolve(cost, packet_s=0) if aggregated else cost
    found = watchers(
        Plan(jobs=jobs, hooks=("none", *emissions), clock="virtual", reps=1, seed=seed, cost=cost)
    )
    return {
        run["hook"]: Price(kind="predicted", loss=(lost := _loss(run["overhead"])), low=lost, high=lost)
        for run in found.runs
        if run["hook"] != "none"
    }


def real(
    emissions: Sequence[str], jobs: int, seed: int, reps: int, say: Say = lambda _: None
) -> dict[str, Price]:
    """Prices by emission: in each of ``reps`` rounds every emission and none run once, in an order the seed draws.

    A round's loss is against its own run without metrics. The hooks send at once: with a client period these prices
    are upper limits. Raises RuntimeError if an instance does not start.
    """
    draw = random.Random(f"price/{seed}")
    rounds: list[dict[str, Row]] = []
    for rep in range(reps):
        hooks = ["none", *emissions]
        draw.shuffle(hooks)
        runs = {}
        for hook in hooks:
            say(f"overhead: {hook}, round {rep + 1} of {reps}")
            plan = Plan(jobs=jobs, hooks=(hook,), clock="real", reps=1, seed=seed)
            runs[hook] = watchers(plan).runs[0]
        rounds.append(runs)
    return {emission: of_rounds(emission, rounds, seed) for emission in emissions}


def of_rounds(emission: str, rounds: Sequence[Mapping[str, Row]], seed: int) -> Price:
    """The price of an emission from rounds of runs by hook, each with ``wall_s`` and ``cpu_s``."""
    losses = [_loss(runs[emission]["wall_s"] / runs["none"]["wall_s"] - 1) for runs in rounds]
    cpu = [runs[emission]["cpu_s"] / runs["none"]["cpu_s"] - 1 for runs in rounds if runs["none"]["cpu_s"]]
    low, high = bootstrap(losses, f"{seed}/{emission}")
    return Price(kind="real", loss=median(losses), low=low, high=high, cpu=median(cpu) if cpu else None)


def _loss(overhead: float) -> float:
    """Throughput lost when the same jobs take a share ``overhead`` longer."""
    return 1 - 1 / (1 + overhead)


def bootstrap(values: Sequence[float], seed: str) -> tuple[float, float]:
    """The 95 % interval of the median of ``values``, by resampling drawn from ``seed``."""
    if len(values) < 2:
        return values[0], values[0]
    draw = random.Random(f"bootstrap/{seed}")
    medians = sorted(median(draw.choices(values, k=len(values))) for _ in range(RESAMPLES))
    return medians[RESAMPLES // 40], medians[-1 - RESAMPLES // 40]
