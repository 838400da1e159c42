"""Knows the commands that list, load, remove and reload broker modules; stats, debug and trace lie beside it."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Final

import click

from brokersim.cli.command import RUNS_COMMAND, Group, examples, list_options, pass_session
from brokersim.cli.errors import CommandError, answered, similar, usage_error
from brokersim.cli.module.several import load_on_all, need_on_all, where
from brokersim.cli.quick.offers import addressable, word_offers
from brokersim.cli.session import Explain, Session
from brokersim.cli.told import MODULE_DROP, MODULE_TITLES, module_row
from brokersim.cli.types import RANKS, items
from brokersim.protocol.decoded import JsonObject
from brokersim.protocol.errnums import ECONNRESET, EEXIST, EINVAL, ENOENT, ENOSYS, ETIMEDOUT, RequestError

if TYPE_CHECKING:
    from click.shell_completion import CompletionItem

_LAZY = {
    "stats": "brokersim.cli.module.stats:stats",
    "debug": "brokersim.cli.module.debug:debug",
    "trace": "brokersim.cli.module.trace:trace",
    "replay": "brokersim.cli.module.replay:replay",
}


@click.group("module", cls=Group, lazy=_LAZY)
def module() -> None:
    """List, load and look into broker modules."""


# --- what other commands need to know about modules


def loaded(session: Session, rank: int | None = None) -> list[JsonObject]:
    """The loaded modules, as module.list gives them; none if it cannot be asked."""
    try:
        return list(session.rpc("module.list", rank=rank)["mods"])
    except CommandError:
        return []


def service_hint(session: Session, service: str) -> str:
    """The nearest name to one that nobody serves."""
    known = addressable(loaded(session))
    return "" if service in known else similar(service, known, "one is loaded")


def explain_module(session: Session, name: str, rank: int | None = None) -> Explain:
    """The words for a module that is not there (ENOSYS from its methods, ENOENT from module.*)."""

    def told(error: RequestError) -> CommandError | None:
        if error.errno not in (ENOSYS, ENOENT):
            return None
        hint = service_hint(session, name)
        what = f"no module {name!r} on rank {session.attribute('rank') if rank is None else rank}"
        return answered(error, what, hint=hint, attempt="brokersim module list")

    return told


def complete_module(context: click.Context, _param: click.Parameter, incomplete: str) -> list[CompletionItem]:
    """Names of the live instance's modules; none rather than an error or a wait."""
    session = context.ensure_object(Session)
    session.timeout = 0.5
    try:
        known = addressable(loaded(session))
    except Exception:  # whatever is wrong with the instance, a completion is no place to say so
        return []
    return items(word_offers(incomplete, known))


# --- commands


@module.command(
    "list",
    **examples(
        ("brokersim module list", "what runs, and its mask"),
        ("brokersim module list -r all", "on every rank"),
    ),
)
@click.option("-l", "--long", is_flag=True, help="with the path, and the pid of a process of its own")
@click.option("-r", "--ranks", type=RANKS, metavar="RANKS", help="of these ranks  [this one]")
@list_options
@pass_session
def list_(session: Session, long: bool, ranks: str | None) -> None:
    """List the loaded modules."""
    if ranks is None:
        answer = session.rpc("module.list")
        _show(session, [(None, answer)], long)
        return
    _show(session, [(rank, session.rpc("module.list", rank=rank)) for rank in session.ranks(ranks)], long)


def _show(session: Session, answers: Sequence[tuple[int | None, JsonObject]], long: bool) -> None:
    if session.json:
        mods = [_with_rank(rank, mod) for rank, answer in answers for mod in answer["mods"]]
        session.emit({"mods": mods})
        return
    several = len(answers) > 1
    rows = [
        ([rank] if several else []) + module_row(mod) + ([mod.get("pid"), mod["path"]] if long else [])
        for rank, answer in answers
        for mod in answer["mods"]
    ]
    titles = [*(["Rank"] if several else []), *MODULE_TITLES, *(["PID", "Path"] if long else [])]
    session.table(titles, rows, drop=MODULE_DROP)


def _with_rank(rank: int | None, mod: JsonObject) -> JsonObject:
    return mod if rank is None else {"rank": rank, **mod}


@module.command(
    "load",
    context_settings=RUNS_COMMAND,
    **examples(
        ("brokersim module load ./hello.py", "a file of yours"),
        ("brokersim module load -n hello2 ./hello.py a=1", "a second time, with an argument"),
        ("brokersim module load --exec ./hello.py", "in a process of its own: a crash costs nobody else"),
        ("brokersim module load --check ./hello.py", "would it run here, and in Flux?"),
    ),
)
@click.option(
    "--check", is_flag=True, help="only try it, in an instance of its own; exit code 1 if it would not run"
)
@click.option("--exec", "as_process", is_flag=True, help="run it as a process of its own")
@click.option(
    "--loader",
    type=click.Choice(["brokersim", "flux"]),
    help="with --exec: what runs the file; flux needs Flux installed  [brokersim]",
)
@click.option("-n", "--name", metavar="NAME", help="load under this name")
@click.option("-r", "--ranks", type=RANKS, metavar="RANKS", help="on these ranks  [this one]")
@click.argument("path", metavar="PATH|NAME")
@click.argument("args", metavar="[ARG]...", nargs=-1)
@pass_session
def load(
    session: Session,
    check: bool,
    as_process: bool,
    loader: str | None,
    name: str | None,
    ranks: str | None,
    path: str,
    args: tuple[str, ...],
) -> None:
    """Load a module and wait until it runs: on all of several ranks, or on none."""
    if loader is not None and not as_process:
        raise usage_error(
            "--loader chooses what runs a process of its own",
            attempt="brokersim module load --exec --loader flux PATH",
        )
    if check:
        # Not at the top: it brings trio, which no other client command needs.
        from brokersim.cli.module.check import show_check

        show_check(session, path, args)
        return
    request: JsonObject = {"path": resolve(path), "args": list(args), "exec": as_process}
    request |= {key: value for key, value in (("name", name), ("loader", loader)) if value is not None}
    shown = name or path
    load_on_all(
        session,
        where(session, ranks),
        lambda rank: session.rpc("module.load", request, rank=rank, explain=_explain_load(shown)),
    )
    if session.json:
        session.emit({"loaded": shown, "path": request["path"]})


def resolve(path: str) -> str:
    """The absolute path of a file; a bare name that is no file stays a name. Raises CommandError if missing."""
    if os.path.exists(path) and ("/" in path or path.endswith(".py")):
        return str(Path(path).resolve())
    if "/" in path:
        # Said here, before anything is sent: the broker may see another file system and could only guess.
        raise usage_error(f"no module file {path!r}", hint=_beside(path), attempt="brokersim module list -l")
    return path


def _beside(path: str) -> str:
    folder = Path(path).parent
    try:
        found = [entry.name for entry in folder.iterdir()]
    except OSError:
        return f"there is no folder {str(folder)!r}"
    return similar(Path(path).name, found, "one is there")


#: What to try after a module was not loaded, by errno; a module that raised while it started has written to the log.
_LOAD_ATTEMPTS: Final = {
    EEXIST: "brokersim module load -n OTHER {0}",
    EINVAL: "brokersim module load --check {0}",
    ECONNRESET: "brokersim dmesg",
    ETIMEDOUT: "brokersim dmesg",
}


def _explain_load(shown: str) -> Explain:
    def told(error: RequestError) -> CommandError | None:
        text = f": {error.text}" if error.text else ""
        attempt = _LOAD_ATTEMPTS.get(error.errno or 0, "").format(shown)
        return answered(error, f"module {shown!r} was not loaded{text}", attempt=attempt)

    return told


@module.command(
    "remove",
    **examples(
        ("brokersim module remove hello", ""), ("brokersim module remove --cancel hello", "even if it hangs")
    ),
)
@click.option("-f", "--force", is_flag=True, help="no error if it is not loaded")
@click.option("--cancel", is_flag=True, help="cancel it if it does not stop")
@click.option("-r", "--ranks", type=RANKS, metavar="RANKS", help="on these ranks  [this one]")
@click.argument("name", shell_complete=complete_module)
@pass_session
def remove(session: Session, force: bool, cancel: bool, ranks: str | None, name: str) -> None:
    """Unload a module and wait until it is gone."""
    there = where(session, ranks)
    if not force:
        need_on_all(session, there, name, "removed")
    for rank in there:
        _remove(session, name, rank, cancel, force)
    if session.json:
        session.emit({"removed": name})


def _remove(session: Session, name: str, rank: int | None, cancel: bool, force: bool) -> None:
    explain = explain_module(session, name, rank)
    try:
        session.rpc("module.remove", {"name": name, "cancel": cancel}, rank=rank, explain=explain)
    except CommandError:
        if not force or any(mod["name"] == name for mod in loaded(session, rank)):
            raise


@module.command(
    "reload",
    context_settings=RUNS_COMMAND,
    **examples(("brokersim module reload hello", "remove it, load the same file again")),
)
@click.option("-f", "--force", is_flag=True, help="load it even if it was not loaded")
@click.option("--cancel", is_flag=True, help="cancel it if it does not stop")
@click.option("-r", "--ranks", type=RANKS, metavar="RANKS", help="on these ranks  [this one]")
@click.argument("name", metavar="PATH|NAME", shell_complete=complete_module)
@click.argument("args", metavar="[ARG]...", nargs=-1)
@pass_session
def reload(
    session: Session, force: bool, cancel: bool, ranks: str | None, name: str, args: tuple[str, ...]
) -> None:
    """Remove a module and load it again from where it came."""
    there = where(session, ranks)
    if not force:
        need_on_all(session, there, _name_of(name), "reloaded")
    for rank in there:
        _reload(session, name, rank, cancel, force, args)
    if session.json:
        session.emit({"reloaded": name})


def _name_of(name: str) -> str:
    """What the module of a file is called, or of whatever was given."""
    path = resolve(name)
    return Path(path).name.partition(".")[0] if "/" in path else name


def _reload(
    session: Session, name: str, rank: int | None, cancel: bool, force: bool, args: Sequence[str]
) -> None:
    path, wanted = resolve(name), _name_of(name)
    is_file = "/" in path
    mods = session.rpc("module.list", rank=rank)["mods"]
    before: JsonObject = next((mod for mod in mods if mod["name"] == wanted), {})
    if not is_file:
        path = before.get("path", name)
    _remove(session, wanted, rank, cancel, force)
    # As it was: one that ran as a process of its own does so again.
    request = {"path": path, "args": list(args), "exec": "pid" in before, "name": wanted}
    if "loader" in before:
        request["loader"] = before["loader"]
    session.rpc("module.load", request, rank=rank, explain=_explain_load(wanted))
