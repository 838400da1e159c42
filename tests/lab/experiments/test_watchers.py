"""The watchers experiment: what follows from the loop must come out, and nothing is put in to make it so."""

from __future__ import annotations

import json
import socket
from collections import Counter
from typing import Any

import attrs
import pytest

from brokersim import program
from brokersim.cli.main import main
from brokersim.host.instrument import MSGCOUNT
from brokersim.lab.experiments.watchers import EXPERIMENT, HOOKS, Plan, counter_rows, watchers
from brokersim.lab.load.jobs import LOGS
from brokersim.lab.load.loads import load_of
from brokersim.lab.measure.figures import kvs_figures
from brokersim.lab.measure.listener import (
    WINDOW,
    Listener,
    PacketCount,
    counts_of,
    is_counters,
    is_kvs,
    peak_rate,
)
from brokersim.lab.result import Result
from brokersim.protocol.message import COUNTER_NAMES
from brokersim.reactor.cost import CostModel
from brokersim.routing.sink import MemorySink

JOBS = 24  # 1.4 s of virtual time: a timer of 1 s fires


@pytest.fixture(scope="module")
def found() -> Result:
    return watchers(Plan(jobs=JOBS, clock="virtual", seed=3))


def by_hook(found: Result, key: str) -> Result:
    return {run["hook"]: run[key] for run in found.runs}


def test_every_hook_has_a_row_with_the_figures_of_the_table(found: Result) -> None:
    assert [run["hook"] for run in found.runs] == list(HOOKS)
    assert set(found.runs[0]) == {
        "hook", "wall_s", "jobs_per_s", "messages", "iterations", "turns_per_message", "packets", "packets_per_message",
        "metrics_per_s_peak", "metrics_per_s_low", "cv", "cpu_s", "overhead", "journal", "walls", "cpus",
    }  # fmt: skip
    for run in found.runs:
        assert run["jobs_per_s"] == JOBS / run["wall_s"]
        assert run["packets_per_message"] == run["packets"] / run["messages"]


def test_modelled_overhead_is_none_below_timer_below_check_and_prepare_far_below_idle(
    found: Result,
) -> None:
    overhead = by_hook(found, "overhead")
    assert overhead["none"] == 0
    assert 0 <= overhead["timer:1s"] < overhead["check"]
    assert overhead["timer:1s"] < overhead["prepare"]
    assert overhead["idle"] > 5 * max(overhead["check"], overhead["prepare"])


def test_prepare_sends_at_least_as_many_packets_as_check_and_both_about_one_a_message(
    found: Result,
) -> None:
    packets = by_hook(found, "packets")
    assert packets["none"] == 0 < packets["timer:1s"] < packets["check"] <= packets["prepare"]
    ratio = by_hook(found, "packets_per_message")
    assert 1 <= ratio["prepare"] < 1.3
    assert 0.8 < ratio["check"] < 1.3
    assert 0.8 < ratio["idle"] < 1.3


def test_what_differed_from_a_real_flux_once_is_within_its_bounds(found: Result) -> None:
    """flux-core 0.88: idle 36 to 50 times, 1.3 turns a message, kvs 1.15 and 1.06 packets; 0.28: 21, 1.17, 1.00."""
    assert 20 <= 1 + by_hook(found, "overhead")["idle"] <= 50
    runs = {run["hook"]: run for run in found.runs}
    assert 1.2 <= runs["none"]["turns_per_message"] <= 1.4
    kvs = kvs_figures(found.parts["modules"], "virtual").packets
    assert 1.15 * 0.95 <= kvs["prepare"] <= 1.17 * 1.05
    assert 1.00 * 0.95 <= kvs["check"] <= 1.06 * 1.05
    # Messages a job beside none: the same, and more under idle, where commits merge less (0.88: 1.28).
    beside = {hook: run["messages"] / runs["none"]["messages"] for hook, run in runs.items()}
    assert beside["prepare"] == pytest.approx(1, abs=0.005) and beside["check"] == pytest.approx(1, abs=0.005)
    assert 1.1 <= beside["idle"] <= 1.3


def test_no_module_sends_more_than_one_packet_an_iteration(found: Result) -> None:
    for hook, modules in found.parts["modules"].items():
        for module in modules:
            assert module["packets"] <= module["iterations"] + 1, (hook, module["name"])


def test_a_spinning_module_turns_far_more_often_than_it_receives(found: Result) -> None:
    runs = {run["hook"]: run for run in found.runs}
    assert runs["idle"]["iterations"] > 20 * runs["idle"]["messages"]
    assert runs["prepare"]["iterations"] < 1.3 * runs["prepare"]["messages"]


def test_the_same_seed_gives_the_same_bytes() -> None:
    plan = Plan(jobs=3, clock="virtual", seed=5, hooks=("none", "check"))
    first, second = (json.dumps(watchers(plan).to_json()) for _ in range(2))
    assert first == second


def test_per_module_counters_are_listed_in_the_journals_order(found: Result) -> None:
    rows = counter_rows(found.parts["modules"]["prepare"])
    kvs = next(row for row in rows if row["module"] == "kvs")
    assert list(kvs)[1:9] == [
        "request_tx", "request_rx", "response_tx", "response_rx",
        "event_tx", "event_rx", "keepalive_tx", "keepalive_rx",
    ]  # fmt: skip
    assert kvs["event_tx"] >= JOBS * len(LOGS)


def test_real_time_runs_an_instance_a_socket_and_a_udp_port_in_rounds(
    capsys: pytest.CaptureFixture[str],
) -> None:
    words = ["bench", "watchers", "--jobs", "2", "--hooks", "none,prepare", "--reps", "2", "--json"]
    assert main(words) == 0
    found = Result.from_json(json.loads(capsys.readouterr().out))
    none, prepare = found.runs
    assert (none["packets"], none["metrics_per_s_peak"]) == (0, 0)
    assert prepare["packets"] > 0.8 * prepare["messages"] > 0
    assert prepare["cpu_s"] > 0
    assert (found.clock, found.meta["reps"]) == ("real", 2)
    assert [len(row[key]) for row in (none, prepare) for key in ("walls", "cpus")] == [2, 2, 2, 2]


@pytest.mark.parametrize(
    ("words", "text"),
    [
        (["--jobs", "0"], "0 is no whole number of"),
        (["--hooks", "none,never"], "not a hook: 'never'"),
        (["--clock", "x"], "'x'"),
    ],
)
def test_a_plan_that_cannot_be_is_refused_in_one_line(
    words: list[str], text: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["bench", "watchers", *words]) == 2
    error = capsys.readouterr().err
    assert text in error
    assert "Traceback" not in error


def test_the_peak_is_the_busiest_window() -> None:
    assert peak_rate([]) == 0
    assert peak_rate([(0.0, 8), (0.2, 8), (0.26, 8), (9.0, 8)], window=0.25) == 16 / 0.25


#: The kvs module's counters, in the order in which they are sent.
KVS = "\n".join(f"flux.kvs.0.{name}:{at}|g" for at, name in enumerate(COUNTER_NAMES)).encode()


def test_the_listener_counts_counter_packets_apart_from_other_metrics() -> None:
    with Listener() as listener, socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sender:
        host, port = listener.address.split(":")
        for packet in (
            KVS,
            KVS.replace(b"kvs", b"cron").replace(b":7|g", b":8|g"),
            b"flux.content-cache.load:1|ms",
        ):
            sender.sendto(packet, (host, int(port)))
        assert listener.settle() == 2
    assert [lines for _, lines in listener.packets] == [8, 8]
    assert [counts for _, counts in listener.kvs] == [tuple(range(8))]
    assert listener.others == 1
    assert is_counters(b"flux.a.0.request_tx:1|g")
    assert not is_counters(b"flux.a.0.request_rx:1|g")


async def three_jobs(sink: Any) -> None:
    async with program.open_instance(clock="virtual", stats=sink, cost=CostModel()) as instance:
        sink.reactor = instance.reactor
        client = instance.client()
        for module in instance.modules(0):
            await client.call(f"{module.name}.debug", {"op": "setbit", "flags": MSGCOUNT})
        await load_of("serial", 3, 0.2).run_inside(instance)


def test_what_is_counted_without_packets_is_what_the_packets_say() -> None:
    memory, count = MemorySink(), PacketCount()
    for sink in (memory, count):
        program.run(three_jobs, sink, clock="virtual")
    packets = [(t, packet) for t, packet in memory.packets if is_counters(packet)]
    lines: Counter[float] = Counter()
    for t, packet in packets:
        lines[t // WINDOW * WINDOW] += packet.count(b"\n") + 1
    assert count.packets == len(packets)
    assert count.sent == memory.sent > count.packets
    assert dict(count.curve(0.0)) == lines
    assert count.peak_rate == max(lines.values()) / WINDOW
    last = {(t // WINDOW + 1) * WINDOW: counts_of(packet) for t, packet in packets if is_kvs(packet)}
    assert dict(count.kvs(0.0)) == last
    assert len(last) > 2


def test_runs_in_processes_of_their_own_find_what_one_process_finds_and_tell_how_far_they_are() -> None:
    plan = Plan(jobs=4, clock="virtual", seed=2, hooks=("none", "check", "prepare"))
    told: list[str] = []
    assert watchers(plan, workers=1) == watchers(plan, told.append, workers=2)
    assert told[-1] == "prepare 4, check 4, none 4 of 4 jobs"


def test_five_rows_of_rounds_in_real_time_fit_a_terminal_of_80(found: Result) -> None:
    rounds = {
        "wall_s": 12.3,
        "walls": [10.0, 14.6],
        "cpu_s": 2.34,
        "cpus": [2.3, 2.4],
        "packets_per_message": 1.2,
    }
    rows = [{**run, **rounds, "metrics_per_s_peak": 100_064.0} for run in found.runs]
    shown = list(
        EXPERIMENT.rows(attrs.evolve(found, meta={**found.meta, "clock": "real"}, parts={"runs": rows}))
    )
    wide = [max(len(one.title), *(len(one.cell(row)) for row in shown)) for one in EXPERIMENT.columns]
    assert len(shown) == 5
    assert any("within noise" in one.cell(row) for row in shown for one in EXPERIMENT.columns)
    assert sum(wide) + 2 * (len(wide) - 1) <= 80
