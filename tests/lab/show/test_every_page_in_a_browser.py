"""The page of each experiment there is, small, in a real browser: quiet, legible, nothing empty, and it answers."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from functools import cache
from pathlib import Path
from typing import Any

import pytest

from brokersim.lab.experiments import hooks as hooks_module
from brokersim.lab.experiments.registry import ALL, experiment
from brokersim.lab.measure.figures import Figures, one_table
from brokersim.lab.result import Result
from brokersim.lab.show.report import write_report
from tests.lab.show.browser import PROGRAM, WHY_NOT, Browser
from tests.lab.show.test_pages_in_a_browser import DESKTOP, OVERLAPS, PHONE

pytestmark = [
    pytest.mark.skipif(PROGRAM is None, reason=WHY_NOT),
    pytest.mark.xdist_group("browser"),
]
#: As little as has all charts.
SMALL: Mapping[str, Mapping[str, Any]] = {
    "watchers": {"jobs": 20, "clock": "virtual", "hooks": ("none", "timer:1s", "prepare", "check")},
    "overhead": {"jobs": 2},
    "modules": {"jobs": 2},
    "decay": {"jobs": 6, "blocks": 3},
    "idle": {"seconds": 10.0, "background": 1.0},
    "latency": {"jobs": 6},
    "states": {"jobs": 12, "tail": 3.0},
    "resolution": {"jobs": 12, "size": 1, "timers": (0.1,), "flushes": (0.5, 0.1)},
    "period": {"jobs": 6},
    "aggregator": {"lines": 100, "dialects": ("brubeck",), "sends": 4},
    "intervals": {"jobs": 20, "points": 1, "draws": 2, "emissions": ("timer:1s", "timer:0.1s"), "overhead_jobs": 2},
    "probes": {"jobs": 6},
}  # fmt: skip
#: What may be drawn in a panel; axes and their lines are none of it.
MARKS = "svg .curve, svg circle, svg rect, svg .mark, svg .median, svg [data-label]"
#: The middle of what can be pointed at in the main picture, scrolled into sight: its widest bar, a point, or a curve.
MAIN_MARK = """
(() => { const panel = document.querySelector('figure.chart .panel');
  const wide = one => one.getBoundingClientRect().width;
  const bars = [...panel.querySelectorAll('svg rect[data-group]')].sort((a, b) => wide(b) - wide(a));
  const others = [':scope > svg path[transform]', 'svg .median', ':scope > svg'];
  const mark = bars[0] || others.map(one => panel.querySelector(one)).find(one => one);
  mark.scrollIntoView({block: 'center'});
  const box = mark.getBoundingClientRect();
  return [box.left + box.width / 2, box.top + box.height / 2]; })()
"""


def recorded_hooks() -> Result:
    """`bench hooks` takes a minute: the recorded table is as good to look at."""
    figures = one_table()
    shown = {
        "runs": [one.to_row() for one in figures],
        "table": hooks_module.told(figures),
        "unlike": [],
        "bounds": [],
    }
    return Result(meta={"experiment": "hooks", "clock": "real", "no_flux": "recorded"}, parts=shown)


@pytest.fixture(scope="module")
def page_of(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Path]:
    folder = tmp_path_factory.mktemp("pages")

    @cache
    def page_of(name: str) -> Path:
        if name == "hooks":
            found = recorded_hooks()
        else:
            one = experiment(name)
            found = one.find(one.make_plan(SMALL[name]))
        return write_report([found], folder / f"{name}.html")

    return page_of


@pytest.fixture(scope="module")
def browser(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Browser]:
    with Browser(tmp_path_factory.mktemp("profile")) as found:
        yield found


def test_every_experiment_is_looked_at() -> None:
    assert {*SMALL, "hooks"} == set(ALL)


@pytest.mark.parametrize("name", sorted(ALL))
@pytest.mark.parametrize("width", [DESKTOP, PHONE])
def test_a_page_is_quiet_fits_the_screen_shows_something_in_each_panel_and_no_text_on_another(
    browser: Browser, page_of: Callable[[str], Path], name: str, width: int
) -> None:
    browser.open(page_of(name), width)
    browser.run("window.dispatchEvent(new Event('beforeprint'))")
    browser.settle()
    assert browser.errors == []
    assert browser.fetched == [page_of(name).as_uri()]
    assert browser.run("document.documentElement.scrollWidth") == width
    assert browser.run("document.querySelector('.verdict').innerText.trim()") != ""
    assert browser.run(OVERLAPS) == []
    panels = browser.run(
        "[...document.querySelectorAll('.panel')].map(one => "
        f"[one.querySelector('h4').innerText, one.querySelectorAll({MARKS!r}).length])"
    )
    assert panels
    assert [title for title, marks in panels if not marks] == []
    outside = browser.run(
        "[...document.querySelectorAll('.panel > svg')].flatMap(svg => { const box = svg.getBoundingClientRect();"
        " return [...svg.querySelectorAll('text')].filter(one => { const text = one.getBoundingClientRect();"
        " return text.left < box.left - 1 || text.right > box.right + 1 }).map(one => one.textContent) })"
    )
    assert outside == []


@pytest.mark.parametrize("name", sorted(ALL))
def test_what_is_pointed_at_in_the_main_picture_tells_what_it_is(
    browser: Browser, page_of: Callable[[str], Path], name: str
) -> None:
    browser.open(page_of(name), DESKTOP)
    browser.run(MAIN_MARK)
    browser.settle()  # what came into sight was drawn, and moved the others
    box = browser.run(MAIN_MARK)
    browser.mouse("mouseMoved", *box)
    browser.settle()
    tips = browser.run(
        "[...document.querySelectorAll('.tip')].filter(one => !one.hidden).map(one => one.innerText.trim())"
    )
    # Cells have their figures written in them.
    written = browser.run("document.querySelector('figure.chart .panel').querySelectorAll('.cell').length")
    assert any(tips) or written, name


def test_a_combination_that_is_chosen_shows_its_curve_beside_the_truth(
    browser: Browser, page_of: Callable[[str], Path]
) -> None:
    browser.open(page_of("intervals"), DESKTOP)
    before = browser.run("document.querySelector('.chosen h4').innerText")
    x, y = browser.run(
        "(() => { const dot = document.querySelector(\"[data-label='1m / 10s']\");"
        " dot.scrollIntoView({block: 'center'}); const box = dot.getBoundingClientRect();"
        " return [box.left + box.width / 2, box.top + box.height / 2] })()"
    )
    browser.mouse("mousePressed", x, y, True)
    browser.mouse("mouseReleased", x, y, True)
    browser.settle()
    after = browser.run("document.querySelector('.chosen h4').innerText")
    assert before == "sends least" != after
    labels = browser.run("[...document.querySelectorAll('.chosen .curve')].map(one => one.dataset.label)")
    assert {"run as stored", "run, truth"} <= set(labels)


def test_recorded_figures_are_drawn_as_figures() -> None:
    rows = recorded_hooks().runs
    assert [Figures.from_row(row) for row in rows] == one_table()
