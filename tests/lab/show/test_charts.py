"""Charts of the journal's larger experiments: every curve where its name says, the truth beside it to the end."""

from __future__ import annotations

from typing import Any

import attrs
import pytest

from brokersim.lab.keep.export import parts
from brokersim.lab.result import Result
from brokersim.lab.show.chart import (
    COLOURS,
    HOOKS,
    Bars,
    Curve,
    held_until,
    hook_colour,
    last_time,
    named,
    quarters,
)
from brokersim.lab.show.charts import charts
from brokersim.lab.show.charts_watchers import _added, _paces
from brokersim.lab.show.report_text import without_curves
from brokersim.lab.show.tables import tables

POINTS = [[0.0, 1.0], [2.0, 3.0]]
FLOOD = {
    "sender": "bounded",
    "dialect": "etsy",
    "offered": 3,
    "received": 2,
    "dropped": 1,
    "buffer_bytes": 4096,
}
CHAIN = "timer 100ms, flush 1s, retention {}"


def found(experiment: str, **parts_: Any) -> Result:
    return Result(meta={"experiment": experiment, "plan": {"size": 8, "cores": 12}}, parts=parts_)


@pytest.mark.parametrize(
    ("end", "kept"),
    [
        (1.9, [[0.0, 1.0], [2.0, 3.0]]),
        (2.0, [[0.0, 1.0], [2.0, 3.0]]),
        (2.5, [[0.0, 1.0], [2.0, 3.0], (2.5, 3.0)]),
    ],
)
def test_a_last_value_holds_until_the_end_of_the_run(end: float, kept: list[Any]) -> None:
    assert list(held_until(POINTS, end)) == kept
    assert list(held_until([], end)) == []


def test_a_box_has_its_quarters_between_neighbours() -> None:
    assert quarters([]) == (0, 0, 0, 0, 0)
    assert quarters([7.0]) == (7, 7, 7, 7, 7)
    assert quarters([4.0, 0.0, 2.0, 1.0, 3.0]) == pytest.approx((0.2, 1, 2, 3, 3.8))


def test_a_hook_has_its_colour_whatever_its_period_and_answers_are_dashed() -> None:
    assert hook_colour("timer:0.5s") == hook_colour("timer") == HOOKS["timer"]
    assert hook_colour("of nobody") == COLOURS[3]
    curves = named({"response_tx": POINTS, "request_rx": POINTS}, step=False)
    assert [(one.dash, one.colour, one.marker, one.step) for one in curves] == [
        ("6 4", COLOURS[0], True, False), ("", COLOURS[1], True, False),
    ]  # fmt: skip
    assert last_time({"a": POINTS, "b": [], "c": [[9.0, 0.0]]}) == 9
    assert last_time({"b": []}) == 0


def test_each_hook_has_a_panel_with_its_metrics_and_kvs_its_counters_with_answers_dashed() -> None:
    metrics, counters = charts(
        found(
            "watchers",
            series={"prepare": POINTS, "check": POINTS},
            kvs={"prepare": {"request_tx": POINTS, "response_rx": POINTS}, "none": {}},
        )
    )
    assert [(panel.title, panel.y) for panel in metrics.panels] == [
        ("prepare", "metrics/s (log)"),
        ("check", "metrics/s (log)"),
    ]
    assert all(panel.log for panel in metrics.curve_panels)
    assert [panel.title for panel in counters.panels] == ["prepare"]
    assert [(curve.label, curve.dash) for curve in counters.curve_panels[0].curves] == [
        ("request_tx", ""),
        ("response_rx", "6 4"),
    ]
    assert charts(found("watchers", runs=[])) == []


def test_hooks_that_take_many_times_as_long_have_charts_of_their_own() -> None:
    long = [[0.0, 1.0], [40.0, 3.0]]
    drawn = charts(
        found(
            "watchers",
            series={"prepare": POINTS, "idle": long},
            kvs={"prepare": {"request_tx": POINTS}, "idle": {"request_tx": long}},
        )
    )
    assert [(chart.name, chart.title, [panel.title for panel in chart.panels]) for chart in drawn] == [
        ("watchers-metrics", "Metrics per second", ["prepare"]),
        ("watchers-metrics-idle", "Metrics per second, idle", ["idle"]),
        ("watchers-kvs", "kvs: counters over time", ["prepare"]),
        ("watchers-kvs-idle", "kvs: counters over time, idle", ["idle"]),
    ]


def chain() -> Result:
    states = ("INACTIVE", "SCHED", "RUN", "CLEANUP")
    return found(
        "resolution",
        runs=[
            {"timer_s": 0.1, "flush_s": 1.0, "retention_s": length, "error": 0.1} for length in (60.0, 1.0)
        ],
        series={CHAIN.format(length): dict.fromkeys(states, POINTS) for length in ("1m", "1s")},
        truth=dict.fromkeys(states, POINTS),
        horizon=9.0,
        slots={"allocated": POINTS, "running": POINTS},
        cache={"flush 1s": {"load": {"mean": POINTS, "median": []}}},
    )


def test_every_chain_of_intervals_has_its_panels_and_all_curves_go_on_to_the_horizon() -> None:
    drawn = {chart.name: chart for chart in charts(chain())}
    assert list(drawn) == [
        "resolution-error",
        "resolution-inactive-sched",
        "resolution-run-cleanup",
        "resolution-slots",
        "resolution-retention",
        "resolution-cache",
    ]
    pair = drawn["resolution-inactive-sched"]
    assert [panel.title for panel in pair.panels] == [
        "INACTIVE, flush 1s, retention 1m",
        "SCHED, flush 1s, retention 1m",
        "INACTIVE, flush 1s, retention 1s",
        "SCHED, flush 1s, retention 1s",
    ]
    assert {curve.points[-1][0] for panel in pair.panels for curve in panel.curves} == {9.0}
    assert pair.panels[0].labels == ("truth", "timer 100ms")
    assert drawn["resolution-retention"].panels[0].note == ""
    assert drawn["resolution-retention"].panels[0].labels == ("truth", "1m slots", "1s slots")
    limit = drawn["resolution-slots"].panels[0].curves[-1]
    assert (limit.label, {value for _, value in limit.points}) == ("slots there are", {96})


def test_parts_of_any_name_are_exported_if_they_are_curves_and_shown_if_they_are_tables() -> None:
    more = {
        "front": {"packets": [1, 2]},
        "refused": [{"rule": "0.1s:1d", "reason": "whole seconds only (min 1s)"}],
    }
    result = attrs.evolve(chain(), parts={**chain().parts, **more})
    names = {row["series"] for row in parts(result)["series"]()}
    assert {"slots.allocated", "cache.flush 1s.load.mean", "RUN", f"{CHAIN.format('1s')}.RUN"} <= names
    assert not any(name.startswith("front") for name in names)
    assert [name for name, _ in tables(result)] == ["figures", "refused"]
    assert set(without_curves(result)) == {"meta", "runs", "horizon", "refused", "front", "checks"}


def test_the_traps_have_a_panel_for_each_form() -> None:
    drawn = {
        chart.name: chart
        for chart in charts(
            found(
                "aggregator",
                runs=[FLOOD],
                rates={"etsy, bounded": POINTS},
                creates={"50 a minute": {"kvs": POINTS}, "no limit": {"kvs": POINTS}},
                signed={"as it is": {"etsy": POINTS}, "0 before it": {"etsy": POINTS}},
            )
        )
    }
    (panel,) = drawn["aggregator-signed"].panels
    assert [(curve.label, curve.dash) for curve in panel.curves] == [
        ("etsy, as it is", ""),
        ("etsy, 0 before it", "6 4"),
    ]
    assert [panel.title for panel in drawn["aggregator-creates"].panels] == [
        "new series: 50 a minute",
        "new series: no limit",
    ]
    assert drawn["aggregator-rates"].panels[0].y == "received (lines/s)"


@pytest.mark.parametrize(
    ("hook", "overhead", "told"),
    [("check", 0.0432, "+4.3%"), ("idle", 0.999, "+99.9%"), ("idle", 1.0, "×2"), ("idle", 30.2, "×31"),
     ("idle", None, ""), ("none", 0.0, ""), ("check", -0.01, "-1.0%")],
)  # fmt: skip
def test_what_a_hook_adds_is_a_percentage_until_it_is_twice_as_much(
    hook: str, overhead: float | None, told: str
) -> None:
    assert _added({"hook": hook, "overhead": overhead}) == told


def test_runs_of_up_to_three_times_the_shortest_share_a_chart() -> None:
    ran = {
        hook: (Curve(label="x", points=[[end, 0.0]], colour="#000000"),)
        for hook, end in (("a", 1.0), ("b", 3.0), ("c", 3.1))
    }
    assert _paces(ran) == (("a", "b"), ("c",))
    assert _paces({}) == ((), ())


def test_a_bar_a_hook_has_its_times_of_none_and_its_peak_and_no_bar_where_nothing_is_known() -> None:
    runs = [
        {"hook": "none", "overhead": 0.0, "metrics_per_s_peak": 0},
        {"hook": "check", "overhead": 0.5, "metrics_per_s_peak": 7.0},
        {"hook": "idle", "overhead": None, "metrics_per_s_peak": None},
    ]
    wall, peak = charts(found("watchers", runs=runs, series={}, kvs={}))[0].panels
    assert isinstance(wall, Bars) and isinstance(peak, Bars)
    assert wall.sets[0].values == (1.0, 1.5, None)
    assert peak.sets[0].values == (None, 7.0, None)
