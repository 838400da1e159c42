"""Knows a small world on one rank whose parties do what a script says; either engine runs it. Knows no module."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from hypothesis import strategies as st

from tests.native.twins import Copy

PARTIES = 3
#: What a callback may do, with a number to choose by: an act a callback, so that a script ends.
ACTS = (
    "ask", "ask", "ask", "tell", "stream", "ask far", "ask for another", "answer", "answer", "answer with error",
    "publish", "publish privately", "refuse", "crash", "exit", "hook", "unhook", "trace", "untrace", "timer", "pack",
    "forget", "forget ways", "nothing", "ask wrongly",
)  # fmt: skip
SCRIPTS = st.lists(st.tuples(st.sampled_from(ACTS), st.integers(0, 11)), min_size=1, max_size=40)
KINDS = ("prepare", "check", "idle")


class World:
    """Three parties that serve each other on rank 0 of a bare instance, and all that happens to them as ``told``."""

    def __init__(self, copy: Copy, script: list[tuple[str, int]], *, charged: bool) -> None:
        self.copy = copy
        self.script = iter(script)
        self.told: list[Any] = []
        self.reactor = copy.loop.Reactor()
        self.reactor.jumps = True
        self.identities = self
        self.size, self.fanout, self.owner = 1, 2, 1000
        self.common_attributes = {"log-ring-size": "10"}
        self.rank = copy.rank.Rank(self, 0)
        party = party_class(copy)
        self.rank.endpoint = party(self, "broker")
        self.parties = [party(self, f"m{number}") for number in range(PARTIES)]
        for one in self.parties:
            self.rank.add_service(one.name, one)
            self.rank.subscribe("e.", one)
        self.parties[2].userid, self.parties[2].rolemask = 7, copy.message.ROLE_USER
        if charged:
            self.charge()

    def charge(self) -> None:
        """Virtual time is charged for two parties; the third is outside of that, as a client is."""
        cost = self.copy.cost
        node = cost.Node(self.reactor, cost.CostModel(cores=1, topics={"m1.a": 3e-3}))
        self.reactor.charged = True
        for one in self.parties[:2]:
            one.station = cost.Station(node, one)

    # -- what a rank asks of its instance

    def uuid(self, rank: int, name: str) -> str:
        return f"{name}-{rank}"

    def own_attributes(self, rank: int) -> dict[str, str]:
        return {}

    def wall_time(self) -> float:
        return 0.0

    # -- a run

    def run(self) -> dict[str, Any]:
        """Start every party, go on until nothing is left to do, and say what is there then."""
        for one in self.parties:
            self.reactor.call_later(0, one.act, actor=one)
            self.reactor.call_later(1e-4, one.act, actor=one)
        for _ in range(2000):
            while self.reactor.fifo:
                self.reactor.drain(5)
            due = self.reactor.next_due()
            if due is None:
                break
            self.reactor.now = max(self.reactor.now, due)
            self.reactor.fire_due()
        return {
            "told": self.told,
            "now": self.reactor.now,
            "parties": [self.state(one) for one in self.parties],
        }

    def close(self) -> None:
        """Let go of the messages: the collector does not see them, so they must not be part of a circle."""
        self.reactor.fifo.clear()
        for one in self.parties:
            one.kept.clear()
            one.pending.clear()
            for hook in one.hooks:
                hook.stop()
            one.own_loop = one.loop = None

    def state(self, one: Any) -> dict[str, Any]:
        loop = one.own_loop
        return {
            "counts": one.counts,
            "iterations": one.iterations,
            "stray": one.stray,
            "pending": [(tag, request.topic) for tag, (_, _, request) in one.pending.items()],
            "routes": list(one.routes),
            "called": list(one.called or ()),
            "idle calls": None if loop is None else loop.idle_calls,
            "has loop": one.loop is not None,
            "timers": len(one.timers or ()),
        }

    def tell(self, what: str, one: Any, message: Any = None) -> None:
        told: tuple[Any, ...] = (self.reactor.now, what, one.name)
        if message is not None:
            told += (
                message.type, message.topic, message.data, message.flags, message.matchtag, message.userid,
                message.rolemask, message.routes, message.seq, message.nodeid, message.errnum,
                message.src is not None and message.src.name,
            )  # fmt: skip
        self.told.append(told)


def party_class(copy: Copy) -> Any:
    """A party on either engine: an endpoint of that copy of brokersim."""
    names = copy.message

    class Party(copy.endpoint.Endpoint):
        continues = True

        def __init__(self, world: World, name: str) -> None:
            super().__init__(world.rank, name, f"uuid-{name}")
            self.world = world
            self.kept: list[Any] = []
            self.hooks: list[Any] = []
            world.rank.add_endpoint(self)

        # what it serves

        def method(self, topic: str) -> Any:
            return None if topic.endswith(".none") else (self.handle, topic.endswith(".a"))

        def event_handler(self, topic: str) -> Any:
            return self.handle

        def handle(self, message: Any) -> None:
            self.world.tell("handle", self, message)
            if message.type == names.REQUEST:
                self.kept.append(message)
            self.act()

        def answered(self, response: Any, arg: Any) -> None:
            self.world.tell(f"answered {arg}", self, response)
            self.act()

        def refuse(self, request: Any, error: Exception) -> None:
            self.world.tell(f"refuses by {error}", self, request)
            super().refuse(request, error)

        def failed(self, error: BaseException, message: Any) -> None:
            self.world.tell(f"failed by {error!r}", self, message)

        def hooked(self, kind: str) -> None:
            self.world.tell(kind, self)
            self.act()

        # what it does

        def act(self) -> None:
            what, number = next(self.world.script, ("nothing", 0))
            for _ in self.doing(what, number):
                pass

        def doing(self, what: str, number: int) -> Iterator[None]:
            topic = f"m{number % PARTIES}.{'abn'[number % 4 % 3]}{'one' if number % 4 == 2 else ''}"
            payload = {"n": number} if number % 2 else None
            request = self.kept.pop(number % len(self.kept)) if self.kept and "answer" in what else None
            if what == "ask":
                self.request(topic, payload, self.answered, number)
            elif what == "tell":
                self.request(topic, payload=payload)
            elif what == "stream":
                self.request(topic, payload, self.answered, number, flags=names.FLAG_STREAMING)
            elif what == "ask far":
                self.request(topic, payload, self.answered, number, nodeid=number % 3)
            elif what == "ask for another":
                guest = names.Message(names.REQUEST, userid=7, rolemask=names.ROLE_USER)
                self.request(topic, payload, self.answered, number, cred=guest)
            elif what == "ask wrongly":
                self.request(b"bytes" if number % 2 else [], payload, self.answered)
            elif what == "answer" and request is not None:
                self.respond(request, payload)
                if request.flags & names.FLAG_STREAMING and number % 3:
                    self.kept.append(request)
            elif what == "answer with error" and request is not None:
                self.respond_error(request, number, "no")
            elif what.startswith("publish"):
                self.publish(f"e.{number % 2}", payload, private="privately" in what)
            elif what == "refuse":
                raise copy.errnums.RequestError(number + 1, "refused")
            elif what == "crash":
                raise ValueError(number)
            elif what == "exit":
                raise SystemExit(number)
            elif what == "hook":
                kind = KINDS[number % 3]
                loop = self.module_loop()
                self.hooks.append(copy.watchers.Watcher(loop, kind, lambda: self.hooked(kind)))
                self.hooks[-1].start(oldest=number > 5)
            elif what == "unhook" and self.hooks:
                self.hooks.pop(number % len(self.hooks)).stop()
            elif what == "trace":
                self.set_tracer(
                    lambda way, who, message: self.world.tell(f"traced {way} {who.name}", self, message)
                )
            elif what == "untrace":
                self.set_tracer(None)
            elif what == "timer":
                self.reactor.call_later(number * 1e-4, self.hooked, "timer", actor=self)
            elif what == "pack":
                self.reactor.extra += 1
            elif what == "forget" and self.pending:
                self.forget(next(iter(self.pending.values()))[2])
            elif what == "forget ways":
                self.drop_routes()
            yield

    return Party
