"""The same seed gives the same bytes: of tables and pictures, in other processes, and against kept ones.

A picture's bytes depend on matplotlib's version, so what is kept names it. To renew: run this file as a script.
"""

from __future__ import annotations

import hashlib
import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from brokersim.cli.main import main
from brokersim.lab.result import Result
from brokersim.lab.show.plots import draw, to_svg
from brokersim.lab.show.report import page
from brokersim.lab.show.report_text import to_markdown

KEPT = Path(__file__).parents[2] / "data" / "report_golden.json"
META = {
    "brokersim": "0.1.0",
    "python": "3.11.0",
    "cores": 2,
    "clock": "virtual",
    "seed": 7,
    "note": "not Flux",
}
CHECK = {"id": "L7", "sentence": "none ≤ timer < check", "ok": True, "ours": "+1.0%", "journal": "+11.9%"}
#: Made up, so that no change of an experiment changes them: one with curves and truth, one with bars.
DOCUMENTS: dict[str, dict[str, Any]] = {
    "states": {
        "meta": {"experiment": "states", "plan": {"jobs": 3, "flush": 1.0}, **META},
        "runs": [{"form": "journal", "wall_s": 1.25, "end": -3000}, {"form": "fixed", "wall_s": 1.25, "end": 0}],
        "series": {
            form: {state: [[float(t), (t * 7 + len(state)) % 5 - (form == "journal")] for t in range(1, 30)]
                   for state in ("NEW", "SCHED", "RUN", "INACTIVE")}
            for form in ("journal", "fixed")
        },
        "truth": {state: [[t / 4, (t * 7 + len(state)) % 5] for t in range(120)]
                  for state in ("NEW", "SCHED", "RUN", "INACTIVE")},
        "checks": [CHECK, {**CHECK, "id": "J13", "ok": False}],
    },
    "overhead": {
        "meta": {"experiment": "overhead", "plan": {"jobs": 3}, **META},
        "runs": [
            {"hook": hook, "masks": "on", "overhead": share, "journal": known, "low": share - 0.01, "high": share}
            for hook, share, known in (("timer:1s", 0.0, 0.002), ("check", 0.05, 0.119), ("idle", 5.4, 0.658))
        ],
        "series": {hook: [[t / 2, 100 + (t * 13) % 29] for t in range(50)] for hook in ("check", "idle")},
        "checks": [CHECK],
    },
}  # fmt: skip
RESULTS = {name: Result.from_json(found) for name, found in DOCUMENTS.items()}


def digest(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def pictures() -> dict[str, str]:
    return {name: digest(to_svg(figure)) for found in RESULTS.values() for name, figure in draw(found)}


def texts() -> dict[str, str]:
    """Markdown whole: a difference is to be read."""
    return {name: to_markdown([found]) for name, found in RESULTS.items()}


def test_tables_are_those_kept() -> None:
    assert texts() == json.loads(KEPT.read_text())["markdown"]


def test_pictures_are_those_kept() -> None:
    matplotlib = pytest.importorskip("matplotlib")
    kept = json.loads(KEPT.read_text())
    if matplotlib.__version__ != kept["matplotlib"]:
        pytest.skip(
            f"SKIPPING: pictures were kept with matplotlib {kept['matplotlib']}, this is {matplotlib.__version__}; "
            "to renew: python tests/lab/show/test_golden.py"
        )
    assert pictures() == kept["svg"]


def test_a_seed_gives_the_same_bytes_in_a_process_that_hashes_differently(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("matplotlib")
    commands = (
        "bench decay --jobs 4 --blocks 2 --seed 3 --out out --plot svg",
        "report out -o page.html",
        "report out --format md -o t.md",
    )
    script = f"from brokersim.cli.main import main\nfor line in {commands}: main(line.split())"
    here, there = tmp_path / "here", tmp_path / "there"
    for folder in (here, there):
        folder.mkdir()
    other = "2" if os.environ.get("PYTHONHASHSEED") == "1" else "1"
    subprocess.run(
        [sys.executable, "-c", script], cwd=there, check=True, capture_output=True, timeout=60,
        env={**os.environ, "PYTHONHASHSEED": other},
    )  # fmt: skip
    monkeypatch.chdir(here)
    for line in commands:
        main(line.split())
    written = [
        {path.relative_to(folder): path.read_bytes() for path in folder.rglob("*") if path.is_file()}
        for folder in (here, there)
    ]
    assert set(map(str, written[0])) == {"out/result.json", "out/decay.svg", "page.html", "t.md"}
    assert written[0] == written[1]


def test_a_page_has_nothing_of_the_moment_in_it() -> None:
    again = json.loads(json.dumps(list(DOCUMENTS.values())))
    assert page(list(RESULTS.values())) == page([Result.from_json(one) for one in again])


if __name__ == "__main__":
    import matplotlib

    document = {"matplotlib": matplotlib.__version__, "svg": pictures(), "markdown": texts()}
    KEPT.write_text(json.dumps(document, indent=1, ensure_ascii=False, sort_keys=True) + "\n")
