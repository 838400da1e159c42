"""Pages as people see them, in a real browser: nothing fetched, no error, legible, and what is touched reacts."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from brokersim.lab.experiments.decay import Plan as DecayPlan
from brokersim.lab.experiments.decay import decay
from brokersim.lab.experiments.states import Plan as StatesPlan
from brokersim.lab.experiments.states import states
from brokersim.lab.result import Result
from brokersim.lab.show.report import write_report
from tests.lab.show.browser import PROGRAM, WHY_NOT, Browser

pytestmark = [
    pytest.mark.skipif(PROGRAM is None, reason=WHY_NOT),
    pytest.mark.xdist_group("browser"),
]
DESKTOP, PHONE = 1280, 390
#: Boxes of texts of one picture that lie on each other, by the text of both.
OVERLAPS = """
[...document.querySelectorAll('.panel > svg')].flatMap(svg => {
  const boxes = [...svg.querySelectorAll('text')].map(one => [one.textContent, one.getBoundingClientRect()]);
  return boxes.flatMap(([text, a], at) => boxes.slice(at + 1).filter(([, b]) =>
    a.left < b.right - 1 && b.left < a.right - 1 && a.top < b.bottom - 2 && b.top < a.bottom - 2
  ).map(([other]) => `${text} / ${other}`));
})
"""


@pytest.fixture(scope="module")
def browser(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Browser]:
    with Browser(tmp_path_factory.mktemp("profile")) as found:
        yield found


@pytest.fixture(scope="module")
def state_result() -> Result:
    return states(StatesPlan(jobs=30, tail=3.0))


@pytest.fixture(scope="module")
def page(state_result: Result, tmp_path_factory: pytest.TempPathFactory) -> Path:
    results = [state_result, decay(DecayPlan(jobs=6, blocks=3)), recorded()]
    return write_report(results, tmp_path_factory.mktemp("page") / "report.html")


def recorded() -> Result:
    """As of a run database: forty groups, so that some lie under a fold; one series of many samples."""
    series: dict[str, Any] = {
        f"flux.m{group}.0.{name}": [(t, (t * (group + 3)) % 17) for t in range(40)]
        for group, name in itertools.product(range(40), ("request_rx", "request_tx"))
    }
    series["flux.m0.0.request_rx"] = [(t / 500, 1000 if t == 7777 else t % 10) for t in range(20_000)]
    meta = {"experiment": "run", "command": "brokersim stats serve"}
    return Result(meta=meta, parts={"runs": [], "series": series})


@pytest.mark.parametrize("width", [DESKTOP, PHONE])
def test_a_page_opens_from_a_file_without_an_error_fetches_nothing_and_is_no_wider_than_the_screen(
    browser: Browser, page: Path, width: int
) -> None:
    browser.open(page, width)
    browser.run("window.dispatchEvent(new Event('beforeprint'))")
    assert browser.errors == []
    assert browser.fetched == [page.as_uri()]
    assert browser.run("document.documentElement.scrollWidth") == width
    assert browser.run("document.querySelectorAll('.panel > svg .curve').length") > 60


@pytest.mark.parametrize("width", [DESKTOP, PHONE])
def test_texts_of_a_picture_do_not_lie_on_each_other_and_can_be_read(
    browser: Browser, page: Path, width: int
) -> None:
    browser.open(page, width)
    browser.run("window.dispatchEvent(new Event('beforeprint'))")
    assert browser.run(OVERLAPS) == []
    sizes = browser.run(
        "[...document.querySelectorAll('.panel text, .panel h4, button, td, p')]"
        ".map(one => parseFloat(getComputedStyle(one).fontSize))"
    )
    assert min(sizes) >= 12


def test_every_panel_names_its_units_and_the_truth_is_dashed_black(browser: Browser, page: Path) -> None:
    browser.open(page, DESKTOP)
    units = browser.run(
        "[...document.querySelectorAll('#c0-states .panel')].map(one => "
        "[...one.querySelectorAll('.unit')].map(text => text.textContent))"
    )
    assert units == [["jobs", "→ time (s)"]] * 7
    truth = browser.run(
        "[...document.querySelectorAll(\"#c0-states [data-label='truth']\")].map(one => "
        "[one.getAttribute('stroke'), one.getAttribute('stroke-dasharray')])"
    )
    assert truth == [["#000000", "5 3"]] * 7


def test_dragging_zooms_all_panels_of_a_chart_and_a_double_click_shows_all(
    browser: Browser, page: Path
) -> None:
    browser.open(page, DESKTOP)
    ticks = (
        "[...document.querySelectorAll('#c0-states .panel')].map(one => one.querySelector('svg').textContent)"
    )
    before = browser.run(ticks)
    x, y, width = box_of(browser, 0)
    browser.drag(x + width * 0.3, y, x + width * 0.4)
    after = browser.run(ticks)
    assert all(one != other for one, other in zip(before, after, strict=True))
    browser.run(
        "document.querySelector('#c0-states .panel svg').dispatchEvent(new MouseEvent('dblclick', {bubbles: true}))"
    )
    assert browser.run(ticks) == before


def test_a_pointer_over_a_curve_shows_the_value_that_holds_there(
    browser: Browser, page: Path, state_result: Result
) -> None:
    browser.open(page, DESKTOP)
    x, y, width = browser.run(
        "(() => { const box = document.querySelectorAll('#c0-states .panel svg')[6].getBoundingClientRect();"
        " window.scrollTo(0, box.top - 200);"
        " const moved = document.querySelectorAll('#c0-states .panel svg')[6].getBoundingClientRect();"
        " return [moved.left, moved.top + 90, moved.width] })()"
    )
    browser.mouse("mouseMoved", x + width - 14, y)
    text = browser.run("document.querySelectorAll('#c0-states .tip')[6].innerText")
    assert state_result.truth["INACTIVE"][-1][1] == 30
    assert "truth: 30" in text
    assert "gauges, with job.new: 30" in text
    assert text.startswith("time (s): ")


def box_of(browser: Browser, panel: int) -> tuple[float, float, float]:
    """(left, y in its middle, width) of a panel of the states, scrolled into sight."""
    left, top, width = browser.run(
        f"(() => {{ const svg = document.querySelectorAll('#c0-states .panel svg')[{panel}];"
        " svg.scrollIntoView({block: 'center'}); const box = svg.getBoundingClientRect();"
        " return [box.left, box.top, box.width] })()"
    )
    return left, top + 90, width


def test_a_tap_shows_values_that_stay_when_the_finger_is_lifted_and_go_with_the_next_tap_elsewhere(
    browser: Browser, page: Path
) -> None:
    browser.open(page, PHONE)
    left, y, width = box_of(browser, 6)
    tip = "document.querySelectorAll('#c0-states .tip')[6]"
    browser.touch("touchStart", (left + width - 14, y))
    browser.touch("touchEnd")
    assert "truth: 30" in browser.run(f"{tip}.innerText")
    assert browser.run(f"{tip}.getBoundingClientRect().right") <= PHONE
    browser.touch("touchStart", (left + 5, y - 150))
    browser.touch("touchEnd")
    assert browser.run(f"{tip}.hidden")


def test_two_fingers_that_part_zoom_in(browser: Browser, page: Path) -> None:
    browser.open(page, PHONE)
    left, y, width = box_of(browser, 6)
    ticks = "document.querySelectorAll('#c0-states .panel svg')[6].textContent"
    before = browser.run(ticks)
    browser.touch("touchStart", (left + width * 0.45, y), (left + width * 0.55, y))
    for share in (0.4, 0.3, 0.2):
        browser.touch("touchMove", (left + width * share, y), (left + width * (1 - share), y))
    browser.touch("touchEnd")
    browser.settle()
    assert browser.run(ticks) != before
    assert browser.errors == []


def test_the_legend_hides_a_curve_and_shows_it_again(browser: Browser, page: Path) -> None:
    browser.open(page, DESKTOP)
    count = "document.querySelectorAll(\"#c0-states [data-label='truth']\").length"
    press = "document.querySelector(\"#c0-states button[data-hides='truth']\")"
    assert browser.run(count) == 7
    browser.run(f"{press}.click()")
    assert browser.run(count) == 0
    assert browser.run(f"{press}.getAttribute('aria-pressed')") == "false"
    browser.run(f"{press}.click()")
    assert browser.run(count) == 7


def test_a_spike_of_one_sample_in_20_000_is_seen_though_few_points_are_drawn(
    browser: Browser, page: Path
) -> None:
    browser.open(page, DESKTOP)
    browser.run("document.getElementById('c2-run-series').scrollIntoView()")
    browser.settle()
    path = "document.querySelector(\"#c2-run-series [data-label='request_rx']\")"
    drawn = browser.run(f"{path}.getAttribute('d').length")
    box = browser.run(f"(() => {{ const box = {path}.getBBox(); return [box.width, box.height] }})()")
    assert drawn < 60_000
    assert box[1] > 120  # the spike spans the picture, all else is below 10


def test_groups_under_a_fold_are_drawn_when_it_is_opened(browser: Browser, page: Path) -> None:
    browser.open(page, DESKTOP)
    count = "document.querySelectorAll('#c2-run-series-30 .panel').length"
    assert browser.run(count) == 0
    browser.run("document.getElementById('c2-run-series-30').closest('details').open = true")
    browser.run("document.getElementById('c2-run-series-30').scrollIntoView()")
    browser.settle()
    assert browser.run(count) == 10


# -- what is no curve


def figures() -> Result:
    """Bars, boxes, cells and dots made up for it, as an experiment's charts would have them."""
    hooks = [{"hook": hook, "masks": "on", "overhead": share, "journal": 0.1, "low": share, "high": share + 0.1}
             for hook, share in (("timer:1s", 0.0), ("check", 0.05), ("idle", 20.0))]  # fmt: skip
    return Result(
        meta={"experiment": "overhead"}, parts={"runs": hooks, "series": {"idle": [(0, 0), (1, 0), (2, 90)]}}
    )


def at_rest() -> Result:
    panels = {"at rest": {hook: {"kvs": [8 * (at % 3) for at in range(30)]} for hook in ("check", "idle")}}
    return Result(meta={"experiment": "idle"}, parts={"runs": [], "panels": panels})


def front() -> Result:
    rows: list[dict[str, Any]] = [
        {"id": at, "packets_per_s": 10.0**at, "off_s": 4.0 / (at + 1), "phase5_s": 3.0 / (at + 1),
         "phase95_s": 6.0 / (at + 1), "emission": "prepare", "period": 0.0, "flush": 10.0**-at, "retention": 1.0}
        for at in range(3)
    ]  # fmt: skip
    rows.append(
        {**rows[2], "id": 3, "packets_per_s": 110.0, "off_s": 1.35}
    )  # its name would lie on the next one's
    parts = {
        "rows": rows,
        "front": [0, 1, 2],
        "advice": {"row": 2, "cheap_store": 3, "journal": 0, "ties": [1, 2]},
        "facts": {"rate": 8.0},
    }
    return Result(meta={"experiment": "intervals"}, parts=parts)


@pytest.fixture(scope="module")
def figures_page(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_report([figures(), at_rest(), front()], tmp_path_factory.mktemp("figures") / "report.html")


@pytest.mark.parametrize("width", [DESKTOP, PHONE])
def test_bars_boxes_cells_and_dots_are_drawn_by_the_page_and_no_text_lies_on_another_or_outside(
    browser: Browser, figures_page: Path, width: int
) -> None:
    browser.open(figures_page, width)
    browser.run("window.dispatchEvent(new Event('beforeprint'))")
    assert browser.errors == []
    assert browser.fetched == [figures_page.as_uri()]
    assert browser.run("document.documentElement.scrollWidth") == width
    drawn = {
        "#c0-overhead rect": 3, "#c0-overhead .mark": 3, "#c0-overhead .interval": 3, "#c1-idle-boxes .median": 2,
        "#c2-intervals-errors .cell": 3, "#c2-intervals-costs [data-label^='1s / ']": 4,
    }  # fmt: skip
    found = {what: browser.run(f'document.querySelectorAll("{what}").length') for what in drawn}
    assert found == drawn
    apart = [
        text for text in browser.run(OVERLAPS) if "prepare, flush" not in text
    ]  # names may lie on dots' axes
    assert apart == []
    outside = browser.run(
        "[...document.querySelectorAll('.panel > svg')].flatMap(svg => { const box = svg.getBoundingClientRect();"
        " return [...svg.querySelectorAll('text')].filter(one => { const text = one.getBoundingClientRect();"
        " return text.left < box.left - 1 || text.right > box.right + 1 }).map(one => one.textContent) })"
    )
    assert outside == []


def test_a_bar_of_a_ratio_grows_from_1_and_says_what_it_is(browser: Browser, figures_page: Path) -> None:
    browser.open(figures_page, DESKTOP)
    bars = browser.run(
        "[...document.querySelectorAll('#c0-overhead rect')].map(one => parseFloat(one.getAttribute('width')))"
    )
    assert bars[0] == 1  # nothing added: the thinnest there is
    assert bars[2] > 20 * bars[1]
    left, top = browser.run(
        "(() => { const box = document.querySelectorAll('#c0-overhead rect')[2].getBoundingClientRect();"
        " return [box.left + 5, box.top + 5] })()"
    )
    browser.mouse("mouseMoved", left, top)
    assert browser.run("document.querySelector('#c0-overhead .tip').innerText") == "idle\nbrokersim: +2000.0%"


def test_a_curve_that_is_mostly_0_lies_on_the_floor_of_a_logarithmic_axis(
    browser: Browser, figures_page: Path
) -> None:
    browser.open(figures_page, DESKTOP)
    browser.run("document.getElementById('c0-overhead-metrics').scrollIntoView()")
    browser.settle()
    box = browser.run("(() => { const box = document.querySelector('#c0-overhead-metrics .curve').getBBox();"
                      " return [box.x, box.width, box.height] })()")  # fmt: skip
    assert box[0] == 56  # from the axis on
    assert box[1] > 400
    assert box[2] > 60


def test_pointing_at_a_combination_tells_its_settings(browser: Browser, figures_page: Path) -> None:
    browser.open(figures_page, DESKTOP)
    browser.run("document.getElementById('c2-intervals-costs').scrollIntoView()")
    browser.settle()
    x, y = browser.run(
        "(() => { const box = document.querySelectorAll(\"#c2-intervals-costs [data-label='1s / 100ms']\")[0]"
        ".getBoundingClientRect(); return [box.left + box.width / 2, box.top + box.height / 2] })()"
    )
    browser.mouse("mouseMoved", x, y)
    told = browser.run("document.querySelector('#c2-intervals-costs .tip').innerText").splitlines()
    assert told == [
        "prepare, flush 100ms, retention 1s",
        "seconds off (log): 2",
        "packets/s (log): 10",
    ]


def test_what_is_off_is_told_in_jobs_to_the_right_at_the_same_heights(
    browser: Browser, figures_page: Path
) -> None:
    browser.open(figures_page, DESKTOP)
    browser.run("document.getElementById('c2-intervals-costs').scrollIntoView()")
    browser.settle()
    heights = browser.run(
        "[...document.querySelectorAll('#c2-intervals-costs .panel > svg text')].map(one => "
        "[one.getAttribute('class'), one.textContent, parseFloat(one.getAttribute('y'))])"
    )
    right = {float(text): y for kind, text, y in heights if kind == "right"}
    left = {float(text): y for kind, text, y in heights if kind is None and text in ("1", "2", "5", "10")}
    assert "jobs off ↑" in [text for _, text, _ in heights]
    assert right.keys() >= {10.0, 20.0} and left.keys() >= {2.0, 5.0}
    # 8 jobs a second: the heights of 16 jobs and 2 s are one, so 10 and 20 jobs lie below and above 2 s.
    assert right[20.0] < left[2.0] < right[10.0]


def test_a_bar_through_a_named_point_spans_nine_of_ten_installations(
    browser: Browser, figures_page: Path
) -> None:
    browser.open(figures_page, DESKTOP)
    browser.run("document.getElementById('c2-intervals-costs').scrollIntoView()")
    browser.settle()
    count = browser.run("document.querySelectorAll('#c2-intervals-costs .interval').length")
    assert count == 3
