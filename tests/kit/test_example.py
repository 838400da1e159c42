"""The worked example of docs/testing.md: green as it is, and with the bad commit just as red as it says."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

EXAMPLE = Path(__file__).parents[2] / "examples" / "regression"
PYTEST = (
    "-m", "pytest", "-q", "-p", "no:cacheprovider", "-c", os.devnull, "--rootdir", ".", "--no-header", "--tb=short",
    "--show-capture=no", "test_greeter.py",
)  # fmt: skip
CHECK = ("-m", "brokersim", "check", "--against", "greeter.toml")


@pytest.fixture
def example(tmp_path) -> Path:
    """A copy of the example."""
    return Path(shutil.copytree(EXAMPLE, tmp_path / "example", ignore=shutil.ignore_patterns("__pycache__")))


def run(folder: Path, *args: str) -> tuple[int, str]:
    # In CI pytest does not shorten its summary; the words shown are those of a terminal.
    environment = {
        name: value
        for name, value in os.environ.items()
        if not name.startswith("PYTEST_") and name not in ("CI", "BUILD_NUMBER")
    }
    done = subprocess.run(
        [sys.executable, *args], cwd=folder, capture_output=True, text=True, timeout=60,
        env={**environment, "COLUMNS": "80", "PYTHONDONTWRITEBYTECODE": "1"},
    )  # fmt: skip
    # What depends on the machine and on the version that is being tested.
    return done.returncode, re.sub(r" in [\d.]+s$|^note: brokersim .*\n", "", done.stdout, flags=re.MULTILINE)


def test_the_example_is_green(example):
    assert run(example, *PYTEST)[0] == 0
    code, out = run(example, *CHECK)
    assert (code, "✗" in out) == (0, False)


def test_the_bad_commit_turns_it_red_in_just_these_words(example):
    subprocess.run(["patch", "-p1", "-i", "bad.patch"], cwd=example, check=True, capture_output=True)
    pytest_code, pytest_out = run(example, *PYTEST)
    check_code, check_out = run(example, *CHECK)
    assert (pytest_code, check_code) == (1, 1)
    told = f"$ pytest -q test_greeter.py\n{pytest_out}\n$ brokersim check --against greeter.toml\n{check_out}"
    assert told == (EXAMPLE / "red.txt").read_text()


DOCS = (EXAMPLE.parents[1] / "docs" / "testing.md").read_text(encoding="utf-8")


@pytest.mark.parametrize("pattern", [r"- run: (brokersim check .*)", r"entry: (brokersim check .*)"])
def test_the_steps_to_copy_from_the_documentation_work(example, pattern):
    [command] = re.findall(pattern, DOCS)
    code, out = run(example, "-m", *command.split())
    assert (code, "✗" in out) == (0, False)
