"""Both engines do the same: the compiled reactor against its Python twin, message by message. And C's own promises.

Doesn't know whether what they do is right: the tests of the rooms say that, on either engine.
"""

from __future__ import annotations

import gc
import inspect
import sys

import pytest
from hypothesis import given
from hypothesis import strategies as st

from brokersim.native.engine import ENGINE, twin
from brokersim.protocol.message import EVENT, REQUEST, RESPONSE, Message
from brokersim.reactor.actor import Actor
from brokersim.reactor.loop import Reactor
from brokersim.reactor.turn import dispatch, plain_turn, take
from brokersim.routing.endpoint import Endpoint
from brokersim.routing.rank import fan_out
from tests.native.twins import python, usual
from tests.native.world import SCRIPTS, World

pytestmark = pytest.mark.skipif(ENGINE != "compiled", reason=ENGINE)


@given(SCRIPTS, st.booleans())
def test_whatever_happens_happens_the_same_on_both_engines(script, charged):
    on_python = World(python(), script, charged=charged).run()
    assert World(usual(), script, charged=charged).run() == on_python


def test_the_copy_that_is_compared_with_is_python():
    assert python().engine.ENGINE == "Python (BROKERSIM_PURE is set)"
    assert usual().engine.ENGINE == "compiled"
    assert inspect.isfunction(python().endpoint.Endpoint.request)
    assert not inspect.isfunction(Endpoint.request)


TWINS = [
    ("actor", "Actor", "sent"), ("actor", "Actor", "handed"), ("endpoint", "Endpoint", "request"),
    ("endpoint", "Endpoint", "respond"), ("loop", "Reactor", "_drain_free"), ("turn", None, "dispatch"),
    ("turn", None, "take"), ("turn", None, "plain_turn"), ("rank", None, "fan_out"),
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
@pytest.mark.parametrize("wrong", WRONG, ids=lambda it: repr(it)[:40])
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
        fan_out(Message(EVENT, rolemask=1), ((1, 2, 3),), print)  # type: ignore[arg-type]
    with pytest.raises(TypeError):
        fan_out("event", (), print)  # type: ignore[arg-type]
    with pytest.raises(TypeError):
        fan_out(Message(EVENT, rolemask="x"), (), print)  # type: ignore[arg-type]
    del actor.counts
    with pytest.raises(AttributeError):
        actor.handed(Message(REQUEST))


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
