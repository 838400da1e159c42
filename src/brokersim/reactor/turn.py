"""Knows one plain turn: a message is handed out, then the prepares of the next turn run. Who is to blame for a raise.

"Plain" is a turn without idle watchers, timers and descriptors, as nearly all are. The drain has these lines
written out (`Reactor._drain_free`): three calls a message would cost a fifth of an exchange.
tests/reactor/test_counting.py holds both to the same.
"""

from __future__ import annotations

from collections import deque
from heapq import heappop
from typing import Any

from brokersim.native.engine import twin
from brokersim.protocol.errnums import RequestError
from brokersim.protocol.message import FLAG_STREAMING, REQUEST, RESPONSE, Message
from brokersim.reactor.actor import FAILURES, Actor, Loop, Open, Timer


@twin
def dispatch(message: Message) -> None:
    """Count a message as received and hand it to its handler, or to the continuation its request left."""
    dst: Any = message.dst
    dst.handed(message)
    if message.type != RESPONSE:
        message.handler(message)  # type: ignore[misc]
        return
    found = answered(message)
    if found is None:
        dst.stray_response(message)
    elif dst.loop is None:
        found[0](message, found[1])
    else:
        dst.loop.fulfil(found[0], message, found[1])


def answered(response: Message) -> Open | None:
    """The request a response is for, if one is open; it stays so if more answers will come."""
    pending: dict[int, Open] = response.dst.pending
    found = pending.get(response.matchtag)
    if found is not None and (response.errnum or not response.flags & FLAG_STREAMING):
        del pending[response.matchtag]
    return found


@twin
def take(message: Message) -> None:
    """Dispatch; a request whose handler refuses it is answered with the refusal."""
    try:
        dispatch(message)
    except RequestError as error:
        if message.type != REQUEST:
            raise
        message.dst.refuse(message, error)


@twin
def plain_turn(message: Message) -> None:
    """Hand a message out, then run the prepares of the next turn. The checks have been."""
    actor = message.dst
    loop = actor.loop
    take(message)
    after = actor.loop
    if loop is None:
        if after is not None:
            after.prepare()  # made in this very turn
    elif after is loop:  # neither ended nor blocked in its handler
        if loop.poll is not None:
            loop.poll()
        if not loop.is_settled:
            loop.settle()


def group(
    timers: list[tuple[int, int, Timer]],
    ready: deque[tuple[Actor | None, list[Timer]]],
    now: int,
    actor: Actor | None,
    due: list[Timer],
) -> None:
    """Several timers are due: one list an actor, in the order of their first; ``due`` gets those of ``actor``."""
    groups = {} if actor is None else {actor: due}
    while timers and timers[0][0] <= now:
        timer = heappop(timers)[2]
        if timer.fn is None:
            continue
        if timer.actor is None:
            ready.append((None, [timer]))
        elif timer.actor in groups:
            groups[timer.actor].append(timer)
        else:
            groups[timer.actor] = found = [timer]
            ready.append((timer.actor, found))


def run_timers(due: list[Timer]) -> None:
    """Call timers of one actor in deadline order; one cancelled by an earlier one of the same batch is skipped.

    If one blocks its actor, to wait for an answer, the others wait with it.
    """
    actor = due[0].actor if len(due) > 1 else None
    for at, timer in enumerate(due):
        if actor is not None and actor.loop is not None and actor.loop.is_blocked:
            actor.loop.iterate(None, due[at:])
            return
        fn, args = timer.fn, timer.args
        if fn is not None:
            timer.spend()
            fn(*args)


def blame(error: BaseException, message: Message | None) -> None:
    """Charge an exception to the actor that was handling ``message``: a refusal is an answer, others end it."""
    if message is None:
        raise error
    dst = message.dst
    if isinstance(error, RequestError) and message.type == REQUEST:
        dst.refuse(message, error)
    else:
        dst.failed(error, message)


def blame_turn(
    error: BaseException, message: Message | None, in_hand: Message | None, loop: Loop | None
) -> None:
    """What was raised in a turn that the drain made: by a watcher, or in the handling of what was in hand."""
    if in_hand is None and message is not None:
        message.dst.failed(error, None)
        return
    blame(error, in_hand)
    if message is None or loop is None or not loop.is_plain or message.dst.loop is not loop:
        return
    try:
        loop.prepare()  # a handler that refused ends no more than itself
    except FAILURES as raised:
        message.dst.failed(raised, None)
