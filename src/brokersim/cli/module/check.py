"""Knows how the findings about a module file are shown (`module load --check`)."""

from __future__ import annotations

from pathlib import Path
from typing import Final

import attrs

from brokersim.cli.errors import CommandError, usage_error
from brokersim.cli.session import Session
from brokersim.fluxapi.check import Check, check

#: What stands in the way of a file that is written for this program, and else for both.
_OWN: Final = "import brokersim.brokermod"


def show_check(session: Session, path: str, args: tuple[str, ...]) -> None:
    """Print what a file uses. Raises CommandError (exit code 1) if it would not run here, or not in Flux."""
    try:
        found = check(Path(path), args)
    except OSError as error:
        raise usage_error(f"cannot check {path}: {error.strerror}") from None
    except (SyntaxError, UnicodeDecodeError) as error:
        raise CommandError(f"cannot check {path}: {error}") from None
    if session.json:
        session.emit(attrs.asdict(found))
    else:
        for title, text in _lines(found):
            session.out(f"{title:13}{text}")
    if not found.is_fine:
        where = [
            place
            for place, problems in (("here", found.not_here), ("in Flux", found.not_in_flux))
            if problems
        ]
        raise CommandError(
            f"{path} would not run {' nor '.join(where)}",
            hint="" if session.json else _hint(found, path),
            code=1,
        )


def _hint(found: Check, path: str) -> str:
    if not found.not_here and set(found.not_in_flux) == {_OWN}:
        return f"import it from flux.brokermod, which is here too; or: brokersim flux load {path}"
    return "the lines 'not here' and 'not in Flux' say what is in the way"


def _lines(found: Check) -> list[tuple[str, str]]:
    """Title and text of each line; a problem has one of its own."""
    tier = "" if found.tier is None else f", tier {found.tier} of 3"
    lines = [
        ("api", f"{found.api}{tier}"),
        *(
            (title, ", ".join(names) or "-")
            for title, names in (
                ("imports", found.imports),
                ("handle", found.methods),
                ("requests", found.requests),
                ("services", found.services),
                ("subscribes", found.subscriptions),
            )
        ),
    ]
    for title, problems in (
        ("note", found.notes),
        ("not here", found.not_here),
        ("not in Flux", found.not_in_flux),
    ):
        lines += [(title, problem) for problem in problems]
    return lines
