"""Both engines bring messages over links to the same ranks at the same times, whatever becomes of the links."""

from __future__ import annotations

import sys

import pytest
from hypothesis import given
from hypothesis import strategies as st

from brokersim.native.engine import engine
from brokersim.reactor.loop import Reactor
from brokersim.routing.rank import pass_down
from tests.native.twins import python, usual

pytestmark = pytest.mark.skipif(engine() != "compiled", reason=engine())

ACTS = (
    "publish",
    "publish",
    "down",
    "up",
    "tap",
    "untap",
    "crash",
    "later",
    "spin",
    "nothing",
    "nothing",
    "nothing",
)
SCRIPTS = st.lists(st.tuples(st.sampled_from(ACTS), st.integers(0, 20)), min_size=1, max_size=30)
SIZE = 7
EVENTS_MAX = 40


class Tree:
    """Ranks of a tree with a party each that does what a script says when it hears an event: ``told``."""

    def __init__(self, copy, script, *, latency=50_000, jumps=True, port=False):
        self.copy, self.script, self.told, self.events = copy, iter(script), [], 0
        self.reactor = copy.loop.Reactor()
        self.reactor.jumps = jumps
        self.identities = self
        self.size, self.fanout, self.owner, self.common_attributes = SIZE, 2, 1000, {"log-ring-size": "9"}
        self.ranks = [copy.rank.Rank(self, rank) for rank in range(SIZE)]
        party = party_class(copy)
        for rank in self.ranks:
            rank.endpoint = party(self, rank)
            rank.connect(self.ranks, latency)
            rank.subscribe("e", rank.endpoint)
        self.links = [link for rank in self.ranks for link in rank.links]
        if port:
            self.links[0].port = sys.modules[type(self.links[0]).__module__].Port(7_000, 0.0)

    def uuid(self, rank, name):
        return f"{name}-{rank}"

    def run(self):
        first = self.ranks[3].endpoint
        self.reactor.call_later(0, first.act, actor=first)
        self.ranks[0].endpoint.publish("e.first", {"a": 1})
        for _ in range(3000):
            while self.reactor.fifo:
                self.reactor.drain(5)
            due = self.reactor.next_due()
            if due is None:
                break
            self.reactor.now = max(self.reactor.now, due)
            self.reactor.fire_due()
        counts = [list(rank.endpoint.counts) for rank in self.ranks]
        sent = [link.sent for link in self.links]
        return self.told, counts, sent, self.reactor.now, self.reactor.batches, self.reactor.current is None


def party_class(copy):
    class Party(copy.endpoint.Endpoint):
        def __init__(self, tree, rank):
            super().__init__(rank, "broker", f"uuid-{rank.rank}")
            self.tree = tree

        def event_handler(self, topic):
            return self.heard

        def heard(self, message):
            way = [one.topic for one in self.reactor.under_way()]
            self.tree.told.append((self.reactor.now, self.broker.rank, message.topic, message.seq, way))
            self.act()

        def act(self):
            what, number = next(self.tree.script, ("nothing", 0))
            link = self.tree.links[number % len(self.tree.links)]
            if what == "publish" and self.tree.events < EVENTS_MAX:
                self.tree.events += 1
                self.publish(f"e.{number}")
            elif what == "down":
                link.go_down()
            elif what == "up":
                link.come_up()
            elif what == "tap":
                link.tap = lambda receive, message: link.carry(receive, message, 1000 * number)
            elif what == "untap":
                link.tap = None
            elif what == "later":
                self.reactor.call_later(number * 25e-6, self.act, actor=self)
            elif what == "spin":
                self.reactor.push(copy.message.Message(0, dst=self))
            elif what == "crash":
                raise ValueError(number)

        def failed(self, error, message):
            self.tree.told.append((self.broker.rank, type(error).__name__, message and message.topic))

    return Party


@given(SCRIPTS, st.sampled_from([0, 1, 50_000]), st.booleans(), st.booleans())
def test_events_come_down_the_tree_the_same_on_both_engines(script, latency, jumps, port):
    options = {"latency": latency, "jumps": jumps, "port": port}
    on_python = Tree(python(), script, **options).run()
    assert Tree(usual(), script, **options).run() == on_python


def test_an_instants_arrivals_come_one_after_the_other_with_all_each_causes():
    tree = Tree(usual(), [])
    tree.ranks[0].endpoint.publish("e.x")
    tree.run()
    assert [(when, rank) for when, rank, topic, *_ in tree.told if topic == "e.x"] == [
        (0, 0), (50_000, 1), (50_000, 2), (100_000, 3), (100_000, 4), (100_000, 5), (100_000, 6),
    ]  # fmt: skip


def test_what_has_passed_holds_nothing():
    tree = Tree(usual(), [])
    tree.run()  # tables that stay
    link, handler = tree.links[0], tree.ranks[1].endpoint
    counted = [link, link.connection, link.peer, tree.reactor, handler]
    before = [sys.getrefcount(one) for one in counted]
    for _ in range(100):
        tree.run()
    assert [sys.getrefcount(one) for one in counted] == before


def test_what_is_no_arrival_is_a_TypeError_and_leaves_the_table_as_it_was():
    reactor = Reactor()
    reactor.jumps = True
    with pytest.raises(TypeError):
        reactor.arrive_at(1, print)
    with pytest.raises(TypeError):
        pass_down("event", [])
    with pytest.raises(AttributeError):
        pass_down("event", (1,))
    with pytest.raises(KeyError):
        reactor._arrive(1)
    for wrong in (1, (1,), (print, 1, 2)):
        reactor._arrivals[5] = [wrong]
        with pytest.raises(TypeError):
            reactor._arrive(5)
    reactor._arrivals[6] = 3
    with pytest.raises(KeyError):
        reactor._arrive(6)
    with pytest.raises(TypeError):
        reactor.arrive_at(6, print, None)
    reactor._arrivals = None
    for call in (lambda: reactor._arrive(1), lambda: reactor.arrive_at(1, print, None)):
        with pytest.raises(TypeError):
            call()
