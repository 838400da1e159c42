"""One reading of a probe, from a recorded tree, this machine, or an instance."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.cli.conftest import Run
from tests.cli.fake_broker import FakeBroker


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    files = {
        "proc/stat": "cpu 100 0 100 200 0 0 0 0 0 0\n",
        "proc/loadavg": "0.5 0.25 0.125 1/2 3\n",
        "proc/meminfo": "MemTotal: 8 kB\nMemFree: 2 kB\nMemAvailable: 4 kB\n",
        "proc/net/dev": "a|b\nc|d\n eth0: 1 2 0 0 0 0 0 0 3 4 0 0 0 0 0 0\n",
        "proc/net/snmp": "Udp: InDatagrams\nUdp: 6\n",
        "sys/class/net/eth0/speed": "10\n",
        "sys/class/net/eth0/ifindex": "2\n",
    }
    for name, text in files.items():
        path = tmp_path / "tree" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    return tmp_path / "tree"


def test_a_recorded_tree_is_read_like_this_machine(run: Run, tree: Path) -> None:
    answer = run("--json", "probe", "read", "cpu", "--root", str(tree)).json
    [reading] = answer["readings"]
    metrics = reading["metrics"]
    assert (reading["subject"], metrics["user"], metrics["idle"], metrics["onemin"]) == (
        "node/0",
        0.25,
        0.5,
        0.5,
    )
    [memory] = run("--json", "probe", "read", "mem", "--root", str(tree)).json["readings"]
    assert memory["metrics"] == {"free": 2048, "available": 4096, "used": 4096, "used_with_cache": 6144}


def test_what_is_printed_has_subject_metric_value_and_unit(run: Run, tree: Path) -> None:
    lines = run("probe", "read", "net", "--tsv", "--root", str(tree)).out.splitlines()
    assert lines[0] == "Subject\tMetric\tValue\tUnit\tKind"
    assert "node/0\tudp_datagrams_in\t6\tdatagram\tcounter" in lines
    assert "node/0/net/eth0\tbytes_in\t1\tBy\tcounter" in lines
    assert "node/0/net/eth0\tcapacity\t10000000\tbit/s\tgauge" in lines


def test_no_time_between_two_readings_is_no_reading_of_shares(run: Run, tree: Path) -> None:
    result = run("probe", "read", "cpu", "--root", str(tree), "--over", "1ms")
    assert (result.code, result.out) == (1, "")
    assert "nothing to read" in result.err


@pytest.mark.parametrize(
    ("words", "hint"),
    [
        (("1",), "the probe comes first: brokersim probe read process pid=1"),
        (("pid=1",), "the probe comes first: brokersim probe read process pid=1"),
        (("devices=sda",), "the probe comes first: brokersim probe read disk devices=sda"),
        (("process", "1"), "is pid=1 meant?"),
        (("net", "eth0"), "its keys: interfaces"),
        (("mem", "x"), "its keys: none"),
    ],
)
def test_what_is_no_probe_or_no_setting_is_told_with_what_would_be(
    words: tuple[str, ...], hint: str, run: Run
) -> None:
    result = run("probe", "read", *words)
    assert (result.code, result.err.splitlines()[1]) == (2, f"  hint: {hint}")


def test_no_probe_takes_a_key_that_none_has(run: Run) -> None:
    assert "hint:" not in run("probe", "read", "nosuch=1").err


def test_what_nothing_fits_is_told_with_what_was_asked_for(run: Run) -> None:
    result = run("probe", "read", "process", "pid=4194305", "--over", "1ms")  # above what Linux gives
    assert (result.code, result.err) == (1, "error: probe process: nothing to read that fits pid=4194305\n")


@pytest.mark.parametrize("probe", ["cpu", "mem", "net", "disk", "process"])
def test_this_machine_can_be_read(run: Run, probe: str) -> None:
    result = run("--json", "probe", "read", probe)
    assert result.code == 0, result.err
    assert result.json["readings"][0]["metrics"]


def test_a_module_is_read_by_messages(run: Run, fake: FakeBroker) -> None:
    counts = {"request": 1, "response": 2, "event": 3, "control": 0}
    fake.answers["kvs.stats-get"] = {"tx": counts, "rx": {"request": 5}}
    [reading] = run("--json", "probe", "read", "module", "service=kvs").json["readings"]
    assert reading["subject"] == "node/0/module/kvs"
    assert (reading["metrics"]["tx.event"], reading["metrics"]["rx.request"]) == (3, 5)
    assert reading["partial"] == ["rx.response", "rx.event", "rx.control"]


@pytest.mark.parametrize(
    ("words", "code", "says"),
    [
        (("cpuu",), 2, "no probe 'cpuu'; is cpu meant?"),
        (("cpu", "percore=1"), 2, "probe cpu: no key 'percore'; is per_core meant?"),
        (("cpu", "per_core=maybe"), 2, "per_core must be true or false, not 'maybe'"),
        (("cpu", "first=now"), 2, "first is baseline or boot"),
        (("process", "name=["), 2, "is no regular expression"),
        (("process", "name=a", "pid=1"), 2, "give one of self, pid"),
        (("module",), 2, "give service=NAME"),
        (("mem", "--root", "nowhere"), 1, "nowhere/proc/meminfo: No such file or directory"),
        (("replay", "file=nowhere"), 1, "nowhere: No such file"),
        (("dummy", "fail=broken"), 1, "broken"),
    ],
)  # fmt: skip
def test_what_cannot_be_read_is_said_in_one_line(
    run: Run, words: tuple[str, ...], code: int, says: str
) -> None:
    result = run("probe", "read", *words)
    assert (result.code, result.out) == (code, "")
    assert says in result.err
    assert "itself is at fault" not in result.err


def test_the_list_has_every_probe(run: Run) -> None:
    listed = run("--json", "probe", "list").json["probes"]
    assert {"cpu", "mem", "net", "disk", "process", "module", "ping", "pressure", "dummy", "replay"} <= {
        one["name"] for one in listed
    }
    assert all(one["summary"] for one in listed)


def test_one_reading_of_a_log_keeps_no_place_in_it(run: Run, fake: FakeBroker, tmp_path: Path) -> None:
    (tmp_path / "log").write_text("ts=1 event=a VAL=2\n")
    words = ("--json", "probe", "read", "netlogger", f"file={tmp_path / 'log'}")
    first, second = (run(*words).json["readings"] for _ in range(2))
    assert first == second and first[0]["metrics"] == {"ps:tools:blipp:netlogger:a": 2}
    assert not [topic for topic in fake.topics if topic.startswith("kvs.")]


def test_a_plugin_s_values_are_shown_with_what_it_says_of_them(run: Run, tmp_path: Path) -> None:
    plugin = tmp_path / "plugin"
    plugin.write_text("#!/bin/sh\necho 'OK | hits=7c size=2KB load=1,5'\n")
    plugin.chmod(0o755)
    lines = run("probe", "read", "nagios", f"argv={plugin}").out.splitlines()
    rows = {line.split()[1]: line.split()[2:] for line in lines[1:]}
    assert rows == {
        "state": ["OK", "-", "state"], "bad_items": ["1", "item", "gauge"], "hits": ["7", "c", "counter"],
        "size": ["2", "KB", "gauge"],
    }  # fmt: skip
