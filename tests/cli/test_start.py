"""start: options, environment and file become StartOptions; what is wrong is told before anything runs."""

from __future__ import annotations

import shlex
import sys
import types
from pathlib import Path
from typing import Any

import pytest

from brokersim.net.options import DEFAULT_MODULES, StartError, StartOptions
from tests.cli.conftest import Run


class Started:
    """Stands in for the part that runs an instance."""

    def __init__(self) -> None:
        self.options: StartOptions | None = None
        self.answer: int | Exception = 0

    def __call__(self, options: StartOptions) -> int:
        self.options = options
        if isinstance(self.answer, Exception):
            raise self.answer
        return self.answer


DETACHED = types.SimpleNamespace(name="x", uri="local:///x/local-0", pid=7, size=1)


@pytest.fixture
def started(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Started:
    for name in ("BROKERSIM_SEED", "FLUX_FRIPP_STATSD", "BROKERSIM_MODULE_PATH", "BROKERSIM_CONFIG"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "config"))
    monkeypatch.chdir(tmp_path)
    serve: Any = types.ModuleType("brokersim.net.serve")
    serve.run_instance = Started()
    serve.detach = lambda options: serve.run_instance(options) or DETACHED
    serve.StartError = StartError
    monkeypatch.setitem(sys.modules, "brokersim.net.serve", serve)
    return serve.run_instance


@pytest.mark.parametrize(("backing", "there"), [("content-files", ["content-files"]), ("none", [])])
def test_blobs_are_kept_by_the_module_that_the_attribute_names(
    started: Started, run: Run, backing: str, there: list[str]
) -> None:
    assert run("start", "-S", f"content.backing-module={backing}") == (0, "", "")
    options = started.options
    assert options is not None
    at = DEFAULT_MODULES.index("content-sqlite")
    assert list(options.modules) == [*DEFAULT_MODULES[:at], *there, *DEFAULT_MODULES[at + 1 :]]


def test_defaults(started: Started, run: Run) -> None:
    assert run("start") == (0, "", "")
    options = started.options
    assert options is not None
    assert options == StartOptions(seed=options.seed)
    assert 20260101 <= options.seed <= 21000101
    assert options.modules == DEFAULT_MODULES
    assert options.command is None


def test_every_option(started: Started, run: Run, tmp_path: Path) -> None:
    words = shlex.split(
        "-s 8 -k kary:3 -m kvs,cron -M . --clock virtual --seed 7 --hook timer:0.5s --stats 127.0.0.1:8125 "
        "--fake-resources 8x12x1 -S test.b=1 -S test.c=d=e --conf x.y=3 --conf x.z=text --statedir st --"
    )
    assert run("start", *words, "./test.sh", "-x", "--json").code == 0
    assert started.options == StartOptions(
        size=8, fanout=3, clock="virtual", seed=7, hook="timer:0.5s", stats="127.0.0.1:8125",
        modules=("kvs", "cron"), module_path=(Path("."),), attrs={"test.b": "1", "test.c": "d=e"},
        conf={"x": {"y": 3, "z": "text"}}, resources="8x12x1", state_dir=Path("st"),
        command=("./test.sh", "-x", "--json"),
    )  # fmt: skip


def test_the_command_needs_no_dashes(started: Started, run: Run) -> None:
    run("start", "-s", "2", "sh", "-c", "exit 3")
    assert started.options is not None
    assert started.options.command == ("sh", "-c", "exit 3")


def test_detached_and_without_modules(started: Started, run: Run) -> None:
    run("start", "-d", "-m", "none")
    assert started.options is not None
    assert (started.options.detach, started.options.modules) == (True, ())


def test_the_exit_code_is_the_commands(started: Started, run: Run) -> None:
    started.answer = 42
    assert run("start", "--", "false").code == 42


def test_what_cannot_start_is_told_in_one_line(started: Started, run: Run) -> None:
    started.answer = StartError("state directory /x: Read-only file system")
    assert run("start") == (1, "", "error: state directory /x: Read-only file system\n")


def test_the_environment_stands_in_for_options(
    started: Started, run: Run, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("BROKERSIM_SEED", "99")
    monkeypatch.setenv("FLUX_FRIPP_STATSD", "127.0.0.1:9125")
    monkeypatch.setenv("BROKERSIM_MODULE_PATH", f"{tmp_path}:/")
    run("start")
    options = started.options
    assert options is not None
    assert (options.seed, options.stats, options.module_path) == (99, "127.0.0.1:9125", (tmp_path, Path("/")))
    run("start", "--seed", "1", "--stats", "mem:", "-M", ".")
    options = started.options
    assert (options.seed, options.stats, options.module_path) == (1, "mem:", (Path("."), tmp_path, Path("/")))


def test_idle_under_a_real_clock_warns(started: Started, run: Run) -> None:
    assert run("start", "--hook", "idle").err.startswith("warning: hook idle under a real clock")
    assert run("start", "--hook", "idle", "--clock", "virtual").err == ""
    assert run("-q", "start", "--hook", "idle").err == ""


@pytest.mark.parametrize(
    ("words", "text"),
    [
        (("-s", "0"), "size must be 1 to 65536, not 0"),
        (("-s", "x"), "'x' is no whole number"),
        (("-k", "x"), "not a fan-out: 'x'; give K or kary:K"),
        (("-k", "0"), "fanout must be 1 to 65536, not 0"),
        (("--clock", "fast"), "not a clock: 'fast'; give real, virtual or real*N"),
        (("--clock", "real*0"), "not a clock: 'real*0'"),
        (("--seed", "-1"), "seed must be 0 to"),
        (("--hook", "timer"), "not a hook: 'timer'; give prepare, check, idle or timer:FSD"),
        (("--hook", "timer:0"), "not a hook: 'timer:0'"),
        (("--hook", "timer:inf"), "not a hook: 'timer:inf'"),
        (("--stats", "localhost"), "not a statsd target: 'localhost'; give HOST:PORT (127.0.0.1:8125), serve or mem:"),
        (("--stats", "h:70000"), "not a statsd target: 'h:70000'"),
        (("--fake-resources", "0x4"), "not resources: '0x4'; give N, NxC or NxCxG"),
        (("-m", "kvs,,cron"), "'kvs,,cron' has an empty name"),
        (("-m", "kvs,kvs"), "module 'kvs' is listed twice; load the second with: module load -n NAME"),
        (("-M", "/nowhere"), "module path '/nowhere' is not a folder"),
        (("-S", "a"), "'a' is no KEY=VALUE"),
        (("--conf", "a=1", "--conf", "a.b=2"), "--conf a.b: 'a' is a value, not a table"),
        (("-d", "--", "true"), "--detach takes no command"),
        (("--recover",), "--recover needs the --statedir whose content is to be recovered"),
        (("--", ""), "the command after -- is empty"),
        (("--timeout", "5s"), "start has no --timeout"),
    ],
)  # fmt: skip
def test_2_for_a_setting_that_cannot_be(
    words: tuple[str, ...], text: str, started: Started, run: Run
) -> None:
    result = run("start", *words)
    assert (result.code, result.out, started.options) == (2, "", None)
    assert text in result.err.splitlines()[0]


def test_a_seed_in_the_environment_that_is_no_number(
    started: Started, run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("BROKERSIM_SEED", "many")
    assert run("start") == (2, "", "error: BROKERSIM_SEED='many' is no number\n")


CONFIG = """\
[start]
size = 4
clock = "virtual"
modules = ["kvs", "cron"]
attrs = { "heartbeat.period" = "5s" }

[conf.content]
limit = 7
"""


def test_a_file_sets_defaults_that_options_override(started: Started, run: Run, tmp_path: Path) -> None:
    (tmp_path / "brokersim.toml").write_text(CONFIG)
    run("start", "-s", "2", "--conf", "content.more=1")
    assert started.options is not None
    assert started.options == StartOptions(
        size=2, clock="virtual", modules=("kvs", "cron"), attrs={"heartbeat.period": "5s"},
        conf={"content": {"limit": 7, "more": 1}}, seed=started.options.seed,
    )  # fmt: skip


def test_which_file_counts(
    started: Started, run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def size_with(*words: str) -> int:
        run(*words, "start")
        assert started.options is not None
        return started.options.size

    (tmp_path / "config" / "brokersim").mkdir(parents=True)
    places = {2: "config/brokersim/brokersim.toml", 3: "brokersim.toml", 4: "env.toml", 5: "option.toml"}
    for size, place in places.items():
        (tmp_path / place).write_text(f"[start]\nsize = {size}\n")
    assert size_with("-c", "option.toml") == 5
    monkeypatch.setenv("BROKERSIM_CONFIG", "env.toml")
    assert size_with() == 4
    monkeypatch.delenv("BROKERSIM_CONFIG")
    assert size_with() == 3
    (tmp_path / "brokersim.toml").unlink()
    assert size_with() == 2


FOUND = """\
[start]
module_path = ["mods"]
modules = ["./own.py"]
state_dir = "state"
"""


@pytest.mark.parametrize("name", ["brokersim.toml", "mods", "mods/m.py", "own.py", "state"])
def test_a_file_that_was_found_and_what_it_names_is_refused_if_others_can_write_it(
    started: Started, run: Run, tmp_path: Path, name: str
) -> None:
    """With it anybody who may write to the folder one stands in would run what they like."""
    (tmp_path / "brokersim.toml").write_text(FOUND)
    (tmp_path / "own.py").write_text("")
    for folder in ("mods", "state"):
        (tmp_path / folder).mkdir()
    (tmp_path / "mods" / "m.py").write_text("")
    assert run("start").code == 0
    started.options = None
    path = tmp_path / name
    path.chmod(path.stat().st_mode | 0o002)
    result = run("start")
    assert (result.code, started.options) == (2, None)
    assert result.err.startswith(f"error: {name} can be written by everybody\n")
    assert "brokersim -c brokersim.toml" in result.err
    result = run("-c", "brokersim.toml", "start")
    assert (result.code, started.options is None) == (0, False), "what a person names is theirs to judge"
    assert result.err.startswith(f"warning: {name} can be written by everybody: ")


def test_a_folder_that_was_typed_is_warned_of_if_others_can_write_it(
    started: Started, run: Run, tmp_path: Path
) -> None:
    (tmp_path / "mods").mkdir()
    (tmp_path / "mods").chmod(0o777)
    for option in ("-M", "--statedir", "--rundir"):
        result = run("start", option, "mods")
        told = "warning: mods can be written by everybody: whoever can write there decides what runs here\n"
        assert (result.code, result.err) == (0, told)


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("[start]\nsise = 3\n", "c.toml:2: unknown key start.sise\n  hint: a similar one is: size"),
        ("\n[begin]\n", "c.toml:2: unknown key begin"),
        ('[start]\n\nsize = "3"\n', "c.toml:3: start.size must be a number, not '3'"),
        ("[start]\nsize = true\n", "c.toml:2: start.size must be a number, not True"),
        ("[start]\nmodules = [1]\n", "c.toml:2: start.modules must be a list of text, not [1]"),
        ("conf = 3\n", "c.toml:1: conf must be a table, not 3"),
        ("[start\n", "c.toml: not TOML: "),
    ],
)
def test_a_wrong_file_is_told_with_line_and_key(
    text: str, told: str, started: Started, run: Run, tmp_path: Path
) -> None:
    (tmp_path / "c.toml").write_text(text)
    result = run("-c", "c.toml", "start")
    assert (result.code, started.options) == (2, None)
    assert result.err.startswith(f"error: {told}")


def test_a_missing_file_is_told(started: Started, run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    found = run("-c", "none.toml", "start")
    assert (found.code, found.out) == (2, "") and "File 'none.toml' does not exist\n" in found.err
    monkeypatch.setenv("BROKERSIM_CONFIG", "none.toml")
    assert run("start") == (2, "", "error: none.toml: No such file or directory\n")


@pytest.mark.parametrize(
    ("words", "command"),
    [
        (("echo hi | wc -c",), ("/bin/sh", "-c", "echo hi | wc -c")),
        (("./test.sh",), ("./test.sh",)),
        (("echo", "a b"), ("echo", "a b")),
    ],
)
def test_one_argument_that_is_more_than_a_word_goes_through_the_shell(
    words: tuple[str, ...], command: tuple[str, ...], started: Started, run: Run
) -> None:
    assert run("start", *words).code == 0
    assert started.options is not None
    assert started.options.command == command


def test_what_flux_start_calls_otherwise_means_the_same(started: Started, run: Run, tmp_path: Path) -> None:
    (tmp_path / "conf").mkdir()
    (tmp_path / "conf/a.toml").write_text("[x]\ny = 1\n[kvs]\nz = 2\n")
    (tmp_path / "conf/b.toml").write_text("[x]\nw = 3\n")
    words = "-s2 --test-hosts=a[1-2] -Sstatedir=state -o,-Stbon.topo=kary:3,-Slog-level=4 -o --setattr=test.a=b,-cconf"
    assert run("start", *shlex.split(words), "true").code == 0
    options = started.options
    assert options is not None
    assert (options.fanout, options.state_dir) == (3, Path("state"))
    assert options.conf == {"x": {"y": 1, "w": 3}, "kvs": {"z": 2}}
    assert options.attrs == {
        "log-level": "4", "test.a": "b", "hostlist": "a[1-2]", "config.path": str(tmp_path / "conf"),
    }  # fmt: skip


def test_what_only_fluxs_own_kind_of_start_needs_is_taken_and_its_run_directory_heeded(
    started: Started, run: Run, tmp_path: Path
) -> None:
    modes = "--test-exit-mode=leader --test-start-mode=all --test-pmi-clique=none --test-exit-timeout=5s"
    words = f"-s2 {modes} --test-rundir={tmp_path} --test-rundir-cleanup -S broker.rc2_none"
    assert run("start", *shlex.split(words), "true").code == 0
    options = started.options
    assert options is not None and options.run_dir == tmp_path
    assert options.attrs == {"rundir-cleanup": "1", "broker.rc2_none": "1"}


def test_who_loads_modules_by_a_script_of_its_own_has_no_others(started: Started, run: Run) -> None:
    assert run("start", "-S", "broker.rc1_path=", "true").code == 0
    assert started.options is not None and started.options.modules == ()
    assert run("start", "-S", "broker.rc1_path=", "-m", "kvs", "true").code == 0
    assert started.options.modules == ("kvs",)


@pytest.mark.parametrize(
    ("words", "text"),
    [
        ("-S rundir= x", "rundir is empty; give the path of a folder"),
        ("--statedir '' x", "statedir is empty; give the path of a folder"),
        ("-o-x", "broker option '-x' is not known here; give -SNAME=VALUE or -cPATH"),
        ("--test-hosts=a,b", "--test-hosts has 2 hosts for 1 brokers; give one for each"),
        ("--test-hosts=a[", "--test-hosts: "),
        ("--config-path=none.toml", "configuration none.toml: No such file or directory"),
        ("--test-rundir=/ x", "--test-rundir needs --test-size"),
        ("-s1 --test-rundir=/none x", "--test-rundir: /none: No such file or directory"),
        ("-s1 --test-rundir=/dev/null x", "--test-rundir: /dev/null: not a directory"),
        ("--test-rundir-cleanup x", "--test-rundir-cleanup needs --test-size"),
        ("-s1 --test-exit-mode=bad x", "--test-exit-mode=bad: give any or leader"),
        ("-s1 --test-start-mode=bad x", "--test-start-mode=bad: give all or leader"),
        ("-s1 --test-pmi-clique=bad x", "--test-pmi-clique=bad: give single or none"),
        ("-s1 --test-exit-timeout=-1 x", "--test-exit-timeout: not a duration"),
        ("-S broker.boot-method=unknown", "attribute 'broker.boot-method' is 'unknown'; it must be single, "),
        ("-S broker.rc2_nothing", "'broker.rc2_nothing' is no KEY=VALUE"),
        ("-S size=3", "attribute 'size' may not be set at the start"),
        ("-S nosuch=3", "attribute 'nosuch' is unknown"),
        ("-S log-level=8", "attribute 'log-level' is '8'; it must be a whole number from -1 to 7"),
    ],
)
def test_what_flux_start_refuses_is_refused(words: str, text: str, started: Started, run: Run) -> None:
    result = run("start", *shlex.split(words))
    assert (result.code, started.options) == (2, None)
    assert text in result.err.splitlines()[0]
