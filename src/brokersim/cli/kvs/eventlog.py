"""Knows the commands that append to and print event logs (RFC 18) in the KVS."""

from __future__ import annotations

import click
import msgspec

from brokersim.cli.command import Group, examples, pass_session
from brokersim.cli.kvs import APPEND, commit, complete_key, look_up, namespace_option, operation
from brokersim.cli.session import Session
from brokersim.cli.types import OBJECT
from brokersim.protocol import treeobj
from brokersim.protocol.decoded import JsonObject


@click.group("eventlog", cls=Group)
def eventlog() -> None:
    """Append to and print event logs."""


def entries(log: bytes) -> list[JsonObject]:
    """The events in a log; a line that is none is left out, for another writer may just be at it."""
    found = []
    for line in log.splitlines():
        try:
            entry = msgspec.json.decode(line)
        except (msgspec.DecodeError, UnicodeDecodeError):
            continue
        if isinstance(entry, dict):
            found.append(entry)
    return found


def event_text(entry: JsonObject) -> str:
    """One event as a line: timestamp, name, context."""
    context = entry.get("context")
    text = f"{entry.get('timestamp', 0):.6f} {entry.get('name', '?')}"
    return text if context is None else f"{text} {msgspec.json.encode(context).decode()}"


@eventlog.command("append", **examples(("brokersim kvs eventlog append log start '{\"n\":1}'", "")))
@namespace_option
@click.option("-t", "--timestamp", type=float, help="seconds since the epoch  [now]")
@click.argument("key")
@click.argument("name")
@click.argument("context", metavar="[JSON]", required=False, type=OBJECT)
@pass_session
def append(
    session: Session,
    namespace_: str,
    timestamp: float | None,
    key: str,
    name: str,
    context: JsonObject | None,
) -> None:
    """Append an event to the log under KEY."""
    entry: JsonObject = {"timestamp": session.now() if timestamp is None else timestamp, "name": name}
    if context is not None:
        entry["context"] = context
    line = msgspec.json.encode(entry) + b"\n"
    commit(session, namespace_, [operation(key, treeobj.val(line), APPEND)])
    if session.json:
        session.emit(entry)


@eventlog.command("get", **examples(("brokersim kvs eventlog get log", "timestamp, name, context")))
@namespace_option
@click.option("-u", "--unformatted", is_flag=True, help="lines as they are stored")
@click.argument("key", shell_complete=complete_key)
@pass_session
def get(session: Session, namespace_: str, unformatted: bool, key: str) -> None:
    """Print the events of the log under KEY."""
    log = treeobj.val_bytes(look_up(session, key, namespace_))
    if unformatted:
        session.write(log)
        return
    for entry in entries(log):
        if session.json:
            session.emit(entry)
        else:
            session.out(event_text(entry))
