"""The cron commands."""

from __future__ import annotations

from datetime import datetime
from typing import Any

import pytest

from brokersim.cli import session as session_module
from brokersim.cli.cron import moment
from brokersim.protocol.errnums import ENOENT, RequestError
from tests.cli.conftest import Run
from tests.cli.fake_broker import FakeBroker

ENTRY: dict[str, Any] = {
    "id": 1, "rank": 0, "name": "foo", "command": "true", "repeat": 0, "stopped": False, "type": "interval",
    "stats": {"ctime": 1.0, "starttime": 1.0, "lastrun": 0.0, "count": 4, "failcount": 0, "total": 4, "success": 3,
              "failure": 1, "deferred": 0},
    "typedata": {"interval": 10.0, "after": 10.0, "next_wakeup": 1007.5}, "tasks": [],
}  # fmt: skip


@pytest.fixture
def cron(fake: FakeBroker) -> FakeBroker:
    fake.answers["cron.create"] = ENTRY
    return fake


def test_interval_is_the_request_flux_sends(cron: FakeBroker, run: Run) -> None:
    assert run("cron", "interval", "-N", "foo", "10", "true").out == "interval: cron-1 created\n"
    assert cron.asked("cron.create") == [
        {"type": "interval", "name": "foo", "args": {"interval": 10.0}, "command": "true"}
    ]


def test_interval_options_and_a_command_with_options(cron: FakeBroker, run: Run) -> None:
    run("cron", "interval", "-c", "3", "-a", "500ms", "1m", "ls", "-l", "my file")
    assert cron.asked("cron.create") == [{
        "type": "interval", "name": "ls", "args": {"interval": 60.0, "after": 0.5}, "command": "ls -l 'my file'",
        "repeat": 3,
    }]  # fmt: skip


def test_one_word_is_a_shell_command_and_kept_as_it_is(cron: FakeBroker, run: Run) -> None:
    run("cron", "interval", "1s", "echo $HOME | wc")
    assert cron.asked("cron.create")[0]["command"] == "echo $HOME | wc"


def test_event_entry(cron: FakeBroker, run: Run) -> None:
    run("cron", "event", "-n", "5", "-a", "2", "-i", "1s", "heartbeat.pulse", "date")
    assert cron.asked("cron.create") == [{
        "type": "event", "name": "date", "command": "date",
        "args": {"topic": "heartbeat.pulse", "nth": 5, "after": 2, "min_interval": 1.0},
    }]  # fmt: skip


def test_create_json_is_the_entry(cron: FakeBroker, run: Run) -> None:
    assert run("--json", "cron", "interval", "10", "true").json == ENTRY


def test_at_sends_a_moment(cron: FakeBroker, run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(session_module.time, "time", lambda: 1000.0)
    run("cron", "at", "+5m", "date")
    (request,) = cron.asked("cron.create")
    assert request["type"] == "at"
    assert request["args"] == {"time": 1300.0}


def test_at_counts_from_the_instances_clock_if_that_is_not_the_real_one(cron: FakeBroker, run: Run) -> None:
    attributes = {"clock": "virtual", "broker.starttime": "5000.0"}
    cron.answers["attr.get"] = lambda request: {"value": attributes[request.payload["name"]], "flags": 1}
    cron.answers["broker.status"] = {"uptime": 100.0}
    run("cron", "at", "+5m", "date")
    assert cron.asked("cron.create")[0]["args"] == {"time": 5400.0}


def test_moments_people_write() -> None:
    now = datetime(2026, 11, 22, 12, 0).timestamp()
    assert moment("+90s", now) == now + 90
    assert moment("@17.5", now) == 17.5
    assert moment("14:30", now) == datetime(2026, 11, 22, 14, 30).timestamp()
    assert moment("11:00", now) == datetime(2026, 11, 23, 11, 0).timestamp(), "past today, so tomorrow"
    assert moment("12:00:05", now) == now + 5
    assert moment("2026-12-24", now) == datetime(2026, 12, 24).timestamp()
    assert moment("2026-11-22T12:00:00+00:00", now) == 1795348800.0
    for wrong in ("noon", "25:00", "2026-13-01", "@x", ""):
        with pytest.raises(ValueError, match="not a time"):
            moment(wrong, now)


def test_list(cron: FakeBroker, run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(session_module.time, "time", lambda: 1000.0)
    stopped = {**ENTRY, "id": 12, "stopped": True, "repeat": 9, "type": "event", "typedata": {"topic": "a.b"}}
    cron.answers["cron.list"] = {"entries": [ENTRY, stopped]}
    assert run("cron", "list").out == (
        "ID  Name  State    Type      Spec  Runs  Failed  Next  Command\n"
        " 1  foo   active   interval  10s   4          1  7.5s  true\n"
        "12  foo   stopped  event     a.b   4/9        1  -     true\n"
    )
    assert run("cron", "list", "--json").json == {"entries": [ENTRY, stopped]}
    assert (
        run("cron", "list", "--tsv", "-n").out.splitlines()[0]
        == "1\tfoo\tactive\tinterval\t10s\t4\t1\t7.5s\ttrue"
    )


@pytest.mark.parametrize(
    ("words", "topic", "request_"),
    [
        (("stop", "1"), "cron.stop", {"id": 1}),
        (("start", "1"), "cron.start", {"id": 1}),
        (("delete", "1"), "cron.delete", {"id": 1, "kill": False}),
        (("delete", "-k", "1"), "cron.delete", {"id": 1, "kill": True}),
    ],
)
def test_an_entry_is_changed_by_id(
    words: tuple[str, ...], topic: str, request_: dict[str, Any], cron: FakeBroker, run: Run
) -> None:
    cron.answers[topic] = ENTRY
    assert run("cron", *words) == (0, "", "")
    assert cron.asked(topic) == [request_]
    assert run("cron", *words, "--json").json == {"entries": [ENTRY]}
    cron.answers[topic] = RequestError(ENOENT)
    assert run("cron", *words) == (
        4, "", "error: no cron entry 1 (ENOENT)\n  try:  brokersim cron list\n",
    )  # fmt: skip


def test_sync(cron: FakeBroker, run: Run) -> None:
    cron.answers["cron.sync"] = {"sync_disabled": True}
    assert run("cron", "sync").out == "disabled\n"
    run("cron", "sync", "--disable")
    cron.answers["cron.sync"] = {"sync_event": "heartbeat.pulse", "sync_epsilon": 0.015}
    assert run("cron", "sync", "-e", "15ms", "heartbeat.pulse").out == "heartbeat.pulse epsilon 15ms\n"
    assert cron.asked("cron.sync") == [
        {}, {"disable": True}, {"topic": "heartbeat.pulse", "sync_epsilon": 0.015},
    ]  # fmt: skip
