"""Knows the command that shows the latest samples of series; the registry has them."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import click

from brokersim.cli.command import Command, examples, list_options, pass_session
from brokersim.cli.errors import CommandError, usage_error
from brokersim.cli.registry.records import explain
from brokersim.cli.session import Session
from brokersim.cli.types import Parsed
from brokersim.protocol.decoded import JsonObject

#: Characters of an id that are shown, and that are enough to name a series by.
_SHORT = 13


def parse_moment(text: str) -> float:
    """Seconds since the epoch, or ISO 8601 with its offset. Raises ValueError."""
    try:
        return float(text)
    except ValueError:
        pass
    when = datetime.fromisoformat(text)
    if when.tzinfo is None:
        raise ValueError(f"{text!r} has no offset; say {text}Z")
    return when.timestamp()


_MOMENT = Parsed("time", parse_moment)


@click.command(
    "data",
    cls=Command,
    **examples(
        ("brokersim registry data", "what series there are, each with its newest sample"),
        ("brokersim registry data sha1-0f5c961f --limit 10", "the last ten of one"),
        ("brokersim registry data sha1-0f5c961f --from 2026-03-01T12:00:00Z", ""),
    ),
)
@list_options
@click.option("--from", "since", type=_MOMENT, metavar="TIME", help="from then on: seconds, or ISO 8601")
@click.option("--to", "until", type=_MOMENT, metavar="TIME", help="before then")
@click.option("--limit", type=click.IntRange(min=0), metavar="N", help="the newest N")
@click.argument("series", metavar="[ID]", required=False, default="")
@pass_session
def data(
    session: Session, /, since: float | None, until: float | None, limit: int | None, series: str
) -> None:
    """Show the latest samples of a series, or what series there are.

    ID may be the beginning of one.
    """
    latest = session.rpc("registry.latest", {}, rank=0, explain=explain)["series"]
    if not series:
        if (since, until, limit) != (None, None, None):
            raise usage_error(
                "--from, --to and --limit are about one series", attempt="brokersim registry data"
            )
        _list(session, latest)
        return
    wish = {"mid": _named(series, latest), "from": since, "to": until, "limit": limit}
    found = session.rpc("registry.data", wish, rank=0, explain=explain)
    if session.json:
        session.emit(found)
        return
    rows = [[_moment(one["ts"]), one["seq"], one["value"]] for one in found["samples"]]
    session.table(("Time", "Seq", "Value"), rows)


def _list(session: Session, latest: list[JsonObject]) -> None:
    if session.json:
        session.emit({"series": latest})
        return
    rows = [
        [
            one["mid"][:_SHORT],
            one["measurement"],
            one["subject"],
            _metric(one),
            _number(one["value"]),
            one["unit"],
        ]
        for one in latest
    ]
    session.table(("ID", "Measurement", "Subject", "Metric", "Value", "Unit"), rows, drop=("Unit", "Subject"))


def _named(begin: str, latest: list[JsonObject]) -> str:
    """The one series whose id begins so. Raises CommandError."""
    found = [one["mid"] for one in latest if one["mid"].startswith(begin)]
    if len(found) != 1:
        what = f"{len(found)} series have an id that begins" if found else "no series has an id that begins"
        raise CommandError(f"{what} with {begin}", attempt="brokersim registry data")
    return str(found[0])


def _metric(one: JsonObject) -> str:
    """With what tells it from others of its name."""
    more = [str(value) for key, value in one["attributes"].items() if key != "measurement"]
    return " ".join([one["metric"], *more])


def _number(value: Any) -> object:
    return float(f"{value:.6g}") if isinstance(value, float) else value


def _moment(ts: float) -> str:
    return datetime.fromtimestamp(ts, UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
