"""Nothing that is sent to any service or event ends a module; what nobody can read is refused."""

from __future__ import annotations

import os
import random
from collections.abc import Awaitable, Callable
from typing import Any

import pytest

import brokersim
from brokersim.instance import Instance
from brokersim.protocol.errnums import EINVAL, EIO, EPROTO, RequestError, errname
from brokersim.protocol.message import ROLE_USER, Message
from tests.host.live import live, write
from tests.instance.hostile_requests import MODULES, deep, drawn, events, learned, names_of, topics

#: Payloads drawn for each service; `make torture` has more.
DRAWN = int(os.environ.get("BROKERSIM_FUZZ_PAYLOADS", "2"))
#: Answered by nobody, whatever they are sent: what one part tells another.
_SILENT = {"log.append", "groups.update", "content-backing.announce", "job-list.renew", "job-exec.renew"}


def in_instance(body: Callable[[Instance], Awaitable[None]]) -> None:
    """All modules on two ranks; none may have ended behind it, nor the broker have failed in anything."""

    async def main() -> None:
        async with brokersim.open_instance(size=2, modules=MODULES) as instance:
            before = [[module.name for module in instance.modules(rank)] for rank in range(2)]
            await body(instance)
            await instance.sleep(1)
            for rank in range(2):
                lines = instance.broker(rank).log.lines()
                assert [line for line in lines if "ended by" in line or " failed: " in line] == []
                assert [module.name for module in instance.modules(rank)] == before[rank]

    brokersim.run(main)


async def learn(instance: Instance, known: dict[str, Any]) -> None:
    """Send nothing, and nothing in it, to everything: that shows what they read."""
    for rank in range(2):
        client = instance.client(rank)
        for topic in topics(instance, rank):
            for payload in (None, {}, b"\xff{"):
                client.request(topic, payload, lambda *_: None)
        for topic in events(instance, rank):
            client.publish(topic, {})
        await instance.sleep(0.01)
        client.close()
    assert len(known) > 120


def test_JSON_nested_deep_is_refused_by_every_service_and_ends_none():
    async def body(instance: Instance) -> None:
        with learned() as known:
            await learn(instance, known)
            answers: dict[tuple[str, str], Message] = {}
            asked = []
            for rank in range(2):
                client = instance.client(rank)
                for topic in topics(instance, rank):
                    names = (*names_of(known.get(topic)), "x") if rank == 0 else ("x",)
                    for at, name in enumerate(names):
                        inner = deep((600, 30_000)[at % 2], has_names=rank == 1)
                        key = topic, name
                        asked.append(key)
                        payload = b'{"' + name.encode() + b'":' + inner + b"}"
                        client.request(
                            topic, payload, lambda answer, key: answers.__setitem__(key, answer), key
                        )
                await instance.sleep(1)
                client.close()
        silent = {topic for topic, name in asked if (topic, name) not in answers}
        assert silent == _SILENT
        wrong = {
            (topic, errname(answer.errnum))
            for (topic, _), answer in answers.items()
            if known.get(topic) and answer.errnum not in (EINVAL, EPROTO)
        }
        assert wrong == set()

    in_instance(body)


def test_odd_values_of_the_right_shape_end_no_service_and_no_module():
    async def body(instance: Instance) -> None:
        rng = random.Random(1)
        failed = []

        def answered(answer: Message, what: Any) -> None:
            if answer.errnum == EIO and "failed in the broker" in (answer.payload_str or ""):
                failed.append((what, answer.payload_str))

        with learned() as known:
            await learn(instance, known)
            for _ in range(DRAWN):
                for rank in range(2):
                    client = instance.client(rank)
                    for topic in topics(instance, rank):
                        payload = drawn(rng, known.get(topic, dict))
                        client.request(topic, payload, answered, (topic, payload))
                    for topic in events(instance, rank):
                        client.publish(topic, drawn(rng, known.get(topic, dict)))
                    await instance.sleep(0.01)
                    client.close()
        assert failed == []

    in_instance(body)


def test_events_that_nobody_can_read_are_passed_over_and_told():
    async def body(instance: Instance) -> None:
        for rank in range(2):
            for topic in events(instance, rank):
                for is_guest in (False, True):
                    client = instance.client(rank)
                    if is_guest:
                        client.userid, client.rolemask = 4242, ROLE_USER
                    for payload in (None, {}, {"x": 1}, b"\xff", b"[]", b'{"x":' + deep(600) + b"}"):
                        client.publish(topic, payload)
                    client.close()
            await instance.sleep(0.1)
        lines = instance.broker(0).log.lines()
        assert any("event ignored: job-purge-inactive: " in line for line in lines)

    in_instance(body)


READING = """
    heard = 0

    @request_handler("whole")
    def whole(self, msg):
        self.handle.respond(msg, msg.payload)

    @request_handler("later")
    async def later(self, msg):
        await self.handle.sleep(0.1)
        self.handle.respond(msg, msg.payload)

    @event_handler("news")
    def news(self, msg):
        self.heard += len(msg.payload)

    @request_handler("ask")
    async def ask(self, msg):
        await self.handle.call("reading.nothing", {})

    @request_handler("nothing")
    def nothing(self, msg):
        self.handle.request("attr.get", {"name": "size"}, lambda answer, _: answer.unpack(int))
        self.handle.respond(msg)
"""


def test_a_module_that_reads_what_is_not_there_refuses_and_lives(tmp_path):
    path = write(tmp_path, "reading", READING)

    async def body(instance: Instance) -> None:
        await instance.load(path)
        client = instance.client()
        for method in ("whole", "later"):
            for payload in (None, b"{", b'"x"'):
                with pytest.raises(RequestError) as caught:
                    await client.call(f"reading.{method}", payload)
                assert caught.value.errno == EPROTO
        client.publish("reading.news")
        client.publish("reading.news", {"a": 1})
        await instance.sleep(1)
        assert instance.module(0, "reading").handle.body.heard == 1
        [told] = [line for line in instance.broker(0).log.lines() if "ignored" in line]
        assert "reading" in told and "event ignored: event 'reading.news' has no payload" in told
        # What it reads of an answer it asked for is its own affair.
        await client.call("reading.nothing", {})
        await instance.sleep(1)
        assert instance.modules(0) == []

    live(body, size=1)


@pytest.mark.parametrize("seconds", [1e9, 1e18, 1e308])
def test_what_shall_happen_when_no_clock_gets_there_does_not_happen(seconds):
    async def body(instance: Instance) -> None:
        client = instance.client()
        assert await client.call("heartbeat.period", {"period": seconds}) == {"period": seconds}
        answers = []
        client.request("broker.wait", {"until": seconds}, lambda answer, _: answers.append(answer))
        await instance.sleep(3600)
        assert answers == []

    in_instance(body)
