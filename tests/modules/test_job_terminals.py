"""Terminals of a job's tasks: what they are wanted for, who looks at them, what is typed."""

from __future__ import annotations

import base64

import pytest
import trio

from brokersim.brokermod import RequestError, errnums
from brokersim.protocol.message import REQUEST, Message
from modules.job_exec.terminals import NO_TERMINALS, PtyPlan, Terminals, to_pty
from tests.modules.job_harness import END, in_instance, log_of, outcome, real, submit

BOTH = frozenset({0, 1})


@pytest.mark.parametrize(
    ("option", "plan"),
    [
        (None, NO_TERMINALS),
        (0, NO_TERMINALS),
        (1, PtyPlan(tasks=BOTH)),
        ({"ranks": 1}, PtyPlan(tasks=frozenset({1}))),
        ({"ranks": "0-5"}, PtyPlan(tasks=BOTH)),
        ({"capture": 0}, PtyPlan(tasks=BOTH, capture=False)),
        ({"interactive": 1}, PtyPlan(tasks=frozenset({0}), capture=False, interactive=True)),
        ({"interactive": 1, "capture": 1}, PtyPlan(tasks=frozenset({0}), interactive=True)),
        ({"interactive": 1, "ranks": "1"}, PtyPlan(tasks=BOTH, capture=False, interactive=True)),
    ],
)
def test_an_option_says_which_tasks_have_one_and_who_sees_it(option, plan):
    assert to_pty(option, 2) == plan


@pytest.mark.parametrize(
    "option", [{"foo": 1}, {"ranks": "x"}, {"ranks": "0-16777215"}, {"capture": "x"}, {"interactive": [1]}]
)
def test_an_option_that_is_none_is_refused(option):
    with pytest.raises(ValueError, match="invalid shell pty option"):
        to_pty(option, 2)


def on_a_terminal(*words, slots=1, pty=1):
    """A job whose tasks have terminals."""
    return real(*words, slots=slots, shell={"options": {"pty": pty, "exit-timeout": "none"}})


async def text_of(client, job):
    """What stands in the job's output."""
    return "".join(event["context"].get("data", "") for event in await log_of(client, job, "guest.output"))


def test_what_a_task_shows_on_its_terminal_is_its_output():
    async def test(_instance, client):
        job = await submit(
            client, on_a_terminal("sh", "-c", "test -t 0 && stty size; echo $FLUX_TERMINUS_SESSION; exit 3")
        )
        return (
            await outcome(client, job),
            await text_of(client, job),
            await log_of(client, job, "guest.output"),
        )

    answer, text, events = in_instance(test, clock="real")
    assert (answer["status"], text) == (3 << 8, "25 80\r\n0\r\n")
    assert [event["context"].get("eof") for event in events[-2:]] == [True, True]


def test_only_the_tasks_named_have_one():
    async def test(_instance, client):
        job = await submit(
            client, on_a_terminal("sh", "-c", "test -t 1 && echo yes || echo no", slots=2, pty={"ranks": 1})
        )
        await outcome(client, job)
        data = [
            event["context"] for event in await log_of(client, job, "guest.output") if event["name"] == "data"
        ]
        return {one["rank"]: one["data"] for one in data if "data" in one}

    assert in_instance(test, clock="real") == {"0": "no\n", "1": "yes\r\n"}


class Looker:
    """Somebody who looks at a terminal."""

    def __init__(self, client, topic):
        self.client = client
        self.topic = topic
        self.seen = b""
        self.exit = None
        self.was_let_in = False
        self.errnum = None
        self._moved = trio.Event()

    def attach(self, **more):
        wish = {"type": "attach", "mode": "rw", "winsize": {"rows": 10, "cols": 33}, **more}
        self.client.stream(self.topic, wish, self._answered)

    def _answered(self, response, _arg):
        if response.errnum:
            self.errnum = response.errnum
        elif response.payload["type"] == "attach":
            self.was_let_in = True
        elif response.payload["type"] == "data":
            data = response.payload["data"]
            self.seen += base64.b64decode(data) if "encoding" in response.payload else data.encode()
        elif response.payload["type"] == "exit":
            self.exit = response.payload["status"]
        self._moved.set()
        self._moved = trio.Event()

    async def until(self, holds):
        with trio.fail_after(60):
            while not holds():
                await self._moved.wait()

    async def say(self, kind, **more):
        return await self.client.call(self.topic, {"type": kind, **more})


async def looking_at(client, job):
    """A looker at the terminal of task 0, as soon as the shell says that there is one."""
    while True:
        try:
            look = {"id": job, "keys": ["guest.exec.eventlog"], "flags": 0}
            log = (await client.call("job-info.lookup", look))["guest.exec.eventlog"]
        except RequestError:
            log = ""
        if "shell.init" in log:
            init = log.split("shell.init")[1]
            assert '"pty":"terminus.0"' in init
            return Looker(client, init.split('"service":"')[1].split('"')[0] + ".terminus.0")
        await client.sleep(0.01)


INTERACTIVE = {"interactive": 1}


def test_one_that_looks_sees_what_was_shown_before_types_and_hears_of_the_end():
    async def test(_instance, client):
        program = 'read -r a; stty size; printf "%s\\n" "got $a"; printf "\\000"; exit 5'
        job = await submit(client, on_a_terminal("sh", "-c", program, pty=INTERACTIVE))
        looker = await looking_at(client, job)
        looker.attach()
        await looker.say("data", data=base64.b64encode(b"word\n").decode(), encoding="base64")
        await looker.until(lambda: looker.errnum is not None)
        return looker, await outcome(client, job), await text_of(client, job)

    looker, answer, text = in_instance(test, clock="real")
    assert looker.was_let_in
    assert looker.seen == b"word\r\n10 33\r\ngot word\r\n\0"
    assert (looker.exit, looker.errnum, answer["status"], text) == (5 << 8, END, 5 << 8, "")


def test_a_task_that_has_ended_waits_for_somebody_to_look():
    async def test(_instance, client):
        job = await submit(client, on_a_terminal("echo", "hi", pty={"interactive": 1, "capture": 1}))
        looker = await looking_at(client, job)
        await client.sleep(0.3)
        state = (await client.call("job-list.list-id", {"id": job, "attrs": ["state"]}))["job"]["state"]
        looker.attach(mode="ro")
        await looker.until(lambda: looker.errnum is not None)
        await outcome(client, job)
        return state, looker.seen, await text_of(client, job)

    assert in_instance(test, clock="real") == (16, b"hi\r\n", "hi\r\n")


def test_nobody_is_let_in_to_look_at_a_command_that_cannot_be_started():
    async def test(_instance, client):
        job = await submit(client, on_a_terminal("/no/such/command", pty=INTERACTIVE))
        looker = await looking_at(client, job)
        looker.attach()
        await looker.until(lambda: looker.errnum is not None)
        return looker.was_let_in, (await outcome(client, job))["status"]

    assert in_instance(test, clock="real") == (False, 127 << 8)


def test_a_job_that_is_cancelled_waits_for_nobody_to_look():
    async def test(_instance, client):
        job = await submit(client, on_a_terminal("sleep", "100", pty=INTERACTIVE))
        await looking_at(client, job)
        await client.call("job-manager.raise", {"id": job, "type": "cancel", "severity": 0})
        return (await outcome(client, job))["success"]

    assert in_instance(test, clock="real") is False


def test_a_looker_leaves_is_resized_and_is_told_what_cannot_be():
    async def refusal(looker, kind, **more):
        with pytest.raises(RequestError) as caught:
            await looker.say(kind, **more)
        return caught.value.errno

    async def test(_instance, client):
        job = await submit(
            client, on_a_terminal("sh", "-c", "read -r a; stty size; read -r a", pty=INTERACTIVE)
        )
        looker = await looking_at(client, job)
        looker.attach()
        listed = await client.call(f"{looker.topic[:-1]}list", {})
        refused = [
            await refusal(looker, "attach"),
            await refusal(looker, "resize", winsize={"rows": 0, "cols": 7}),
            await refusal(looker, "resize"),
            await refusal(looker, "data", data="?", encoding="base64"),
            await refusal(looker, "data", data="x", encoding="y"),
            await refusal(looker, "dance"),
            await refusal(looker, "data", data="x" * (1 << 20) + "y"),
        ]
        await looker.say("resize", winsize={"rows": 4, "cols": 7})
        await looker.say("data", data="\n")
        await looker.until(lambda: b"4 7\r\n" in looker.seen)
        await looker.say("detach")
        await looker.until(lambda: looker.errnum is not None)
        left = looker.exit, looker.errnum
        nowhere = Looker(client, looker.topic[:-1] + "7")
        refused.append(await refusal(nowhere, "resize"))
        await client.call("job-manager.raise", {"id": job, "type": "cancel", "severity": 0})
        await outcome(client, job)
        return refused, left, listed

    refused, left, listed = in_instance(test, clock="real")
    assert refused == [
        errnums.EEXIST,
        errnums.EINVAL,
        errnums.EINVAL,
        *[errnums.EPROTO] * 3,
        errnums.ENOSPC,
        errnums.ENOSYS,
    ]
    assert left == (0, END)
    assert listed["server"]["rank"] == 0 and listed["server"]["service"].endswith(".terminus")
    assert [(one["id"], one["name"], one["exited"], one["clients"]) for one in listed["sessions"]] == [
        (0, "task0", 0, 1)
    ]


def test_a_terminal_whose_task_has_ended_is_looked_at_no_more():
    async def test(_instance, client):
        program = "[ $FLUX_TASK_RANK = 0 ] || exec sleep 60"
        job = await submit(client, on_a_terminal("sh", "-c", program, slots=2, pty=INTERACTIVE))
        first, second = await looking_at(client, job), await looking_at(client, job)
        first.attach()
        await first.until(lambda: first.errnum is not None)
        second.attach()
        await second.until(lambda: second.errnum is not None)
        await client.call("job-manager.raise", {"id": job, "type": "cancel", "severity": 0})
        await outcome(client, job)
        return second.errnum

    assert in_instance(test, clock="real") == errnums.ENOENT


@pytest.mark.parametrize("name", ["0", "list", "7"])
def test_a_terminal_is_its_jobs_users_only(name):
    terminals = Terminals(to_pty(1, 1), 0.0)
    asked = Message(REQUEST, topic=f"1-shell-f1.terminus.{name}", userid=7)
    with pytest.raises(RequestError) as caught:
        terminals.ask(None, asked, 8, [])
    assert caught.value.errno == errnums.EPERM
