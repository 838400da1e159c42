"""An instance that has ended is gone: Python's collector finds all of it, though it sees no messages."""

from __future__ import annotations

import gc
from pathlib import Path

import pytest

from brokersim.instance import Instance
from brokersim.program import open_instance, run
from brokersim.protocol.message import FLAG_STREAMING
from brokersim.reactor.cost import CostModel

KEEPS = '''
from brokersim.brokermod import BrokerModule, Handle, Message, event_handler, request_handler


class Keeps(BrokerModule):
    """Keeps what it is sent, and answers nobody."""

    def __init__(self, h: Handle, *args: str) -> None:
        super().__init__(h, *args)
        self.kept = []
        h.event_subscribe("keep")

    @request_handler("this")
    def this(self, msg: Message) -> None:
        """For ever."""
        self.kept.append(msg)

    @event_handler("keep")
    def event(self, msg: Message) -> None:
        """Too."""
        self.kept.append(msg)
'''


async def busy(path: Path, cost: CostModel | None, hook: str) -> None:
    async with open_instance(size=2, cost=cost, hook=hook, stats="mem:") as instance:
        client = instance.client()
        await client.call("module.load", {"path": str(path), "args": []})
        for name in ("kvs", "keeps", "content-cache"):
            await client.call(f"{name}.debug", {"op": "setbit", "flags": 0x1000})
        client.rpc("keeps.this", {}, flags=FLAG_STREAMING)
        await client.call("event.publish", {"topic": "keep", "flags": 0})
        await client.call("kvs.ping", {"seq": 1, "pad": ""})


def instances() -> set[int]:
    gc.collect()
    return {id(one) for one in gc.get_objects() if type(one) is Instance}


@pytest.mark.parametrize("hook", ["prepare", "idle"])
@pytest.mark.parametrize("cost", [None, CostModel()], ids=["free", "charged"])
def test_nothing_of_an_instance_stays(tmp_path: Path, cost: CostModel | None, hook: str) -> None:
    path = tmp_path / "keeps.py"
    path.write_text(KEEPS)
    before = instances()
    run(busy, path, cost, hook)
    assert instances() <= before
