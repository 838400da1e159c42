"""What a module in a process of its own observes: one message for many, none for what nobody counts."""

from __future__ import annotations

from typing import Any

import pytest

from brokersim.host import observers
from brokersim.host.far import FarBroker
from brokersim.host.handle import Handle
from brokersim.host.observers import BATCH_MAX, CHANGED, RECHECK, TOPIC
from brokersim.protocol.errnums import ENOSYS
from brokersim.protocol.message import EVENT, RESPONSE, ROLE_OWNER, Message
from brokersim.reactor.loop import NS
from tests.host.test_far import NoFar


class Rig:
    """A module's end of a wire; what is sent is looked at, answers are given by hand."""

    def __init__(self, name: str = "m") -> None:
        welcome = {"uuid": "u", "name": name, "attrs": {"rank": "3", "size": "4"}, "conf": {}}
        self.far = NoFar()
        self.broker = FarBroker(self.far, welcome, None)
        self.handle = Handle(self.broker, name, "u")
        self.broker.add_endpoint(self.handle)
        self.observe = self.handle.observe

    def sent(self) -> list[Message]:
        sent, self.far.sent = self.far.sent, []
        return [message for message in sent if message.topic != "event.subscribe"]

    def batches(self) -> list[list[tuple[Any, ...]]]:
        return [list(message.data["observed"]) for message in self.sent()]

    def end_turn(self) -> None:
        for timer in self.far.reactor.take_due():
            timer.fn(*timer.args)

    def answer(self, request: Message, errnum: int = 0, **payload: Any) -> None:
        response = Message(RESPONSE, request.topic, payload, matchtag=request.matchtag, errnum=errnum)
        then, arg, _ = self.handle.pending.pop(request.matchtag)
        then(response, arg)

    def know(self, *counted: str) -> None:
        """Observe once, and hear what of it is counted."""
        self.observe("s", "k", 1)
        self.end_turn()
        (request,) = self.sent()
        self.answer(request, counted=list(counted))

    def pass_by(self, seconds: float) -> None:
        self.far.reactor.now += round(seconds * NS)


@pytest.fixture
def rig() -> Rig:
    return Rig()


def test_the_observations_of_a_turn_are_one_message(rig: Rig) -> None:
    rig.observe("s", "a", 1)
    key = {"host": "n1"}
    rig.observe("s", key)
    key["host"] = "n2"
    assert rig.far.sent == []
    rig.end_turn()
    (message,) = rig.sent()
    assert (message.topic, message.nodeid) == (TOPIC, 3)
    assert message.data == {"observed": [("s", "a", 1), ("s", {"host": "n1"}, 1)]}
    rig.end_turn()
    assert rig.sent() == []


@pytest.mark.parametrize("send", ["request", "publish", "respond"])
def test_they_go_before_whatever_else_is_sent(rig: Rig, send: str) -> None:
    rig.observe("s", "a", 1)
    if send == "respond":
        rig.broker.route_response(Message(RESPONSE, "later", {}, routes=("a", "b", "c")))
    else:
        getattr(rig.handle, send)("later", {})
    assert [message.topic for message in rig.sent()] == [TOPIC, "later"]


def test_many_are_several_messages(rig: Rig) -> None:
    for number in range(BATCH_MAX + 1):
        rig.observe("s", "a", number)
    assert [len(batch) for batch in rig.batches()] == [BATCH_MAX]
    rig.end_turn()
    assert [len(batch) for batch in rig.batches()] == [1]


def test_what_nobody_counts_costs_no_message_until_stats_change(rig: Rig) -> None:
    rig.know()
    rig.pass_by(100 * RECHECK)
    rig.observe("s", "k", 1)
    rig.end_turn()
    assert rig.batches() == []
    rig.observe("other", "k", 1)  # another stream may be counted
    rig.end_turn()
    assert rig.batches() == [[("other", "k", 1)]]
    rig.broker.receive(Message(EVENT, CHANGED, {}, rolemask=ROLE_OWNER))
    rig.observe("s", "k", 2)
    rig.end_turn()
    assert rig.batches() == [[("s", "k", 2)]]


def test_so_many_streams_that_nobody_counts_are_remembered_and_no_more(
    rig: Rig, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(observers, "_STREAMS_MAX", 2)

    def is_sent(stream: str) -> bool:
        rig.pass_by(RECHECK)  # what is sent is asked about
        rig.observe(stream, "k", 1)
        rig.end_turn()
        sent = rig.sent()
        for request in (one for one in sent if not one.is_noresponse):
            rig.answer(request, counted=[])
        return bool(sent)

    assert [is_sent(stream) for stream in "ababab"] == [True, True, False, False, False, False]
    assert [is_sent(stream) for stream in "abcabc"] == [False, False, True, False, False, False]
    assert [is_sent(stream) for stream in "dabc"] == [True, True, True, True]


def test_what_is_counted_is_sent_and_asked_about_now_and_then(rig: Rig) -> None:
    rig.know("s")
    rig.observe("s", "k", 1)
    rig.end_turn()
    (message,) = rig.sent()
    assert message.is_noresponse
    rig.pass_by(RECHECK)
    rig.observe("s", "k", 1)
    rig.end_turn()
    (message,) = rig.sent()
    assert not message.is_noresponse


def test_where_nobody_serves_metrics_it_is_tried_again_later(rig: Rig) -> None:
    rig.observe("s", "k", 1)
    rig.end_turn()
    (request,) = rig.sent()
    rig.answer(request, ENOSYS)
    rig.pass_by(RECHECK - 0.1)
    rig.observe("s", "k", 1)
    rig.end_turn()
    assert rig.sent() == []
    rig.pass_by(0.1)
    rig.observe("s", "k", 3)
    rig.end_turn()
    assert rig.batches() == [[("s", "k", 3)]]


@pytest.mark.parametrize("errnum", [0, ENOSYS])
def test_an_answer_from_before_the_change_says_nothing(rig: Rig, errnum: int) -> None:
    rig.observe("s", "k", 1)
    rig.end_turn()
    (request,) = rig.sent()
    rig.broker.receive(Message(EVENT, CHANGED, {}, rolemask=ROLE_OWNER))
    rig.answer(request, errnum, counted=[])
    rig.observe("s", "k", 2)
    rig.end_turn()
    assert rig.batches() == [[("s", "k", 2)]]


def test_who_counts_in_this_process_hears_it_without_a_message_and_asks_for_others() -> None:
    rig = Rig("metrics")
    heard: list[Any] = []
    end = rig.handle.listen("s", lambda key, value: heard.append((key, value)))
    assert [(one.topic, one.data) for one in rig.sent()] == [("module.listen", {"streams": ["s"]})]
    rig.handle.observe("s", "k", 1)
    rig.handle.observe("other", "k", 1)
    rig.end_turn()
    assert (heard, rig.sent()) == ([("k", 1)], [])
    end()
    assert [(one.topic, one.data) for one in rig.sent()] == [("module.listen", {"streams": []})]
    rig.handle.observe("s", "k", 1)
    rig.end_turn()
    assert (heard, rig.sent()) == ([("k", 1)], [])
