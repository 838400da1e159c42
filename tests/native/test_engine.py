"""Both engines do the same: the compiled reactor against its Python twin, message by message. And C's own promises.

Doesn't know whether what they do is right: the tests of the rooms say that, on either engine.
"""

from __future__ import annotations

import contextlib
import gc
import inspect
import signal
import sys
import traceback
import weakref
from itertools import product

import pytest
from hypothesis import given
from hypothesis import strategies as st

from brokersim.native.engine import engine, twin
from brokersim.protocol.message import EVENT, REQUEST, RESPONSE, Message
from brokersim.reactor.actor import Actor
from brokersim.reactor.loop import Reactor
from brokersim.reactor.standstill import HandlerHung
from brokersim.reactor.turn import dispatch, plain_turn, take
from brokersim.reactor.watchers import ModuleLoop, Watcher
from brokersim.routing.endpoint import Endpoint
from brokersim.routing.rank import fan_out
from tests.native.twins import python, usual
from tests.native.world import SCRIPTS, World

pytestmark = pytest.mark.skipif(engine() != "compiled", reason=engine())


@given(SCRIPTS, st.booleans())
def test_whatever_happens_happens_the_same_on_both_engines(script, charged):
    on_python = World(python(), script, charged=charged).run()
    assert World(usual(), script, charged=charged).run() == on_python


def test_the_copy_that_is_compared_with_is_python():
    assert python().engine.engine() == "Python (BROKERSIM_PURE is set)"
    assert usual().engine.engine() == "compiled"
    assert inspect.isfunction(python().endpoint.Endpoint.request)
    assert not inspect.isfunction(Endpoint.request)


TWINS = [
    ("actor", "Actor", "sent"), ("actor", "Actor", "handed"), ("endpoint", "Endpoint", "request"),
    ("endpoint", "Endpoint", "respond"), ("loop", "Reactor", "_drain_free"), ("turn", None, "dispatch"),
    ("turn", None, "take"), ("turn", None, "plain_turn"), ("rank", None, "fan_out"), ("loop", "Reactor", "pass_to"),
    ("loop", "Reactor", "arrive_at"), ("loop", "Reactor", "_arrive"), ("loop", "Reactor", "drain_all"),
    ("rank", None, "pass_down"), ("loop", "Reactor", "hand_out"), ("watchers", "ModuleLoop", "dispatch"),
    ("watchers", "ModuleLoop", "before_dispatch"), ("watchers", "ModuleLoop", "fulfil"),
    ("watchers", "ModuleLoop", "call_next"), ("watchers", "ModuleLoop", "prepare"),
    ("watchers", "ModuleLoop", "settle"), ("watchers", "ModuleLoop", "add"), ("watchers", "ModuleLoop", "drop"),
    ("cost", "Node", "advance"), ("cost", "Node", "join"),
    ("cost", "Node", "leave"), ("cost", "Node", "begin"), ("cost", "Node", "_complete"), ("cost", "Station", "arrive"),
    ("cost", "Station", "settle"), ("cost", "Station", "done"), ("cost", "Station", "_next"),
    ("cost", "Station", "_serve"), ("cost", "Station", "_checks"), ("instrument", "Instrument", "emit"),
]  # fmt: skip


@pytest.mark.parametrize(("part", "owner", "name"), TWINS)
def test_help_tells_the_same_of_a_twin(part, owner, name):
    """But for the kind of a parameter: C takes by place alone what is never given by name."""

    def told(copy):
        found = getattr(copy, part)
        found = getattr(found if owner is None else getattr(found, owner), name)
        parameters = inspect.signature(found).parameters.values()
        return found.__doc__, [(one.name, one.default) for one in parameters]

    assert told(usual()) == told(python())


WRONG = [
    None,
    1,
    "x",
    object(),
    Message,
    Message(REQUEST, "t", dst=3),
    Message("x", "t", dst=Actor()),
    Message(9, dst=Actor()),
]


@pytest.mark.parametrize("function", [dispatch, take, plain_turn, Actor().sent, Actor().handed])
@pytest.mark.parametrize("wrong", WRONG, ids=range(len(WRONG)))
def test_what_is_no_message_to_an_actor_is_a_TypeError(function, wrong):
    if getattr(wrong, "dst", None) == 3 and function.__name__ in ("sent", "handed"):
        return  # those don't ask where it goes
    with pytest.raises(TypeError):
        function(wrong)


def test_methods_refuse_what_is_not_their_own():
    for method in (Actor.sent, Endpoint.request, Endpoint.respond, Reactor._drain_free):
        with pytest.raises(TypeError):
            method(object(), "t")
    with pytest.raises(AttributeError, match="lacks a field"):
        Actor.sent(Actor.__new__(Actor), Message(REQUEST))
    with pytest.raises(TypeError):
        Reactor()._drain_free("many")


def test_fields_of_the_wrong_kind_are_TypeErrors():
    actor = Actor()
    for counts in ([], (0,) * 8, ["0"] * 8, None):
        actor.counts = counts  # type: ignore[assignment]
        with pytest.raises(TypeError):
            actor.sent(Message(REQUEST))
    actor.counts = [0] * 8
    response = Message(RESPONSE, matchtag=1, dst=actor)
    for pending in (None, [], {1: 2}, {1: (1, 2)}):
        actor.pending = pending  # type: ignore[assignment]
        with pytest.raises(TypeError):
            dispatch(response)
    with pytest.raises(TypeError):
        fan_out(Message(EVENT, rolemask=1), ((1, 2, 3), (1, 2)), print)  # type: ignore[arg-type]
    with pytest.raises(TypeError):
        fan_out("event", ((), ()), print)  # type: ignore[arg-type]
    with pytest.raises(TypeError):
        fan_out(Message(EVENT, rolemask="x"), ((), ()), print)  # type: ignore[arg-type]
    del actor.counts
    with pytest.raises(AttributeError):
        actor.handed(Message(REQUEST))


def test_watchers_of_the_wrong_kind_are_TypeErrors():
    loop = ModuleLoop(Reactor(), Actor())
    for wrong in (None, "watcher", object()):
        with pytest.raises(TypeError):
            loop.add(wrong, False)  # type: ignore[arg-type]
        with pytest.raises(TypeError):
            loop.drop(wrong)  # type: ignore[arg-type]
    with pytest.raises(TypeError):
        loop.add(Watcher(loop, "check", print))  # type: ignore[call-arg]
    with pytest.raises(KeyError):
        loop.add(Watcher(loop, "unknown", print), False)
    with pytest.raises(IndexError):
        loop.drop(Watcher(loop, "check", print))  # it was never started
    assert (loop.checks, loop.check, loop.started) == ((), None, 0)


def test_fields_of_the_wrong_kind_are_TypeErrors_where_time_is_charged():
    world = World(usual(), [], charged=True)
    one = world.parties[0]
    station, node, loop = one.station, one.station.node, one.module_loop()
    calls = {
        node: (node._complete, lambda: node.begin(station, 1), node.advance),
        station: (lambda: station.arrive(Message(REQUEST, "t")), station.done, station._next),
        loop: (loop.settle, lambda: loop.dispatch(None, (), (), True), lambda: loop.fulfil(print, None, 1)),
    }
    fields = {
        node: ("service", "runnable", "cores", "_since", "_heap", "reactor"),
        station: ("_counted", "inbox", "node", "actor"),
        loop: ("actor", "reactor", "nonblocking", "started", "_continuations"),
    }
    for owner, acts in calls.items():
        for field, value, act in product(fields[owner], ("x", None, object()), acts):
            before = getattr(owner, field)
            setattr(owner, field, value)
            with contextlib.suppress(TypeError, AttributeError):  # and never a crash
                act()
            setattr(owner, field, before)
    for act in (
        lambda: node.begin("nowhere", 1),
        lambda: node.begin(station, "long"),
        lambda: world.reactor.pass_to("x"),
    ):
        with pytest.raises(TypeError):
            act()


@pytest.mark.parametrize("far", [2**62, 2**63 - 1, 2**63, 2**80])
def test_times_of_any_size_are_as_on_python(far):
    def ends(copy):
        world = World(copy, [("ask", 1), ("hook", 2), ("answer", 0)] * 4, charged=True)
        world.reactor.now = far
        return world.run()

    assert ends(usual()) == ends(python())


class Witness(Actor):
    """Notes what it fails by, whether that is the exception being handled, and the functions it went through."""

    def __init__(self) -> None:
        super().__init__()
        self.failures: list[tuple[str, bool, list[str]]] = []

    def failed(self, error, message):
        names = [frame.name for frame in traceback.extract_tb(error.__traceback__)]
        self.failures.append((repr(error), sys.exc_info()[1] is error, names))


def test_the_watchdogs_exception_comes_out_of_the_handler_it_broke_into():
    def hung(_message):
        signal.raise_signal(signal.SIGUSR1)

    def look(*_):
        raise HandlerHung("look")

    reactor, one = Reactor(), Witness()
    before = signal.signal(signal.SIGUSR1, look)
    try:
        reactor.push(Message(REQUEST, "t", dst=one, handler=hung))
        reactor.push(Message(REQUEST, "u", dst=one, handler=lambda _: None))
        reactor.drain()
    finally:
        signal.signal(signal.SIGUSR1, before)
    assert one.failures == [("HandlerHung('look')", True, ["hung", "look"])]
    assert one.counts[1] == 2


@pytest.mark.parametrize("charged", [False, True])
def test_a_handlers_exception_is_the_one_being_handled_and_keeps_its_traceback(charged):
    def handler(_message):
        raise ValueError("no")

    world, one = World(usual(), [], charged=charged), Witness()
    if charged:
        one.station = usual().cost.Station(world.parties[0].station.node, one)
    world.reactor.push(Message(REQUEST, "t", dst=one, handler=handler))
    world.run()
    ((error, is_handled, names),) = one.failures
    assert (error, is_handled, names[-1]) == ("ValueError('no')", True, "handler")
    assert sys.exc_info() == (None, None, None)


def test_what_its_actor_passes_on_comes_out_of_the_drain():
    class Outcome(BaseException):
        """As pytest's skip is, or trio's Cancelled."""

    class Passing(Actor):
        def failed(self, error: BaseException, _message: Message | None) -> None:
            raise error

    def handler(_message):
        raise Outcome

    reactor, one = Reactor(), Passing()
    reactor.push(Message(REQUEST, "t", dst=one, handler=handler))
    reactor.push(Message(REQUEST, "u", dst=one, handler=lambda _: None))
    with pytest.raises(Outcome):
        reactor.drain()
    assert [message.topic for message in reactor.fifo] == ["u"]


def test_a_request_wants_its_arguments():
    world = World(usual(), [], charged=False)
    ask = world.parties[0].request
    for words, named in ((), {}), ((1,) * 8, {}), (("t",), {"topic": "t"}), (("t",), {"then_": None}):
        with pytest.raises(TypeError):
            ask(*words, **named)
    with pytest.raises(TypeError):
        ask("m1.a", cred="me")
    with pytest.raises(TypeError):
        ask("m1.a", flags="none")


def test_a_twin_is_taken_once_and_of_nothing_unknown():
    with pytest.raises(LookupError, match="has no twin"):
        twin(World)
    with pytest.raises(LookupError, match="is taken"):
        twin(Actor)


BUSY = [
    (what, number)
    for number in range(1, 12)
    for what in ("ask", "answer", "stream", "publish", "tell", "crash")
]


@pytest.mark.parametrize("charged", [False, True])
def test_many_rounds_leave_nothing_behind(charged):
    def rounds(count: int) -> None:
        for _ in range(count):
            world = World(usual(), BUSY, charged=charged)
            world.run()
            world.close()
        del world
        gc.collect()

    rounds(10)
    before = sys.getallocatedblocks()
    rounds(80)
    assert sys.getallocatedblocks() - before < 80  # not one object a round, of some hundred messages


def test_references_are_given_back():
    world = World(usual(), [], charged=False)
    one, two = world.parties[:2]
    payload, arg = {"n": 1}, object()
    one.request("m1.a", payload, one.answered, arg)
    world.run()
    world.told.clear()
    before = [sys.getrefcount(it) for it in (payload, arg, one, two, world.reactor)]
    for _ in range(100):
        one.request("m1.a", payload, one.answered, arg)
        world.run()
        two.respond(two.kept.pop(), payload)
        world.run()
        world.told.clear()
    after = [sys.getrefcount(it) for it in (payload, arg, one, two, world.reactor)]
    assert [now - then for now, then in zip(after, before, strict=True)] == [0] * 5


NUMBERS = st.integers(-(2**63), 2**63 - 1)
PLACES = st.integers(-10, 10)
SLICES = st.builds(slice, st.none() | PLACES, st.none() | PLACES, st.none() | st.sampled_from([-2, -1, 1, 2]))


@given(st.lists(st.tuples(PLACES | SLICES, st.lists(NUMBERS, min_size=8, max_size=8)), max_size=6))
def test_eight_counters_answer_like_a_list_of_eight(steps):
    ours, lists = usual().actor.eight_counters(), python().actor.eight_counters()
    assert type(lists) is list
    for place, numbers in steps:
        told = []
        for counts in (ours, lists):
            try:
                counts[place] = numbers[place]
                told.append(counts[place])
            except IndexError:
                told.append(IndexError)
        assert told[0] == told[1]
        assert (len(ours), repr(ours), sum(ours), list(ours)) == (8, repr(lists), sum(lists), lists)
        assert ours == lists == ours.copy()
        assert (ours == numbers, numbers == ours, ours != numbers) == (
            lists == numbers,
            lists == numbers,
            lists != numbers,
        )
    assert ours != [*lists, 0]
    assert ours != tuple(lists)
    assert not ours < lists
    assert type(ours.copy()) is list


def test_counters_take_what_is_a_number_and_nothing_else():
    counts = usual().actor.eight_counters()
    for wrong in ("x", 2**63, 1.5, None):
        with pytest.raises((TypeError, OverflowError)):
            counts[0] = wrong
    with pytest.raises(ValueError, match="eight"):
        del counts[0]
    with pytest.raises(TypeError):
        hash(counts)
    assert counts == [0] * 8


def test_a_message_that_goes_lets_go_of_all_it_held_and_its_room_is_used_again():
    class Held:
        """Something that a weak reference may point to."""

    for many in (1, 300):  # within what is kept of room, and beyond
        held = [Held() for _ in range(many)]
        gone = [weakref.ref(one) for one in held]
        before = sys.getrefcount(Message)
        messages = [Message(REQUEST, "t", one, src=one, routes=(one,)) for one in held]
        assert sys.getrefcount(Message) == before + many
        held.clear()
        assert all(one() is not None for one in gone)
        messages.clear()
        assert [one() for one in gone] == [None] * many
        assert sys.getrefcount(Message) == before
    actor = Actor()
    event = Message(EVENT, "t", rolemask=1, userid=7)
    made = []
    fan_out(event, ((actor,) * 3, (print,) * 3), made.append)
    assert [
        (one.topic, one.dst, one.handler, one.userid, one.nodeid, one.errnum, one.matchtag) for one in made
    ] == [("t", actor, print, 7, Message(EVENT).nodeid, 0, 0)] * 3
    assert (
        sys.getrefcount(Message) == before + 4
    )  # the event, and three deliveries in room of messages that went


def test_fan_out_refuses_what_are_no_subscribers():
    for wrong in ((), ((), (), ()), ((1,), ()), ([], []), None):
        with pytest.raises(TypeError, match="subscribers"):
            fan_out(Message(EVENT, rolemask=1), wrong, print)  # type: ignore[arg-type]
