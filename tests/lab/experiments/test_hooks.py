"""The one table of hooks: its rows, its bounds, what is recorded, and the documentation that shows it."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import attrs
import pytest

from brokersim.cli.main import main
from brokersim.lab.experiments import hooks as module
from brokersim.lab.experiments.hooks import EXPERIMENT, NONE, Plan, hooks
from brokersim.lab.experiments.watchers import Plan as Jobs
from brokersim.lab.experiments.watchers import watchers
from brokersim.lab.measure.figures import FIRST, JOB, WORKS, Figures, one_table, told
from brokersim.lab.measure.homes import HOOKS, KINDS, Done, Home
from brokersim.lab.result import Result
from brokersim.lab.show.report import page

DOCS = Path(__file__).parents[3] / "docs" / "experiments.md"
PACKETS = {"none": 0.0, "timer:1s": 0.0, "prepare": 3.0, "check": 2.0, "idle": 3.0}


def made_up(_flux: object, rounds: int, count: int, _say: Callable[[str], object]) -> list[Home]:
    done = {(hook, kind): [Done(1e-4, 3.0, PACKETS[hook])] * rounds for hook in HOOKS for kind in KINDS}
    return [Home(name=name, found=done) for name in ("in process", "--exec", "virtual")]


@pytest.fixture(scope="module")
def modelled() -> Result:
    return watchers(Jobs(jobs=6, clock="virtual"))


@pytest.fixture
def found(modelled: Result, monkeypatch: pytest.MonkeyPatch) -> Result:
    """As without a Flux, on a machine where everything is as it should be."""
    monkeypatch.setattr(module, "homes", made_up)
    monkeypatch.setattr(module.watchers, "watchers", lambda *_, **__: modelled)
    monkeypatch.setattr(module, "_spun", lambda _say: {"ping": 1.2, "jobs": 4.7, "calls": 1000.0})
    return hooks(Plan(jobs=6, reps=1, flux=NONE))


def test_each_kind_of_work_has_a_flux_with_its_day_and_every_home_here(found: Result) -> None:
    figures = [Figures.from_row(row) for row in found.runs]
    for work in ("plain", "rpc", "commit", "event"):
        first, *ours = [one for one in figures if one.work == work]
        assert first.is_flux and first.recorded
        assert [one.home for one in ours] == ["in process", "--exec", "virtual"]
    assert [one.home for one in figures if one.work == JOB][1:] == [
        "in process", "virtual", "Flux 0.28", "journal"
    ]  # fmt: skip
    assert (found.meta["flux"], found.meta["no_flux"]) == (None, "it was not wanted (--flux none)")


def test_every_difference_that_was_found_once_has_a_bound_and_one_outside_it_does_not_agree(
    found: Result, modelled: Result
) -> None:
    bounds = {row["id"].partition(" ")[0] for row in found.parts["bounds"]}
    assert bounds == {"1", "2", "3", "4"}
    assert [check.id for check in found.checks if check.id.startswith("bound") and not check.ok] == []
    figures = [Figures.from_row(row) for row in found.runs]
    spun = {"ping": 1.31, "jobs": 73.0, "calls": 0.0}
    outside = [row["id"] for row in module._bounds(modelled, figures, spun) if not module._in_bounds(row).ok]
    assert outside == ["2 a", "3", "4"]
    turned = [attrs.evolve(one, turns=2.0) if one.work == "rpc" else one for one in figures]
    spun = {"ping": 1.0, "jobs": 5.0, "calls": 1000.0}
    outside = [row["id"] for row in module._bounds(modelled, turned, spun) if not module._in_bounds(row).ok]
    assert outside == ["1 a in process", "1 a --exec", "1 a virtual"]


def test_what_is_not_fluxs_is_named_for_each_home_with_its_reason_and_no_row_is_left_out(
    found: Result,
) -> None:
    rows = {(row["work"], row["home"]): row for row in found.parts["unlike"]}
    assert len(rows) == 4 * 3 + 2 * 2
    real = next(one for one in one_table() if (one.work, one.is_flux) == ("rpc", True))
    assert real.turns is not None and real.turns > 3.25
    assert f"3 turns for {real.turns:.2g}" in rows["one rpc", "virtual"]["differs"]
    assert "its socket wakes" in rows["one rpc", "virtual"]["why"]
    assert all(bool(row["why"]) == (row["differs"] != "nothing beyond the noise") for row in rows.values())


def test_the_table_fits_a_terminal_and_a_star_marks_what_was_not_measured_now(found: Result) -> None:
    rows = list(EXPERIMENT.rows(found))
    assert {row["work"] for row in rows} == {WORKS[one] for one in FIRST}
    wide = [max(len(each.title), *(len(each.cell(row)) for row in rows)) for each in EXPERIMENT.columns]
    assert sum(wide) + 2 * (len(wide) - 1) <= 80
    assert [row["home"] for row in rows if row["work"] == "one rpc"][1:] == [
        "in process",
        "--exec",
        "virtual",
    ]
    assert rows[0]["home"].startswith("flux-core") and rows[0]["home"].endswith(" *")
    notes = " ".join(EXPERIMENT.notes(found))
    assert "* recorded: " in notes and "NOT MEASURED IN A REAL FLUX: it was not wanted" in notes
    assert EXPERIMENT.verdict(found).endswith("In process, idle in real time predicts nothing for Flux.")


def test_its_page_has_a_picture_of_every_home_and_can_be_made_of_what_was_kept(found: Result) -> None:
    again = Result.from_json(json.loads(json.dumps(found.to_json())))
    assert page([again]) == page([found])
    (chart,) = EXPERIMENT.charts(again)
    (bars,) = chart.panels
    assert [one.label for one in bars.sets] == ["timer:1s", "prepare", "check", "idle"]  # type: ignore[union-attr]
    assert "virtual" in bars.groups and "journal" in bars.groups  # type: ignore[union-attr]


def test_a_flux_that_is_none_is_refused_in_a_line(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["bench", "hooks", "--flux", "/nowhere/flux"]) == 2
    error = capsys.readouterr().err
    assert "/nowhere/flux" in error and "Traceback" not in error


def markdown(figures: list[Figures]) -> str:
    """The table as the documentation has it."""
    titles = {
        "work": "work", "home": "home", "measured": "measured", "none": "without a hook", "timer:1s": "timer:1s",
        "prepare": "prepare", "check": "check", "idle": "idle", "packets": "packets", "turns": "turns",
    }  # fmt: skip
    rows: list[dict[str, Any]] = [*told(figures)]
    lines = [titles.values(), ["---"] * len(titles), *([row[key] for key in titles] for row in rows)]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def test_the_documentation_shows_the_recorded_table() -> None:
    shown = DOCS.read_text(encoding="utf-8").partition("<!-- recorded -->\n")[2].partition("\n<!-- /rec")[0]
    assert shown == markdown([one for one in one_table() if one.work in FIRST])
