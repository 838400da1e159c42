"""Two results side by side: what differs, by how much, and what is only in one of them."""

from __future__ import annotations

import sys
from typing import Any

import attrs
import pytest

from brokersim.lab.keep.compare import compare, overlaid
from brokersim.lab.result import Result
from brokersim.lab.show.report import page
from brokersim.lab.show.report_text import to_json, to_markdown
from brokersim.lab.show.tables import key_columns


def result(rows: list[dict[str, Any]], checks: list[tuple[str, bool]] = (), **meta: Any) -> Result:  # type: ignore[assignment]
    return Result.from_json({
        "meta": {"experiment": "overhead", "plan": {"jobs": 10}, **meta},
        "runs": rows,
        "series": {row["hook"]: [[0.0, 1.0], [1.0, float(row["wall_s"])]] for row in rows},
        "checks": [
            {"id": name, "sentence": f"{name} holds", "ok": ok, "ours": "1", "journal": ""}
            for name, ok in checks
        ],
    })  # fmt: skip


BASE = result([{"hook": "none", "wall_s": 2.0, "packets": 0}, {"hook": "idle", "wall_s": 8.0, "packets": 100}],
              [("L7", True), ("J3", False)], seed=1)  # fmt: skip
THIS = result([{"hook": "none", "wall_s": 2.0, "packets": 0}, {"hook": "idle", "wall_s": 6.0, "packets": 150}],
              [("L7", False), ("J3", True)], seed=2)  # fmt: skip


def test_figures_have_their_difference_and_ratio_and_settings_and_checks_what_changed() -> None:
    found = compare(THIS, BASE)
    assert [one.to_row() for one in found.farthest()] == [
        {"row": "idle", "figure": "packets", "base": 100, "this": 150, "difference": 50, "ratio": 1.5},
        {"row": "idle", "figure": "wall_s", "base": 8.0, "this": 6.0, "difference": -2.0, "ratio": 0.75},
    ]
    assert len(found.figures) == 4
    assert found.settings == (("seed", 1, 2),)
    assert found.checks == (("L7", True, False), ("J3", False, True))
    assert found.only == ()


def test_a_result_is_within_any_tolerance_of_itself() -> None:
    assert compare(BASE, BASE).is_within(0.0)
    assert compare(BASE, BASE).farthest() == []


def test_a_check_that_was_fine_and_is_not_is_beyond_every_tolerance() -> None:
    assert not compare(THIS, BASE).is_within(10.0)
    better = attrs.evolve(THIS, checks=BASE.checks)
    assert compare(better, BASE).is_within(0.5)
    assert not compare(better, BASE).is_within(0.49)


def test_a_ratio_to_nothing_is_none_and_differs_from_any_other_figure() -> None:
    now = result([{"hook": "none", "wall_s": 2.0, "packets": 1}])
    was = result([{"hook": "none", "wall_s": 2.0, "packets": 0}])
    (one,) = compare(now, was).farthest()
    assert one.ratio is None
    assert one.exceeds(1000.0)


def test_a_list_is_no_figure() -> None:
    def rows(mark: str) -> list[dict[str, Any]]:
        return [{"hook": hook, "wall_s": 2.0, "marks": [mark]} for hook in ("a", "b")]

    found = compare(result(rows("x")), result(rows("y")))
    assert {one.figure for one in found.figures} == {"wall_s"}


def test_rows_of_one_side_only_are_named() -> None:
    fewer = result([{"hook": "none", "wall_s": 2.0, "packets": 0}])
    assert compare(fewer, BASE).only == (("idle", "base"),)
    assert compare(BASE, fewer).only == (("idle", "this"),)
    assert not compare(fewer, BASE).is_within(1.0)


def test_rows_that_share_their_words_are_told_apart_by_their_numbers() -> None:
    rows = [{"fix": "none", "period_s": 0.0, "lines": 3}, {"fix": "none", "period_s": 1.0, "lines": 3}]
    assert key_columns(rows) == ["fix", "period_s"]
    assert key_columns([]) == []


def test_results_of_two_experiments_are_refused() -> None:
    other = attrs.evolve(BASE, meta={"experiment": "states"})
    with pytest.raises(ValueError, match="'overhead' and 'states' cannot be compared"):
        compare(BASE, other)


def test_the_bases_curves_lie_dotted_under_the_same_colour() -> None:
    (chart,) = overlaid(THIS, BASE)
    assert [panel.title for panel in chart.panels] == ["none", "idle"]
    ours, base = chart.curve_panels[1].curves
    assert (ours.label, base.label) == ("metrics/s", "metrics/s (base)")
    assert base.colour == ours.colour
    assert (ours.dash, base.dash) == ("", "1 3")
    assert base.points[-1] == [1.0, 8.0]


def test_a_chart_that_the_base_has_not_stays_as_it_is() -> None:
    fewer = result([{"hook": "none", "wall_s": 2.0, "packets": 0}])
    (chart,) = overlaid(BASE, fewer)
    assert [[curve.label for curve in panel.curves] for panel in chart.curve_panels] == [
        ["metrics/s", "metrics/s (base)"],
        ["metrics/s"],
    ]


def test_page_markdown_and_json_tell_the_same_differences(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "matplotlib", None)  # these rows have not what its pictures need
    text = to_markdown([THIS], BASE)
    assert "| idle | packets | 100 | 150 | 50 | 1.5 |" in text
    assert "- L7: ✓ → ✗" in text
    document = to_json([THIS], BASE)["compared"][0]
    assert document["figures"][3]["ratio"] == 1.5
    assert document["settings"] == [{"setting": "seed", "base": 1, "this": 2}]
    html = page([THIS], BASE)
    assert "2 figures differ, 2 are the same." in html
    assert "<td>idle</td><td>packets</td><td>100</td><td>150</td><td>50</td><td>1.5</td>" in html
