"""`module load --check`: what it finds out about files, without an instance to ask."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from brokersim.fluxapi.check import check
from brokersim.fluxapi.source import is_importable

ROOT = Path(__file__).parents[2]
FLUX_FILE = """\
from flux.brokermod import BrokerModule, event_handler, request_handler
import flux.kvs

class M(BrokerModule):
    def __init__(self, h, *args):
        super().__init__(h, *args)
        h.service_register("extra")
    @event_handler("x.y", prefix=False)
    def x(self, msg): flux.kvs.get(self.handle, "a")
    @request_handler("go")
    def go(self, msg): self.handle.respond(msg)
"""


def test_a_file_for_both_is_found_to_be_one(tmp_path: Path) -> None:
    path = tmp_path / "m.py"
    path.write_text(FLUX_FILE)
    found = check(path)
    assert (found.tier, found.not_here, found.not_in_flux) == (2, (), ())
    assert (found.imports, found.methods) == (("flux.brokermod", "flux.kvs"), ("respond", "service_register"))
    assert (found.services, found.subscriptions) == (("extra",), ("x.y",))
    assert (found.api, found.requests, found.notes, found.is_fine) == ("flux", ("m.go",), (), True)


@pytest.mark.parametrize("name", ["counters.py", "fifo.py", "journal.py"])
def test_the_examples_pass(name: str) -> None:
    found = check(ROOT / "examples" / "flux_modules" / name)
    assert (found.not_here, found.not_in_flux) == ((), ())


def test_what_would_not_run_is_named(tmp_path: Path) -> None:
    path = tmp_path / "m.py"
    text = FLUX_FILE.replace("import flux.kvs", "import flux.uri").replace("respond(msg)", "flux_clone()")
    path.write_text(text)
    found = check(path)
    assert found.tier == 3
    assert found.not_here[:2] == ("import flux.uri", "the handle's flux_clone")
    assert "flux.uri is not supported" in found.not_here[2]
    path.write_text(
        FLUX_FILE.replace("flux.brokermod", "brokersim.brokermod").replace("import flux.kvs\n", "")
    )
    assert check(path).not_in_flux[0] == "import brokersim.brokermod"


PROBLEMS = {
    "from flux.kvs import nosuch": "line 1: flux.kvs has no nosuch",
    "import flux.kvs\ndef late(h): flux.kvs.nosuch(h)": "flux.kvs.nosuch: brokersim has no such name",
    "import flux\ndef late(): return flux.Flux()": "line 2: flux.Flux(): a module has the handle it is given",
    "from flux import Flux as F\ndef late(): return F()": "line 2: flux.Flux(): a module has the handle it is given",
    "def late():\n    import flux.kvs": (
        "line 2: import flux.kvs in late(): only found while the file is loaded; "
        "move it to the top, or load with --exec"
    ),
}


@pytest.mark.parametrize("text", PROBLEMS)
def test_each_thing_in_the_way_is_told_with_its_line(tmp_path: Path, text: str) -> None:
    path = tmp_path / "m.py"
    path.write_text(f"{text}\n{FLUX_FILE}")
    found = check(path)
    assert found.not_here[0] == PROBLEMS[text] and not found.not_in_flux


def test_a_coroutine_as_handler_is_awaited_by_nobody(tmp_path: Path) -> None:
    path = tmp_path / "m.py"
    path.write_text(FLUX_FILE.replace("    def go(", "    async def go("))
    found = check(path)
    (text,) = found.not_in_flux
    assert "handler go is a coroutine, which nobody awaits" in text and found.not_here == (text,)


def test_a_file_of_ours_is_told_what_flux_lacks(tmp_path: Path) -> None:
    path = tmp_path / "m.py"
    path.write_text(
        "import time\n"
        "from brokersim.brokermod import BrokerModule, request_handler, trio_task\n"
        "class M(BrokerModule):\n"
        "    def stats(self): return {}\n"
        "    @request_handler('go')\n"
        "    @trio_task\n"
        "    async def go(self, msg): self.handle.respond(msg, await self.handle.call('x.y'))\n"
        "    @request_handler('nap')\n"
        "    def nap(self, msg): time.sleep(1)\n"
    )
    found = check(path)
    assert (found.api, found.tier, found.not_here) == ("brokersim", None, ())
    assert found.requests == ("m.go", "m.nap")
    assert found.not_in_flux == (
        "import brokersim.brokermod", "the handle's call", "stats(): Flux does not call it",
        "line 7: go is a coroutine",
    )  # fmt: skip
    assert [note.partition(":")[0] for note in found.notes] == ["line 9", "@trio_task"]


def test_a_file_that_never_gets_loaded_is_given_up(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("brokersim.fluxapi.check._PATIENCE", 0.2)
    path = tmp_path / "m.py"
    path.write_text(f"{FLUX_FILE}\nwhile True:\n    pass\n")
    assert "HandlerHung" in check(path).not_here[0]


def test_the_command_prints_the_findings_and_its_exit_code_says_whether_all_is_well(tmp_path: Path) -> None:
    path = tmp_path / "m.py"
    path.write_text(FLUX_FILE)
    command = [sys.executable, "-m", "brokersim.cli.main", "module", "load", "--check", str(path)]
    environment = {**os.environ, "PYTHONPATH": str(ROOT / "src")}
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, env=environment)
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.splitlines()[0].split() == ["api", "flux,", "tier", "2", "of", "3"]
    path.write_text("from _flux._idset import lib\n" + FLUX_FILE)
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, env=environment)
    assert (done.returncode, done.stderr.splitlines()[0]) == (1, f"error: {path} would not run here")
    assert "not here     import _flux._idset" in done.stdout.splitlines()


def test_what_of_flux_can_be_imported() -> None:
    there = ["flux", "flux.kvs", "flux.resource", "_flux", "_flux._core"]
    missing = ["flux.core.inner", "flux.nosuch", "flux.kvs.nosuch", "_flux.other", "os", "os.path", "fluxx"]
    assert [name for name in [*there, *missing] if is_importable(name)] == there
