"""The experiments' commands: tables, ✓ and ✗, JSON, what is kept, and plans that cannot be."""

from __future__ import annotations

import re
import signal
from pathlib import Path
from typing import Any

import pytest

from brokersim.cli.bench import bench
from brokersim.cli.bench.output import agreement, check_lines, print_beside
from brokersim.cli.session import Session
from brokersim.lab import order
from brokersim.lab.order import Order, Outcome
from brokersim.lab.result import Beside, Check
from tests.cli.conftest import Run

SMALL = {
    "states": ("--jobs", "4", "--tail", "2s"),
    "idle": ("--seconds", "10s", "--background-job", "0"),
    "latency": ("--jobs", "4"),
    "period": ("--jobs", "4"),
    "modules": ("--jobs", "2"),
    "overhead": ("--jobs", "2"),
    "decay": ("--jobs", "4", "--blocks", "2"),
    "watchers": ("--jobs", "2", "--clock", "virtual", "--hooks", "none,prepare"),
    "resolution": ("--jobs", "20", "--size", "2", "--timers", "0.1s", "--flushes", "0.5s,0.1s"),
    "probes": ("--jobs", "20"),
    "aggregator": ("--lines", "300", "--dialects", "brubeck"),
}
#: Sockets have no virtual time; the curve of a counter is the same whatever a message costs.
CLOCKS = {"aggregator": "real clock", "probes": "virtual clock"}
#: What came of the orders so far: three tests look at one run's three forms.
_FOUND: dict[str, Outcome] = {}


@pytest.fixture
def once(monkeypatch: pytest.MonkeyPatch) -> None:
    """An order that was carried out is not carried out again."""

    carry_out = order.carry_out

    def found(wanted: Order, *more: Any) -> Outcome:
        key = f"{wanted.experiment.name} {wanted.plan} {wanted.reps} {wanted.costs} {wanted.places}"
        if key not in _FOUND:
            _FOUND[key] = carry_out(wanted, *more)
        return _FOUND[key]

    monkeypatch.setattr(order, "carry_out", found)


@pytest.mark.usefixtures("once")
@pytest.mark.parametrize("experiment", SMALL)
def test_an_experiment_says_what_was_found_then_a_table_one_line_of_checks_and_what_it_ran_on(
    experiment: str, run: Run
) -> None:
    done = run("bench", experiment, *SMALL[experiment], "--seed", "11")
    assert done.code == 0
    sentence, table, checks = done.out.split("\n\n")
    assert sentence.endswith(".")
    assert max(map(len, sentence.splitlines())) <= 80
    assert len(table.splitlines()) > 1
    assert re.match(r"\d+ of \d+ checks? agrees?", checks)
    assert "not Flux: compare order and ratios" in done.err
    assert f"{CLOCKS.get(experiment, 'virtual clock (costs journal-2021)')}, seed 11" in done.err


@pytest.mark.usefixtures("once")
@pytest.mark.parametrize("experiment", SMALL)
def test_every_check_is_listed_once_by_those_who_ask(experiment: str, run: Run) -> None:
    checks = run("bench", experiment, *SMALL[experiment], "--seed", "11", "-v").out.split("\n\n")[-1]
    assert max(map(len, checks.splitlines())) <= 80
    each = re.split(r"^(?=[✓✗] )", checks, flags=re.MULTILINE)
    assert each[0] == ""
    heads = [one.partition("\n    ours: ")[0] for one in each[1:]]
    assert all(len(head) < len(one) for head, one in zip(heads, each[1:], strict=True))
    sentences = [" ".join(head.partition(": ")[2].split()) for head in heads]
    assert len(sentences) == len(set(sentences))


@pytest.mark.usefixtures("once")
def test_watchers_show_five_rows_that_fit_a_terminal_and_say_what_the_clock_models(run: Run) -> None:
    done = run("bench", "watchers", *SMALL["watchers"])
    titles, *rows = done.out.split("\n\n")[1].splitlines()
    assert [line.split()[0] for line in (titles, *rows)] == ["hook", "none", "prepare"]
    assert max(map(len, (titles, *rows))) <= 80
    assert "virtual clock: a thread a module on so many cores" in done.err
    assert "virtual clock (costs journal-2021), seed 0" in done.err


@pytest.mark.usefixtures("once")
def test_watchers_show_what_each_module_counted_to_those_who_ask(run: Run) -> None:
    found = run("bench", "watchers", *SMALL["watchers"], "--json").json["modules"]["prepare"]
    parts = run("bench", "watchers", *SMALL["watchers"], "-v").out.split("\n\n")
    below = next(part for part in parts if part.startswith("counters of each module")).splitlines()
    assert below[0] == "counters of each module, hook prepare"
    assert [line.split()[0] for line in below[2:]] == [module["name"] for module in found]
    kvs = next(line.split() for line in below if line.startswith("kvs "))
    assert [int(cell) for cell in kvs[1:9]] == next(m["counts"] for m in found if m["name"] == "kvs")


@pytest.mark.usefixtures("once")
@pytest.mark.parametrize("experiment", SMALL)
def test_json_is_the_result_and_the_seed_is_in_it(experiment: str, run: Run) -> None:
    found = run("bench", experiment, *SMALL[experiment], "--seed", "11", "--json").json
    assert (found["meta"]["experiment"], found["meta"]["seed"]) == (experiment, 11)
    assert {"id", "sentence", "ok", "ours", "journal", "why"} == set(found["checks"][0])
    assert found["runs"]


def test_every_experiment_is_a_command_of_the_group() -> None:
    import click

    assert set(SMALL) | {"calibrate", "hooks", "intervals", "journal"} == set(
        bench.list_commands(click.Context(bench))
    )


@pytest.mark.parametrize("experiment", [*SMALL, "journal", "intervals", "calibrate", "hooks"])
def test_the_help_fits_a_screen_with_examples_first(experiment: str, run: Run) -> None:
    lines = run("bench", experiment, "-h").out.splitlines()
    assert lines[0].startswith(f"  brokersim bench {experiment}")
    assert len(lines) <= 24


def test_out_keeps_the_result_and_its_page(run: Run, tmp_path: Path) -> None:
    pytest.importorskip("matplotlib")
    done = run("bench", "decay", *SMALL["decay"], "--out", str(tmp_path / "kept"))
    assert done.code == 0
    assert {path.name for path in (tmp_path / "kept").iterdir()} == {"result.json", "index.html"}
    again = run("report", str(tmp_path / "kept" / "result.json"), "-o", str(tmp_path / "again.html"))
    assert again.code == 0
    assert (tmp_path / "again.html").read_bytes() == (tmp_path / "kept" / "index.html").read_bytes()


def test_plots_may_be_pictures_or_none(run: Run, tmp_path: Path) -> None:
    pytest.importorskip("matplotlib")
    run("bench", "decay", *SMALL["decay"], "--out", str(tmp_path), "--plot", "svg")
    assert {path.name for path in tmp_path.iterdir()} == {"result.json", "decay.svg"}
    run("bench", "decay", *SMALL["decay"], "--out", str(tmp_path / "bare"), "--plot", "none")
    assert {path.name for path in (tmp_path / "bare").iterdir()} == {"result.json"}


def test_the_period_takes_a_list_and_one_fix(run: Run) -> None:
    found = run("bench", "period", "--jobs", "3", "--periods", "100ms,2s", "--fix", "totals", "--json").json
    assert [(row["period_s"], row["fix"]) for row in found["runs"]] == [(0.1, "totals"), (2.0, "totals")]


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (("states", "--jobs", "0"), "0 is no whole number of"),
        (("states", "--timer", "0s"), "timer"),
        (("idle", "--seconds", "1s"), "seconds"),
        (("idle", "--background-job", "-1"), "-1"),
        (("period", "--periods", "soon"), "soon"),
        (("period", "--fix", "all,none"), "all,none"),
        (("decay", "--blocks", "1"), "1 is no whole number of"),
        (("latency", "--timing", "both,aux"), "both,aux"),
        (("overhead", "--clock", "sun"), "sun"),
    ],
)
def test_a_plan_that_cannot_be_is_refused_in_a_line(words: tuple[str, ...], told: str, run: Run) -> None:
    done = run("bench", *words)
    assert done.code == 2
    assert told in done.err
    assert "Traceback" not in done.err
    assert len(done.err.strip().splitlines()) <= 3


def test_a_report_of_what_is_no_result_fails_in_a_line(run: Run, tmp_path: Path) -> None:
    pytest.importorskip("matplotlib")
    (tmp_path / "x.json").write_text("{}")
    done = run("report", str(tmp_path / "x.json"), "-o", str(tmp_path / "x.html"))
    assert done.code == 1
    assert "is no result of an experiment" in done.err
    assert not (tmp_path / "x.html").exists()


def test_disagreement_is_marked_and_both_figures_stand_under_it() -> None:
    checks = [
        Check(id="J1", sentence="it holds", ok=True, ours="1", why="it is late"),
        Check(id="J2", sentence="it does not", ok=False, ours="2", journal="3", why="it is late"),
    ]
    session = Session()
    session.color = "never"
    assert [line.replace("\x1b[32m", "").replace("\x1b[31m", "").replace("\x1b[0m", "") for line in check_lines(
        session, checks
    )] == [
        "✓ J1: it holds", "    ours: 1", "✗ J2: it does not", "    ours: 2", "    journal: 3", "    why: it is late",
    ]  # fmt: skip


def test_what_differs_is_named_in_one_line() -> None:
    good, bad = (Check(id=name, sentence=name, ok=name == "J1") for name in ("J1", "J2"))
    assert agreement([good]) == "1 of 1 check agrees (-v lists them)"
    assert agreement([good, bad]) == "1 of 2 checks agree, 1 differs: J2 (-v says what and why)"


def test_a_difference_we_declare_ourselves_has_no_tick(capsys: pytest.CaptureFixture[str]) -> None:
    rows = [
        Beside(what="same", ours="1", journal="1", ok=True),
        Beside(what="meant", ours="1", journal="2", ok=True, why="another machine"),
        Beside(what="wrong", ours="1", journal="2", ok=False, why="another machine"),
    ]
    print_beside(Session(), rows)
    assert [line[0] for line in capsys.readouterr().out.splitlines()[2:]] == ["✓", "–", "✗"]


@pytest.mark.parametrize(
    ("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143), (signal.SIGHUP, 129)]
)
def test_a_run_that_is_broken_off_says_what_is_kept_and_the_same_command_goes_on(
    number: signal.Signals, code: int, run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from brokersim.lab.experiments import decay

    observe = decay._observe

    async def broken_off(plan: decay.Plan, model: str) -> Any:
        if model == "store":
            signal.raise_signal(number)
            signal.raise_signal(number)  # to the whole group as well, as timeout(1) sends it
        return await observe(plan, model)

    monkeypatch.setattr(decay, "_observe", broken_off)
    words = ("bench", "decay", *SMALL["decay"], "--db", str(tmp_path / "run.db"))
    done = run(*words)
    assert (done.code, done.out) == (code, "")
    assert (
        done.err
        == f"interrupted: what is done is kept in {tmp_path}/run.db.part; the same command goes on from there\n"
    )
    monkeypatch.setattr(decay, "_observe", observe)
    assert "went on: 2 of its parts had been done" in run(*words).err


def test_who_breaks_off_a_run_that_is_not_kept_hears_of_the_way_to_keep_it(
    run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    from brokersim.lab.experiments import decay

    monkeypatch.setattr(decay, "_observe", lambda *_: signal.raise_signal(signal.SIGTERM))
    done = run("bench", "decay", *SMALL["decay"])
    assert (done.code, done.err) == (
        143,
        "interrupted: nothing is kept; with --db RUN.db what is done stays, and the same command goes on\n",
    )


def test_what_nohup_ignores_stays_ignored(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    from brokersim.lab.experiments import decay

    observe = decay._observe

    async def hung_up(plan: decay.Plan, model: str) -> Any:
        signal.raise_signal(signal.SIGHUP)
        return await observe(plan, model)

    monkeypatch.setattr(decay, "_observe", hung_up)
    before = signal.signal(signal.SIGHUP, signal.SIG_IGN)
    try:
        assert run("bench", "decay", *SMALL["decay"]).code == 0
    finally:
        signal.signal(signal.SIGHUP, before)
