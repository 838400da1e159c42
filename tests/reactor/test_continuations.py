"""The turn of a continuation: a fulfilled future is continued in the next turn of its actor, before the checks."""

from __future__ import annotations

from itertools import pairwise
from typing import Any

import pytest

from brokersim.reactor.actor import AT_ONCE
from brokersim.reactor.loop import Reactor
from brokersim.reactor.watchers import ModuleLoop
from tests.reactor.probe import Probe, answer, open_request


@pytest.fixture
def actor() -> Probe:
    probe = Probe(Reactor(), "m")
    probe.continues = True
    return probe


def drain(actor: Probe) -> None:
    while actor.reactor.fifo:
        actor.reactor.drain()


def ask(actor: Probe, tag: int, label: str = "then", arg: Any = None) -> None:
    """An open request of the actor, and its answer on the queue."""
    open_request(actor, tag, lambda *_: actor.log.append(label), arg)
    answer(actor, tag)


def test_without_watchers_a_continuation_is_called_at_once_and_counts_as_a_turn(actor):
    ask(actor, 1)
    drain(actor)
    assert (actor.log, actor.iterations) == (["then"], 2)


def test_with_watchers_it_is_called_in_the_next_turn_before_the_checks(actor):
    actor.hooks("prepare", "check")
    actor.log.clear()
    ask(actor, 1)
    drain(actor)
    assert actor.log == ["check", "prepare", "then", "check", "prepare"]
    assert actor.iterations == 2


def test_it_shares_the_turn_of_a_message_that_is_queued_already(actor):
    actor.hooks("prepare", "check")
    actor.log.clear()
    ask(actor, 1, "then 1")
    ask(actor, 2, "then 2")
    drain(actor)
    assert actor.log == ["check", "prepare", "then 1", "check", "prepare", "then 2", "check", "prepare"]
    assert actor.iterations == 3


def test_what_is_nobodys_code_takes_no_turn(actor):
    actor.hooks("prepare")
    actor.log.clear()
    open_request(actor, 1, lambda *_: setattr(actor, "wakeups", actor.wakeups - 1), AT_ONCE)
    answer(actor, 1)
    drain(actor)
    assert (actor.log, actor.iterations) == (["prepare"], 1)


def test_an_answer_nobody_waits_for_takes_no_turn_but_its_own(actor):
    for hook in ((), ("prepare",)):
        actor.hooks(*hook)
        before = actor.iterations
        answer(actor, 9)
        drain(actor)
        assert actor.iterations - before == 1


def test_a_check_that_a_continuation_starts_is_called_from_the_next_turn_on_and_one_it_stops_no_more(actor):
    stopped = actor.hook("check", "old")
    actor.hook("check", "kept")

    def swap(*_: object) -> None:
        actor.log.append("then")
        stopped.stop()
        actor.hook("check", "new")

    open_request(actor, 1, swap)
    answer(actor, 1)
    drain(actor)
    assert actor.log == ["kept", "old", "then", "kept"]
    actor.send("x")
    drain(actor)
    assert actor.log[4:] == ["new", "kept", "x"]


def test_one_that_raises_ends_its_actor_and_names_the_response_and_what_was_to_follow_is_not_called(actor):
    actor.hooks("check")

    def gone(error: BaseException, message: Any) -> None:
        actor.errors.append(f"{type(error).__name__} at {message.topic}")
        actor.own_loop.close()
        actor.loop = None
        actor.reactor.purge(actor)

    actor.failed = gone  # type: ignore[method-assign]
    open_request(actor, 1, lambda *_: 1 / 0)
    answer(actor, 1)
    ask(actor, 2, "never")
    drain(actor)
    assert actor.errors == ["ZeroDivisionError at peer.ask"]
    assert "never" not in actor.log


def test_a_prepare_hook_sees_a_request_with_one_rpc_in_three_turns_and_a_check_hook_in_two(actor):
    for kind, packets in (("prepare", 3), ("check", 2)):
        seen: list[list[int]] = []
        watcher = actor.hook(kind, kind, lambda: seen.append(actor.counts.copy()))  # noqa: B023

        def handle(message: Any) -> None:
            actor.counts[0] += 1
            open_request(actor, 1, lambda *_: actor.counts.__setitem__(2, actor.counts[2] + 1))
            answer(actor, 1)

        turns = actor.iterations
        for _ in range(10):
            actor.send("ask", handle)
            drain(actor)
        changes = [now for before, now in pairwise(seen) if now != before]
        assert abs(len(changes) - 10 * packets) <= 1
        assert actor.iterations - turns == 30
        watcher.stop()


def test_call_next_makes_a_turn_of_a_loop_that_nobody_watches_and_leaves_nothing_behind(actor):
    loop = actor.own_loop = ModuleLoop(actor.reactor, actor)
    loop.call_next(lambda: actor.log.append("next"))
    assert actor.log == []
    drain(actor)
    assert (actor.log, actor.iterations, actor.loop) == (["next"], 1, None)
