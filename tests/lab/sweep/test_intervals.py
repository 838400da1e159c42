"""From a plan to rows: what a sweep shows, how it is resumed, shared out and read from a file."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Iterator
from contextlib import closing, suppress
from functools import cache
from pathlib import Path
from typing import Any

import attrs
import pytest
from hypothesis import given
from hypothesis import strategies as st

from brokersim.cli.main import main
from brokersim.lab.experiments import intervals as study_module
from brokersim.lab.experiments.intervals import run_share, study
from brokersim.lab.measure.pipeline import STYLES, Track, flushes, stored
from brokersim.lab.measure.series import US, distance
from brokersim.lab.measure.truth import COUNTER_KEYS, STATE_KEYS, WORKLOADS, Recorded, Truth, record
from brokersim.lab.result import Result
from brokersim.lab.sweep import sweep as sweep_module
from brokersim.lab.sweep.arrays import Share
from brokersim.lab.sweep.intervals import (
    Phases,
    Store,
    Stream,
    Subject,
    Unit,
    evaluate,
    packets_of,
    rows_of,
    subject_of,
)
from brokersim.lab.sweep.plan_file import PlanError, SweepPlan, read_plan, to_toml
from brokersim.lab.sweep.sweep import RunFile, RunFileError, part_of, rows_in_order, sweep

_SETTINGS = {
    "emission": "timer:1s", "period": 0.0, "style": "totals", "flush": 1.0, "retention": 1.0, "dialect": "strict",
    "loss": 0.0,
}  # fmt: skip
JOBS = 40  # two and a half times what runs at once, so that starts and ends fall into one period


@pytest.fixture(scope="module")
def subject() -> Subject:
    return Subject(record("bulk", JOBS, 0))


def stream(**changes: Any) -> Stream:
    given: dict[str, Any] = dict(
        workload="bulk", jobs=JOBS, seed=0, emission="timer:1s", period=0.0, style="absolute", dialect="strict",
        loss=0.0, draws=3,
    )  # fmt: skip
    return Stream(**(given | changes))


def evaluated(subject: Subject, flush: float = 1.0, retention: float = 1.0, **changes: Any) -> dict[str, Any]:
    return rows_of(subject, Unit(stream(**changes), (Store(flush, retention),)))[0]


#: The same row once, however many tests hold others against it: it is looked at and not changed.
row = cache(evaluated)


# -- what the rows say


@cache
def slow_jobs(jobs: int = 300) -> Subject:
    """A truth by hand: a job starts every 0.3 s, runs for a second or two, and the counters stand still."""
    events = []
    for job in range(jobs):
        run = 300_000 * job
        cleanup = run + US + 100_000 * (7 * job % 11)
        events += [(0, 3), (run, 4), (cleanup, 5), (cleanup + 200_000, 6)]
    held = [0] * 7
    times, rows = [], []
    for t, entered in sorted(events):
        held[entered] += 1
        if entered > 3:
            held[entered - 1] -= 1
        times.append(t)
        rows.append(tuple(held))
    states = Track(names=STATE_KEYS, first=(0,) * 7, times=times, rows=rows)
    marks = [(t, at) for at, t in enumerate(times, start=1)]
    still = Track(names=COUNTER_KEYS, first=(0,) * 8, times=[], rows=[])
    truth = Truth(
        workload="by hand", jobs=jobs, seed=0, states=Recorded(track=states, marks={"prepare": marks}),
        counters=Recorded(track=still, marks={"prepare": []}), samples={}, end=times[-1], horizon=120 * US,
    )  # fmt: skip
    return Subject(truth)


def test_the_slowest_stage_decides_and_a_faster_one_before_it_buys_nothing():
    subject = slow_jobs()

    def error(emission: str, flush: float, retention: float) -> float:
        return float(row(subject, flush, retention, emission=emission)["series"]["job-states.sched"])

    slots = [error("timer:1s", 1, 1), error("timer:1s", 10, 10), error("timer:1s", 10, 60)]
    assert slots[0] * 2 < slots[1] < slots[2]
    for emission in ("timer:25ms", "prepare", "idle"):
        assert error(emission, 10, 60) == pytest.approx(slots[2], rel=0.2), "three phases each of its own"


def test_a_store_that_shows_nothing_until_all_is_over_is_not_the_best(subject: Subject):
    late, prompt = row(subject, 10.0, 1.0), row(subject)
    assert late["gap"] > 3 * prompt["gap"]
    assert late["error"] > prompt["error"]


def test_aggregated_increments_go_below_zero_and_lose_jobs_and_the_cures_do_not(subject: Subject):
    by_style = {style: row(subject, emission="prepare", period=1.0, style=style, draws=5) for style in STYLES}
    broken = by_style.pop("increments")
    assert broken["negatives"] > 0 > broken["lowest"]
    assert broken["sum_error"] > 0
    for style, cured in by_style.items():
        assert (cured["negatives"], cured["lowest"], cured["sum_error"], cured["final_error"]) == (
            0,
            0,
            0,
            0,
        ), style
        assert cured["error"] < broken["error"]


def test_lost_packets_shift_increments_for_good_and_snapshots_heal(subject: Subject):
    lost = {
        style: row(subject, style=style, emission="prepare", loss=0.3)
        for style in ("absolute", "increments-nonzero")
    }
    assert lost["increments-nonzero"]["final_error"] > 0
    assert lost["absolute"]["final_error"] < lost["increments-nonzero"]["final_error"]
    assert lost["absolute"]["packets"] < row(subject, emission="prepare")["packets"] * 0.8


def test_depend_and_priority_are_never_seen_as_gauges(subject: Subject):
    assert {"depend", "priority"} <= set(row(subject, 0.1, 1, emission="prepare")["missed"])


def test_each_timers_samples_arrive_under_its_own_name():
    truth = attrs.evolve(
        slow_jobs().truth,
        samples={
            "flux.content-cache.load": [(5 * US, 8.0)],
            "flux.content-cache.store": [(6 * US, 2.0), (6 * US, 4.0)],
        },
    )
    for period in (0.0, 1.0):
        timers = row(Subject(truth), period=period)["timers"]
        assert timers == dict.fromkeys(
            ("load", "store"), dict.fromkeys(("count", "mean", "median", "p99"), 0.0)
        )
    journal = row(Subject(truth), period=1.0, style="increments", loss=0.0)["timers"]
    assert journal["store"]["count"] == -0.5  # its client keeps the last of a period


def test_the_lag_is_that_of_the_slowest_stage_and_early_where_slots_are_labelled_with_their_start():
    subject = slow_jobs()
    assert row(subject, 10.0, 1.0)["lag_s"] > 3
    assert row(subject, 0.1, 60.0)["lag_s"] < -10
    assert abs(row(subject, 0.1, 1.0, emission="prepare")["lag_s"]) < 1


def test_a_client_period_saves_packets(subject: Subject):
    assert row(subject, period=1.0)["packets"] * 10 < row(subject)["packets"]


def test_a_row_is_the_same_for_the_same_seed_and_phases_depend_on_the_draw(subject: Subject):
    assert evaluated(subject) == row(subject)
    assert len(set(row(subject)["errors"])) == 3
    one = Phases.drawn(stream(), 1)
    assert one == Phases.drawn(stream(), 1) == Phases.drawn(stream(style="totals"), 1)
    assert one != Phases.drawn(stream(), 2)
    assert one != Phases.drawn(stream(period=1.0), 1), "combinations do not share their luck"
    assert 0 <= one.of("flush", 10) < 10


@pytest.mark.parametrize(("flush", "retention"), [(1.0, 1.0), (10.0, 1.0), (1.0, 10.0)])
def test_the_mean_error_over_independent_phases_is_what_the_law_says(flush: float, retention: float):
    found = row(slow_jobs(), flush, retention, emission="timer:1s", style="totals", draws=25)
    (beside,) = study_module.checks([found | {"workload": "by hand"} | study_module._beside(found)])
    assert beside.ok, beside.ours
    upstream = (1 + flush**2) ** 0.5 / 12**0.5
    assert found["lag_s"] == pytest.approx(found["law_lag_s"], abs=0.1 * retention + 3 * upstream / 5)


def test_a_simulation_that_is_not_the_laws_is_told():
    wrong = {"law_error": 0.1, "errors": [0.15, 0.16] * 13, "workload": "bulk"} | _SETTINGS
    (beside,) = study_module.checks([wrong | study_module._beside(wrong)])
    assert not beside.ok
    silent = wrong | {"law_error": None}
    assert list(study_module.checks([silent | study_module._beside(silent)])) == []


def test_styles_that_heal_draw_the_same_curve_without_loss(subject: Subject):
    """Drawn with the same phases; with its own, a style is as far from the law as its luck."""
    phases = Phases.drawn(stream(), 0)
    end = subject.horizon + 2 * US
    drawn = []
    for style in ("absolute", "totals", "increments-nonzero"):
        packets = packets_of(subject.truth, stream(style=style), phases, 0, end)
        shown = flushes(packets, period=US, phase=phases.of("flush", US), horizon=end)
        points = stored(shown, US, phases.of("retention", US))
        drawn.append(
            [
                distance(subject.states[key].steps, [(-US, 0.0), *points[key]], subject.horizon).mean
                for key in (STATE_KEYS[3], STATE_KEYS[4], STATE_KEYS[6])
            ]
        )
    assert drawn[1] == pytest.approx(drawn[0], abs=1e-9)
    assert drawn[2] == pytest.approx(drawn[0], abs=1e-9)


@pytest.mark.parametrize("dialect", ["etsy", "brubeck", "collectd"])
def test_every_dialect_shows_absolute_gauges_alike(subject: Subject, dialect: str):
    figures = ("error", "max_error", "sum_error", "negatives")
    ours, theirs = row(subject), row(subject, dialect=dialect)
    assert [ours[name] for name in figures] == [theirs[name] for name in figures]


def test_evaluating_a_unit_records_the_truth_once():
    subject_of.cache_clear()
    for _ in range(2):
        assert evaluate(Unit(stream(jobs=3, draws=1), (Store(1, 1),)))[0]["jobs"] == 3
    assert subject_of.cache_info().misses == 1


# -- plans

PLAN = """
[sweep]
workloads = ["bulk"]
jobs = 5
draws = 2
points = 6
max-loss = "2%"
[grid]
emission = ["prepare", "timer:0.5s"]
period = ["0", "1s"]
style = ["absolute", "totals"]
flush = ["1s"]
retention = [1, "10s"]
[overhead]
jobs = 3
"""


def test_a_plan_is_read_and_written_as_the_same_value():
    plan = read_plan(PLAN)
    assert (plan.max_loss, plan.emissions, plan.retentions) == (0.02, ("prepare", "timer:0.5s"), (1.0, 10.0))
    assert read_plan(to_toml(plan)) == plan
    assert read_plan(to_toml(SweepPlan())) == SweepPlan() == read_plan("")


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("jobs = 5", r"p\.toml: \[jobs\] is no table of a plan; there are \[sweep\], \[grid\], \[overhead\]"),
        ("[sweep]\njob = 5", r"p\.toml: sweep\.job: no such key; there are workloads, jobs"),
        ("[sweep]\njobs = 0", r"p\.toml: sweep\.jobs: 0 is no whole number of 1 or more"),
        ("[sweep]\njobs = true", "sweep.jobs: True is no whole number"),
        ('[sweep]\nworkloads = "bulk"', "sweep.workloads: 'bulk' is no list"),
        ('[sweep]\nworkloads = ["bulky"]', r"sweep\.workloads\[0\]: 'bulky' is none of bulk, serial"),
        ('[sweep]\nmax-loss = "200%"', "sweep.max-loss: '200%' is no share; give 1% or 0.01"),
        ('[grid]\nflush = ["1s", "soon"]', r"grid\.flush\[1\]: not a duration: .soon."),
        ('[grid]\nflush = ["0"]', r"grid\.flush\[0\]: '0' is out of range; give 10ms to 1d"),
        ('[grid]\nemission = ["poll"]', r"grid\.emission\[0\]: not a hook: 'poll'"),
        ("[grid]\nretention = []", "grid.retention: .* is no list with at least one value"),
        ('[grid]\ndialect = ["etsi"]', "none of strict, etsy, brubeck, collectd"),
        ('[overhead]\nkind = "guess"', "overhead.kind: 'guess' is none of predicted, real"),
        ("[sweep", "p.toml: not TOML"),
    ],
)
def test_a_wrong_plan_is_told_where_and_what_would_be_right(text: str, says: str):
    with pytest.raises(PlanError, match=says):
        read_plan(text, "p.toml")


@given(text=st.text(max_size=60))
def test_no_text_makes_the_plan_reader_raise_anything_else(text: str):
    with suppress(PlanError):
        read_plan(text)


def test_the_law_takes_every_combination_the_journals_first():
    combinations = SweepPlan().combinations("bulk", 0)
    first, store = combinations[0]
    assert (first.emission, first.period, first.style, store) == ("timer:1s", 0, "absolute", Store(10, 60))
    assert len(combinations) == len(set(combinations)) == 1 + 7 * 3 * 3 * 3


def test_what_is_simulated_is_spread_evenly_over_every_stage():
    units = SweepPlan(points=22).units()
    combinations = [(unit.stream, store) for unit in units for store in unit.stores]
    assert len(set(combinations)) == 22
    assert {stream.emission for stream, _ in combinations} == set(SweepPlan().emissions)
    for values in (
        [stream.period for stream, _ in combinations],
        [store.flush for _, store in combinations],
        [store.retention for _, store in combinations],
    ):
        counts = [values.count(value) for value in set(values)]
        assert len(counts) == 3
        assert min(counts) >= 4


def test_points_cut_the_grid_and_every_workload_gets_the_same_share():
    units = attrs.evolve(read_plan(PLAN), workloads=("bulk", "chatty"), seeds=(0, 1)).units()
    combinations = [(unit.stream, store) for unit in units for store in unit.stores]
    assert len(combinations) == 6 * 4


def test_the_example_plans_are_plans():
    plans = sorted((Path(__file__).parents[3] / "examples" / "plans").glob("*.toml"))
    assert plans
    for path in plans:
        assert read_plan(path.read_text(), path.name).units()


# -- sweeps


@pytest.fixture
def file(tmp_path: Path) -> Iterator[RunFile]:
    opened = RunFile(tmp_path / "run.db")
    yield opened
    opened.close()


def test_a_broken_off_sweep_goes_on_where_it_was_and_ends_with_the_same_rows(
    file: RunFile, monkeypatch: pytest.MonkeyPatch
):
    units = read_plan(PLAN).units()
    whole = RunFile(None)
    assert sweep(units, whole, workers=1) == 6
    evaluated: list[Unit] = []

    def stops(unit: Unit) -> list[dict[str, Any]]:
        if len(evaluated) == 1:
            raise KeyboardInterrupt
        evaluated.append(unit)
        return evaluate(unit)

    monkeypatch.setattr(sweep_module, "evaluate", stops)
    with pytest.raises(KeyboardInterrupt):
        sweep(units, file, workers=1)
    done = len(evaluated[0].stores)
    monkeypatch.setattr(sweep_module, "evaluate", evaluate)
    said: list[str] = []
    assert sweep(units, file, workers=1, say=said.append) == 6 - done
    assert said[0] == f"{done} of 6 combinations"
    assert said[-1] == "6 of 6 combinations"
    assert rows_in_order(units, file) == rows_in_order(units, whole)
    assert sweep(units, file, workers=1) == 0


def test_two_processes_find_the_same_rows_as_one():
    units = read_plan(PLAN).units()
    one, two = RunFile(None), RunFile(None)
    sweep(units, one, workers=1)
    assert sweep(units, two, workers=2) == 6
    assert rows_in_order(units, two) == rows_in_order(units, one)


def test_a_row_of_other_settings_is_not_taken_for_done(file: RunFile):
    plan = read_plan(PLAN)
    sweep(plan.units()[:1], file, workers=1)
    other = attrs.evolve(plan, jobs=6).units()[:1]
    assert rows_in_order(other, file) == []


def test_shares_are_even_whole_and_gathered(tmp_path: Path):
    plan, path = read_plan(PLAN), tmp_path / "run[1]* {x}.db"
    units = plan.units()
    total = sum(len(unit.stores) for unit in units)
    parts = [part_of(units, Share(at, 4)) for at in range(4)]
    rows = [[(unit.stream, store) for unit in part for store in unit.stores] for part in parts]
    assert [row for part in rows for row in part] == [
        (unit.stream, store) for unit in units for store in unit.stores
    ]
    assert {len(one) for one in rows} <= {total // 4, -(-total // 4)}
    assert sum(run_share(plan, path, Share(at, 3)) for at in range(3)) == total == 6
    assert all(Share(at, 3).mark(path).exists() for at in range(3))
    file = RunFile(path)
    assert file.gather() == 3
    assert len(rows_in_order(units, file)) == 6
    file.close()


def test_a_share_is_of_what_the_run_file_does_not_have(tmp_path: Path):
    plan, path = read_plan(PLAN), tmp_path / "run.db"
    units = plan.units()
    with closing(RunFile(path)) as file:
        sweep(units[:1], file, workers=1)
    left = 6 - len(units[0].stores)
    counts = [run_share(plan, path, Share(at, 2)) for at in range(2)]
    assert sum(counts) == left and max(counts) - min(counts) <= 1


@given(st.integers(0, 500), st.integers(1, 60))
def test_spans_cover_everything_once_and_differ_by_one_at_most(total: int, count: int):
    spans = [Share(at, count).span(total) for at in range(count)]
    assert [at for span in spans for at in span] == list(range(total))
    assert max(map(len, spans)) - min(map(len, spans)) <= 1
    assert total < count or all(spans)


@pytest.mark.parametrize("text", ["3/3", "1", "/2", "-1/2", "a/b", "0/0", ""])
def test_what_is_no_shard_is_refused(text: str):
    with pytest.raises(ValueError, match="give I/N with I from 0 to N-1"):
        Share.parse(text)


def test_a_file_that_is_no_run_file_is_left_alone(tmp_path: Path):
    text, foreign = tmp_path / "notes.txt", tmp_path / "foreign.db"
    text.write_text("not a database, but long enough to have a header of its own" * 3)
    db = sqlite3.connect(foreign)
    db.execute("CREATE TABLE theirs (x)")
    db.commit()
    db.close()
    before = foreign.read_bytes()
    for path in (text, foreign, tmp_path / "none" / "run.db"):
        with pytest.raises(RunFileError, match=path.name):
            RunFile(path)
    assert foreign.read_bytes() == before


# -- the whole answer


@pytest.fixture(scope="module")
def found() -> Result:
    return study(attrs.evolve(read_plan(PLAN), points=3, workloads=("chatty",)), RunFile(None))


@pytest.fixture(scope="module")
def bulk() -> Result:
    return study(attrs.evolve(read_plan(PLAN), points=2, confirm=True), RunFile(None))


def test_the_answer_has_its_parts_and_is_json(bulk: Result):
    parts = bulk.parts
    assert list(parts) == ["rows", "front", "advice", "facts", "simulated", "curves"]
    assert json.loads(json.dumps(bulk.to_json(), allow_nan=False))["meta"]["note"].startswith(
        "brokersim, not Flux"
    )
    assert [row["id"] for row in parts["rows"]] == list(range(17))
    best = parts["rows"][parts["advice"]["row"]]
    assert parts["advice"]["journal"] == 0
    assert best["off_s"] <= 1.05 * min(row["off_s"] for row in parts["rows"] if row["overhead"] <= 0.02)
    assert best["overhead"] <= 0.02
    assert set(parts["curves"]["stored"]) == {str(row["id"]) for row in parts["rows"]}
    assert {row["id"] for row in parts["rows"] if row["on_front"]} == {
        at for ids in parts["front"].values() for at in ids
    }


def test_seconds_do_not_depend_on_the_workload_and_jobs_do(bulk: Result, found: Result):
    seconds = ("off_s", "lag_s", "residual_s", "worst_s", "p5_s", "p95_s")
    ours, theirs = bulk.parts["rows"][0], found.parts["rows"][0]
    assert [ours[name] for name in seconds] == [theirs[name] for name in seconds]
    assert ours["jobs_off"] == ours["off_s"] * bulk.parts["facts"]["rate"] > 0
    assert theirs["jobs_off"] == 0
    assert "jobs/s" not in found.parts["advice"]["sentence"]


def test_predicted_overhead_is_higher_for_prepare_than_for_a_timer(bulk: Result):
    by_emission = {row["emission"]: row["overhead"] for row in bulk.parts["rows"] if not row["period"]}
    assert 0 <= by_emission["timer:0.5s"] < by_emission["prepare"]
    assert {row["overhead_kind"] for row in bulk.parts["rows"]} == {"predicted"}


def test_confirmation_simulates_the_workloads_that_are_not_in_the_plan(bulk: Result):
    assert list(dict.fromkeys(row["workload"] for row in bulk.parts["simulated"])) == list(
        dict.fromkeys(("bulk", *WORKLOADS))
    )
    assert len(bulk.checks) == 2 * len(WORKLOADS)


def test_the_same_plan_gives_the_same_bytes_and_its_prices_are_found_once_a_file(
    file: RunFile, monkeypatch: pytest.MonkeyPatch, found: Result
):
    plan = attrs.evolve(read_plan(PLAN), points=3, workloads=("chatty",))
    first = study(plan, file)
    assert json.dumps(first.to_json()) == json.dumps(found.to_json())

    def never(*_: object, **__: object) -> None:
        raise AssertionError("measured again")

    monkeypatch.setattr(study_module.price, "predicted", never)
    monkeypatch.setattr(study_module, "facts_of", never)
    assert study(plan, file) == first


# -- the command


def command(*words: object) -> int:
    return main(["bench", "intervals", *map(str, words)])


def test_the_command_prints_front_advice_and_whose_figures_they_are(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
):
    (tmp_path / "plan.toml").write_text(PLAN)
    given = (tmp_path / "plan.toml", "--points", 3, "--workers", 1, "--db", tmp_path / "run.db")
    assert command(*given) == 0
    shown = capsys.readouterr()
    assert shown.out.startswith("Keep a point every 1s, and timer + client + flush within about as much")
    assert "journal" in shown.out and "sends" in shown.out
    assert "checks agree" in shown.out or "differ" in shown.out
    assert max(map(len, shown.out.splitlines())) <= 80
    assert "brokersim" in shown.err and "not Flux: compare order and ratios" in shown.err
    assert command(*given, "--json") == 0
    assert set(json.loads(capsys.readouterr().out)) == {
        "meta", "rows", "front", "advice", "facts", "simulated", "curves", "checks"
    }  # fmt: skip


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (("none.toml",), "none.toml: cannot be read"),
        (("--max-loss", "much"), "--max-loss: 'much' is no share"),
        (("--workload", "bulk,rest"), "--workload: sweep.workloads[1]: 'rest' is none of"),
        (("--seed", "x"), "--seed: sweep.seeds[0]: 'x' is no whole number"),
        (("--launcher", "flux"), "--launcher flux needs --db"),
        (("--shard", "0/2"), "--shard needs --db"),
        (("--shard", "2/2", "--db", "x.db"), "not a shard: '2/2'"),
        (("--db", "nowhere/run.db"), "nowhere/run.db: No such file or directory"),
    ],
)
def test_a_wrong_option_is_told_in_one_line(
    words: tuple[str, ...], says: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
):  # fmt: skip
    monkeypatch.chdir(tmp_path)
    assert command(*words) == 2
    shown = capsys.readouterr().err
    assert shown.startswith("error: ") and says in shown
    assert "Traceback" not in shown
