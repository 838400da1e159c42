"""`brokersim flux load`: what it says where it cannot be done."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.cli.conftest import Run


def test_outside_a_flux_the_way_in_is_shown(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("FLUX_URI", raising=False)
    result = run("flux", "load", "metrics")
    assert (result.code, result.err) == (
        1,
        "error: FLUX_URI is not set: this is not inside a Flux instance\n"
        "  try:  flux start brokersim flux load metrics\n",
    )


def test_what_cannot_serve_says_why(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FLUX_URI", "local:///nowhere")
    result = run("flux", "load", "job-exec")
    assert result.code == 1
    assert "job-exec does not serve in a Flux: jobs of Flux run in its job shell" in result.err


def test_without_a_flux_it_says_so(run: Run, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("FLUX_URI", "local:///nowhere")
    result = run("flux", "load", "--flux", str(tmp_path / "flux"), "metrics")
    assert (result.code, "no Flux at" in result.err) == (1, True)


def test_options_may_stand_behind_the_file(run: Run, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("FLUX_URI", "local:///nowhere")
    result = run("flux", "load", "metrics", "-r", "all", "--flux", str(tmp_path / "none"))
    assert result.code == 1 and str(tmp_path / "none") in result.err
