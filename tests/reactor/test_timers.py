"""Timers fire in deadline order, are cancelled without a trace, and never in a burst."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from brokersim.protocol.message import REQUEST, Message
from brokersim.reactor.loop import NS, Reactor
from tests.reactor.probe import Probe, run_until


@pytest.fixture
def reactor() -> Reactor:
    return Reactor()


def test_timers_run_in_deadline_order_and_equal_deadlines_in_the_order_they_were_set(reactor):
    log: list[Any] = []
    for label, delay in (("c", 2.0), ("a", 1.0), ("d", 2.0), ("b", 1.0)):
        reactor.call_later(delay, lambda label=label: log.append((reactor.now / NS, label)))
    run_until(reactor, 5.0)
    assert log == [(1.0, "a"), (1.0, "b"), (2.0, "c"), (2.0, "d")]


def test_a_timer_fires_when_now_equals_its_deadline(reactor):
    log: list[int] = []
    reactor.call_at(7, lambda: log.append(reactor.now))
    reactor.now = 6
    assert reactor.next_due() == 7
    reactor.now = 7
    reactor.fire_due()
    assert log == [7]
    assert reactor.next_due() is None


def test_a_negative_delay_is_none(reactor):
    reactor.now = 50
    assert reactor.call_later(-1.0, print).when == 50


def test_sums_of_delays_are_exact_in_nanoseconds(reactor):
    times: list[int] = []

    def again() -> None:
        times.append(reactor.now)
        if len(times) < 1000:
            reactor.call_later(0.1, again)

    reactor.call_later(0.1, again)
    run_until(reactor, 200.0)
    assert times == [number * NS // 10 for number in range(1, 1001)]


def test_a_cancelled_timer_is_never_called_and_no_longer_due(reactor):
    log: list[str] = []
    timer = reactor.call_later(1.0, log.append, "cancelled")
    reactor.call_later(2.0, log.append, "kept")
    timer.cancel()
    assert not timer.is_active
    assert reactor.next_due() == 2 * NS
    run_until(reactor, 3.0)
    assert log == ["kept"]


def test_cancelling_a_timer_that_was_called_does_no_harm(reactor):
    timer = reactor.call_later(1.0, lambda: None)
    run_until(reactor, 1.0)
    timer.cancel()
    assert not timer.is_active


@pytest.mark.parametrize("hooked", [False, True])
def test_a_timer_cancelled_by_an_earlier_one_of_the_same_batch_is_skipped(reactor, hooked):
    actor = Probe(reactor)
    if hooked:
        actor.hooks("check")
    timers = []
    reactor.call_later(1.0, lambda: timers[0].cancel(), actor=actor)
    timers.append(reactor.call_later(1.0, actor.log.append, "cancelled", actor=actor))
    reactor.call_later(1.0, actor.log.append, "kept", actor=actor)
    run_until(reactor, 1.0)
    assert actor.log == ["check", "kept"] if hooked else ["kept"]
    assert actor.iterations == 1


def test_a_timer_cancelled_by_another_owner_of_the_same_instant_is_skipped(reactor):
    one, other = Probe(reactor, "one"), Probe(reactor, "other")
    timers = []
    reactor.call_later(1.0, lambda: timers[0].cancel(), actor=one)
    timers.append(reactor.call_later(1.0, other.log.append, "cancelled", actor=other))
    run_until(reactor, 1.0)
    assert other.log == []
    assert other.iterations == 0  # nothing was due: no wake-up either


def test_cancel_timers_takes_every_timer_of_one_actor_also_those_due_right_now(reactor):
    one, other = Probe(reactor, "one"), Probe(reactor, "other")
    reactor.call_later(1.0, other.cancel_timers, actor=one)
    other.after(1.0, "due now")
    other.after(2.0, "due later")
    one.after(2.0, "mine")
    run_until(reactor, 3.0)
    assert other.log == []
    assert one.log == ["mine"]


def test_an_actor_knows_its_own_timers_and_no_others_until_each_has_been_called_or_cancelled(reactor):
    one, other = Probe(reactor, "one"), Probe(reactor, "other")
    first, second = (reactor.call_later(delay, one.log.append, delay, actor=one) for delay in (1.0, 2.0))
    reactor.call_later(1.0, other.log.append, "other", actor=other)
    assert one.timers == {first, second}
    run_until(reactor, 1.0)
    assert (one.timers, other.timers) == ({second}, set())
    second.cancel()
    assert one.timers == set()
    reactor.set_timer(second)  # a tombstone is not set again, and what was cancelled stays so
    run_until(reactor, 3.0)
    assert one.log == [1.0]


def test_the_end_of_an_actor_looks_at_its_own_timers_however_many_others_there_are(reactor):
    one, crowd = Probe(reactor, "one"), [Probe(reactor, f"other{number}") for number in range(50)]
    for other in crowd:
        other.after(1.0, "due")
    one.after(1.0, "mine")
    reactor._timers = Unseen(reactor._timers)
    one.cancel_timers()
    reactor._timers = list(reactor._timers.kept)
    run_until(reactor, 1.0)
    assert one.log == [] and all(other.log == ["due"] for other in crowd)


class Unseen:
    """A heap that nobody may look at."""

    def __init__(self, kept: list[Any]) -> None:
        self.kept = kept


def test_messages_sent_by_one_owners_timers_are_handled_before_the_next_owners_timers(reactor):
    log: list[str] = []
    one, other = Probe(reactor, "one", log), Probe(reactor, "other", log)
    reactor.call_later(1.0, lambda: one.send("message of one"), actor=one)
    other.after(1.0, "timer of other")
    run_until(reactor, 1.0)
    assert log == ["message of one", "timer of other"]


def test_a_timer_that_raises_fails_its_owner_and_the_others_fire(reactor):
    one, other = Probe(reactor, "one"), Probe(reactor, "other")
    reactor.call_later(1.0, lambda: 1 / 0, actor=one)
    other.after(1.0, "still")
    run_until(reactor, 1.0)
    assert one.errors == ["ZeroDivisionError at -"]
    assert other.log == ["still"]


def test_a_timer_earlier_than_the_parked_deadline_wakes_the_reactor(reactor):
    woken: list[int] = []
    reactor.host.wake = lambda: woken.append(1)
    reactor.parked_until = 5 * NS
    reactor.call_at(6 * NS, print)
    reactor.call_at(5 * NS, print)  # it wakes by itself then
    assert woken == []
    reactor.call_at(4 * NS, print)
    assert woken == [1]


#: Set a timer of one of three owners (or none) at a small time, cancel the nth, let time pass.
_steps = st.lists(
    st.one_of(
        st.tuples(st.just("set"), st.integers(0, 6), st.integers(0, 3)),
        st.tuples(st.just("cancel"), st.integers(0, 30), st.just(0)),
        st.tuples(st.just("pass"), st.integers(0, 4), st.just(0)),
    ),
    max_size=40,
)


@given(_steps)
def test_timers_agree_with_a_sorted_list(steps):
    reactor = Reactor()
    owners = [None, *(Probe(reactor, f"m{number}") for number in range(3))]
    fired: list[int] = []
    timers = []
    # The model: (deadline, number, owner) of each timer alive, and what each passing of time fires in which order.
    alive: dict[int, tuple[int, int]] = {}
    expected: list[int] = []
    iterations = 0

    def pass_time(until: int) -> int:
        turns = 0
        while True:
            due = sorted((when, number) for number, (when, _) in alive.items() if when <= until)
            if not due:
                return turns
            instant = due[0][0]
            groups: dict[Any, list[int]] = {}
            for when, number in due:
                if when == instant:
                    owner = alive.pop(number)[1]
                    groups.setdefault(("owner", owner) if owner else ("none", number), []).append(number)
            turns += sum(key[0] == "owner" for key in groups)
            expected.extend(number for group in groups.values() for number in group)

    now = 0
    for step, value, owner in steps:
        if step == "set":
            number = len(timers)
            timers.append(reactor.call_at(now + value, fired.append, number, actor=owners[owner]))
            alive[number] = (now + value, owner)
        elif step == "cancel" and value < len(timers):
            timers[value].cancel()
            alive.pop(value, None)
        elif step == "pass":
            now += value
            iterations += pass_time(now)
            run_until(reactor, now / NS)
    assert fired == expected
    assert sum(owner.iterations for owner in owners if owner is not None) == iterations
    assert [timer.is_active for timer in timers] == [number in alive for number in range(len(timers))]


def test_cancelled_timers_are_no_more_than_those_that_are_still_to_be_called(reactor):
    log: list[int] = []
    for number in range(200):
        reactor.call_later(100 + number, log.append, number)
    for _ in range(5000):
        reactor.call_later(1e6, log.append, -1).cancel()
    assert len(reactor._timers) <= 2 * 200
    run_until(reactor, 1000.0)
    assert log == list(range(200))
    assert reactor.next_due() is None


def test_a_cancelled_timer_has_no_say_in_the_order_of_those_of_its_instant(reactor):
    log: list[str] = []
    one, other = Probe(reactor, "one"), Probe(reactor, "other")
    reactor.call_at(5, log.append, "first")
    reactor.call_at(5, log.append, "never", actor=one).cancel()
    reactor.call_at(5, log.append, "other", actor=other)
    reactor.call_at(5, log.append, "one", actor=one)
    run_until(reactor, 1.0)
    assert log == ["first", "other", "one"]


def test_now_moves_to_a_moment_only_if_nothing_has_to_come_before_it(reactor):
    reactor.free_until = 10
    assert not reactor.pass_to(10) and reactor.pass_to(9) and reactor.now == 9
    reactor.after_batch.append(list)
    assert not reactor.pass_to(9)
    reactor.after_batch.clear()
    reactor.free_until = 100
    gone = reactor.call_at(20, list)
    there = reactor.call_at(30, list)
    gone.cancel()
    assert not reactor.pass_to(30) and reactor.pass_to(29)
    there.cancel()
    assert reactor.pass_to(30) and reactor.now == 30


@pytest.mark.parametrize(("jumps", "timers"), [(True, 2), (False, 4)])
def test_what_arrives_in_one_instant_shares_a_timer_where_time_jumps(reactor, jumps, timers):
    reactor.jumps = jumps
    arrived = []
    for number, when in enumerate((5, 7, 5, 5)):
        message = Message(REQUEST, f"m{number}", src=None, dst=None)
        reactor.arrive_at(when, lambda message: arrived.append((reactor.now, message.topic)), message)
    assert len(reactor._timers) == timers
    assert sorted(message.topic for message in reactor.under_way()) == ["m0", "m1", "m2", "m3"]
    run_until(reactor, 1.0)
    assert arrived == [(5, "m0"), (5, "m2"), (5, "m3"), (7, "m1")]
