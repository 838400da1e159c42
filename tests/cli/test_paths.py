"""Every command that takes a path, crossed with every kind of thing a path may lead to.

One clear line that names what was given, the right exit code, no traceback, no reading without end, nothing half
written. A parameter that is new and looks like a path has to be named in one of the tables, or the first test fails.
"""

from __future__ import annotations

import os
import re
import resource
import sqlite3
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Final

import click
import pytest

from brokersim import files
from brokersim.cli.surface import cli
from brokersim.cli.types import Output
from tests.cli.conftest import Run

_METAVAR: Final = re.compile(r"\b(FILE|PATH|DIR|FOLDER|PLAN|BASE|LOAD|OUT|IN|RUN)\b|KIND=TO")
_NAME: Final = re.compile(r"file|path|dir$|folder|root$|sink|library")

#: What a command reads: the words, with a place for the path.
READS: Final = {
    "-c": "-c {} start -m none -- true",
    "start --config-path": "start --config-path {} -m none -- true",
    "start --probes": "start --probes {} -m none -- true",
    "module load path": "module load --check {}",
    "module replay file": "module replay {}",
    "content store file": "content store {}",
    "job swf path": "job swf {}",
    "bench --cost": "bench decay --cost {}",
    "bench --baseline": "bench decay --baseline {}",
    "bench --workload": "bench watchers --workload swf:{}",
    "bench --workload trace": "bench watchers --workload trace:{}",
    "bench plan_file": "bench intervals {}",
    "check --against": "check --against {} -- true",
    "explore --replay": "explore --replay {}",
    "probe read config": "probe read replay file={}",
    "probe validate file": "probe validate {}",
    "registry shell --file": "registry shell --file {}",
    "registry serve --token-file": "registry serve --token-file {}",
    "registry shell --token-file": "registry shell --url http://127.0.0.1:1 --token-file {} services s0",
    "report runs": "report {}",
    "report --compare": "report {} --compare {}",
    "runs show name": "runs show {}",
    "stats lint file": "stats lint {}",
    "stats explain file": "stats explain flux.kvs.0.x {}",
    "stats replay inputs": "stats replay {}",
}
#: What is no mistake: an empty configuration, a folder of them, garbage that is stored or judged line by line.
FINE: Final = {
    *((name, "empty") for name in ("-c", "start --config-path", "start --probes", "probe validate file",
                                   "content store file", "stats lint file", "stats replay inputs")),
    ("start --config-path", "folder"), ("content store file", "garbage"), ("content store file", "cut-database"),
    ("stats lint file", "garbage"),
}  # fmt: skip
#: And what would go to work: a plan in which all is as usual.
WORKS: Final = {("bench plan_file", "empty")}
#: What a command writes; none of these comes so far as to work.
WRITES: Final = {
    "bench --out": "bench decay --out {}",
    "bench journal --out": "bench journal decay --out {}",
    "bench --db": "bench decay --db {}",
    "bench calibrate --out": "bench calibrate --flux /none --out {}",
    "check --record": "check --record {} -- true",
    "check --junit": "check --junit {} -- true",
    "explore --film": "explore --replay 0 --film {}",
    "explore --corpus": "explore --examples 1 --corpus {}",
    "probe record --output": "probe record --output {} cpu",
    "report --output": "report result.json -o {}",
    "report --output of text": "report result.json --format md -o {}",
    "runs export --output": "runs export result.json --what checks -o {}",
    "stats record out": "stats record {} -c 1 --for 0.1s -l 127.0.0.1:0",
    "stats serve --db": "stats serve -l 127.0.0.1:0 --db {}",
    "top --record": "top -n 1 --record {}",
}
#: What leads to no file of the command's own, or is tried with an instance that runs; and where.
ELSEWHERE: Final = {
    "start --module-path": "tests/cli/test_start.py",
    "check --module-path": "tests/cli/test_start.py: the same folders",
    "explore --module-path": "click's own: a folder that is there",
    "start --statedir": "tests/modules/test_content_sqlite_mark.py",
    "start --rundir": "tests/net/test_serve.py",
    "start --test-rundir": "tests/cli/test_start.py",
    "stop instance": "a socket: tests/cli/test_instance.py",
    "metrics add --sink": "tests/modules/metrics",
    "module reload name": "tests/cli/module: the broker reads it",
    "jobtap load plugin": "tests/modules: the broker reads it",
    "cron interval --working-dir": "the command's own folder",
    "cron event --working-dir": "the command's own folder",
    "cron at --working-dir": "the command's own folder",
    "flux load file": "tests/realflux: Flux reads it",
    "flux instrument --library": "tests/realflux",
    "check --parts": "written by the elements of an array: tests/cli/check/test_arrays.py",
    "probe read --root": "a folder like /proc: tests/modules/probe",
    "registry serve --listen": "a socket: tests/cli/registry",
    "runs list --dir": "tests/cli/test_runs.py", "runs show --dir": "the same", "runs export --dir": "the same",
    "runs rm --dir": "the same",
    "module stats --parse": "a path in an answer", "job eventlog --path": "a name of an event log",
    "probe add --sink": "a sink of the configuration", "kvs put --treeobj-root": "no path",
}  # fmt: skip


def parameters() -> Iterator[str]:
    """All that look like paths: of the experiments once, as they share their options."""
    for path, param in _all(cli, None, ""):
        is_path = isinstance(param.type, click.Path | click.File) or _METAVAR.search(param.metavar or "")
        if is_path or _NAME.search(param.name or ""):
            shown = max(param.opts, key=len) if isinstance(param, click.Option) else param.name
            name = f"{path} {shown}".strip()
            yield name if name in WRITES else re.sub(r"^bench \S+ ", "bench ", name)


def _all(
    command: click.Command, parent: click.Context | None, path: str
) -> Iterator[tuple[str, click.Parameter]]:
    with click.Context(command, parent=parent, info_name=path, **command.context_settings) as context:
        if isinstance(command, click.Group):
            for name in command.list_commands(context):
                found = command.get_command(context, name)
                assert found is not None
                yield from _all(found, context, f"{path} {name}".strip())
        yield from ((path, one) for one in command.get_params(context))


def test_each_parameter_that_looks_like_a_path_is_crossed_here_or_said_to_be_tried_elsewhere() -> None:
    known = {*READS, *WRITES, *ELSEWHERE, "-c"}
    named = {re.sub(r"^--config$", "-c", one) for one in parameters()}
    assert named - known == set()


def test_a_file_that_is_made_is_tried_before_the_work() -> None:
    """Its type does so; one that is opened or made at once says so by itself."""
    at_once = {"bench --db", "report --output", "stats record out", "stats serve --db"}
    late = {
        name
        for path, param in _all(cli, None, "")
        if (name := re.sub(r"^bench \S+ ", "bench ", f"{path} {max(param.opts, key=len)}")) in WRITES
        and not isinstance(param.type, Output)
    }
    assert late <= at_once


# -- read


def _folder(path: Path) -> None:
    path.mkdir()


def _loop(path: Path) -> None:
    path.symlink_to(path)


def _endless(path: Path) -> None:
    path.symlink_to("/dev/zero")


def _garbage(path: Path) -> None:
    path.write_bytes(bytes(range(256)) * 20)


def _hole(path: Path) -> None:
    path.touch()
    os.truncate(path, 1 << 40)


def _cut_database(path: Path) -> None:
    whole = sqlite3.connect(path)
    with whole:
        whole.execute("CREATE TABLE t (x)")
        whole.executemany("INSERT INTO t VALUES (?)", [("x" * 500,)] * 100)
    whole.close()
    os.truncate(path, 9000)


KINDS: Final[dict[str, Callable[[Path], object]]] = {
    "missing": lambda path: None,
    "folder": _folder,
    "loop": _loop,
    "endless": _endless,
    "garbage": _garbage,
    "empty": Path.touch,
    "hole": _hole,
    "cut-database": _cut_database,
}


@pytest.fixture
def bounded(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Small bounds of ours; and one of the kernel's, so that what reads without end does not fill the machine."""
    monkeypatch.setattr(files, "INPUT_MAX", 4 << 20)
    monkeypatch.setattr(files, "LINE_MAX", 1 << 20)
    before = resource.getrlimit(resource.RLIMIT_AS)
    pages = int(Path("/proc/self/statm").read_text().split()[0])
    resource.setrlimit(resource.RLIMIT_AS, (pages * resource.getpagesize() + (1 << 30), before[1]))
    yield
    resource.setrlimit(resource.RLIMIT_AS, before)


@pytest.fixture
def alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """In a folder of one's own, with no instance and no configuration in sight."""
    for name in ("FLUX_URI", "BROKERSIM_CONFIG", "BROKERSIM_RUNS"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("BROKERSIM_URI", f"local://{tmp_path}/none")
    for name in ("XDG_RUNTIME_DIR", "XDG_CONFIG_HOME", "TMPDIR"):
        monkeypatch.setenv(name, str(tmp_path))
    monkeypatch.chdir(tmp_path)


def wrong(run: Run, words: str, path: Path) -> str:
    """What is wrong with how a command failed that should; nothing if one line names what was given."""
    result = run(*(word.format(path) for word in words.split()))
    lines = result.err.splitlines() or [""]
    is_told = lines[0].startswith("error: ") and path.name in lines[0] and len(lines) <= 3
    is_ours = "Traceback" in result.err or "itself is at fault" in result.err
    return "" if result.code in (1, 2) and is_told and not is_ours else f"{words}: {result}"


@pytest.mark.usefixtures("bounded", "alone")
@pytest.mark.parametrize("kind", KINDS)
def test_whatever_a_path_to_read_leads_to_is_told_in_a_line(run: Run, tmp_path: Path, kind: str) -> None:
    path = tmp_path / "given"
    KINDS[kind](path)
    left_out = FINE | WORKS
    found = {name: wrong(run, words, path) for name, words in READS.items() if (name, kind) not in left_out}
    assert {name: one for name, one in found.items() if one} == {}


@pytest.mark.usefixtures("bounded", "alone")
@pytest.mark.parametrize("kind", sorted({kind for _, kind in FINE}))
def test_what_is_no_mistake_is_not_called_one(run: Run, tmp_path: Path, kind: str) -> None:
    path = tmp_path / "given"
    KINDS[kind](path)
    for name, words in READS.items():
        if (name, kind) in FINE:
            result = run(*(word.format(path) for word in words.split()))
            # 1: lint's findings. 3: nobody is there to store it.
            assert result.code in (0, 1, 3) and "itself is at fault" not in result.err, (name, result)


@pytest.mark.usefixtures("bounded", "alone")
@pytest.mark.parametrize(
    "words", ["explore --replay {}", "stats replay {}", "-c {} start -m none -- true", "probe validate {}"]
)
def test_a_pipe_is_read_once_to_its_end(run: Run, tmp_path: Path, words: str) -> None:
    path = tmp_path / "given"
    os.mkfifo(path)
    writer = threading.Thread(target=path.write_bytes, args=(b"[start]\nunknown = garbage\n",))
    writer.start()
    told = wrong(run, words, path)
    writer.join()
    assert told == ""


# -- written


def _below_a_file(path: Path) -> None:
    path.parent.write_text("a file")


UNWRITABLE: Final[dict[str, tuple[str, Callable[[Path], object]]]] = {
    "loop": ("given", _loop),
    "below-a-file": ("file/given", _below_a_file),
    "too-long": ("given" + "n" * 255, lambda path: None),
}
RESULT: Final = b'{"meta": {"experiment": "decay", "clock": "virtual", "seed": 0}, "rows": [], "checks": []}'


@pytest.mark.usefixtures("alone")
@pytest.mark.parametrize("kind", UNWRITABLE)
def test_whatever_cannot_be_written_is_told_in_a_line_and_leaves_nothing(
    run: Run, tmp_path: Path, kind: str
) -> None:
    (tmp_path / "result.json").write_bytes(RESULT)
    where, make = UNWRITABLE[kind]
    path = tmp_path / where
    make(path)
    before = sorted(os.listdir(tmp_path))
    found = {name: wrong(run, words, path) for name, words in WRITES.items()}
    assert {name: one for name, one in found.items() if one} == {}
    assert sorted(os.listdir(tmp_path)) == before
