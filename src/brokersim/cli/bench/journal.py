"""Knows the options of the book: every experiment of the journal, one page; not what is in it (lab)."""

from __future__ import annotations

import shlex
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import click

from brokersim.cli.bench.broken_off import told_when_broken_off
from brokersim.cli.bench.handed_over import awaited, hand_over, launcher_options
from brokersim.cli.bench.made import failures
from brokersim.cli.bench.output import FORMATS, mark, print_kept, progress, ran_on
from brokersim.cli.command import Command, Given, examples, list_options, pass_session
from brokersim.cli.errors import FAILED, CommandError, text_of, usage_error
from brokersim.cli.session import Session
from brokersim.cli.types import OUT_FOLDER
from brokersim.protocol.decoded import JsonObject

if TYPE_CHECKING:
    from brokersim.lab.result import Result

#: Where the book goes.
BOOK = Path("journal")


@click.command(
    "journal",
    cls=Command,
    **examples(
        ("brokersim bench journal --all", "every experiment, one page: journal/index.html"),
        ("brokersim bench journal idle period --out mine", "two of them"),
        ("brokersim bench journal --list", "what each covers of the journal"),
        ("brokersim bench journal --all --full", "the journal's own sizes: takes its time"),
    ),
)
@click.argument("names", metavar="[EXPERIMENT]...", nargs=-1)
@click.option("--all", "everything", is_flag=True, help="all of them")
@click.option("--list", "listing", is_flag=True, help="which there are and what they cover")
@click.option("--jobs", type=click.IntRange(1), metavar="N", help="of each experiment that has jobs")
@click.option("--seed", type=click.IntRange(0), metavar="N", help="same seed, same bytes  [0]")
@click.option("--full", is_flag=True, help="the journal's parameters")
@click.option("--out", type=OUT_FOLDER, default=BOOK, metavar="DIR", help="[journal]")
@click.option("--plot", type=click.Choice(FORMATS), default="html", help="[html]")
@click.option("--gate", is_flag=True, help="exit 1 if a check fails")
@launcher_options()
@list_options
@pass_session
def journal(
    session: Session, /, names: tuple[str, ...], everything: bool, listing: bool, out: Path, plot: str, gate: bool,
    **given: object,
) -> int | None:  # fmt: skip
    """Every experiment of the journal into one book."""
    from brokersim.lab.experiments.book import CHAPTERS
    from brokersim.lab.keep.parts import left_of

    if listing:
        _list(session)
        return None
    chosen = _chosen(names, everything, CHAPTERS)
    if given["shard"] or given["launcher"] != "local":
        _hand_out(session, chosen, names, given, out)
        return None
    with told_when_broken_off(session, lambda: left_of(out)):
        found, files = _run(session, chosen, given, out, plot)
    print_kept(session, files)
    if session.json:
        session.emit({"meta": found[0].meta, "results": [one.to_json() for one in found]})
    else:
        _print(session, found)
        session.out(f"\nbook: {out / 'index.html'}" if plot == "html" else f"\nfiles: {out}")
    return 1 if gate and any(each.failed() for each in found) else None


def _chosen(names: tuple[str, ...], everything: bool, known: Sequence[str]) -> list[str]:
    if bool(names) == everything:
        raise usage_error(
            "give --all or names of experiments" + (", not both" if names else ""),
            attempt="brokersim bench journal --all    (or: brokersim bench journal --list)",
        )
    for name in names:
        if name not in known:
            raise usage_error(f"no experiment {name!r}; there are {', '.join(known)}")
    return list(dict.fromkeys(names)) or list(known)


def _fields(given: Given) -> tuple[JsonObject, str]:
    """What goes to the experiments, and the preset."""
    fields = {name: given[name] for name in ("jobs", "seed") if given[name] is not None}
    return fields, "journal" if given["full"] else "small"


def _run(
    session: Session, names: list[str], given: Given, out: Path, plot: str
) -> tuple[list[Result], list[Path]]:
    from brokersim.lab.experiments.book import chapters, part_file
    from brokersim.lab.keep.files import write_files
    from brokersim.lab.keep.parts import Parts
    from brokersim.lab.sweep.sweep import cores

    job = awaited(session, given, out)
    say = progress(session)
    fields, preset = _fields(given)
    try:
        with part_file(out, fields, preset, _command(names, given, out)) as file:
            for share in () if job is None else job.paths:
                file.take_over(share)
            found = list(chapters(names, fields, preset, say, cores(), Parts(file)))
            files = write_files(found, out, plot)
            file.remove()
        if job is not None:
            job.remove()
        return found, files
    except failures() as error:
        raise CommandError(text_of(error), code=FAILED) from None
    except ValueError as error:
        raise usage_error(str(error), attempt="brokersim bench journal -h") from None
    finally:
        say("")


def _words(names: Sequence[str], given: Given, out: Path) -> list[str]:
    options = [
        word
        for name in ("jobs", "seed")
        if given[name] is not None
        for word in (f"--{name}", str(given[name]))
    ]
    return ["bench", "journal", *names, *options, *(["--full"] if given["full"] else []), "--out", str(out)]


def _command(names: Sequence[str], given: Given, out: Path) -> str:
    return shlex.join(["brokersim", *_words(names, given, out)])


def _hand_out(session: Session, chosen: list[str], names: tuple[str, ...], given: Given, out: Path) -> None:
    """The chapters as an array job; or one element of it."""
    from brokersim.lab.experiments.book import left, write_share
    from brokersim.lab.sweep.arrays import Share

    fields, preset = _fields(given)
    try:
        if given["shard"]:
            count = write_share(chosen, fields, preset, out, Share.parse(given["shard"]), progress(session))
            session.say(f"{count} chapter{'' if count == 1 else 's'}")
            return
        words = _words(names or ("--all",), given, out)
        # Chapters are as unlike as experiments are: none says what another takes.
        hand_over(
            session, given, run=out.absolute(), name="journal", words=words, gather=shlex.join(["brokersim", *words]),
            total=len(left(chosen, out)), measured=None,
        )  # fmt: skip
    except failures() as error:
        raise CommandError(text_of(error), code=FAILED) from None
    except ValueError as error:
        raise usage_error(str(error), attempt="brokersim bench journal -h") from None


def _list(session: Session) -> None:
    from brokersim.lab.experiments.book import CHAPTERS, covers

    if session.json:
        session.emit([{"experiment": name, "covers": list(covers(name))} for name in CHAPTERS])
        return
    rows = [(name, ", ".join(covers(name)), f"brokersim bench {name}") for name in CHAPTERS]
    session.table(("experiment", "covers", "alone"), rows)


def _print(session: Session, found: list[Result]) -> None:
    rows = []
    for each in found:
        failed = each.failed()
        agree = f"{len(each.checks) - len(failed)} of {len(each.checks)}"
        rows.append((mark(session, not failed), each.experiment, agree, ", ".join(failed)))
    session.table(("", "experiment", "agree", "do not"), rows)
    session.say(f"\n{ran_on(found[0].meta)}")
