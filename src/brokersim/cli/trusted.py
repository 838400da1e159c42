"""Knows what of a start was found and what was named, and how distrust of either is told; not who is trusted."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from pathlib import Path

from brokersim.cli.errors import CommandError, usage_error
from brokersim.host.trust import distrust, distrust_code
from brokersim.protocol.decoded import JsonObject


def check_found(path: Path, start: JsonObject) -> None:
    """Raises CommandError naming what of a configuration file that we found by ourselves others could have written."""
    for reason in _reasons(path, start):
        raise _refusal(path, reason)


def warnings(config: Path | None, start: JsonObject, folders: Iterable[Path]) -> list[str]:
    """What of the files and folders that a person named others could have written."""
    found = [
        *(_reasons(config, start) if config is not None else ()),
        *filter(None, map(distrust_code, folders)),
    ]
    return [
        f"warning: {reason}: whoever can write there decides what runs here"
        for reason in dict.fromkeys(found)
    ]


def _reasons(config: Path, start: JsonObject) -> Iterator[str]:
    yield from filter(None, [distrust(config)])
    for folder in start.get("module_path", []):
        yield from filter(None, [distrust_code(Path(folder).expanduser())])
    named = [name for name in start.get("modules", []) if "/" in name or name.endswith(".py")]
    for path in (*named, *filter(None, [start.get("state_dir")])):
        yield from filter(None, [distrust(Path(path).expanduser())])


def _refusal(path: Path, reason: str) -> CommandError:
    return usage_error(
        reason,
        hint=f"{path} was not named but found, and what it sets would run as you",
        attempt=f"chmod go-w or chown what is named above; to trust it as it is: brokersim -c {path} ...",
    )
