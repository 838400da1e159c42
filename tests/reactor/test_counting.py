"""Counting lines that are written out for speed count, and tell tracers, what `sent` and `handed` do."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

import brokersim
from brokersim.protocol.message import EVENT, FLAG_NORESPONSE, REQUEST, RESPONSE, Message
from brokersim.reactor.actor import Actor
from brokersim.reactor.loop import Reactor
from brokersim.reactor.watchers import ModuleLoop
from brokersim.routing.endpoint import ignore
from tests.reactor.probe import Probe, open_request

KINDS = st.lists(st.sampled_from((REQUEST, RESPONSE, EVENT)), max_size=12)


@given(KINDS, st.sampled_from(("nothing", "prepare", "check", "idle", "tracer")))
def test_the_drain_counts_what_handed_counts(kinds, watched):
    reactor, told = Reactor(), []
    by_drain, by_hand = Probe(reactor, "drain"), Actor()
    if watched == "tracer":
        by_drain.tracer = by_hand.tracer = lambda direction, _, message: told.append(
            (direction, message.type)
        )
        by_drain.own_loop = ModuleLoop(reactor, by_drain)
        by_drain.own_loop.trace()
    elif watched != "nothing":
        by_drain.hook(watched, watched)
    reactor.jumps = True  # an idle loop turns once, not for ever
    for tag, kind in enumerate(kinds, 1):
        if kind == RESPONSE and tag % 2:
            open_request(by_drain, tag, lambda *_: None)
        message = Message(kind, "t", dst=by_drain, matchtag=tag, handler=lambda _: None)
        reactor.push(message)
    while reactor.fifo:
        reactor.drain()
    from_drain, told[:] = told.copy(), []
    for kind in kinds:
        by_hand.handed(Message(kind, "t"))
    assert by_drain.counts == by_hand.counts
    assert from_drain == told


@pytest.mark.parametrize("traced", [False, True])
def test_a_send_counts_what_sent_counts(traced):
    brokersim.run(_send_everything, traced, clock="virtual")


async def _send_everything(traced: bool) -> None:
    async with brokersim.open_instance(modules=[], clock="virtual") as instance:
        handle, twin, told = instance.client(), Actor(), []
        if traced:
            handle.set_tracer(lambda direction, _, message: told.append((direction, message.type)))
        request = Message(REQUEST, "t.ask", src=handle, dst=handle, matchtag=7)
        silent = Message(REQUEST, "t.tell", flags=FLAG_NORESPONSE, src=handle, dst=handle)
        sends = [
            (REQUEST, lambda: handle.request("broker.ping", {}, ignore)),
            (REQUEST, lambda: handle.request("broker.ping", {}, ignore)),  # the way is known now
            (REQUEST, lambda: handle.request("broker.ping", {})),
            (REQUEST, lambda: handle.stream("nobody.asked", {}, ignore)),
            (RESPONSE, lambda: handle.respond(request)),
            (RESPONSE, lambda: handle.respond_error(request, 1)),
            (EVENT, lambda: handle.publish("news")),
        ]
        for kind, send in sends:
            send()
            twin.sent(Message(kind))
        handle.respond(silent)
        handle.respond_error(silent, 1)
        assert handle.counts == twin.counts
        assert told == ([("tx", kind) for kind, _ in sends] if traced else [])
