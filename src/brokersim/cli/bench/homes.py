"""Knows how one module file is asked to be run in every home, and the table of that; not how it is measured (lab)."""

from __future__ import annotations

import click

from brokersim.cli.bench.made import failures
from brokersim.cli.bench.output import progress
from brokersim.cli.command import Command, examples, list_options, pass_session
from brokersim.cli.errors import FAILED, CommandError
from brokersim.cli.session import Session

KINDS = ("plain", "rpc", "commit", "event")


@click.command(
    "homes",
    cls=Command,
    **examples(
        ("brokersim bench homes", "requests with one rpc, in each home"),
        ("brokersim bench homes --kind event --reps 5", "events, five rounds"),
    ),
)
@click.option(
    "--kind", type=click.Choice(KINDS), default="rpc", metavar="KIND", help="plain, commit, event  [rpc]"
)
@click.option("--flux", "given", metavar="FLUX", help="the real one  [flux on PATH]")
@click.option("--reps", type=click.IntRange(1), default=3, metavar="N", help="rounds  [3]")
@list_options
@pass_session
def homes(session: Session, kind: str, given: str | None, reps: int) -> None:
    """One module file in a real Flux and here: cost, packets, turns.

    The file is loaded as it is: in Flux, in process, as a process, in virtual time. Without a Flux there are ours only.
    In process, idle in real time predicts nothing for Flux: one loop does not wait for a core.
    """
    from brokersim.lab.measure.homes import homes as measure
    from brokersim.lab.measure.homes import rows
    from brokersim.realflux.place import NoFlux, find_flux

    try:
        flux = find_flux(given)
    except NoFlux as error:
        if given:
            raise CommandError(str(error), code=FAILED) from None
        flux = None
        session.say(f"NOT MEASURED IN A REAL FLUX: {error}")
    say = progress(session)
    try:
        found = measure(flux, reps, say=say)
    except failures() as error:
        raise CommandError(str(error), code=FAILED) from None
    finally:
        say("")
    if session.json:
        session.emit({each: rows(found, each) for each in KINDS})
        return
    table = rows(found, kind)
    session.table(list(table[0]), [list(row.values()) for row in table])
    session.say(
        f"\n{kind}: µs without a hook, times that under each hook (~1: within the noise of {reps} rounds),\n"
        "packets under prepare / check / idle and turns an operation\n"
        "idle in process and real time predicts nothing for Flux: use --exec, or the virtual clock"
    )
