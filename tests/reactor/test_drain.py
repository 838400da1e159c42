"""The drain: messages in the order they were sent, one each, whatever goes wrong between them."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from brokersim.protocol.errnums import EINVAL, ENODATA, RequestError
from brokersim.protocol.message import EVENT, FLAG_STREAMING, Message
from brokersim.reactor import loop, standstill
from brokersim.reactor.loop import Reactor
from tests.reactor.probe import Probe, answer, open_request, run_until


@pytest.fixture
def reactor() -> Reactor:
    return Reactor()


def test_messages_are_handled_in_the_order_they_were_sent_over_all_actors(reactor):
    log: list[str] = []
    actors = [Probe(reactor, name, log) for name in "abc"]
    for number in range(9):
        actors[number * 7 % 3].send(f"m{number}")
    reactor.drain()
    assert log == [f"m{number}" for number in range(9)]


def test_the_budget_bounds_a_drain_exactly(reactor):
    actor = Probe(reactor)
    for number in range(10):
        actor.send(f"m{number}")
    reactor.drain(4)
    assert actor.log == ["m0", "m1", "m2", "m3"]
    assert len(reactor.fifo) == 6


#: A program: what handling a message of this number sends, as actor numbers.
_programs = st.lists(st.lists(st.integers(0, 3), max_size=3), min_size=1, max_size=12)


@given(_programs, st.lists(st.booleans(), min_size=4, max_size=4), st.integers(1, 7))
def test_the_order_of_handling_is_the_order_of_sending(program, hooked, budget):
    reactor = Reactor()
    log: list[tuple[int, int]] = []
    actors = [Probe(reactor, f"m{number}") for number in range(4)]
    for actor, with_watchers in zip(actors, hooked, strict=True):
        if with_watchers:
            actor.hooks("prepare", "check")
    sent = [0]

    def send(to: int) -> None:
        number = sent[0]
        sent[0] += 1

        def handle(message: Message) -> None:
            log.append((number, to))
            for target in program[number] if number < len(program) else ():
                send(target)

        actors[to].send(f"m{number}", handle)

    send(0)
    model: list[tuple[int, int]] = []
    queue, count = [(0, 0)], 1
    while queue:
        number, to = queue.pop(0)
        model.append((number, to))
        for target in program[number] if number < len(program) else ():
            queue.append((count, target))
            count += 1
    while reactor.fifo:
        reactor.drain(budget)
    assert log == model
    for number, actor in enumerate(actors):
        assert actor.iterations == actor.counts[1] == sum(to == number for _, to in model)


# -- responses


def test_a_response_ends_the_request_it_answers_and_is_given_its_argument(reactor):
    actor = Probe(reactor)
    got: list[Any] = []
    open_request(actor, 5, lambda response, arg: got.append((response.errnum, arg)), "argument")
    answer(actor, 5, errnum=EINVAL)
    reactor.drain()
    assert got == [(EINVAL, "argument")]
    assert actor.pending == {}
    assert actor.counts == [0, 0, 0, 1, 0, 0, 0, 0]


def listening(reactor: Reactor, how: str) -> Probe:
    """An actor on each of the paths of a message: the shortest, with hooks, and traced, which is one with hooks."""
    actor = Probe(reactor)
    if how != "bare":
        actor.hooks("check")
    if how == "traced":
        actor.tracer = lambda *_: None
        assert actor.own_loop is not None
        actor.own_loop.trace()
    return actor


@pytest.mark.parametrize("how", ["bare", "hooked", "traced"])
def test_a_stream_stays_open_until_a_response_with_an_errnum(reactor, how):
    actor = listening(reactor, how)
    got: list[int] = []
    open_request(actor, 1, lambda response, arg: got.append(response.errnum), flags=FLAG_STREAMING)
    for errnum in (0, 0, ENODATA, 0):
        answer(actor, 1, errnum, FLAG_STREAMING)
    reactor.drain()
    assert got == [0, 0, ENODATA]
    assert actor.pending == {}
    assert actor.stray == 1


@pytest.mark.parametrize("how", ["bare", "hooked", "traced"])
def test_a_second_answer_is_counted_as_stray_and_calls_nobody(reactor, how):
    actor = listening(reactor, how)
    got: list[int] = []
    open_request(actor, 1, lambda response, arg: got.append(1))
    answer(actor, 1)
    answer(actor, 1)
    answer(actor, 99)
    reactor.drain()
    assert got == [1]
    assert actor.stray == 2
    assert actor.counts[3] == 3  # rx counts what is handed out, wanted or not


def test_what_a_gate_refuses_is_queued_when_it_is_admitted_and_no_gate_asks_nobody(reactor):
    actor, kept = Probe(reactor), []
    reactor.put_gate(lambda message: message.topic != "held" or kept.append(message) is not None)
    for topic in ("a", "held", "b"):
        actor.send(topic)
    reactor.drain()
    assert actor.log == ["a", "b"]
    reactor.admit(kept.pop())
    reactor.put_gate(None)
    actor.send("held")
    reactor.drain()
    assert (actor.log, kept) == (["a", "b", "held", "held"], [])


def test_full_batches_at_one_instant_end_who_sends_unless_the_queue_was_empty_between_them(
    reactor, monkeypatch
):
    monkeypatch.setattr(standstill, "LIVELOCK", 3 * loop.BUDGET)
    reactor.jumps = True
    calm, busy = Probe(reactor, "calm"), Probe(reactor, "busy")
    for _ in range(4):  # each two full batches, and one that empties the queue
        for _ in range(3 * loop.BUDGET):
            calm.send("work")
        for _ in range(3):
            reactor.drain()
    assert (len(calm.log), calm.errors) == (12 * loop.BUDGET, [])

    def again(message: Message) -> None:
        busy.send("again", again)

    busy.send("again", again)
    for _ in range(2):
        reactor.drain()
    assert busy.errors == [], "two full batches"
    reactor.drain()
    assert busy.errors == ["Livelock at -"], "three"


# -- errors


@pytest.mark.parametrize("hooked", [False, True])
def test_a_handler_that_raises_fails_its_actor_and_all_other_messages_are_handled(reactor, hooked):
    log: list[str] = []
    bad, good = Probe(reactor, "bad", log), Probe(reactor, "good", log)
    if hooked:
        bad.hooks("prepare")
        good.hooks("prepare")
        log.clear()
    for number in range(3):
        good.send(f"before {number}")
        bad.send("bad", lambda message: 1 / 0)
    good.send("last")
    reactor.drain()
    assert bad.errors == ["ZeroDivisionError at bad"] * 3
    assert [entry for entry in log if entry != "prepare"] == ["before 0", "before 1", "before 2", "last"]


@pytest.mark.parametrize("how", ["bare", "hooked", "traced"])
def test_a_refusal_answers_the_request_and_fails_nobody(reactor, how):
    actor = listening(reactor, how)

    def refuse(message: Message) -> None:
        raise RequestError(EINVAL, "no")

    actor.send("ask", refuse)
    reactor.drain()
    assert actor.refusals == [("ask", EINVAL)]
    assert actor.errors == []


@pytest.mark.parametrize("how", ["bare", "hooked", "traced"])
def test_a_refusal_by_an_event_handler_has_nobody_to_answer_and_fails_the_actor(reactor, how):
    actor = listening(reactor, how)

    def refuse(message: Message) -> None:
        raise RequestError(EINVAL, "no")

    reactor.push(Message(EVENT, "news", dst=actor, handler=refuse))
    reactor.drain()
    assert actor.errors == ["RequestError at news"]


# -- purge and flood


def test_purge_takes_the_messages_of_one_actor_and_leaves_the_order_of_the_rest(reactor):
    one, other = Probe(reactor, "one"), Probe(reactor, "other")
    for number in range(6):
        (one if number % 2 else other).send(f"m{number}")
    gone = reactor.purge(one)
    assert [message.topic for message in gone] == ["m1", "m3", "m5"]
    assert [message.topic for message in reactor.fifo] == ["m0", "m2", "m4"]
    assert reactor.queued_for(one) == 0
    assert reactor.queued_for(other) == 3


def test_a_flood_is_stopped_its_sender_named_and_other_senders_messages_stay(reactor, monkeypatch):
    monkeypatch.setattr(standstill, "FLOOD", 1000)
    flooder, other = Probe(reactor, "flooder"), Probe(reactor, "other")

    def double(message: Message) -> None:
        for _ in range(2):
            flooder.send("more", double)

    flooder.send("more", double)
    other.send("still here")
    for _ in range(100):
        reactor.drain()
        if flooder.errors:
            break
    assert flooder.errors == ["Flood at -"]
    assert other.log == ["still here"]
    assert len(reactor.fifo) < 1000


def emitting(actor: Probe) -> None:
    """An idle watcher that does something in every turn."""
    actor.hook("idle", "idle", lambda: setattr(actor.reactor, "extra", actor.reactor.extra + 1))


def test_an_idle_turn_that_did_nothing_is_the_last_until_something_happens_if_time_jumps(reactor):
    reactor.jumps = True
    actor = Probe(reactor)
    actor.hooks("idle")
    reactor.drain()
    assert (actor.log, list(reactor.fifo)) == (["idle"], [])
    actor.after(1.0, "timer")
    run_until(reactor, 5.0)
    assert actor.log == ["idle", "timer", "idle"]


def test_an_idle_turn_that_sent_what_no_queue_has_yet_is_not_the_last(reactor):
    reactor.jumps = True
    actor = Probe(reactor)
    left = [3]

    def send() -> None:
        if left[0]:
            left[0] -= 1
            actor.sent(Message(EVENT, "on a link"))

    actor.hook("idle", "idle", send)
    reactor.drain()
    assert left == [0]


def test_an_idle_turn_that_started_a_watcher_anew_is_not_the_last(reactor):
    reactor.jumps = True
    actor = Probe(reactor)
    actor.hooks("idle")
    left = [3]

    def again() -> None:
        if left[0]:
            left[0] -= 1
            check.stop()
            check.start()

    check = actor.hook("check", "check", again)
    reactor.drain()
    assert left == [0]


def test_idle_turns_that_keep_time_from_passing_are_ended_with_a_reason_if_time_jumps(reactor, monkeypatch):
    monkeypatch.setattr(standstill, "SPINS", 3)
    reactor.jumps = True
    actor = Probe(reactor)
    emitting(actor)
    for _ in range(3):
        assert actor.errors == []
        reactor.drain()
    assert actor.errors == ["Spin at -"]
    assert not reactor.fifo


def test_in_real_time_a_loop_may_turn_as_long_as_it_likes(reactor, monkeypatch):
    monkeypatch.setattr(standstill, "SPINS", 3)
    actor = Probe(reactor)
    emitting(actor)
    for _ in range(20):
        reactor.drain()
    assert actor.errors == []
    assert actor.own_loop.idle_calls == 20 * loop.TURNS
