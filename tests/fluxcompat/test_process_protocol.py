"""Modules as processes, both ends against independent code: our loader under a minimal broker, and the reverse."""

from __future__ import annotations

import shutil
import stat
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
import trio

import brokersim
from brokersim.instance import Instance
from brokersim.protocol.errnums import RequestError
from tests.fluxcompat.minimal_broker import BROKER, CLIENT, UUID, MinimalBroker

ROOT = Path(__file__).parents[2]
OURS = (sys.executable, "-m", "brokersim.fluxapi.exec")
FLUX_FILE = """\
import os, signal
from flux.brokermod import BrokerModule, event_handler, request_handler

class M(BrokerModule):
    def __init__(self, h, *args):
        super().__init__(h, *args)
        if "bad" in args:
            raise ValueError("bad arguments")
        self.log.info("made")
        self.order = []
        self.events = []

    @event_handler("noted")
    def noted(self, msg):
        self.events.append(msg.payload["n"])

    @event_handler("other", prefix=False)
    def other(self, msg):
        pass

    @request_handler("echo", allow_guest=True)
    def echo(self, msg):
        self.handle.respond(msg, {"args": self.args, "user": msg.userid, **msg.payload})

    @request_handler("owner")
    def owner(self, msg):
        self.handle.respond(msg)

    @request_handler("ask")
    def ask(self, msg):
        self.order.append("asks")
        value = self.handle.rpc("far.value", {"depth": 1}).get()["value"]
        value += self.handle.rpc("far.value", {"depth": 2}).get()["value"]
        self.order.append("asked")
        self.handle.respond(msg, {"value": value, "events": self.events})

    @request_handler("order")
    def ordered(self, msg):
        self.order.append("order")
        self.handle.respond(msg, {"order": self.order, "events": self.events})

    @request_handler("fail")
    def fail(self, msg):
        raise OSError(28, "full")

    @request_handler("big")
    def big(self, msg):
        self.handle.respond(msg, {"got": len(msg.payload["pad"]), "pad": "x" * 3_000_000})

    @request_handler("patience")
    def patience(self, msg):
        try:
            self.handle.rpc("far.never", {}).wait_for(0.05)
        except OSError as error:
            self.handle.respond(msg, {"errnum": error.errno})

    @request_handler("closed")
    def closed(self, msg):
        read, write = os.pipe()
        self.fd = self.handle.fd_watcher_create(read, lambda *_: None, 1).start()
        os.close(read)

    @request_handler("attrs")
    def attrs(self, msg):
        found = [self.handle.attr_get(name) for name in ("hostlist", "color", "color")]
        try:
            self.handle.attr_get("nosuch")
        except OSError as error:
            found.append(error.errno)
        self.handle.respond(msg, {"found": found})

    @request_handler("spin")
    def spin(self, msg):
        h, turns, calls = self.handle, [], []
        def idle(handle, watcher, *_):
            calls.append(1)
            if len(calls) == 1000:
                watcher.stop()
                prepare.stop()
                h.respond(msg, {"turns": len(turns), "calls": len(calls), "order": self.order})
        prepare = h.prepare_watcher_create(lambda *_: turns.append(1)).start()
        self.idle = h.idle_watcher_create(idle).start()

    @request_handler("hooks")
    def hooks(self, msg):
        seen = []
        h = self.handle
        read, write = os.pipe()
        def fd(handle, watcher, fd, revents, args):
            seen.append("fd"); watcher.stop()
        def timer(*_):
            seen.append("timer")
            os.kill(os.getpid(), signal.SIGUSR1)
        def on_signal(handle, watcher, signum, args):
            seen.append("signal" if signum == signal.SIGUSR1 else signum)
            self.prepares[0].stop()
            h.respond(msg, {"seen": seen})
        self.prepares = [h.prepare_watcher_create(lambda *_: seen.append("p1")).start(),
                         h.prepare_watcher_create(lambda *_: seen.append("p2"))]
        self.prepares[1].start()
        self.checks = h.check_watcher_create(lambda *_: seen.append("c")).start()
        self.fd = h.fd_watcher_create(read, fd, 1).start()
        self.signal = h.signal_watcher_create(signal.SIGUSR1, on_signal).start()
        self.timer = h.timer_watcher_create(0.0, timer).start()
        os.write(write, b"x")
"""


@pytest.fixture
def module(tmp_path: Path) -> Callable[..., MinimalBroker]:
    path = tmp_path / "m.py"
    path.write_text(FLUX_FILE)

    def make(*args: str) -> MinimalBroker:
        return MinimalBroker((*OURS, str(path)), *args)

    return make


# -- our loader under the minimal broker


def test_our_loader_starts_serves_and_ends_as_the_protocol_has_it(
    module: Callable[..., MinimalBroker],
) -> None:
    with module("one", "two") as broker:
        broker.until_running()
        assert broker.subscriptions == ["m.stats-clear", "m.noted", "other"]
        # Flux's own figure for a module with two event handlers and one log line: five requests sent.
        assert sorted(topic for _, topic in broker.seen) == [
            *["event.subscribe"] * 3,
            "log.append",
            "module.status",
        ]
        echo = broker.call("m.echo", {"a": 1})
        assert echo.json == {"args": ["one", "two"], "user": 0, "a": 1}
        stats = broker.call("m.stats-get").json
        assert (stats["tx"]["request"], stats["rx"]["request"], stats["rx"]["response"]) == (5, 3, 3)
        assert broker.call("m.nosuch").text == "Unknown service method 'm.nosuch'"
        route = broker.call("m.ping", {"seq": 1}).json["route"].split("!")
        assert route == [CLIENT.decode()[:8], BROKER.decode()[:8], UUID[:8]]
        assert broker.end() == (0, 0)


def test_roles_are_the_modules_to_check(module: Callable[..., MinimalBroker]) -> None:
    with module() as broker:
        broker.until_running()
        guest = {"userid": 4242, "rolemask": 2}
        assert broker.call("m.echo", {}, **guest).json["user"] == 4242
        refused = broker.call("m.owner", **guest)
        assert (refused.errnum, refused.text) == (1, "Request requires owner credentials")


def test_a_blocking_get_puts_what_comes_meanwhile_back_in_order(module: Callable[..., MinimalBroker]) -> None:
    with module() as broker:
        broker.until_running()
        tag = broker.send("m.ask")
        first = broker.request_of("far.value")
        order = broker.send("m.order")
        broker.publish("m.noted", {"n": 7})
        broker.services["far.value"] = lambda payload: {"value": 10 * payload["depth"]}
        broker.answer_service(first)
        assert broker.answer(tag).json == {"value": 30, "events": []}
        assert broker.answer(order).json == {"order": ["asks", "asked", "order"], "events": []}
        assert broker.call("m.order").json["events"] == [7]


def test_watchers_turn_in_libevs_order(module: Callable[..., MinimalBroker]) -> None:
    with module() as broker:
        broker.until_running()
        seen = broker.call("m.hooks").json["seen"]
        # The prepare of the turn that follows, newest first; its check; then the timer before the descriptor,
        # which were pending together; the signal that the timer raised wakes the poll of the next turn.
        assert seen == ["p2", "p1", "c", "timer", "fd", "p2", "p1", "c", "signal"]


def test_an_idle_watcher_makes_every_turn_one_and_messages_still_come(
    module: Callable[..., MinimalBroker],
) -> None:
    with module() as broker:
        broker.until_running()
        spinning, other = broker.send("m.spin"), broker.send("m.order")
        assert broker.answer(other).errnum == 0, "answered while it spins"
        found = broker.answer(spinning).json
        # A turn that a message began is none for idle watchers; every other is.
        assert found["calls"] == 1000 and 1000 <= found["turns"] <= 1003


def test_two_ends_that_write_at_once_do_not_block_each_other(module: Callable[..., MinimalBroker]) -> None:
    with module() as broker:
        broker.until_running()
        tags = [broker.send("m.big", {"pad": "x" * 2_000_000}) for _ in range(3)]  # not read meanwhile
        for tag in tags:
            found = broker.answer(tag).json
            assert (found["got"], len(found["pad"])) == (2_000_000, 3_000_000)


def test_a_wait_may_end_before_its_answer(module: Callable[..., MinimalBroker]) -> None:
    with module() as broker:
        broker.until_running()
        assert broker.call("m.patience").json == {"errnum": 110}
        assert broker.call("m.order").errnum == 0
        assert broker.end() == (0, 0)


def test_a_descriptor_closed_under_its_watcher_ends_the_module_with_the_reason(
    module: Callable[..., MinimalBroker],
) -> None:
    with module() as broker:
        broker.until_running()
        broker.send("m.closed")
        assert broker.expect_end() == (9, 0)
        logged = [frame.payload or b"" for frame in broker.inbox if frame.topic == "log.append"]
        assert b"is watched but has been closed; stop the watcher first" in logged[-1]


def test_attributes_that_may_change_are_asked_for_each_time(module: Callable[..., MinimalBroker]) -> None:
    colors = iter(("red", "blue"))
    with module() as broker:
        broker.until_running()
        broker.services["attr.get"] = lambda payload: (
            {"value": next(colors), "flags": 0} if payload["name"] == "color" else 2
        )
        assert broker.call("m.attrs").json == {"found": ["vm", "red", "blue", 2]}


def test_the_debug_mask_is_kept_and_told(module: Callable[..., MinimalBroker]) -> None:
    with module() as broker:
        broker.until_running()
        assert broker.call("m.debug", {"op": "setbit", "flags": 0x1000}).json == {"flags": 0x1000}
        assert broker.call("m.debug", {"op": "clr", "flags": 0}).json == {"flags": 0}
        assert broker.call("m.debug", {"op": "zap", "flags": 0}).errnum == 71


def test_an_exception_ends_it_with_its_errnum(module: Callable[..., MinimalBroker]) -> None:
    with module() as broker:
        broker.until_running()
        broker.send("m.fail")
        waiting = broker.send("m.order")
        log = broker.request_of("log.append")
        while b"ended by" not in (log.payload or b""):
            log = broker.request_of("log.append")
        assert b"ended by OSError: [Errno 28] full (m.py:" in (log.payload or b"")
        assert broker.expect_end() == (28, 0)
        assert broker.answer(waiting).errnum == 38, "what was queued at the end gets ENOSYS"
    with module("bad") as broker:
        assert broker.expect_end() == (22, 0)


def test_our_loader_ends_when_the_broker_goes_and_explains_itself_by_hand(
    module: Callable[..., MinimalBroker], tmp_path: Path
) -> None:
    with module() as broker:
        broker.until_running()
        broker.socket.close()
        assert broker.process.wait(20) == 1
    from brokersim.fluxapi.exec import main

    assert main([str(tmp_path / "m.py")]) == 2


# -- our broker over the minimal loader

MINIMAL_FILE = """\
def echo(h, request):
    h.respond(request, {"rank": h.welcome["attrs"]["rank"], **request.json})

def ask(h, request):
    h.respond(request, {"value": h.call("attr.get", {"name": "size"}).json["value"]})

def fail(h, request):
    raise OSError(28, "full")

def noted(h, event):
    h.publish("far.noted", {"seq": event.aux1, **event.json})

def add(h, request):
    h.respond(request, {"errnum": h.call("service.add", request.json).errnum})

def debug(h, request):
    h.respond(request, {"flags": request.json["flags"]})

def mod_main(h, *args):
    if "bad" in args:
        raise ValueError("bad arguments")
    for method in (echo, ask, fail, add, debug):
        h.serve(method.__name__, method)
    h.subscribe("noted")
    h.methods["noted"] = noted
    h.log("starts")
    print("to stdout", flush=True)
    h.run()
"""


@pytest.fixture
def flux_on_path(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A ``flux`` command that is the minimal loader; returns a module file for it."""
    command = tmp_path / "bin" / "flux"
    command.parent.mkdir()
    command.write_text(
        f"#!{sys.executable} -P\n"
        f"import sys; sys.path.insert(0, {str(ROOT)!r})\n"
        "from tests.fluxcompat.minimal_loader import main; sys.exit(main())\n"
    )
    command.chmod(command.stat().st_mode | stat.S_IXUSR)
    monkeypatch.setenv("PATH", str(command.parent), prepend=":")
    path = tmp_path / "far.py"
    path.write_text(MINIMAL_FILE)
    return path


def run_real(body: Callable[[Instance], object]) -> None:
    async def main() -> None:
        with trio.fail_after(30):
            async with brokersim.open_instance(modules=(), clock="real") as instance:
                await body(instance)

    brokersim.run(main, clock="real")


def test_our_broker_runs_a_module_under_fluxs_loader(flux_on_path: Path) -> None:
    async def body(instance: Instance) -> None:
        await instance.load(str(flux_on_path), as_process=True, loader="flux")
        client = instance.client()
        assert await client.call("far.echo", {"a": 1}) == {"rank": "0", "a": 1}
        assert await client.call("far.ask") == {"value": "1"}
        with pytest.raises(RequestError, match=r"Unknown service method .far\.nosuch."):
            await client.call("far.nosuch")
        assert await client.call("far.add", {"service": "more"}) == {"errnum": 0}
        assert await client.call("far.add", {"service": "attr"}) == {"errnum": 17}
        await client.call("far.debug", {"op": "setbit", "flags": 0x1000})
        handle = instance.broker(0).module("far")
        assert handle.mask == 0x1000
        # Requests: 2 subscriptions, the log line, module.status, attr.get, 2 service.add. Received: the welcome and 6
        # calls; the answers to all that wants one.
        assert handle.counts[:4] == [7, 7, 6, 5]
        lines = [line.partition(" 0 far - - - ")[2] for line in instance.broker(0).log.lines()]
        assert sorted(lines) == ["starts", "to stdout"]
        await instance.remove("far")
        assert instance.modules(0) == []

    run_real(body)


def test_what_a_foreign_loader_says_of_its_end_reaches_callers_and_the_log(flux_on_path: Path) -> None:
    async def body(instance: Instance) -> None:
        with pytest.raises(RequestError, match="ValueError: bad arguments") as caught:
            await instance.load(str(flux_on_path), "bad", as_process=True, loader="flux")
        assert caught.value.errno == 22
        await instance.load(str(flux_on_path), as_process=True, loader="flux")
        with pytest.raises(RequestError, match="module disconnect") as caught:
            await instance.client().call("far.fail")
        assert caught.value.errno == 113
        assert "No space left on device (ENOSPC)" in instance.broker(0).log.lines()[-1]

    run_real(body)


@pytest.mark.skipif(
    shutil.which("flux") is None, reason="REAL FLUX NOT CHECKED: no command 'flux' on the PATH"
)
def test_our_broker_runs_a_module_under_the_real_flux_loader(tmp_path: Path) -> None:
    path = tmp_path / "m.py"
    path.write_text(FLUX_FILE)

    async def body(instance: Instance) -> None:
        await instance.load(str(path), "one", as_process=True, loader="flux")
        client = instance.client()
        assert (await client.call("m.echo", {"a": 1}))["args"] == ["one"]
        assert (await client.call("m.stats-get"))["tx"]["request"] == 5
        with pytest.raises(RequestError, match="module disconnect"):
            await client.call("m.fail")

    run_real(body)


def test_without_flux_the_loader_is_refused_with_the_reason(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    path = tmp_path / "far.py"
    path.write_text(MINIMAL_FILE)

    async def body(instance: Instance) -> None:
        with pytest.raises(RequestError, match="no command 'flux' on the broker's PATH"):
            await instance.load(str(path), as_process=True, loader="flux")
        with pytest.raises(RequestError, match="no loader 'lua'"):
            await instance.load(str(path), as_process=True, loader="lua")

    run_real(body)
