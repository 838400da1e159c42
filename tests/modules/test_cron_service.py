"""The cron service over a live broker: entries fire, commands run, everything is answered."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
import trio

from brokersim import open_instance, run
from brokersim.brokermod import RequestError, errnums

START = 1_767_225_600.0
DROP = {"command": "-", "args": {"message": {"topic": "cron.ping", "payload": {"seq": 0}}}}


def with_cron(test, *args, clock="virtual", size=1):
    """Run ``test(instance, client)`` where heartbeat and cron are loaded."""

    async def main():
        async with open_instance(modules=["heartbeat"], clock=clock, size=size) as instance:
            await instance.load("cron", *args)
            client = instance.client()
            try:
                return await test(instance, client)
            finally:
                client.close()

    return run(main, clock=clock)


async def create(client, kind="interval", command="event:tick", **more):
    args = more.pop("args", {"interval": 10})
    return await client.call(
        "cron.create", {"type": kind, "name": "foo", "args": args, "command": command, **more}
    )


async def only(client):
    [entry] = (await client.call("cron.list", {}))["entries"]
    return entry


async def lines_of(client):
    """The broker's log."""
    lines = []

    def start(done):
        client.stream(
            "log.dmesg",
            {"follow": False},
            lambda r, _: done(None) if r.errnum else lines.append(r.payload_str),
        )

    await client.occurrence(start)
    return lines


def test_a_new_entry_is_answered_as_flux_answers_it():
    async def test(_instance, client):
        return await create(client, command="true")

    entry = with_cron(test)
    stats = dict.fromkeys(("lastrun",), 0.0) | dict.fromkeys(
        ("count", "failcount", "total", "success", "failure", "deferred"), 0
    )
    assert entry == {
        "id": 1, "rank": 0, "name": "foo", "command": "true", "repeat": 0, "stopped": False, "type": "interval",
        "stats": {"ctime": START, "starttime": START, **stats},
        "typedata": {"interval": 10.0, "after": 10.0, "next_wakeup": START + 10}, "tasks": [],
    }  # fmt: skip


def test_an_interval_publishes_its_event_at_exact_times():
    async def test(instance, client):
        await create(client, args={"interval": 10, "after": 3}, repeat=4)
        cron = instance.module(0, "cron").handle
        events = []
        for _ in range(60):
            events.append(cron.counts[4])
            await instance.sleep(1)
        return events, await only(client)

    events, entry = with_cron(test)
    assert [at for at in range(1, 60) if events[at] > events[at - 1]] == [3, 13, 23, 33]
    assert (entry["stopped"], entry["stats"]["count"], entry["stats"]["success"]) == (True, 4, 4)


def test_an_entry_can_be_stopped_started_and_deleted():
    async def test(instance, client):
        await create(client)
        await instance.sleep(25)
        stopped = await client.call("cron.stop", {"id": 1})
        await instance.sleep(50)
        assert (await only(client))["stats"]["total"] == 2
        started = await client.call("cron.start", {"id": 1})
        await instance.sleep(15)
        deleted = await client.call("cron.delete", {"id": 1})
        await instance.sleep(50)
        return stopped, started, deleted, (await client.call("cron.list"))["entries"]

    stopped, started, deleted, left = with_cron(test)
    assert (stopped["stopped"], stopped["typedata"]["next_wakeup"]) == (True, 0.0)
    assert (started["stopped"], started["stats"]["count"]) == (False, 0)
    assert (deleted["stats"]["total"], deleted["stats"]["count"], left) == (3, 1, [])


def test_an_event_entry_runs_on_every_nth_heartbeat():
    async def test(instance, client):
        await create(client, kind="event", args={"topic": "heartbeat.pulse", "nth": 5})
        await instance.sleep(101)
        return await only(client)

    entry = with_cron(test)
    assert entry["typedata"] == {
        "topic": "heartbeat.pulse",
        "nth": 5,
        "after": 0,
        "counter": 50,
        "min_interval": 0.0,
    }
    assert entry["stats"]["success"] == 10


def test_an_event_entry_hears_its_own_topic_and_no_other_and_none_after_its_end():
    async def test(instance, client):
        await create(client, kind="event", args={"topic": "my.*"})
        cron = instance.module(0, "cron").handle
        for topic in ("my.a", "mine", "other", "my.b"):
            client.publish(topic)
        await instance.sleep(0.1)
        total = (await only(client))["stats"]["total"]
        await client.call("cron.delete", {"id": 1})
        before = cron.counts[5]
        client.publish("my.c")
        await instance.sleep(0.1)
        return total, cron.counts[5] - before

    assert with_cron(test) == (2, 0)


def test_a_calendar_entry_and_a_moment_fire_when_they_say():
    async def test(instance, client):
        await create(client, kind="datetime", args={"expression": "*/15 * * * *"})
        await create(client, kind="at", args={"time": START + 100})
        await instance.sleep(3601)
        return (await client.call("cron.list"))["entries"]

    calendar, moment = with_cron(test)
    assert (calendar["stats"]["total"], calendar["stats"]["lastrun"]) == (4, START + 3600)
    assert (moment["stats"]["total"], moment["stats"]["lastrun"], moment["stopped"]) == (1, START + 100, True)


def test_a_message_entry_sends_a_request_and_counts_its_answer():
    async def test(instance, client):
        await create(client, **{**DROP, "args": {"interval": 1, **DROP["args"]}}, repeat=2)
        missing = {"interval": 1, "message": {"topic": "nosuch.method"}}
        await create(client, command="-", args=missing, **{"stop-on-failure": 3, "task-history-count": 5})
        await instance.sleep(30)
        return (await client.call("cron.list"))["entries"]

    good, bad = with_cron(test)
    assert (good["stats"]["success"], good["stats"]["failure"]) == (2, 0)
    assert (bad["stats"]["failure"], bad["stats"]["failcount"], bad["stopped"]) == (3, 3, True)
    assert [task["state"] for task in bad["tasks"]] == ["ENOSYS"] * 3


@pytest.mark.parametrize("clock", ["virtual", "real*20"])
def test_a_command_runs_and_its_output_goes_to_the_log(clock, tmp_path):
    async def test(instance, client):
        script = "echo $COLOUR; pwd >&2; exit 2"
        environ = {"COLOUR": "blue", "PATH": os.environ["PATH"]}
        await create(
            client, command=script, args={"interval": 1}, repeat=1, cwd=str(tmp_path), environ=environ
        )
        with trio.fail_after(30):
            while not (await only(client))["tasks"] or (await only(client))["tasks"][0]["state"] == "Running":
                await instance.sleep(1)
        return await only(client), await lines_of(client)

    entry, lines = with_cron(test, clock=clock)
    [task] = entry["tasks"]
    assert (task["status"], task["state"]) == (2 << 8, "Failed")
    assert entry["stats"]["failure"] == 1
    log = "\n".join(lines)
    assert '"blue"' in log
    assert f'"{tmp_path}"' in log
    assert "Failed: Exit 2" in log


def test_a_command_that_cannot_be_started_is_a_failure_in_words():
    async def test(instance, client):
        too_long = f"true {'x' * 200_000}"
        await create(client, command=too_long, args={"interval": 1}, repeat=1)
        await instance.sleep(5)
        return await only(client)

    [task] = with_cron(test)["tasks"]
    assert task["state"] == "Exec Failure: Argument list too long"


def test_a_command_beyond_its_timeout_is_ended_with_all_it_started(tmp_path):
    async def test(instance, client):
        note = tmp_path / "pid"
        text = f"sleep 77 & echo $! > {note}; wait"
        await create(client, command=text, args={"interval": 1}, repeat=1, timeout=0.2)
        await instance.sleep(5)
        return await only(client), int(note.read_text())

    entry, pid = with_cron(test)
    [task] = entry["tasks"]
    assert (task["state"], task["status"]) == ("Timeout", 15)
    assert not Path(f"/proc/{pid}").exists() or "Z" in Path(f"/proc/{pid}/stat").read_text()


@pytest.mark.parametrize("how", ["delete", "unload"])
def test_a_running_command_ends_with_its_entry_or_with_the_module(how, tmp_path):
    async def test(instance, client):
        note = tmp_path / "pid"
        await create(client, command=f"echo $$ > {note}; sleep 77", args={"interval": 0.1}, repeat=1)
        with trio.fail_after(60):
            while not note.exists() or not note.read_text():
                await trio.sleep(0.02)
        pid = int(note.read_text())
        if how == "delete":
            assert (await client.call("cron.delete", {"id": 1, "kill": True}))["tasks"][0][
                "state"
            ] == "Running"
        else:
            await instance.remove("cron")
        with trio.fail_after(60):
            while Path(f"/proc/{pid}").exists():
                await trio.sleep(0.02)

    with_cron(test, clock="real")


def test_synced_runs_begin_with_the_heartbeat():
    async def test(instance, client):
        before = await client.call("cron.sync", {})
        await create(client, args={"interval": 3}, repeat=2)
        await instance.sleep(11)
        entry = await only(client)
        after = await client.call("cron.sync", {"disable": True})
        return before, entry["stats"], after

    before, stats, after = with_cron(test, "sync=heartbeat.pulse")
    assert before == {"sync_event": "heartbeat.pulse", "sync_epsilon": 0.015}
    assert after == {"sync_disabled": True}
    # Due at 3 s and 6 s, begun with the beats at 4 s and (the beat at 6 s has just come) 6 s.
    assert (stats["success"], stats["lastrun"] - START) == (2, 6.0)
    assert stats["deferred"] >= 1


def test_an_interval_shorter_than_the_beat_runs_once_a_beat():
    async def test(instance, client):
        await create(client, args={"interval": 0.3})
        await instance.sleep(9)
        return (await only(client))["stats"]

    stats = with_cron(test, "sync=heartbeat.pulse")
    # Beats at 2, 4, 6 and 8 s; the fifth run waits for the next. A real Flux tells the same of 9 s.
    assert (stats["success"], stats["deferred"], stats["total"]) == (4, 5, 5)


def test_runs_that_come_due_too_early_are_told_once_until_ten_are_over_in_time():
    async def test(instance, client):
        told = []

        async def count():
            told.append(sum("still running or scheduled" in line for line in await lines_of(client)))

        await create(client, args={"interval": 0.5})
        await instance.sleep(360)
        await count()
        await client.call("cron.sync", {"disable": True})
        await instance.sleep(7)
        await client.call("cron.sync", {"topic": "heartbeat.pulse"})
        await instance.sleep(360)
        await count()
        await client.call("cron.stop", {"id": 1})
        await client.call("cron.start", {"id": 1})
        await instance.sleep(10)
        await count()
        return told, (await only(client))["stats"]["success"]

    told, runs = with_cron(test, "sync=heartbeat.pulse")
    assert told == [1, 2, 3]
    assert runs > 360


def test_ending_the_sync_lets_go_what_waited_for_it():
    async def test(instance, client):
        assert await client.call("cron.sync", {}) == {"sync_disabled": True}
        assert await client.call("cron.sync", {"topic": "never"}) == {
            "sync_event": "never",
            "sync_epsilon": 0.015,
        }
        await create(client, args={"interval": 3}, repeat=1)
        await instance.sleep(20)
        waiting = (await only(client))["stats"]
        await client.call("cron.sync", {"disable": True})
        return waiting, (await only(client))["stats"]

    waiting, done = with_cron(test)
    assert (waiting["success"], waiting["deferred"]) == (0, 1)
    assert done["success"] == 1


def test_cron_receives_every_heartbeat_and_nothing_else_at_rest():
    async def test(instance, _client):
        await instance.sleep(1)
        counts = instance.module(0, "cron").handle.counts
        before = list(counts)
        await instance.sleep(60)
        return [after - start for after, start in zip(counts, before, strict=True)]

    assert with_cron(test) == [0, 0, 0, 0, 0, 30, 0, 0]


@pytest.mark.parametrize(
    ("method", "payload", "errnum", "says"),
    [
        ("create", {"type": "x"}, errnums.EPROTO, "name"),
        ("create", {"type": "x", "name": "n", "args": {}, "command": "c"}, errnums.EINVAL, "unknown type 'x'"),
        ("create", {"type": "interval", "name": "n", "args": {"interval": 1}, "command": " "},
         errnums.EINVAL, "command"),
        ("create", {"type": "interval", "name": "n", "args": {"interval": 1}, "command": "c", "rank": -3},
         errnums.EINVAL, "no rank -3"),
        ("sync", None, errnums.EPROTO, "cron.sync: the request has no payload"),
        ("create", {"type": "interval", "name": "n", "args": {"interval": 1}, "command": "c", "repeat": -1},
         errnums.EINVAL, "repeat"),
        ("stop", {"id": 9}, errnums.ENOENT, "no cron entry 9; there are: none"),
        ("start", {}, errnums.EPROTO, "id"),
        ("delete", {"id": "1"}, errnums.EPROTO, "id"),
        ("sync", {"sync_epsilon": -1}, errnums.EINVAL, "sync_epsilon"),
    ],
)  # fmt: skip
def test_a_wrong_request_is_answered_in_words_and_harms_nothing(method, payload, errnum, says):
    async def test(_instance, client):
        with pytest.raises(RequestError) as refused:
            await client.call(f"cron.{method}", payload)
        assert (await client.call("cron.list"))["entries"] == []
        return refused.value

    error = with_cron(test)
    assert error.errno == errnum
    assert says in error.text


def test_an_interval_of_0_comes_once_after_its_time():
    async def test(instance, client):
        await create(client, args={"interval": 0, "after": 2})
        await instance.sleep(20)
        return await only(client)

    entry = with_cron(test)
    assert (entry["stats"]["success"], entry["stats"]["lastrun"] - START, entry["stopped"]) == (1, 2.0, True)


def test_a_run_on_a_rank_that_is_not_there_fails_by_its_errnum():
    async def test(instance, client):
        await create(client, command="true", args={"interval": 1}, repeat=1, rank=99)
        await instance.sleep(2)
        return await only(client)

    entry = with_cron(test)
    [task] = entry["tasks"]
    assert (entry["stopped"], entry["stats"]["failure"]) == (True, 1)
    assert (task["state"], task["rexec_errno"], task["rank"]) == ("Rexec Failure", errnums.EHOSTUNREACH, 99)


def test_a_run_that_waits_for_the_sync_event_is_listed_as_deferred():
    async def test(instance, client):
        await client.call("cron.sync", {"topic": "go"})
        await create(client, args={"interval": 5}, repeat=1)
        await instance.sleep(6)
        waiting = await only(client)
        client.publish("go")
        await instance.sleep(1)
        return waiting, await only(client)

    waiting, done = with_cron(test)
    assert [(task["state"], task["create-time"] - START) for task in waiting["tasks"]] == [("Deferred", 5.0)]
    assert [task["state"] for task in done["tasks"]] == ["Exited"]


def test_a_run_put_off_by_its_min_interval_is_logged():
    async def test(instance, client):
        await create(client, "event", args={"topic": "t", "min_interval": 3})
        for _ in range(3):
            client.publish("t")
        await instance.sleep(1)
        return await lines_of(client)

    found = [line for line in with_cron(test) if "due to min interval" in line]
    assert len(found) == 1 and "cron-1: delaying 3.000s due to min interval" in found[0]


def test_a_command_is_run_by_the_subprocess_service_of_its_rank_and_reads_nothing():
    async def test(instance, client):
        rexec = [instance.broker(rank).service("rexec") for rank in range(2)]
        text = "cat; echo $FLUX_URI; kill -9 $$"
        await create(client, command=text, args={"interval": 1}, repeat=1, rank=1)
        await instance.sleep(5)
        [task] = (await only(client))["tasks"]
        return task["status"], [endpoint.counts[1] for endpoint in rexec], task["rank"]

    # It was asked once, on rank 1 alone; what the service says reaches cron as any client.
    assert with_cron(test, size=2) == (9, [0, 1], 1)
