"""A handler that holds the loop costs its own module, not the instance."""

from __future__ import annotations

from pathlib import Path

import pytest

import brokersim
from brokersim.protocol.errnums import EHOSTUNREACH, RequestError

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

    @request_handler("flood")
    def flood(self, msg):
        while True:
            self.handle.request("heartbeat.ping", {}, print)
"""


@pytest.mark.parametrize("method", ["spin", "sleep", "swallow"])
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


def test_a_handler_that_sends_without_end_is_stopped_before_memory_runs_out(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("brokersim.broker.watchdog.FLOOD", 20_000)
    monkeypatch.setattr("brokersim.reactor.loop.FLOOD", 20_000)
    path = tmp_path / "hanging.py"
    path.write_text(HANGING)

    async def main() -> None:
        async with brokersim.open_instance(modules=[str(path), "heartbeat"], watchdog=10) as instance:
            client = instance.client()
            with pytest.raises(RequestError) as caught:
                await client.call("hanging.flood")
            assert caught.value.errno == EHOSTUNREACH
            await client.call("heartbeat.ping", {})
            assert any("messages queued" in line for line in instance.broker(0).log.lines())

    brokersim.run(main)
