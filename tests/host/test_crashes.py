"""A module that crashes answers its callers with EHOSTUNREACH (113) and leaves everybody else running."""

from __future__ import annotations

from typing import Any

import pytest

from brokersim.instance import Instance
from brokersim.protocol.errnums import EHOSTUNREACH, EINVAL, EIO, ENOSYS, RequestError
from brokersim.reactor import standstill
from tests.host.live import live, refused, write

CRASHING = """
    @request_handler("sync")
    def sync(self, msg):
        1/0

    @request_handler("step")
    async def step(self, msg):
        await self.handle.sleep(0.1)
        1/0

    @request_handler("task")
    @trio_task
    async def task(self, msg):
        await trio.sleep(0.1)
        1/0

    @request_handler("timer")
    def timer(self, msg):
        self.handle.call_later(0.1, lambda: 1/0)

    @request_handler("watcher")
    def watcher(self, msg):
        self.handle.prepare_watcher_create(lambda *_: 1/0).start()

    @request_handler("check")
    def check(self, msg):
        self.handle.check_watcher_create(lambda *_: 1/0).start()
        self.handle.call_later(0.1, lambda: None)

    @request_handler("continuation")
    def continuation(self, msg):
        self.handle.request("kinds.sync", None, lambda *_: 1/0)

    @request_handler("then")
    def then(self, msg):
        self.handle.rpc("kinds.refuse").then(lambda future: future.get())

    @request_handler("spawned")
    def spawned(self, msg):
        self.handle.spawn(self.later())

    @request_handler("started")
    def started(self, msg):
        self.handle.start_task(self.later)

    async def later(self):
        await self.handle.sleep(0.1)
        1/0

    @request_handler("event")
    def event(self, msg):
        self.handle.publish("crash.now")

    @event_handler("now")
    def now(self, msg):
        1/0

    @request_handler("exits")
    def exits(self, msg):
        raise OSError(errnums.ENOSPC, "full")

    @request_handler("awaits")
    async def awaits(self, msg):
        await trio.sleep(1.0)

    @request_handler("stats")
    def stats_(self, msg):
        self.handle.request("crash.stats-get", None, lambda *_: None)

    def stats(self):
        1/0

    @request_handler("stop_error")
    def stop_error_(self, msg):
        self.stop_error()

    @request_handler("hold")
    def hold(self, msg):
        pass
"""
PLACES = [
    "sync", "step", "task", "timer", "watcher", "check", "continuation", "then", "spawned", "started", "event", "exits",
    "awaits", "stats", "stop_error",
]  # fmt: skip


@pytest.mark.parametrize("place", PLACES)
def test_a_crash_answers_the_callers_and_leaves_the_rest_running(tmp_path, place):
    path = write(tmp_path, "crash", CRASHING)

    async def body(instance: Instance) -> None:
        await instance.load(path, rank=0)
        client = instance.client(1)
        got: list[tuple[str, int]] = []

        def note(response: Any, what: str) -> None:
            got.append((what, response.errnum))

        client.request("crash.hold", None, note, "waiting")
        await instance.sleep(0.01)
        client.request(f"crash.{place}", None, note, "culprit")
        await instance.sleep(1.0)
        assert got == [("waiting", EHOSTUNREACH), ("culprit", EHOSTUNREACH)]
        assert [module.name for module in instance.modules(0)] == ["kinds"]
        (line,) = (line for line in instance.broker(0).log.lines() if " crash " in line)
        assert "ended by " in line
        assert (await client.call("kinds.task", nodeid=0))["inner"] == "step"
        await instance.load(path, rank=0)  # and it can come back
        assert "crash" in instance.broker(0).services

    live(body, "kinds", size=2)


def test_what_waited_behind_a_crash_is_answered_once_streams_too(tmp_path):
    path = write(tmp_path, "crash", CRASHING)

    async def body(instance: Instance) -> None:
        await instance.load(path)
        client = instance.client()
        got: list[tuple[str, int]] = []
        client.request("crash.sync", None, lambda response, _: got.append(("culprit", response.errnum)))
        client.stream("crash.hold", None, lambda response, _: got.append(("stream", response.errnum)))
        client.request("crash.hold", None, lambda response, _: got.append(("request", response.errnum)))
        await instance.sleep(0.1)
        assert sorted(got) == [("culprit", EHOSTUNREACH), ("request", ENOSYS), ("stream", ENOSYS)]
        assert client.stray == 0

    live(body)


@pytest.mark.parametrize(
    ("place", "text"), [("sync", "ZeroDivisionError: division by zero (crash.py:"), ("exits", "full")]
)
def test_the_log_says_what_where_and_at_which_message(tmp_path, place, text):
    path = write(tmp_path, "crash", CRASHING)

    async def body(instance: Instance) -> None:
        await instance.load(path)
        with refused(EHOSTUNREACH):
            await instance.client().call(f"crash.{place}")
        (line,) = instance.broker(0).log.lines()
        assert line.startswith("<24>1 ")  # severity err
        assert text in line
        assert f"in request crash.{place}" in line

    live(body)


def test_a_stepped_handler_that_awaits_trio_is_told_what_to_do(tmp_path):
    path = write(tmp_path, "crash", CRASHING)

    async def body(instance: Instance) -> None:
        await instance.load(path)
        with refused(EHOSTUNREACH):
            await instance.client().call("crash.awaits")
        (line,) = instance.broker(0).log.lines()
        assert "may await only its handle's waits" in line
        assert "use @trio_task for trio" in line

    live(body)


@pytest.mark.parametrize("kind", ["sync", "step", "task"])
def test_a_refusal_by_any_kind_of_handler_is_an_answer_and_no_crash(tmp_path, kind):
    path = write(
        tmp_path,
        "refusing",
        """
        @request_handler("sync")
        def sync(self, msg):
            raise RequestError(errnums.EINVAL, "not so")

        @request_handler("step")
        async def step(self, msg):
            await self.handle.sleep(0.1)
            raise RequestError(errnums.EINVAL, "not so")

        @request_handler("task")
        @trio_task
        async def task(self, msg):
            await trio.sleep(0.1)
            raise RequestError(errnums.EINVAL, "not so")
        """,
    )

    async def body(instance: Instance) -> None:
        await instance.load(path)
        for _ in range(2):
            with refused(EINVAL, "not so"):
                await instance.client().call(f"refusing.{kind}")

    live(body)


@pytest.mark.parametrize("kind", ["prepare", "check", "idle"])
def test_a_refusal_raised_by_a_watcher_ends_its_module_and_is_nobodys_answer(tmp_path, kind):
    path = write(
        tmp_path,
        "watching",
        f"""
        @request_handler("start")
        def start(self, msg):
            self.handle.{kind}_watcher_create(self.refuse).start()
            self.handle.respond(msg, {{"started": True}})

        def refuse(self, *args):
            raise RequestError(errnums.EINVAL, "watchers answer nobody")
        """,
    )

    async def body(instance: Instance) -> None:
        await instance.load(path)
        client = instance.client()
        assert await client.call("watching.start") == {"started": True}
        client.request("watching.start")
        await instance.sleep(0.1)
        assert instance.modules(0) == []
        assert "watchers answer nobody" in instance.broker(0).log.lines()[0]

    live(body)


def test_a_flooding_module_is_ended_and_named(tmp_path, monkeypatch):
    monkeypatch.setattr(standstill, "FLOOD", 2000)
    path = write(
        tmp_path,
        "flood",
        """
        @event_handler("more")
        def more(self, msg):
            self.handle.publish("flood.more")
            self.handle.publish("flood.more")

        @request_handler("start")
        def start(self, msg):
            self.handle.publish("flood.more")
        """,
    )

    async def body(instance: Instance) -> None:
        await instance.load(path)
        client = instance.client()
        with refused(EHOSTUNREACH):
            await client.call("flood.start")
        (line,) = instance.broker(0).log.lines()
        assert " flood " in line
        assert "messages queued, the limit is 2000" in line
        assert (await client.call("kinds.sync"))["rank"] == 0

    live(body, "kinds")


def test_a_module_that_spins_without_end_under_the_virtual_clock_is_ended_and_told_why(tmp_path, monkeypatch):
    path = write(
        tmp_path,
        "spinning",
        """
        @request_handler("start")
        def start(self, msg):
            self.handle.idle_watcher_create(self.toggle).start()
            self.other = self.handle.idle_watcher_create(None)

        def toggle(self, *args):
            self.other.stop() if self.handle.loop.nonblocking > 1 else self.other.start()
        """,
    )

    async def body(instance: Instance) -> None:
        await instance.load(path)
        client = instance.client()
        with refused(EHOSTUNREACH):
            await client.call("spinning.start")
        assert "let spinning cost time with cost=CostModel()" in instance.broker(0).log.lines()[0]
        await instance.sleep(10.0)

    live(body)


def test_a_failing_service_of_the_broker_itself_is_answered_and_logged(monkeypatch):
    async def body(instance: Instance) -> None:
        monkeypatch.setattr(instance, "messages", lambda: 1 / 0)
        client = instance.client()
        with refused(EIO, "broker.status failed in the broker: ZeroDivisionError"):
            await client.call("broker.status")
        assert "broker.status failed: ZeroDivisionError" in instance.broker(0).log.lines()[0]
        assert (await client.call("broker.ping", {}))["rank"] == 0

    live(body)


EXITING = """
    @request_handler("sync")
    def sync(self, msg):
        raise SystemExit(3)

    @request_handler("step")
    async def step(self, msg):
        await self.handle.sleep(0.1)
        raise SystemExit(3)

    @request_handler("task")
    @trio_task
    async def task(self, msg):
        await trio.sleep(0.1)
        raise SystemExit(3)

    @request_handler("timer")
    def timer(self, msg):
        self.handle.call_later(0.1, exit)

    @request_handler("watcher")
    def watcher(self, msg):
        self.handle.prepare_watcher_create(lambda *_: exit()).start()

    @request_handler("blocking")
    def blocking(self, msg):
        self.handle.rpc("attr.get", {"name": "rank"}).get()
        raise SystemExit(3)

    async def teardown(self):
        raise SystemExit(3)
"""


INTERRUPTING = (
    EXITING.replace("SystemExit(3)", "KeyboardInterrupt").replace("exit", "self.interrupt")
    + """
    def interrupt(self, *_):
        raise KeyboardInterrupt

    @request_handler("group")
    @trio_task
    async def group(self, msg):
        async with trio.open_nursery() as nursery:
            nursery.start_soon(self.both, "sleep")
            nursery.start_soon(self.both, "raise")

    async def both(self, what):
        await trio.sleep(10 if what == "sleep" else 0.1)
        raise KeyboardInterrupt
"""
)


@pytest.mark.parametrize("method", ["sync", "step", "task", "timer", "watcher", "blocking", "group"])
def test_a_KeyboardInterrupt_of_a_modules_own_ends_it_and_not_the_instance(
    tmp_path: Any, method: str
) -> None:
    path = write(tmp_path, "interrupting", INTERRUPTING)

    async def body(instance: Instance) -> None:
        await instance.load(path)
        with refused(EHOSTUNREACH):
            await instance.client().call(f"interrupting.{method}")
        assert "KeyboardInterrupt" in instance.broker(0).log.lines()[-1] or method == "group"
        assert instance.modules(0) == []

    live(body)


@pytest.mark.parametrize("where", ["", "def __init__(self, h): raise KeyboardInterrupt"])
def test_a_KeyboardInterrupt_at_import_or_start_fails_the_load(tmp_path: Any, where: str) -> None:
    path = write(tmp_path, "early", f"    {where or 'raise KeyboardInterrupt'}\n" + EXITING)

    async def body(instance: Instance) -> None:
        with pytest.raises(RequestError, match="KeyboardInterrupt"):
            await instance.load(path)
        assert instance.modules(0) == []

    live(body)


def test_the_terminals_interrupt_ends_the_program_whatever_runs(tmp_path: Any) -> None:
    """Trio's handler raises it inside the module's code; it is no failure of the module."""
    path = write(
        tmp_path,
        "busy",
        """
    @request_handler("go")
    def go(self, msg):
        import os, signal
        os.kill(os.getpid(), signal.SIGINT)
        for _ in range(10_000):
            pass
""",
    )

    async def body(instance: Instance) -> None:
        await instance.load(path)
        await instance.client().call("busy.go")

    with pytest.raises(BaseException) as caught:  # KeyboardInterrupt, or a group of it
        live(body)
    assert "KeyboardInterrupt" in repr(caught.value)


@pytest.mark.parametrize("error", [KeyboardInterrupt, RuntimeError])
def test_what_ends_the_loop_in_the_middle_of_the_end_is_all_that_is_raised(
    error: type[BaseException],
) -> None:
    """And not, beside it, that nobody is left to answer: ^C would come out as a group that has a fault in it."""

    def raises() -> None:
        raise error

    async def body(instance: Instance) -> None:
        await instance.load("heartbeat")
        instance.runner.post(raises)

    with pytest.raises(BaseException) as caught:
        live(body)
    told = caught.value
    assert isinstance(told, error) or (isinstance(told, BaseExceptionGroup) and told.split(error)[1] is None)


@pytest.mark.parametrize("method", ["sync", "step", "task", "timer", "watcher", "blocking"])
def test_sys_exit_in_a_callback_ends_its_module_and_not_the_instance(tmp_path: Any, method: str) -> None:
    path = write(tmp_path, "exiting", EXITING)

    async def body(instance: Instance) -> None:
        await instance.load(path)
        with refused(EHOSTUNREACH):
            await instance.client().call(f"exiting.{method}")
        lines = instance.broker(0).log.lines()
        assert "ended by SystemExit" in lines[-1]
        await instance.load(path)
        await instance.remove("exiting")
        assert instance.modules(0) == []
        assert "teardown raises SystemExit" in instance.broker(0).log.lines()[-1]

    live(body)


# -- livelock: virtual time that stands still

RESTLESS = """
    @request_handler("ring")
    def ring(self, msg):
        self.handle.request(f"{self.args[0]}.ring")

    @request_handler("ask")
    async def ask(self, msg):
        while True:
            await self.handle.call("attr.get", {"name": "rank"})

    @request_handler("sleepless")
    async def sleepless(self, msg):
        while True:
            await self.handle.sleep(0)

    @request_handler("timer")
    def timer(self, msg=None):
        self.handle.call_later(0, self.timer)

    @request_handler("idle")
    def idle(self, msg):
        self.handle.respond(msg)
"""


@pytest.fixture
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(standstill, "LIVELOCK", 50_000)
    monkeypatch.setattr(standstill, "TIMER_LIVELOCK", 20_000)


def test_modules_that_keep_virtual_time_still_are_named_and_failed(tmp_path: Any, impatient: None) -> None:
    path = write(tmp_path, "restless", RESTLESS)

    async def body(instance: Instance) -> None:
        for name, peer in (("a", "b"), ("b", "c"), ("c", "a"), ("quiet", "")):
            await instance.load(path, peer, name=name)
        instance.client().request("a.ring")
        await instance.sleep(1)
        assert [module.name for module in instance.modules(0)] == ["quiet"]
        lines = [line.partition(" - - - ")[2] for line in instance.broker(0).log.lines()]
        assert len(lines) == 3
        assert all(
            line.startswith(
                "ended by Livelock: virtual time stands still after 50000 messages at one instant: "
            )
            and {"a sends b.ring", "b sends c.ring", "c sends a.ring"}
            == set(line.rpartition(": ")[2].split(", "))
            for line in lines
        ), lines
        await instance.client().call("quiet.idle")

    live(body)


@pytest.mark.parametrize("method", ["ask", "sleepless", "timer"])
def test_one_module_that_keeps_virtual_time_still_is_failed_alone(
    tmp_path: Any, impatient: None, method: str
) -> None:
    path = write(tmp_path, "restless", RESTLESS)

    async def body(instance: Instance) -> None:
        await instance.load(path, "")
        await instance.load(path, "", name="quiet")
        instance.client().request(f"restless.{method}")
        await instance.sleep(1)
        assert [module.name for module in instance.modules(0)] == ["quiet"]
        (line,) = instance.broker(0).log.lines()
        assert "ended by Livelock: virtual time stands still after" in line and "restless" in line

    live(body)


def test_much_work_at_one_instant_is_no_livelock(tmp_path: Any, impatient: None) -> None:
    path = write(tmp_path, "restless", RESTLESS)

    async def body(instance: Instance) -> None:
        await instance.load(path, "")
        client = instance.client()
        answers: list[int] = []
        for _ in range(20):
            for _ in range(2000):
                client.request("restless.idle", None, lambda answer, _: answers.append(answer.errnum))
            await client.call("restless.idle")
        assert answers == [0] * 40_000

    live(body)


ODD = """
    class Bare(BaseException):
        def __str__(self):
            raise RuntimeError

    ODD = (Bare, GeneratorExit, lambda: BaseExceptionGroup("x", [KeyboardInterrupt()]), lambda: ValueError("\\udcff"))

    def odd(self, *_):
        raise self.ODD[int(self.name[-1])]()

    def __init__(self, h, *args):
        super().__init__(h, *args)
        if args == ("start",):
            self.odd()

    @request_handler("sync")
    def sync(self, msg):
        self.odd()

    @request_handler("step")
    async def step(self, msg):
        await self.handle.sleep(0.1)
        self.odd()

    @request_handler("timer")
    def timer(self, msg):
        self.handle.call_later(0.1, self.odd)

    @request_handler("continuation")
    def continuation(self, msg):
        self.handle.request("attr.get", {"name": "size"}, self.odd)

    @request_handler("watcher")
    def watcher(self, msg):
        self.handle.check_watcher_create(self.odd).start()
        self.handle.call_later(0.1, lambda: None)

    @request_handler("event")
    def event(self, msg):
        self.handle.publish("crash.odd")

    @event_handler("crash.odd", prefix=False)
    def heard(self, msg):
        self.odd()

    @request_handler("stats")
    def stats_(self, msg):
        self.handle.request(f"{self.name}.stats-get", None, lambda *_: None)

    def stats(self):
        self.odd()

    def teardown(self):
        self.odd()
"""


@pytest.mark.parametrize("number", range(4))
def test_whatever_a_module_raises_wherever_ends_it_alone_and_is_told(tmp_path: Any, number: int) -> None:
    """No Exception, or one whose text is none: each is a failure of who raised it."""
    path, name = write(tmp_path, "odd", ODD), f"odd{number}"

    async def body(instance: Instance) -> None:
        for place in ("sync", "step", "timer", "continuation", "watcher", "event", "stats"):
            await instance.load(path, name=name)
            with refused(EHOSTUNREACH):
                await instance.client().call(f"{name}.{place}")
            assert "ended by" in instance.broker(0).log.lines()[-1]
        with pytest.raises(RequestError, match="raises at start: "):
            await instance.load(path, "start", name=name)
        await instance.load(path, name=name)
        await instance.remove(name)
        assert "teardown raises" in instance.broker(0).log.lines()[-1]
        assert instance.modules(0) == []

    live(body)


@pytest.mark.parametrize("number", [-5, 1 << 40])
def test_an_errnum_that_no_message_carries_is_told_as_EINVAL(tmp_path: Any, number: int) -> None:
    path = write(
        tmp_path,
        "numbers",
        f"""
    def __init__(self, h, *args):
        super().__init__(h, *args)
        if args:
            raise {{"ours": RequestError, "os": OSError}}[args[0]]({number}, "so")

    @request_handler("ask")
    def ask(self, msg):
        raise RequestError({number}, "so")
""",
    )

    async def body(instance: Instance) -> None:
        with pytest.raises(RequestError, match=f"{number} is no errnum: so") as caught:
            await instance.load(path, "ours")
        assert caught.value.errno == EINVAL
        with pytest.raises(RequestError, match="raises at start: OSError"):
            await instance.load(path, "os")
        await instance.load(path)
        with pytest.raises(RequestError, match=f"{number} is no errnum: so"):
            await instance.client().call("numbers.ask")

    live(body)
