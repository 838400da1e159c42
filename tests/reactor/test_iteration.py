"""One loop iteration as libev and flux-core's handle make it: order, what blocks, what each hook sees."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from brokersim.protocol.errnums import EINVAL, RequestError
from brokersim.protocol.message import Message
from brokersim.reactor.loop import NS, Reactor
from brokersim.reactor.watchers import Watcher
from tests.reactor.probe import Probe, answer, open_request, run_until, turns


@pytest.fixture
def reactor() -> Reactor:
    return Reactor()


@pytest.fixture
def actor(reactor: Reactor) -> Probe:
    return Probe(reactor)


# -- order


def test_a_message_is_dispatched_after_the_checks_and_before_the_prepares(reactor, actor):
    actor.hooks("prepare", "check")
    actor.send("message")
    reactor.drain()
    assert actor.log == ["check", "message", "prepare"]


def test_watchers_of_one_kind_run_last_started_first(reactor, actor):
    actor.hooks("prepare 1", "prepare 2", "prepare 3", "check 1", "check 2", "check 3")
    actor.send("message")
    reactor.drain()
    assert actor.log == [
        "check 3", "check 2", "check 1", "message", "prepare 3", "prepare 2", "prepare 1"
    ]  # fmt: skip


def test_a_watcher_started_as_the_oldest_runs_last_of_its_kind(reactor, actor):
    actor.hooks("check 1")
    oldest = Watcher(actor.loop, "check", lambda: actor.log.append("oldest"))
    oldest.start(oldest=True)
    actor.hooks("check 2")
    actor.send("message")
    reactor.drain()
    assert actor.log == ["check 2", "check 1", "oldest", "message"]


@pytest.mark.parametrize("kind", ["prepare", "check", "idle"])
def test_stopping_a_watcher_moves_the_last_started_into_its_slot(reactor, actor, kind):
    watchers = actor.hooks(*(f"{kind} {number}" for number in range(5)))
    watchers[1].stop()  # the array is now 0 4 2 3, and is called backwards
    actor.loop.iterate(None)
    assert actor.log == [f"{kind} {number}" for number in (3, 2, 4, 0)]


@given(st.lists(st.tuples(st.sampled_from(["start", "stop"]), st.integers(0, 5)), max_size=30))
def test_the_call_order_of_watchers_is_libevs_array_backwards(steps):
    reactor = Reactor()
    actor = Probe(reactor)
    watchers = actor.hooks(*(f"check {number}" for number in range(6)))
    array = list(range(6))  # libev's array of active watchers
    for step, number in steps:
        if step == "start":
            watchers[number].start()
            if number not in array:
                array.append(number)
        else:
            watchers[number].stop()
            if number in array:
                at = array.index(number)
                last = array.pop()
                if at < len(array):
                    array[at] = last
    actor.loop.iterate(None)
    assert actor.log == [f"check {number}" for number in reversed(array)]


def test_timers_come_after_idle_watchers_and_fds_after_timers_last_queued_first(reactor, actor):
    actor.hooks("prepare", "check")
    for label in ("timer 1", "timer 2"):
        actor.after(1.0, label)
    due = [entry[2] for entry in sorted(reactor._timers)]
    fds = [lambda label=label: actor.log.append(label) for label in ("fd 1", "fd 2")]
    actor.loop.iterate(None, due, fds)
    assert actor.log == ["check", "timer 1", "timer 2", "fd 2", "fd 1", "prepare"]


def test_a_dispatch_precedes_idle_watchers_of_its_iteration(reactor, actor):
    actor.hooks("check", "prepare", "idle")
    actor.send("first")
    actor.send("second")
    turns(reactor, 1)  # the turn the idle watcher queued when it started
    actor.log.clear()
    turns(reactor, 1)
    assert actor.log == ["check", "first", "idle", "prepare"]


def test_a_watcher_stopped_by_an_earlier_one_of_its_kind_is_not_called_any_more(reactor, actor):
    victim = actor.hook("check", "victim")
    actor.hook("check", "killer", victim.stop)
    actor.send("message")
    reactor.drain()
    assert actor.log == ["killer", "message"]


def test_a_watcher_started_by_one_of_its_kind_waits_for_the_next_iteration(reactor, actor):
    late = actor.hook("check", "late")
    late.stop()
    actor.hook("check", "early", late.start)
    actor.send("one")
    actor.send("two")
    reactor.drain()
    assert actor.log == ["early", "one", "late", "early", "two"]


# -- iterations


def test_prepare_and_check_count_are_the_iterations(reactor, actor):
    calls = {"prepare": 0, "check": 0}
    for kind in calls:
        actor.hook(kind, kind, lambda kind=kind: calls.__setitem__(kind, calls[kind] + 1))
    for number in range(7):
        actor.send(f"m{number}")
    for number in range(3):
        actor.after(number + 1.0, "timer")
    run_until(reactor, 10.0)
    assert actor.iterations == 10
    assert calls == {"prepare": 10, "check": 10}


def test_a_burst_of_n_requests_makes_n_iterations_never_fewer(reactor, actor):
    actor.hooks("check")
    for number in range(1000):
        actor.send(f"m{number}")
    while reactor.fifo:
        reactor.drain()
    assert actor.iterations == 1000
    assert actor.log == [entry for number in range(1000) for entry in ("check", f"m{number}")]


def test_an_actor_without_watchers_counts_the_same_iterations(reactor):
    hooked, bare = Probe(reactor, "hooked"), Probe(reactor, "bare")
    hooked.hooks("check")
    for actor in (hooked, bare):
        for number in range(5):
            actor.send(f"m{number}")
        actor.after(1.0, "timer")
        actor.after(1.0, "timer")
        actor.after(2.0, "timer")
    run_until(reactor, 3.0)
    assert hooked.iterations == bare.iterations == 5 + 2


def test_all_due_timers_of_an_actor_are_one_iteration_whatever_stands_between_them(reactor):
    log: list[str] = []
    one, other = Probe(reactor, "one", log), Probe(reactor, "other", log)
    one.after(1.0, "one 1")
    other.after(1.0, "other")
    one.after(1.0, "one 2")
    run_until(reactor, 1.0)
    assert log == ["one 1", "one 2", "other"]
    assert (one.iterations, other.iterations) == (1, 1)


def test_an_active_idle_watcher_keeps_the_loop_turning_without_messages(reactor, actor):
    actor.hooks("prepare", "check", "idle")
    turns(reactor, 5)
    assert actor.log == ["check", "idle", "prepare"] * 5
    assert reactor.fifo  # the next turn is queued already: poll does not block


def test_a_no_op_idle_watcher_keeps_the_loop_turning_too(reactor, actor):
    actor.hooks("check")
    quiet = Watcher(actor.loop, "idle", None)
    quiet.start()
    turns(reactor, 3)
    assert actor.log == ["check"] * 3
    assert actor.own_loop.idle_calls == 0
    quiet.stop()
    reactor.drain()
    assert not reactor.fifo
    assert actor.log == ["check"] * 3  # the queued turn fell away with its reason


def test_idle_count_is_iterations_less_iterations_with_events(reactor, actor):
    actor.hooks("idle")
    turns(reactor, 4)  # four quiet turns
    # No fd event: a loop that turns is hardly ever in its poll, so its next prepare finds it.
    actor.send("found queued")
    turns(reactor, 2)  # a quiet turn that was queued first, then the message
    actor.after(0.0, "timer")
    reactor.fire_due()  # no idle
    turns(reactor, 3)
    assert actor.iterations == 4 + 2 + 1 + 3
    assert actor.own_loop.idle_calls == actor.iterations - 1


def test_messages_to_a_turning_loop_do_not_keep_idle_watchers_out(reactor, actor):
    actor.hooks("idle")
    turns(reactor, 1)
    for label in ("one", "two", "three"):
        actor.send(label)
    turns(reactor, 1)  # the turn that was queued before them
    actor.log.clear()
    turns(reactor, 3)
    assert actor.log == ["one", "idle", "two", "idle", "three", "idle"]


def test_a_message_that_wakes_a_resting_loop_is_an_fd_event_and_those_behind_it_are_not(reactor, actor):
    reactor.jumps = True  # nothing is charged: an idle turn that did nothing is the last
    actor.hooks("idle")
    turns(reactor, 5)
    assert not reactor.fifo
    actor.log.clear()
    for label in ("wakes the poll", "from the backlog"):
        actor.send(label)
    turns(reactor, 2)
    assert actor.log == ["wakes the poll", "from the backlog", "idle"]


# -- what each hook sees


def test_prepare_sees_the_last_change_before_a_quiet_spell_and_check_only_the_next_wake_up(reactor, actor):
    seen: dict[str, list[int]] = {"prepare": [], "check": []}
    for kind in seen:
        actor.hook(kind, kind, lambda kind=kind: seen[kind].append(actor.counts[1]))
    actor.send("only")
    reactor.drain()
    assert seen == {"check": [0], "prepare": [1]}
    actor.after(1.0, "wake-up")
    run_until(reactor, 1.0)
    assert seen == {"check": [0, 1], "prepare": [1, 1]}


def test_a_commit_in_a_newer_check_makes_check_send_fewer_packets_than_prepare(reactor):
    packets = {}
    for hook in ("prepare", "check"):
        actor = Probe(reactor)
        packets[hook] = _packets_with_a_commit_trio(actor, hook)
    # The commit is one more iteration: prepare falls between request and commit, one check sees both together.
    assert packets == {"prepare": 6, "check": 3}


def _packets_with_a_commit_trio(actor: Probe, hook: str) -> int:
    """Three requests, each followed by a commit in the module's own check, as kvs does it."""
    sent: list[list[int]] = []
    last = [list(actor.counts)]

    def emit() -> None:
        if actor.counts != last[0]:
            last[0] = list(actor.counts)
            sent.append(last[0])

    actor.hook(hook, "instrument", emit)  # older than the module's own
    waiting: list[str] = []
    quiet = Watcher(actor.loop, "idle", None)

    def prepare() -> None:
        if waiting:
            quiet.start()

    def check() -> None:
        quiet.stop()
        if waiting:
            waiting.clear()
            actor.counts[4] += 1  # the commit publishes

    actor.hook("prepare", "own prepare", prepare)
    actor.hook("check", "own check", check)
    for second in range(3):
        actor.reactor.call_later(
            second + 1.0, lambda: actor.send("commit", lambda message: waiting.append(message.topic))
        )
    run_until(actor.reactor, actor.reactor.now / NS + 10.0)
    actor.loop.before_dispatch()  # the next wake-up, which check needs to see the last change
    return len(sent)


# -- loops made on the way


def test_a_watcher_started_inside_a_handler_has_its_first_prepare_right_behind_that_turn(reactor, actor):
    log = actor.log

    def start(message: Message) -> None:
        log.append("handler")
        actor.hook("prepare", "prepare")
        actor.hook("check", "check")

    actor.send("start", start)
    actor.send("next")
    reactor.drain()
    assert log == ["handler", "prepare", "check", "next", "prepare"]
    assert actor.iterations == 2


def test_closing_the_loop_keeps_the_iteration_count(reactor, actor):
    actor.hooks("prepare", "check")
    actor.send("one")
    actor.after(1.0, "timer")
    run_until(reactor, 1.0)
    actor.loop.close()
    actor.loop = None
    assert actor.iterations == 2
    actor.send("two")
    reactor.drain()
    assert actor.iterations == 3


@pytest.mark.parametrize("is_stopped", [False, True])
def test_a_suspended_loop_calls_nothing_and_resumed_what_is_still_started(reactor, actor, is_stopped):
    (watcher,) = actor.hooks("prepare")
    actor.loop.suspend()
    actor.send("suspended")
    reactor.drain()
    assert actor.log == ["suspended"]
    actor.loop = None
    if is_stopped:
        watcher.stop()
    actor.own_loop.resume()
    assert (actor.loop is None) == is_stopped
    actor.send("resumed")
    reactor.drain()
    assert actor.log == ["suspended", "resumed", *([] if is_stopped else ["prepare"])]


# -- errors


def test_a_refusal_by_a_handler_is_an_answer_and_the_loop_goes_on(reactor, actor):
    def refuse(message: Message) -> None:
        raise RequestError(EINVAL, "no")

    actor.hooks("prepare")
    actor.send("bad", refuse)
    actor.send("good")
    reactor.drain()
    assert actor.refusals == [("bad", EINVAL)]
    assert actor.errors == []
    assert actor.log == ["prepare", "good", "prepare"]


@pytest.mark.parametrize("kind", ["prepare", "check"])
def test_a_refusal_raised_by_a_watcher_is_not_charged_to_the_request_of_that_turn(reactor, actor, kind):
    def refuse() -> None:
        raise RequestError(EINVAL, "watchers answer nobody")

    actor.hook(kind, kind, refuse)
    actor.send("innocent")
    reactor.drain()
    assert actor.refusals == []
    assert actor.errors == ["RequestError at -"]


def test_a_continuation_that_raises_fails_its_own_actor_only(reactor):
    log: list[str] = []
    bad, good = Probe(reactor, "bad", log), Probe(reactor, "good", log)
    open_request(bad, 1, lambda response, arg: 1 / 0)
    answer(bad, 1)
    good.send("after")
    reactor.drain()
    assert bad.errors == ["ZeroDivisionError at peer.ask"]
    assert good.errors == []
    assert log == ["after"]
