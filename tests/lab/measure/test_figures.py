"""Two homes side by side: what differs, what is within the noise, and which figures are not of today."""

from __future__ import annotations

import attrs
import pytest

from brokersim.lab.measure import figures as measured
from brokersim.lab.measure.figures import (
    COSTS,
    FIRST,
    JOB,
    KVS,
    Figures,
    job_figures,
    kvs_figures,
    one_table,
    real_of,
    recorded,
    told,
    unlike,
)
from brokersim.lab.measure.hook_run import HookRun, ModuleFigures
from brokersim.lab.measure.noise import Times


def figures(home: str = "virtual", work: str = "rpc", noise: float = 0.05, **times: float) -> Figures:
    return Figures(
        work=work, home=home, seconds=1e-4, turns=3.0, packets={"prepare": 3.0, "check": 2.0, "idle": 3.0},
        times={hook: Times(times=times.get(hook, 1.0), noise=noise) for hook in COSTS},
    )  # fmt: skip


def test_what_differs_by_more_than_both_noises_is_named_and_nothing_else() -> None:
    flux = figures("flux-core 0.88.0")
    assert unlike(figures(), flux) == []
    assert unlike(figures(prepare=1.09), flux) == []
    assert unlike(figures(prepare=1.11, idle=15.0), flux) == ["prepare ×1.1 for ×1", "idle ×15 for ×1"]
    other = attrs.evolve(flux, packets={"prepare": 3.2, "check": 2.3, "idle": 3.0}, turns=4.0)
    assert unlike(figures(), other) == ["check 2 packets for 2.3", "3 turns for 4"]


@pytest.mark.parametrize("work", [JOB, KVS])
def test_of_jobs_packets_a_message_differ_by_more_than_a_twentieth(work: str) -> None:
    flux = Figures(work=work, home="flux-core 0.88.0", packets={"prepare": 1.10})
    assert unlike(attrs.evolve(flux, packets={"prepare": 1.15}), flux) == []
    assert unlike(attrs.evolve(flux, packets={"prepare": 1.16}), flux) == ["prepare 1.16 packets for 1.1"]


def test_figures_are_rows_and_rows_are_figures() -> None:
    for one in (figures(idle=3.0), Figures(work=KVS, home="journal", packets={"idle": 1.0}, recorded="2021")):
        assert Figures.from_row(one.to_row()) == one


def test_in_words_noise_is_about_1_and_what_nobody_looked_at_a_dash() -> None:
    row, bare = told([figures(idle=15.0), Figures(work=JOB, home="journal", recorded="2021")])
    assert (row["none"], row["prepare"], row["idle"], row["packets"]) == (
        "100 µs",
        "~1",
        "×15",
        "3.00 / 2.00 / 3.00",
    )
    assert (row["turns"], row["measured"]) == ("3.00", "now")
    assert [bare[key] for key in ("none", "prepare", "packets", "turns", "measured")] == ["–"] * 4 + ["2021"]


def test_rows_of_watchers_are_figures_of_a_job_and_of_a_message() -> None:
    none = {"hook": "none", "wall_s": 2.0, "walls": [2.0, 4.0], "packets_per_message": 0.0}
    idle = {"hook": "idle", "wall_s": 60.0, "walls": [60.0, 120.0], "packets_per_message": 1.1}
    rows = [{**none, "turns_per_message": 1.3}, {**idle, "turns_per_message": 9.0}]
    found = job_figures(rows, "here", 4)
    assert (found.seconds, found.times["idle"].times, found.packets, found.turns) == (
        0.5,
        30.0,
        {"idle": 1.1},
        1.3,
    )
    modules = {
        "none": [{"name": "kvs", "counts": [0, 5, 0, 5, 0, 0, 0, 0], "packets": 0, "iterations": 12}],
        "check": [{"name": "kvs", "counts": [9, 5, 9, 5, 0, 0, 0, 0], "packets": 10, "iterations": 13}],
    }
    kvs = kvs_figures(modules, "here")
    assert (kvs.packets, kvs.turns, dict(kvs.times)) == ({"check": 1.0}, 1.2, {})


def test_turns_a_message_are_everybodys_where_there_are_more_than_modules() -> None:
    kvs = ModuleFigures(name="kvs", counts=(0, 6, 0, 4, 0, 0, 0, 0), iterations=12, packets=0)
    run = HookRun(hook="none", jobs=1, walls=(1.0,), packets=0, metrics_per_s_peak=0.0, modules=(kvs,))
    assert (run.messages, run.iterations, run.turns_per_message) == (10, 12, 1.2)
    with_clients = attrs.evolve(run, everybody=(20, 32))
    assert (with_clients.messages, with_clients.iterations, with_clients.turns_per_message) == (10, 12, 1.6)


def test_the_one_table_has_a_real_flux_for_each_kind_of_work_and_says_when_it_was_measured() -> None:
    days = {one.recorded for one in recorded()}
    assert len(days) == 1 and days.pop().startswith("20")
    shown = one_table([figures("in process"), figures("virtual")])
    first, *ours = [one for one in shown if one.work == "rpc"]
    assert first.is_flux and first.recorded
    assert [(one.home, one.recorded) for one in ours] == [("in process", ""), ("virtual", "")]
    for work in FIRST:
        assert next(one for one in one_table() if one.work == work).is_flux


def test_a_flux_that_was_measured_now_stands_in_place_of_the_recorded_one() -> None:
    now = figures("flux-core 0.99.0")
    assert real_of("rpc", [figures(), now]) == now
    assert [one for one in one_table([now]) if one.is_flux and one.work == "rpc"] == [now]


def test_a_time_is_in_the_unit_it_is_told_in_and_a_difference_is_the_same_to_its_bound() -> None:
    assert [measured._time(seconds) for seconds in (None, 0.000999, 0.001, 1.5)] == [
        "–",
        "999 µs",
        "1 ms",
        "1.5e+03 ms",
    ]
    share, most = measured.SAME_SHARE, measured.SAME
    for work, there, slack in ((measured.JOB, 20.0, 20.0 * share), ("another", 0.0, most)):
        assert measured._is_same(work, there + slack, there)
        assert not measured._is_same(work, there + slack * 1.01, there)
