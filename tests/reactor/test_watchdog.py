"""A handler that holds the loop costs its own module, not the instance."""

from __future__ import annotations

import signal
import threading
from datetime import datetime
from pathlib import Path

import pytest

import brokersim
from brokersim.protocol.errnums import EHOSTUNREACH, RequestError
from brokersim.reactor.loop import Reactor
from brokersim.reactor.watchdog import watchdog

HANGING = """
import time
from brokersim.brokermod import BrokerModule, request_handler

class Hanging(BrokerModule):
    @request_handler("spin")
    def spin(self, msg):
        while True:
            pass

    @request_handler("sleep")
    def sleep(self, msg):
        time.sleep(60)

    @request_handler("swallow")
    def swallow(self, msg):
        try:
            time.sleep(60)
        except Exception:
            time.sleep(60)

    @request_handler("stubborn")
    def stubborn(self, msg):
        while True:
            try:
                time.sleep(60)
            except Exception:
                pass

    @request_handler("flood")
    def flood(self, msg):
        while True:
            self.handle.request("heartbeat.ping", {}, print)
"""


@pytest.mark.parametrize("method", ["spin", "sleep", "swallow", "stubborn"])
def test_a_handler_that_never_returns_ends_its_module_and_nothing_else(tmp_path: Path, method: str) -> None:
    path = tmp_path / "hanging.py"
    path.write_text(HANGING)

    async def main() -> None:
        async with brokersim.open_instance(modules=[str(path), "heartbeat"], watchdog=0.1) as instance:
            client = instance.client()
            with pytest.raises(RequestError) as caught:
                await client.call(f"hanging.{method}")
            assert caught.value.errno == EHOSTUNREACH
            await client.call("heartbeat.ping", {})
            assert [module.name for module in instance.modules(0)] == ["heartbeat"]
            assert "held the loop for more than 0.1 s" in instance.broker(0).log.lines()[-1]

    brokersim.run(main)


SLOW = """
import time
from brokersim.brokermod import BrokerModule, request_handler

class Slow(BrokerModule):
    @request_handler("sleep")
    def sleep(self, msg):
        time.sleep(msg.payload["s"])
        self.handle.respond(msg, {"ended": time.time()})
"""


def test_a_handler_that_holds_the_loop_for_a_while_is_told_once_while_it_lasts_with_its_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("brokersim.reactor.watchdog.SLOW", 0.05)
    path = tmp_path / "slow.py"
    path.write_text(SLOW)

    async def main() -> None:
        async with brokersim.open_instance(modules=[str(path)], clock="real", watchdog=0.4) as instance:
            client = instance.client()
            ended = (await client.call("slow.sleep", {"s": 0.3}))["ended"]
            lines = [line for line in instance.broker(0).log.lines() if "held the loop" in line]
            assert len(lines) == 1
            assert "module 'slow' has held the loop for 0." in lines[0]
            assert "(slow.py:8): all others of this broker wait" in lines[0]
            stamp = datetime.fromisoformat(lines[0].split()[1]).timestamp()
            assert ended - 0.3 < stamp < ended  # while it lasted, and not as of its beginning
            await client.call("slow.sleep", {"s": 0.0})
            assert sum("held the loop" in line for line in instance.broker(0).log.lines()) == 1

    brokersim.run(main, clock="real")


def test_a_handler_that_sends_without_end_is_stopped_before_memory_runs_out(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("brokersim.reactor.standstill.FLOOD", 20_000)
    # Requests that are answered meet the bound of open ones first, on a quick machine; this is about the queue.
    monkeypatch.setattr("brokersim.routing.endpoint.OPEN_LIMIT", 10**9)
    path = tmp_path / "hanging.py"
    path.write_text(HANGING)

    async def main() -> None:
        async with brokersim.open_instance(modules=[str(path), "heartbeat"], watchdog=10) as instance:
            client = instance.client()
            with pytest.raises(RequestError) as caught:
                await client.call("hanging.flood")
            assert caught.value.errno == EHOSTUNREACH
            await client.call("heartbeat.ping", {})
            assert any("messages queued from one call" in line for line in instance.broker(0).log.lines())

    brokersim.run(main)


FLUX_HANGING = """
import time
from flux.brokermod import BrokerModule, event_handler, request_handler

class Hanging(BrokerModule):
    def __init__(self, h, *args):
        super().__init__(h, *args)
        if "init" in args:
            time.sleep(60)

    @request_handler("get")
    def get(self, msg):
        self.handle.rpc("attr.get", {"name": "rank"}).get()
        while True:
            pass

    @request_handler("timer")
    def timer(self, msg):
        self.kept = self.handle.timer_watcher_create(0.01, lambda *_: time.sleep(60)).start()

    @request_handler("prepare")
    def prepare(self, msg):
        self.kept = self.handle.prepare_watcher_create(lambda *_: time.sleep(60)).start()

    @request_handler("then")
    def then(self, msg):
        self.handle.rpc("attr.get", {"name": "rank"}).then(lambda future: time.sleep(60))

    @event_handler("event")
    def event(self, msg):
        time.sleep(60)
"""


@pytest.mark.parametrize("method", ["get", "timer", "prepare", "then", "event"])
@pytest.mark.parametrize("clock", ["real", "virtual"])
def test_wherever_a_flux_module_hangs_it_ends_and_nobody_else(
    tmp_path: Path, method: str, clock: str
) -> None:
    path = tmp_path / "hanging.py"
    path.write_text(FLUX_HANGING)

    async def main() -> None:
        async with brokersim.open_instance(modules=["heartbeat"], clock=clock, watchdog=0.1) as instance:
            client = instance.client()
            await instance.load(str(path))  # not by a message, whose handling the watchdog would time as well
            if method == "event":
                client.publish("hanging.event", {})
                while len(instance.modules(0)) > 1:
                    await instance.sleep(0.01)
            else:
                with pytest.raises(RequestError) as caught:
                    await client.call(f"hanging.{method}")
                assert caught.value.errno == EHOSTUNREACH
            await client.call("heartbeat.ping", {})
            (line,) = instance.broker(0).log.lines()
            assert "ended by HandlerHung: a handler held the loop for more than 0.1 s (hanging.py:" in line

    brokersim.run(main, clock=clock)


@pytest.mark.parametrize(
    ("arguments", "text"), [(["init"], "hanging.py:"), ([], "raises at import: HandlerHung")]
)
def test_a_file_that_hangs_while_it_is_loaded_is_refused(
    tmp_path: Path, arguments: list[str], text: str
) -> None:
    path = tmp_path / "hanging.py"
    path.write_text(FLUX_HANGING if arguments else "while True:\n    pass\n")

    async def main() -> None:
        async with brokersim.open_instance(modules=["heartbeat"], watchdog=0.1) as instance:
            client = instance.client()
            if (
                arguments
            ):  # imported beforehand, so that on a slow machine it is not the import that is broken into
                await instance.load(str(path))
                await instance.remove("hanging")
            with pytest.raises(RequestError, match="HandlerHung") as caught:
                await client.call("module.load", {"path": str(path), "args": arguments})
            assert text in caught.value.text
            await client.call("heartbeat.ping", {})

    brokersim.run(main)


def test_in_another_thread_nothing_is_watched_and_no_signal_is_touched():
    seen = []

    def elsewhere() -> None:
        with watchdog(Reactor(), 0.1):
            seen.append(signal.getitimer(signal.ITIMER_REAL))

    thread = threading.Thread(target=elsewhere)
    thread.start()
    thread.join()
    assert seen == [(0.0, 0.0)]
