"""Where a request goes: the nearest ancestor that has the service, a rank, upstream, or back with an errnum."""

from __future__ import annotations

from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

import brokersim
from brokersim.instance import Instance
from brokersim.protocol.errnums import EHOSTUNREACH, ENOSYS, EPERM, RequestError
from brokersim.protocol.message import NODEID_ANY, NODEID_UPSTREAM, REQUEST, ROLE_OWNER, ROLE_USER, Message
from brokersim.routing.endpoint import Endpoint
from tests.effort import examples
from tests.host.live import live, refused

HOP = 50e-6


class Server(Endpoint):
    """Answers every method of its services with its rank."""

    def method(self, topic: str) -> Any:
        return self.answer, True

    def answer(self, request: Message) -> None:
        self.respond(request, {"rank": self.broker.rank})


def serve(instance: Instance, rank: int, *services: str) -> None:
    broker = instance.broker(rank)
    server = Server(broker, "server", f"server-{rank}-{'-'.join(services)}")
    broker.add_endpoint(server)
    for service in services:
        broker.add_service(service, server)


async def asked(instance: Instance, rank: int, topic: str, nodeid: int = NODEID_ANY) -> int | tuple[int, str]:
    """The rank that answered, or the errnum and text."""
    client = instance.client(rank)
    try:
        answer = await client.call(topic, nodeid=nodeid)
    except RequestError as error:
        return error.errno or 0, error.text
    finally:
        client.close()
    return int(answer["rank"])


@st.composite
def trees(draw: st.DrawFn) -> dict[str, Any]:
    size = draw(st.integers(1, 12))
    return {
        "size": size,
        "fanout": draw(st.integers(1, 4)),
        "serving": draw(st.sets(st.integers(0, size - 1))),
        "asks": draw(
            st.lists(
                st.tuples(
                    st.integers(0, size - 1),
                    st.one_of(
                        st.just("any"), st.just("upstream"), st.integers(0, size - 1), st.integers(size, 100)
                    ),
                ),
                min_size=1,
                max_size=8,
            )
        ),
    }


def model(size: int, fanout: int, serving: set[int], rank: int, to: int | str) -> int | str:
    """The rank that answers, or the errnum's name, from the definition and not from hops."""
    if isinstance(to, int):
        if to >= size:
            return "EHOSTUNREACH"
        return to if to in serving else "ENOSYS"
    chain = [rank]
    while chain[-1]:
        chain.append((chain[-1] - 1) // fanout)
    if to == "upstream" and len(chain) == 1:
        return "EHOSTUNREACH"
    return next((one for one in chain[to == "upstream" :] if one in serving), "ENOSYS")


@given(trees())
@settings(max_examples=examples(40))
def test_the_nearest_ancestor_that_has_the_service_answers(tree):
    async def main() -> None:
        async with brokersim.open_instance(size=tree["size"], fanout=tree["fanout"], modules=[]) as instance:
            for rank in tree["serving"]:
                serve(instance, rank, "svc")
            for rank, to in tree["asks"]:
                nodeid = {"any": NODEID_ANY, "upstream": NODEID_UPSTREAM}.get(to, to)
                got = await asked(instance, rank, "svc.ask", nodeid)
                expected = model(tree["size"], tree["fanout"], tree["serving"], rank, to)
                if expected == "ENOSYS":
                    assert got == (ENOSYS, "No service matching svc.ask is registered"), (rank, to)
                elif expected == "EHOSTUNREACH":
                    assert isinstance(got, tuple) and got[0] == EHOSTUNREACH
                    assert ("above rank 0" if to == "upstream" else f"rank {to}") in got[1]
                else:
                    assert got == expected, (rank, to)

    brokersim.run(main)


def test_a_service_that_comes_and_goes_is_followed_by_requests_already_sent_before():
    async def body(instance: Instance) -> None:
        serve(instance, 0, "svc")
        client = instance.client(1)
        assert (await client.call("svc.ask"))["rank"] == 0
        serve(instance, 1, "svc")
        assert (await client.call("svc.ask"))["rank"] == 1
        server = instance.broker(1).services["svc"]
        instance.broker(1).drop_service("svc", server)
        assert (await client.call("svc.ask"))["rank"] == 0

    live(body, size=2)


def test_a_way_that_was_found_is_forgotten_with_its_service_also_if_the_topic_is_the_service():
    async def body(instance: Instance) -> None:
        serve(instance, 0, "svc")
        client = instance.client(1)
        for rank in (1, 0):
            if rank:
                serve(instance, 1, "svc")
            else:
                instance.broker(1).drop_service("svc", instance.broker(1).services["svc"])
            for topic in ("svc", "svc.ask"):
                assert (await client.call(topic))["rank"] == rank, topic
        assert set(client.routes) <= {"svc", "svc.ask"}

    live(body, size=2)


class Closed(Server):
    """Answers nobody but the owner, and that only when it is told to."""

    def method(self, topic: str) -> Any:
        return self.keep, False

    def keep(self, request: Message) -> None:
        """It owes an answer."""


def test_the_way_that_one_client_found_is_the_next_ones_until_the_service_goes():
    async def body(instance: Instance) -> None:
        broker = instance.broker(1)
        serve(instance, 0, "svc")
        serve(instance, 1, "svc")
        assert [await asked(instance, 1, "svc.ask") for _ in range(3)] == [1, 1, 1]
        assert await asked(instance, 1, "svc.ask", nodeid=0) == 0
        assert "svc.ask" in (broker._ways or ())
        broker.drop_service("svc", broker.services["svc"])
        assert await asked(instance, 1, "svc.ask") == 0
        serve(instance, 1, "svc")
        assert await asked(instance, 1, "svc.ask") == 1
        broker.drop_endpoint(broker.services["svc"])
        assert await asked(instance, 1, "svc.ask") == 0

    live(body, size=2)


def test_who_came_by_a_known_way_is_owed_an_answer_and_told_of_as_who_found_it():
    async def body(instance: Instance) -> None:
        broker = instance.broker(0)
        server = Closed(broker, "server", "server-closed")
        broker.add_endpoint(server)
        broker.add_service("svc", server)
        answers: list[int] = []
        clients = [instance.client(0) for _ in range(2)]
        for client in clients:
            client.request("svc.ask", None, lambda answer, _: answers.append(answer.errnum))
            await client.sleep(0.001)
        guest = instance.client(0)
        guest.rolemask, guest.userid = ROLE_USER, 1001
        with refused(EPERM):
            await guest.call("svc.ask")
        assert [list(client.called or ()) for client in clients] == [[("svc", NODEID_ANY, 0)]] * 2
        broker.drop_endpoint(server)
        await clients[0].sleep(0.001)
        assert answers == [EHOSTUNREACH] * 2

    live(body)


class Deaf(Server):
    """Doesn't care who goes."""

    def method(self, topic: str) -> Any:
        return None if topic.endswith(".disconnect") else super().method(topic)


def test_each_client_that_goes_is_told_of_also_by_a_way_that_is_known_and_where_nobody_handles_it():
    async def body(instance: Instance) -> None:
        broker = instance.broker(0)
        server = Deaf(broker, "server", "server-deaf")
        broker.add_endpoint(server)
        broker.add_service("svc", server)
        for number in range(1, 4):
            assert await asked(instance, 0, "svc.ask") == 0
            await instance.sleep(0.001)
            assert server.counts[1] == 2 * number, "a request and a disconnect each"
        assert "svc.disconnect" in (broker._ways or ())

    live(body)


def test_ways_of_topics_that_nobody_asks_twice_are_not_kept_for_ever():
    async def body(instance: Instance) -> None:
        serve(instance, 0, "svc")
        for number in range(300):
            assert await asked(instance, 0, f"svc.{number}") == 0
        assert 0 < len(instance.broker(0)._ways or ()) <= 256

    live(body)


def test_a_line_of_a_ranks_own_stands_in_its_log_and_in_those_above_it_once():
    async def body(instance: Instance) -> None:
        for rank in (0, 1):
            instance.broker(rank).write_log(3, "me", f"line of {rank}")
        await instance.sleep(0.1)
        texts = [[line.rpartition(" - ")[2] for line in instance.broker(rank).log.lines()] for rank in (0, 1)]
        assert [[text for text in one if "line of" in text] for one in texts] == [
            ["line of 0", "line of 1"],
            ["line of 1"],
        ]

    live(body, size=2)


def test_a_request_costs_one_latency_a_hop_each_way():
    async def body(instance: Instance) -> None:
        serve(instance, 0, "svc")
        for rank, hops in ((0, 0), (1, 1), (3, 2), (7, 3)):
            client = instance.client(rank)
            before = client.now()
            await client.call("svc.ask")
            assert round((client.now() - before) / HOP, 9) == 2 * hops

    live(body, size=8, latency=HOP)


def test_between_two_leaves_a_request_goes_over_their_common_ancestor():
    async def body(instance: Instance) -> None:
        client = instance.client(3)
        before = client.now()
        pong = await client.call("broker.ping", {}, nodeid=6)
        assert pong["rank"] == 6
        assert round((client.now() - before) / HOP, 9) == 2 * 4  # 3-1-0-2-6

    live(body, size=7, latency=HOP)


def test_ping_shows_the_whole_route_originator_first():
    async def body(instance: Instance) -> None:
        client = instance.client(3)
        pong = await client.call("kinds.ping", {"seq": 5, "pad": "xx", "nested": {"a": [1]}}, nodeid=0)
        brokers = [instance.broker(rank).uuid[:8] for rank in (3, 1, 0)]
        module = instance.broker(0).module("kinds").uuid[:8]
        assert pong.pop("route") == "!".join([client.uuid[:8], *brokers, module])
        assert pong == {
            "seq": 5, "pad": "xx", "nested": {"a": [1]}, "userid": instance.owner, "rolemask": 5, "rank": 0
        }  # fmt: skip

    live(body, "kinds", size=4)


def test_a_topic_without_a_dot_is_its_own_service():
    async def body(instance: Instance) -> None:
        serve(instance, 0, "svc")
        assert await asked(instance, 0, "svc") == 0
        assert await asked(instance, 0, "nosuch") == (ENOSYS, "No service matching nosuch is registered")

    live(body)


def test_an_unknown_method_of_a_known_service_says_so_with_the_whole_topic():
    async def body(instance: Instance) -> None:
        client = instance.client()
        for topic in ("kinds.nosuch", "kinds.a.b", "kinds", "broker.nosuch", "attr.nosuch"):
            with refused(ENOSYS, f"Unknown service method '{topic}'"):
                await client.call(topic)

    live(body, "kinds")


def test_upstream_of_the_root_is_nowhere():
    async def body(instance: Instance) -> None:
        assert await asked(instance, 0, "kinds.sync", NODEID_UPSTREAM) == (
            EHOSTUNREACH, "No route to host: nothing is above rank 0"
        )  # fmt: skip

    live(body, "kinds")


def test_answers_of_a_stream_arrive_in_order_over_several_hops():
    async def body(instance: Instance) -> None:
        client = instance.client(7)
        got: list[Any] = []
        client.stream(
            "kinds.count",
            {"to": 50},
            lambda response, _: got.append((response.errnum, response.data)),
            nodeid=0,
        )
        await instance.sleep(1.0)
        assert got == [(0, {"number": number}) for number in range(50)] + [(61, None)]
        assert client.pending == {}

    live(body, "kinds", size=8)


def test_who_speaks_for_a_guest_is_denied_what_it_may_itself_and_keeps_its_own_way():
    """The way remembered from its own request led past the check of roles."""

    async def body(instance: Instance) -> None:
        client = instance.client()
        guest = Message(REQUEST, userid=4242, rolemask=ROLE_USER)
        payload = {"op": "setbit", "flags": 1}
        for _ in range(2):
            assert await client.call("kinds.debug", payload) == {
                "flags": 1
            }  # the second by the way remembered
        denied = await client.occurrence(
            lambda done: client.request("kinds.debug", payload, lambda answer, _: done(answer), cred=guest)
        )
        assert (denied.errnum, client.routes.keys()) == (EPERM, {"kinds.debug"})
        assert await client.call("kinds.debug", payload) == {"flags": 1}
        echo = await client.occurrence(
            lambda done: client.request("kinds.ping", {}, lambda answer, _: done(answer), cred=guest)
        )
        assert (echo.payload["userid"], echo.payload["rolemask"]) == (4242, ROLE_USER)
        assert (await client.call("kinds.ping", {}))["userid"] == client.userid

    live(body, "kinds")


def test_who_speaks_for_an_owner_takes_the_way_it_knows(monkeypatch):
    looked_for = []

    async def body(instance: Instance) -> None:
        client = instance.client()
        owner = Message(REQUEST, userid=4242, rolemask=ROLE_OWNER)
        await client.call("kinds.ping", {})
        monkeypatch.setattr(Endpoint, "dispatch_request", lambda _, message: looked_for.append(message.topic))
        echo = await client.occurrence(
            lambda done: client.request("kinds.ping", {}, lambda answer, _: done(answer), cred=owner)
        )
        assert (echo.payload["userid"], echo.payload["rolemask"]) == (4242, ROLE_OWNER)
        assert looked_for == []

    live(body, "kinds")
