"""Knows the commands about broker attributes: getattr, setattr, lsattr."""

from __future__ import annotations

import click

from brokersim.cli.command import Command, examples, list_options, pass_session
from brokersim.cli.errors import CommandError, answered, similar
from brokersim.cli.session import Explain, Session
from brokersim.protocol.decoded import JsonObject
from brokersim.protocol.errnums import ENOENT, EPERM, RequestError


def _names(session: Session) -> list[str]:
    answer = session.try_rpc("attr.list")
    return list(answer["names"]) if answer else []


def _explain(session: Session, name: str) -> Explain:
    def told(error: RequestError) -> CommandError | None:
        if error.errno == ENOENT:
            hint = similar(name, _names(session), "one is set")
            return answered(error, f"no attribute {name!r}", hint=hint, attempt="brokersim lsattr")
        if error.errno == EPERM:
            return answered(error, f"attribute {name!r} cannot be changed", hint="it is fixed at start")
        return None

    return told


@click.command("getattr", cls=Command, **examples(("brokersim getattr size", "8")))
@click.argument("name")
@pass_session
def getattr_(session: Session, name: str) -> None:
    """Print a broker attribute."""
    answer: JsonObject = session.rpc("attr.get", {"name": name}, explain=_explain(session, name))
    if session.json:
        session.emit({"name": name, **answer})
    else:
        session.out(answer["value"])


@click.command("setattr", cls=Command, **examples(("brokersim setattr heartbeat.period 5s", "")))
@click.argument("name")
@click.argument("value")
@pass_session
def setattr_(session: Session, name: str, value: str) -> None:
    """Set a broker attribute."""
    session.rpc("attr.set", {"name": name, "value": value}, explain=_explain(session, name))
    if session.json:
        session.emit({"name": name, "value": value})


@click.command(
    "lsattr",
    cls=Command,
    **examples(("brokersim lsattr", "the names"), ("brokersim lsattr -l", "with their values")),
)
@click.option("-l", "--long", is_flag=True, help="with values")
@list_options
@pass_session
def lsattr(session: Session, long: bool) -> None:
    """List the broker attributes."""
    names = sorted(session.rpc("attr.list")["names"])
    values = {name: _value(session, name) for name in names} if long else {}
    if session.json:
        session.emit({"names": names, **({"attrs": values} if long else {})})
    elif long:
        session.table(("Attribute", "Value"), values.items())
    else:
        session.out("\n".join(names))


def _value(session: Session, name: str) -> str | None:
    # An attribute may vanish between the two questions; upstream's lsattr -v tolerates that too.
    answer = session.try_rpc("attr.get", {"name": name})
    return answer["value"] if answer else None
