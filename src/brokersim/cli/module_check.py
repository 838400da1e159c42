"""Knows how the findings about a module file are shown (`module load --check`)."""

from __future__ import annotations

from pathlib import Path

import attrs

from brokersim.cli.errors import CommandError
from brokersim.cli.session import Session
from brokersim.fluxapi.check import check


def show_check(session: Session, path: str, args: tuple[str, ...]) -> None:
    """Print what a file uses. Raises CommandError (exit code 1) if it would not run here, or not in Flux."""
    try:
        found = check(Path(path), args)
    except (OSError, SyntaxError) as error:
        raise CommandError(f"cannot check {path}: {error}") from None
    if session.json:
        session.emit(attrs.asdict(found))
    else:
        lines = (
            ("tier", str(found.tier)),
            ("imports", ", ".join(found.imports)),
            ("handle", ", ".join(found.methods)),
            ("services", ", ".join(found.services)),
            ("subscribes", ", ".join(found.subscriptions)),
        )
        for title, text in lines:
            session.out(f"{title:11}{text or '-'}")
    problems = [f"not here: {one}" for one in found.not_here]
    problems += [f"not in Flux: {one}" for one in found.not_in_flux]
    if problems:
        raise CommandError("; ".join(problems), code=1)
