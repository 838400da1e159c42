"""What `flux cron` asks, asked by a client that shares no code with the server."""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.fluxcompat.minimal_client import MinimalClient

EPERM, ENOENT, EINVAL, EPROTO = 1, 2, 22, 71


def entry_of(client: MinimalClient, number: int) -> dict[str, Any]:
    [found] = [one for one in client.rpc("cron.list", {})["entries"] if one["id"] == number]
    return dict(found)


def until(client: MinimalClient, number: int, done: Callable[[dict[str, Any]], bool]) -> dict[str, Any]:
    """The entry when that holds; the pulses that runs wait for are published here."""
    deadline = time.monotonic() + 20
    while not done(entry := entry_of(client, number)):
        assert time.monotonic() < deadline, entry
        client.publish("heartbeat.pulse")
    return entry


def test_an_event_entry_runs_its_command_on_every_nth_event(client: MinimalClient, tmp_path: Path) -> None:
    log = tmp_path / "log"
    create = {
        "type": "event", "name": "on", "args": {"topic": "cron.test", "nth": 2, "after": 1},
        "command": "echo $WHO $(pwd) >> log; exit 3", "environ": {"WHO": "me", "PATH": os.environ["PATH"]},
        "cwd": str(tmp_path), "task-history-count": 2, "stop-on-failure": 2, "timeout": 30,
    }  # fmt: skip
    entry = client.rpc("cron.create", create)
    assert entry["typedata"] == {
        "topic": "cron.test",
        "nth": 2,
        "after": 1,
        "counter": 0,
        "min_interval": 0.0,
    }
    assert (entry["timeout"], entry["rank"], entry["stopped"]) == (30.0, 0, False)
    for run in (1, 2):
        client.publish("cron.test")
        entry = until(client, entry["id"], lambda entry, run=run: entry["stats"]["failure"] == run)
        client.publish("cron.test")
    assert (entry["stats"]["failcount"], entry["stopped"]) == (2, True)
    assert log.read_text() == f"me {tmp_path}\n" * 2
    assert [(task["status"], task["state"], task["code"]) for task in entry["tasks"]] == [
        (3 << 8, "Failed", 3)
    ] * 2
    times = [entry["tasks"][0][f"{what}-time"] for what in ("create", "start", "running", "end")]
    assert times == sorted(times) and times[0] > 1e9
    assert client.rpc("cron.delete", {"id": entry["id"], "kill": False})["id"] == entry["id"]


def test_a_datetime_entry_is_made_of_time_units_and_shows_them(client: MinimalClient) -> None:
    args = {"second": 0, "minute": "*/20", "hour": "9-17", "month": 1, "weekday": "Mon-Fri"}
    entry = client.rpc("cron.create", {"type": "datetime", "name": "at", "args": args, "command": "true"})
    data = entry["typedata"]
    wakeup = data.pop("next_wakeup")
    assert data == {
        "second": "0", "minute": "0,20,40", "hour": "9-17", "mday": "1-31", "month": "1", "year": "0-1100",
        "weekday": "1-5",
    }  # fmt: skip
    when = time.localtime(wakeup)
    assert (when.tm_sec, when.tm_min % 20, when.tm_mon) == (0, 0, 2) and wakeup > time.time()
    client.rpc("cron.delete", {"id": entry["id"]})


def test_a_datetime_entry_fires(client: MinimalClient) -> None:
    entry = client.rpc(
        "cron.create", {"type": "datetime", "name": "now", "args": {}, "command": "true", "repeat": 1}
    )
    entry = until(client, entry["id"], lambda entry: bool(entry["stats"]["success"]))
    assert (entry["stats"]["count"], entry["stopped"]) == (1, True)
    [task] = entry["tasks"]
    assert (task["status"], task["state"], task["code"], task["pid"] > 0) == (0, "Exited", 0, True)
    client.rpc("cron.delete", {"id": entry["id"]})


def test_a_command_finds_the_address_of_its_rank_and_is_ended_by_its_timeout(
    client: MinimalClient, uri: str, tmp_path: Path
) -> None:
    create = {
        "type": "interval", "name": "slow", "args": {"interval": 0.01}, "command": "echo $FLUX_URI > uri; sleep 100",
        "cwd": str(tmp_path), "rank": 1, "repeat": 1, "timeout": 0.1,
    }  # fmt: skip
    number = client.rpc("cron.create", create)["id"]
    entry = until(client, number, lambda entry: bool(entry["stats"]["failure"]))
    [task] = entry["tasks"]
    assert (task["rank"], task["state"], task["timedout"], task["code"]) == (1, "Timeout", True, 128 + 15)
    assert (tmp_path / "uri").read_text().strip() == uri.replace("local-0", "local-1")
    client.rpc("cron.delete", {"id": number})


def test_deleting_with_kill_ends_the_running_task(client: MinimalClient, tmp_path: Path) -> None:
    create = {
        "type": "interval",
        "name": "k",
        "args": {"interval": 0.01},
        "command": "sleep 100",
        "repeat": 1,
    }
    number = client.rpc("cron.create", create)["id"]
    entry = until(client, number, lambda entry: bool(entry["tasks"] and entry["tasks"][0]["pid"]))
    [task] = client.rpc("cron.delete", {"id": number, "kill": True})["tasks"]
    assert task["state"] == "Running" and "end-time" not in task
    deadline = time.monotonic() + 10
    while Path(f"/proc/{entry['tasks'][0]['pid']}").exists():
        assert time.monotonic() < deadline


@pytest.mark.parametrize(
    ("topic", "payload", "errnum", "part"),
    [
        ("cron.create", {"type": "event", "name": "n", "args": {}, "command": "true"}, EINVAL, "topic"),
        ("cron.create", {"type": "datetime", "name": "n", "args": {"hour": 24}, "command": "true"}, EINVAL, "hour"),
        ("cron.create", {"type": "tab", "name": "n", "args": {}, "command": "true"}, EINVAL, "unknown type 'tab'"),
        ("cron.create", {"type": "interval", "args": {"interval": 1}, "command": "true"}, EPROTO, "name"),
        ("cron.stop", {"id": 999999}, ENOENT, "no cron entry 999999"),
        ("cron.start", {"id": 999999}, ENOENT, "no cron entry 999999"),
        ("cron.delete", {"id": 999999}, ENOENT, "no cron entry 999999"),
    ],
)  # fmt: skip
def test_what_cannot_be_is_refused_in_words(
    client: MinimalClient, topic: str, payload: dict[str, Any], errnum: int, part: str
) -> None:
    frame = client.raw(topic, payload)
    assert frame.errnum == errnum and part in frame.text


def test_the_sync_event_is_asked_set_and_ended(client: MinimalClient) -> None:
    before = client.rpc("cron.sync", {})
    assert client.rpc("cron.sync", {"disable": True}) == {"sync_disabled": True}
    told = client.rpc("cron.sync", {"topic": "x", "sync_epsilon": 0.5})
    assert told == {"sync_event": "x", "sync_epsilon": 0.5}
    client.rpc("cron.sync", {"topic": before["sync_event"], "sync_epsilon": before["sync_epsilon"]})


def test_cron_is_the_owners(guest: MinimalClient) -> None:
    for method in ("create", "list", "stop", "start", "delete", "sync"):
        frame = guest.raw(f"cron.{method}", {})
        assert (frame.errnum, frame.text) == (EPERM, "Request requires owner credentials")
