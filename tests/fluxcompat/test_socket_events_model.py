"""Any sequence of subscriptions, events and services of several clients over the socket, against plain dictionaries."""

from __future__ import annotations

from collections import Counter
from itertools import count
from typing import Any, ClassVar

from hypothesis import Phase, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, precondition, rule, run_state_machine_as_test

from tests.effort import examples
from tests.fluxcompat.minimal_client import PRIVATE, REQUEST, RESPONSE, MinimalClient, build

ENOENT, EEXIST, EINVAL, ENOSYS = 2, 17, 22, 38
_serial = count(1)

which = st.integers(0, 3)
topic = st.sampled_from(["a", "a.b", "a.bc", "b"])
prefix = st.sampled_from(["", "a", "a.", "a.b", "b", "c"])
service = st.sampled_from(["s", "t"])


class Client:
    """A connection to a rank, and what it must have been sent."""

    def __init__(self, uri: str, rank: int, sync: str) -> None:
        self.rank = rank
        self.link = MinimalClient(uri.replace("local-0", f"local-{rank}"))
        self.link.socket.settimeout(60)
        self.prefixes: Counter[str] = Counter()
        self.expected: list[tuple[str, Any]] = []
        self.sequences: list[int] = []
        self.link.subscribe(sync)


class Machine(RuleBasedStateMachine):
    """Two clients on each of two ranks. All topics begin with a word of this run, so that others' don't matter."""

    uri: ClassVar[str]

    def __init__(self) -> None:
        super().__init__()
        self.word = f"run{next(_serial)}"
        self.sync = f"sync{self.word}"
        self.clients = [Client(self.uri, rank, self.sync) for rank in (0, 0, 1, 1)]
        self.served: dict[tuple[int, str], Client] = {}
        self.syncs = 0

    def teardown(self) -> None:
        for client in self.clients:
            client.link.close()

    # -- events

    @rule(who=which, wanted=prefix)
    def subscribe(self, who: int, wanted: str) -> None:
        client = self.clients[who]
        client.link.subscribe(f"{self.word}{wanted}")
        client.prefixes[wanted] += 1

    @rule(who=which, wanted=prefix)
    def unsubscribe(self, who: int, wanted: str) -> None:
        client = self.clients[who]
        errnum = client.link.errnum("event.unsubscribe", {"topic": f"{self.word}{wanted}"})
        assert errnum == (0 if client.prefixes[wanted] else ENOENT)
        if not errnum:
            client.prefixes[wanted] -= 1

    @rule(
        who=which,
        name=topic,
        payload=st.sampled_from([None, {"a": 1}]),
        by_rpc=st.booleans(),
        private=st.booleans(),
    )
    def publish(self, who: int, name: str, payload: Any, by_rpc: bool, private: bool) -> None:
        link = self.clients[who].link
        data = None if payload is None else b'{"a":1}\0'
        flags = PRIVATE if private else 0
        if by_rpc:
            request: dict[str, Any] = {"topic": f"{self.word}{name}", "flags": flags}
            if data is not None:
                request["payload"] = "eyJhIjoxfQA="
            assert link.rpc("event.publish", request, 0)["seq"] > 0
        else:
            link.publish(f"{self.word}{name}", data, flags)
        for client in self.clients:
            if any(times and name.startswith(wanted) for wanted, times in client.prefixes.items()):
                client.expected.append((name, payload))
        self._compare(link)

    def _compare(self, link: MinimalClient) -> None:
        """Each client has got exactly what it subscribed to, in one order: an event that all have marks the end."""
        self.syncs += 1
        link.publish(self.sync)
        for client in self.clients:
            told = []
            while True:
                frame = client.link.event()
                client.sequences.append(frame.aux1)
                if frame.topic == self.sync:
                    break
                told.append(
                    (frame.topic.removeprefix(self.word), None if frame.payload is None else frame.json)
                )
            assert told == client.expected
            client.expected = []
            assert client.sequences == sorted(set(client.sequences))

    # -- services

    @rule(who=which, name=service)
    def add(self, who: int, name: str) -> None:
        client = self.clients[who]
        errnum = client.link.errnum("service.add", {"service": f"{self.word}-{name}"})
        place = (client.rank, name)
        assert errnum == (EEXIST if place in self.served else 0)
        self.served.setdefault(place, client)

    @rule(who=which, name=service)
    def remove(self, who: int, name: str) -> None:
        client = self.clients[who]
        errnum = client.link.errnum("service.remove", {"service": f"{self.word}-{name}"})
        place = (client.rank, name)
        assert errnum == (0 if self.served.get(place) is client else ENOENT)
        if not errnum:
            del self.served[place]

    @rule(
        who=which,
        name=service,
        nodeid=st.sampled_from([0xFFFFFFFF, 0, 1]),
        errnum=st.sampled_from([0, EINVAL]),
    )
    def ask(self, who: int, name: str, nodeid: int, errnum: int) -> None:
        client = self.clients[who]
        called = f"{self.word}-{name}.do"
        tag = client.link.send(called, {"n": 1}, nodeid)
        server = self._server(client.rank, name, nodeid)
        if server is None:
            answer = client.link.answer(tag)
            assert (answer.errnum, answer.text) == (ENOSYS, f"No service matching {called} is registered")
            return
        request = server.link.wait(
            # not the disconnect of somebody who has left
            lambda frame: frame.type == REQUEST and frame.topic == called
        )
        assert (request.topic, request.json) == (called, {"n": 1})
        text = b"no\0" if errnum else b'{"n":2}\0'
        routes = request.routes or ()
        server.link.socket.sendall(
            build(RESPONSE, called, text, aux1=errnum, aux2=request.matchtag, routes=routes)
        )
        answer = client.link.answer(tag)
        assert answer.errnum == errnum
        assert answer.text == "no" if errnum else answer.json == {"n": 2}

    def _server(self, rank: int, name: str, nodeid: int) -> Client | None:
        """The nearest up the tree, or exactly the rank that is named."""
        ranks = (nodeid,) if nodeid != 0xFFFFFFFF else (rank, 0)
        return next((self.served[at, name] for at in ranks if (at, name) in self.served), None)

    @precondition(lambda self: self.syncs or self.served)
    @rule(who=which)
    def leave(self, who: int) -> None:
        """Its subscriptions and services go with it; a new one takes its place."""
        gone = self.clients[who]
        gone.link.close()
        self.served = {place: client for place, client in self.served.items() if client is not gone}
        self.clients[who] = Client(self.uri, gone.rank, self.sync)
        # The end of a connection is noticed when it is read: until then its names are taken.
        free = {f"{self.word}-{name}" for name in ("s", "t") if (gone.rank, name) not in self.served}
        while free.intersection(self._taken(gone.rank)):
            pass

    def _taken(self, rank: int) -> list[str]:
        """Names that cannot be added on a rank, found by trying."""
        link = next(client.link for client in self.clients if client.rank == rank)
        taken = []
        for name in ("s", "t"):
            full = f"{self.word}-{name}"
            if link.errnum("service.add", {"service": full}):
                taken.append(full)
            else:
                link.rpc("service.remove", {"service": full})
        return taken


def test_any_sequence_of_events_and_services_reaches_whom_it_should(uri: str) -> None:
    machine = type("Machine", (Machine,), {"uri": uri})
    found = (
        Phase.explicit,
        Phase.reuse,
        Phase.generate,
    )  # not shrunk: what is lost would be waited for each time
    run_state_machine_as_test(
        machine,
        settings=settings(max_examples=examples(15), stateful_step_count=30, deadline=None, phases=found),
    )
