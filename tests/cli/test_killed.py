"""An instance killed at any instant has, when it is started again, all that a `kvs put --sync` was answered for."""

from __future__ import annotations

import os
import random
import signal
import subprocess
import sys
from pathlib import Path

import pytest

KILLS = int(os.environ.get("BROKERSIM_KILLS", "2"))
START = """
import sys
from pathlib import Path
from brokersim.net.options import StartOptions
from brokersim.net.serve import run_instance
sys.exit(run_instance(StartOptions(command=tuple(sys.argv[2:]), state_dir=Path(sys.argv[1]))))
"""
#: Puts one key after the other with FLUX_KVS_SYNC and tells each that was answered.
PUT = """
import itertools, os, sys
from brokersim.net.client import Client
with Client.connect(os.environ["BROKERSIM_URI"]) as client:
    for number in itertools.count(int(sys.argv[1])):
        ops = [{"key": f"k{number}", "flags": 0, "dirent": {"ver": 1, "type": "val", "data": "MQ=="}}]
        client.rpc("kvs.commit", {"namespace": "primary", "ops": ops, "flags": 4})
        print(number, flush=True)
"""
GET = """
import os, sys
from brokersim.net.client import Client
with Client.connect(os.environ["BROKERSIM_URI"]) as client:
    root = client.rpc("kvs.lookup", {"key": ".", "flags": 1, "namespace": "primary"})
    print(" ".join(root["val"]["data"]) if "val" in root else root)
"""


def command(state: Path, program: str, *args: str) -> list[str]:
    return [sys.executable, "-c", START, str(state), sys.executable, "-c", program, *args]


@pytest.mark.parametrize("number", range(KILLS))
def test_what_was_answered_for_survives_a_kill_at_any_instant(tmp_path: Path, number: int) -> None:
    chance = random.Random(number)
    state = tmp_path / f"state{number % 10}"
    answered = 0
    for _ in range(2):  # a second time on what the first left
        with subprocess.Popen(
            command(state, PUT, str(answered)), stdout=subprocess.PIPE, text=True
        ) as process:
            assert process.stdout is not None
            for _ in range(chance.randint(1, 60)):
                line = process.stdout.readline()
                assert line, "the client ended early"
                answered = int(line) + 1
            process.send_signal(signal.SIGKILL)
            for line in process.stdout:  # answers on their way while it was killed
                answered = int(line) + 1
        there = subprocess.run(
            command(state, GET), capture_output=True, text=True, timeout=120, check=True
        ).stdout.split()
        missing = {f"k{one}" for one in range(answered)} - set(there)
        assert not missing, f"answered for, and lost: {sorted(missing)[:5]} of {answered}"
