"""What stands for the broker in a module's own process has all that a handle asks of its home."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, get_type_hints

import pytest

from brokersim.host.blocking import Workers
from brokersim.host.far import Far, FarBroker
from brokersim.host.handle import Handle
from brokersim.host.ports import Home, Surroundings
from brokersim.protocol.errnums import ENOTSUP, RequestError
from brokersim.protocol.message import NODEID_ANY, REQUEST, RESPONSE, ROLE_OWNER, ROLE_USER, Message
from brokersim.reactor.loop import Reactor


class NoFar(Far):
    """A wire that leads nowhere; it keeps what is watched."""

    def __init__(self) -> None:
        self.reactor = Reactor()
        self.sent: list[Message] = []
        self.watched: list[tuple[int, ...]] = []

    def attach(self, broker: FarBroker) -> None:
        pass

    def send(self, message: Message) -> None:
        self.sent.append(message)

    def ask(
        self, handle: Handle, topic: str, payload: Any, timeout: float | None = None, nodeid: int = NODEID_ANY
    ) -> Message:
        raise AssertionError(f"{topic}: nobody would answer")

    def leave(self) -> None:
        pass

    def watch_fd(self, fd: int, events: int, call: Callable[[int], object]) -> Callable[[], object]:
        self.watched.append((fd, events))
        return self.watched.clear

    def watch_signal(self, number: int, call: Callable[[], object]) -> Callable[[], object]:
        self.watched.append((number,))
        return self.watched.clear


@pytest.fixture
def broker() -> FarBroker:
    welcome = {"uuid": "u", "name": "m", "attrs": {"rank": "3", "size": "4", "seed": "7"}, "conf": {"a": 1}}
    return FarBroker(NoFar(), welcome, None)


@pytest.fixture
def handle(broker: FarBroker) -> Handle:
    handle = Handle(broker, "m", "u")
    broker.add_endpoint(handle)
    return handle


@pytest.mark.parametrize("port", [Home, Surroundings])
def test_every_value_a_handle_asks_of_its_home_is_there(broker: FarBroker, port: type) -> None:
    """Methods are the type checker's to miss; values it takes for granted once they are declared."""
    there = broker if port is Home else broker.instance
    assert [name for name in get_type_hints(port) if not hasattr(there, name)] == []


def test_a_question_of_its_own_that_is_refused_raises_what_the_broker_said(
    broker: FarBroker, handle: Handle, monkeypatch: pytest.MonkeyPatch
) -> None:
    answers = {
        "a": Message(RESPONSE, "a", {"v": 1}),
        "b": Message(RESPONSE, "b", errnum=ENOTSUP, data=b"not so"),
    }
    monkeypatch.setattr(broker.far, "ask", lambda handle, topic, *_: answers[topic])
    assert broker.ask("a", None) == {"v": 1}
    with pytest.raises(RequestError, match=r"^not so$") as caught:
        broker.ask("b", None)
    assert caught.value.errno == ENOTSUP


def test_the_clock_of_a_process_is_real_so_holding_it_holds_nothing(handle: Handle) -> None:
    with handle.hold_clock() as held:
        assert held is None
    with handle.hold_clock():  # as often as one likes
        pass


def test_a_trio_task_is_refused_with_the_way_out(handle: Handle) -> None:
    async def task() -> None:
        raise AssertionError("never run")

    with pytest.raises(RequestError, match="load the module without --exec") as caught:
        handle.start_task(task)
    assert caught.value.errno == ENOTSUP
    handle.end_callbacks()  # nothing was left behind that an end would trip over


def test_what_a_module_watches_is_watched_by_the_loop_of_its_process(
    broker: FarBroker, handle: Handle
) -> None:
    far = broker.far
    assert isinstance(far, NoFar)
    stop = broker.instance.watch_fd(handle, 5, 1, lambda ready: None)
    broker.instance.watch_signal(handle, 10, lambda: None)
    assert far.watched == [(5, 1), (10,)]
    stop()
    assert far.watched == []


def test_it_says_who_and_where_the_module_is(broker: FarBroker, handle: Handle) -> None:
    assert (handle.rank, handle.size, broker.instance.identities.uuid(3, "m")) == (3, 4, "u")
    assert (handle.conf_get("a"), isinstance(broker.instance.workers, Workers)) == (1, True)
    assert broker.instance.hook is None  # the broker emits the counters
    handle.set_mask(0x1000)
    assert handle.instrument is None


def test_the_place_in_the_tree_is_asked_for_once(
    broker: FarBroker, handle: Handle, monkeypatch: pytest.MonkeyPatch
):
    asked: list[Any] = []

    def ask(
        handle: Handle, topic: str, payload: Any, timeout: float | None = None, nodeid: int = NODEID_ANY
    ) -> Message:
        asked.append((topic, payload, nodeid))
        leaves = [{"rank": rank, "size": 1, "children": []} for rank in (2, 1)]
        tree = {"rank": 0, "size": 4, "children": [{"rank": 3, "size": 3, "children": leaves}]}
        return Message(RESPONSE, topic, tree)

    monkeypatch.setattr(broker.far, "ask", ask)
    assert (handle.parent, handle.children, handle.parent) == (0, (1, 2), 0)
    # Of rank 0: a broker of Flux's answers for itself and what is below it, and knows not what is above.
    assert asked == [("overlay.topology", {"rank": 0}, 0)]


def test_attributes_that_came_with_the_welcome_are_not_asked_for(broker: FarBroker) -> None:
    assert [broker.attributes.get(name) for name in ("rank", "size")] == ["3", "4"]


@pytest.mark.parametrize(
    ("rolemask", "topic", "handler"),
    [(ROLE_OWNER, "m.shutdown", "own"), (ROLE_USER, "m.shutdown", "deny"), (ROLE_USER, "m.ping", "own"),
     (ROLE_USER, "m.none", "unknown_method")],
)  # fmt: skip
def test_a_guest_is_denied_what_is_not_for_guests(
    broker: FarBroker,
    handle: Handle,
    monkeypatch: pytest.MonkeyPatch,
    rolemask: int,
    topic: str,
    handler: str,
) -> None:
    def own(_request: Message) -> None:
        raise AssertionError("it is only queued")

    methods = {"m.shutdown": (own, False), "m.ping": (own, True)}
    monkeypatch.setattr(Handle, "method", lambda _self, topic: methods.get(topic))
    broker.handle = handle
    broker.receive(Message(REQUEST, topic, None, 0, 1, 5, rolemask))
    (queued,) = handle.reactor.fifo
    assert queued.handler == (own if handler == "own" else getattr(handle, handler))
