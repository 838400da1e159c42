"""The cost model: exact service times, shared cores, spinning earned by arithmetic, emission paid for."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from brokersim.protocol.errnums import EPERM, RequestError
from brokersim.reactor.cost import CostModel, Node, Station
from brokersim.reactor.loop import NS, Reactor
from tests.reactor.probe import Probe, answer, open_request, run_until

MS = 1e-3


def charged(count: int = 1, **model: Any) -> tuple[Reactor, list[Probe]]:
    """A reactor that charges, and some actors on one node. All costs 0 unless given."""
    free = dict.fromkeys(("iteration_s", "message_s", "packet_s", "slice_s", "wake_s"), 0.0)
    costs = {**free, "cores": 2, **model}
    reactor = Reactor()
    reactor.charged = reactor.jumps = True
    node = Node(reactor, CostModel(**costs))
    actors = []
    for number in range(count):
        actor = Probe(reactor, f"m{number}")
        actor.station = Station(node, actor)
        actors.append(actor)
    return reactor, actors


def timed(actor: Probe, topic: str, times: list[tuple[str, float]]) -> None:
    """Send a message whose handling is noted with its time in ms."""
    actor.send(topic, lambda message: times.append((f"{actor.name} {topic}", actor.reactor.now / NS / MS)))


def test_a_message_takes_effect_after_its_service_time():
    reactor, (actor,) = charged(iteration_s=1 * MS, message_s=4 * MS)
    times: list[tuple[str, float]] = []
    timed(actor, "a", times)
    timed(actor, "b", times)
    run_until(reactor, 1.0)
    assert times == [("m0 a", 5.0), ("m0 b", 10.0)]


def test_a_topic_can_have_a_price_of_its_own():
    reactor, (actor,) = charged(message_s=1 * MS, topics={"dear": 7 * MS})
    times: list[tuple[str, float]] = []
    for topic in ("cheap", "dear", "cheap"):
        timed(actor, topic, times)
    run_until(reactor, 1.0)
    assert times == [("m0 cheap", 1.0), ("m0 dear", 8.0), ("m0 cheap", 9.0)]


def test_up_to_as_many_modules_as_cores_do_not_slow_each_other():
    reactor, actors = charged(2, message_s=4 * MS)
    times: list[tuple[str, float]] = []
    for actor in actors:
        timed(actor, "x", times)
    run_until(reactor, 1.0)
    assert times == [("m0 x", 4.0), ("m1 x", 4.0)]


def test_more_modules_than_cores_share_them_equally():
    reactor, actors = charged(4, message_s=4 * MS)
    times: list[tuple[str, float]] = []
    for actor in actors:
        timed(actor, "x", times)
    run_until(reactor, 1.0)
    assert [time for _, time in times] == [8.0] * 4  # rate 2/4


def test_when_one_is_done_the_others_go_faster():
    reactor, actors = charged(3, message_s=6 * MS, topics={"short": 2 * MS}, cores=1)
    times: list[tuple[str, float]] = []
    timed(actors[0], "short", times)
    timed(actors[1], "x", times)
    timed(actors[2], "x", times)
    run_until(reactor, 1.0)
    # Rate 1/3 until 2 ms are served at 6 ms; then 1/2 for the 4 ms left, which takes 8.
    assert times == [("m0 short", 6.0), ("m1 x", 14.0), ("m2 x", 14.0)]


@given(
    st.lists(st.tuples(st.integers(0, 3), st.integers(0, 5), st.integers(1, 4)), min_size=1, max_size=12),
    st.integers(1, 3),
)
def test_sharing_agrees_with_a_small_step_simulation(arrivals, cores):
    """Arrivals (actor, ms, demand ms): every actor in service gets min(1, cores/R) of each step."""
    scale = 60  # steps of 1/60 ms, so that any of 1..4 actors on 1..3 cores gets whole units a step
    reactor, actors = charged(4, cores=cores, topics={f"d{demand}": demand * MS for demand in range(1, 5)})
    times: list[tuple[str, float]] = []
    for number, (actor, at, demand) in enumerate(arrivals):
        reactor.call_later(
            at * MS,
            lambda actor=actor, number=number, demand=demand: actors[actor].send(
                f"d{demand}", lambda message: times.append((number, reactor.now / NS / MS))
            ),
        )
    run_until(reactor, 1.0)

    queues: list[list[list[int]]] = [[] for _ in actors]
    finished: dict[int, float] = {}
    for step in range(60 * scale + 1):
        for number, (actor, at, demand) in enumerate(arrivals):
            if at * scale == step:
                queues[actor].append([number, demand * scale * 12])
        serving = [queue for queue in queues if queue]
        if serving:
            share = 12 * min(len(serving), cores) // len(serving)
            for queue in serving:
                queue[0][1] -= share
                if queue[0][1] <= 0:
                    finished[queue.pop(0)[0]] = (step + 1) / scale
    assert {number for number, _ in times} == set(finished)
    for number, time in times:
        assert time == pytest.approx(finished[number], abs=12 / scale)


def test_spinning_earns_iterations_by_arithmetic_and_makes_no_events(monkeypatch):
    reactor, (actor,) = charged(iteration_s=1 * MS)
    actor.hooks("idle")
    fired = []
    original = reactor.fire_due
    monkeypatch.setattr(Reactor, "fire_due", lambda _: (fired.append(1), original()))
    run_until(reactor, 100.0)
    actor.station.settle()
    assert actor.iterations == 100_000
    assert actor.own_loop.idle_calls == 100_000
    assert len(fired) < 10


def test_spinners_beyond_the_cores_earn_at_the_shared_rate():
    reactor, actors = charged(8, iteration_s=1 * MS, cores=2)
    for actor in actors:
        actor.hooks("idle")
    run_until(reactor, 8.0)
    for actor in actors:
        actor.station.settle()
        assert actor.iterations == 2_000


def test_a_spinner_that_stops_earns_no_more():
    reactor, (actor,) = charged(iteration_s=1 * MS)
    (watcher,) = actor.hooks("idle")
    reactor.call_later(3.0, watcher.stop)
    run_until(reactor, 10.0)
    actor.station.settle()
    assert actor.iterations == 3_000


def test_spinning_neighbours_slow_the_work_of_a_module():
    done = {}
    for spinners in (0, 1, 3, 7):
        reactor, actors = charged(8, message_s=4 * MS, iteration_s=0.001 * MS, cores=2)
        for actor in actors[1 : 1 + spinners]:
            actor.hooks("idle")
        times: list[tuple[str, float]] = []
        timed(actors[0], "work", times)
        run_until(reactor, 1.0)
        done[spinners] = round(times[0][1], 6)
    # One actor works and n spin on two cores: (n + 1) / 2 times as long, at least once. 0.001 is the iteration.
    assert done == {0: 4.001, 1: 4.001, 3: 8.002, 7: 16.004}


def test_each_message_waits_for_a_time_slice_while_too_many_want_to_run():
    reactor, actors = charged(4, message_s=1 * MS, iteration_s=0.0, slice_s=3 * MS, cores=2)
    for actor in actors:
        actor.hooks("idle")
    times: list[tuple[str, float]] = []
    timed(actors[0], "work", times)
    run_until(reactor, 1.0)
    # Four on two cores: a demand of 3 * (4-2)/4 = 1.5 ms is added; at rate 1/2 that and the message take 5 ms.
    assert times == [("m0 work", 5.0)]


def test_a_module_that_rests_preempts_those_that_spin_and_waits_for_less_than_a_slice():
    reactor, actors = charged(4, message_s=1 * MS, slice_s=300 * MS, wake_s=3 * MS, cores=2)
    for actor in actors[1:]:
        actor.hooks("idle")
    times: list[tuple[str, float]] = []
    timed(actors[0], "work", times)
    run_until(reactor, 1.0)
    assert times == [("m0 work", 5.0)]


def test_a_thousand_messages_to_a_loop_that_spins_are_as_many_idle_calls_though_each_turn_sends_a_packet():
    reactor, (actor,) = charged(iteration_s=0.005 * MS, message_s=0.05 * MS, packet_s=0.01 * MS)
    actor.hook("idle", "idle")
    actor.hook("prepare", "prepare", lambda: setattr(reactor, "extra", reactor.extra + 1))
    run_until(reactor, 0.001)
    before = actor.own_loop.idle_calls
    for number in range(1000):
        # In the tail of the packet that the turn before sent: its loop is in its prepares, not in its poll.
        reactor.call_later(number * 0.065 * MS, actor.send, f"m{number}")
    run_until(reactor, 0.066)
    assert actor.counts[1] == 1000
    assert actor.own_loop.idle_calls - before >= 1000


@pytest.mark.parametrize("hooks", [(), ("prepare",)])
def test_a_continuation_takes_a_turn_of_its_own_unless_a_message_shares_it(hooks):
    reactor, (actor,) = charged(iteration_s=1 * MS, message_s=4 * MS)
    actor.continues = True
    actor.hooks(*hooks)
    times: list[tuple[str, float]] = []
    for number in (1, 2):
        open_request(actor, number, lambda _, n: times.append((f"then {n}", reactor.now / NS / MS)), number)
        answer(actor, number)
    run_until(reactor, 0.02)
    timed(actor, "x", times)
    run_until(reactor, 1.0)
    # Two responses share a turn (5 ms each), the second continuation has one (1 ms) that nobody has to wait for.
    assert times == [("then 1", 5.0), ("then 2", 10.0), ("m0 x", 25.0)]
    assert actor.iterations == 4


@pytest.mark.parametrize("hooks", [(), ("prepare",)])
def test_what_comes_in_the_turn_of_a_continuation_waits_for_its_end(hooks):
    reactor, (actor,) = charged(iteration_s=1 * MS, message_s=4 * MS)
    actor.continues = True
    actor.hooks(*hooks)
    times: list[tuple[str, float]] = []
    open_request(actor, 1, lambda *_: timed(actor, "x", times))
    answer(actor, 1)
    run_until(reactor, 1.0)
    assert times == [("m0 x", 11.0)]
    assert actor.iterations == 3


def test_modules_that_are_served_for_a_moment_are_no_reason_to_wait_for_a_time_slice():
    """Timers of many modules at one instant share the cores; none of them holds one for a whole slice."""
    reactor, actors = charged(8, iteration_s=1 * MS, slice_s=50 * MS, cores=2)
    for actor in actors:
        actor.after(0.010, "tick")
    run_until(reactor, 0.010 + 4 * MS / 1000 - 1e-9)
    assert [actor.log for actor in actors] == [[]] * 8
    run_until(reactor, 1.0)
    assert [actor.log for actor in actors] == [["tick"]] * 8


def test_a_spinner_that_went_is_waited_for_no_more():
    reactor, actors = charged(4, message_s=1 * MS, iteration_s=0.0, slice_s=3 * MS, cores=2)
    for actor in actors[1:]:
        actor.hooks("idle")
    actors[1].station.leave()
    actors[2].own_loop.close()
    times: list[tuple[str, float]] = []
    timed(actors[0], "work", times)
    run_until(reactor, 1.0)
    assert times == [("m0 work", 1.0)]


def test_packets_sent_in_an_iteration_are_paid_before_the_next():
    reactor, (actor,) = charged(message_s=1 * MS, packet_s=10 * MS)
    actor.hook("prepare", "prepare", lambda: setattr(reactor, "extra", reactor.extra + 1))
    times: list[tuple[str, float]] = []
    timed(actor, "a", times)
    timed(actor, "b", times)
    run_until(reactor, 1.0)
    assert times == [("m0 a", 1.0), ("m0 b", 12.0)]


def test_packets_sent_by_a_check_delay_the_dispatch_behind_it():
    reactor, (actor,) = charged(message_s=1 * MS, packet_s=10 * MS)
    actor.hook("check", "check", lambda: setattr(reactor, "extra", reactor.extra + 1))
    times: list[tuple[str, float]] = []
    timed(actor, "a", times)
    run_until(reactor, 1.0)
    assert times == [("m0 a", 11.0)]


def test_an_idle_hook_sees_a_message_in_the_turn_that_takes_it_and_turns_once_more_for_what_prepares_did():
    reactor, (actor,) = charged(message_s=4 * MS, iteration_s=1 * MS)
    seen: list[tuple[float, int]] = []
    actor.hook("idle", "idle", lambda: seen.append((reactor.now / NS / MS, actor.counts[1])))
    run_until(reactor, 0.1)
    seen.clear()
    actor.send("change")
    run_until(reactor, 10.0)
    # Handling ends 5 ms later, and the loop that turned finds it without an fd event. The next turn takes 1 ms more;
    # all later ones are arithmetic.
    assert seen == [(105.0, 1), (106.0, 1)]


def test_a_module_that_went_leaves_its_share_to_the_others_even_if_messages_still_come():
    reactor, actors = charged(3, message_s=4 * MS, cores=1)
    actors[0].station.leave()
    for _ in range(3):
        actors[0].send("late")
    times: list[tuple[str, float]] = []
    timed(actors[1], "x", times)
    run_until(reactor, 1.0)
    assert times == [("m1 x", 4.0)]
    assert actors[0].log == []
    assert actors[1].station.node.runnable == 0


def test_a_module_that_goes_in_the_middle_of_a_service_lets_the_others_go_faster():
    reactor, actors = charged(2, message_s=4 * MS, cores=1)
    times: list[tuple[str, float]] = []
    for actor in actors:
        timed(actor, "x", times)
    reactor.call_later(4 * MS, actors[0].station.leave)
    run_until(reactor, 1.0)
    # 2 ms are served when m0 goes at 4 ms; the other 2 ms at full rate.
    assert times == [("m1 x", 6.0)]


def test_a_handler_that_raises_fails_its_actor_and_the_next_message_is_served():
    reactor, (actor,) = charged(message_s=1 * MS)
    actor.send("bad", lambda message: 1 / 0)
    actor.send("good")
    run_until(reactor, 1.0)
    assert actor.errors == ["ZeroDivisionError at bad"]
    assert actor.log == ["good"]


def raising(error: BaseException) -> Callable[..., None]:
    def fn(*_: object) -> None:
        raise error

    return fn


@pytest.mark.parametrize("hooks", [(), ("prepare",), ("idle",)])
def test_a_refusal_answers_and_what_else_is_raised_names_the_message_in_service_or_none(hooks):
    reactor, (actor,) = charged(message_s=1 * MS)
    actor.hooks(*hooks)
    actor.send("refused", raising(RequestError(EPERM, "no")))
    actor.send("bad", raising(ValueError()))
    reactor.call_later(0.5, raising(KeyError()), actor=actor)
    run_until(reactor, 1.0)
    assert actor.refusals == [("refused", EPERM)]
    assert actor.errors == ["ValueError at bad", "KeyError at -"]


def test_a_refusal_by_the_first_prepare_of_a_loop_does_not_answer_the_request_that_made_it():
    reactor, (actor,) = charged(message_s=1 * MS)
    actor.send("x", lambda _: actor.hook("prepare", "prepare", raising(RequestError(EPERM, "no"))))
    run_until(reactor, 1.0)
    assert actor.refusals == []
    assert actor.errors == ["RequestError at x"]


def test_a_module_is_busy_while_a_message_is_in_service_or_waits_and_not_while_it_spins():
    reactor, (actor,) = charged(message_s=4 * MS, iteration_s=1 * MS)
    actor.hooks("idle")
    run_until(reactor, 0.1)
    assert not actor.station.is_busy
    for _ in range(2):
        actor.send("x")
    states = []
    for ms in (102, 106, 111):  # in service, and one waits; the last one in service; done
        run_until(reactor, ms / 1000)
        states.append((actor.station.is_busy, len(actor.station.inbox)))
    assert states == [(True, 1), (True, 0), (False, 0)]


def test_a_loop_whose_last_watcher_stops_in_a_handler_is_let_go_of_at_the_end_of_the_turn():
    reactor, (actor,) = charged(message_s=1 * MS)
    (watcher,) = actor.hooks("prepare")
    actor.send("stop", lambda _: watcher.stop())
    run_until(reactor, 1.0)
    assert actor.loop is None


def test_services_completed_in_one_go_are_those_completed_one_by_one():
    """Nobody else has anything to say until 9 ms: the first services are completed without the timers' heap."""

    def one_run(free_until: float) -> list[tuple[str, float]]:
        reactor, actors = charged(4, message_s=1 * MS, topics={"long": 1.5 * MS}, cores=4)
        reactor.free_until = free_until
        for _ in range(30):
            actors[3].send("long")  # somebody is in service whenever a message is sent
        times: list[tuple[str, float]] = []

        def hand_on(number: int) -> None:
            timed(actors[number % 3], f"x{number}", times)
            if number < 20:
                actors[number % 3].send(f"next{number}", lambda _: hand_on(number + 1))

        hand_on(0)
        run_until(reactor, 1.0)
        return times

    one_by_one = one_run(-1)
    assert [time for _, time in one_by_one] == [2.0 * number + 1 for number in range(21)]
    assert one_run(9 * NS // 1000) == one_run(math.inf) == one_by_one


def test_free_actors_are_not_charged():
    reactor, _ = charged(message_s=4 * MS)
    free = Probe(reactor, "broker")
    times: list[tuple[str, float]] = []
    timed(free, "x", times)
    run_until(reactor, 1.0)
    assert times == [("broker x", 0.0)]


@pytest.mark.parametrize("name", ["iteration_s", "message_s", "packet_s", "slice_s", "wake_s"])
def test_a_negative_cost_is_refused(name):
    with pytest.raises(ValueError, match=name):
        CostModel(**{name: -1.0})


def test_a_node_needs_a_core():
    with pytest.raises(ValueError, match="cores"):
        CostModel(cores=0)
