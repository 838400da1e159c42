"""Knows how a cost profile of this machine's Flux is asked for and shown; not how it is measured (lab)."""

from __future__ import annotations

from pathlib import Path

import click

from brokersim import files
from brokersim.cli.bench.made import failures
from brokersim.cli.bench.output import progress
from brokersim.cli.command import Command, examples, list_options, pass_session
from brokersim.cli.errors import FAILED, CommandError, text_of, usage_error
from brokersim.cli.session import Session
from brokersim.cli.types import OUT_FILE


@click.command(
    "calibrate",
    cls=Command,
    **examples(
        ("brokersim bench calibrate --out here.toml", "measure, write a profile"),
        ("brokersim bench watchers --clock virtual --cost here.toml", "use it"),
    ),
)
@click.option("--flux", "given", metavar="FLUX", help="measure this one  [flux on PATH]")
@click.option("--out", type=OUT_FILE, metavar="FILE", help="write a profile, TOML")
@click.option("--reps", type=click.IntRange(1), default=5, metavar="N", help="rounds  [5]")
@list_options
@pass_session
def calibrate(session: Session, given: str | None, out: Path | None, reps: int) -> None:
    """The costs of virtual time, measured on this machine's real Flux.

    Needs a Flux, its headers and a C compiler. Medians of rounds with their spread; a busy machine shows in the spread.
    """
    from brokersim.lab.measure.calibrate import FIELDS
    from brokersim.lab.measure.calibrate import calibrate as measure
    from brokersim.lab.measure.profiles import PROFILES
    from brokersim.realflux.place import find_flux

    if out is not None and out.exists():
        raise usage_error(f"{out} exists; choose a new name or move it away")
    say = progress(session)
    try:
        found = measure(find_flux(given), reps, say)
    except failures() as error:
        raise CommandError(text_of(error), code=FAILED) from None
    finally:
        say("")
    if out is not None:
        files.write_file(out, found.to_toml())
    if session.json:
        session.emit({"origin": found.origin, "times": found.profile().times, "rounds": found.rounds})
        return
    known = PROFILES["flux-0.88-c"].times
    rows = [
        (name, *(f"{each * 1e6:.3g}" for each in (found.value(name), min(found.rounds[name]), max(found.rounds[name]))),
         f"{known[name] * 1e6:.3g}")
        for name in FIELDS
    ]  # fmt: skip
    session.table(("µs", "median", "least", "most", "flux-0.88-c"), rows)
    session.say(f"\n{found.version}, C modules, {found.cores} cores" + (f"; kept: {out}" if out else ""))
