"""The page: everything in one file, nothing fetched, numbers and checks as in the result."""

from __future__ import annotations

import json
import re
import sqlite3
import time
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest

from brokersim.lab.overhead import Plan, overhead
from brokersim.lab.report import ReportError, page, read_result, write_report
from brokersim.lab.rundb_reader import read_run
from brokersim.net.outputs.rundb import RunDatabase, RunDatabaseError
from brokersim.statsd.aggregator import Aggregator
from brokersim.statsd.config import AggregatorConfig

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
def result() -> dict[str, Any]:
    return overhead(Plan(jobs=2))


def test_the_page_is_well_formed_fetches_nothing_and_every_reference_has_its_target(
    result: dict[str, Any],
) -> None:
    text = page([result, result])
    checker = Checker()
    checker.feed(text)
    assert checker.open == []
    assert checker.fetched == []
    assert len(checker.ids) == len(set(checker.ids))
    markup = text[: text.index('<script type="application/json"')]
    referred = set(re.findall(r'(?:xlink:href="#|url\(#)([^")]+)', markup))
    assert referred
    assert referred <= set(checker.ids)
    assert text.count("<script>") == 1  # ours


def test_the_page_says_what_was_run_and_that_it_is_not_flux(result: dict[str, Any]) -> None:
    text = page([result])
    assert "These are figures of brokersim, not of Flux" in text
    assert "virtual clock · seed 0" in text
    agree = sum(check["ok"] for check in result["checks"])
    assert f"What should agree: {agree} of {len(result['checks'])} do" in text
    assert text.count("<details>") == 2
    assert 'name="viewport"' in text


def test_what_comes_from_a_result_is_escaped(result: dict[str, Any]) -> None:
    bad = json.loads(json.dumps(result))
    bad["checks"][0]["ours"] = "<script>alert(1)</script>"
    bad["meta"]["plan"]["hook"] = "<b>"
    assert "<script>alert" not in page([bad])
    assert "<b>" not in page([bad])


def test_the_same_results_give_the_same_page(result: dict[str, Any]) -> None:
    assert page([result]) == page([json.loads(json.dumps(result))])


def test_a_result_written_as_json_is_read_again(result: dict[str, Any], tmp_path: Path) -> None:
    path = tmp_path / "result.json"
    path.write_text(json.dumps(result))
    assert read_result(path) == json.loads(json.dumps(result))


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
    row = next(row for row in found["runs"] if row["series"].endswith("flux.m1.0.c0"))
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


def test_many_series_stay_small(tmp_path: Path) -> None:
    database(tmp_path / "run.db", 120, 60)
    started = time.perf_counter()
    found = read_run(tmp_path / "run.db")
    text = page([found])
    assert time.perf_counter() - started < 10
    assert len(text) < 8_000_000
