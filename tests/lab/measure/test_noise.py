"""Runs held against each other round by round: what is within the noise is not told, and words do not change."""

from __future__ import annotations

from typing import Any

import pytest

from brokersim.lab.measure.noise import FLOOR, MANY, Times, all_times, half_spread, times
from brokersim.lab.result import Check, merged
from brokersim.lab.show.costs import sentence, shown


def test_runs_of_a_round_are_compared_so_that_a_slow_minute_costs_nothing() -> None:
    assert times([2.0, 20.0, 2.2], [1.0, 10.0, 1.0]) == Times(times=2.0, noise=(2.2 - 2.0) / 2 / 2.0)


def test_one_round_of_many_that_met_something_widens_no_noise() -> None:
    assert half_spread([1.0, 9.0, 2.0]) == 4.0
    assert half_spread([1.0, 1.1, 1.2, 1.3, 1.4, 9.0, 0.1]) == pytest.approx(0.2)


def test_the_noise_is_a_share_of_the_ratio_so_that_dear_hooks_need_more_than_cheap_ones() -> None:
    assert not Times(times=1.2, noise=0.15).is_noise
    assert Times(times=1.2, noise=0.2).is_noise
    assert Times(times=0.9, noise=0.15).is_noise


def test_what_differs_less_than_equal_runs_is_noise_however_steady_the_runs_were() -> None:
    assert times([1.02, 1.02], [1.0, 1.0]) == Times(times=1.02, noise=FLOOR)
    found = (times([1.02], [1.0]), times([1.04], [1.0]), times([0.9], [1.0]))
    assert [one.is_noise for one in found if one is not None] == [True, False, False]
    assert times([1.0], []) is None


def test_all_are_held_against_the_widest_noise_there_is() -> None:
    found = all_times({"steady": [1.1, 1.1], "jumpy": [0.8, 1.2]}, [1.0, 1.0])
    assert {name: round(one.noise, 6) for name, one in found.items()} == {"steady": 0.2, "jumpy": 0.2}
    assert found["steady"].is_noise


def test_of_many_rounds_each_has_its_own_noise_so_that_one_that_jumps_hides_no_other() -> None:
    base = [1.0] * MANY
    found = all_times({"steady": [1.3] * MANY, "jumpy": [0.6, 0.6, 0.8, 1.2, 1.4, 1.4]}, base)
    assert (found["steady"].noise, found["steady"].is_noise) == (FLOOR, False)
    assert found["jumpy"].is_noise
    few = all_times({"steady": [1.3] * 5, "jumpy": [0.6, 0.6, 1.0, 1.4, 1.4]}, [1.0] * 5)
    assert few["steady"].is_noise


def row(hook: str, cpu: tuple[float, ...], wall: tuple[float, ...]) -> dict[str, Any]:
    middle = sorted(wall)[len(wall) // 2]
    return {
        "hook": hook, "cpu_s": cpu[0], "cpus": list(cpu), "wall_s": middle, "walls": list(wall),
        "packets_per_message": 1.0, "metrics_per_s_peak": 800.0,
    }  # fmt: skip


ROWS = [
    row("none", (1.0, 1.0, 1.0), (2.0, 2.0, 2.0)),
    row("timer:1s", (1.01, 1.0, 1.0), (2.02, 1.98, 2.0)),
    row("prepare", (1.4, 1.4, 1.4), (2.1, 2.12, 2.1)),
    row("check", (1.6, 1.6, 1.6), (2.0, 2.04, 2.0)),
    row("idle", (8.0, 8.0, 8.0), (2.6, 2.6, 2.6)),
]


def test_the_sentence_says_what_was_measured_and_nothing_below_the_noise() -> None:
    assert sentence(ROWS, "real") == (
        "In this program idle costs 8.0 times the CPU of no hook, check 1.6 times, prepare 1.4 times, timer:1s nothing "
        "measurable. Wall time added: idle +30%, prepare +5%, nothing measurable under check, timer:1s (equal rounds "
        "differ by ±3%). In Flux idle costs 20 to 50 times (bench watchers --clock virtual)."
    )


def test_a_hook_that_sent_nothing_is_not_said_to_cost_nothing() -> None:
    silent = {**ROWS[1], "packets_per_message": 0.0}
    told = sentence([ROWS[0], silent, ROWS[4]], "real")
    assert told == (
        "In this program idle costs 8.0 times the CPU of no hook. Wall time added: idle +30% (equal rounds differ by "
        "±3%). timer:1s sent nothing in rounds this short. In Flux idle costs 20 to 50 times (bench watchers --clock "
        "virtual)."
    )
    assert (
        sentence([ROWS[0], silent], "real") == "timer:1s sent nothing in rounds this short: give more --jobs."
    )
    none, quiet, _ = shown([ROWS[0], silent, ROWS[4]], "real")
    assert (quiet["cpu"], quiet["added"], none["added"]) == ("1.01 s", "sent nothing", None)


def test_where_nothing_is_above_the_noise_nothing_is_said_to_differ() -> None:
    same = [row(hook, (1.0, 1.0), (2.0, 2.0)) for hook in ("none", "check", "idle")]
    told = sentence(same, "real")
    assert told.startswith(
        "In this program idle costs nothing measurable in CPU beside no hook, check nothing measurable."
    )
    assert "Wall time added: nothing measurable under idle, check (equal rounds differ by ±3%)." in told


def test_words_and_their_order_are_the_same_whatever_was_dearer_and_in_which_order_it_ran() -> None:
    dearer = [row("check", (1.3,) * 3, (2.2,) * 3), row("prepare", (1.7,) * 3, (2.6,) * 3)]
    other = sentence([ROWS[4], *dearer, ROWS[1], ROWS[0]], "real")
    assert (
        other.index("idle") < other.index("check 1.3") < other.index("prepare 1.7") < other.index("timer:1s")
    )


def test_modelled_time_has_no_noise_and_shares_are_told_where_they_are_small() -> None:
    assert sentence(ROWS, "virtual") == (
        "With a thread a module, as in Flux, idle costs 1.3 times the wall time of no hook, check nothing measurable, "
        "prepare +5%, timer:1s nothing measurable."
    )


def test_a_sentence_needs_the_run_without_hooks() -> None:
    assert (
        sentence(ROWS[1:3], "real") == "Run under timer:1s, prepare: what a hook costs is said beside none."
    )


def test_cells_say_within_noise_instead_of_a_figure() -> None:
    found = {one["hook"]: (one["cpu"], one["wall"], one["added"]) for one in shown(ROWS, "real")}
    assert found == {
        "none": ("1.00 s", "2.00 s ± 0%", None),
        "timer:1s": ("1.01 s  within noise", "2.00 s ± 1%", "within noise"),
        "prepare": ("1.40 s  ×1.40", "2.10 s ± 0%", "+5%"),
        "check": ("1.60 s  ×1.60", "2.00 s ± 1%", "within noise"),
        "idle": ("8.00 s  ×8.00", "2.60 s ± 0%", "+30%"),
    }


def test_a_check_made_under_several_hooks_is_one_that_names_where_it_fails() -> None:
    each = [
        Check(id=f"L1 ({hook})", sentence="one", ok=hook != "idle", ours=hook) for hook in ("check", "idle")
    ]
    (found,) = merged(each)
    assert (found.id, found.ok, found.ours) == ("L1 (idle)", False, "check: check; idle: idle")
    other = Check(id="L1 b", sentence="two", ok=True)
    assert merged([*each, other])[1] is other
