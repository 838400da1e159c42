"""Blocking `future.get()` in synchronous handlers: the module waits, the others do not."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

import brokersim
from brokersim.instance import Instance
from brokersim.protocol.errnums import EDEADLK, EHOSTUNREACH, EINVAL, ENOSYS, ETIMEDOUT
from brokersim.reactor.cost import CostModel
from tests.host.live import live, refused, write

ASKER = """
    def __init__(self, h, *args):
        super().__init__(h, *args)
        self.seen = []
        self.hooks = []
    @request_handler("ask")
    def ask(self, msg):
        first = self.handle.rpc("slow.wait", {"seconds": 1}).get()
        second = self.handle.rpc("slow.wait", {"seconds": 2}).get()
        self.handle.respond(msg, {"answers": [first, second], "seen": list(self.seen), "at": self.handle.now()})
    @request_handler("note")
    def note(self, msg):
        self.seen.append(msg.payload["n"])
        self.handle.respond(msg, {"seen": list(self.seen), "at": self.handle.now()})
    @request_handler("refused")
    def refused(self, msg):
        self.handle.respond(msg, self.handle.rpc("nosuch.x").get())
    @request_handler("crash")
    def crash(self, msg):
        self.handle.rpc("slow.wait", {"seconds": 1}).get()
        raise KeyError("late")
    @request_handler("deny")
    def deny(self, msg):
        self.handle.rpc("slow.wait", {"seconds": 1}).get()
        raise RequestError(errnums.EINVAL, "late refusal")
    @request_handler("timeout")
    def timeout(self, msg):
        self.handle.rpc("slow.wait", {"seconds": 100}).wait_for(2.5)
    @request_handler("hooked")
    def hooked(self, msg):
        turns = []
        self.watcher = self.handle.prepare_watcher_create(lambda *_: turns.append(self.handle.now())).start()
        before = len(turns)
        self.handle.rpc("slow.wait", {"seconds": 1}).get()
        self.handle.respond(msg, {"during": len(turns) - before})
    @request_handler("timed")
    def timed(self, msg):
        fired = []
        self.handle.timer_watcher_create(0.5, lambda *_: fired.append(self.handle.now()), repeat=0.5).start()
        self.handle.rpc("slow.wait", {"seconds": 2}).get()
        during = list(fired)
        self.handle.call_later(0.1, lambda: self.handle.respond(msg, {"during": during, "after": list(fired)}))
    @request_handler("pair")
    def pair(self, msg):
        log = []
        def wait(handle, watcher, revents, name):
            log.append(f"{name} at {self.handle.now():g}")
            self.handle.rpc("slow.wait", {"seconds": 1}).get()
            log.append(f"{name} done at {self.handle.now():g}")
            if name == "second":
                self.handle.respond(msg, {"log": log})
        for name in ("first", "second"):
            self.handle.timer_watcher_create(0.5, wait, args=name).start()
    @request_handler("forever")
    def forever(self, msg):
        try:
            self.handle.rpc("slow.wait", {"seconds": 1e6}).get()
        finally:
            self.handle.log(6, "thrown out")
"""
SLOW = """
    @request_handler("wait")
    async def wait(self, msg):
        await self.handle.sleep(msg.payload["seconds"])
        self.handle.respond(msg, msg.payload)
"""


@pytest.fixture
def files(tmp_path: Path) -> tuple[str, str]:
    return write(tmp_path, "asker", ASKER), write(tmp_path, "slow", SLOW)


async def gather(instance: Instance, *calls: tuple[float, str, Any]) -> list[Any]:
    """Answers (or errnums) of calls sent at those times."""
    client = instance.client()
    answers: dict[int, Any] = {}

    def send(at: int) -> None:
        _, topic, payload = calls[at]
        client.request(topic, payload, lambda r, _: answers.__setitem__(at, r.errnum or r.data))

    for at, (seconds, _, _) in enumerate(calls):
        client.call_later(seconds, send, at)
    await instance.sleep(10)
    return [answers.get(at) for at in range(len(calls))]


@pytest.mark.parametrize("cost", [None, CostModel()])
def test_a_module_that_waits_is_blocked_and_handles_what_came_meanwhile_first_and_in_order(
    files: tuple[str, str], cost: CostModel | None
) -> None:
    async def body(instance: Instance) -> None:
        notes = [(0.1 * n, "asker.note", {"n": n}) for n in range(1, 6)]
        asked, *noted = await gather(instance, (0, "asker.ask", None), *notes)
        assert (asked["answers"], asked["seen"]) == ([{"seconds": 1}, {"seconds": 2}], [])
        assert [note["seen"][-1] for note in noted] == [1, 2, 3, 4, 5]
        assert all(note["at"] >= 3 for note in noted)
        if cost is None:
            assert [asked["at"], *(note["at"] for note in noted)] == [3.0] * 6

    live(body, *files, cost=cost)


def test_held_messages_are_counted_each_time_they_are_received(files: tuple[str, str]) -> None:
    """As in Flux: the temporary loop of a get receives them and puts them back; one asker makes two gets."""

    async def body(instance: Instance) -> None:
        counts = instance.broker(0).module("asker").counts
        before = list(counts)
        await gather(instance, (0, "asker.ask", None), (0.1, "asker.note", {"n": 1}))
        assert [now - then for now, then in zip(counts, before, strict=True)] == [2, 4, 2, 2, 0, 0, 0, 0]

    live(body, *files)


def test_other_modules_go_on_and_hooks_and_timers_of_the_blocked_one_wait(files: tuple[str, str]) -> None:
    async def body(instance: Instance) -> None:
        ask, direct = await gather(instance, (0, "asker.ask", None), (0.5, "slow.wait", {"seconds": 0.1}))
        assert direct == {"seconds": 0.1} and ask["at"] == 3.0
        client = instance.client()
        assert await client.call("asker.hooked") == {"during": 0}
        timed = await client.call("asker.timed")
        # four were due meanwhile: the late one comes, the next is due at once, as in libev; no burst
        assert (timed["during"], len(timed["after"])) == ([], 2)

    live(body, *files)


@pytest.mark.parametrize("cost", [None, CostModel()])
def test_of_two_timers_due_at_once_the_second_waits_while_the_first_one_blocks(
    files: tuple[str, str], cost: CostModel | None
) -> None:
    async def body(instance: Instance) -> None:
        log = (await instance.client().call("asker.pair"))["log"]
        assert [line.partition(" at")[0] for line in log] == ["first", "first done", "second", "second done"]
        if cost is None:
            assert [float(line.rpartition(" ")[2]) for line in log] == [0.5, 1.5, 1.5, 2.5]

    live(body, *files, cost=cost)


@pytest.mark.parametrize("hook", ["prepare", "check", "idle"])
@pytest.mark.parametrize("cost", [None, CostModel()])
def test_after_a_wait_the_hooks_of_the_module_run_as_before(
    files: tuple[str, str], hook: str, cost: CostModel | None
) -> None:
    async def body(instance: Instance) -> None:
        asker = instance.broker(0).module("asker")
        asker.set_mask(0x1000)
        client = instance.client()
        await client.call("asker.ask")
        await instance.sleep(1)
        for n in range(3):
            sent = asker.instrument.packets
            await client.call("asker.note", {"n": n})
            await instance.sleep(1)
            assert asker.instrument.packets > sent, f"nothing was sent after note {n}"

    live(body, *files, cost=cost, hook=hook, stats="mem:")


def test_errors_after_a_wait_are_answers_or_ends_as_they_would_be_before_it(files: tuple[str, str]) -> None:
    async def body(instance: Instance) -> None:
        client = instance.client()
        with refused(ENOSYS, "No service matching nosuch.x is registered"):
            await client.call("asker.refused")
        with refused(EINVAL, "late refusal"):
            await client.call("asker.deny")
        start = client.now()
        with refused(ETIMEDOUT, "slow.wait: no answer within 2.5 s"):
            await client.call("asker.timeout")
        assert client.now() == start + 2.5
        with refused(EHOSTUNREACH, "module disconnect"):
            await client.call("asker.crash")
        lines = list(instance.broker(0).log.lines())
        assert any(
            "ended by KeyError: 'late' (asker.py:" in line and "asker.crash" in line for line in lines
        ), lines
        assert await client.call("slow.wait", {"seconds": 0}) == {"seconds": 0}

    live(body, *files)


@pytest.mark.parametrize("length", [1, 2, 3])
def test_modules_that_wait_for_each_other_are_named(tmp_path: Path, length: int) -> None:
    names = [f"m{n}" for n in range(length)]
    paths = [
        write(
            tmp_path, name,
            f"""
            @request_handler("go")
            def go(self, msg):
                self.handle.respond(msg, self.handle.rpc("{names[(at + 1) % length]}.go").get())
            @request_handler("quick")
            def quick(self, msg): self.handle.respond(msg, {{}})
            """,
        )
        for at, name in enumerate(names)
    ]  # fmt: skip

    async def body(instance: Instance) -> None:
        client = instance.client()
        ring = names[-1:] + names
        with refused(EDEADLK, " waits for ".join(ring)):
            await client.call("m0.go")
        for name in names:
            assert await client.call(f"{name}.quick") == {}

    live(body, *paths)


def test_a_request_that_nobody_waits_for_breaks_no_circle(tmp_path: Path) -> None:
    first = write(
        tmp_path, "first",
        """
        @request_handler("go")
        def go(self, msg):
            self.handle.rpc("second.ask").then(lambda future: self.handle.respond(msg, future.get()))
        @request_handler("back")
        def back(self, msg):
            def noted(future):
                self.noted = future.get()
            self.handle.rpc("second.note").then(noted)
            self.handle.respond(msg, {"well": True})
        @request_handler("told")
        def told(self, msg): self.handle.respond(msg, self.noted)
        """,
    )  # fmt: skip
    second = write(
        tmp_path, "second",
        """
        @request_handler("ask")
        def ask(self, msg): self.handle.respond(msg, self.handle.rpc("first.back").get())
        @request_handler("note")
        def note(self, msg): self.handle.respond(msg, {"noted": True})
        """,
    )  # fmt: skip

    async def body(instance: Instance) -> None:
        client = instance.client()
        assert await client.call("first.go") == {"well": True}
        assert await client.call("first.told") == {"noted": True}

    live(body, first, second)


def test_waits_nest_over_modules_and_ranks(tmp_path: Path) -> None:
    nested = write(
        tmp_path, "nested",
        """
        @request_handler("down")
        def down(self, msg):
            n = msg.payload["n"]
            below = self.handle.rpc("nested.down", {"n": n - 1}, nodeid=n - 1).get()["sum"] if n else 0
            self.handle.respond(msg, {"sum": n + below})
        """,
    )  # fmt: skip

    async def body(instance: Instance) -> None:
        assert await instance.client(6).call("nested.down", {"n": 6}) == {"sum": 21}

    live(body, nested, size=7)


def test_unloading_a_module_throws_its_waiting_handler_out(files: tuple[str, str]) -> None:
    async def body(instance: Instance) -> None:
        client = instance.client()
        answers: list[Any] = []
        for topic in ("asker.forever", "asker.note"):
            client.request(topic, {"n": 1}, lambda r, _: answers.append(r.errnum))
        await instance.sleep(1)
        await instance.remove("asker")
        await instance.sleep(1)
        assert sorted(answers) == [ENOSYS, EHOSTUNREACH]
        assert any("thrown out" in line for line in instance.broker(0).log.lines())

    live(body, *files)


def test_where_nothing_can_wait_the_error_says_what_to_use(tmp_path: Path) -> None:
    path = write(
        tmp_path, "stepped",
        """
        @request_handler("go")
        async def go(self, msg):
            self.handle.rpc("broker.ping", {}).get()
        """,
    )  # fmt: skip

    async def body(instance: Instance) -> None:
        client = instance.client()
        with refused(EDEADLK, "use then(), or await call() in a coroutine"):
            await client.call("stepped.go")
        with refused(EDEADLK):
            client.rpc("broker.ping", {}).get()

    live(body, path)


def test_it_works_on_a_real_clock_too(files: tuple[str, str]) -> None:
    async def main() -> None:
        async with brokersim.open_instance(modules=files, clock="real*1000") as instance:
            answer = await instance.client().call("asker.ask")
            assert answer["answers"] == [{"seconds": 1}, {"seconds": 2}]

    brokersim.run(main, clock="real*1000")


def test_twenty_runs_give_one_order(files: tuple[str, str]) -> None:
    def once() -> list[Any]:
        found: list[Any] = []

        async def body(instance: Instance) -> None:
            calls = [(0.3 * n, "asker.ask", None) for n in range(3)]
            found.extend(
                await gather(instance, *calls, *((0.2 * n, "asker.note", {"n": n}) for n in range(9)))
            )

        live(body, *files)
        return found

    first = once()
    assert all(once() == first for _ in range(19))
