"""Knows what every benchmark's JSON document must hold; runs each with tiny sizes. Not how fast anything is."""

from __future__ import annotations

import argparse
import importlib
import json
import os
import subprocess
import sys
from functools import cache
from pathlib import Path
from typing import Any

import pytest

from benchmarks import _measure

FOLDER = Path(__file__).resolve().parents[2] / "benchmarks"
TINY: dict[str, tuple[str, ...]] = {
    "exchange": ("--exchanges", "100"),
    "hooks": ("--iterations", "400"),
    "report": ("--flushes", "200"),
    "wire": ("--frames", "20"),
    "events": ("--events", "50"),
    "ping": ("--requests", "70"),
    "module_load": ("--pings", "50", "--loads", "1"),
    "kvs": ("--commits", "70", "--lookups", "70"),
    "ranks": ("--ranks", "3", "--seconds", "4"),
    "jobs": ("--jobs", "3", "--serial", "2"),
    "statsd_memory": ("--timings", "25000"),
    "statsd_random": ("--datagrams", "400", "--workers", "1"),
    "watchers": ("--jobs", "20"),
    "cold": ("--connections", "10", "--only", "kvs get", "connect"),
    "shell": ("--commands", "5"),
}
KEYS: dict[str, set[str]] = {
    "exchange": {"ns_per_message", "asyncio_ns_per_message", "ratio", "b1_ns_per_message"},
    "hooks": {"unused_ns", "cleared_ns", "unchanged_ns", "emitting_ns", "b3_ns"},
    "report": {"samples", "page_cpu_s", "page_bytes", "csv_cpu_s"},
    "wire": {"encode_140_ns", "decode_140_ns", "encode_900_ns", "decode_900_ns"},
    "events": {"deliveries_per_s", "ns_per_delivery", "b1_ns"},
    "ping": {"ping_rtt_us", "ping_per_s", "lookup_rtt_us", "lookup_per_s", "b4_us"},
    "module_load": {"load_ms", "exec_load_ms", "interpreter_ms", "ping_rtt_us", "b4_us"},
    "kvs": {"commits_per_s", "commits_pipelined_per_s", "lookups_per_s", "b4_per_s"},
    "ranks": {"sim_s_per_wall_s", "kb_per_rank", "ns_per_message", "kvs_kb_per_rank"},
    "watchers": {"none_ms", "timer_ms", "prepare_ms", "check_ms", "idle_ms", "whole_s"},
    "jobs": {"jobs", "wall_s", "cpu_s", "messages", "messages_per_s", "serial_messages_per_job"},
    "statsd_memory": {"held_mb", "list_mb", "worst_error"},
    "statsd_random": {"datagrams", "took_s", "times_dearer"},
    "cold": {"bare_ms", "kvs_get_ms", "connect_us"},
    "shell": {"ours_ms", "bare_ms"},
}
#: Figures that are differences and may come out negative when nothing is measurable.
DIFFERENCES = {"unused_ns", "cleared_ns", "unchanged_ns", "emitting_ns"}


@cache
def run(name: str, *options: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, str(FOLDER / f"{name}.py"), *options],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


@pytest.mark.parametrize("name", TINY)
def test_prints_one_document_with_its_keys_figures_gates_and_circumstances(name: str) -> None:
    result = run(name, "--json", "--repeats", "1", *TINY[name])
    # That there is no real Flux to stand beside is said.
    told = [line for line in result.stderr.splitlines() if not line.startswith("SKIPPING")]
    assert (result.returncode, told) == (0, [])
    found: dict[str, Any] = json.loads(result.stdout)
    assert KEYS[name] <= found.keys()
    assert all(found[key] > 0 for key in KEYS[name] - DIFFERENCES), found
    assert {"python", "build", "libraries", "cores", "pinned", "repeats"} <= found["meta"].keys()
    assert found["gates"], "no baseline in the run"
    for figure in found["figures"]:
        assert figure["min"] <= figure["median"] <= figure["max"], figure


def test_a_serial_job_makes_the_hundreds_of_messages_it_makes_in_flux() -> None:
    # 541 tx + rx counts on flux-core 0.88 with its client's; here each message is counted once, where it is received.
    found = json.loads(run("jobs", "--json", "--repeats", "1", *TINY["jobs"]).stdout)
    assert 200 < found["serial_messages_per_job"] < 800


def test_without_json_a_figure_is_a_line_with_its_spread_and_target() -> None:
    result = run("events", "--repeats", "1", "--events", "50")
    assert "deliveries, virtual clock" in result.stdout
    assert "target >= 300,000" in result.stdout


def test_a_missed_gate_is_exit_code_1_only_when_asked_for(tmp_path: Path) -> None:
    script = tmp_path / "slow.py"
    script.write_text(
        "import sys\n"
        f"sys.path.insert(0, {str(FOLDER)!r})\n"
        "import _measure\n"
        "arguments = _measure.parser('slow').parse_args()\n"
        "report = _measure.begin('slow', arguments)\n"
        "report.gates = [_measure.Gate(what='slow / fast', ratio=3.0, limit=2.0)]\n"
        "sys.exit(report.finish(arguments))\n"
    )
    codes = [
        subprocess.run([sys.executable, str(script), *options], capture_output=True, check=False).returncode
        for options in ((), ("--gate",))
    ]
    assert codes == [0, 1]


def test_processes_are_started_as_by_a_user_whose_python_keeps_what_it_compiles(tmp_path: Path) -> None:
    script = tmp_path / "starts.py"
    script.write_text(
        "import subprocess, sys\n"
        f"sys.path.insert(0, {str(FOLDER)!r})\n"
        "import _measure\n"
        "_measure.begin('starts', _measure.parser('starts').parse_args())\n"
        "sys.exit(subprocess.run([sys.executable, '-c', 'import sys; sys.exit(sys.dont_write_bytecode)']).returncode)\n"
    )
    environment = {**os.environ, "PYTHONDONTWRITEBYTECODE": "1"}
    assert subprocess.run([sys.executable, str(script)], env=environment, check=False).returncode == 0


def test_a_size_that_counts_nothing_is_refused_by_name() -> None:
    result = run("wire", "--frames", "0")
    assert result.returncode == 2
    assert "--frames" in result.stderr and "'0' is not a whole number from 1 on" in result.stderr


@pytest.mark.parametrize("text", ["0", "-1", "x", "1.5", ""])
def test_what_counts_nothing_is_no_size(text: str) -> None:
    with pytest.raises(argparse.ArgumentTypeError, match=f"^'{text}' is not a whole number from 1 on$"):
        _measure.positive(text)


def test_all_in_one_run_gives_a_member_each_and_one_table(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.syspath_prepend(str(FOLDER))
    run_all = importlib.import_module("run_all")
    monkeypatch.setattr(run_all, "WAYS", {"wire": ("wire", *TINY["wire"])})

    def printed(*words: str) -> str:
        monkeypatch.setattr(sys, "argv", ["run_all.py", *words, "--repeats", "1", "wire"])
        assert run_all.main() == 0
        return capsys.readouterr().out

    document = json.loads(printed("--json"))
    assert document["wire"]["encode_140_ns"] > 0
    table = printed()
    assert "encode, 140 B" in table and "gate: plain / brokersim" in table


def test_a_run_of_explore_is_a_benchmark_of_all_whose_gate_is_that_nothing_broke() -> None:
    assert "explore-clean" in run("run_all", "--help").stdout
    found = json.loads(run("explore", "--clean", "--json", "--examples", "20", "-j", "1").stdout)
    assert found["gates"] == [
        {"what": "plans that broke something", "ratio": 0, "limit": 0, "at_least": False, "met": True}
    ]
    assert found["meta"]["examples"] == 20


def test_some_mutants_of_one_room_are_a_benchmark_that_says_what_share_is_caught(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    monkeypatch.syspath_prepend(str(FOLDER))
    run_all = importlib.import_module("run_all")
    # No decision is in a room called so: nothing is tried, and all of that is caught.
    monkeypatch.setattr(run_all, "WAYS", {"mutants_src": ("mutants_src", "--room", "none")})
    for apart in ("1", ""):
        monkeypatch.setenv("BROKERSIM_MUTANTS_APART", apart)
        monkeypatch.setenv("PATH", str(tmp_path), prepend=None)
        monkeypatch.setattr(sys, "argv", ["run_all.py", "--json", "mutants_src"])
        assert run_all.main() == (0 if apart else 1)
        document = json.loads(capsys.readouterr().out)["mutants_src"]
        if apart:
            assert document["figures"][0]["name"] == "of 0 mutants of none caught"
        else:
            assert "could end any process of yours" in document["error"]


def test_an_unknown_benchmark_is_refused_with_the_names_there_are() -> None:
    result = run("run_all", "fast")
    assert result.returncode == 2
    assert "no benchmark 'fast'" in result.stderr and "exchange" in result.stderr
