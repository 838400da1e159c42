"""Knows the way of a piece of standard input: from a request into the job's log, and from there to its tasks."""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

from brokersim.brokermod import Message, RequestError, errnums

from .commands import Commands
from .output import in_units
from .shell import Shell
from .stdin import Io, Stdin

ROLE_OWNER: Final = 1
#: What is said of more input than a job takes (flux-core's words).
TOO_MUCH: Final = (
    "stdin exceeds {} limit. Try file input (flux submit --input=FILE) or redirect input to your command to avoid "
    "the KVS for large amounts of input"
)


class Intake:
    """``limit``: bytes a job takes in all; ``on_excess`` is told of more, in words."""

    __slots__ = ("_commands", "_left", "_limit", "_on_excess", "_on_the_way", "_shell", "_stdin", "_userid")

    def __init__(
        self, shell: Shell, stdin: Stdin, userid: int, limit: int, on_excess: Callable[[str], object]
    ) -> None:
        self._shell = shell
        self._stdin = stdin
        self._userid = userid
        self._limit = self._left = limit
        self._on_excess = on_excess
        #: Pieces that are not yet in the log, or not yet handed out.
        self._on_the_way = 0
        self._commands: Commands | None = None
        shell.on_request = self.take
        shell.on_input = self._arrived

    def serve(self, commands: Commands | None) -> None:
        """Time may have to pass for these while input is on its way; None: they run no more."""
        self._commands = commands
        if commands is not None and self._on_the_way:
            commands.let_time_pass()

    def leave(self) -> None:
        """The job is over: nobody is to be told, and no task takes any."""
        self._on_excess = _tell_nobody
        self._stdin.detach()

    async def take(self, msg: Message) -> None:
        """A piece of standard input, from the job's user only: answered when it is in its log. Raises RequestError."""
        if not msg.rolemask & ROLE_OWNER and msg.userid != self._userid:
            raise RequestError(errnums.EPERM, "guests can only send input to their own jobs")
        io = msg.unpack(Io)
        context = self._stdin.accept(io)
        self._left -= len(io.bytes())
        if self._left < 0:
            self._on_excess(TOO_MUCH.format(in_units(self._limit)))
            # As in flux-core: whoever sent it learns of it by the job's exception.
            self._shell.handle.respond(msg)
            return
        self._on_the_way += 1
        if self._on_the_way == 1 and self._commands is not None:
            self._commands.let_time_pass()
        try:
            await self._shell.keep_input(context)
        except RequestError:
            self._settled()
            raise
        self._shell.handle.respond(msg)

    def _arrived(self, io: Io) -> None:
        self._stdin.deliver(io)
        self._settled()

    def _settled(self) -> None:
        self._on_the_way -= 1
        if not self._on_the_way and self._commands is not None:
            self._commands.hold_time()


def _tell_nobody(_: str) -> None:
    """It is over."""
