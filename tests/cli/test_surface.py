"""Every command: its help, its options, what it imports."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from importlib.util import find_spec
from typing import Any

import click
import pytest

from brokersim.cli.command import Command, Group
from brokersim.cli.surface import _LAZY, cli
from tests.cli.conftest import Run
from tests.cli.fake_broker import FakeBroker

#: Lists have --tsv and -n; streams and single figures do not.
LISTS = {
    "ps",
    "module list",
    "module debug",
    "lsattr",
    "kvs namespace list",
    "cron list",
    "metrics list",
    "metrics collect",
    "job list",
    "jobtap list",
    "runs list",
    "runs show",
    "probe explain",
    "probe list",
    "probe read",
    "probe status",
    "registry data",
    "registry list",
}


def walk(group: Group, path: tuple[str, ...] = ()) -> Iterator[tuple[tuple[str, ...], click.Command]]:
    context = click.Context(group)
    for name in group.list_commands(context):
        where = group._lazy.get(name, "").partition(":")[0]
        if where and find_spec(where) is None:
            continue
        command = group.get_command(context, name)
        assert command is not None
        yield (*path, name), command
        if isinstance(command, Group):
            yield from walk(command, (*path, name))


COMMANDS = [(path, command) for path, command in walk(cli) if path[0] not in ("bench", "stats")]
LEAVES = [(path, command) for path, command in COMMANDS if not isinstance(command, Group)]
IDS = [" ".join(path) for path, _ in COMMANDS]


def test_the_commands_are_those_promised() -> None:
    promised = {
        "": "start ps stop status uptime version getattr setattr lsattr dmesg ping rpc check completion report top "
        "explore",
        "module": "list load remove reload stats debug trace replay",
        "runs": "list show export rm",
        "event": "pub sub",
        "kvs": "get put dir ls unlink link readlink mkdir watch getroot version wait stats",
        "kvs eventlog": "append get",
        "kvs namespace": "create remove list",
        "content": "load store flush dropcache stats",
        "cron": "interval event at list stop start delete sync",
        "job": "submit run swf list wait cancel eventlog",
        "jobtap": "load remove list query",
        "metrics": "add list collect show log rm observe",
        "overlay": "status trace fault",
        "registry": "list get put rm watch data shell serve",
        "probe": "list read record schedule status add rm on off restart run-now validate schema explain",
        "flux": "instrument load",
    }
    expected = {f"{group} {name}".strip() for group, names in promised.items() for name in names.split()}
    assert {" ".join(path) for path, _ in LEAVES} == expected


@pytest.mark.parametrize(("path", "command"), COMMANDS, ids=IDS)
def test_help_is_at_most_24_lines(path: tuple[str, ...], command: click.Command, run: Run) -> None:
    result = run(*path, "-h")
    assert (result.code, result.err) == (0, "")
    # A screen of the smallest terminal; `start` alone has a setting for everything an instance is.
    assert len(result.out.splitlines()) <= (30 if path == ("start",) else 24)
    assert max(map(len, result.out.splitlines())) <= 100
    assert run(*path, "--help").out == result.out


@pytest.mark.parametrize(("path", "command"), LEAVES, ids=[" ".join(path) for path, _ in LEAVES])
def test_a_command_shows_examples_first_and_takes_json(path: tuple[str, ...], command: click.Command) -> None:
    assert isinstance(command, Command)
    assert command.examples, "a help text starts with examples"
    assert all(line.startswith("brokersim") or "brokersim" in line for line, _ in command.examples)
    options = {name for param in command.params for name in param.opts}
    assert {"--json", "--uri", "--timeout", "--debug", "--color"} <= options
    assert ({"--tsv", "-n", "--no-header"} <= options) == (" ".join(path) in LISTS)


def test_no_short_option_means_two_things() -> None:
    for path, command in LEAVES:
        names = [name for param in command.params if isinstance(param, click.Option) for name in param.opts]
        assert len(names) == len(set(names)), path


def test_the_top_help_names_every_command_and_fits_a_screen(run: Run) -> None:
    text = run("--help").out
    assert all(name in text for name in _LAZY)
    assert len(text.splitlines()) <= 24
    assert text.startswith("brokersim — run broker modules, count their messages, test the counts\n")


def test_version_is_printed(run: Run) -> None:
    result = run("--version")
    assert result.code == 0
    assert result.out.startswith("brokersim ")


def test_an_unknown_command_is_answered_with_the_nearest(run: Run) -> None:
    result = run("modul", "list")
    assert (result.code, result.out) == (2, "")
    assert result.err == (
        "error: no command 'modul' in 'brokersim'\n  hint: a similar one is: module\n  try:  brokersim --help\n"
    )
    assert "a similar one is: readlink" in run("kvs", "readlnk").err


@pytest.mark.parametrize(
    "words",
    [
        ("getattr", "rank"), ("module", "list"), ("ping", "-c", "1", "kvs"), ("kvs", "get", "a"),
        ("rpc", "kvs.getroot"), ("event", "pub", "x"), ("module", "debug", "kvs"), ("content", "flush"),
        ("cron", "list"), ("job", "list"), ("kvs", "put", "a=1"), ("top", "-h"),
    ],
)  # fmt: skip
def test_a_client_command_imports_nothing_heavy(words: tuple[str, ...], fake: FakeBroker) -> None:
    # what makes the start slow, rather than a time that depends on the machine
    probe = (
        "import sys\nfrom brokersim.cli.main import main\n"
        f"main({words!r})\n"
        "heavy = ('trio', 'asyncio', 'attrs', 'rich', 'importlib.metadata', 'email', 'http', 'sqlite3')\n"
        "print('HEAVY', [name for name in heavy if name in sys.modules], file=sys.stderr)"
    )
    fake.answers |= {
        "kvs.lookup": {"val": {"ver": 1, "type": "val", "data": "MQ=="}},
        "kvs.commit": {"rootref": "sha1-0", "rootseq": 1},
        "kvs.getroot": {"rootseq": 1},
        "kvs.ping": lambda request: request.payload,
        "kvs.debug": {"flags": 0},
        "content.flush": None,
        "cron.list": {"entries": []},
        "job-list.list": [],
    }
    done = subprocess.run([sys.executable, "-c", probe], capture_output=True, text=True, check=True)
    assert done.stderr.splitlines()[-1] == "HEAVY []"


def test_completion_scripts_for_three_shells(run: Run) -> None:
    for shell, word in (
        ("bash", "complete -o nosort"),
        ("zsh", "#compdef brokersim"),
        ("fish", "complete --no-files"),
    ):
        result = run("completion", shell)
        assert result.code == 0
        assert word in result.out
    assert run("completion", "tcsh").code == 2


def completions(words: str, cword: int) -> list[str]:
    environment = {
        **os.environ,
        "_BROKERSIM_COMPLETE": "bash_complete",
        "COMP_WORDS": words,
        "COMP_CWORD": str(cword),
    }
    done = subprocess.run(
        [sys.executable, "-c", "from brokersim.cli.main import main; main()"],
        env=environment, capture_output=True, text=True,
    )  # fmt: skip
    return [line.partition(",")[2] for line in done.stdout.splitlines() if line]


def test_module_names_complete_from_the_live_instance(fake: FakeBroker) -> None:
    assert completions("brokersim module stats c", 3) == ["content-cache", "content", "cron"]


def test_keys_complete_from_the_live_instance(fake: FakeBroker) -> None:
    def lookup(request: Any) -> Any:
        assert request.payload["key"] == "a"
        entry = {"ver": 1, "type": "val", "data": ""}
        return {
            "val": {
                "ver": 1,
                "type": "dir",
                "data": {"bc": entry, "bd": {**entry, "type": "dirref"}, "x": entry},
            }
        }

    fake.answers["kvs.lookup"] = lookup
    assert completions("brokersim kvs get a.b", 3) == ["a.bc", "a.bd."]


def test_completion_without_an_instance_is_empty_and_silent(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("BROKERSIM_URI", "local:///nowhere/local-0")
    monkeypatch.setenv("FLUX_LOCAL_CONNECTOR_RETRY_COUNT", "0")
    assert completions("brokersim module stats c", 3) == []


@pytest.mark.parametrize(
    ("words", "offered"),
    [
        ("start --hook p", ["prepare"]),
        ("start --hook ''", ["prepare", "check", "idle", "timer:1s"]),
        ("start --clock v", ["virtual"]),
        ("module debug -s 0x10", ["0x1000", "0x10000"]),
        ("module debug -s msgcount+t", ["msgcount+timing", "msgcount+trace"]),
        ("module debug --hook c", ["check"]),
        ("bench watchers --hooks none,t", ["none,timer:1s"]),
    ],
)
def test_values_of_options_complete(words: str, offered: list[str]) -> None:
    assert completions(f"brokersim {words}", len(words.split())) == offered
