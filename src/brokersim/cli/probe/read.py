"""Knows the command that reads a probe once, with nothing running; the probes are the module's, loaded by path."""

from __future__ import annotations

import sys
from typing import Any

import click
import msgspec

from brokersim.cli.command import Command, examples, list_options, pass_session
from brokersim.cli.errors import CommandError, usage_error
from brokersim.cli.session import Session, nodeid_of
from brokersim.cli.types import ASSIGNMENT, DURATION, RANK
from brokersim.net.discovery import NoInstance
from brokersim.protocol.decoded import Json, JsonObject
from brokersim.protocol.errnums import ENOSYS, RequestError
from brokersim.protocol.message import NODEID_ANY


def probe_module() -> Any:
    """The shipped module, as a package to call: what reads is written once."""
    from brokersim.host.loader import Loader

    loader = Loader()
    return sys.modules[loader.load(loader.find("probe")).cls.__module__]


def to_config(pairs: tuple[tuple[str, str], ...]) -> JsonObject:
    """``key=value`` of a command line: JSON where it is, else text."""
    config: JsonObject = {}
    for key, text in pairs:
        try:
            config[key] = msgspec.json.decode(text)
        except msgspec.DecodeError:
            config[key] = text
    return config


@click.command(
    "read",
    cls=Command,
    **examples(
        ("brokersim probe read cpu", "shares since boot"),
        ("brokersim probe read cpu per_core=true --over 1s", "shares of one second"),
        ("brokersim probe read process name=slurmd", ""),
        ("brokersim probe read module service=kvs", "of the instance, by messages"),
    ),
)
@list_options
@click.option("-r", "--rank", type=RANK, help="have the module probe read there  [here]")
@click.option("--root", default="/", metavar="DIR", help="read a recorded tree, not this machine")
@click.option("--over", type=DURATION, metavar="FSD", help="read again after this time")
@click.argument("probe")
@click.argument("config", metavar="[KEY=VALUE]...", nargs=-1, type=ASSIGNMENT)
@pass_session
def read(
    session: Session,
    rank: int | None,
    root: str,
    over: float | None,
    probe: str,
    config: tuple[tuple[str, str], ...],
) -> None:
    """Print one reading of a probe; nothing has to run for it.

    Probes: see brokersim probe list.
    """
    package = probe_module()
    try:
        package.checked(probe, to_config(config))
    except ValueError as error:
        raise usage_error(str(error), attempt="brokersim probe list") from None
    if rank is not None:
        found = session.rpc("probe.read", {"probe": probe, "config": to_config(config)}, rank=rank)[
            "readings"
        ]
    else:
        found = _here(session, package, probe, to_config(config), root, over)
    if session.json:
        session.emit({"probe": probe, "readings": found})
    elif not found:
        raise CommandError(
            f"probe {probe}: nothing to read", hint="a second reading may have more: --over 1s"
        )
    else:
        _show(session, package.find(probe).fields, found)


def _here(
    session: Session, package: Any, probe: str, config: JsonObject, root: str, over: float | None
) -> list[Any]:
    def asked(topic: str, payload: Json, nodeid: int) -> Json:
        if topic in ("kvs.lookup", "kvs.commit"):
            raise RequestError(ENOSYS, "one reading keeps nothing: a measurement that runs has its own place")
        # This command has no rank: whoever it is connected to is meant by "here".
        try:
            return session.client.rpc(topic, payload, NODEID_ANY if nodeid == 0 else nodeid_of(nodeid))
        except NoInstance as error:
            if topic == "module.list":  # no modules' processes then, but this one can be read
                raise RequestError(ENOSYS, str(error)) from None
            raise

    ask = package.Alone(asked=asked, ran=package.run_here)
    try:
        return [package.shown(one) for one in package.read_once(probe, config, ask, root, over)]
    except RequestError as error:
        raise session.told(error, f"probe {probe}") from None
    except OSError as error:
        where = f"{error.filename}: " if error.filename else ""
        raise CommandError(f"probe {probe}: {where}{error.strerror or error}") from None
    except ValueError as error:
        raise CommandError(f"probe {probe}: {error}") from None


def _show(session: Session, fields: Any, found: list[Any]) -> None:
    rows = []
    for reading in found:
        for name, value in reading["metrics"].items():
            field = fields.get(name)
            known = {} if field is None else {"unit": field.unit, "kind": field.kind}
            said = known or reading.get("fields", {}).get(name, {})
            unit = said.get("unit", "1").strip("{}")
            rows.append(
                [
                    reading["subject"],
                    name,
                    _number(value),
                    unit if unit != "1" else "",
                    said.get("kind", "gauge"),
                ]
            )
        for name in reading.get("partial", ()):
            rows.append([reading["subject"], name, None, "", "could not be read"])
    session.table(("Subject", "Metric", "Value", "Unit", "Kind"), rows)


def _number(value: object) -> str:
    return f"{value:.6g}" if isinstance(value, float) else str(value)
