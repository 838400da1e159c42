"""Knows the commands about a whole instance: status, stop, uptime, version; not how it is started."""

from __future__ import annotations

import platform
import time
from contextlib import suppress
from pathlib import Path

import click

from brokersim.cli.command import Command, examples, pass_session
from brokersim.cli.errors import TIMED_OUT, CommandError, usage_error
from brokersim.cli.session import Session
from brokersim.cli.told import status_line, uptime_line
from brokersim.native.engine import engine
from brokersim.net.address import socket_path
from brokersim.net.client import Lost, Unreachable
from brokersim.net.discovery import NoInstance, is_alive
from brokersim.version import VERSION

#: Seconds between two looks whether an instance that let its clients go is gone.
_LOOK = 0.005
PROTOCOL = "RFC 3 version 1, flux-core local connector"


@click.command(
    "status",
    cls=Command,
    **examples(
        ("brokersim status", "size, uptime, messages, statsd target"),
        ("brokersim status --json", "all of it"),
    ),
)
@pass_session
def status(session: Session) -> None:
    """What the instance is doing."""
    answer = session.rpc("broker.status")
    if session.json:
        session.emit(answer)
    else:
        session.out(status_line(answer))


@click.command(
    "stop",
    cls=Command,
    **examples(
        ("brokersim stop", "the only one, and wait until it has"),
        ("brokersim stop dev", "by the name that brokersim ps shows"),
        ("brokersim stop --timeout 5s", ""),
    ),
)
@click.argument("instance", metavar="[NAME|URI|PATH]", required=False)
@pass_session
def stop(session: Session, instance: str | None) -> None:
    """Stop the instance: clients first, then modules, then brokers. Returns when it is gone.

    NAME, URI or PATH says which, as the option -u does for any command.
    """
    if instance is not None:
        if not instance:  # an unset variable of a script, which did not mean the one it runs in
            raise usage_error("stop: '' names no instance; give a name, an address, a path or no argument")
        if session.uri not in (None, instance):
            raise usage_error(f"stop: {instance!r} and -u {session.uri!r} name two instances; give one")
        session.uri = instance
    uri = session.client.uri
    with suppress(Lost):  # somebody else has stopped it
        session.rpc("broker.stop")
    _wait_for_end(session)
    if session.json:
        session.emit({"uri": uri, "stopped": True})


def _wait_for_end(session: Session) -> None:
    """Its clients are let go first, its modules end after them, and its socket goes last."""
    try:
        while True:
            session.client.recv()
    except Lost:
        path = Path(socket_path(session.client.uri))
    while is_alive(path):
        if session.deadline is not None and time.monotonic() >= session.deadline:
            raise CommandError(f"{path} is still there: its modules have not ended yet", code=TIMED_OUT)
        time.sleep(_LOOK)


@click.command(
    "uptime", cls=Command, **examples(("brokersim uptime", "state, time since start, owner, size"))
)
@pass_session
def uptime(session: Session) -> None:
    """How long the instance has been running."""
    state = session.rpc("state-machine.get")
    owner, size, depth = (
        int(session.attribute(name)) for name in ("security.owner", "size", "instance-level")
    )
    if session.json:
        session.emit({**state, "owner": owner, "size": size, "depth": depth})
        return
    session.out(uptime_line(state, owner, size, depth))


@click.command(
    "version",
    cls=Command,
    **examples(("brokersim version", "ours, the protocol's, the engine, Python's, the instance's")),
)
@pass_session
def version(session: Session) -> None:
    """Versions of everything involved. Without an instance that line says so."""
    told = {
        "brokersim": VERSION,
        "protocol": PROTOCOL,
        "engine": engine(),
        "python": f"{platform.python_implementation()} {platform.python_version()}",
        **_peer(session),
    }
    if session.json:
        session.emit(told)
        return
    for name, value in told.items():
        session.out(f"{name + ':':<11} {value or 'none'}")


def _peer(session: Session) -> dict[str, str | None]:
    try:
        return {"instance": session.attribute("version"), "uri": session.client.uri}
    except (NoInstance, Unreachable):
        return {"instance": None, "uri": None}
    except CommandError as error:  # a peer without that attribute: its own words
        return {"instance": error.what, "uri": session.client.uri}
