"""The spool behind a connection: what is sent, sent again, kept and dropped."""

from __future__ import annotations

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from brokersim.statsd_server.outputs.spool import Block, Spool
from tests.effort import examples

LIMIT = 10


class Deliveries(RuleBasedStateMachine):
    """A peer that reads some of what its kernel has, and loses the rest when the connection breaks.

    The model is the peer's own list of what it read: nothing that fits the limit may be missing at the end.
    """

    def __init__(self) -> None:
        super().__init__()
        self.spool = Spool(limit=LIMIT, keep_s=5.0, keep_bytes=0)
        self.now = 0.0
        self.made = 0
        self.wire: list[int] = []
        self.read: set[int] = set()
        self.added: dict[int, int] = {}

    @rule(lines=st.integers(1, 4))
    def add(self, lines):
        self.added[self.made] = lines
        self.spool.add(Block(data=b"%9d\n" % self.made, lines=lines))
        self.made += 1

    @rule()
    def hand_over(self):
        block = self.spool.hand_over(self.now)
        if block is not None:
            self.wire.append(int(block.data))

    @precondition(lambda self: self.wire)
    @rule(data=st.data())
    def peer_reads(self, data):
        count = data.draw(st.integers(1, len(self.wire)))
        self.read |= set(self.wire[:count])
        del self.wire[:count]

    @rule(seconds=st.floats(0, 3))
    def peer_acknowledges_what_it_read(self, seconds):
        self.now += seconds
        self.spool.acknowledge(10 * len(self.wire), self.now)

    @rule()
    def breaks(self):
        """What the peer has not read is lost, so its kernel resets; with nothing unread it ends in order."""
        was_reset = bool(self.wire)
        self.wire.clear()
        self.spool.restart(self.now, was_reset=was_reset)

    @invariant()
    def it_stays_within_its_limit(self):
        assert self.spool.queued <= LIMIT

    def teardown(self):
        while self.spool.queued:
            self.hand_over()
        self.read |= set(self.wire)
        missing = sum(lines for number, lines in self.added.items() if number not in self.read)
        assert missing <= self.spool.dropped
        assert self.spool.sent <= sum(self.added.values())


TestDeliveries = Deliveries.TestCase
TestDeliveries.settings = settings(max_examples=examples(80), stateful_step_count=30, deadline=None)


def block(name: str, lines: int = 1) -> Block:
    return Block(data=name.encode(), lines=lines)


def drained(spool: Spool, now: float = 0.0) -> list[bytes]:
    return [each.data for each in iter(lambda: spool.hand_over(now), None)]


def test_blocks_are_handed_over_in_order_and_once():
    spool = Spool(limit=10, keep_s=5)
    for name in "abc":
        spool.add(block(name))
    assert drained(spool) == [b"a", b"b", b"c"]
    assert (spool.sent, spool.queued, drained(spool)) == (3, 0, [])


def test_what_a_broken_connection_may_have_lost_is_sent_again_before_the_rest():
    spool = Spool(limit=10, keep_s=5)
    spool.add(block("a"))
    spool.add(block("b"))
    drained(spool, now=0.0)
    spool.acknowledge(0, now=4.9)
    spool.add(block("c"))
    spool.restart(5.0, was_reset=True)
    assert drained(spool) == [b"a", b"b", b"c"]
    assert (spool.sent, spool.resent, spool.dropped) == (3, 2, 0)


def test_what_was_acknowledged_long_enough_ago_is_not_sent_again():
    spool = Spool(limit=10, keep_s=5)
    spool.add(block("a"))
    drained(spool, now=0.0)
    spool.acknowledge(0, now=5.0)
    spool.restart(5.0, was_reset=False)
    assert (drained(spool), spool.dropped, spool.in_doubt) == ([], 0, 0)


def test_after_a_reset_all_that_a_kernel_can_hold_unread_is_sent_again_however_old():
    spool = Spool(limit=10, keep_s=5, keep_bytes=3)
    for name in "abcde":
        spool.add(block(name))
    drained(spool, now=0.0)
    spool.acknowledge(0, now=1000.0)
    spool.restart(1000.0, was_reset=True)
    assert drained(spool) == [b"c", b"d", b"e"]
    assert (spool.sent, spool.resent, spool.dropped, spool.in_doubt) == (5, 3, 0, 0)


def test_what_could_not_be_kept_is_in_doubt_after_a_reset_and_only_then():
    for was_reset, in_doubt in ((True, 3), (False, 0)):
        spool = Spool(limit=2, keep_s=5)
        for name in "abcde":
            spool.add(block(name))
            drained(spool, now=0.0)
            spool.acknowledge(0, now=0.0)
        spool.restart(1.0, was_reset=was_reset)
        assert (drained(spool), spool.in_doubt, spool.dropped) == ([b"d", b"e"], in_doubt, 0)


def test_the_oldest_go_when_there_is_no_room_and_are_counted():
    spool = Spool(limit=5, keep_s=5)
    for name in "abcd":
        spool.add(block(name, lines=2))
    assert (drained(spool), spool.dropped) == ([b"c", b"d"], 4)


def test_one_block_beyond_the_limit_is_kept_all_the_same():
    spool = Spool(limit=5, keep_s=5)
    spool.add(block("a", lines=100))
    assert (drained(spool), spool.dropped) == ([b"a"], 0)


def test_what_was_handed_over_makes_room_first_and_is_lost_only_if_the_connection_breaks():
    for breaks, dropped in ((False, 0), (True, 2)):
        spool = Spool(limit=2, keep_s=5)
        spool.add(block("a", lines=2))
        drained(spool)
        spool.add(block("b", lines=2))
        if not breaks:
            spool.acknowledge(0, now=1.0)
        spool.restart(1.0, was_reset=False)
        assert (drained(spool), spool.dropped) == ([b"b"], dropped)


def test_giving_up_counts_what_waits_and_what_nobody_acknowledged():
    spool = Spool(limit=10, keep_s=5)
    for name in "abc":
        spool.add(block(name))
    spool.hand_over(0.0)
    spool.acknowledge(0, 0.0)
    spool.hand_over(0.0)
    spool.give_up()
    assert (spool.dropped, spool.queued, spool.is_empty) == (2, 0, False)
