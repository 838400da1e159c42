"""What greeter may cost: `brokersim` counts it, in virtual time, in some milliseconds a test."""

from pathlib import Path

from brokersim.testing import at_most, partial

GREETER = Path(__file__).parent / "greeter.py"


async def test_greetings_ask_the_kvs_once(broker):
    await broker.load(GREETER)
    with broker.deltas("greeter", "kvs") as d:
        for name in ("Ada", "Grace", "Jean"):
            assert await broker.rpc("greeter.hello", {"name": name}) == {"text": f"Hello {name}"}
    assert d == partial({"kvs.0.request_rx": 1, "greeter.0.request_tx": 1})
    assert d == broker.snapshot()


async def test_a_silent_kvs_delays_a_greeting_and_loses_none(broker):
    await broker.load(GREETER)
    broker.fault("delay", topic="kvs.lookup", to="kvs", seconds=2.5)
    with broker.deltas("greeter") as d:
        await broker.rpc("greeter.hello", {"name": "Ada"})
    assert d == {"request_rx": 1, "request_tx": 1, "response_rx": 1, "response_tx": 1}


def test_a_hundred_greetings_cost_the_kvs_little(broker):
    broker.load(GREETER)
    with broker.deltas("kvs") as d:
        for number in range(100):
            broker.rpc("greeter.hello", {"name": f"number {number}"})
    assert d == {"request_rx": at_most(5), "response_tx": at_most(5)}
