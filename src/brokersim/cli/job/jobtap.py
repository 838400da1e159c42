"""Knows the commands that load, remove, list and query plugins of the job manager; not what plugins do."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click
import msgspec

from brokersim.cli.command import Group, examples, list_options, pass_session
from brokersim.cli.errors import CommandError, answered, usage_error
from brokersim.cli.session import Explain, Session
from brokersim.protocol.errnums import ENOENT, RequestError


@click.group("jobtap", cls=Group)
def jobtap() -> None:
    """Plugins of the job manager."""


def _setting(text: str) -> tuple[str, Any]:
    """``key=value``; the value is JSON if it can be read as that, else a string. Raises usage errors."""
    key, equals, value = text.partition("=")
    if not key or not equals:
        raise usage_error(
            f"{text!r} is no setting; give KEY=VALUE", attempt="brokersim jobtap load state-counts period=1"
        )
    try:
        return key, msgspec.json.decode(value)
    except msgspec.DecodeError:
        return key, value


def _unknown(error: RequestError) -> CommandError | None:
    if error.errno != ENOENT:
        return None
    return answered(error, error.text, attempt="brokersim jobtap list")


_EXPLAIN: Explain = _unknown


@jobtap.command(
    "load",
    **examples(
        ("brokersim jobtap load state-counts", "a gauge a state, every second"),
        ("brokersim jobtap load state-counts hook=prepare", "whenever a count changed"),
        ("brokersim jobtap load -r all ./mine.py depth=3", "a file of yours"),
    ),
)
@click.option("-r", "--remove", metavar="GLOB", default="", help="remove these first; all for all")
@click.argument("plugin", metavar="NAME|FILE")
@click.argument("settings", metavar="[KEY=VALUE]...", nargs=-1)
@pass_session
def load(session: Session, /, remove: str, plugin: str, settings: tuple[str, ...]) -> None:
    """Load a shipped plugin by name, or a file."""
    is_file = "/" in plugin or plugin.endswith(".py")
    # The broker's working directory is not ours.
    path = str(Path(plugin).expanduser().absolute()) if is_file else plugin
    wish = {"path": path, "conf": dict(map(_setting, settings)), "remove": remove}
    answer = session.rpc("job-manager.jobtap-load", wish, explain=_EXPLAIN)
    if session.json:
        session.emit(answer)


@jobtap.command(
    "remove",
    **examples(
        ("brokersim jobtap remove 'state-*'", "by glob"),
    ),
)
@click.argument("glob", metavar="GLOB")
@pass_session
def remove(session: Session, /, glob: str) -> None:
    """Remove plugins; jobs go on."""
    answer = session.rpc("job-manager.jobtap-remove", {"name": glob}, explain=_EXPLAIN)
    if session.json:
        session.emit(answer)


@jobtap.command(
    "list",
    **examples(
        ("brokersim jobtap list", "in the order they are called"),
    ),
)
@list_options
@pass_session
def list_(session: Session, /) -> None:
    """The plugins loaded."""
    answer = session.rpc("job-manager.jobtap-list")
    if session.json:
        session.emit(answer["plugins"])
        return
    session.table(
        ("Name", "Calls", "Path"), [(one["name"], one["calls"], one["path"]) for one in answer["plugins"]]
    )


@jobtap.command(
    "query",
    **examples(
        ("brokersim jobtap query state-counts", "as JSON"),
    ),
)
@click.argument("name", metavar="NAME")
@pass_session
def query(session: Session, /, name: str) -> None:
    """What a plugin says of itself, as JSON."""
    session.emit(session.rpc("job-manager.jobtap-query", {"name": name}, explain=_EXPLAIN))
