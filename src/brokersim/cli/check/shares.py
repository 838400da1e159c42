"""Knows how a check of several runs is handed to an engine as an array job, and how what it meets is told."""

from __future__ import annotations

import math
import shlex
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Final

import click

from brokersim.cli.bench.handed_over import WHO, hand_over, rebuilt
from brokersim.cli.command import Given
from brokersim.cli.errors import FAILED, TIMED_OUT, CommandError, usage_error
from brokersim.cli.session import Session
from brokersim.protocol.plurals import counted

if TYPE_CHECKING:
    from brokersim.kit.check_plan import CheckPlan

#: Open requests told when the command took too long.
_WAITING: Final = 5
#: Options that say how a check is told: an element tells nobody.
_TOLD: Final = ("junit", "nagios")


def place_of(given: Given) -> Path | None:
    """The file beside which the runs of an array job are put: the baseline's own, or of ``--parts``."""
    name = given["parts"] or given["record"] or given["against"]
    return None if name is None else Path(name)


def hand_out(session: Session, plan: CheckPlan, given: Given) -> None:
    """The runs as an array job; or one element of it. Raises CommandError."""
    place = place_of(given)
    if place is None:
        wanted = "--shard" if given["shard"] else f"--launcher {given['launcher']}"
        raise usage_error(
            f"{wanted} needs a file beside which the runs are put until they are gathered",
            hint="--record FILE, --against FILE, or --parts FILE",
        )
    if given["shard"]:
        _run_share(session, plan, place, given["shard"])
        return
    from brokersim.kit.check_runs import forget, left, take_over
    from brokersim.lab.sweep.arrays import record_of

    context = click.get_current_context()
    if not record_of(place.absolute()).exists():
        forget(place)
    with told(plan):
        hand_over(
            session, given, run=place.absolute(), name="check", words=_words(session, context, (*WHO, *_TOLD)),
            gather=shlex.join(["brokersim", *_words(session, context, WHO)]), total=len(left(plan, place)),
            measured=partial(take_over, plan, place),
        )  # fmt: skip


def _words(session: Session, context: click.Context, without: tuple[str, ...]) -> list[str]:
    first, *rest = rebuilt(context, without=without)
    is_bounded = session.timeout is not None and session.timeout < math.inf
    return [first, *(["--timeout", f"{session.timeout:g}s"] if is_bounded else []), *rest]


def _run_share(session: Session, plan: CheckPlan, place: Path, text: str) -> None:
    from brokersim.kit.check_runs import carry_out_share
    from brokersim.lab.sweep.arrays import Share

    try:
        share = Share.parse(text)
    except ValueError as error:
        raise usage_error(str(error)) from None
    with told(plan):
        count = carry_out_share(plan, place, share, session.timeout)
    session.say(f"{share.path(place)}: {count} of {counted(len(plan.points), 'run')}")


@contextmanager
def told(plan: CheckPlan) -> Iterator[None]:
    """What keeps a check's runs from being made, or kept, becomes a CommandError."""
    from brokersim.kit.check_plan import CheckError
    from brokersim.kit.checked_run import Overtime
    from brokersim.lab.keep.parts import PartsError
    from brokersim.net.options import StartError

    try:
        yield
    except CheckError as error:
        raise usage_error(str(error), hint=error.hint, attempt=error.attempt) from None
    except Overtime as error:
        waiting = f"open were: {'; '.join(error.waiting[:_WAITING])}" if error.waiting else ""
        raise CommandError(str(error), hint=waiting, code=TIMED_OUT) from None
    except PartsError as error:
        raise CommandError(str(error), code=FAILED) from None
    except StartError as error:
        command = " ".join(plan.options.command or ())
        raise usage_error(
            str(error),
            hint=error.hint,
            attempt=f"brokersim start -- {command}        (what does not start there is not checked)",
        ) from None
