"""Pictures of the chain, the flood and the hooks: the same bytes each time, labelled, with the cured twin in them."""

from __future__ import annotations

import hashlib
from typing import Any

import pytest

from brokersim.lab.experiments.aggregator import Plan as AggregatorPlan
from brokersim.lab.experiments.aggregator import aggregator
from brokersim.lab.experiments.resolution import Plan as ResolutionPlan
from brokersim.lab.experiments.resolution import resolution
from brokersim.lab.experiments.watchers import Plan as WatchersPlan
from brokersim.lab.experiments.watchers import watchers
from brokersim.lab.result import Result
from brokersim.lab.show.plots import draw, to_svg

pytest.importorskip("matplotlib")

PICTURES = {
    "resolution": [
        "resolution-error", "resolution-inactive-sched", "resolution-run-cleanup", "resolution-slots",
        "resolution-retention", "resolution-cache",
    ],
    "aggregator": ["aggregator-flood", "aggregator-rates", "aggregator-creates", "aggregator-signed"],
    "watchers": ["watchers", "watchers-metrics", "watchers-kvs"],
}  # fmt: skip


@pytest.fixture(scope="module")
def results() -> dict[str, Result]:
    return {
        "resolution": resolution(ResolutionPlan(jobs=12, size=1, timers=(0.1,), flushes=(0.5, 0.1))),
        "aggregator": aggregator(AggregatorPlan(lines=100, dialects=("brubeck",), sends=4)),
        "watchers": watchers(WatchersPlan(jobs=4, clock="virtual", hooks=("none", "prepare", "check"))),
    }


def texts(figure: Any) -> list[str]:
    from matplotlib.text import Text

    return [one.get_text() for one in figure.findobj(Text) if one.get_text()]


@pytest.mark.parametrize("experiment", PICTURES)
def test_every_picture_is_drawn_with_units_and_says_whose_figures_it_shows(
    results: dict[str, Result], experiment: str
) -> None:
    pictures = draw(results[experiment])
    assert [name for name, _ in pictures] == PICTURES[experiment]
    for name, figure in pictures:
        assert any("not Flux" in text for text in texts(figure)), name
        drawn = [axes for axes in figure.axes if axes.axison]
        assert drawn, name
        assert all(axes.get_ylabel() for axes in drawn), name


@pytest.mark.parametrize(
    ("experiment", "name"), [("resolution", "resolution-error"), ("watchers", "watchers-kvs")]
)
def test_the_same_result_gives_the_same_bytes(results: dict[str, Result], experiment: str, name: str) -> None:
    first, second = (
        hashlib.sha256(to_svg(dict(draw(results[experiment]))[name]).encode()).hexdigest() for _ in range(2)
    )
    assert first == second


def test_each_trap_has_its_cured_twin_in_the_same_picture(results: dict[str, Result]) -> None:
    pictures = dict(draw(results["aggregator"])) | dict(draw(results["resolution"]))
    assert {"new series: 50 a minute", "new series: no limit"} <= set(texts(pictures["aggregator-creates"]))
    signed = texts(pictures["aggregator-signed"])
    assert all(any(form in text for text in signed) for form in ("as it is", "0 before it"))
    shown = texts(pictures["resolution-retention"])
    assert {"6s slots", "1s slots", "truth"} <= set(shown)
    assert any("whisper stores whole seconds" in text for text in shown)
