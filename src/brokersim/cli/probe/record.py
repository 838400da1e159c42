"""Knows the command that keeps what probes read of this machine as a tree, which can be read anywhere."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Final

import click

from brokersim.cli.command import Command, examples, pass_session
from brokersim.cli.errors import CommandError, usage_error
from brokersim.cli.probe.read import probe_module, to_config
from brokersim.cli.session import Session
from brokersim.cli.types import OUT_FOLDER
from brokersim.protocol.errnums import ENOSYS, RequestError
from brokersim.protocol.plurals import counted

#: What is kept unless probes are named: all that reads the machine and needs no more said.
DEFAULT: Final = ("cpu", "mem", "net", "disk", "pressure", "numa")


@click.command(
    "record",
    cls=Command,
    **examples(
        ("brokersim probe record -o tree", "then: brokersim probe read cpu --root tree"),
        ("brokersim probe record -o tree cpu process name=slurmd", ""),
    ),
)
@click.option("-o", "--output", "folder", type=OUT_FOLDER, required=True, metavar="DIR", help="new")
@click.argument("words", metavar="[PROBE [KEY=VALUE]...]...", nargs=-1)
@pass_session
def record(session: Session, folder: Path, words: tuple[str, ...]) -> None:
    """Keep what probes read of this machine, as it is now.

    Without PROBE: those of cpu, mem, net, disk, pressure and numa that this machine has.
    """
    package = probe_module()
    wanted = _wanted(package, words)
    try:
        folder.mkdir(parents=True)
    except FileExistsError:
        raise usage_error(f"{folder} is there already: a recorded tree is one moment's") from None
    except OSError as error:
        raise CommandError(f"{folder}: {error.strerror}") from None
    kept = {name: _kept(session, package, name, config, folder, bool(words)) for name, config in wanted}
    if session.json:
        session.emit({"folder": str(folder), "files": kept})
    else:
        session.out(
            f"{folder}: {counted(sum(kept.values()), 'file')} of {', '.join(name for name in kept if kept[name])}"
        )


def _wanted(package: Any, words: tuple[str, ...]) -> list[tuple[str, dict[str, Any]]]:
    """Probes, each with the keys that stand behind it. Raises CommandError."""
    found: list[tuple[str, list[str]]] = []
    try:
        for word in words or DEFAULT:
            if "=" not in word:
                found.append((word, []))
            elif found:
                found[-1][1].append(word)
            else:
                raise ValueError(f"{word} belongs behind a probe")
        return [(name, package.checked(name, to_config(name, tuple(given)))) for name, given in found]
    except ValueError as error:
        raise usage_error(str(error), attempt="brokersim probe list") from None


def _kept(
    session: Session, package: Any, name: str, config: dict[str, Any], folder: Path, is_asked: bool
) -> int:
    """How many files more there are of a probe; what this machine lacks is an error if somebody has named it."""

    def asked(topic: str, *_: object) -> Any:
        raise RequestError(ENOSYS, f"{topic}: what is recorded is files, and nobody is asked")

    ask = package.Alone(asked=asked, ran=package.run_here)
    try:
        count = int(package.record(name, config, ask, folder))
        if not count and not any(folder.iterdir()):
            raise ValueError("it has read no file of this machine")
        return count
    except (OSError, ValueError) as error:
        text = f"probe {name}: {error}"
        if is_asked:
            raise CommandError(text) from None
        session.say(text)
        return 0
