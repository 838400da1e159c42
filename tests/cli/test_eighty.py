"""A terminal of 80 columns: help and lists fit it, whatever names there are; nothing is clipped."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import click
import pytest

from brokersim.cli.command import Command, Group
from brokersim.cli.session import Session
from brokersim.cli.surface import cli
from tests.cli.conftest import Run
from tests.cli.fake_broker import FakeBroker
from tests.cli.test_surface import walk

ALL = list(walk(cli))
GROUPS = [path for path, command in ALL if isinstance(command, Group)]
LONG = "a-name-that-somebody-thought-well-of-and-nobody-can-remember/" * 2
_JOB = {
    "id": 1 << 60, "name": LONG, "state": 16, "ntasks": 1_000_000, "nnodes": 100_000, "nodelist": LONG,
    "t_run": 1.0, "t_cleanup": 99_999.0,
}  # fmt: skip
_ENTRY = {
    "id": 4711, "name": LONG, "stopped": False, "type": "interval", "repeat": 100, "command": LONG,
    "stats": {"count": 77, "failure": 3}, "typedata": {"interval": 12.5, "next_wakeup": 2_000_000_000.0},
}  # fmt: skip
_MODULE = {
    "name": LONG, "path": f"/m/{LONG}", "idle": 12.0, "status": 1, "services": [LONG, "content"],
    "sendqueue": 1000, "recvqueue": 2000, "mask": 0x1F000, "hook": "prepare", "iterations": 4211, "idle_calls": 0,
}  # fmt: skip
#: Words after the command's, and what the broker answers.
LISTS: dict[str, tuple[tuple[str, ...], dict[str, Any]]] = {
    "module list": (("-l",), {"module.list": {"mods": [_MODULE]}}),
    "module debug": (("--list",), {}),
    "lsattr": (("-l",), {"attr.list": {"names": [LONG]}, "attr.get": {"value": LONG, "flags": 1}}),
    "kvs namespace list": (
        (), {"kvs.namespace-list": {"namespaces": [{"namespace": LONG, "owner": 1_000_000, "flags": 0}]}},
    ),
    "cron list": ((), {"cron.list": {"entries": [_ENTRY]}}),
    "job list": (("-a",), {"job-list.list": [{"jobs": [_JOB]}]}),
    "jobtap list": (
        (), {"job-manager.jobtap-list": {"plugins": [{"name": LONG, "calls": 1, "path": LONG}]}},
    ),
}  # fmt: skip


@pytest.fixture
def terminal(monkeypatch: pytest.MonkeyPatch) -> None:
    """stdout is one."""
    monkeypatch.setattr(Session, "width", 80)


@pytest.mark.usefixtures("terminal")
@pytest.mark.parametrize("name", LISTS)
def test_a_list_of_long_names_fits(name: str, fake: FakeBroker, run: Run) -> None:
    words, answers = LISTS[name]
    fake.answers.update(answers)
    result = run(*name.split(), *words, "--color=never")
    assert result.code == 0
    told = re.fullmatch(
        r"(?:no room for (.+): a wider terminal, --tsv and --json show (?:it|them)\n)?", result.err
    )
    assert told is not None, result.err
    whole = run(*name.split(), *words, "--tsv")
    assert (whole.code, whole.err) == (0, "")
    for title in whole.out.splitlines()[0].split("\t"):  # a column is there, or it is said that it is not
        is_told = title in (told[1] or "").split(", ")
        assert is_told != (title in re.split(r"  +", result.out.replace("\n", "  "))), title
    lines = result.out.splitlines()
    assert len(lines) >= 2
    assert max(map(len, lines)) <= 80
    assert result.out.count("remember") >= (2 if answers else 0)  # folded, not clipped


@pytest.mark.usefixtures("terminal")
def test_a_list_of_runs_fits(tmp_path: Path, run: Run) -> None:
    folder = tmp_path / LONG.replace("/", "-")
    assert run("bench", "decay", "--jobs", "2", "--plot", "none", "--out", str(folder)).code == 0
    for words in (("runs", "list", "--dir", str(tmp_path)), ("runs", "show", str(folder))):
        result = run(*words)
        assert result.code == 0
        assert max(map(len, result.out.splitlines())) <= 80, words


@pytest.mark.parametrize("path", GROUPS, ids=[" ".join(path) for path in GROUPS])
def test_the_help_of_a_group_shows_examples_first_and_clips_nothing(path: tuple[str, ...], run: Run) -> None:
    text = run(*path, "-h").out
    lines = text.splitlines()
    assert lines[0].startswith(f"  brokersim {path[0]}")
    assert max(map(len, lines)) <= 80
    assert len(lines) <= 24
    listed = text.partition("Commands:")[2]
    assert "..." not in listed and "…" not in listed
    group = dict(ALL)[path]
    assert isinstance(group, Group)
    context = click.Context(group)
    names = [
        name
        for name in group.list_commands(context)
        if (one := group.get_command(context, name)) and not one.hidden
    ]
    assert [
        line.split()[0] for line in listed.splitlines() if line.startswith("  ") and line[2] != " "
    ] == names


@pytest.mark.parametrize(
    "path", [path for path, command in ALL if isinstance(command, Command)], ids=" ".join
)
def test_the_help_of_a_command_fits(path: tuple[str, ...], run: Run) -> None:
    assert max(map(len, run(*path, "-h").out.splitlines())) <= 80
