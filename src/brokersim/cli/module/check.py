"""Knows how the findings about a module file are shown (`module load --check`)."""

from __future__ import annotations

from pathlib import Path

import attrs

from brokersim.cli.errors import CommandError
from brokersim.cli.session import Session
from brokersim.fluxapi.check import Check, check


def show_check(session: Session, path: str, args: tuple[str, ...]) -> None:
    """Print what a file uses. Raises CommandError (exit code 1) if it would not run here, or not in Flux."""
    try:
        found = check(Path(path), args)
    except OSError as error:
        raise CommandError(f"cannot check {path}: {error.strerror}") from None
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
            hint="" if session.json else "the lines 'not here' and 'not in Flux' say what is in the way",
            code=1,
        )


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
