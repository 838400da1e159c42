"""The table of experiments: what it covers of the journal, its presets, repetitions and the book."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest

from brokersim.lab.experiments.book import CHAPTERS, chapters
from brokersim.lab.experiments.experiment import PRESETS, repeated
from brokersim.lab.experiments.registry import NAMES, experiment, experiments

DOCS = Path(__file__).parents[3] / "docs" / "experiments.md"
JOURNAL = {f"J{n}" for n in range(1, 22) if n != 19}
LAWS = {f"L{n}" for n in range(1, 9)}


def test_every_item_of_the_checklist_and_every_law_is_covered_by_an_experiment() -> None:
    covered = {one for each in experiments() for one in each.covers}
    assert covered == JOURNAL | LAWS | {"the open question"}


def test_every_item_stands_in_the_table_of_the_documentation_with_a_command_and_a_test_that_exists() -> None:
    rows = re.findall(
        r"^\| ([JL]\d+) \|.*\| `([^`]+)` \| `(tests/[^`]+)` \|$", DOCS.read_text(), re.MULTILINE
    )
    assert {name for name, _, _ in rows} == JOURNAL | LAWS
    root = DOCS.parents[1]
    for _, command, test in rows:
        assert command.startswith(("brokersim bench ", "brokersim stats ", "brokersim check "))
        path, _, name = test.partition("::")
        assert (root / path).is_file(), test
        assert not name or f"def {name}(" in (root / path).read_text(), test


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("preset", PRESETS)
def test_every_preset_is_a_plan(name: str, preset: str) -> None:
    plan = experiment(name).make_plan({}, preset)
    if preset == "journal" and experiment(name).has("jobs"):
        assert plan.jobs == 10_000


def test_what_is_given_stands_over_the_preset() -> None:
    plan = experiment("resolution").make_plan({"jobs": 7}, "journal")
    assert (plan.jobs, plan.batches, plan.retentions) == (7, 2, (60.0, 10.0, 1.0, 0.1))


@pytest.mark.parametrize(
    ("name", "given", "told"),
    [
        ("idle", {"jobs": 3}, "bench idle has no --jobs: it submits none"),
        ("aggregator", {"size": 2}, "bench aggregator has no --size: it looks at one broker"),
        ("decay", {"clock": "real"}, "--clock real: decay has a meaning under the virtual clock only"),
        (
            "aggregator",
            {"clock": "virtual"},
            "--clock virtual: aggregator has a meaning under the real clock only",
        ),
    ],
)
def test_an_option_that_means_nothing_to_an_experiment_is_refused(
    name: str, given: dict[str, object], told: str
) -> None:
    with pytest.raises(ValueError, match=re.escape(told)):
        experiment(name).make_plan(given)


def test_repetitions_take_the_next_seeds_and_a_check_agrees_if_it_does_in_all() -> None:
    period = experiment("period")
    found = repeated(period, period.make_plan({"jobs": 4, "seed": 5, "fixes": ("totals",)}), 2)
    assert found.meta["seed"] == 5
    assert len(found.parts["repetitions"]) == 2
    assert all(check.ours.endswith("(2 of 2 runs agree)") for check in found.checks)


def test_the_book_has_the_chapters_asked_for_with_the_same_bytes_each_time() -> None:
    names = ("decay", "period")
    given = {"jobs": 4, "seed": 1, "blocks": 2}
    first, second = (json.dumps([one.to_json() for one in chapters(names, given, "small")]) for _ in range(2))
    assert first == second
    assert [one["meta"]["experiment"] for one in json.loads(first)] == list(names)


def test_the_open_question_is_a_chapter_like_the_others() -> None:
    assert NAMES == CHAPTERS
    question = experiment("intervals")
    assert question.covers == ("the open question",)
    assert question.fields({"jobs": 7, "seed": 3, "blocks": 2}) == {"jobs": 7, "seeds": (3,)}
    plan = question.make_plan(
        question.fields({"plan_file": None, "seed": "1,2", "max_loss": "5%"}), "journal"
    )
    assert (plan.jobs, plan.points, plan.seeds, plan.max_loss) == (10_000, 12, (1, 2), 0.05)


def test_an_option_given_stands_over_the_plans_file_and_the_file_over_the_preset(tmp_path: Path) -> None:
    (tmp_path / "plan.toml").write_text("[sweep]\njobs = 70\nseeds = [4]\n[overhead]\nreps = 2\n")
    question = experiment("intervals")
    given = question.fields({"plan_file": str(tmp_path / "plan.toml"), "seed": "9", "overhead": "real"})
    plan = question.make_plan(given, "journal")
    assert (plan.jobs, plan.seeds, plan.points, plan.overhead, plan.reps) == (70, (9,), 12, "real", 2)
