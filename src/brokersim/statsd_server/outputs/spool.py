"""Knows which lines are still to be delivered over a connection that may break: a bounded, ordered spool.

Knows nothing of sockets or clocks.
"""

from __future__ import annotations

from collections import deque

import attrs

#: Linux' largest receive buffer by default (net.ipv4.tcp_rmem): no kernel holds more that its program has not read.
KEEP_BYTES = 6 << 20


@attrs.frozen(kw_only=True)
class Block:
    """Some whole lines, as bytes; one flush."""

    data: bytes | bytearray
    lines: int


@attrs.frozen(kw_only=True)
class _Handed:
    """A block that the kernel took. ``end`` is the connection's byte count behind it, ``t`` when (s)."""

    block: Block
    end: int
    t: float


@attrs.define(eq=False)
class Spool:
    """Blocks to send, and those already sent that a broken connection may have lost.

    At most ``limit`` lines are kept, but always the newest block. Room is made at the cost of the oldest: first of
    those handed over, which are lost only if the connection breaks before the peer acknowledges them, then of those
    that wait. What is lost counts as ``dropped``.

    What is acknowledged has reached the peer's kernel; its program may not have read it. A block is kept until it was
    handed over ``keep_s`` seconds ago and ``keep_bytes`` came behind it, which is more than a kernel holds unread.
    What the limit did not let be kept so long is ``in_doubt`` once a connection breaks.
    """

    limit: int
    keep_s: float
    keep_bytes: int = KEEP_BYTES
    sent: int = 0
    resent: int = 0
    dropped: int = 0
    in_doubt: int = 0
    _pending: deque[Block] = attrs.field(factory=deque)
    _handed: deque[_Handed] = attrs.field(factory=deque)
    # (end, lines) of blocks handed over and no longer kept, while the peer's program may not have read them.
    _forgotten: deque[tuple[int, int]] = attrs.field(factory=deque)
    _lines: int = 0
    _offset: int = 0
    _acknowledged: int = 0
    # The leading pending blocks that have been handed over once before.
    _again: int = 0

    @property
    def queued(self) -> int:
        """Lines that wait to be handed over."""
        return sum(block.lines for block in self._pending)

    @property
    def is_empty(self) -> bool:
        """Nothing waits, and the peer has acknowledged everything."""
        return not self._pending and self._acknowledged >= self._offset

    def add(self, block: Block) -> None:
        self._pending.append(block)
        self._lines += block.lines
        while self._lines > self.limit and (self._handed or len(self._pending) > 1):
            self._drop_oldest()

    def _drop_oldest(self) -> None:
        if self._handed:
            self._forget_oldest()
            return
        block = self._pending.popleft()
        self._again = max(0, self._again - 1)
        self._lines -= block.lines
        self.dropped += block.lines

    def _forget_oldest(self) -> None:
        oldest = self._handed.popleft()
        self._lines -= oldest.block.lines
        self._forgotten.append((oldest.end, oldest.block.lines))

    def hand_over(self, now: float) -> Block | None:
        """The next block to send, or None; from here on it counts as sent."""
        if not self._pending:
            return None
        block = self._pending.popleft()
        self._offset += len(block.data)
        self._handed.append(_Handed(block=block, end=self._offset, t=now))
        if self._again:
            self._again -= 1
            self.resent += block.lines
        else:
            self.sent += block.lines
        return block

    def acknowledge(self, unacknowledged: int, now: float) -> None:
        """All but the last ``unacknowledged`` bytes of this connection have reached the peer's kernel."""
        self._acknowledged = max(self._acknowledged, self._offset - unacknowledged)
        surely_read = self._acknowledged - self.keep_bytes
        while self._handed and self._handed[0].end <= surely_read and self._handed[0].t + self.keep_s <= now:
            self._forget_oldest()
        while self._forgotten and self._forgotten[0][0] <= surely_read:
            self._forgotten.popleft()

    def restart(self, now: float, *, was_reset: bool) -> None:
        """The connection is lost: what it may have lost is sent again, in order, before anything else.

        A kernel whose program went away without reading all it had resets the connection. An orderly end means that
        what was acknowledged was read: of that only the last ``keep_s`` seconds are sent again, which the program may
        not have worked on.
        """
        if not was_reset:
            while self._handed and self._is_settled(self._handed[0], now):
                self._lines -= self._handed.popleft().block.lines
        self._drop_forgotten(was_reset=was_reset)
        self._again += len(self._handed)
        self._pending.extendleft(handed.block for handed in reversed(self._handed))
        self._handed.clear()
        self._offset = self._acknowledged = 0

    def _is_settled(self, handed: _Handed, now: float) -> bool:
        return handed.end <= self._acknowledged and handed.t + self.keep_s <= now

    def give_up(self) -> None:
        """Nothing more will be sent: what waits or was not acknowledged counts as dropped."""
        lost = [each.block for each in self._handed if each.end > self._acknowledged]
        # A block that is to be sent again may have arrived; it is counted all the same, nobody knows.
        self.dropped += sum(block.lines for block in (*self._pending, *lost))
        self._drop_forgotten(was_reset=False)
        self._pending.clear()
        self._handed.clear()
        self._lines = 0

    def _drop_forgotten(self, *, was_reset: bool) -> None:
        for end, lines in self._forgotten:
            if end > self._acknowledged:
                self.dropped += lines
            elif was_reset:
                self.in_doubt += lines
        self._forgotten.clear()
