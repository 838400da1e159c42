"""Knows ``flux load``: a module file of ours into the real Flux around this command; not how (realflux)."""

from __future__ import annotations

import os

import click

from brokersim.cli.command import Command, examples, pass_session
from brokersim.cli.errors import FAILED, CommandError
from brokersim.cli.session import Session
from brokersim.cli.types import Parsed
from brokersim.protocol.errnums import RequestError
from brokersim.protocol.ranks import check_ranks


@click.command(
    "load",
    cls=Command,
    **examples(
        ("brokersim flux load metrics", "on all ranks of the Flux instance around it"),
        ("brokersim flux load -r 0 ./hello.py a=1", "your own file"),
        ("brokersim flux load -r 0 --replace sched", "in the place of sched-simple"),
    ),
)
@click.option(
    "-r", "--rank", "ranks", default="all", type=Parsed("ranks", check_ranks), help="on these  [all]"
)
@click.option("-n", "--name", help="load it under this name  [the file's]")
@click.option("--replace", is_flag=True, help="remove Flux's module of that service first")
@click.option("--flux", "given", metavar="FLUX", help="the command of that Flux  [flux on PATH]")
@click.argument("file")
@click.argument("args", nargs=-1, type=click.UNPROCESSED)
@pass_session
def load(
    session: Session,
    ranks: str,
    name: str | None,
    replace: bool,
    given: str | None,
    file: str,
    args: tuple[str, ...],
) -> None:
    """Load a module file of brokersim into a real Flux, as it is.

    FLUX_URI says which instance; `flux start`, `flux alloc` and batch jobs set it.
    """
    from brokersim.realflux.loading import CannotLoad, plan
    from brokersim.realflux.loading import load as load_into
    from brokersim.realflux.place import NoFlux, find_flux

    if not os.environ.get("FLUX_URI"):
        raise CommandError(
            "FLUX_URI is not set: this is not inside a Flux instance",
            attempt=f"flux start brokersim flux load {file}",
        )
    try:
        wish = plan(file, name)
        gone = load_into(find_flux(given), wish, ranks, args, replace)
    except NoFlux as error:
        raise CommandError(str(error), code=FAILED) from None
    except CannotLoad as error:
        hint = _hint(str(error))
        raise CommandError(f"module {file!r} was not loaded: {error}", hint=hint, code=FAILED) from None
    except RequestError as error:
        raise CommandError(error.text or str(error), code=FAILED) from None
    if session.json:
        session.emit({"name": wish.name, "path": str(wish.path), "ranks": ranks, "replaced": gone})
    elif gone:
        session.say(f"in the place of {', '.join(gone)}")


def _hint(error: str) -> str:
    return (
        "Flux has a module of that name or service; --replace removes it first" if "exists" in error else ""
    )
