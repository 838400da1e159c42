"""Knows the commands that add, change and show measurements; the service probe has them, a rank each."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from math import inf
from typing import Any, TypeVar

import click

from brokersim.cli.command import Command, examples, list_options, pass_session
from brokersim.cli.errors import ANSWERED, CommandError, answered, usage_error
from brokersim.cli.probe.read import probe_module, to_config
from brokersim.cli.session import Session
from brokersim.cli.types import DURATION, RANKS, Parsed
from brokersim.protocol.decoded import JsonObject
from brokersim.protocol.duration import parse_duration
from brokersim.protocol.errnums import EEXIST, ENOENT, ENOSYS, RequestError
from brokersim.protocol.ranks import format_ranks
from brokersim.protocol.schedules import parse_schedule, to_spec
from brokersim.protocol.schedules.base import EVERY_MIN

F = TypeVar("F", bound=Callable[..., Any])

_ranks = click.option("-r", "--ranks", type=RANKS, metavar="RANKS", help="on these ranks, or all  [here]")


def told(error: RequestError, rank: int | None = None) -> CommandError | None:
    if error.errno == ENOSYS:
        there, where = ("", "") if rank is None else (f" on rank {rank}", f" -r {rank}")
        return answered(
            error, f"the module probe is not loaded{there}", attempt=f"brokersim module load{where} probe"
        )
    if error.errno in (ENOENT, EEXIST):
        return answered(error, error.text, attempt="brokersim probe status")
    return None


def ask(session: Session, ranks: str | None, topic: str, payload: JsonObject) -> list[Any]:
    """The answers of these ranks, or of the one the command is connected to."""
    where = [None] if ranks is None else session.ranks(ranks)
    return [session.rpc(topic, payload, rank=rank, explain=partial(told, rank=rank)) for rank in where]


def _change(session: Session, ranks: str | None, topic: str, payload: JsonObject) -> list[Any]:
    """As ``ask``; of several ranks all have the module, or nothing is changed on any."""
    where = [] if ranks is None else session.ranks(ranks)
    if len(where) > 1:
        lacking = [rank for rank in where if not _has_probe(session, rank)]
        if lacking:
            ranks = format_ranks(lacking)
            there = f"rank{'' if len(lacking) == 1 else 's'} {ranks}"
            raise CommandError(
                f"the module probe is not loaded on {there}; nothing is changed (ENOSYS)",
                attempt=f"brokersim module load -r {ranks} probe",
                code=ANSWERED,
            )
    return ask(session, ranks, topic, payload)


def _has_probe(session: Session, rank: int) -> bool:
    try:
        session.client.rpc("probe.list", {}, rank)
    except RequestError as error:
        if error.errno != ENOSYS:
            raise
        return False
    return True


def _interval(text: str) -> float:
    every = parse_duration(text)
    if not EVERY_MIN <= every < inf:
        raise ValueError(f"{text} is no interval; give 1ms or more, such as 10s")
    return every


def _check_schedule(text: str) -> str:
    parse_schedule(text)
    return text


@click.command(
    "add",
    cls=Command,
    **examples(
        ("brokersim probe add load cpu --every 1s", "shares and load each second"),
        ("brokersim probe add kvs module service=kvs --every 5s -r all", ""),
        ("brokersim probe add night cpu --schedule 'windows daily=01:00-02:00 every=1m'", ""),
    ),
)
@_ranks
@click.option("--every", type=Parsed("every", _interval), metavar="FSD", help="at this interval")
@click.option(
    "--schedule", type=Parsed("schedule", _check_schedule), metavar="SPEC", help="see: probe schedule"
)
@click.option("--sink", "sinks", multiple=True, metavar="NAME", help="report there  [statsd]")
@click.option("--every-n", type=click.IntRange(min=1), metavar="N", help="report after so many runs  [1]")
@click.option(
    "--timeout-read", "limit", type=DURATION, metavar="FSD", help="give a reading up after this time"
)
@click.argument("name")
@click.argument("probe")
@click.argument("words", metavar="[KEY=VALUE]...", nargs=-1)
@pass_session
def add(
    session: Session, /, ranks: str | None, every: float | None, schedule: str | None, sinks: tuple[str, ...],
    every_n: int | None, limit: float | None, name: str, probe: str, words: tuple[str, ...],
) -> None:  # fmt: skip
    """Add a measurement: PROBE read on a schedule, under NAME."""
    if (every is None) == (schedule is None):
        raise usage_error("give either --every or --schedule", attempt="brokersim probe add --help")
    record: JsonObject = {"probe": probe, "config": to_config(probe, words)}
    try:
        record["schedule"] = to_spec(parse_schedule(schedule or f"{every!r}s"))
    except ValueError as error:
        raise usage_error(str(error), attempt="brokersim probe schedule 10s -n 3") from None
    try:
        probe_module().checked(probe, record["config"])
    except ValueError as error:
        raise usage_error(str(error), attempt="brokersim probe list") from None
    reporting = {"sinks": list(sinks) or None, "every_n": every_n}
    record["reporting"] = {key: value for key, value in reporting.items() if value is not None}
    if limit is not None:
        record["timeout"] = limit
    _tell(session, _change(session, ranks, "probe.add", {"name": name, "record": record}))


def _tell(session: Session, answers: list[Any]) -> None:
    """What a measurement is now; a failure to begin is one of the command."""
    if session.json:
        session.emit({"measurements": answers})
    failed = [answer for answer in answers if answer["state"] == "FAILED"]
    if failed:
        raise CommandError(f"measurement {failed[0]['name']!r} is FAILED: {failed[0]['reason']}")


def _acting(name: str, topic: str, summary: str, payload: JsonObject) -> click.Command:
    @click.command(name, cls=Command, help=summary, **examples((f"brokersim probe {name} load -r all", "")))
    @_ranks
    @click.argument("measurement", metavar="NAME")
    @pass_session
    def act(session: Session, ranks: str | None, measurement: str) -> None:
        _tell(session, _change(session, ranks, topic, {"name": measurement, **payload}))

    return act


rm = _acting("rm", "probe.remove", "Stop a measurement and forget it.", {})
on = _acting("on", "probe.set", "Start a measurement that is off.", {"record": {"status": "ON"}})
off = _acting("off", "probe.set", "Stop a measurement; it is kept.", {"record": {"status": "OFF"}})
restart = _acting(
    "restart", "probe.restart", "Begin a measurement anew, also one that FAILED or is DONE.", {}
)
run_now = _acting("run-now", "probe.run-now", "Read once now, beside the schedule.", {})


@click.command(
    "status",
    cls=Command,
    **examples(
        ("brokersim probe status", ""), ("brokersim probe status load -r all", "of one, on all ranks")
    ),
)
@list_options
@_ranks
@click.argument("name", required=False, default="")
@pass_session
def status(session: Session, ranks: str | None, name: str) -> None:
    """Show measurements: state, runs, what went wrong, and what reading costs (% of a core)."""
    answers = ask(session, ranks, "probe.status", {"name": name})
    if session.json:
        session.emit({"ranks": answers})
        return
    titles = ("Rank", "Name", "Probe", "State", "Runs", "Failed", "Late", "Lost", "Cost%", "Reason")
    rows = [[answer["rank"], *_row(one)] for answer in answers for one in answer["measurements"]]
    session.table(titles, rows, drop=("Late", "Lost", "Failed", "Probe"))
    for answer in answers:
        for queue in answer["sinks"]:
            if queue["trouble"] or queue["dropped"]:
                session.say(f"rank {answer['rank']}: sink {queue['name']}: {_trouble(queue)}")


def _row(one: JsonObject) -> list[object]:
    counts = one["counts"]
    return [
        one["name"], one["probe"], one["state"], counts.get("runs", 0), counts.get("fail", 0), counts.get("late", 0),
        counts.get("overrun", 0), round(one["cost"] * 100, 3), one["reason"],
    ]  # fmt: skip


def _trouble(queue: JsonObject) -> str:
    dropped = ", ".join(f"{number} dropped ({reason})" for reason, number in queue["dropped"].items())
    waiting = f"{queue['queued']} wait" if queue["queued"] else ""
    return ", ".join(filter(None, (queue["trouble"], dropped, waiting)))
