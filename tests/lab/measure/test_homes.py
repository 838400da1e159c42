"""The same module file in every home: the table of figures, and the measuring itself where there is a Flux."""

from __future__ import annotations

import pytest

from brokersim.lab.measure.homes import HOOKS, KINDS, Done, Home, homes, rows, unlike
from tests.realflux.peer import needs_flux

#: One rpc in Flux, as measured: seconds a request by round, turns, packets.
FLUX = {"none": 0.0, "timer:1s": 0.0, "prepare": 3.0, "check": 2.0, "idle": 2.9}


def home(name: str, packets: dict[str, float], slower: dict[str, float] | None = None) -> Home:
    """Two rounds, the second on a machine twice as slow."""
    found = {
        (hook, "rpc"): [
            Done(slow * (slower or {}).get(hook, 1.0) * 1e-4, 3.0, packets[hook]) for slow in (1, 2)
        ]
        for hook in HOOKS
    }
    return Home(name=name, found=found)


def test_a_home_like_flux_says_so_and_one_unlike_it_says_in_what() -> None:
    flux = home("flux-core 0.88.0", FLUX)
    like = home("virtual", FLUX | {"idle": 3.0})
    other = home("in process", FLUX | {"prepare": 2.0}, {"idle": 15.0})
    assert [row["unlike Flux"] for row in rows([flux, like, other])] == [
        "", "nothing", "idle ×15 for ×1, prepare 2 packets for 3"
    ]  # fmt: skip
    assert unlike(flux, flux, "rpc") == ""


def test_what_slows_a_whole_round_is_in_no_ratio() -> None:
    row = rows([home("x", FLUX, {"prepare": 1.5, "check": 1.02})])[0]
    assert (row["prepare"], row["check"], row["timer:1s"]) == ("×1.5", "~1", "~1")
    assert (row["µs"], row["packets"], row["turns"]) == ("100", "3 / 2 / 2.9", "3.0")


def test_without_a_flux_there_are_ours_and_a_request_with_one_rpc_is_three_turns_everywhere() -> None:
    # Two rounds: of each the quieter one is shown.
    found = {one.name: one for one in homes(None, rounds=2, count=20)}
    assert list(found) == ["in process", "--exec", "virtual"]
    for name, one in found.items():
        assert {kind for _, kind in one.found} == set(KINDS)
        turns = one.shown("none", "rpc")[0]
        assert turns == 3 or (name == "--exec" and turns == pytest.approx(3, abs=0.1)), name
        assert one.shown("none", "plain")[0] == pytest.approx(1, abs=0.1), name
        shown = {hook: one.shown(hook, "rpc")[1] for hook in ("prepare", "check")}
        assert shown == {"prepare": pytest.approx(3, abs=0.15), "check": pytest.approx(2, abs=0.15)}, name


@pytest.mark.slow
def test_in_a_real_flux_it_shows_three_packets_under_prepare_and_two_under_check() -> None:
    from brokersim.realflux.place import find_flux

    flux = homes(find_flux(needs_flux()), rounds=1, count=20)[0]
    assert flux.name.startswith("flux-core 0.")
    assert flux.shown("prepare", "rpc")[1] == pytest.approx(3, abs=0.3)
    assert flux.shown("check", "rpc")[1] == pytest.approx(2, abs=0.3)
