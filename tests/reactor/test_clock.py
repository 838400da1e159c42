"""Clocks: what their names mean, how fast they go, when the virtual one moves."""

from __future__ import annotations

import math

import pytest
import trio
from hypothesis import example, given
from hypothesis import strategies as st

from brokersim.protocol.settings import ClockKind
from brokersim.reactor import clock as clock_file
from brokersim.reactor.clock import RealClock, VirtualClock
from brokersim.reactor.loop import NS


@pytest.mark.parametrize(
    ("text", "speed", "again"),
    [
        ("virtual", 0.0, "virtual"),
        ("real", 1.0, "real"),
        ("real*8", 8.0, "real*8"),
        ("real*0.5", 0.5, "real*0.5"),
    ],
)
def test_a_clock_is_named_by_kind_and_speed(text, speed, again):
    kind = ClockKind.parse(text)
    assert kind.speed == speed
    assert kind.is_virtual == (text == "virtual")
    assert str(kind) == again


@pytest.mark.parametrize(
    "text", ["", "fast", "real*", "real*0", "real*-1", "real*nan", "real*inf", "virtual*2", "real8", "Real"]
)
def test_any_other_name_is_an_error_that_says_what_would_be_right(text):
    with pytest.raises(ValueError, match=r"give real, virtual or real\*N"):
        ClockKind.parse(text)


@pytest.fixture
def machine_ns(monkeypatch) -> list[int]:
    """The machine's clock, to be set by hand: no test waits."""
    reading = [1_000]
    monkeypatch.setattr(clock_file.time, "perf_counter_ns", lambda: reading[0])
    return reading


def test_the_real_clock_starts_at_0_and_goes_with_the_machine(machine_ns):
    clock = RealClock()
    assert clock.now_ns() == 0
    machine_ns[0] += 3 * NS
    assert clock.now_ns() == 3 * NS
    assert clock.current_time() == 3.0
    assert clock.deadline_to_sleep_time(5.0) == 2.0


def test_a_scaled_clock_runs_n_times_as_fast_and_sleeps_an_nth(machine_ns):
    clock = RealClock(8.0)
    machine_ns[0] += NS
    assert clock.now_ns() == 8 * NS
    assert clock.deadline_to_sleep_time(16.0) == 1.0


def test_starting_a_real_clock_sets_it_to_0(machine_ns):
    clock = RealClock()
    machine_ns[0] += NS
    clock.start_clock()
    assert clock.now_ns() == 0


def test_the_virtual_clock_jumps_to_the_next_deadline_when_nothing_can_run():
    times: list[float] = []

    async def sleeper(seconds: float) -> None:
        await trio.sleep(seconds)
        times.append(trio.current_time())

    async def main() -> None:
        async with trio.open_nursery() as nursery:
            for seconds in (3600.0, 0.25, 60.0):
                nursery.start_soon(sleeper, seconds)

    trio.run(main, clock=VirtualClock())
    assert times == [0.25, 60.0, 3600.0]


def test_the_virtual_clock_stands_still_without_a_deadline():
    clock = VirtualClock()
    assert clock.jump(math.inf) == math.inf
    assert clock.now_ns() == 0


def test_a_deadline_that_has_come_asks_nobody():
    clock = VirtualClock()
    clock.now = 5 * NS
    clock.quiescent = lambda deadline: pytest.fail("asked")
    assert clock.deadline_to_sleep_time(5.0) == 0.0


# -- deadlines that no nanosecond meets exactly


@given(
    now=st.integers(0, 10**14),
    seconds=st.floats(1e-9, 1e6) | st.sampled_from([0.1, 1.0, 5.0, 20.0, 60.0, 1e12]),
)
@example(now=422_165_802_858, seconds=0.1)
def test_a_jump_to_a_deadline_reaches_it(now, seconds):
    clock = VirtualClock()
    clock.now = now
    deadline = clock.current_time() + seconds
    assert clock.deadline_to_sleep_time(deadline) == 0.0
    assert clock.current_time() >= deadline
    assert (clock.now - 2) / NS < deadline or seconds > 1e6, "and goes no further than it must"


class Asked(VirtualClock):
    """A clock that is not asked without end."""

    asked = 0

    def deadline_to_sleep_time(self, deadline: float) -> float:
        self.asked += 1
        assert self.asked < 1000, "time stands still"
        return super().deadline_to_sleep_time(deadline)


def test_a_timeout_at_an_odd_time_runs_out_instead_of_standing_still():
    """trio asked for ever, at full speed: its deadline was a last digit above the time the clock had jumped to."""
    clock = Asked()
    clock.now = 422_165_802_858

    async def main() -> float:
        with trio.move_on_after(0.1):
            await trio.sleep_forever()
        return trio.current_time()

    assert trio.run(main, clock=clock) >= 422.265802858
