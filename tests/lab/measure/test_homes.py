"""The same module file in every home: three turns for a request with one rpc, here and where there is a Flux."""

from __future__ import annotations

import pytest

from brokersim.lab.measure.homes import HOOKS, KINDS, Done, Home, homes, idle_calls, ping_beside_idle
from tests.realflux.peer import needs_flux


def home(slower: dict[str, float]) -> Home:
    """Two rounds, the second on a machine twice as slow and with a turn more."""
    found = {
        (hook, "rpc"): [
            Done(slow * slower.get(hook, 1.0) * 1e-4, 2.0 + slow, 3.0 if hook != "idle" else 2.9)
            for slow in (1, 2)
        ]
        for hook in HOOKS
    }
    return Home(name="x", found=found)


def test_what_slows_a_whole_round_is_in_no_ratio_and_turns_are_those_of_the_quieter_one() -> None:
    figures = home({"prepare": 1.5, "check": 1.02}).figures("rpc")
    assert {hook: one.times for hook, one in figures.times.items()} == pytest.approx(
        {"timer:1s": 1.0, "prepare": 1.5, "check": 1.02, "idle": 1.0}
    )
    assert (figures.seconds, figures.turns) == (pytest.approx(1e-4), 3.0)
    assert figures.packets == {"prepare": 3.0, "check": 3.0, "idle": 2.9}


def test_without_a_flux_there_are_ours_and_a_request_with_one_rpc_is_three_turns_everywhere() -> None:
    # Two rounds: of each the quieter one is shown.
    found = {one.name: one for one in homes(None, rounds=2, count=20)}
    assert list(found) == ["in process", "--exec", "virtual"]
    for name, one in found.items():
        assert {kind for _, kind in one.found} == set(KINDS)
        turns = one.shown("none", "rpc")[0]
        assert turns == 3 or (name == "--exec" and turns == pytest.approx(3, abs=0.1)), name
        assert one.shown("none", "plain")[0] == pytest.approx(1, abs=0.1), name
        shown = {hook: one.shown(hook, "rpc")[1] for hook in ("none", "prepare", "check")}
        assert shown == {
            "none": 0,
            "prepare": pytest.approx(3, abs=0.15),
            "check": pytest.approx(2, abs=0.15),
        }, name
    plain = found["virtual"].figures("plain").times
    # A packet of 10 µs for a request of 56 µs, and a timer that never came.
    assert (plain["timer:1s"].times, plain["prepare"].times) == pytest.approx((1.0, 66.3 / 56.1), abs=0.01)


def test_a_thousand_messages_to_a_module_that_spins_are_a_thousand_idle_calls_though_packets_are_paid() -> (
    None
):
    assert 1000 <= idle_calls() <= 1010


def test_a_ping_beside_a_module_that_spins_waits_for_no_batch_of_its_turns() -> None:
    # 7 to 15 times with 256 turns between two looks at the sockets; the bound of 1.3 is for a quiet machine. On a busy
    # one the neighbours may make it more than 3, but not each time.
    found: list[float] = []
    while not found or (min(found) >= 3 and len(found) < 5):
        found.append(ping_beside_idle())
    assert min(found) < 3


@pytest.mark.slow
def test_in_a_real_flux_it_shows_three_packets_under_prepare_and_two_under_check() -> None:
    from brokersim.realflux.place import find_flux

    flux = homes(find_flux(needs_flux()), rounds=1, count=20)[0]
    assert flux.name.startswith("flux-core 0.")
    assert flux.shown("prepare", "rpc")[1] == pytest.approx(3, abs=0.3)
    assert flux.shown("check", "rpc")[1] == pytest.approx(2, abs=0.3)
