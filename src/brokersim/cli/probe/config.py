"""Knows the commands about configurations: whether a file is one, what one may be, which layer a key comes from."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click
import msgspec

from brokersim.cli.command import Command, examples, list_options, pass_session
from brokersim.cli.errors import CommandError, usage_error
from brokersim.cli.probe.measurements import told
from brokersim.cli.probe.read import probe_module
from brokersim.cli.session import Explain, Session
from brokersim.cli.types import RANK
from brokersim.protocol.plurals import counted


@click.command("validate", cls=Command, **examples(("brokersim probe validate probes.toml", "")))
@click.argument("file", type=click.Path(path_type=Path))
@pass_session
def validate(session: Session, file: Path) -> None:
    """Check a file of measurements; nothing is started."""
    config = checked_file(file)
    names = list(config.measurements)
    if session.json:
        session.emit({"measurements": names, "sinks": list(config.sinks)})
    else:
        session.out(f"{file}: {counted(len(names), 'measurement')}")


def checked_file(file: Path) -> Any:
    """The configuration in a file. Raises CommandError that names the place."""
    package = probe_module()
    try:
        return package.to_config(package.read_file(file))
    except ValueError as error:
        first, *others = getattr(error, "faults", None) or [str(error)]
        told = first if first.startswith(str(file)) else f"{file}: {first}"
        raise usage_error("\n       ".join([told, *others])) from None


@click.command(
    "schema", cls=Command, **examples(("brokersim probe schema > probes.schema.json", "for an editor"))
)
@pass_session
def schema(session: Session) -> None:
    """Print what a file may be, as JSON Schema."""
    found = probe_module().schema()
    if session.json:
        session.emit(found)
    else:
        session.out(msgspec.json.format(msgspec.json.encode(found), indent=2).decode())


@click.command(
    "explain",
    cls=Command,
    **examples(
        ("brokersim probe explain probes/load/schedule", ""),
        ("brokersim probe explain merge -r 3", "of the module on rank 3"),
    ),
)
@list_options
@click.option("-r", "--rank", type=RANK, help="of the module there  [here]")
@click.argument("key")
@pass_session
def explain(session: Session, rank: int | None, key: str) -> None:
    """Show where a key of the configuration comes from.

    What each layer says of it, the strongest first, and which one stands.
    """
    how: Explain = told
    answer = session.rpc("probe.explain", {"key": key}, rank=rank, explain=how)
    if not any(layer["is_set"] for layer in answer["layers"]):
        raise CommandError(
            f"no layer says anything of {key!r}",
            hint="keys are such as merge, sinks/NAME/type, probes/NAME/schedule",
            attempt="brokersim probe status",
        )
    if session.json:
        session.emit(answer)
        return
    rows = [
        [
            layer["layer"],
            _text(layer["value"]) if layer["is_set"] else None,
            "stands" if layer["wins"] else "",
        ]
        for layer in answer["layers"]
    ]
    session.table(("Layer", "Value", ""), rows)


def _text(value: object) -> str:
    return msgspec.json.encode(value, order="sorted").decode()
