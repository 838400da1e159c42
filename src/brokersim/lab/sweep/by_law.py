"""Knows the row of figures of every combination: its error by the law, its price by what its stream sends.

Doesn't know which row is best, nor the simulation that checks some of them.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

import attrs

from brokersim.lab.load.bulk import thinned
from brokersim.lab.measure.moved import drawn, stay
from brokersim.lab.measure.price import Price
from brokersim.lab.measure.series import US
from brokersim.lab.measure.truth import STATE_KEYS, STATES, period_of
from brokersim.lab.sweep.front import Row
from brokersim.lab.sweep.intervals import Phases, Store, Stream, Subject, packets_of, traffic
from brokersim.protocol.decoded import JsonObject, JsonView
from brokersim.statsd.law import Chain

#: An emission, and whether a client with a period stands behind it.
Prices = Mapping[tuple[str, bool], Price]
#: States whose curves are shown beside the truth.
SHOWN = ("run", "inactive")
#: One phase for all: else a short run sends a client's packet more or less by luck.
_ALL_HALF = Phases(dict.fromkeys(("emission", "period", "flush", "retention"), 0.5))
#: Points of a true curve in a picture.
_POINTS = 160


def chain_of(emission: str, period: float, store: Store) -> Chain:
    """The chain's periods: of a hook the emission takes no time."""
    return Chain(
        emission=period_of(emission) / US, client=period, flush=store.flush, retention=store.retention
    )


def facts_of(subject: Subject, streams: Iterable[Stream]) -> JsonObject:
    """What the law does not know of a workload: jobs a second, how long they stay in each state, what is sent."""
    truth = subject.truth
    states = {name: subject.states[key].steps for name, key in zip(STATES, STATE_KEYS, strict=True)}
    stays = {name: stay(steps, truth.horizon) for name, steps in states.items() if name != "inactive"}
    return {
        "workload": truth.workload,
        "jobs": truth.jobs,
        "seed": truth.seed,
        "rate": states["inactive"].at(truth.end) / (truth.end / US) if truth.end else 0.0,
        "stays": {name: seconds for name, seconds in stays.items() if seconds is not None},
        "traffic": {sent_key(stream): _sent(subject, stream) for stream in streams},
    }


def sent_key(stream: Stream) -> str:
    """What the packets depend on, and not their store."""
    return f"{stream.emission}/{stream.period:g}/{stream.style}/{stream.dialect}"


def _sent(subject: Subject, stream: Stream) -> dict[str, float]:
    truth = subject.truth
    stream = attrs.evolve(stream, loss=0.0)
    return traffic([packets_of(truth, stream, _ALL_HALF, 0, truth.horizon)], truth)


def curves_of(subject: Subject, rows: Sequence[Row]) -> JsonObject:
    """What the store of each row draws of running and ended jobs beside the truth, as ``[[s, jobs], ...]``."""
    if not subject.truth.states.track.rows:
        return {}
    steps = {name: subject.states[STATE_KEYS[STATES.index(name)]].steps for name in SHOWN}
    true = {
        name: [
            [t / US, value]
            for t, value in thinned(zip(one.times, one.values, strict=True), _POINTS)
        ]
        for name, one in steps.items()
    }  # fmt: skip
    stored: JsonObject = {}
    for row in rows:
        chain = chain_of(row["emission"], row["period"], Store(row["flush"], row["retention"]))
        stored[str(row["id"])] = {
            name: [[t / US, value] for t, value in drawn(one, chain, subject.horizon)]
            for name, one in steps.items()
        }
    return {"truth": true, "stored": stored}


def law_rows(combinations: Sequence[tuple[Stream, Store]], facts: JsonView, prices: Prices) -> list[Row]:
    """A row a combination. Seconds are exact and the workload's only in ``jobs_off`` and ``shown``."""
    found = []
    for at, (stream, store) in enumerate(combinations):
        price = prices[stream.emission, stream.period > 0]
        found.append(
            {
                "id": at,
                **{
                    name: getattr(stream, name) for name in ("emission", "period", "style", "dialect", "loss")
                },
                **attrs.asdict(store),
                **_aged(chain_of(stream.emission, stream.period, store), facts),
                **facts["traffic"][sent_key(stream)],
                "writes_per_s": 1 / store.flush,
                "overhead": price.loss,
                "overhead_low": price.low,
                "overhead_high": price.high,
                "overhead_kind": price.kind,
                "cpu": price.cpu,
            }
        )
    return found


def phases_of(row: Row) -> dict[str, float]:
    """Between which errors nine of ten installations lie; it takes a while, so it is asked of few rows."""
    chain = chain_of(row["emission"], row["period"], Store(row["flush"], row["retention"]))
    low, high = chain.off_within(0.05, 0.95)
    return {"phase5_s": low, "phase95_s": high}


def _aged(chain: Chain, facts: JsonView) -> Row:
    age = chain.age
    return {
        "off_s": age.off,
        "lag_s": age.mean,
        "residual_s": age.residual,
        "p5_s": age.quantile(0.05),
        "p95_s": age.quantile(0.95),
        "worst_s": chain.worst.off,
        "aligned_lag_s": chain.aligned.mean,
        "aligned_residual_s": chain.aligned.residual,
        "locked": list(chain.locked),
        "jobs_off": age.off * facts["rate"],
        "shown": {state: chain.shown(seconds) for state, seconds in facts["stays"].items()},
    }
