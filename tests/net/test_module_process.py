"""Modules as processes of their own, by our loader in a live instance: what one does costs itself and nobody else."""

from __future__ import annotations

import os
import signal
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest
import trio

import brokersim
from brokersim.host import remote
from brokersim.instance import Instance
from brokersim.net import module_process
from brokersim.protocol.errnums import EHOSTUNREACH, ENOSYS, ENOTSUP, EPROTO, RequestError
from brokersim.reactor.run import QUEUE_AT

FAR = """\
import ctypes, os, signal, socket, gc, sys, time
from flux.brokermod import BrokerModule, event_handler, request_handler

def wire():
    return next(one for one in gc.get_objects() if isinstance(one, socket.socket) and one.fileno() >= 0)

class Far(BrokerModule):
    def __init__(self, h, *args):
        super().__init__(h, *args)
        if "sleep" in args:
            time.sleep(1000)
        if "leave" in args:
            os._exit(5)
        if "import" in args:
            import nosuchmodule

    @request_handler("hello")
    def hello(self, msg):
        self.handle.respond(msg, {"pid": os.getpid(), "args": list(self.args)})

    @request_handler("late")
    def late(self, msg):
        import flux.kvs
        from flux.constants import FLUX_NODEID_ANY
        self.handle.respond(msg, {"any": FLUX_NODEID_ANY, "name": flux.kvs.join("a", "b")})

    @request_handler("near")
    def near(self, msg):
        self.handle.respond(msg, self.handle.rpc("near.value", msg.payload).get())

    @request_handler("burst")
    def burst(self, msg):
        # As a loader whose sends block: it reads nothing before all is written.
        from brokersim.protocol.message import REQUEST, Message
        from brokersim.protocol.wire import encode
        asks = (Message(REQUEST, "broker.ping", {"pad": "x" * 10_000}, matchtag=10_000 + n) for n in range(300))
        wire().sendall(b"".join(map(encode, asks)))
        self.handle.respond(msg)

    @request_handler("never")
    def never(self, msg):
        self.kept = msg

    @request_handler("segv")
    def segv(self, msg):
        ctypes.string_at(0)

    @request_handler("kill")
    def kill(self, msg):
        os.kill(os.getpid(), signal.SIGKILL)

    @request_handler("abort")
    def abort(self, msg):
        ctypes.CDLL(None).abort()

    @request_handler("exit")
    def exit(self, msg):
        os._exit(7)

    @request_handler("sysexit")
    def sysexit(self, msg):
        sys.exit(3)

    @request_handler("garbage")
    def garbage(self, msg):
        wire().sendall(b"this is no frame")
        time.sleep(1000)

    @request_handler("close")
    def close(self, msg):
        wire().shutdown(socket.SHUT_RDWR)
        time.sleep(1000)

    @request_handler("hang")
    def hang(self, msg):
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
        time.sleep(1000)

    @request_handler("sleep")
    def sleep(self, msg):
        time.sleep(1000)

    @request_handler("slow")
    def slow(self, msg):
        time.sleep(0.002)
        self.handle.respond(msg)

    @request_handler("flood")
    def flood(self, msg):
        while True:
            self.handle.event_send("flood.x", {"n": 1})

    @request_handler("print")
    def print(self, msg):
        print("one\\ntwo")
        print("x" * 20000, file=sys.stderr)
        self.handle.respond(msg)

    @event_handler("note")
    def note(self, msg):
        self.handle.event_send("heard.far", msg.payload)
"""
NEAR = """\
from brokersim.brokermod import BrokerModule, event_handler, request_handler

class Near(BrokerModule):
    def __init__(self, h):
        super().__init__(h)
        self.heard = []

    @event_handler("heard.*", prefix=False)
    def hear(self, msg):
        self.heard.append([msg.topic, msg.payload])

    @request_handler("heard")
    def tell(self, msg):
        self.handle.respond(msg, {"heard": self.heard})

    @request_handler("value")
    def value(self, msg):
        self.handle.respond(msg, {"twice": 2 * msg.payload["n"]})

    @request_handler("far")
    async def far(self, msg):
        self.handle.respond(msg, await self.handle.call("far.near", msg.payload))
"""
NATIVE = """\
from brokersim.brokermod import BrokerModule, RequestError, errnums, event_handler, request_handler, trio_task

class Native(BrokerModule):
    async def ready(self):
        self.rank = (await self.handle.call("attr.get", {"name": "rank"}))["value"]

    async def teardown(self):
        await self.handle.call("near.value", {"n": 1})
        self.handle.publish("heard.torn", {})

    def stats(self):
        return {"rank": self.rank}

    @request_handler("step")
    async def step(self, msg):
        await self.handle.sleep(0.001)
        answer = await self.handle.call("near.value", msg.payload)
        self.handle.respond(msg, answer)

    @request_handler("refuse")
    def refuse(self, msg):
        raise RequestError(errnums.EINVAL, "not this")

    @request_handler("task")
    @trio_task
    async def task(self, msg):
        pass

    @request_handler("attrs")
    def attrs(self, msg):
        h = self.handle
        h.attr_set("test.color", "red")
        before = h.attr_get("test.color")
        h.attr_remove("test.color")
        h.service_register("more")
        self.handle.respond(msg, {"before": before, "after": h.attr_get("test.color"), "random": h.random.random()})
"""


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    for name, text in (("far", FAR), ("near", NEAR), ("native", NATIVE)):
        (tmp_path / f"{name}.py").write_text(text)
    return tmp_path


def live(body: Callable[[Instance], Awaitable[None]], **settings: Any) -> None:
    """Run it in an instance in real time that has no modules; bounded, whatever hangs."""

    async def main() -> None:
        with trio.fail_after(30):
            async with brokersim.open_instance(modules=(), clock="real", **settings) as instance:
                await body(instance)

    brokersim.run(main, clock="real")


def log_of(instance: Instance, name: str) -> list[str]:
    lines = instance.broker(0).log.lines()
    return [line.partition(" - - - ")[2] for line in lines if f" {name} - - - " in line]


def has_ended(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return True
    return False


def test_a_process_module_serves_and_asks_like_any_other(folder: Path) -> None:
    async def body(instance: Instance) -> None:
        await instance.load(f"{folder}/near.py")
        await instance.load(f"{folder}/far.py", "a", "b=1", as_process=True)
        client = instance.client()
        hello = await client.call("far.hello")
        module = instance.module(0, "far")
        assert hello == {"pid": module.pid, "args": ["a", "b=1"]} and module.pid != os.getpid()
        # What runs in its process belongs to it, so it may import flux late.
        assert await client.call("far.late") == {"any": 0xFFFFFFFF, "name": "a.b"}
        # Near to far and back to near, where the far one blocks: values arrive as values.
        assert await client.call("near.far", {"n": 21}) == {"twice": 42}
        client.publish("far.note", {"n": 5})
        while not (heard := await client.call("near.heard"))["heard"]:
            await instance.sleep(0.005)
        assert heard == {"heard": [["heard.far", {"n": 5}]]}
        listed = (await client.call("module.list"))["mods"][-1]
        assert (listed["name"], listed["status"], listed["pid"], listed["loader"]) == (
            "far",
            1,
            module.pid,
            "brokersim",
        )
        await instance.remove("far")
        assert has_ended(module.pid) and module.status == 3
        with pytest.raises(RequestError, match="No service matching"):
            await client.call("far.hello")

    live(body)


def test_both_ends_count_the_same_messages_and_a_fresh_one_stands_where_flux_has_it(folder: Path) -> None:
    async def body(instance: Instance) -> None:
        await instance.load(f"{folder}/near.py")
        await instance.load(f"{folder}/far.py", as_process=True)
        client = instance.client()
        handle = instance.broker(0).module("far")

        async def stats() -> tuple[dict[str, Any], list[int]]:
            seen = await client.call("far.stats-get")
            return seen, handle.counts

        # Two subscriptions and module.status sent; the welcome, this request, two answers.
        seen, counts = await stats()
        assert (seen["tx"]["request"], seen["rx"]["request"], seen["rx"]["response"]) == (3, 2, 2)
        await client.call("near.far", {"n": 1})
        client.publish("far.note", {})
        seen, counts = await stats()
        sides = ("request", "response", "event", "control")
        own = [seen[side][kind] for kind in sides for side in ("tx", "rx")]
        own[2] += 1  # the answer that brought the figures
        assert own == counts
        await client.call("far.stats-clear")
        assert counts == [0, 0, 1, 0, 0, 0, 0, 0]
        client.publish("far.stats-clear")
        assert (await stats())[0]["rx"] == {"request": 1, "response": 0, "event": 0, "control": 0}

    live(body)


def test_the_hook_sees_what_the_broker_sees_of_it(folder: Path) -> None:
    async def body(instance: Instance) -> None:
        await instance.load(f"{folder}/far.py", as_process=True)
        client = instance.client()
        await client.call("far.debug", {"op": "setbit", "flags": 0x1000})
        packets = instance.sink.packets  # type: ignore[attr-defined]
        await client.call("far.hello")
        last = packets[-1][1].decode().splitlines()
        counts = instance.broker(0).module("far").counts
        assert [int(line.partition(":")[2].partition("|")[0]) for line in last] == counts
        assert last[0].startswith("flux.far.0.request_tx:") and 2 <= len(packets) <= 4
        await client.call("far.debug", {"op": "clr", "flags": 0})
        before = len(packets)
        await client.call("far.hello")
        assert len(packets) == before and instance.broker(0).module("far").mask == 0

    live(body, stats="mem:")


DEATHS = {
    "segv": "was killed by Segmentation fault (SIGSEGV)",
    "kill": "was killed by Killed (SIGKILL)",
    "abort": "was killed by Aborted (SIGABRT)",
    "exit": "exited with code 7 without a word",
    "sysexit": "ended by SystemExit: 3 (far.py:",
    "garbage": "is ended: it sent what is no message: frame starts with 74686973, not 1200eeff",
}


@pytest.mark.parametrize("method", DEATHS)
def test_however_it_dies_its_callers_are_told_and_the_log_has_one_line(
    folder: Path, method: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    # On a busy machine an interpreter takes a while to leave; one that takes too long is told of in a line of its own.
    monkeypatch.setattr(remote, "KILL_GRACE", 60.0)

    async def body(instance: Instance) -> None:
        await instance.load(f"{folder}/near.py")
        await instance.load(f"{folder}/far.py", as_process=True)
        module = instance.module(0, "far")
        client = instance.client()
        errors: list[int | None] = []

        async def ask(topic: str) -> None:
            try:
                await client.call(topic)
            except RequestError as error:
                errors.append(error.errno)

        async with trio.open_nursery() as nursery:
            nursery.start_soon(ask, "far.never")
            await instance.sleep(0.02)
            nursery.start_soon(ask, f"far.{method}")
        assert errors == [EHOSTUNREACH, EHOSTUNREACH]
        assert await client.call("near.value", {"n": 2}) == {"twice": 4}
        (line,) = log_of(instance, "far")
        assert DEATHS[method] in line
        assert "far" not in [one.name for one in instance.modules(0)]
        while not has_ended(module.pid):
            await instance.sleep(0.005)

    live(body)


@pytest.mark.parametrize(
    ("argument", "errnum", "text"),
    [
        ("leave", 104, "exited with code 5 without a word"),
        ("import", 104, "ended by ModuleNotFoundError: No module named 'nosuchmodule' (far.py:"),
        ("sleep", 110, "did not become ready in time"),
    ],
)
def test_one_that_does_not_get_ready_is_refused_with_the_reason(
    folder: Path, argument: str, errnum: int, text: str
) -> None:
    async def body(instance: Instance) -> None:
        with pytest.raises(RequestError) as caught:
            await instance.load(f"{folder}/far.py", argument, as_process=True)
        assert caught.value.errno == errnum and text in caught.value.text
        assert instance.modules(0) == []

    live(body, attrs={"broker.module-load-timeout": "0.6" if argument == "sleep" else "20"})


def test_one_that_hangs_is_named_and_removed_by_force(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("brokersim.host.remote.KILL_GRACE", 0.05)

    async def body(instance: Instance) -> None:
        await instance.load(f"{folder}/far.py", as_process=True)
        client = instance.client()
        client.request("far.hang")
        while not log_of(instance, "far"):
            await instance.sleep(0.02)
            client.request("far.hello", None, lambda *_: None)
        assert "does not read its messages: does a handler hang?" in log_of(instance, "far")[0]
        await client.call("module.remove", {"name": "far", "cancel": True})
        _, asked, forced = log_of(instance, "far")
        assert asked.startswith("refuses to stop: SIGTERM to process")
        assert forced.startswith("ignores SIGTERM: process")
        assert instance.modules(0) == []

    live(body, attrs={"broker.handler-timeout": "0.1"})


def test_one_that_closes_its_connection_but_lives_is_ended(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("brokersim.host.remote.KILL_GRACE", 0.05)

    async def body(instance: Instance) -> None:
        await instance.load(f"{folder}/far.py", as_process=True)
        with pytest.raises(RequestError, match="module disconnect"):
            await instance.client().call("far.close")
        assert "has closed its connection: SIGTERM to process" in log_of(instance, "far")[0]

    live(body)


def test_one_that_does_not_read_is_ended_at_the_limit(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module_process, "DROP_AT", 1 << 20)
    monkeypatch.setattr(module_process, "STALL", 0.0)

    async def body(instance: Instance) -> None:
        await instance.load(f"{folder}/near.py")
        await instance.load(f"{folder}/far.py", as_process=True)
        client = instance.client()
        client.request("far.sleep")
        errors: list[int] = []
        for _ in range(20):
            client.request(
                "far.hello", {"pad": "x" * 100_000}, lambda answer, _: errors.append(answer.errnum)
            )
        while len(errors) < 20:
            await instance.sleep(0.005)
        assert set(errors) == {EHOSTUNREACH, ENOSYS}
        assert log_of(instance, "far")[0].endswith("bytes unread")
        assert await client.call("near.value", {"n": 1}) == {"twice": 2}

    live(body)


def test_one_that_is_slow_but_reads_is_not_ended(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module_process, "DROP_AT", 1 << 18)

    async def body(instance: Instance) -> None:
        await instance.load(f"{folder}/far.py", as_process=True)
        answers: list[int] = []
        client = instance.client()
        for _ in range(100):
            client.request("far.slow", {"pad": "x" * 20_000}, lambda answer, _: answers.append(answer.errnum))
        while len(answers) < 100:
            await instance.sleep(0.005)
        assert set(answers) == {0}

    live(body)


def test_one_that_reads_no_answer_before_all_it_asks_is_sent_is_read_on(folder: Path) -> None:
    async def body(instance: Instance) -> None:
        await instance.load(f"{folder}/far.py", as_process=True)
        with trio.fail_after(20):
            await instance.client().call("far.burst")
        assert await instance.client().call("far.hello")

    live(body)


def test_a_flood_is_held_back_and_others_are_served(folder: Path) -> None:
    async def body(instance: Instance) -> None:
        await instance.load(f"{folder}/near.py")
        await instance.load(f"{folder}/far.py", as_process=True)
        client = instance.client()
        client.request("far.flood")
        handle = instance.broker(0).module("far")
        while handle.counts[4] < 2000:
            await instance.sleep(0.001)
        for n in range(20):
            assert await client.call("near.value", {"n": n}) == {"twice": 2 * n}
        assert len(instance.reactor.fifo) < 2 * QUEUE_AT
        await client.call("module.remove", {"name": "far", "cancel": True})

    live(body)


def test_its_output_is_in_the_log_line_by_line_and_cut(folder: Path) -> None:
    async def body(instance: Instance) -> None:
        await instance.load(f"{folder}/far.py", as_process=True)
        await instance.client().call("far.print")
        while len(lines := log_of(instance, "far")) < 3:
            await instance.sleep(0.005)
        assert [line for line in lines if not line.startswith("x")] == ["one", "two"]
        assert all(len(line) <= 4096 for line in lines)

    live(body)


def test_a_native_module_runs_as_a_process_too(folder: Path) -> None:
    async def body(instance: Instance) -> None:
        await instance.load(f"{folder}/near.py")
        await instance.load(f"{folder}/native.py", as_process=True)
        client = instance.client()
        assert await client.call("native.step", {"n": 4}) == {"twice": 8}
        assert (await client.call("native.stats-get"))["rank"] == "0"
        with pytest.raises(RequestError, match="not this"):
            await client.call("native.refuse")
        with pytest.raises(RequestError, match="@trio_task needs the broker's own loop") as caught:
            await client.call("native.task")
        assert caught.value.errno == ENOTSUP
        attrs = await client.call("native.attrs")
        assert (attrs["before"], attrs["after"]) == ("red", None)
        await client.call("more.ping", {})
        await instance.remove("native")
        assert await client.call("near.heard") == {"heard": [["heard.torn", {}]]}

    live(body)


def test_an_instance_that_ends_leaves_no_process(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("brokersim.host.remote.KILL_GRACE", 0.05)
    pids: list[int] = []

    async def body(instance: Instance) -> None:
        for name in ("a", "b"):
            await instance.load(f"{folder}/far.py", as_process=True, name=name)
            pids.append(instance.module(0, name).pid)
        instance.client().request("b.hang")
        os.kill(pids[0], signal.SIGSTOP)

    live(body, attrs={"broker.module-stop-timeout": "0.05"})
    assert [has_ended(pid) for pid in pids] == [True, True]


def test_a_loader_that_cannot_be_run_is_an_answer(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module_process.ModuleProcesses, "command", lambda *_: (f"{folder}/none", "x"))

    async def body(instance: Instance) -> None:
        with pytest.raises(RequestError, match="module 'far': No such file or directory"):
            await instance.load(f"{folder}/far.py", as_process=True)
        assert instance.modules(0) == []

    live(body)


def test_on_a_rank_below_its_last_line_reaches_the_root(folder: Path) -> None:
    async def body(instance: Instance) -> None:
        await instance.load(f"{folder}/far.py", as_process=True, rank=2)
        client = instance.client()
        with pytest.raises(RequestError, match="module disconnect"):
            await client.call("far.exit", nodeid=2)
        while not (lines := instance.broker(0).log.lines()):
            await instance.sleep(0.005)
        assert (
            " 2 far - - - module runtime failure: process " in lines[0] and "exited with code 7" in lines[0]
        )

    live(body, size=3)


def test_virtual_time_refuses_it_with_the_way_out(folder: Path) -> None:
    async def main() -> None:
        async with brokersim.open_instance(modules=()) as instance:
            with pytest.raises(RequestError, match="start the instance with --clock real") as caught:
                await instance.load(f"{folder}/far.py", as_process=True)
            assert caught.value.errno == ENOTSUP

    brokersim.run(main)


def test_a_status_from_somebody_who_is_no_module_says_nothing(folder: Path) -> None:
    async def body(instance: Instance) -> None:
        await instance.load(f"{folder}/near.py")
        handle = instance.broker(0).module("near")
        await instance.client().call("module.status", {"status": 3})
        assert instance.module(0, "near").status == 1 and handle.module is not None
        with pytest.raises(RequestError, match=r"error decoding module\.status request") as caught:
            await instance.client().call("module.status", {})
        assert caught.value.errno == EPROTO

    live(body)
