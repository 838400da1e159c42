"""Knows the command that lists this user's instances; not where their sockets lie (net/discovery.py)."""

from __future__ import annotations

import time
from pathlib import Path

import click

from brokersim.cli.command import Command, examples, list_options, pass_session
from brokersim.cli.session import Session
from brokersim.cli.told import PS_DROP, PS_TITLES, ps_row
from brokersim.net.address import SCHEME
from brokersim.net.client import Client, Lost, Unreachable
from brokersim.net.discovery import live_sockets, name_of
from brokersim.protocol.decoded import JsonObject
from brokersim.protocol.errnums import RequestError
from brokersim.protocol.message import NODEID_ANY

#: Seconds an instance has to say what it is: one that is stuck is listed without an answer, the others are not held up.
_PATIENCE = 1.0


@click.command(
    "ps",
    cls=Command,
    **examples(
        ("brokersim ps", "your instances: name, process, size, age, clock, command"),
        ("brokersim -u NAME module list", "talk to one of them"),
        ("brokersim ps --json", "with addresses, one list"),
    ),
)
@list_options
@pass_session
def ps(session: Session) -> None:
    """List your running instances."""
    found = [_look(path) for path in live_sockets()]
    if session.json:
        session.emit(found)
        return
    if not found:
        session.say("no instance of yours is running; brokersim start makes one")
    session.table(PS_TITLES, map(ps_row, found), PS_DROP)


def _look(path: Path) -> JsonObject:
    """What the instance says of itself; ``None`` for all it does not say in time."""
    uri = f"{SCHEME}{path}"
    told: JsonObject = {"name": name_of(path), "uri": uri}
    told |= dict.fromkeys(("pid", "size", "uptime", "clock", "command"))
    try:
        with Client.connect(uri, deadline=time.monotonic() + _PATIENCE) as client:
            status = client.rpc("broker.status", None, NODEID_ANY)
            told |= {key: status[key] for key in ("size", "uptime", "clock")}
            told["pid"] = int(_attribute(client, "broker.pid"))
            told["command"] = _attribute(client, "brokersim.command") or None
    except (Unreachable, Lost, TimeoutError, RequestError):
        pass
    return told


def _attribute(client: Client, name: str) -> str:
    return str(client.rpc("attr.get", {"name": name}, NODEID_ANY)["value"])
