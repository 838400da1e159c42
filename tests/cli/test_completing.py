"""What a shell is offered: the same by the table as by all commands, and the table is that of the commands."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from brokersim.cli import main as door
from brokersim.cli.quick import Aside
from brokersim.cli.quick.completing import TABLE
from brokersim.cli.quick.table_maker import table
from brokersim.protocol.errnums import ENOENT, RequestError
from tests.cli.fake_broker import SILENCE, FakeBroker

#: What is typed; the word that has begun is the last one, an empty one behind a blank.
ANSWERED = [
    "", "kv", "zzz", "-", "--", "--u", "-u ", "-c ", "-c x", "--json ", "-q --", "--color", "--uri x mod",
    "-c f sta", "module ", "module de", "module -", "module debug ", "module debug k", "module debug -",
    "module debug --s", "module debug -s ", "module debug -s 0x1", "module debug -s msgcount+t",
    "module debug --set msgcount+timing+", "module debug --hook ", "module debug --hook c",
    "module debug kvs c", "module debug -s 1 kvs --", "module debug -C -", "module debug -r ",
    "module debug -u ", "module stats c", "module stats kvs ", "module stats kvs c", "module load ",
    "module load x y", "module remove c", "module reload k", "module trace c", "module list --", "kvs ",
    "kvs g", "kvs get a.b", "kvs get ", "kvs get -N other a.", "kvs -h get a.", "kvs get a.bc a.",
    "kvs watch a.", "kvs ls a.", "kvs eventlog ", "kvs eventlog get a.", "kvs namespace cr", "kvs put ",
    "kvs put a=1 --", "kvs get -N ", "start ", "start -", "start --clock v", "start --hook t",
    "start --modules ", "bench watchers --hooks none,t", "bench watchers --workload ", "completion ",
    "completion b", "completion bash ", "job submit -", "top -", "top ", "stats serve --", "probe add --",
    "metrics show ", "cron at ", "flux ", "jobtap ", "overlay f", "event pub ", "--json --json --j", "runs ex",
    "check ", "ping --uri x --",
]  # fmt: skip
LEFT = [
    "'mod", "module 'debug' -s ", "nothing here", "module nothing x", "module stats -R ", "module stats -R c",
    "module debug --set=0x1", "module debug --setb 1 k", "kvs get -- -a", "kvs get -Nx a.", "kvs get -rl a.",
    "--color ", "--color=always mod", "start -- x", "start true -", "start true -x y", "report ", "report x",
    "runs show ", "kvs get missing.a", "kvs get odd.a", "module debug -s -s ", "kvs get é",
    "-u nowhere module stats c", "module debug --hook =",
]  # fmt: skip
SHELLS = ("bash", "zsh", "fish")


@pytest.fixture
def peer(fake: FakeBroker, monkeypatch: pytest.MonkeyPatch) -> FakeBroker:
    monkeypatch.setenv("FLUX_LOCAL_CONNECTOR_RETRY_COUNT", "0")
    entry = {"ver": 1, "type": "val", "data": ""}
    keys = {"x": entry, "bd": {**entry, "type": "dirref"}, "bc": entry}

    def lookup(request: Any) -> Any:
        if request.payload["key"] == "missing":
            return RequestError(ENOENT)
        return {"val": 7 if request.payload["key"] == "odd" else {"ver": 1, "type": "dir", "data": keys}}

    fake.answers["kvs.lookup"] = lookup
    return fake


def ask(typed: str, shell: str, peer: FakeBroker, monkeypatch: pytest.MonkeyPatch, capfdbinary: Any) -> Any:
    """The exit code, both streams, and what the instance was asked."""
    words = f"brokersim {typed}"
    begun = words.rpartition(" ")[2]
    monkeypatch.setenv("_BROKERSIM_COMPLETE", f"{shell}_complete")
    monkeypatch.setenv("COMP_WORDS", words)
    monkeypatch.setenv("COMP_CWORD", begun if shell == "fish" else str(len(words.split(" ")) - 1))
    try:
        code: Any = door.main([])
    except SystemExit as end:
        code = end.code
    asked = [(one.topic, one.data, one.nodeid) for one in peer.requests]
    peer.requests.clear()
    return code, *capfdbinary.readouterr(), asked


def _aside(_words: list[str]) -> int:
    raise Aside


@pytest.mark.parametrize("typed", ANSWERED + LEFT)
def test_both_ways_offer_the_same(
    typed: str, peer: FakeBroker, monkeypatch: pytest.MonkeyPatch, capfdbinary: Any
) -> None:
    for shell in SHELLS:
        short = ask(typed, shell, peer, monkeypatch, capfdbinary)
        with monkeypatch.context() as whole:
            whole.setattr(door, "run", _aside)
            assert short == ask(typed, shell, peer, whole, capfdbinary), shell


@pytest.mark.parametrize("typed", ANSWERED)
def test_what_is_usual_is_answered_by_the_table(
    typed: str, peer: FakeBroker, monkeypatch: pytest.MonkeyPatch, capfdbinary: Any
) -> None:
    def never(*_: Any) -> int:
        raise AssertionError("the whole command line was asked")

    monkeypatch.setattr("brokersim.cli.surface.run_whole", never)
    assert ask(typed, "bash", peer, monkeypatch, capfdbinary)[0] == 0


def test_the_table_is_that_of_the_commands() -> None:
    assert Path(TABLE).read_text(encoding="utf-8") == table(), "run: make completions"


def test_help_in_the_table_is_one_line_for_every_shell() -> None:
    assert "\\n" not in table()
    assert "\\t" not in table()


@pytest.mark.parametrize("typed", ["kv", "module de", "module debug -s ", "module debug k", "kvs get a."])
def test_an_answer_imports_none_of_the_large_libraries(typed: str, peer: FakeBroker) -> None:
    code = (
        "import sys; from brokersim.cli.main import main; main([]);"
        "print([one for one in ('click', 'msgspec', 'typing', 'json', 're', 'pathlib') if one in sys.modules])"
    )
    words = f"brokersim {typed}"
    asking = {"_BROKERSIM_COMPLETE": "zsh_complete", "COMP_WORDS": words, "COMP_CWORD": str(words.count(" "))}
    done = subprocess.run(
        [sys.executable, "-S", "-c", f"import sys; sys.path[:0] = {sys.path!r}; {code}"],
        env={**os.environ, **asking}, capture_output=True, text=True, check=True,
    )  # fmt: skip
    assert done.stdout.splitlines()[-1] == "[]"


def test_an_instance_that_does_not_answer_is_not_waited_for(
    peer: FakeBroker, monkeypatch: pytest.MonkeyPatch, capfdbinary: Any
) -> None:
    """Each way has its patience, and what was asked is not asked again."""
    monkeypatch.setattr("brokersim.cli.quick.completing._PATIENCE", 0.01)
    peer.answers["module.list"] = SILENCE
    code, out, err, asked = ask("module stats c", "bash", peer, monkeypatch, capfdbinary)
    assert (code, out, err, len(asked)) == (0, b"\n", b"", 1)
