"""Pictures: the same bytes each time, labelled with units, telling whose figures they are."""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any

import pytest

from brokersim.lab.experiments.decay import Plan as DecayPlan
from brokersim.lab.experiments.decay import decay
from brokersim.lab.experiments.idle import Plan as IdlePlan
from brokersim.lab.experiments.idle import idle
from brokersim.lab.experiments.latency import Plan as LatencyPlan
from brokersim.lab.experiments.latency import latency
from brokersim.lab.experiments.modules import Plan as ModulesPlan
from brokersim.lab.experiments.modules import modules
from brokersim.lab.experiments.overhead import Plan as OverheadPlan
from brokersim.lab.experiments.overhead import overhead
from brokersim.lab.experiments.period import Plan as PeriodPlan
from brokersim.lab.experiments.period import period
from brokersim.lab.experiments.states import Plan as StatesPlan
from brokersim.lab.experiments.states import states
from brokersim.lab.result import Result
from brokersim.lab.show.chart import Bars, BarSet, Cells, Chart, Curve, Dot, Dots, DotSet, Level, Panel
from brokersim.lab.show.charts import charts
from brokersim.lab.show.charts_intervals import _plotted
from brokersim.lab.show.plots import PlotError, draw, draw_chart, to_svg, write_plots

pytest.importorskip("matplotlib")

MAKE: dict[str, Callable[[], Result]] = {
    "states": lambda: states(StatesPlan(jobs=5, tail=2.0)),
    "period": lambda: period(PeriodPlan(jobs=5, fixes=("none", "totals"))),
    "idle": lambda: idle(IdlePlan(seconds=10, hooks=("check", "prepare"))),
    "latency": lambda: latency(LatencyPlan(jobs=5)),
    "modules": lambda: modules(ModulesPlan(jobs=3)),
    "overhead": lambda: overhead(OverheadPlan(jobs=2)),
    "decay": lambda: decay(DecayPlan(jobs=4, blocks=2)),
}
PICTURES = {
    "states": ["states-new", "states"],
    "period": ["period-net-zero", "period"],
    "idle": ["idle-boxes", "idle-rest", "idle-chatty"],
    "latency": ["latency-percentiles", "latency-slots", "latency-figures"],
    "modules": ["modules-per-job", "modules"],
    "overhead": ["overhead", "overhead-metrics"],
    "decay": ["decay"],
}


@pytest.fixture(scope="module")
def results() -> dict[str, Result]:
    return {name: make() for name, make in MAKE.items()}


@pytest.fixture(scope="module")
def drawn(results: dict[str, Result]) -> Callable[[str], dict[str, Any]]:
    """The pictures of an experiment by their names, drawn once; they are looked at and not changed."""
    return cache(lambda experiment: dict(draw(results[experiment])))


def texts(figure: Any) -> list[str]:
    from matplotlib.text import Text

    return [one.get_text() for one in figure.findobj(Text) if one.get_text()]


@pytest.mark.parametrize("experiment", MAKE)
def test_every_picture_says_whose_figures_it_shows_and_labels_its_axes(
    drawn: Callable[[str], dict[str, Any]], experiment: str
) -> None:
    pictures = drawn(experiment)
    assert list(pictures) == PICTURES[experiment]
    for name, figure in pictures.items():
        said = texts(figure)
        assert any("not Flux" in text and "seed 0" in text and "virtual clock" in text for text in said), name
        drawn = [axes for axes in figure.axes if axes.axison]
        assert drawn
        assert all(axes.get_ylabel() for axes in drawn), name
        assert any(word in axes.get_ylabel() + axes.get_xlabel() for axes in drawn for word in (
            "(s)", "ms", "/s", "%", "jobs", "messages", "times"
        )), name  # fmt: skip


def test_an_svg_is_the_same_to_the_byte_and_has_no_date(results: dict[str, Result]) -> None:
    first, second = ([to_svg(figure) for _, figure in draw(results["decay"])] for _ in range(2))
    assert first == second
    svg = first[-1]
    assert "<dc:date>" not in svg
    assert svg.count("<svg") == 1


def test_the_truth_is_dashed_beside_the_gauges(drawn: Callable[[str], dict[str, Any]]) -> None:
    figure = drawn("states")["states"]
    lines = {line.get_label(): line for line in figure.axes[3].lines}
    assert lines["truth"].is_dashed()
    assert not lines["gauges, with job.new"].is_dashed()


def test_overhead_shows_the_journals_values_as_ticks(drawn: Callable[[str], dict[str, Any]]) -> None:
    figure = drawn("overhead")["overhead"]
    (ticks,) = [one for one in figure.axes[0].collections if "journal" in str(one.get_label())]
    heights = [round(segment[0][1], 3) for segment in ticks.get_segments()]
    assert heights == [1.002, 1.119, 1.154, 1.658]


def test_fronts_mark_the_advice_and_the_journals_settings() -> None:
    rows = [
        {
            "id": at,
            "packets_per_s": 10.0**at,
            "off_s": 0.5 / (at + 1),
            "phase5_s": 0.1,
            "phase95_s": 0.9,
            "emission": "prepare",
            "flush": float(at),
            "retention": 1.0,
        }
        for at in range(3)
    ]
    found = Result(
        meta={"experiment": "intervals", "brokersim": "1", "clock": "virtual"},
        parts={
            "rows": rows,
            "front": {"packets_per_s": [0, 2]},
            "advice": {"row": 2, "journal": 0, "cheap_store": 1, "ties": [1, 2], "sentence": "use it"},
            "facts": {"stays": {"cleanup": 0.2, "new": 0.0}, "rate": 8.0},
            "curves": {
                "truth": {"run": [[0, 0], [1, 5]], "inactive": [[0, 0], [2, 9]]},
                "stored": {"2": {"run": [[0, 4]], "inactive": [[1, 8]]}},
            },
        },
    )
    (name, figure), (curves, _), (errors, heat) = draw(found)
    assert (name, curves, errors) == ("intervals-costs", "intervals-curves", "intervals-errors")
    assert {"0.25", "0.5", "0.167"} <= set(texts(heat))
    (axes,) = figure.axes
    labels = {one.get_label(): one.get_offsets().tolist() for one in axes.collections}
    assert labels["sends least"] == [[100.0, pytest.approx(0.5 / 3)]]
    assert labels["the journal's"] == [[1.0, 0.5]]
    assert {"2 tie", "CLEANUP lasts 0.2 s"} <= set(texts(figure))
    bars = [list(line.get_ydata()) for line in axes.lines if list(line.get_xdata()) == [100.0, 100.0]]
    assert bars == [[0.1, 0.9]], "nine of ten installations"
    (jobs,) = axes.child_axes
    figure.draw_without_rendering()
    assert jobs.get_ylabel() == "jobs off"
    assert jobs.get_ylim() == pytest.approx([8 * end for end in axes.get_ylim()])
    (panel, *_) = next(iter(charts(found))).panels
    labelled = [curve.label for curve in panel.curves["2"].curves]
    assert labelled == ["inactive as stored", "inactive, truth", "run as stored", "run, truth"]


def test_a_curve_of_a_store_begins_with_the_run_and_goes_on_to_its_end_whatever_its_slots_are_labelled() -> (
    None
):
    assert _plotted([[-30.0, 9]], 4.5) == [(0.0, 9), (4.5, 9)]
    assert _plotted([[-0.5, 0], [0.5, 3], [9.5, 8]], 4.5) == [(0.0, 0), (0.5, 3), (9.5, 8)]
    assert _plotted([], 4.5) == []


def test_watchers_are_drawn_with_a_bar_a_hook() -> None:
    from brokersim.lab.experiments.watchers import Plan, watchers

    found = watchers(Plan(jobs=2, hooks=("none", "check"), clock="virtual"))
    figure = dict(draw(found))["watchers"]
    tops = [bar.get_y() + bar.get_height() for bar in figure.axes[0].patches]
    assert tops == [1 + row["overhead"] for row in found.runs]
    assert [label.get_text() for label in figure.axes[0].get_xticklabels()] == ["none", "check"]


def test_pictures_are_written_under_their_names(results: dict[str, Result], tmp_path: Path) -> None:
    (path,) = write_plots(results["decay"], tmp_path, "svg")
    assert (path.name, path.read_bytes()[:5]) == ("decay.svg", b"<?xml")


@pytest.mark.parametrize("wrong", [{}, {"experiment": "never"}, {"experiment": None}])
def test_a_result_without_pictures_is_told(wrong: dict[str, Any]) -> None:
    with pytest.raises(PlotError, match="no pictures of this result; there are some of watchers"):
        draw(Result(meta=wrong))


@pytest.mark.parametrize("dpi", [50, 120])
def test_a_png_is_as_many_pixels_wide_as_asked_for(
    results: dict[str, Result], tmp_path: Path, dpi: int
) -> None:
    (path,) = write_plots(results["decay"], tmp_path, "png", dpi=dpi)
    assert (path.name, path.read_bytes()[:4]) == ("decay.png", b"\x89PNG")
    assert int.from_bytes(path.read_bytes()[16:20], "big") == 9 * dpi


def test_a_curve_that_is_mostly_0_is_drawn_on_the_floor_of_a_logarithmic_axis() -> None:
    rare = [(float(t), 300.0 if t == 5 else 0.0) for t in range(20)]
    found = Result(meta={"experiment": "overhead"}, parts={"runs": [], "series": {"timer:1s": rare}})
    figure = dict(draw(found))["overhead-metrics"]
    (line,) = figure.axes[0].lines
    assert len(line.get_xdata()) == 20
    assert min(line.get_ydata()) == figure.axes[0].get_ylim()[0] == 200.0


def axes_of(*panels: Any) -> Any:
    """A chart of those panels, drawn: the axes of the first."""
    chart = Chart(name="x", title="x", panels=panels, height=2.0)
    return draw_chart(Result(meta={"experiment": "run"}), chart).axes[0]


def curves(*values: list[float], **options: Any) -> Panel:
    """Curves of those values, a second from one to the next."""
    drawn = [
        Curve(label=f"curve {number}", points=list(enumerate(each)), colour="#000000", **options)
        for number, each in enumerate(values)
    ]
    return Panel(title="x", x="x", y="y", curves=tuple(drawn))


@pytest.mark.parametrize(
    ("values", "limits"),
    [
        ([0, 10], (0, 10.5)),
        ([5, 10], (0, 10.5)),
        ([-10, 0], (-10.5, 0.5)),
        ([-10, 10], (-11, 11)),
        ([0, 0], (0, 1)),
    ],
)
def test_an_axis_has_0_in_sight_and_room_where_values_end(
    values: list[float], limits: tuple[float, float]
) -> None:
    assert axes_of(curves(values)).get_ylim() == pytest.approx(limits)


def test_nothing_recorded_is_said_and_has_neither_ticks_nor_a_legend() -> None:
    nothing, two = curves(), curves([1, 2])
    axes = axes_of(nothing, two)
    assert "nothing recorded" in texts(axes)
    assert (list(axes.get_xticks()), list(axes.get_yticks()), axes.get_legend()) == ([], [], None)
    assert [text.get_text() for text in axes_of(two, nothing).get_legend().get_texts()] == ["curve 0"]


def test_an_area_is_filled_and_a_few_points_get_a_dot_each_and_dots_have_no_line() -> None:
    filled = axes_of(curves([1, 2], area=True))
    assert (len(filled.collections), len(filled.lines)) == (1, 0)
    (few,) = axes_of(curves([1.0] * 60, marker=True)).lines
    (many,) = axes_of(curves([1.0] * 61, marker=True)).lines
    (dots,) = axes_of(curves([1, 2], dots=True)).lines
    assert [line.get_marker() for line in (few, many, dots)] == [".", "None", "o"]
    assert (dots.get_linestyle(), few.get_linestyle()) == ("None", "-")


def test_a_bar_of_nothing_has_no_height_and_marks_lie_across_the_bars_that_have_one() -> None:
    sets = (
        BarSet(
            label="ours",
            values=(3.0, None),
            colours=("#111111", "#222222"),
            low=(2.0, None),
            high=(4.0, None),
        ),
        BarSet(label="theirs", values=(None, 5.0), colours=("#000000",), is_mark=True),
    )
    axes = axes_of(Bars(title="x", y="y", groups=("a", "b"), sets=sets))
    assert [bar.get_height() for bar in axes.patches] == [3, 0]
    assert [bar.get_facecolor()[0] for bar in axes.patches] == pytest.approx([0x11 / 255, 0x22 / 255])
    ends = [each.get_segments()[0].ravel().tolist() for each in axes.collections]
    assert ends == [[0, 2, 0, 4], pytest.approx([0.58, 5, 1.42, 5])]


def test_a_cell_that_is_dark_has_white_figures_and_one_of_nothing_a_dash() -> None:
    cells = Cells(
        title="x",
        x="x",
        y="y",
        columns=("a", "b"),
        rows=("c", "d"),
        values=((6.0, 6.1), (None, 0.5)),
        most=10,
    )
    axes = axes_of(cells)
    assert [(text.get_text(), text.get_color()) for text in axes.texts] == [
        ("6", "black"), ("6.1", "white"), ("–", "black"), ("0.5", "black"),
    ]  # fmt: skip
    assert axes.get_ylim() == (2, 0)  # the first row is the upper one


def test_dots_have_their_names_and_intervals_where_both_ends_are_known_and_a_line_if_they_are_one() -> None:
    dots = (Dot(x=1, y=2, name="p", low=1.0, high=3.0), Dot(x=10, y=4, name="q", low=1.0))
    plain = DotSet(label="plain", dots=dots, colour="#111111")
    joined = DotSet(label="joined", dots=dots, colour="#222222", line=True, is_named=True, shape="diamond")
    axes = axes_of(Dots(title="x", x="x", y="y", sets=(plain,)))
    assert [line.get_ydata().tolist() for line in axes.lines] == [[1, 3]]
    assert (axes.get_xscale(), axes.get_yscale(), axes.get_ylim()[0], texts(axes).count("p")) == (
        "linear", "linear", 0, 0,
    )  # fmt: skip
    axes = axes_of(Dots(title="x", x="x", y="y", sets=(joined,), log=True, log_x=True))
    assert [line.get_ydata().tolist() for line in axes.lines] == [[1, 3], [2, 4]]
    assert (axes.get_xscale(), axes.get_yscale(), texts(axes).count("p")) == ("log", "log", 1)
    assert axes.collections[0].get_facecolor().tolist() == []  # hollow


def test_a_level_is_a_line_or_a_band_with_its_name_at_its_upper_end() -> None:
    levels = (Level(y=2.0, label="line"), Level(y=3.0, to=5.0, label="band"))
    axes = axes_of(Dots(title="x", x="x", y="y", sets=(), levels=levels))
    assert [line.get_ydata() for line in axes.lines] == [[2, 2]]
    assert [(text.get_text(), text.xy[1]) for text in axes.texts] == [("line", 2), ("band", 5)]
    assert len(axes.patches) == 1


def test_a_title_is_cut_at_the_front_to_what_fits_and_a_note_stands_in_the_panel() -> None:
    whole, cut = (Panel(title="t" * size, x="x", y="y", curves=(), note="noted") for size in (150, 151))
    axes = axes_of(whole)
    assert (axes.get_title(loc="left"), "noted" in texts(axes)) == ("t" * 150, True)
    assert axes_of(cut).get_title(loc="left") == "…" + "t" * 149
    assert "noted" not in texts(axes_of(curves([1.0])))


def test_bars_of_ratios_grow_from_their_base_and_a_logarithmic_axis_holds_them_all() -> None:
    bars = BarSet(label="x", values=(0.5, 8.0), colours=("#000000",), texts=("half", "eight"))
    axes = axes_of(Bars(title="x", y="y", groups=("a", "b"), sets=(bars,), log=True, base=1.0))
    assert [(bar.get_y(), bar.get_height()) for bar in axes.patches] == [(1, -0.5), (1, 7)]
    assert [text.xy[1] for text in axes.texts] == [1, 8]
    low, high = axes.get_ylim()
    assert (low, axes.get_yscale()) == (0.5, "log") and 8 < high < 16


@pytest.mark.parametrize(("names", "columns"), [(5, 5), (6, 1)])
def test_a_legend_of_all_panels_is_a_line_of_names_as_far_as_they_fit(names: int, columns: int) -> None:
    both = curves(*[[1.0, 2.0]] * names)
    chart = Chart(name="x", title="x", panels=(both, both), height=2.0)
    (legend,) = draw_chart(Result(meta={"experiment": "run"}), chart).legends
    assert (len(legend.get_texts()), legend._ncols) == (names, columns)
    alone = Chart(name="x", title="x", panels=(curves([1.0]),), height=2.0)
    assert draw_chart(Result(meta={"experiment": "run"}), alone).legends == []


def test_a_legend_of_many_names_lies_on_no_title() -> None:
    names = [f"{keep} / {flush}" for keep in ("1s", "10s", "1m") for flush in ("100ms", "1s", "10s")]
    sets = tuple(DotSet(label=name, dots=(Dot(x=1, y=1, name=name),), colour="#000000") for name in names)
    title = "How far curves are off, and what that costs; bars: 9 of 10 installations, by their phases"
    chart = Chart(name="x", title=title, panels=(Dots(title="", x="x", y="y", sets=sets),), height=4.6)
    figure = draw_chart(Result(meta={"experiment": "intervals"}), chart)
    figure.draw_without_rendering()
    (legend,) = figure.legends
    assert not legend.get_window_extent().overlaps(figure._suptitle.get_window_extent())


@pytest.mark.filterwarnings("error")
def test_panels_with_many_long_names_are_as_wide_as_they_can_be_and_their_legends_no_wider() -> None:
    names = [f"flux.probe.0.{stem}.switches_of_{stem}_{number}" for stem in "abc" for number in range(12)]
    series = {name: [(0.0, 1.0), (1.0, 2.0)] for name in names}
    found = Result(meta={"experiment": "run"}, parts={"series": series})
    [chart] = [one for one in charts(found) if one.name == "run-series"]
    figure = draw_chart(found, chart)
    figure.draw_without_rendering()
    for axes in figure.axes:
        place, legend = axes.get_position(), axes.get_legend()
        assert place.width > 0.2
        box = legend.get_window_extent().transformed(figure.transFigure.inverted())
        assert box.x1 <= place.x1 + 0.05 and box.y0 >= 0
