"""Knows the command that reads and sets a module's debug mask and its emission hook."""

from __future__ import annotations

import click

from brokersim.cli.command import Command, examples, list_options, pass_session
from brokersim.cli.errors import CommandError, answered, usage_error
from brokersim.cli.mask import MASK_BITS
from brokersim.cli.module import complete_module, explain_module
from brokersim.cli.module.several import where
from brokersim.cli.session import Explain, Session
from brokersim.cli.types import MASK, RANKS, Parsed, complete_hook
from brokersim.protocol.decoded import JsonObject
from brokersim.protocol.errnums import EINVAL, RequestError

#: Setting no bit is how a mask is asked for.
_ASK = ("setbit", 0)


def _hook(text: str) -> str:
    from brokersim.protocol.settings import check_hook

    return check_hook(text)


@click.command(
    "debug",
    cls=Command,
    **examples(
        ("brokersim module debug -s 0x1000 kvs", "send its counters as gauges"),
        ("brokersim module debug -s msgcount --hook check kvs", "from its check hook"),
        ("brokersim module debug -c 0x1000 -r all kvs cron", "stop two on every rank"),
    ),
)
@click.option("-s", "--setbit", type=MASK, metavar="MASK", help="set these bits")
@click.option("-c", "--clearbit", type=MASK, metavar="MASK", help="clear these bits")
@click.option("-S", "--set", "set_", type=MASK, metavar="MASK", help="set the whole mask")
@click.option("-C", "--clear", is_flag=True, help="clear the whole mask")
@click.option(
    "--hook",
    type=Parsed("kind", _hook),
    metavar="KIND",
    shell_complete=complete_hook,
    help="prepare, check, idle or timer:FSD",
)
@click.option("-r", "--ranks", type=RANKS, metavar="RANKS", help="on these ranks  [this one]")
@click.option("--all", "everywhere", is_flag=True, help="on every rank")
@click.option("--list", "list_", is_flag=True, help="the bits that have names")
@list_options
@click.argument("names", metavar="NAME...", nargs=-1, shell_complete=complete_module)
@pass_session
def debug(
    session: Session,
    setbit: int | None,
    clearbit: int | None,
    set_: int | None,
    clear: bool,
    hook: str | None,
    ranks: str | None,
    everywhere: bool,
    list_: bool,
    names: tuple[str, ...],
) -> None:
    """Print a module's debug mask, after changing it if asked. Names: msgcount+timing."""
    if list_:
        _list_bits(session)
        return
    operations = _operations(setbit, clearbit, set_, clear)
    if not names:
        raise usage_error(
            "missing argument 'NAME...'",
            hint="brokersim module list shows what there is",
            attempt="brokersim module debug --help",
        )
    there = [(rank, name) for rank in where(session, "all" if everywhere else ranks) for name in names]
    if len(there) > 1 and (operations != [_ASK] or hook is not None):
        for rank, name in there:  # all of them are there, or nothing is changed
            _apply(session, name, rank, [_ASK], None)
    rows = [_apply(session, name, rank, operations, hook) for rank, name in there]
    _show(session, rows)


def _list_bits(session: Session) -> None:
    if session.json:
        session.emit({"bits": [{"bit": bit, "name": name, "meaning": text} for bit, name, text in MASK_BITS]})
        return
    session.table(("Bit", "Name", "Meaning"), [(f"{bit:#x}", name, text) for bit, name, text in MASK_BITS])


def _operations(
    setbit: int | None, clearbit: int | None, set_: int | None, clear: bool
) -> list[tuple[str, int]]:
    """The op and flags of each request; asking for the mask is setting no bit, as upstream does it."""
    asked = [
        ("clr", 0 if clear else None), ("set", set_), ("setbit", setbit), ("clrbit", clearbit)
    ]  # fmt: skip
    operations = [(op, flags) for op, flags in asked if flags is not None]
    if len(operations) > 1 and operations[0][0] in ("clr", "set"):
        raise click.UsageError("--set and --clear give the whole mask; they go with no other change")
    return operations or [_ASK]


def _apply(
    session: Session, name: str, rank: int | None, operations: list[tuple[str, int]], hook: str | None
) -> JsonObject:
    explain = explain_module(session, name, rank)
    flags = 0
    if hook is not None:
        request = {"name": name, "hook": hook}
        session.rpc("module.hook", request, rank=rank, explain=_explain_hook(hook, explain))
    for op, bits in operations:
        flags = session.rpc(f"{name}.debug", {"op": op, "flags": bits}, rank=rank, explain=explain)["flags"]
    return {"rank": rank, "name": name, "flags": flags, **({"hook": hook} if hook is not None else {})}


def _explain_hook(hook: str, otherwise: Explain) -> Explain:
    def told(error: RequestError) -> CommandError | None:
        if error.errno == EINVAL:
            return answered(error, f"hook {hook!r}: {error}")
        return otherwise(error)

    return told


def _show(session: Session, rows: list[JsonObject]) -> None:
    if session.json:
        session.emit({"modules": rows})
    elif len(rows) == 1:
        session.out(f"{rows[0]['flags']:#x}")
    else:
        several = any(row["rank"] is not None for row in rows)
        titles = (["Rank"] if several else []) + ["Module", "Mask"]
        session.table(
            titles, [([row["rank"]] if several else []) + [row["name"], f"{row['flags']:#x}"] for row in rows]
        )
