"""Knows the exit codes and how a failure is told in three lines; not what failed."""

from __future__ import annotations

import errno
import os
from collections.abc import Callable, Iterable
from typing import Any, Final

import click

from brokersim.net.client import Unreachable
from brokersim.net.discovery import NoInstance
from brokersim.protocol.errnums import ProtocolError, RequestError, errname

FINE: Final = 0
#: The thing asked for failed or differs.
FAILED: Final = 1
#: A usage or configuration error.
USAGE: Final = 2
#: No instance, refused, or the connection was lost.
UNREACHABLE: Final = 3
#: An RPC was answered with an error.
ANSWERED: Final = 4
#: ``--timeout`` ran out.
TIMED_OUT: Final = 124
#: ^C.
INTERRUPTED: Final = 130


class CommandError(Exception):
    """Ends the command: what went wrong, why or the nearest match, what to type next, and the exit code."""

    def __init__(self, what: str, *, hint: str = "", attempt: str = "", code: int = FAILED) -> None:
        super().__init__(what)
        self.what = what
        self.hint = hint
        self.attempt = attempt
        self.code = code

    def lines(self) -> list[str]:
        """One to three lines; the first starts with ``error:``."""
        told = [f"error: {self.what}"]
        if self.hint:
            told.append(f"  hint: {self.hint}")
        if self.attempt:
            told.append(f"  try:  {self.attempt}")
        return told


def usage_error(what: str, *, hint: str = "", attempt: str = "") -> CommandError:
    """What was typed cannot be meant; exit code 2."""
    return CommandError(what, hint=hint, attempt=attempt, code=USAGE)


def answered(error: RequestError, what: str, *, hint: str = "", attempt: str = "") -> CommandError:
    """An RPC was answered with an error: ``what`` and the errno's name; exit code 4."""
    return CommandError(f"{what} ({errname(error.errno or 0)})", hint=hint, attempt=attempt, code=ANSWERED)


def nearest(word: str, known: Iterable[str]) -> str:
    """The known word most like ``word``, ``""`` if none is alike."""
    import difflib  # most command lines have no word wrong

    found = difflib.get_close_matches(word, list(known), n=1)
    return found[0] if found else ""


def similar(word: str, known: Iterable[str], what: str) -> str:
    """A hint naming the nearest match: ``a similar one is loaded: kvs``; ``""`` if nothing is alike."""
    near = nearest(word, known)
    return f"a similar {what}: {near}" if near else ""


def explain(error: BaseException, command: str = "brokersim") -> CommandError | None:
    """The three lines for any foreseen failure; None for a fault of our own."""
    for kind, told in _KINDS:
        if isinstance(error, kind):
            return told(error, command)
    return None


def _no_instance(error: NoInstance, command: str) -> CommandError:
    attempt = error.attempt
    if attempt.startswith("brokersim start"):
        attempt += f", or:  brokersim start -- {command}"
    return CommandError(str(error), hint=error.hint, attempt=attempt, code=UNREACHABLE)


#: What an errno of a connection says of the instance behind it.
_WHY_UNREACHABLE: Final = {
    errno.EACCES: "the socket is another user's; an instance talks to its owner, and to guests only if it is told to",
    errno.EPERM: "the instance refuses this user; start it with -S access.allow-guest-user=true to let guests in",
    errno.ECONNREFUSED: "nobody listens there any more: the instance has ended without removing its socket",
    errno.ENOENT: "there is no such socket: the instance has ended, or its address is another one",
    errno.EAGAIN: "the instance is there and takes nobody in: it is stuck, or very busy",
}


def _unreachable(error: Unreachable, _command: str) -> CommandError:
    hint = _WHY_UNREACHABLE.get(error.errno or 0, "")
    return CommandError(str(error), hint=hint, attempt="brokersim ps", code=UNREACHABLE)


def _answered(error: RequestError, _command: str) -> CommandError:
    return answered(error, str(error))


def _timeout(_error: TimeoutError, _command: str) -> CommandError:
    return CommandError("--timeout ran out before the answer came", code=TIMED_OUT)


#: What lists the things that an argument names: by a command's group, or itself, and the argument.
_LISTED: Final = {
    ("registry", "ident"): "registry list {collection}",
    ("module", "name"): "module list",
    ("module", "names"): "module list",
    ("cron", "ids"): "cron list",
    ("job", "job_id"): "job list -a",
    ("jobtap", "glob"): "jobtap list",
    ("jobtap", "name"): "jobtap list",
    ("getattr", "name"): "lsattr",
    ("setattr", "name"): "lsattr",
    ("runs", "name"): "runs list",
    ("runs", "names"): "runs list",
    ("report", "runs"): "runs list",
    ("probe", "probe"): "probe list",
    ("probe", "measurement"): "probe status",
    ("metrics", "name"): "metrics list",
    ("metrics", "names"): "metrics list",
    ("kvs", "key"): "kvs ls",
    ("kvs", "keys"): "kvs ls",
}
#: Commands whose argument names what is not there yet.
_MAKING: Final = frozenset({"add", "mkdir", "put"})


def _usage(error: click.ClickException, command: str) -> CommandError:
    text = _in_words(error)
    context = getattr(error, "ctx", None)
    path = context.command_path if context is not None else command
    hint = _what_there_is(error) if isinstance(error, click.MissingParameter) else ""
    return usage_error(f"{text[:1].lower()}{text[1:]}", hint=hint, attempt=f"{path} --help")


def _in_words(error: click.ClickException) -> str:
    """click's sentence; of what is no number, or one out of bounds, in the words files and requests are told in."""
    param = error.param if isinstance(error, click.BadParameter) else None
    value = error.message.rpartition(" is not ")[0]
    if param is not None and value:
        whole = isinstance(param.type, click.types.IntParamType)
        if whole or isinstance(param.type, click.types.FloatParamType):
            told = f"{value} is no {'whole ' if whole else ''}number{_bounds(param.type)}"
            error = click.BadParameter(told, getattr(error, "ctx", None), param)
    return " ".join(error.format_message().split()).rstrip(".")  # click lists choices a line each


def _bounds(kind: click.ParamType[Any]) -> str:
    """`` of 1 or more``, `` from 1 to 256``, `` above 0``; ``""`` if any number will do."""
    least, most = getattr(kind, "min", None), getattr(kind, "max", None)
    if least is None:
        return "" if most is None else f" of {most:,} or less"
    if getattr(kind, "min_open", False):
        return f" above {least:,}" if most is None else f" above {least:,} and up to {most:,}"
    return f" of {least:,} or more" if most is None else f" from {least:,} to {most:,}"


def _what_there_is(error: click.MissingParameter) -> str:
    """The command that lists what a missing argument may name; ``""`` if none does."""
    if error.ctx is None or error.param is None or error.param.name is None:
        return ""
    _, *path = error.ctx.command_path.split()
    listed = _LISTED.get((path[0], error.param.name), "") if path and path[-1] not in _MAKING else ""
    return f"brokersim {listed.format_map(error.ctx.params)} shows what there is" if listed else ""


def _protocol(error: ProtocolError, _command: str) -> CommandError:
    return usage_error(str(error))


def _system(error: OSError, _command: str) -> CommandError:
    where = "" if error.filename else "cannot write or read: "
    return CommandError(f"{where}{text_of(error)}")


def text_of(error: BaseException) -> str:
    """An error in words: of the system's the path and what is wrong, without its number and quotes."""
    if isinstance(error, OSError) and error.strerror and type(error).__str__ is OSError.__str__:
        return f"{os.fsdecode(error.filename)}: {error.strerror}" if error.filename else error.strerror
    return str(error)


_Told = Callable[..., CommandError]
# Order matters where one kind is another's child: RequestError, Unreachable and TimeoutError are all OSError.
_KINDS: Final[tuple[tuple[type[BaseException], _Told], ...]] = (
    (NoInstance, _no_instance),
    (Unreachable, _unreachable),
    (RequestError, _answered),
    (TimeoutError, _timeout),
    (click.ClickException, _usage),
    (ProtocolError, _protocol),
    (OSError, _system),
)
