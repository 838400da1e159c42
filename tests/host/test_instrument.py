"""The emission of counters: exact packets, only if something moved, from each hook, and nothing with the bit clear."""

from __future__ import annotations

from itertools import pairwise
from typing import Any

import pytest

from brokersim.instance import Instance
from brokersim.protocol.errnums import EINVAL, ENOENT
from brokersim.reactor.cost import CostModel
from tests.host.live import live, refused

TYPES = (
    "request_tx", "request_rx", "response_tx", "response_rx", "event_tx", "event_rx", "keepalive_tx", "keepalive_rx"
)  # fmt: skip


async def debug(instance: Instance, op: str, flags: int = 0x1000, name: str = "kinds", rank: int = 0) -> int:
    client = instance.client(rank)
    answer = await client.call(f"{name}.debug", {"op": op, "flags": flags}, nodeid=rank)
    return int(answer["flags"])


def packets(instance: Instance) -> list[bytes]:
    return [packet for _, packet in instance.sink.packets]


def values(packet: bytes) -> list[int]:
    return [int(line.split(b":")[1].split(b"|")[0]) for line in packet.split(b"\n")]


def test_a_packet_is_eight_gauges_in_the_journals_order_with_no_newline_at_its_end():
    async def body(instance: Instance) -> None:
        await debug(instance, "setbit", rank=1)
        handle = instance.broker(1).module("kinds")
        (packet,) = packets(instance)
        lines = [f"flux.kinds.1.{name}:{count}|g" for name, count in zip(TYPES, handle.counts, strict=True)]
        assert packet == "\n".join(lines).encode()
        assert handle.counts[:4] == [4, 2, 1, 3]

    live(body, "kinds", size=2, stats="mem:")


@pytest.mark.parametrize("hook", ["prepare", "check", "idle", "timer:1s"])
def test_a_packet_is_sent_only_if_a_counter_moved_and_says_all_there_is_to_say(hook):
    async def body(instance: Instance) -> None:
        kinds = instance.broker(0).module("kinds")
        client = instance.client()
        await debug(instance, "setbit")
        for _ in range(5):
            await client.call("kinds.sync")
            await instance.sleep(10.0)
        sent = [values(packet) for packet in packets(instance)]
        assert len(sent) >= 5
        assert all(one != other for one, other in pairwise(sent))
        assert sent == sorted(sent)
        final = list(kinds.counts)
        if hook == "check":  # sees the last change only at the next wake-up
            final[1:3] = [final[1] - 1, final[2] - 1]
        assert sent[-1] == final
        before = len(sent)
        for _ in range(5):
            kinds.call_later(1.0, lambda: None)  # wakes the module, moves nothing
            await instance.sleep(5.0)
        assert len(packets(instance)) <= before + 1  # check's late look at the last change
        assert values(packets(instance)[-1]) == kinds.counts

    live(body, "kinds", hook=hook, stats="mem:")


def test_prepare_sends_one_packet_a_message_and_at_the_very_instant():
    async def body(instance: Instance) -> None:
        client = instance.client()
        await debug(instance, "setbit")
        instance.sink.packets.clear()
        for _ in range(3):
            await client.call("kinds.sync")
            await instance.sleep(1.0)
        start = instance.sink.packets[0][0]
        assert [round(at - start, 9) for at, _ in instance.sink.packets] == [0.0, 1.0, 2.0]

    live(body, "kinds", stats="mem:")


def test_a_timer_hook_looks_at_its_period_and_not_between():
    async def body(instance: Instance) -> None:
        client = instance.client()
        start = client.now()
        await debug(instance, "setbit")
        for _ in range(20):
            await client.call("kinds.sync")
            await instance.sleep(0.3)
        await instance.sleep(10.0)
        assert [round(at - start, 9) for at, _ in instance.sink.packets] == [2.0, 4.0, 6.0]

    live(body, "kinds", hook="timer:2s", stats="mem:")


@pytest.mark.parametrize("hook", ["prepare", "check", "idle", "timer:1s"])
def test_with_the_bit_cleared_the_watcher_goes_and_costs_nothing_and_set_again_it_is_back(hook):
    async def body(instance: Instance) -> None:
        kinds = instance.broker(0).module("kinds")
        client = instance.client()
        assert await debug(instance, "setbit") == 0x1000
        await client.call("kinds.sync")
        await instance.sleep(3.0)
        assert await debug(instance, "clrbit") == 0
        for _ in range(3):
            await client.call("kinds.sync")
            await instance.sleep(3.0)
        sent = len(packets(instance))
        assert sent > 0
        assert not kinds.instrument.is_running
        if kinds.loop is not None:
            assert (kinds.loop.prepares, kinds.loop.checks, kinds.loop.idles, kinds.loop.nonblocking) == (
                (),
                (),
                (),
                0,
            )
        await client.call("kinds.sync")
        await instance.sleep(3.0)
        assert len(packets(instance)) == sent
        assert instance.reactor.next_due() is None
        await debug(instance, "setbit")
        await client.call("kinds.sync")
        await instance.sleep(3.0)
        assert len(packets(instance)) > sent
        assert kinds.instrument.is_running

    live(body, "kinds", hook=hook, stats="mem:")


def test_each_module_has_a_mask_of_its_own_and_four_operations_change_it():
    async def body(instance: Instance) -> None:
        async def mask(op: str, flags: int) -> int:
            return await debug(instance, op, flags)

        assert await mask("setbit", 0x1) == 0x1
        assert await mask("setbit", 0x2000) == 0x2001
        assert await mask("setbit", 0) == 0x2001
        assert await mask("clrbit", 0x1) == 0x2000
        assert await mask("set", 0x30) == 0x30
        assert await mask("clrbit", 0xFFFFFFFF) == 0
        assert await mask("set", 0xFFFFFFFF) == 0xFFFFFFFF
        assert await mask("clr", 0) == 0
        assert instance.broker(0).module("fresh").mask == 0

    live(body, "kinds", "fresh", stats="mem:")


@pytest.mark.parametrize(
    ("payload", "text"),
    [
        ({"op": "toggle", "flags": 1}, "no operation 'toggle'; give setbit, clrbit, set or clr"),
        ({"op": "set", "flags": -1}, "do not fit 32 bits"),
        ({"op": "set", "flags": 2**32}, "do not fit 32 bits"),
        ({"op": "set", "flags": "0x1000"}, "flags"),
        ({"op": "set"}, "flags"),
        (None, "op"),
    ],
)
def test_a_mask_that_is_none_is_refused_and_changes_nothing(payload, text):
    async def body(instance: Instance) -> None:
        with refused(71, text):
            await instance.client().call("kinds.debug", payload)
        assert instance.broker(0).module("kinds").mask == 0

    live(body, "kinds", stats="mem:")


def test_the_hook_of_a_running_emission_is_changed_at_once():
    async def body(instance: Instance) -> None:
        client = instance.client()
        await debug(instance, "setbit")
        assert await client.call("module.hook", {"name": "kinds", "hook": "timer:5s"}) == {"hook": "timer:5s"}
        instance.sink.packets.clear()
        start = client.now()
        await client.call("kinds.sync")
        await instance.sleep(6.0)
        assert [round(at - start, 9) for at, _ in instance.sink.packets] == [5.0]
        await client.call("module.hook", {"name": "kinds", "hook": "prepare"})
        instance.sink.packets.clear()
        await client.call("kinds.sync")
        assert len(packets(instance)) == 1

    live(body, "kinds", stats="mem:")


def test_a_hook_chosen_while_nothing_is_emitted_waits_for_the_bit():
    async def body(instance: Instance) -> None:
        client = instance.client()
        await client.call("module.hook", {"name": "kinds", "hook": "check"})
        await client.call("kinds.sync")
        assert packets(instance) == []
        (listed,) = (await client.call("module.list"))["mods"]
        assert (listed["hook"], listed["mask"], listed["packets"]) == ("check", 0, 0)
        await debug(instance, "setbit")
        await client.call("kinds.sync")
        assert instance.broker(0).module("kinds").instrument.hook == "check"
        assert len(packets(instance)) == 1

    live(body, "kinds", stats="mem:")


@pytest.mark.parametrize(
    "hook", ["", "Prepare", "timer:", "timer:0s", "timer:-1s", "timer:x", "prepare:1s", "poll"]
)
def test_an_unknown_hook_is_refused_with_the_known_ones(hook):
    async def body(instance: Instance) -> None:
        if hook != "timer:":  # the period has a default
            with refused(EINVAL, "give prepare, check, idle or timer:"):
                await instance.client().call("module.hook", {"name": "kinds", "hook": hook})
        with refused(ENOENT, "no module 'nosuch'"):
            await instance.client().call("module.hook", {"name": "nosuch", "hook": "check"})

    live(body, "kinds", stats="mem:")


def test_a_hook_emits_on_every_rank_for_itself():
    async def body(instance: Instance) -> None:
        for rank in range(3):
            await debug(instance, "setbit", rank=rank)
        names = {packet.split(b".request_tx")[0] for packet in packets(instance)}
        assert names == {f"flux.kinds.{rank}".encode() for rank in range(3)}

    live(body, "kinds", size=3, stats="mem:")


def test_a_module_that_goes_emits_no_more():
    async def body(instance: Instance) -> None:
        await debug(instance, "setbit")
        await instance.remove("kinds")
        sent = len(packets(instance))
        await instance.sleep(10.0)
        assert len(packets(instance)) == sent

    for hook in ("prepare", "timer:1s"):
        live(body, "kinds", hook=hook, stats="mem:")


def test_without_a_target_a_set_bit_harms_nothing():
    async def body(instance: Instance) -> None:
        await debug(instance, "setbit")
        await instance.client().call("kinds.sync")
        assert instance.sink.sent == 0

    live(body, "kinds")


def test_under_the_cost_model_each_hook_emits_and_idle_is_the_dearest():
    walls: dict[str, float] = {}
    sent: dict[str, int] = {}

    async def body(instance: Instance) -> None:
        client = instance.client()
        names = [f"k{number}" for number in range(4)]
        for name in names:
            await instance.load("kinds", name=name)
            await debug(instance, "setbit", name=name)
        start = client.now()
        for name in names:
            for _ in range(20):
                await client.call(f"{name}.sync")
        walls[hook] = client.now() - start
        sent[hook] = len(packets(instance))

    for hook in ("timer:1s", "prepare", "check", "idle"):
        live(body, hook=hook, stats="mem:", cost=CostModel(cores=2))
    assert walls["timer:1s"] < min(walls["check"], walls["prepare"])
    assert max(walls["check"], walls["prepare"]) < walls["idle"] / 2
    assert sent["timer:1s"] < sent["check"] <= sent["prepare"]


def test_the_hook_is_the_instances_until_a_module_chose_its_own():
    async def body(instance: Instance) -> None:
        listed: list[dict[str, Any]] = (await instance.client().call("module.list"))["mods"]
        assert [one["hook"] for one in listed] == ["check", "check"]

    live(body, "kinds", "fresh", hook="check", stats="mem:")
