"""status, stop, uptime, version, attributes, dmesg."""

from __future__ import annotations

import platform
import threading
from pathlib import Path
from typing import Any

import pytest

from brokersim.cli.dmesg import parse_line
from brokersim.cli.told import elapsed
from brokersim.native.engine import engine
from brokersim.version import VERSION
from tests.cli.conftest import Run
from tests.cli.fake_broker import SILENCE, FakeBroker

STATUS = {
    "size": 8, "online": 8, "uptime": 720.0, "modules": 8, "messages": 104512, "clock": "real", "seed": 7,
    "stats": {"target": "127.0.0.1:8126", "sent": 21044, "refused": 0}, "masks": {"kvs": 4096, "cron": 0},
}  # fmt: skip


def test_status_is_one_line(fake: FakeBroker, run: Run) -> None:
    fake.answers["broker.status"] = STATUS
    assert run("status") == (
        0,
        "size 8 (8 online)  uptime 12m  modules 8  messages 104,512  clock real  seed 7  "
        "stats udp://127.0.0.1:8126 (21,044 sent, 0 refused)  mask kvs=0x1000\n",
        "",
    )


def test_status_leaves_out_what_is_not_set(fake: FakeBroker, run: Run) -> None:
    fake.answers["broker.status"] = {
        **STATUS,
        "stats": {"target": None, "sent": 0, "refused": 0},
        "masks": {},
    }
    assert run("status").out.endswith("clock real  seed 7\n")


def test_status_json_is_the_answer(fake: FakeBroker, run: Run) -> None:
    fake.answers["broker.status"] = STATUS
    assert run("status", "--json").json == STATUS
    assert run("--json", "status").json == STATUS


def test_stop_returns_when_the_instance_is_gone(fake: FakeBroker, run: Run) -> None:
    def stop(_request: Any) -> None:
        threading.Timer(0.05, fake.close).start()

    fake.answers["broker.stop"] = stop
    assert run("--timeout", "5s", "stop", "--json").json == {"uri": fake.uri, "stopped": True}


def test_stop_of_an_instance_that_somebody_else_stops_meanwhile(fake: FakeBroker, run: Run) -> None:
    def stop(_request: Any) -> type[SILENCE]:
        threading.Timer(0.01, fake.close).start()
        return SILENCE

    fake.answers["broker.stop"] = stop
    assert run("--timeout", "5s", "stop", "--json").json == {"uri": fake.uri, "stopped": True}


@pytest.mark.parametrize("by", ["uri", "path"])
def test_stop_takes_the_instance_as_its_argument(
    by: str, fake: FakeBroker, run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("BROKERSIM_URI")

    def stop(_request: Any) -> None:
        threading.Timer(0.05, fake.close).start()

    fake.answers["broker.stop"] = stop
    path = fake.uri.removeprefix("local://")
    given = (
        fake.uri if by == "uri" else str(Path(path).parent)
    )  # the folder, as of an instance that is listed
    assert run("--timeout", "5s", "stop", given, "--json").json == {"uri": fake.uri, "stopped": True}


def test_stop_asks_nobody_where_two_instances_are_named(fake: FakeBroker, run: Run) -> None:
    refused = run("-u", "dev", "stop", fake.uri)
    assert (refused.code, fake.topics) == (2, [])
    assert f"{fake.uri!r} and -u 'dev' name two instances" in refused.err


def test_stop_takes_no_empty_name_for_the_instance_at_hand(fake: FakeBroker, run: Run) -> None:
    refused = run("stop", "")
    assert (refused.code, fake.topics) == (2, [])
    assert "'' names no instance" in refused.err


def test_stop_waits_no_longer_than_its_timeout(fake: FakeBroker, run: Run) -> None:
    fake.answers["broker.stop"] = None
    assert run("stop", "--timeout", "50ms").code == 124


def test_stop_waits_for_the_modules_which_end_after_the_clients_and_before_the_socket(
    fake: FakeBroker, run: Run
) -> None:
    gone = threading.Event()

    def end() -> None:
        gone.set()
        fake.close()

    def stop(_request: Any) -> None:
        threading.Timer(0.02, fake.drop_clients).start()
        threading.Timer(0.2, end).start()

    fake.answers["broker.stop"] = stop
    assert run("--timeout", "20s", "stop").code == 0
    assert gone.is_set()


def test_stop_tells_who_is_still_there_when_its_timeout_is_over(fake: FakeBroker, run: Run) -> None:
    fake.answers["broker.stop"] = lambda _request: threading.Timer(0.02, fake.drop_clients).start()
    late = run("stop", "--timeout", "200ms")
    assert (late.code, "is still there: its modules have not ended yet" in late.err) == (124, True)


def test_uptime(fake: FakeBroker, run: Run) -> None:
    fake.answers["state-machine.get"] = {"state": "run", "duration": 7384.0}
    assert run("uptime").out == "run 2.05h,  owner root,  depth 0,  size 4\n"
    assert run("uptime", "--json").json == {
        "state": "run", "duration": 7384.0, "owner": 0, "size": 4, "depth": 0,
    }  # fmt: skip


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(0.1234, "0.123s"), (59.9, "59.9s"), (720, "12m"), (7200, "2h"), (86400 * 3.5, "3.5d")],
)
def test_elapsed_is_three_digits_in_the_largest_unit(seconds: float, text: str) -> None:
    assert elapsed(seconds) == text


def test_version_tells_ours_and_the_peers(fake: FakeBroker, run: Run) -> None:
    assert run("version").out == (
        f"brokersim:  {VERSION}\nprotocol:   RFC 3 version 1, flux-core local connector\n"
        f"engine:     {engine()}\n"
        f"python:     {platform.python_implementation()} {platform.python_version()}\n"
        f"instance:   9.9\nuri:        {fake.uri}\n"
    )


def test_version_needs_no_instance(run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FLUX_LOCAL_CONNECTOR_RETRY_COUNT", "0")
    result = run("-u", f"local://{tmp_path}/none", "version", "--json")
    assert (result.code, result.json["instance"], result.json["brokersim"]) == (0, None, VERSION)


def test_attributes(fake: FakeBroker, run: Run) -> None:
    fake.answers["attr.set"] = None
    assert run("getattr", "size").out == "4\n"
    assert run("getattr", "size", "--json").json == {"name": "size", "value": "4", "flags": 1}
    assert run("setattr", "a.b", "1").out == ""
    assert fake.asked("attr.set") == [{"name": "a.b", "value": "1"}]
    assert run("lsattr").out == "rank\nsize\nversion\n"
    assert run("lsattr", "--json").json == {"names": ["rank", "size", "version"]}
    assert run("lsattr", "-l").out == (
        "Attribute  Value\nrank           0\nsize           4\nversion      9.9\n"
    )
    assert run("lsattr", "-l", "--tsv", "-n").out == "rank\t0\nsize\t4\nversion\t9.9\n"


LOG = [
    "<48>1 2026-11-22T00:53:27.867800Z 0 kvs 4711 - - root set\n\0",
    "<32>1 2026-11-22T00:53:28.000000Z 3 cron - - - entry 1: exit code 2\0",
    "no log line\0",
]


def test_dmesg_prints_the_ring(fake: FakeBroker, run: Run) -> None:
    fake.answers["log.dmesg"] = LOG
    assert run("dmesg").out == (
        "2026-11-22T00:53:27.867800Z kvs.info[0]: root set\n"
        "2026-11-22T00:53:28.000000Z cron.warning[3]: entry 1: exit code 2\n"
        "no log line\n"
    )
    assert fake.asked("log.dmesg") == [{"follow": False, "nobacklog": False}]


def test_dmesg_filters_by_level_and_gives_json_lines(fake: FakeBroker, run: Run) -> None:
    fake.answers["log.dmesg"] = LOG
    assert run("dmesg", "-l", "warning", "--json").lines == [
        {"timestamp": "2026-11-22T00:53:28.000000Z", "rank": 3, "name": "cron", "level": "warning",
         "text": "entry 1: exit code 2"},
    ]  # fmt: skip


def test_dmesg_follows_and_clears(fake: FakeBroker, run: Run) -> None:
    fake.answers |= {"log.dmesg": [LOG[0]], "log.clear": None}
    run("dmesg", "-f")
    run("dmesg", "--new")
    assert fake.asked("log.dmesg") == [
        {"follow": True, "nobacklog": False}, {"follow": True, "nobacklog": True},
    ]  # fmt: skip
    assert run("dmesg", "-C") == (0, "", "")
    assert fake.topics[-1] == "log.clear"


def test_a_log_lines_severity_is_pri_over_8_the_reverse_of_rfc_5424() -> None:
    levels = [parse_line(f"<{pri}>1 T 0 n - - - x")["level"] for pri in (0, 8, 40, 48, 56, 999)]
    assert levels == ["emerg", "alert", "notice", "info", "debug", "debug"]
    assert parse_line("<48>1 T 0 n - - - ")["text"] == ""
    assert parse_line("<48>1 T 0 n - - - a\nb")["text"] == "a\nb"
