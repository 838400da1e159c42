"""`stats explain-intervals`: what it says of a chain, in words and as JSON."""

from __future__ import annotations

import json
from typing import Any

import pytest

from brokersim.cli.main import main
from brokersim.statsd.law import Chain


def told(capsys: pytest.CaptureFixture[str], *words: str) -> str:
    assert main(["stats", "explain-intervals", *words]) == 0
    return capsys.readouterr().out


def document(capsys: pytest.CaptureFixture[str], *words: str) -> Any:
    return json.loads(told(capsys, *words, "--json"))


JOURNAL = ("--emit", "1s", "--client", "0", "--flush", "10s", "--retention", "1m")


def test_the_journals_settings_are_25_s_off_and_the_retention_is_to_be_changed_first(
    capsys: pytest.CaptureFixture[str],
) -> None:
    lines = told(capsys, *JOURNAL).splitlines()
    assert lines[0] == "off by 25.1 s on average, whatever is shown (mean over phases)"
    assert "24.5 s early: move the curve by it, and 15.1 s remain" in lines[1]
    assert "30 s off at worst" in lines[3]
    assert lines[5].startswith("change first: retention 1m -> 6s")
    assert all(len(line) <= 80 for line in lines)


def test_rate_and_dwell_are_told_in_their_units(capsys: pytest.CaptureFixture[str]) -> None:
    said = told(capsys, "--flush", "1s", "--retention", "1s", "--rate", "9.9", "--dwell", "0.2s")
    assert "off by 0.333 s on average, 3.3 at 9.9 a second" in said
    assert "a state of 200ms is shown in 20% of its visits; count its entries instead" in said


def test_phases_that_drift_have_no_worst(capsys: pytest.CaptureFixture[str]) -> None:
    assert "the phases drift" in told(capsys, "--flush", "7s", "--retention", "1m")


def test_a_chain_that_cannot_be_bettered_is_told_so(capsys: pytest.CaptureFixture[str]) -> None:
    assert "nothing to change" in told(capsys, "--flush", "1s", "--retention", "1s")


def test_json_has_the_figures_of_the_law(capsys: pytest.CaptureFixture[str]) -> None:
    found = document(capsys, *JOURNAL, "--rate", "2", "--dwell", "6s")
    chain = Chain(emission=1, flush=10, retention=60)
    assert found["age"]["off_s"] == chain.age.off
    assert found["off"] == 2 * chain.age.off
    assert found["visits_shown"] == 0.1
    assert found["worst"]["off_s"] == chain.worst.off
    assert found["locked"] == ["emission", "flush"]
    assert found["change"][0]["stage"] == "retention"
    gains = [chain.age.off, *(one["off_s"] for one in found["change"])]
    assert gains == sorted(gains, reverse=True)


def test_a_period_that_cannot_be_is_told_in_one_line(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["stats", "explain-intervals", "--flush", "0", "--retention", "1s"]) == 2
    assert capsys.readouterr().err.startswith("error: flush is 0 s")
