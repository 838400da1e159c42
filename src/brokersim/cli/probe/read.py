"""Knows the command that reads a probe once, with nothing running; the probes are the module's, loaded by path."""

from __future__ import annotations

from math import inf
from typing import Any

import click
import msgspec

from brokersim.cli.command import Command, examples, list_options, pass_session
from brokersim.cli.errors import CommandError, usage_error
from brokersim.cli.session import Session, nodeid_of
from brokersim.cli.types import RANK, Parsed
from brokersim.net.discovery import NoInstance
from brokersim.protocol.decoded import Json, JsonObject
from brokersim.protocol.duration import parse_duration
from brokersim.protocol.errnums import ENOSYS, RequestError
from brokersim.protocol.message import NODEID_ANY


def probe_module() -> Any:
    """The shipped module, as a package to call: what reads is written once."""
    from brokersim.host.loader import shipped_package

    return shipped_package("probe")


def to_config(probe: str, words: tuple[str, ...]) -> JsonObject:
    """``key=value`` of a command line: JSON where it is, else text. Raises CommandError that names the probe's keys."""
    config: JsonObject = {}
    for word in words:
        key, equals, text = word.partition("=")
        if not (key and equals):
            known = getattr(probe_module().PROBES.get(probe), "options", {})
            guess = f"pid={word}" if word.isdecimal() and "pid" in known else ""
            raise usage_error(
                f"probe {probe}: {word!r:.40} is no KEY=VALUE",
                hint=f"is {guess} meant?" if guess else f"its keys: {' '.join(known) or 'none'}",
                attempt="brokersim probe list",
            )
        try:
            config[key] = msgspec.json.decode(text)
        except (msgspec.DecodeError, RecursionError):
            config[key] = text
    return config


def _over(text: str) -> float:
    over = parse_duration(text)
    if not 0 < over < inf:
        raise ValueError(f"{text} is no time between two readings; give more than 0, such as 1s")
    return over


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
@click.option("--over", type=Parsed("fsd", _over), metavar="FSD", help="read again after this time")
@click.argument("probe")
@click.argument("words", metavar="[KEY=VALUE]...", nargs=-1)
@pass_session
def read(
    session: Session,
    rank: int | None,
    root: str,
    over: float | None,
    probe: str,
    words: tuple[str, ...],
) -> None:
    """Print one reading of a probe; nothing has to run for it.

    Probes: see brokersim probe list.
    """
    package = probe_module()
    config = to_config(probe, words)
    try:
        package.checked(probe, config)
    except ValueError as error:
        hint = _which_takes(package, probe)
        raise usage_error(str(error), hint=hint, attempt="brokersim probe list") from None
    if rank is not None:
        found = session.rpc("probe.read", {"probe": probe, "config": config}, rank=rank)["readings"]
    else:
        found = _here(session, package, probe, config, root, over)
    if session.json:
        session.emit({"probe": probe, "readings": found})
    elif not found:
        given = " ".join(words)
        raise CommandError(
            f"probe {probe}: nothing to read{f' that fits {given}' if given else ''}",
            hint="" if over else "a second reading may have more: --over 1s",
        )
    else:
        _show(session, package.find(probe).fields, found)


def _which_takes(package: Any, word: str) -> str:
    """Of a setting, or of a process's number, where the name of a probe belongs: the probes that take it."""
    key, equals, value = word.partition("=") if "=" in word else ("pid", "=", word)
    if not (key and equals) or (key == "pid" and not value.isdecimal()):
        return ""
    probes = [name for name, one in sorted(package.PROBES.items()) if key in one.options]
    if key == "pid":
        probes.sort(key="process".__ne__)  # the first one thinks of
    return f"the probe comes first: brokersim probe read {probes[0]} {key}={value}" if probes else ""


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
