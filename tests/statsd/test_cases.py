"""The 77 cases that were run on the real servers, in every dialect they name, and the strict dialect's own answers."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import pytest

from brokersim.statsd.aggregator import Aggregator
from brokersim.statsd.flushed import Flush
from tests.statsd.statsd_options import config_of

CASES: list[dict[str, Any]] = json.loads(
    (Path(__file__).parent.parent / "data" / "statsd_cases.json").read_text(encoding="utf-8")
)
BY_NAME = {case["name"]: case for case in CASES}
COUNT = "counters.k.count"
LONG_KEY = BY_NAME["name_long_2000"]["lines"][0].partition(":")[0]

# What the strict dialect answers where it does not follow statsd; one dict per flush.
STRICT: dict[str, list[dict[str, Any]]] = {
    "counter_rate_gt_1": [{"#bad_lines": 1, COUNT: None}],
    "counter_rate_exponent": [{COUNT: 10, "#bad_lines": 0}],
    "counter_rate_plus_crash": [{COUNT: 2, "#bad_lines": 0}],
    "counter_hex_value": [{"#bad_lines": 1, COUNT: None}],
    "counter_unknown_type": [{"#bad_lines": 1, COUNT: None}],
    "counter_d_type": [{"timers.k.count": 1, "timers.k.upper": 3, COUNT: None}],
    "counter_C_delta_on_statsd": [{COUNT: 0}, {COUNT: 50}, {COUNT: 0}],
    "counter_C_reset": [{COUNT: 0}, {COUNT: 30}, {COUNT: 20}],
    "counter_C_first_zero_lost": [{COUNT: 0}, {COUNT: 10}, {COUNT: 15}],
    "timer_multi_value_packed": [{"timers.t.count": 3, "timers.t.upper": 3, "#bad_lines": 0}],
    "name_empty": [{"#bad_lines": 1, "counters..count": None}],
    "name_proto_lost": [{"counters.__proto__.count": 1, COUNT: 1, "#bad_lines": 0}],
    "name_long_2000": [{"#bad_lines": 1, COUNT: 1, f"counters.{LONG_KEY}.count": None}],
    "tags_before_rate": [{"counters.k.count;env=prod": 2, "#bad_lines": 0}],
    "tags_order_matters": [{"counters.k.count;a=1;b=2": 2, "counters.k.count;b=2;a=1": None}],
    "packet_nul": [{"#bad_lines": 1, COUNT: None, "counters.j.count": 1}],
    "statsd_self_name_collision": [{"#bad_lines": 1, "counters.statsd.bad_lines_seen.count": 1}],
    "gauge_Infinity": [{"#bad_lines": 1, "gauges.g": None}],
}
# Inputs that kill the real server: ours calls the line bad, and a good line that follows counts.
CRASHES = {("counter_rate_plus_crash", "etsy"), ("name_long_2000", "brubeck")}
# collectd's times are whole 2⁻³⁰ s.
TOLERANCE = {"collectd": 1e-6}
SERVER_OF = {"etsy": "statsd", "brubeck": "brubeck", "collectd": "collectd"}


def _runs() -> list[tuple[str, str]]:
    dialects = [
        (case["name"], each) for case in CASES for each in SERVER_OF if SERVER_OF[each] in case["servers"]
    ]
    return dialects + [(case["name"], "strict") for case in CASES]


def _phases(case: dict[str, Any]) -> list[list[str]]:
    phases: list[list[str]] = case["phases"] if "phases" in case else [case["lines"]]
    return phases


def _listed(case: dict[str, Any], answer: Any) -> list[dict[str, Any]]:
    return list(answer) if "phases" in case else [answer]


def _wanted(case: dict[str, Any], dialect: str) -> list[dict[str, Any]]:
    if dialect == "strict":
        return STRICT.get(case["name"]) or _listed(case, case["expected"])
    if dialect == "etsy":
        return _listed(case, case["expected"])
    return _listed(case, case["actual"][dialect])


def _shown(flush: Flush) -> dict[str, Any]:
    own = {"#packets": flush.packets, "#metrics": flush.metrics, "#bad_lines": flush.bad_lines}
    return {**flush.values, **flush.self_values, **own}


def _agrees(shown: dict[str, Any], name: str, wanted: Any, tolerance: float) -> bool:
    if wanted is None:
        return name not in shown
    if name not in shown:
        return False
    if wanted == "*":
        return True
    wanted = float(wanted)
    if math.isnan(wanted):
        return math.isnan(shown[name])
    return bool(shown[name] == wanted or abs(shown[name] - wanted) <= tolerance * max(1, abs(wanted)))


def _flushes(case: dict[str, Any], dialect: str) -> list[Flush]:
    aggregator = Aggregator(dialect, config_of(case["config"] or {}))
    flushes = []
    for number, lines in enumerate(_phases(case), start=1):
        for line in lines:
            aggregator.feed(line.encode())
        flushes.append(aggregator.flush(float(number)))
    return flushes


def test_the_cases_are_the_77_of_the_real_servers():
    assert len(CASES) == len(BY_NAME) == 77
    assert len(STRICT) == 18
    assert sum(len(case["servers"]) == 3 for case in CASES) == 68


@pytest.mark.parametrize(("name", "dialect"), [run for run in _runs() if run not in CRASHES])
def test_a_case_flushes_what_the_server_did(name: str, dialect: str):
    case = BY_NAME[name]
    for flush, wanted in zip(_flushes(case, dialect), _wanted(case, dialect), strict=True):
        shown = _shown(flush)
        tolerance = TOLERANCE.get(dialect, 1e-9)
        wrong = {each: (shown.get(each), value) for each, value in wanted.items()
                 if not _agrees(shown, each, value, tolerance)}  # fmt: skip
        assert wrong == {}, f"{name} in {dialect}: (ours, theirs); bad lines {flush.bad_lines}"
        if dialect in ("brubeck", "collectd"):
            assert set(flush.values) == {each for each in wanted if not each.startswith("#")}


@pytest.mark.parametrize(("name", "dialect"), sorted(CRASHES))
def test_what_kills_the_peer_is_one_bad_line_and_the_next_line_counts(name: str, dialect: str):
    aggregator = Aggregator(dialect)
    lethal = BY_NAME[name]["lines"][0].encode()
    aggregator.feed(lethal, sender="10.0.0.9:4711", t=0.5)
    aggregator.feed(b"after:1|c")
    flush = aggregator.flush(1.0)
    (bad,) = aggregator.bad_lines()
    assert (bad.reason, bad.sender, bad.t) == ("peer_would_crash", "10.0.0.9:4711", 0.5)
    assert lethal.startswith(bad.line)
    assert flush.counters == {"after": 1}
