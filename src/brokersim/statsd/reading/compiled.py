"""Plain lines taken in by compiled code, straight into compiled tables. It asks Python for the rest, line by line."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

from brokersim.statsd.dialects.base import Dialect
from brokersim.statsd.health import Intake
from brokersim.statsd.plain import Packet
from brokersim.statsd.reading.judged import Judged, SenderOf
from brokersim.statsd.stored.store import Store

if TYPE_CHECKING:
    from brokersim.native._lines import Datagrams, Reader

OfLine = Callable[[bytes, int], None]


class CompiledLines:
    """The way into a store that has a reader."""

    def __init__(
        self, reader: Reader, dialect: Dialect, store: Store, intake: Intake, judged: Judged
    ) -> None:
        self._reader = reader
        self._lines_of = dialect.lines
        self._packet_limit = dialect.packet_limit
        self._store = store
        self._intake = intake
        self._judged = judged

    def take_packets(self, packets: Sequence[Packet], size: int, sender_of: SenderOf, t: float) -> None:
        asked = self._asked(sender_of, t)
        lines = self._reader.take(packets, *asked, self._cut(packets.__getitem__, asked))
        self._judged.note(lines, lines)

    def take_datagrams(self, datagrams: Datagrams, sender_of: SenderOf, t: float) -> None:
        asked = self._asked(sender_of, t)
        lines = self._reader.take_datagrams(datagrams, *asked, self._cut(datagrams.packet, asked))
        self._judged.note(lines, lines)

    def take_lines(self, lines: list[bytes], size: int, sender: str | None, t: float) -> None:
        self._reader.take_each(lines, *self._asked(lambda _: sender, t))
        self._judged.note(len(lines), len(lines))

    def _asked(self, sender_of: SenderOf, t: float) -> tuple[OfLine, OfLine, SenderOf]:
        """What compiled code asks: for lines that are not plain, for those of a name too many, and for senders."""
        judged = self._judged

        def judge(line: bytes, index: int) -> None:
            judged.take(line, sender_of, index, t)

        def refused(line: bytes, index: int) -> None:
            self._store.refused += 1
            judged.note_bad("too_many_keys", line, sender_of(index), t)

        return judge, refused, sender_of

    def _cut(
        self, packet_at: Callable[[int], Packet], asked: tuple[OfLine, OfLine, SenderOf]
    ) -> Callable[[int], int]:
        """What compiled code asks for packets that are cut: how many lines they have."""
        judge, refused, sender_of = asked

        def cut(index: int) -> int:
            packet, limit = packet_at(index), self._packet_limit
            self._intake.cut_packets += len(packet) > limit
            lines = self._lines_of(bytes(packet[:limit]))
            self._reader.take_each(
                lines, lambda line, _: judge(line, index), lambda line, _: refused(line, index),
                lambda _: sender_of(index),
            )  # fmt: skip
            return len(lines)

        return cut
