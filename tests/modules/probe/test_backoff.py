"""How long a measurement that crashes waits, and how many ticks wait for a run that does not end."""

from __future__ import annotations

from modules.probe.backoff import DELAY_MAX, HEALTHY, Backoff
from modules.probe.overlap import CATCH_UP, WAITING_MAX, Turnstile


class Longest:
    """Chance that always draws the longest."""

    def uniform(self, _low: float, high: float) -> float:
        return high


def test_waits_double_up_to_a_minute_and_begin_anew_after_a_minute_of_health():
    backoff, now, waited = Backoff(), 0.0, []
    for _ in range(8):
        waited.append(backoff.crash(now, Longest()))
        now += waited[-1] + HEALTHY - 1  # it has run, but not for long enough
    assert waited == [1, 2, 4, 8, 16, 32, DELAY_MAX, DELAY_MAX]
    now += 1
    assert backoff.crash(now + HEALTHY, Longest()) == 1


def test_of_ticks_that_wait_for_one_run_no_more_are_kept_than_there_is_room_for():
    ticks = Turnstile(CATCH_UP)
    assert ticks.due(0.0, 1.0)
    for number in range(WAITING_MAX + 7):
        assert not ticks.due(number + 1.0, number + 2.0)
    assert ticks.overrun == 7
    begun = 0
    while ticks.ended(1e6) is not None:
        begun += 1
    assert begun == WAITING_MAX
