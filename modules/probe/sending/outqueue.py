"""Knows samples on their way to one sink: how many wait, which are dropped, when it is tried again; not the sink.

At every moment inserted = delivered + queued + in flight + spooled + dropped + suppressed, whatever happens in between.
"""

from __future__ import annotations

from collections import Counter, deque
from typing import Any, Final, Protocol

import attrs

from .bounds import MAX_BYTES, MAX_SAMPLES, Bounds
from .gaps import Gap, note
from .series import Sample
from .spool import Spool

#: What a sample costs beside its text value: a tuple, two integers and its place in the queue, in bytes.
SAMPLE_SIZE: Final = 100
BACKOFF_MIN: Final = 1.0
BACKOFF_MAX: Final = 60.0
#: Samples of one batch.
BATCH: Final = 1000


class Random(Protocol):
    """What backing off asks of chance."""

    def uniform(self, low: float, high: float) -> float: ...


def _is_text(sample: Sample) -> bool:
    return isinstance(sample.value, str)


def size_of(sample: Sample) -> int:
    """Bytes a sample holds, roughly."""
    return SAMPLE_SIZE + (len(sample.value) if isinstance(sample.value, str) else 0)


@attrs.define(eq=False, kw_only=True)
class OutQueue:
    """The samples of one sink: bounded, one batch in flight, in order, nothing lost without being counted."""

    name: str
    max_samples: int = MAX_SAMPLES
    max_bytes: int = MAX_BYTES
    drop_newest: bool = False
    #: Whether the sink takes samples with a time of their own, texts, and anything at all.
    has_times: bool = True
    has_text: bool = True
    is_off: bool = False
    #: Where what finds no room goes; behind what is queued, so the newer.
    spool: Spool | None = None
    inserted: int = 0
    delivered: int = 0
    suppressed: int = 0
    dropped: Counter[str] = attrs.field(factory=Counter)
    size: int = 0
    _samples: deque[Sample] = attrs.field(factory=deque, init=False)
    flight: list[Sample] = attrs.field(factory=list, init=False)
    gaps: list[Gap] = attrs.field(factory=list, init=False)
    failures: int = 0
    #: Not tried before (s); why it failed last.
    not_before: float = 0.0
    trouble: str = ""

    @property
    def queued(self) -> int:
        return len(self._samples)

    def __attrs_post_init__(self) -> None:
        self.inserted += self.spooled  # what an earlier life has left

    @property
    def spooled(self) -> int:
        return 0 if self.spool is None else self.spool.count

    @property
    def is_in_balance(self) -> bool:
        """The law; a test asks after every step."""
        waits = self.queued + len(self.flight) + self.spooled
        return self.inserted == self.delivered + waits + self.dropped.total() + self.suppressed

    def insert(self, sample: Sample) -> None:
        """One more to send; the oldest, or itself, makes way if there is no room."""
        self.inserted += 1
        if self.spool is not None and (self.spool.count or self._is_crowded(sample)):
            if self.spool.put(sample):
                return
            if self.spool.count:  # it has older ones: none may overtake them
                self._drop(sample, "spool")
                return
        self._samples.append(sample)
        self.size += size_of(sample)
        self._make_room()

    def bound(self, bounds: Bounds) -> None:
        """Other bounds from now on; what there is no room for any more is dropped."""
        self.max_samples, self.max_bytes = bounds.max_samples, bounds.max_bytes
        self.drop_newest = bounds.drop_newest
        self._make_room()

    def suppresses(self, sample: Sample) -> bool:
        """Is it a sample this sink is not to have, for what it is? Then it is counted."""
        if not (
            self.is_off
            or (sample.is_timed and not self.has_times)
            or (not self.has_text and _is_text(sample))
        ):
            return False
        self.inserted += 1
        self.suppressed += 1
        return True

    def refuse(self, sample: Sample, reason: str) -> None:
        """A sample there is no memory for."""
        self.inserted += 1
        self._drop(sample, reason)

    def _is_crowded(self, sample: Sample) -> bool:
        """No room with what is in flight, which may come back."""
        size = self.size + sum(map(size_of, self.flight)) + size_of(sample)
        return len(self._samples) + len(self.flight) >= self.max_samples or size > self.max_bytes

    def _refill(self) -> None:
        """What was spooled comes back, as far as there is room for it."""
        assert self.spool is not None
        size = self.size
        for sample in self.spool.take(min(BATCH, self.max_samples) - len(self._samples)):
            self._samples.append(sample)
            size += size_of(sample)
        self.size = size
        if self.spool.lost:
            self.dropped["spool"] += self.spool.lost
            self.spool.lost = 0

    def _is_too_much(self) -> bool:
        return len(self._samples) > self.max_samples or self.size > self.max_bytes

    def drop_oldest(self, reason: str) -> None:
        """The oldest that waits is given up."""
        self._give_up(self._samples.popleft(), reason)

    def _make_room(self) -> None:
        """Those that are too many go, from the end that is wanted."""
        while self._is_too_much():
            self._give_up(self._samples.pop() if self.drop_newest else self._samples.popleft(), "full")

    def _give_up(self, sample: Sample, reason: str) -> None:
        self.size -= size_of(sample)
        self._drop(sample, reason)

    def _drop(self, sample: Sample, reason: str) -> None:
        self.dropped[reason] += 1
        note(self.gaps, sample.series.mid, sample.seq)

    # -- sending

    def take(self, now: float, is_last: bool = False) -> list[Sample]:
        """What is to be sent now, and is in flight from now on; nothing while something is, or it backs off."""
        if self.spooled and not self.flight and len(self._samples) < min(BATCH, self.max_samples):
            self._refill()
        if self.flight or not self._samples or (now < self.not_before - 1e-6 and not is_last):
            return []
        count = min(BATCH, len(self._samples))
        self.flight = [self._samples.popleft() for _ in range(count)]
        self.size -= sum(map(size_of, self.flight))
        return self.flight

    def delivered_now(self) -> None:
        """The sink has it, and what it was told of gaps."""
        self.delivered += len(self.flight)
        self.flight = []
        self.gaps = []
        self.failures, self.not_before, self.trouble = 0, 0.0, ""

    def delivered_but(self, count: int, trouble: str) -> None:
        """The sink has it, but for so many that it will never take."""
        count = min(count, len(self.flight))
        self.delivered_now()
        self.delivered -= count
        self.dropped["refused"] += count
        self.trouble = trouble

    def failed(
        self,
        now: float,
        random: Random,
        trouble: str,
        retry_after: float | None = None,
        is_final: bool = False,
    ) -> None:
        """It was not taken: back to the head, to be tried later; or given up, if it never can be (``encode``)."""
        flight, self.flight = self.flight, []
        self.trouble = trouble
        if is_final:
            for sample in flight:
                self._drop(sample, "encode")
            return
        self._samples.extendleft(reversed(flight))
        self.size += sum(map(size_of, flight))
        self._make_room()
        delay = min(BACKOFF_MAX, BACKOFF_MIN * 2 ** min(self.failures, 16)) * random.uniform(0.5, 1.0)
        self.failures += 1
        self.not_before = now + (delay if retry_after is None else max(0.0, retry_after))

    def reset(self) -> None:
        """Tried again at once."""
        self.failures, self.not_before = 0, 0.0

    def give_up(self) -> None:
        """It ends: what is left is spooled, or counted."""
        self._samples.extendleft(reversed(self.flight))
        self.size += sum(map(size_of, self.flight))
        self.flight = []
        if self.spool is not None:
            before = self.spool.count
            kept = self.spool.close(self._samples)
            self.dropped["spool"] += before + kept - self.spool.count
            for _ in range(kept):
                self.size -= size_of(self._samples.popleft())
        while self._samples:
            self.drop_oldest("shutdown")

    def to_dict(self) -> dict[str, Any]:
        """What status shows."""
        counts = {"inserted": self.inserted, "delivered": self.delivered, "queued": self.queued}
        more = {"in_flight": len(self.flight), "suppressed": self.suppressed, "dropped": dict(self.dropped)}
        ends: dict[str, Any] = {"capacity": self.max_samples, "bytes": self.size, "trouble": self.trouble}
        ends["spooled"] = self.spooled
        if self.spool is not None:
            ends |= {
                "spool_bytes": self.spool.size, "spool_capacity": self.spool.max_bytes,
                "spool_trouble": self.spool.trouble,
            }  # fmt: skip
        return {"name": self.name, **counts, **more, **ends}
