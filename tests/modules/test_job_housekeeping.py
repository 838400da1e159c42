"""What tidies up behind jobs: a command on each node a job had, before the scheduler may give the node again."""

from __future__ import annotations

import pytest

from brokersim.brokermod import RequestError, errnums, jobid
from brokersim.reactor import run as runs
from modules.job_manager.held import only
from modules.job_manager.housekeeping import NEVER, Setting, setting_in
from tests.modules.job_harness import in_instance, jobspec, outcome, submit


def table(**keys):
    """A configuration with this table."""
    return {"job-manager": {"housekeeping": {key.replace("_", "-"): value for key, value in keys.items()}}}


@pytest.mark.parametrize(
    ("conf", "setting"),
    [
        ({}, Setting()),
        (table(command=["/bin/true", "x"]), Setting(command=("/bin/true", "x"))),
        (table(command=["a"], release_after="0"), Setting(command=("a",), release_after=0.0)),
        (table(command=["a"], release_after="infinity"), Setting(command=("a",), release_after=NEVER)),
        (table(command=["a"], release_after="1m"), Setting(command=("a",), release_after=60.0)),
        ({**table(), "exec": {"imp": "/imp"}}, Setting(command=("/imp", "run", "housekeeping"))),
        (table(command=["a"], use_systemd_unit=True), Setting(command=("a",), is_deprecated=True)),
    ],
)
def test_a_configuration_says_what_runs_and_when_nodes_go_back(conf, setting):
    assert setting_in(conf) == setting


@pytest.mark.parametrize(
    ("conf", "text"),
    [
        (table(xyz=42), "job-manager.housekeeping: 1 object item(s) left unpacked: xyz"),
        (table(), "job-manager.housekeeping implies IMP but exec.imp is undefined"),
        (table(command=["a"], release_after="foo"), "job-manager.housekeeping.release-after FSD parse error"),
        (table(command=["a"], release_after=5), "job-manager.housekeeping.release-after FSD parse error"),
        (table(command=[]), "job-manager.housekeeping.command"),
        (table(command="true"), "job-manager.housekeeping.command"),
        (table(command=["a", 3]), "job-manager.housekeeping.command"),
        ({"job-manager": {"housekeeping": 3}}, "job-manager.housekeeping is no table"),
    ],
)
def test_a_configuration_that_is_none_is_refused_in_flux_s_words(conf, text):
    with pytest.raises(RequestError) as caught:
        setting_in(conf)
    assert caught.value.errno == errnums.EINVAL
    assert str(caught.value).startswith(text)


def test_a_part_of_r_has_the_nodes_named_and_their_hosts():
    execution = {
        "R_lite": [{"rank": "1-4", "children": {"core": "0"}}],
        "nodelist": ["n[1-4]"],
        "starttime": 2.0,
    }
    part = only({"version": 1, "execution": execution}, {2, 4, 9})
    assert part["execution"] == {
        "R_lite": [{"rank": "2,4", "children": {"core": "0"}}], "nodelist": ["n[2,4]"], "starttime": 2.0,
    }  # fmt: skip


async def running(client):
    """What is tidied up, by job."""
    return (await client.call("job-manager.stats-get"))["housekeeping"]["running"]


async def until(client, holds):
    """Wait until something holds."""
    while not await holds():
        await client.sleep(0.01)


async def lines_of(client):
    """Lines of the log that tell of housekeeping, without the names of jobs and hosts."""
    found = []

    def start(done):
        def answered(response, _arg):
            if response.errnum:
                done(None)
            else:
                found.append(response.payload_str)

        client.stream("log.dmesg", {"follow": False, "nobacklog": False}, answered)

    await client.occurrence(start)
    return [line for line in found if "housekeeping" in line]


def with_housekeeping(test, nodes=2, **conf):
    """Run ``test(instance, client)`` where this tidies up, on so many nodes."""

    async def whole(instance, client):
        await client.call("config.load", table(**conf))
        return await test(instance, client)

    return in_instance(whole, clock="real", size=nodes, resources=f"{nodes}x1")


def spec(nodes=2):
    """A job with whole nodes."""
    return jobspec("true", nodes=nodes)


def test_the_command_runs_on_each_node_of_a_job_that_is_over_and_knows_it(tmp_path):
    script = f'printf "%s %s %s\\n" $FLUX_JOB_ID $FLUX_JOB_USERID $FLUX_JOB_RANKS >> {tmp_path}/$$; echo said'

    async def test(_instance, client):
        job = await submit(client, spec())
        await outcome(client, job)
        await until(client, lambda: idle(client))
        return job, await lines_of(client), await client.call("job-manager.resource-status")

    job, lines, status = with_housekeeping(test, command=["/bin/sh", "-c", script])
    notes = [path.read_text().split() for path in tmp_path.iterdir()]
    assert [(int(note[0]), note[2]) for note in notes] == [(job, "0-1")] * 2
    assert sum(f"(rank {rank}) {jobid.encode(job)}: said" in line for line in lines for rank in (0, 1)) == 2
    assert status["allocated"]["execution"]["R_lite"] == []


async def idle(client):
    return not await running(client)


def test_while_it_runs_the_nodes_are_not_given_again_and_a_signal_ends_it():
    async def test(_instance, client):
        first = await submit(client, spec())
        answer = await outcome(client, first)
        there = (await running(client))[jobid.encode(first)]
        held = (await client.call("job-manager.resource-status"))["allocated"]["execution"]["R_lite"]
        await client.call("config.load", {})  # the next job is not tidied up behind
        second = await submit(client, spec())
        await client.sleep(0.2)
        waits = (await client.call("job-manager.alloc-query"))["running"]
        await client.call("job-manager.housekeeping-kill", {"signum": 15, "jobid": first + 1})
        await client.call("job-manager.housekeeping-kill", {"signum": 15, "ranks": "7"})
        still = len(await running(client))
        await client.call("job-manager.housekeeping-kill", {"signum": 15, "jobid": first, "ranks": "0-1"})
        return answer["success"], there, held, waits, still, (await outcome(client, second))["success"]

    success, there, held, waits, still, also = with_housekeeping(test, command=["sleep", "100"])
    assert (success, waits, still, also) == (True, 0, 1, True)
    assert (there["pending"], there["allocated"], there["t_start"] > 0) == ("0-1", "0-1", True)
    assert held == [{"rank": "0-1", "children": {"core": "0"}}]


@pytest.mark.parametrize(("after", "at_once"), [("0", True), ("20ms", True), (None, False)])
def test_a_node_that_is_done_goes_back_before_the_others_if_that_is_wanted(tmp_path, after, at_once):
    slow = f"mkdir {tmp_path}/one || until [ -e {tmp_path}/go ]; do sleep 0.01; done"  # only one makes the folder

    async def test(instance, client):
        command = ["/bin/sh", "-c", slow]
        await client.call(
            "config.load", table(command=command, **({"release_after": after} if after else {}))
        )
        job = await submit(client, spec())
        await outcome(client, job)

        async def one_is_done():
            return (await running(client))[jobid.encode(job)]["pending"] in "01"

        await until(client, one_is_done)
        await client.call("config.load", {})
        if at_once:
            await outcome(client, await submit(client, spec(nodes=1)))
        left = (await running(client))[jobid.encode(job)]["allocated"]
        # A scheduler that comes up now hears of what is still held, and of no more.
        await instance.remove("sched")
        await instance.load("sched")
        if at_once:
            await outcome(client, await submit(client, spec(nodes=1)))
        (tmp_path / "go").touch()
        await until(client, lambda: idle(client))
        return left, (await outcome(client, await submit(client, spec())))["success"]

    left, success = with_housekeeping(test, command=["true"])
    assert success
    assert left in ("0", "1") if at_once else left == "0-1"


@pytest.mark.parametrize(
    ("command", "why"),
    [
        (["/nowhere"], "error launching process"),
        (["/bin/sh", "-c", "exit 3"], "nonzero exit code"),
        (["/bin/sh", "-c", "kill -9 $$"], "Killed"),
    ],
)
def test_what_goes_wrong_is_in_the_log_and_the_node_goes_back(command, why):
    async def test(_instance, client):
        await outcome(client, await submit(client, spec(nodes=1)))
        await until(client, lambda: idle(client))
        return await lines_of(client), (await outcome(client, await submit(client, spec(nodes=1))))["success"]

    lines, success = with_housekeeping(test, nodes=1, command=command)
    assert success
    assert any(why in line for line in lines)


def test_without_a_command_nothing_runs_and_the_statistics_say_so():
    async def test(_instance, client):
        return (await client.call("job-manager.stats-get"))["housekeeping"]

    assert in_instance(test) == {"running": {}, "config": {"release-after": NEVER, "command": ""}}


def test_a_command_that_says_much_is_read_as_the_broker_hears_of_it(monkeypatch):
    monkeypatch.setattr(runs, "QUEUE_AT", 500)
    longest = 0

    async def test(instance, client):
        nonlocal longest
        await outcome(client, await submit(client, spec(1)))
        while await running(client):
            longest = max(longest, len(instance.reactor.fifo))
            await client.sleep(0.0)
        return await lines_of(client)

    lines = with_housekeeping(test, nodes=1, command=["seq", "100000"])
    assert ": 100000" in lines[-2]
    # A few pieces of output, of 64 KiB with some 11,000 lines each, above the bound; without it nearly all there are.
    assert longest < 40_000
