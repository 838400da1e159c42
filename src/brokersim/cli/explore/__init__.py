"""Knows the options of `explore` and its exit codes; what it does is explore's, how it is told is output's."""

from __future__ import annotations

import itertools
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import click

from brokersim import files
from brokersim.cli.command import Command, Given, examples, pass_session
from brokersim.cli.errors import FAILED, FINE, INTERRUPTED, CommandError, text_of, usage_error
from brokersim.cli.session import Session
from brokersim.cli.types import OUT_FILE, OUT_FOLDER, Parsed
from brokersim.protocol.duration import parse_duration
from brokersim.protocol.errnums import RequestError

if TYPE_CHECKING:
    from brokersim.explore.author import Author
    from brokersim.explore.plan import Plan
    from brokersim.explore.run import Outcome
    from brokersim.explore.search import Report

#: A find that does not break again: the explorer is at fault.
_NOT_REPRODUCIBLE: Final = 3
#: Examples unless told otherwise: half a minute on an idle core.
_EXAMPLES: Final = 2000


def _span(text: str) -> float:
    """Seconds of a duration that is not over at once. Raises ValueError."""
    seconds = parse_duration(text)
    if not seconds:
        raise ValueError(f"no time to search in; give more than 0, such as 90s or 2m, not {text!r}")
    return seconds


@click.command(
    "explore",
    cls=Command,
    **examples(
        ("brokersim explore --only kvs,watch --seconds 1m", "a minute of two families"),
        ("brokersim explore ./mymod.py", "a module of yours"),
        ("brokersim explore --replay PLAN --film x.html", "a find, as a page"),
    ),
)
@click.argument("modules", nargs=-1, metavar="[MODULE…]")
@click.option(
    "--examples", "number", type=click.IntRange(1), metavar="N", help=f"how many plans  [{_EXAMPLES:,}]"
)
@click.option(
    "--seconds", type=Parsed("fsd", _span), metavar="FSD", help="or for how long, of real time: 90, 90s, 2m"
)
@click.option("--seed", default=0, metavar="N", help="of the first plan; the next ones follow  [0]")
@click.option("--size", default="1-4", metavar="N[-N]", help="ranks  [1-4]")
@click.option("--model", default="flux", type=click.Choice(["none", "flux", "hostile"]), metavar="MODEL",
              help="faults: none, flux or hostile  [flux]")  # fmt: skip
@click.option("-M", "--module-path", multiple=True, type=click.Path(file_okay=False, exists=True, path_type=Path),
              metavar="DIR", help="modules here, before those that ship")  # fmt: skip
@click.option("--only", metavar="NAMES", help="such as kvs,jobs or sched  [all that ships]")
@click.option("-j", "--jobs", default=1, type=click.IntRange(1, 256), metavar="N", help="processes  [1]")
@click.option("--replay", metavar="PLAN|SEED", help="run one plan, from a file or drawn from a seed")
@click.option("--trace", "shows_trace", is_flag=True, help="with --replay: every message of it")
@click.option("--film", type=OUT_FILE, metavar="FILE", help="a page that plays what was found")
@click.option("--corpus", type=OUT_FOLDER, metavar="FOLDER",
              help="plans run first, and finds  [explore-plans]")  # fmt: skip
@pass_session
def explore(session: Session, /, **given: Any) -> int:
    """Run seeded plans of requests and faults until a law breaks; shrink that.
    Exit code 1: something broke; 3: did so once; ^C: tells what was searched.
    """
    from brokersim.explore.run import run_plan
    from brokersim.explore.search import CORPUS, keep, read_corpus, search

    corpus = given["corpus"] or CORPUS
    try:
        space, authors = _space(given)
        if given["replay"] is not None:
            return _replay(session, given, space, authors)
        seeds: Any = itertools.count(given["seed"])
        if given["seconds"] is None or given["number"] is not None:
            seeds = range(given["seed"], given["seed"] + (given["number"] or _EXAMPLES))
        kept = read_corpus(corpus)
        plans = [
            plan for plan in kept if plan.own == space.own and space.families.keys() >= set(plan.families)
        ]
        if len(plans) < len(kept):
            session.say(
                f"{corpus}: plans of other modules, passed over: {len(kept) - len(plans)} of {len(kept)}"
            )
        report = search(space, authors, seeds, corpus=plans, seconds=given["seconds"], jobs=given["jobs"])
    except RequestError as error:
        raise usage_error(error.text) from None
    path, failure = None, None
    if report.find is not None:
        path = corpus / report.find.name
        try:
            keep(report.find, corpus)
        except OSError as error:
            failure = CommandError(f"the plan is not kept: {text_of(error)}", code=FAILED)
    if report.find is not None and given["film"] is not None:
        outcome = run_plan(report.find.plan, authors(), keeps_trace=True)
        _write_film(session, given["film"], report.find.plan, outcome)
    code = _tell(session, report, given, path)
    if failure is not None:
        raise failure
    return code


def _tell(session: Session, report: Report, given: Given, path: Path | None) -> int:
    from brokersim.cli.explore import output

    if session.json:
        session.emit(output.to_json(report, given["model"], path))
    else:
        lines = output.find_lines(report.find, path) if report.find and path else []
        for line in (*lines, *output.report_lines(report, given["model"])):
            session.out(line)
    if report.is_broken_off:
        return INTERRUPTED
    if report.find is None:
        return FINE
    return _NOT_REPRODUCIBLE if report.find.is_flaky else FAILED


def _replay(session: Session, given: Given, space: Any, authors: Any) -> int:
    from brokersim.cli.explore import output
    from brokersim.explore.run import run_plan

    plan = _plan(given["replay"], space)
    if plan.own and not given["modules"]:
        from brokersim.explore.modules import author_of

        authors = partial(author_of, plan.own, tuple(given["module_path"]))
    outcome = run_plan(plan, authors(), keeps_trace=True)
    if given["film"] is not None:
        _write_film(session, given["film"], plan, outcome)
    if session.json:
        session.emit(output.replay_json(plan, outcome, given["shows_trace"]))
    else:
        for line in output.replay_lines(outcome, given["shows_trace"]):
            session.out(line)
    return FAILED if outcome.broken else FINE


def _write_film(session: Session, path: Path, plan: Plan, outcome: Outcome) -> None:
    from brokersim.explore.film import page

    try:
        files.write_file(path, page(plan, outcome))
    except OSError as error:
        raise usage_error(
            f"--film {path}: {error.strerror}", hint="give a file that can be written"
        ) from None
    session.say(f"{path}: a page that plays this plan")


def _plan(wanted: str, space: Any) -> Plan:
    """From a file, or from a seed. Raises RequestError for a file that holds none."""
    from brokersim.explore.draw import draw
    from brokersim.explore.plan import from_json

    if wanted.isdigit():
        return draw(space, int(wanted))
    try:
        text = files.read_bytes(wanted)
    except OSError as error:
        raise usage_error(
            f"no plan {wanted!r}: {error.strerror}", hint="give the file of a find, or a seed"
        ) from None
    return from_json(text, wanted)


def _space(given: Given) -> tuple[Any, Any]:
    from brokersim.explore.author import merged_families
    from brokersim.explore.draw import Space
    from brokersim.explore.modules import author_of

    paths = tuple(str(Path(one).resolve()) if Path(one).exists() else one for one in given["modules"])
    authors: partial[Author] = partial(author_of, paths, tuple(given["module_path"]))
    author = authors()
    families = merged_families(author)
    wanted = _only(given["only"], families) if given["only"] else _all_of(author, families, bool(paths))
    if paths and "own" in families and "own" not in wanted:
        wanted = (*wanted, "own")
    space = Space(
        families=families, wanted=wanted, sizes=_sizes(given["size"]), model=given["model"], own=paths
    )
    return space, authors


def _only(text: str, families: Any) -> tuple[str, ...]:
    """Families by their names, or by those of the modules they look at, each once."""
    from brokersim.explore.families import OF_MODULES

    wanted = [OF_MODULES.get(name, name) for name in text.split(",")]
    for name in wanted:
        if name not in families:
            modules = ", ".join(OF_MODULES)
            raise usage_error(
                f"--only: no family {name!r}; there are {', '.join(families)}, and by their modules {modules}"
            )
    return tuple(dict.fromkeys(wanted))


def _all_of(author: Author, families: Any, has_modules: bool) -> tuple[str, ...]:
    if has_modules:
        return (*author.families, *(["own"] if "own" in families else []))
    return tuple(families)


def _sizes(text: str) -> tuple[int, int]:
    low, _, high = text.partition("-")
    try:
        sizes = int(low), int(high or low)
    except ValueError:
        sizes = 0, 0
    if not 1 <= sizes[0] <= sizes[1]:
        raise usage_error(
            f"--size {text!r}: give a number of ranks, such as 2, or the least and the most: 1-4"
        )
    return sizes
