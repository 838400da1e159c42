"""The eight counters, exactly as flux-core counts; answers counted once; what is never answered."""

from __future__ import annotations

from typing import Any

import pytest

from brokersim.instance import Instance
from brokersim.protocol.message import COUNTER_NAMES, FLAG_NORESPONSE, FLAG_STREAMING
from tests.host.live import FIXTURES, live, write


def counts(instance: Instance, module: str, rank: int = 0) -> dict[str, int]:
    """The counters that are not 0."""
    values = instance.broker(rank).module(module).counts
    return {name: value for name, value in zip(COUNTER_NAMES, values, strict=True) if value}


def moved(instance: Instance, module: str, before: dict[str, int]) -> dict[str, int]:
    now = counts(instance, module)
    return {name: now[name] - before.get(name, 0) for name in now if now[name] != before.get(name, 0)}


def test_a_fresh_module_stands_where_flux_has_it():
    async def body(instance: Instance) -> None:
        # 3 subscriptions, a log line and module.status; the welcome; the answers to the subscriptions.
        assert counts(instance, "fresh") == {"request_tx": 5, "request_rx": 1, "response_rx": 3}

    live(body, "fresh")


def test_saying_set_running_early_changes_no_count(tmp_path):
    path = write(
        tmp_path,
        "early",
        """
        def __init__(self, h, *args):
            super().__init__(h, *args)
            self.set_running()
            self.set_running()

        @request_handler("ask")
        def ask(self, msg): pass
        """,
    )

    async def body(instance: Instance) -> None:
        await instance.load(path)
        assert counts(instance, "early") == {"request_tx": 2, "request_rx": 1, "response_rx": 1}

    live(body)


def test_one_call_and_its_disconnect_are_two_requests_and_one_response():
    async def body(instance: Instance) -> None:
        before = counts(instance, "fresh")
        client = instance.client()
        await client.call("fresh.ping", {})
        assert client.counts == [1, 0, 0, 1, 0, 0, 0, 0]
        client.close()
        await instance.sleep(0.1)
        assert moved(instance, "fresh", before) == {"request_rx": 2, "response_tx": 1}

    live(body, "fresh")


def test_an_event_is_one_tx_and_one_rx_a_subscriber():
    async def body(instance: Instance) -> None:
        left, right = (instance.broker(rank).module("fresh") for rank in range(2))
        before = [list(left.counts), list(right.counts)]
        left.publish("fresh.one")
        await instance.sleep(0.1)
        differences = [
            [now - then for now, then in zip(handle.counts, was, strict=True)]
            for handle, was in zip((left, right), before, strict=True)
        ]
        assert differences == [[0, 0, 0, 0, 1, 1, 0, 0], [0, 0, 0, 0, 0, 1, 0, 0]]

    live(body, "fresh", size=2)


def test_tx_counts_at_the_start_of_a_send_also_of_one_that_finds_nobody():
    async def body(instance: Instance) -> None:
        handle = instance.broker(0).module("fresh")
        before = counts(instance, "fresh")
        handle.request("nosuch.ask", None, lambda *_: None)
        handle.request("nosuch.ask")
        handle.request("fresh.ask", None, lambda *_: None, nodeid=77)
        await instance.sleep(0.1)
        assert moved(instance, "fresh", before) == {"request_tx": 3, "response_rx": 2}

    live(body, "fresh")


def test_a_request_without_response_is_never_answered_not_even_with_an_error():
    async def body(instance: Instance) -> None:
        client = instance.client()
        before = counts(instance, "kinds")
        for topic in (
            "kinds.sync",
            "kinds.refuse",
            "kinds.nosuch",
            "kinds.step",
            "nosuch.ask",
            "kinds.twice",
        ):
            client.request(topic)
        client.request("kinds.count", {"to": 5})
        client.request("kinds.sync", None, nodeid=99)
        await instance.sleep(1.0)
        assert client.counts == [8, 0, 0, 0, 0, 0, 0, 0]
        assert client.stray == 0
        # What the coroutine asked of its own module is in it: a request and its answer at both ends.
        assert moved(instance, "kinds", before) == {
            "request_tx": 1, "request_rx": 7, "response_tx": 1, "response_rx": 1
        }  # fmt: skip

    live(body, "kinds")


@pytest.mark.parametrize("stepped", [False, True])
def test_a_second_answer_is_counted_and_calls_nobody(stepped):
    async def body(instance: Instance) -> None:
        client = instance.client()
        got: list[Any] = []
        if stepped:

            async def ask() -> None:
                got.append(await client.call("kinds.twice"))

            client.spawn(ask())
        else:
            client.request("kinds.twice", None, lambda response, _: got.append(response.data))
        await instance.sleep(0.1)
        assert got == [{"first": True}]
        assert (client.stray, client.counts[3]) == (1, 2)

    live(body, "kinds")


def test_a_stream_counts_every_response():
    async def body(instance: Instance) -> None:
        client = instance.client()
        before = counts(instance, "kinds")
        client.stream("kinds.count", {"to": 5}, lambda *_: None)
        await instance.sleep(0.1)
        assert client.counts == [1, 0, 0, 6, 0, 0, 0, 0]
        assert moved(instance, "kinds", before) == {"request_rx": 1, "response_tx": 6}

    live(body, "kinds")


def test_noresponse_and_streaming_are_never_set_together():
    async def body(instance: Instance) -> None:
        client = instance.client()
        message = client.request("kinds.sync")
        assert message.flags & (FLAG_NORESPONSE | FLAG_STREAMING) == FLAG_NORESPONSE
        message = client.stream("kinds.count", {"to": 0}, lambda *_: None)
        assert message.flags & (FLAG_NORESPONSE | FLAG_STREAMING) == FLAG_STREAMING

    live(body, "kinds")


def test_the_whole_instances_messages_and_turns_do_not_shrink_when_parties_go():
    async def body(instance: Instance) -> None:
        client = instance.client()
        for _ in range(10):
            await client.call("kinds.sync")
        seen, turned = instance.messages(), instance.turns()
        client.close()
        await instance.sleep(0.1)
        await instance.remove("kinds")
        assert instance.messages() >= seen + 1  # the disconnect
        assert instance.turns() >= turned + 1

    live(body, "kinds")


def test_iterations_of_a_module_are_its_messages_and_its_timers():
    async def body(instance: Instance) -> None:
        kinds = instance.broker(0).module("kinds")
        client = instance.client()
        before = kinds.iterations
        await client.call("kinds.step")  # request, timer, own request, own response and what it continues
        assert kinds.iterations - before == 5

    live(body, "kinds")


def test_hooked_or_not_a_module_counts_the_same():
    results: list[tuple[dict[str, int], int]] = []

    async def body(instance: Instance) -> None:
        client = instance.client()
        if len(results) == 1:
            instance.broker(0).module("kinds").module_loop()
        await client.call("kinds.task")
        await client.call("kinds.step")
        client.publish("kinds.news")
        await instance.sleep(1.0)
        results.append((counts(instance, "kinds"), instance.broker(0).module("kinds").iterations))

    for _ in range(2):
        live(body, str(FIXTURES / "kinds.py"))
    assert results[0] == results[1]
