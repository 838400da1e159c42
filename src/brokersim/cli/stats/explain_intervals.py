"""Knows how `stats explain-intervals` tells what a chain of periods does to curves; not the law (statsd.law)."""

from __future__ import annotations

from collections.abc import Iterator

import attrs
import click

from brokersim.cli.command import Command, examples, pass_session
from brokersim.cli.errors import usage_error
from brokersim.cli.session import Session
from brokersim.cli.types import DURATION
from brokersim.protocol.decoded import JsonObject
from brokersim.protocol.duration import format_duration
from brokersim.statsd.law import Age, Chain

#: A step of advice makes a period a tenth; what gains less than this share is not worth a change.
_TENTH, _WORTH = 10, 0.1
#: Whisper and every store like it keep whole seconds.
_SHORTEST_SLOT = 1.0
_MOST_STEPS = 3


@click.command(
    "explain-intervals",
    cls=Command,
    **examples(
        ("brokersim stats explain-intervals --emit 1s --flush 10s --retention 1m", "how late, how wrong"),
        ("brokersim stats explain-intervals --flush 1s --retention 1s --rate 10", "in jobs, at 10 a second"),
        ("brokersim stats explain-intervals --flush 10s --retention 10s --dwell 0.2s", "what is never seen"),
    ),
)
@click.option(
    "--emit", type=DURATION, default=0.0, metavar="FSD", help="a value is told so often  [0: each change]"
)
@click.option(
    "--client", type=DURATION, default=0.0, metavar="FSD", help="the client gathers so long  [0: not]"
)
@click.option("--flush", type=DURATION, required=True, metavar="FSD", help="of the statsd server")
@click.option("--retention", type=DURATION, required=True, metavar="FSD", help="a slot of the store")
@click.option("--rate", type=click.FloatRange(0), metavar="N", help="the value changes by N a second")
@click.option("--dwell", type=DURATION, metavar="FSD", help="how long a short state lasts")
@pass_session
def explain_intervals(
    session: Session, emit: float, client: float, flush: float, retention: float, rate: float | None,
    dwell: float | None,
) -> None:  # fmt: skip
    """How late and how wrong a statsd chain's curves are, and what to change first.

    For any program: the figures depend on the four periods alone (docs/intervals.md derives and checks them).
    """
    try:
        chain = Chain(emission=emit, client=client, flush=flush, retention=retention)
    except ValueError as error:
        raise usage_error(str(error), attempt="--flush 10s --retention 1m") from None
    if session.json:
        session.emit(_to_json(chain, rate, dwell))
        return
    for line in _lines(chain, rate, dwell):
        session.out(line)


def _lines(chain: Chain, rate: float | None, dwell: float | None) -> Iterator[str]:
    age = chain.age
    counted = f", {age.off * rate:.3g} at {rate:g} a second" if rate is not None else ""
    yield f"off by {seconds(age.off)} on average{counted}, whatever is shown (mean over phases)"
    yield f"  known     {late(age.mean)}: move the curve by it, and {seconds(age.residual)} remain"
    yield f"  90 % of it between {late(age.quantile(0.05))} and {late(age.quantile(0.95))}"
    if chain.locked:
        stages = ", ".join(chain.locked)
        yield f"  one phase is yours ({stages} stand still): {seconds(chain.worst.off)} off at worst"
        yield f"  with flushes right before slots end: {_aligned(chain.aligned)}"
    else:
        yield "  the phases drift, as flush and retention are no multiples: the mean is what you get"
    if dwell is not None:
        yield (
            f"  a state of {format_duration(dwell)} is shown in {chain.shown(dwell):.0%} of its visits"
            + ("" if chain.shown(dwell) == 1 else "; count its entries instead")
        )
    yield from _advised(chain)


def _aligned(age: Age) -> str:
    return f"{late(age.mean)} for certain, {seconds(age.residual)} once moved"


def _advised(chain: Chain) -> Iterator[str]:
    word = "change first"
    for stage, was, changed in steps_of(chain):
        now = getattr(changed, stage)
        yield f"{word}: {stage} {format_duration(was)} -> {format_duration(now)}: {seconds(changed.age.off)} off"
        word = "then"
    if word == "change first":
        yield "nothing to change: no single period made a tenth gains a tenth"


def steps_of(chain: Chain) -> Iterator[tuple[str, float, Chain]]:
    """(stage, its period before, the chain then): what gains most by becoming a tenth, one after the other."""
    for _ in range(_MOST_STEPS):
        stage, best = min(_tenths(chain), key=lambda one: one[1].age.off, default=("", chain))
        if best.age.off > chain.age.off * (1 - _WORTH):
            return
        yield stage, getattr(chain, stage), best
        chain = best


def _tenths(chain: Chain) -> Iterator[tuple[str, Chain]]:
    for stage, period in attrs.asdict(chain).items():
        shorter = period / _TENTH
        if stage == "retention":
            shorter = max(_SHORTEST_SLOT, round(shorter))
        if 0 < shorter < period:
            yield stage, attrs.evolve(chain, **{stage: shorter})


def seconds(value: float) -> str:
    """Three digits: ``25.1 s``, ``0.345 s``."""
    return f"{value:.3g} s"


def late(value: float) -> str:
    """``2.5 s late``, ``24.5 s early``: a slot is labelled with its start, so its value comes after it."""
    return "in time" if abs(value) < 5e-7 else f"{seconds(abs(value))} {'late' if value > 0 else 'early'}"


def _to_json(chain: Chain, rate: float | None, dwell: float | None) -> JsonObject:
    found: JsonObject = {
        "chain_s": attrs.asdict(chain),
        "age": age_json(chain.age),
        "locked": list(chain.locked),
        "worst": age_json(chain.worst),
        "aligned": age_json(chain.aligned),
        "change": [
            {"stage": stage, "from_s": was, "to_s": getattr(now, stage), "off_s": now.age.off}
            for stage, was, now in steps_of(chain)
        ],
    }
    if rate is not None:
        found["off"] = chain.age.off * rate
    if dwell is not None:
        found["visits_shown"] = chain.shown(dwell)
    return found


def age_json(age: Age) -> dict[str, float]:
    """The figures of an age, in seconds."""
    return {
        "mean_s": age.mean, "spread_s": age.spread, "off_s": age.off, "residual_s": age.residual,
        "p5_s": age.quantile(0.05), "p95_s": age.quantile(0.95),
    }  # fmt: skip
