"""A real Flux's modules under the journal's hook: what is read of it, and in a Flux, where there is one."""

from __future__ import annotations

import os
import re
import shutil
import socket
import subprocess
import sys
from collections import defaultdict
from pathlib import Path
from types import SimpleNamespace

import pytest

from brokersim.protocol.message import COUNTER_NAMES
from brokersim.realflux import preload
from brokersim.realflux.place import Flux, NoFlux, find_flux
from brokersim.realflux.preload import (
    QUIET,
    Reached,
    Turns,
    Watch,
    build,
    loaded,
    read_reached,
    settings,
    told,
)
from tests.realflux.peer import needs_flux

NONE = Flux(command=Path("/nowhere/bin/flux"), version="flux-core 0")


def test_what_the_library_wrote_is_read_by_rank_and_module(tmp_path: Path) -> None:
    report = tmp_path / "reached"
    assert read_reached(report) == Reached({}, (), {})
    report.write_text(
        "+ 0 kvs\n= local:///a/local-0\n+ 1 kvs\n= local:///a/local-0\n+ 0 cron\n- 0 kvs 432 387 1 2 3 4 5 6 7 8\n"
    )
    assert read_reached(report) == Reached(
        {0: {"kvs", "cron"}, 1: {"kvs"}},
        ("local:///a/local-0",),
        {(0, "kvs"): Turns(432, 387, (1, 2, 3, 4, 5, 6, 7, 8))},
    )


def test_one_line_says_what_was_reached_and_names_what_was_not() -> None:
    found = Reached({0: {"kvs", "cron"}}, (), {})
    assert (
        told("check", found, {0: {"mine"}})
        == "check hook in 2 modules on rank 0 (cron, kvs); not reached: mine"
    )
    assert told("check", found, {0: set()}).endswith("not reached: none")
    assert "nobody could look" in told("check", found, None)
    assert told("check", Reached({}, (), {}), None).startswith("no module was instrumented")


def test_a_broker_is_told_its_hook_in_seconds_and_keeps_what_is_preloaded(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("LD_PRELOAD", "/other.so")
    assert settings(Path("/h.so"), "timer:100ms", "h:1", Path("/r")) == {
        "LD_PRELOAD": "/h.so /other.so",
        "BROKERSIM_HOOK": "timer:0.1",
        "FLUX_FRIPP_STATSD": "h:1",
        "BROKERSIM_REACHED": "/r",
    }
    with pytest.raises(ValueError, match="not a hook: 'often'"):
        settings(Path("/h.so"), "often", "h:1")


def test_what_is_missing_is_named(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(NoFlux, match="no `flux` on PATH"):
        find_flux()
    monkeypatch.setenv("CC", "no-such-compiler -x")
    with pytest.raises(NoFlux, match="no C compiler: no-such-compiler is not on PATH"):
        build(NONE, tmp_path / "h.so")
    (tmp_path / "flux").write_text("#!/bin/sh\necho commands: 1\n")
    (tmp_path / "flux").chmod(0o755)
    with pytest.raises(NoFlux, match="is no Flux"):
        find_flux()


#: A compiler that writes down what it was asked, and refuses if so named.
COMPILER = """\
#!/bin/sh
echo "$@" > "$(dirname "$0")/asked"
case "$0" in *bad) echo "hooks.c:1: error" >&2; exit 1 ;; esac
"""


def test_the_library_is_built_against_the_headers_and_for_the_library_of_that_flux(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    flux = Flux(command=tmp_path / "bin/flux", version="flux-core 9")
    for name in ("good", "bad"):
        (tmp_path / name).write_text(COMPILER)
        (tmp_path / name).chmod(0o755)
    (tmp_path / "include/flux").mkdir(parents=True)
    (tmp_path / "include/flux/core.h").touch()
    monkeypatch.setenv("CC", f"{tmp_path}/good -g")
    assert build(flux, tmp_path / "h.so") == tmp_path / "h.so"
    asked = (tmp_path / "asked").read_text()
    assert f"-I{tmp_path}/include " in asked and '-DFLUX_LIBRARY="libflux-core.so.2"' in asked
    assert asked.startswith("-g ") and f"-o {tmp_path}/h.so" in asked
    (tmp_path / "lib").mkdir()
    (tmp_path / "lib/libflux-core.so.3").touch()
    build(flux, tmp_path / "h.so")
    assert '-DFLUX_LIBRARY="libflux-core.so.3"' in (tmp_path / "asked").read_text()
    monkeypatch.setenv("CC", f"{tmp_path}/bad")
    with pytest.raises(NoFlux, match=r"bad does not compile hooks.c for flux-core 9: hooks.c:1: error"):
        build(flux, tmp_path / "h.so")


class Ticks:
    """An event that is never set; waiting for it moves a clock, and what is due by then is written."""

    def __init__(self, report: Path, due: dict[float, str]) -> None:
        self.now = 0.0
        self._report = report
        self._due = due

    def wait(self, seconds: float) -> bool:
        self.now += seconds
        for at in [at for at in self._due if at <= self.now]:
            with self._report.open("a") as file:
                file.write(self._due.pop(at))
        return self.now > 60


def test_the_watch_looks_once_no_module_was_reached_for_a_while_and_keeps_those_that_were_not(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    ticks = Ticks(tmp_path / "reached", {2.0: "+ 0 kvs\n", 4.0: "= local:///a\n", 5.0: "+ 0 cron\n"})
    looked = []

    def loaded(uris: tuple[str, ...]) -> dict[int, set[str]]:
        looked.append((ticks.now, uris))
        return {0: {"kvs", "cron", "mine"}, 1: {"other"}}

    monkeypatch.setattr(preload, "time", SimpleNamespace(monotonic=lambda: ticks.now))
    monkeypatch.setattr(preload, "loaded", loaded)
    watch = Watch(tmp_path / "reached", end=ticks)
    watch.run()
    # Nothing had been reached for 1.5 s before the address was known: that is when it looks, not before.
    assert looked == [(4.0, ("local:///a",))]
    assert watch.missed == {0: {"cron", "mine"}, 1: {"other"}}
    ticks = Ticks(tmp_path / "later", {1.0: "= local:///a\n+ 0 kvs\n", 2.0: "+ 0 cron\n"})
    looked.clear()
    Watch(tmp_path / "later", end=ticks).run()
    assert looked == [(2.0 + QUIET, ("local:///a",))]


def test_brokers_that_are_gone_are_left_out(tmp_path: Path) -> None:
    assert loaded([f"local://{tmp_path}/none", "no address"]) == {}


def test_the_packet_has_the_names_and_the_order_of_ours() -> None:
    source = (Path(__file__).parents[2] / "src/brokersim/realflux/hooks.c").read_text()
    table = source.partition("counter_names[COUNTERS] = {")[2].partition("}")[0]
    assert tuple(re.findall(r'"(\w+)"', table)) == COUNTER_NAMES


# -- in a real Flux


def in_flux(
    hook: str, script: str, folder: Path
) -> tuple[subprocess.CompletedProcess[str], dict[str, list[str]]]:
    """Run a script in an instrumented instance; what it said, and packets by module."""
    flux = needs_flux()
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as receiver:
        receiver.bind(("127.0.0.1", 0))
        receiver.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1 << 22)
        receiver.setblocking(False)
        stats = f"127.0.0.1:{receiver.getsockname()[1]}"
        words = [
            "flux",
            "instrument",
            "--hook",
            hook,
            "--stats",
            stats,
            "--",
            flux,
            "start",
            "sh",
            "-c",
            script,
        ]
        environment = {name: value for name, value in os.environ.items() if name != "FLUX_URI"}
        done = subprocess.run(
            [sys.executable, "-m", "brokersim", *words], env=environment, capture_output=True, text=True, timeout=120,
            cwd=folder,
        )  # fmt: skip
        packets: dict[str, list[str]] = defaultdict(list)
        try:
            while True:
                packet = receiver.recv(1 << 16).decode()
                packets[packet.split(".")[1]].append(packet)
        except BlockingIOError:
            return done, packets


def requests_in(packets: list[str]) -> list[int]:
    return [int(re.findall(r"request_rx:(\d+)", packet)[0]) for packet in packets]


MODULE = """\
from flux.brokermod import BrokerModule, request_handler

class Mine(BrokerModule):
    @request_handler("hello")
    def hello(self, msg):
        self.handle.respond(msg, {})
"""
#: heartbeat is in C, a thread of the broker; mine is in Python, a process.
SCRIPT = """\
flux module load ./mine.py; sleep 3
flux module debug -s 0x1000 heartbeat; flux module debug -s 0x1000 mine
for i in 1 2 3; do flux ping -c 1 heartbeat >/dev/null; flux ping -c 1 mine >/dev/null; done
flux module stats -p rx.request mine
flux module debug -C heartbeat; flux module debug -C mine
flux ping -c 2 heartbeat >/dev/null; flux ping -c 2 mine >/dev/null
flux module stats -p rx.request mine
flux run env; flux module remove mine; exit 7
"""


@pytest.mark.slow
def test_a_real_module_sends_its_counters_while_its_bit_is_set_and_jobs_are_left_alone(
    tmp_path: Path,
) -> None:
    (tmp_path / "mine.py").write_text(MODULE)
    done, packets = in_flux("prepare", SCRIPT, tmp_path)
    assert done.returncode == 7, done.stderr
    assert set(packets) <= {"heartbeat", "mine", "0"}  # 0: what Flux's content sends by itself
    for name in ("heartbeat", "mine"):
        lines = [line.partition(":")[0] for line in packets[name][0].splitlines()]
        assert lines == [f"flux.{name}.0.{counter}" for counter in COUNTER_NAMES]
        # No request without a packet while the bit is set.
        received = requests_in(packets[name])
        assert received == sorted(received) and set(received) == set(range(received[0], received[-1] + 1))
    # What Flux itself counted was told; and nothing was told of the requests after the bit was cleared.
    during, after = [int(line) for line in done.stdout.splitlines() if line.isdecimal()]
    assert during in received and after > received[-1] + 1
    assert "LD_PRELOAD" not in done.stdout and "BROKERSIM_BENEATH" not in done.stdout
    assert re.search(
        r"prepare hook in \d+ modules on rank 0 \(.*job-manager.*mine.*\); not reached: none", done.stderr
    )


@pytest.mark.slow
@pytest.mark.parametrize("hook", ["check", "idle", "timer:100ms"])
def test_the_other_hooks_come_and_go_with_the_bit_as_well(hook: str, tmp_path: Path) -> None:
    script = (
        "flux ping -c 1 heartbeat; flux module debug -s 0x1000 heartbeat; flux ping -c 3 -i 0.3 heartbeat;"
        "flux module debug -C heartbeat; flux ping -c 20 -i 0.01 heartbeat"
    )
    done, packets = in_flux(hook, script, tmp_path)
    assert done.returncode == 0, done.stderr
    received = requests_in(packets["heartbeat"])
    assert len(set(received)) >= 2 and received[-1] - received[0] <= 8  # of 20 pings more, none is told


if shutil.which("cc") is None:
    pytestmark = pytest.mark.skip(reason="NOT TESTED IN A REAL FLUX: no C compiler")
