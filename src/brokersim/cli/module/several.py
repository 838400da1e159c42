"""Knows how a change of modules is made on all of several ranks or on none; not what the change is on one."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence

from brokersim.cli.errors import ANSWERED, TIMED_OUT, CommandError
from brokersim.cli.session import Session
from brokersim.protocol.decoded import JsonObject
from brokersim.protocol.ranks import format_ranks

Rank = int | None


def where(session: Session, ranks: str | None) -> list[Rank]:
    """The ranks meant; the one the command is connected to is None."""
    return [None] if ranks is None else list(session.ranks(ranks))


def load_on_all(session: Session, ranks: Sequence[Rank], load: Callable[[Rank], None]) -> None:
    """Loads on each rank, or removes again what was loaded if a rank refuses. Raises its CommandError, and says so."""
    if len(ranks) == 1:
        load(ranks[0])
        return
    before = {rank: _names(session, rank) for rank in ranks}
    done: list[Rank] = []
    try:
        for rank in ranks:
            load(rank)
            done.append(rank)
    except CommandError as error:
        raise _taken_back(session, error, ranks[len(done)], {one: before[one] for one in done}) from None
    except TimeoutError:
        raise _broken_off(ranks[len(done)], done) from None


def _taken_back(
    session: Session, error: CommandError, refused: Rank, before: dict[Rank, set[str]]
) -> CommandError:
    """What is told of the failure, after all that had been loaded is removed; ``before``: names by rank."""
    left = []
    for rank, names in reversed(before.items()):
        try:
            for name in _names(session, rank) - names:
                session.rpc("module.remove", {"name": name}, rank=rank)
        except (CommandError, TimeoutError):
            left.append(rank)
    told = [f"rank {refused} refused"]
    if freed := [rank for rank in before if rank not in left]:
        told.append(f"removed again from {_shown(freed)}")
    if left:
        told.append(f"still loaded on {_shown(left)}")
    hint = "; ".join([*told, "nothing is changed"] if not left else told)
    return CommandError(error.what, hint=hint, attempt=error.attempt, code=error.code)


def _broken_off(waited: Rank, done: Sequence[Rank]) -> CommandError:
    """``--timeout`` leaves no time to take back what had been loaded: it is told where that is."""
    loaded = f"loaded on {_shown(done)} already; " if done else ""
    return CommandError(
        f"--timeout ran out before {_shown([waited])} answered",
        hint=f"{loaded}{_shown([waited])} may yet load it",
        attempt="brokersim module list -r all",
        code=TIMED_OUT,
    )


def need_on_all(session: Session, ranks: Sequence[Rank], name: str, what: str) -> None:
    """Several ranks have the module, all of them. Raises CommandError, which says that nothing is ``what``."""
    if len(ranks) == 1:
        return
    lacking = [rank for rank in ranks if not any(_is_called(mod, name) for mod in _mods(session, rank))]
    if lacking:
        raise CommandError(
            f"no module {name!r} on {_shown(lacking)}; nothing is {what} (ENOENT)",
            hint="-f passes over ranks that do not have it" if what == "removed" else "",
            attempt="brokersim module list -r all",
            code=ANSWERED,
        )


def _mods(session: Session, rank: Rank) -> list[JsonObject]:
    return list(session.rpc("module.list", rank=rank)["mods"])


def _names(session: Session, rank: Rank) -> set[str]:
    return {mod["name"] for mod in _mods(session, rank)}


def _is_called(mod: JsonObject, name: str) -> bool:
    return name in (mod["name"], *mod["services"]) or mod["path"] == name


def _shown(ranks: Iterable[Rank]) -> str:
    found = [rank for rank in ranks if rank is not None]
    return f"rank{'' if len(found) == 1 else 's'} {format_ranks(found)}"
