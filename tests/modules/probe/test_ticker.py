"""One timer for all grids: whatever is waited for and forgotten, each tick comes at its time, once, in order."""

from __future__ import annotations

import gc
import math
import tracemalloc

from hypothesis import given
from hypothesis import strategies as st

from modules.probe.ticker import BURST, Ticker
from tests.modules.probe.harness import every, probing, run


class Handle:
    """A clock that is set, and timers that are called when it is."""

    def __init__(self):
        self.now, self.timers = 0.0, []

    def time(self):
        return self.now

    def call_later(self, delay, act):
        timer = Timer(self.now + delay, act)
        self.timers.append(timer)
        return timer

    def waiting(self):
        return [timer for timer in self.timers if not timer.is_over]

    def until(self, when):
        while due := [timer for timer in self.waiting() if timer.at <= when]:
            timer = min(due, key=lambda one: one.at)
            self.now, timer.is_over = max(self.now, timer.at), True
            timer.act()
        self.now = when


class Timer:
    def __init__(self, at, act):
        self.at, self.act, self.is_over = at, act, False

    def cancel(self):
        self.is_over = True


class Who:
    def __init__(self, name, seen, handle):
        self.name, self.due_at, self._seen, self._handle = name, math.inf, seen, handle

    def tick(self):
        self._seen.append((self.name, round(self._handle.now, 3)))


STEPS = st.lists(
    st.one_of(
        st.tuples(st.just("wait"), st.integers(0, 5), st.integers(0, 6)),
        st.tuples(st.just("forget"), st.integers(0, 5), st.just(0)),
        st.tuples(st.just("pass"), st.just(0), st.integers(0, 4)),
    ),
    max_size=40,
)


@given(STEPS)
def test_each_tick_comes_at_its_time_once_in_the_order_of_waiting(steps):
    handle, seen, wanted, order = Handle(), [], [], 0
    ticker = Ticker(handle)
    everybody = [Who(name, seen, handle) for name in range(6)]
    waiting = {}
    places = {}  # who comes back to a time it once waited for has its place there still
    for step, name, number in [*steps, ("pass", 0, 10)]:
        if step == "wait":
            order += 1
            at = handle.now + number
            waiting[name] = (at, places.setdefault((name, at), order))
            ticker.wait(everybody[name], handle.now + number)
        elif step == "forget":
            waiting.pop(name, None)
            ticker.forget(everybody[name])
        else:
            until = handle.now + number
            due = sorted((at, order, name) for name, (at, order) in waiting.items() if at <= until)
            wanted += [(name, round(at, 3)) for at, _, name in due]
            for _, _, name in due:
                del waiting[name]
            handle.until(until)
            places = {(name, at): place for (name, at), place in places.items() if at > until}
        if not waiting:
            places.clear()
        assert len(handle.waiting()) <= 1
        assert bool(handle.waiting()) == bool(waiting) or step != "pass"
    assert seen == wanted


def test_of_many_that_are_due_at_once_others_have_their_turn_between():
    handle, seen = Handle(), []
    ticker = Ticker(handle)
    for name in range(3 * BURST + 1):
        ticker.wait(Who(name, seen, handle), 5.0)
    turns = []
    while handle.waiting():
        (timer,) = handle.waiting()
        handle.now, timer.is_over = 5.0, True
        before = len(seen)
        timer.act()
        turns.append(len(seen) - before)
    assert turns == [BURST, BURST, BURST, 1]
    assert [name for name, _ in seen] == list(range(3 * BURST + 1))


def test_a_measurement_takes_two_kilobytes_and_no_timer_of_its_own():
    """The specification's bound; a list or a dictionary more in any of its parts would break it."""

    async def main():
        async with probing() as (instance, client):
            record = {"probe": "dummy", "schedule": every(1), "reporting": {"sinks": []}}

            async def grown(numbers):
                for number in numbers:
                    await client.call("probe.add", {"name": f"m{number}", "record": record})
                await instance.sleep(3)
                gc.collect()
                return tracemalloc.get_traced_memory()[0]

            tracemalloc.start()
            few = await grown(range(100))
            many = await grown(range(100, 600))
            tracemalloc.stop()
            return (many - few) / 500, len(instance.module(0, "probe").handle.timers or ())

    size, timers = run(main)
    assert size <= 2100, "2,000 and what a growing table has in hand"
    assert timers <= 2
