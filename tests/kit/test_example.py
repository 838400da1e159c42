"""The worked example of docs/testing.md: green as it is, and with the bad commit just as red as it says."""

from __future__ import annotations

import os
import re
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from brokersim.cli.main import main

EXAMPLE = Path(__file__).parents[2] / "examples" / "regression"
PYTEST = (
    "-m", "pytest", "-q", "-p", "no:cacheprovider", "-c", os.devnull, "--rootdir", ".", "--no-header", "--tb=short",
    "--show-capture=no", "test_greeter.py",
)  # fmt: skip
CHECK = ("check", "--against", "greeter.toml")
#: What depends on the machine and on the version that is being tested.
VARIES = re.compile(r" in [\d.]+s$|^note: brokersim .*\n", re.MULTILINE)


@pytest.fixture
def example(tmp_path) -> Path:
    """A copy of the example."""
    return Path(shutil.copytree(EXAMPLE, tmp_path / "example", ignore=shutil.ignore_patterns("__pycache__")))


@pytest.fixture
def check(example, monkeypatch, capfd):
    """`check` in the example, in this process; the steps to copy, below, start it as they stand."""

    def run_check() -> tuple[int, str]:
        monkeypatch.chdir(example)
        monkeypatch.setenv("COLUMNS", "80")
        capfd.readouterr()
        code = main(CHECK)
        return code, VARIES.sub("", capfd.readouterr().out)

    return run_check


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
    return done.returncode, VARIES.sub("", done.stdout)


def test_the_example_is_green(example, check):
    assert run(example, *PYTEST)[0] == 0
    code, out = check()
    assert (code, "✗" in out) == (0, False)


def test_the_bad_commit_turns_it_red_in_just_these_words(example, check):
    subprocess.run(["patch", "-p1", "-i", "bad.patch"], cwd=example, check=True, capture_output=True)
    pytest_code, pytest_out = run(example, *PYTEST)
    check_code, check_out = check()
    assert (pytest_code, check_code) == (1, 1)
    told = f"$ pytest -q test_greeter.py\n{pytest_out}\n$ brokersim check --against greeter.toml\n{check_out}"
    assert told == (EXAMPLE / "red.txt").read_text()


DOCS = (EXAMPLE.parents[1] / "docs" / "testing.md").read_text(encoding="utf-8")
#: The YAML to copy: a workflow of GitHub, a configuration of pre-commit.
SNIPPETS = re.findall(r"```yaml\n(.*?)```", DOCS, flags=re.DOTALL)


def test_the_snippets_to_copy_are_yaml_of_the_right_shape():
    yaml = pytest.importorskip("yaml")
    action, hook = map(yaml.safe_load, SNIPPETS)
    # YAML 1.1 reads the key ``on`` as true; GitHub does not.
    assert action.get("on", action.get(True)) == ["push", "pull_request"]
    [job] = action["jobs"].values()
    assert job["runs-on"] == "ubuntu-latest"
    assert all(len({"uses", "run"} & step.keys()) == 1 for step in job["steps"])
    [[one]] = [repository["hooks"] for repository in hook["repos"] if repository["repo"] == "local"]
    assert {"id", "name", "entry", "language", "pass_filenames", "files"} == one.keys()
    assert (one["language"], one["pass_filenames"]) == ("system", False)
    assert re.search(one["files"], "greeter.py") and not re.search(one["files"], "README.md")


@pytest.fixture
def tools(tmp_path, monkeypatch) -> Path:
    """PATH begins with `brokersim`, and a `pip` that only writes down what it was to install."""
    folder = tmp_path / "bin"
    folder.mkdir()
    for name, text in (
        ("brokersim", f'exec {sys.executable} -m brokersim "$@"'),
        ("pip", 'echo "$@" >>pip.log'),
    ):
        (folder / name).write_text(f"#!/bin/sh\n{text}\n")
        (folder / name).chmod(0o755)
    monkeypatch.setenv("PATH", f"{folder}{os.pathsep}{os.environ['PATH']}")
    return folder


def test_the_steps_of_the_github_action_are_green_and_red_as_they_should_be(example, tools):
    steps = re.findall(r"- run: (.*)", SNIPPETS[0])

    def run_steps() -> list[int]:
        return [
            subprocess.run(["sh", "-e", "-c", step], cwd=example, timeout=60).returncode for step in steps
        ]

    assert run_steps() == [0, 0]
    assert (example / "pip.log").read_text() == "install ./brokersim-0.1.0-py3-none-any.whl\n"
    assert "<testsuite" in (example / "messages.xml").read_text()
    subprocess.run(["patch", "-p1", "-i", "bad.patch"], cwd=example, check=True, capture_output=True)
    assert run_steps() == [0, 1]


def test_the_pre_commit_hook_runs_as_it_stands(example, tools):
    [entry] = re.findall(r"entry: (.*)", SNIPPETS[1])
    assert subprocess.run(shlex.split(entry), cwd=example, timeout=60).returncode == 0
