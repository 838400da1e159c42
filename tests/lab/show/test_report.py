"""The page: everything in one file, nothing fetched, numbers and checks as in the result."""

from __future__ import annotations

import itertools
import json
import sqlite3
import sys
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest

from brokersim.lab.experiments.overhead import Plan, overhead
from brokersim.lab.result import Result
from brokersim.lab.show.chart import Chart, Curve, Panel
from brokersim.lab.show.charts import charts
from brokersim.lab.show.page_data import PageData
from brokersim.lab.show.report import ReportError, page, read_result, write_report
from brokersim.statsd.aggregator import Aggregator
from brokersim.statsd.config import AggregatorConfig
from brokersim.statsd_server.outputs.rundb import RunDatabase, RunDatabaseError

pytest.importorskip("matplotlib")
VOID = {"meta", "link"}


class Checker(HTMLParser):
    """Notes unclosed tags, double ids, and what a browser would fetch."""

    def __init__(self) -> None:
        super().__init__()
        self.open: list[str] = []
        self.ids: list[str] = []
        self.fetched: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        given = dict(attrs)
        if given.get("id"):
            self.ids.append(str(given["id"]))
        for name in ("src", "href", "xlink:href"):
            target = given.get(name)
            if target and not target.startswith(("#", "data:")):
                self.fetched.append(target)
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.handle_starttag(tag, attrs)
        if tag not in VOID:
            self.open.pop()

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag


@pytest.fixture(scope="module")
def result() -> Result:
    return overhead(Plan(jobs=2))


def again(result: Result) -> Result:
    """As it is after a file."""
    return Result.from_json(json.loads(json.dumps(result.to_json())))


def test_the_page_is_well_formed_fetches_nothing_and_every_reference_has_its_target(
    result: Result,
) -> None:
    text = page([result, result])
    checker = Checker()
    checker.feed(text)
    assert checker.open == []
    assert checker.fetched == []
    assert len(checker.ids) == len(set(checker.ids))
    markup = text[: text.index('<script type="application/json"')]
    charts_named = set(page_data(text)["charts"])
    assert charts_named == {one for one in checker.ids if one.startswith("c")}
    assert "<svg" not in markup  # every picture is drawn by the page
    assert text.count("<script>") == 1  # ours


def test_the_page_says_what_was_run_and_that_it_is_not_flux(result: Result) -> None:
    text = page([result])
    assert "These are figures of brokersim, not of Flux" in text
    assert "virtual clock · seed 0" in text
    agree = sum(check.ok for check in result.checks)
    assert f"What should agree: {agree} of {len(result.checks)} do" in text
    assert text.count("<details>") == 4  # checks, figures, settings, how to read it
    assert 'name="viewport"' in text


def test_what_comes_from_a_result_is_escaped(result: Result) -> None:
    document = json.loads(json.dumps(result.to_json()))
    document["checks"][0]["ours"] = "<script>alert(1)</script>"
    document["meta"]["plan"]["hook"] = "<b>"
    bad = Result.from_json(document)
    assert "<script>alert" not in page([bad])
    assert "<b>" not in page([bad])


def test_the_same_results_give_the_same_page(result: Result) -> None:
    assert page([result]) == page([again(result)])


def test_a_result_written_as_json_is_read_again(result: Result, tmp_path: Path) -> None:
    path = tmp_path / "result.json"
    path.write_text(json.dumps(result.to_json()))
    assert read_result(path) == again(result)


@pytest.mark.parametrize(
    ("content", "told"),
    [
        (b"", "neither a run database nor JSON"),
        (b"{not json", "neither a run database nor JSON"),
        (b"[1, 2]", "is no result of an experiment"),
        (b'{"meta": {"seed": 1}}', "is no result of an experiment"),
    ],
)
def test_other_files_are_refused_with_what_would_be_right(content: bytes, told: str, tmp_path: Path) -> None:
    path = tmp_path / "x.json"
    path.write_bytes(content)
    with pytest.raises(ReportError, match=told):
        read_result(path)


def database(path: Path, series: int, flushes: int) -> None:
    written = RunDatabase(path, {"command": "test"})
    server = Aggregator("strict", AggregatorConfig(flush=1.0))
    taken = []
    for t in range(flushes):
        lines = (f"flux.m{n // 8}.0.c{n % 8}:{(t * (n + 1)) % 97}|g" for n in range(series))
        server.feed("\n".join(lines).encode(), t=float(t))
        taken.append(server.flush(float(t + 1)))
    written.write(*taken)
    written.close()


def test_a_run_database_becomes_a_page_with_every_series(tmp_path: Path) -> None:
    database(tmp_path / "run.db", 16, 50)
    found = read_result(tmp_path / "run.db")
    row = next(row for row in found.runs if row["series"].endswith("flux.m1.0.c0"))
    values = [(t * 9) % 97 for t in range(50)]
    assert (row["samples"], row["min"], row["max"], row["last"]) == (50, min(values), max(values), values[-1])
    assert row["mean"] == pytest.approx(sum(values) / 50)
    text = write_report([found], tmp_path / "run.html").read_text()
    assert all(f"flux.m{n // 8}.0.c{n % 8}" in text for n in range(16))


def test_a_database_of_something_else_is_refused(tmp_path: Path) -> None:
    connection = sqlite3.connect(tmp_path / "other.db")
    connection.execute("CREATE TABLE a (b)")
    connection.commit()
    connection.close()
    with pytest.raises(RunDatabaseError, match="is no run database"):
        read_result(tmp_path / "other.db")


def big_database(path: Path, flushes: int = 8000) -> Path:
    """48 series of as many samples, as eight counters of six modules are."""
    written = RunDatabase(path, {"command": "brokersim stats serve"})
    for module, counter in itertools.product(range(6), range(8)):
        steps = (1_700_000_000 + t for t in range(flushes))
        points = [(t, (n * 7 + counter) * 13 % 40 + 25 * n) for n, t in enumerate(steps)]
        written.add("value", f"flux.m{module}.0.c{counter}", points)
    written.close()
    return path


def test_a_page_of_384_000_samples_has_all_of_them_in_less_than_8_mb(tmp_path: Path) -> None:
    found = read_result(big_database(tmp_path / "big.db"))
    assert sum(len(points) for points in found.series.values()) == 384_000
    text = page([found])
    assert len(text.encode()) <= 8_000_000
    data = page_data(text)
    (chart,) = data["charts"].values()
    assert sum(len(curve["v"]) for panel in chart["panels"] for curve in panel["curves"]) == 384_000
    assert len(data["axes"]) == 1  # one time axis for all: they were flushed together
    assert "This page holds" not in text


def test_a_page_that_would_be_too_large_keeps_the_envelope_and_says_so() -> None:
    points = [(t * 1.000_001, 0.123_456 * (t % 911)) for t in range(60_000)]
    points[31_337] = (31_337 * 1.000_001, 99_999.5)
    chart = Chart(
        name="x",
        title="x",
        panels=(Panel(title="x", x="s", y="y", curves=(Curve(label="x", points=points, colour="#000000"),)),),
    )
    data = PageData(budget=200_000)
    data.add(chart, "x")
    assert len(data.to_json()) <= 200_000
    (curve,) = json.loads(data.to_json())["charts"]["x"]["panels"][0]["curves"]
    assert max(curve["v"]) == 99_999.5
    assert f"holds {len(curve['v']):,} of 60,000 samples" in data.thinned


def page_data(text: str) -> Any:
    start = text.index('id="data">') + len('id="data">')
    return json.loads(text[start : text.index("</script>", start)])


def test_names_cannot_end_the_script_they_are_written_into() -> None:
    series = {"</script><script>alert(1)</script>.a": [(0, 1), (1, float("nan"))]}
    found = Result(meta={"experiment": "run"}, parts={"runs": [], "series": series})
    text = page([found])
    assert text.count("<script") == 2
    (chart,) = page_data(text)["charts"].values()
    assert chart["panels"][0]["title"] == "</script><script>alert(1)</script>"
    assert chart["panels"][0]["curves"][0]["v"] == [1, None]


def test_a_page_needs_no_matplotlib_and_begins_with_what_was_found_and_the_main_chart(
    result: Result, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    text = page([result])
    order = [
        'class="verdict"',
        'id="c0-overhead"',
        'id="c0-overhead-metrics"',
        "What should agree",
        "figures (",
    ]
    assert [text.index(part) for part in order] == sorted(text.index(part) for part in order)
    assert "matplotlib" not in text


def test_a_result_kept_in_a_run_database_comes_back_whole_with_the_command_that_made_it(
    result: Result, tmp_path: Path
) -> None:
    path = tmp_path / "run.db"
    database = RunDatabase(path, {"command": "brokersim bench overhead"})
    database.note({"result": json.dumps(result.to_json())})
    database.close()
    found = read_result(path)
    assert found.meta.pop("command") == "brokersim bench overhead"
    assert found == again(result)
    assert "<code>brokersim bench overhead</code>" in page([read_result(path)])


def test_the_truth_of_a_run_is_drawn_dashed_beside_its_series(tmp_path: Path) -> None:
    database = RunDatabase(tmp_path / "run.db")
    database.add("value", "flux.job-states.run", [(0, 0), (10, 5)])
    database.add("truth", "flux.job-states.run", [(0, 0), (3, 5)])
    database.close()
    (chart,) = page_data(page([read_result(tmp_path / "run.db")]))["charts"].values()
    shown, truth = chart["panels"][0]["curves"]
    assert (shown["n"], shown["v"]) == ("run", [0, 5])
    assert (truth["n"], truth["dash"], truth["v"]) == (
        "truth",
        "5 3",
        [0, 5, 5],
    )  # held until the last sample
    assert chart["panels"][0]["y"] == "jobs"


def test_timers_of_a_run_have_percentiles_over_time_and_over_all(tmp_path: Path) -> None:
    server = Aggregator("strict", AggregatorConfig(flush=1.0))
    written = RunDatabase(tmp_path / "run.db")
    for t in range(3):
        server.feed("\n".join(f"load:{n}|ms" for n in range(1, 101)).encode(), t=float(t))
        written.write(server.flush(float(t + 1)))
    written.close()
    found = read_result(tmp_path / "run.db")
    (row,) = found.parts["histogram totals"]
    assert (row["timer"], row["count"], row["max"]) == ("load", 300, 100)
    assert row["p99"] == pytest.approx(99, rel=0.02)
    assert [one["count"] for one in found.parts["histograms"]["load"]] == [100, 100, 100]
    names = [chart.name for chart in charts(found)]
    assert names == ["run-series", "run-own", "run-timers"]
