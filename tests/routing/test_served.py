"""Who goes leaves nobody waiting, and looks at nobody it has nothing to do with."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from brokersim.instance import Instance
from brokersim.protocol.errnums import EHOSTUNREACH, ENODATA, ENOENT
from brokersim.protocol.message import NODEID_ANY, Message
from brokersim.reactor.actor import Actor
from brokersim.routing.endpoint import Endpoint
from tests.effort import examples
from tests.host.live import live

SERVERS = 3
RANKS = 3


class Keeper(Endpoint):
    """Keeps every request it is handed."""

    def __init__(self, instance: Instance, rank: int, service: str) -> None:
        broker = instance.broker(rank)
        super().__init__(broker, service, f"{service}-{rank}")
        self.kept: list[Message] = []
        broker.add_endpoint(self)
        broker.add_service(service, self)

    def method(self, topic: str) -> Any:
        """A disconnect asks for no answer, so it is not kept."""
        return None if topic.endswith(".disconnect") else (self.kept.append, True)


#: What is done in turn: a client asks a server (again and again the same way), a server answers its oldest, or goes.
steps = st.lists(
    st.one_of(
        st.tuples(
            st.just("ask"),
            st.integers(0, 3),
            st.integers(0, SERVERS - 1),
            st.sampled_from([NODEID_ANY, 0, 2]),
        ),
        st.tuples(st.just("answer"), st.integers(0, SERVERS - 1)),
        st.tuples(st.just("leave"), st.integers(0, 3)),
        st.tuples(st.just("go"), st.integers(0, SERVERS - 1)),
    ),
    max_size=30,
)


@settings(max_examples=examples(40))
@example(steps=[("ask", 0, 0, NODEID_ANY), ("leave", 0), ("answer", 0)])
@given(steps=steps)
def test_of_one_that_goes_each_open_request_is_answered_once_and_no_other(steps):
    """The model: a set of (client, number) open at each server; going moves its set to the errors."""

    async def body(instance: Instance) -> None:
        # Server k stands on rank k; a client reaches it from any rank by naming its rank.
        servers: list[Keeper | None] = [Keeper(instance, rank, f"s{rank}") for rank in range(SERVERS)]
        clients = {number: instance.client(number % RANKS) for number in range(4)}
        errors: list[tuple[int, int]] = []
        answers: list[tuple[int, int]] = []
        open_at: list[list[tuple[int, int]]] = [[] for _ in range(SERVERS)]
        expected: list[tuple[int, int]] = []
        for number, (what, who, *more) in enumerate(steps):
            if what == "ask" and who in clients and servers[more[0]] is not None:
                nodeid = more[0] if more[1] != NODEID_ANY or who % RANKS != more[0] else NODEID_ANY

                def then(response: Message, key: tuple[int, int]) -> None:
                    (errors if response.errnum == EHOSTUNREACH else answers).append(key)

                clients[who].request(f"s{more[0]}.x", None, then, (who, number), nodeid)
                open_at[more[0]].append((who, number))
            elif what == "answer" and servers[who] is not None and servers[who].kept:
                kept = servers[who].kept.pop(0)
                servers[who].respond(kept)
                open_at[who].pop(0)
            elif what == "leave" and who in clients:
                clients.pop(who).close()
                for at in open_at:
                    at[:] = [key for key in at if key[0] != who]
                for server in servers:
                    if server is not None:
                        server.kept[:] = [one for one in server.kept if one.src.is_open]
            elif what == "go" and servers[who] is not None:
                server, servers[who] = servers[who], None
                server.broker.drop_endpoint(server)
                expected += open_at[who]
                open_at[who] = []
            await instance.sleep(0.01)
        assert sorted(errors) == sorted(expected)
        assert len(set(answers)) == len(answers)

    live(body, size=RANKS)


def test_what_is_noted_of_a_pair_goes_with_either_of_them():
    async def body(instance: Instance) -> None:
        one, other = Keeper(instance, 0, "one"), Keeper(instance, 1, "other")
        client = instance.client(1)
        client.request("one.x", None, lambda *_: None)
        client.request("other.x", None, lambda *_: None)
        await instance.sleep(0.01)
        assert (set(client.asked or ()), set(one.askers or ())) == ({one, other}, {client})
        other.broker.drop_endpoint(other)
        assert set(client.asked or ()) == {one}
        client.close()
        assert not one.askers

    live(body, size=2)


@pytest.mark.parametrize("ranks", [1, 8, 64])
def test_unloading_a_module_looks_at_the_requests_of_its_own_askers_whatever_the_size(ranks, monkeypatch):
    """Counts entries, not time: before, each that went was compared with every open request of every rank."""
    looked: list[str] = []
    real = Actor.open_requests

    def counted(self: Any) -> list[Message]:
        looked.append(self.name)
        return real(self)

    async def body(instance: Instance) -> None:
        for rank in range(ranks):
            Keeper(instance, rank, "keeper")
            waiting = instance.client(rank, "waiting")
            waiting.request("keeper.x", None, lambda *_: None)
        asker = instance.client(0, "asker")
        errors: list[int] = []
        asker.request("kinds.hold", None, lambda response, _: errors.append(response.errnum))
        await instance.sleep(0.01)
        monkeypatch.setattr(Actor, "open_requests", counted)
        await instance.remove("kinds", 0)
        monkeypatch.undo()
        assert errors == [EHOSTUNREACH]
        assert looked == ["asker"]

    live(body, "kinds", size=ranks)


@pytest.mark.parametrize("errnum", [ENODATA, ENOENT])
@pytest.mark.parametrize("rank", [0, 1])
def test_a_stream_that_was_ended_is_not_ended_again_by_the_end_of_who_served_it(
    errnum: int, rank: int
) -> None:
    async def body(instance: Instance) -> None:
        server, client, told = Keeper(instance, 0, "kept"), instance.client(rank=rank), []
        client.stream("kept.ask", {}, lambda response, _: told.append(response.errnum))
        await instance.sleep(1)

        def end() -> None:  # its end is on its way still when it goes
            server.respond_error(server.kept[0], errnum)
            instance.broker(0).drop_endpoint(server)

        instance.reactor.call_later(0, end)
        await instance.sleep(1)
        assert [*told, client.stray] == [errnum, 0]

    live(body, size=2)


def test_a_request_that_went_on_from_one_that_stops_serving_is_answered_once() -> None:
    async def body(instance: Instance) -> None:
        above, here = Keeper(instance, 0, "kept"), Keeper(instance, 1, "kept")
        client, told = instance.client(rank=1), []

        def ask() -> None:
            client.request("kept.ask", {}, lambda response, _: told.append(response.errnum))
            instance.broker(1).stop_serving(here)
            instance.broker(1).drop_endpoint(here)  # the request is on its way up

        instance.reactor.call_later(0, ask)
        await instance.sleep(1)
        assert told == [] and len(above.kept) == 1
        above.respond(above.kept[0])
        await instance.sleep(1)
        assert (told, client.stray) == ([0], 0)

    live(body, size=2)
