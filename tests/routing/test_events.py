"""Events: sequenced at rank 0, in one order everywhere, to whoever subscribed by prefix, the publisher included."""

from __future__ import annotations

from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from brokersim.instance import Instance
from brokersim.protocol.errnums import ENOENT, EPROTO
from brokersim.protocol.message import FLAG_PRIVATE, Message
from brokersim.routing import subscriptions
from brokersim.routing.endpoint import Endpoint
from tests.host.live import live, refused, write


class Listener(Endpoint):
    """Writes down the events it is handed."""

    def __init__(self, instance: Instance, rank: int, number: int = 0) -> None:
        super().__init__(instance.broker(rank), "listener", f"listener-{rank}-{number}")
        self.heard: list[tuple[int, str]] = []
        self.events: list[Message] = []
        self.broker.add_endpoint(self)

    def event_handler(self, topic: str) -> Any:
        return self.hear

    def hear(self, event: Message) -> None:
        self.heard.append((event.seq, event.topic))
        self.events.append(event)


def test_events_are_numbered_from_1_and_reach_every_rank_in_that_order():
    async def body(instance: Instance) -> None:
        listeners = [Listener(instance, rank) for rank in range(7)]
        for rank, listener in enumerate(listeners):
            instance.broker(rank).subscribe("", listener)
        for number in range(5):
            for rank in (6, 0, 3):
                instance.client(rank, "publisher").publish(f"news.{rank}.{number}", {"number": number})
        await instance.sleep(1.0)
        first = listeners[0].heard
        assert [seq for seq, _ in first] == list(range(1, 16))
        assert {topic for _, topic in first} == {f"news.{rank}.{n}" for rank in (0, 3, 6) for n in range(5)}
        for listener in listeners:
            assert listener.heard == first

    live(body, size=7)


def test_the_publisher_hears_its_own_event_once():
    async def body(instance: Instance) -> None:
        listener = Listener(instance, 2)
        instance.broker(2).subscribe("news", listener)
        listener.publish("news", {"from": 2})
        await instance.sleep(1.0)
        assert listener.heard == [(1, "news")]
        assert listener.events[0].payload == {"from": 2}
        assert listener.counts[4:6] == [1, 1]

    live(body, size=3)


_topics = st.text("ab.", max_size=3)


@given(
    st.lists(_topics, max_size=5),
    st.lists(st.tuples(st.booleans(), _topics), max_size=8),
    _topics.filter(bool),
)
def test_subscriptions_are_prefixes_and_are_counted(first, steps, topic):
    async def body(instance: Instance) -> None:
        broker = instance.broker(0)
        listener = Listener(instance, 0)
        held = list(first)
        for prefix in first:
            broker.subscribe(prefix, listener)
        for add, prefix in steps:
            if add:
                broker.subscribe(prefix, listener)
                held.append(prefix)
            elif prefix in held:
                broker.unsubscribe(prefix, listener)
                held.remove(prefix)
            else:
                with refused(ENOENT, f"no subscription to {prefix!r}"):
                    broker.unsubscribe(prefix, listener)
        instance.client().publish(topic)
        await instance.sleep(0.1)
        # However many subscriptions match, an event is delivered once.
        assert listener.heard == ([(1, topic)] if any(topic.startswith(prefix) for prefix in held) else [])

    live(body)


def test_a_subscription_made_after_an_event_of_that_topic_is_heeded_from_then_on():
    async def body(instance: Instance) -> None:
        listener = Listener(instance, 0)
        client = instance.client()
        client.publish("news")
        await instance.sleep(0.1)
        instance.broker(0).subscribe("new", listener)
        client.publish("news")
        await instance.sleep(0.1)
        instance.broker(0).unsubscribe("new", listener)
        client.publish("news")
        await instance.sleep(0.1)
        assert listener.heard == [(2, "news")]

    live(body)


def test_one_that_went_while_its_subscription_was_under_way_is_no_subscriber():
    """A module that was killed so was asked for its handlers at the next event, and that ended the whole broker."""

    async def body(instance: Instance) -> None:
        listener, broker = Listener(instance, 0), instance.broker(0)
        listener.request("event.subscribe", {"topic": "news"})
        broker.drop_endpoint(listener)
        await instance.sleep(0.1)
        instance.client().publish("news")
        await instance.sleep(0.1)
        assert (listener.heard, list(broker.subscriptions.wanting("news"))) == ([], [])

    live(body)


def test_private_events_reach_owners_and_the_guest_they_come_from_only():
    async def body(instance: Instance) -> None:
        listeners = [Listener(instance, 0, number) for number in range(4)]
        owner, sender, same_user, other_guest = listeners
        for guest, userid in ((sender, 1001), (same_user, 1001), (other_guest, 1002)):
            guest.userid, guest.rolemask = userid, 2
        for listener in listeners:
            instance.broker(0).subscribe("", listener)
        sender.publish("secret", private=True)
        sender.publish("open")
        owner.publish("owners", private=True)
        await instance.sleep(0.1)
        topics = [[topic for _, topic in listener.heard] for listener in listeners]
        guests = ["secret", "open"]
        assert topics == [[*guests, "owners"], guests, guests, ["open"]]
        assert owner.events[0].flags & FLAG_PRIVATE
        assert owner.events[0].userid == 1001

    live(body)


def test_publishing_by_rpc_answers_with_the_sequence_number():
    async def body(instance: Instance) -> None:
        listener = Listener(instance, 1)
        instance.broker(1).subscribe("x", listener)
        client = instance.client(1)
        assert await client.call("event.publish", {"topic": "x", "flags": 0}, nodeid=0) == {"seq": 1}
        payload = {"topic": "x", "flags": 32, "payload": "eyJhIjoxfQA="}  # {"a":1} and its NUL
        assert await client.call("event.publish", payload, nodeid=0) == {"seq": 2}
        await instance.sleep(0.1)
        assert listener.heard == [(1, "x"), (2, "x")]
        assert listener.events[0].data is None
        assert listener.events[1].payload == {"a": 1}
        assert listener.events[1].flags & FLAG_PRIVATE
        assert listener.events[1].routes == (instance.broker(0).uuid,)

    live(body, size=2)


def test_publishing_by_rpc_with_nonsense_is_refused():
    async def body(instance: Instance) -> None:
        client = instance.client(1)
        for payload, text in (
            ({"topic": "", "flags": 0}, "topic is empty"),
            ({"topic": "x", "payload": "no base64!"}, "not base64"),
            ({"flags": 0}, "topic"),
            ({"topic": 5}, "topic"),
        ):
            with refused(EPROTO, text):
                await client.call("event.publish", payload, nodeid=0)
        with refused(EPROTO, "sequenced by rank 0"):
            await client.call("event.publish", {"topic": "x"}, nodeid=1)
        assert instance.broker(0).sequence == 0

    live(body, size=2)


def test_a_modules_event_handlers_take_topics_with_and_without_its_name():
    async def body(instance: Instance) -> None:
        client = instance.client()
        client.publish("kinds.news")
        client.publish("kinds.done", {"rank": 9})
        client.publish("other.news")
        await instance.sleep(0.1)
        for rank in range(2):
            assert instance.broker(rank).module("kinds").body.heard == [("kinds.news", 1), ("kinds.done", 9)]

    live(body, "kinds", size=2)


def test_a_glob_in_an_event_handlers_topic_takes_what_it_matches(tmp_path):
    path = write(
        tmp_path,
        "globs",
        """
        heard = None

        @event_handler("a.*.end", prefix=False)
        def end(self, msg):
            self.heard = [*(self.heard or []), msg.topic]
        """,
    )

    async def body(instance: Instance) -> None:
        client = instance.client()
        for topic in ("a.x.end", "a.x.begin", "a.y.z.end", "b.x.end"):
            client.publish(topic)
        await instance.sleep(0.1)
        assert instance.broker(0).module("globs").body.heard == ["a.x.end", "a.y.z.end"]

    live(body, path)


def test_topics_used_once_are_forgotten_so_that_a_flood_of_them_costs_no_memory(monkeypatch):
    monkeypatch.setattr(subscriptions, "_KNOWN_MAX", 4)

    async def body(instance: Instance) -> None:
        broker = instance.broker(0)
        listener = Listener(instance, 0)
        broker.subscribe("once", listener)
        sizes = []
        for number in range(20):
            instance.broker(0).endpoint.publish(f"once.{number}")
            await instance.sleep(0)
            sizes.append(len(broker.subscriptions.known))
        assert max(sizes) == 4
        assert [topic for _, topic in listener.heard] == [f"once.{number}" for number in range(20)]

    live(body)
