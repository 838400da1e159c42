"""`module load --check`: what it finds out about files, without an instance to ask."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from brokersim.fluxapi.check import check

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
    assert check(path).not_in_flux == ("import brokersim.brokermod",)


def test_the_command_prints_the_findings_and_its_exit_code_says_whether_all_is_well(tmp_path: Path) -> None:
    path = tmp_path / "m.py"
    path.write_text(FLUX_FILE)
    command = [sys.executable, "-m", "brokersim.cli.main", "module", "load", "--check", str(path)]
    environment = {**os.environ, "PYTHONPATH": str(ROOT / "src")}
    done = subprocess.run(command, capture_output=True, text=True, timeout=30, env=environment)
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.splitlines()[0].split() == ["tier", "2"]
    path.write_text("import _flux\n" + FLUX_FILE)
    done = subprocess.run(command, capture_output=True, text=True, timeout=30, env=environment)
    assert done.returncode == 1 and "not here: import _flux" in done.stderr
