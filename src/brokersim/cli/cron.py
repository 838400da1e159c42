"""Knows the commands that create, list and change cron entries; not when they fire."""

from __future__ import annotations

import shlex
from collections.abc import Callable
from datetime import datetime, timedelta
from typing import Any, TypeVar

import click

from brokersim.cli.command import RUNS_COMMAND, Group, examples, list_options, pass_session
from brokersim.cli.errors import CommandError, answered
from brokersim.cli.session import Explain, Session
from brokersim.cli.types import DURATION, Parsed
from brokersim.protocol.decoded import JsonObject
from brokersim.protocol.duration import format_duration, parse_duration
from brokersim.protocol.errnums import ENOENT, RequestError

F = TypeVar("F", bound=Callable[..., Any])
ID = click.IntRange(min=1)


@click.group("cron", cls=Group)
def cron() -> None:
    """Run commands at intervals, on events and at times."""


def _entry_options(command: F) -> F:
    options = (
        click.option("-N", "--name", metavar="NAME", help="of the entry  [CMD]"),
        click.option("--timeout-cmd", "limit", type=DURATION, metavar="FSD", help="kill CMD after this time"),
        click.option("-d", "--working-dir", "cwd", metavar="DIR", help="run CMD there"),
        click.argument("command", metavar="CMD...", nargs=-1, required=True),
    )
    for option in reversed(options):
        command = option(command)
    return command


def _create(
    session: Session,
    kind: str,
    args: JsonObject,
    command: tuple[str, ...],
    *,
    name: str | None,
    limit: float | None,
    cwd: str | None,
    count: int | None = None,
) -> None:
    text = command[0] if len(command) == 1 else shlex.join(command)
    request: JsonObject = {"type": kind, "name": name or command[0], "args": args, "command": text}
    for key, value in (("repeat", count), ("timeout", limit), ("cwd", cwd)):
        if value is not None:
            request[key] = value
    entry = session.rpc("cron.create", request)
    if session.json:
        session.emit(entry)
    else:
        session.out(f"{kind}: cron-{entry['id']} created")


@cron.command(
    "interval",
    context_settings=RUNS_COMMAND,
    **examples(
        ("brokersim cron interval 10s date", ""),
        ("brokersim cron interval -c 3 -a 1s 10s ./job.sh", "three times"),
    ),
)
@click.option("-c", "--count", type=click.IntRange(min=1), help="this many times  [no end]")
@click.option("-a", "--after", type=DURATION, metavar="FSD", help="before the first time  [the interval]")
@click.argument("interval", metavar="FSD", type=DURATION)
@_entry_options
@pass_session
def interval(
    session: Session, /, count: int | None, after: float | None, interval: float, **entry: Any
) -> None:
    """Run a command at intervals."""
    args = {"interval": interval, **({} if after is None else {"after": after})}
    _create(session, "interval", args, count=count, **entry)


@cron.command(
    "event",
    context_settings=RUNS_COMMAND,
    **examples(("brokersim cron event -n 5 heartbeat.pulse date", "on every fifth")),
)
@click.option("-n", "--nth", type=click.IntRange(min=1), metavar="N", help="on every Nth event")
@click.option("-a", "--after", type=click.IntRange(min=0), metavar="N", help="not on the first N events")
@click.option("-i", "--min-interval", type=DURATION, metavar="FSD", help="at least this long apart")
@click.option("-c", "--count", type=click.IntRange(min=1), help="this many times  [no end]")
@click.argument("topic")
@_entry_options
@pass_session
def event(
    session: Session,
    /,
    nth: int | None,
    after: int | None,
    min_interval: float | None,
    count: int | None,
    topic: str,
    **entry: Any,
) -> None:
    """Run a command when events come."""
    optional = (("nth", nth), ("after", after), ("min_interval", min_interval))
    args = {"topic": topic, **{key: value for key, value in optional if value is not None}}
    _create(session, "event", args, count=count, **entry)


def moment(text: str, now: float) -> float:
    """Seconds since the epoch: ``+5m``, ``14:30`` (today or tomorrow), ``2026-11-22T14:30``, ``@1795309121``.

    Local time unless an offset is given. Raises ValueError that says what would be right.
    """
    if text.startswith("+"):
        return now + parse_duration(text[1:])
    try:
        if text.startswith("@"):
            return float(text[1:])
        if "-" not in text:
            clock = datetime.strptime(text, "%H:%M:%S" if text.count(":") == 2 else "%H:%M").time()
            today = datetime.combine(datetime.fromtimestamp(now).date(), clock)
            return (today if today.timestamp() > now else today + timedelta(days=1)).timestamp()
        return datetime.fromisoformat(text).timestamp()
    except (ValueError, OverflowError):
        raise ValueError(f"not a time: {text!r}; give +5m, 14:30, 2026-11-22T14:30 or @SECONDS") from None


def _checked(text: str) -> str:
    moment(text, 0.0)  # before the instance is asked what time it is
    return text


@cron.command(
    "at",
    context_settings=RUNS_COMMAND,
    **examples(("brokersim cron at 14:30 date", ""), ("brokersim cron at +5m date", "five minutes from now")),
)
@click.argument("when", metavar="TIME", type=Parsed("time", _checked))
@_entry_options
@pass_session
def at(session: Session, /, when: str, **entry: Any) -> None:
    """Run a command once at a time: +5m, 14:30, 2026-11-22T14:30 or @SECONDS."""
    due = moment(when, session.now())
    _create(session, "at", {"time": due}, **entry)


@cron.command("list", **examples(("brokersim cron list", "entries, runs, when next")))
@list_options
@pass_session
def list_(session: Session) -> None:
    """List the entries."""
    answer = session.rpc("cron.list", {})
    if session.json:
        session.emit(answer)
        return
    titles = ("ID", "Name", "State", "Type", "Spec", "Runs", "Failed", "Next", "Command")
    now = session.now()
    rows = [_row(entry, now) for entry in answer["entries"]]
    session.table(titles, rows, drop=("Failed", "Type"))


def _row(entry: JsonObject, now: float) -> list[object]:
    stats = entry["stats"]
    data = entry.get("typedata") or {}
    runs = f"{stats['count']}/{entry['repeat']}" if entry["repeat"] else str(stats["count"])
    due = data.get("next_wakeup")
    coming = "" if entry["stopped"] or not due else format_duration(round(max(0.0, due - now), 1))
    state = "stopped" if entry["stopped"] else "active"
    return [
        entry["id"], entry["name"], state, entry["type"], _spec(data), runs, stats["failure"], coming, entry["command"]
    ]  # fmt: skip


def _spec(data: JsonObject) -> str:
    if "interval" in data:
        return format_duration(data["interval"])
    return str(data.get("topic") or data.get("expression") or "")


def _explain(entry: int) -> Explain:
    def told(error: RequestError) -> CommandError | None:
        if error.errno != ENOENT:
            return None
        return answered(error, f"no cron entry {entry}", attempt="brokersim cron list")

    return told


def _act(session: Session, topic: str, ids: tuple[int, ...], **more: object) -> None:
    entries = [session.rpc(topic, {"id": one, **more}, explain=_explain(one)) for one in ids]
    if session.json:
        session.emit({"entries": entries})


_ids = click.argument("ids", metavar="ID...", nargs=-1, required=True, type=ID)


@cron.command("stop", **examples(("brokersim cron stop 1", "until it is started again")))
@_ids
@pass_session
def stop(session: Session, ids: tuple[int, ...]) -> None:
    """Stop entries."""
    _act(session, "cron.stop", ids)


@cron.command("start", **examples(("brokersim cron start 1", "")))
@_ids
@pass_session
def start(session: Session, ids: tuple[int, ...]) -> None:
    """Start entries that were stopped."""
    _act(session, "cron.start", ids)


@cron.command(
    "delete",
    **examples(("brokersim cron delete 1", ""), ("brokersim cron delete -k 1", "and kill its command")),
)
@click.option("-k", "--kill", is_flag=True, help="kill its running command")
@_ids
@pass_session
def delete(session: Session, kill: bool, ids: tuple[int, ...]) -> None:
    """Delete entries."""
    _act(session, "cron.delete", ids, kill=kill)


@cron.command(
    "sync",
    **examples(
        ("brokersim cron sync", "what it is synced to"),
        ("brokersim cron sync heartbeat.pulse", "fire only on this event"),
        ("brokersim cron sync --disable", ""),
    ),
)
@click.option("-d", "--disable", is_flag=True, help="fire at once again")
@click.option("-e", "--epsilon", type=DURATION, metavar="FSD", help="fire early if the event is that close")
@click.argument("topic", required=False)
@pass_session
def sync(session: Session, disable: bool, epsilon: float | None, topic: str | None) -> None:
    """Print or set the event on which commands are run."""
    request: JsonObject = {"disable": True} if disable else {}
    if topic is not None:
        request["topic"] = topic
    if epsilon is not None:
        request["sync_epsilon"] = epsilon
    answer = session.rpc("cron.sync", request)
    if session.json:
        session.emit(answer)
    elif answer.get("sync_disabled"):
        session.out("disabled")
    else:
        session.out(f"{answer['sync_event']} epsilon {format_duration(answer.get('sync_epsilon', 0.0))}")
