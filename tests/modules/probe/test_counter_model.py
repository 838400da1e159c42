"""Counters against the truth: a thing that counts, in registers of 32 or 64 bits, and is now and then another thing.

What it counted in truth is known; what samples say must be that, or a reset where it could not be known.
"""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from modules.probe.contract import Field, Reading
from modules.probe.plan import to_measurement
from modules.probe.probes.disk import derived
from modules.probe.sending.collector import Collector
from modules.probe.sending.outqueue import OutQueue
from modules.probe.sending.source import Source

STEP = st.tuples(
    st.sampled_from(
        ["grow", "grow", "grow", "other", "restart"]
    ),  # another thing; or the same one from 0, unsaid
    st.floats(0, 1),  # how much of what it can have grown by
    st.floats(0.5, 20),  # seconds
    st.booleans(),  # whether the reading says when it was
)


class Thing:
    """Counts without end; shows what fits into its register."""

    def __init__(self, width, at):
        self.width, self.count, self.name = width, at, 0

    @property
    def shown(self):
        return self.count & ((1 << self.width) - 1)


@given(
    st.sampled_from([32, 64]),
    st.sampled_from([1e3, 1e8, 1e18]),
    st.floats(0, 1),
    st.lists(STEP, max_size=12),
    st.sampled_from(["raw", "delta", "rate"]),
)
def test_what_is_sent_is_what_was_counted_or_a_reset(width, rate, begin, steps, form):
    thing = Thing(width, int(begin * ((1 << width) - 1)))
    record = {"probe": "dummy", "reporting": {"sinks": ["a"], "counters": form}}
    source = Source(
        to_measurement("m", record), {"value": Field(kind="counter", width=width, max_rate=rate)}, "node/0"
    )
    made = Collector()
    made.add_sink(OutQueue(name="a"))
    wanted, resets, now = [thing.shown] if form == "raw" else [], 0, 1000.0

    def read(ts):
        found = Reading(subject="x", metrics={"value": thing.shown}, identity=str(thing.name), ts=ts)
        made.insert(source, [found], now)

    read(None)
    for kind, share, seconds, is_timed in steps:
        before, now = thing.shown, now + seconds
        grew = int(share * min(rate * seconds, (1 << (width - 1)) - 1))
        if kind == "grow":
            thing.count += grew
        elif kind == "other":
            thing.count, thing.name = grew, thing.name + 1
        else:
            thing.count = 0
        read(now if is_timed else None)
        # What the specification calls a wrap: less than half the range, and no more than it can have grown by.
        fell = (1 << width) - before + thing.shown
        is_wrap = fell < 1 << (width - 1) and fell <= rate * seconds
        is_reset = kind == "other" or (kind == "restart" and thing.shown < before and not is_wrap)
        moved = grew if kind == "grow" else fell if thing.shown < before else thing.shown - before
        resets += is_reset
        if form == "raw":
            wanted.append(thing.shown)
        elif not is_reset:
            wanted.append(moved if form == "delta" else moved / seconds)
    found = [one.value for one in made.queues["a"].take(now)]
    assert len(found) == len(wanted)
    assert all(abs(one - two) <= 1e-6 * max(1, abs(two)) for one, two in zip(found, wanted, strict=True))
    assert source.counts["reset"] == resets


def test_a_disk_that_comes_back_under_its_numbers_was_not_busy_all_the_time():
    """Arithmetic alone takes 4,000,000,000 ms to 0 for a wrap of 294,967,296 ms, in two seconds."""
    old = {"identity": "8:0", "io_ms": 4 * 10**9, "weighted_ms": 4 * 10**9}
    old |= dict.fromkeys(("reads", "writes", "read_ms", "write_ms"), 0)
    found = derived(old, {**old, "io_ms": 0, "weighted_ms": 0}, 2.0)
    assert (found["util"], found["queue"]) == (None, None)
    wrapped = derived(old | {"io_ms": 2**32 - 500}, {**old, "io_ms": 500}, 2.0)
    assert wrapped["util"] == 0.5
