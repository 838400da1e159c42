"""Streams that are given up leave nothing behind; a module knows its place in the tree and may live by timers alone."""

from __future__ import annotations

from typing import Any

import pytest

from brokersim.instance import Instance
from brokersim.protocol.errnums import EINVAL, ENODATA, ETIMEDOUT, RequestError
from brokersim.protocol.message import Message
from tests.host.live import live, write

SLOW = """
    @request_handler("drip")
    async def drip(self, msg):
        for gap in msg.payload["gaps"]:
            await self.handle.sleep(gap)
            self.handle.respond(msg, {"gap": gap})
        self.handle.respond_error(msg, errnums.ENODATA)

    @request_handler("never")
    def never(self, msg):
        pass
"""


def heard(answers: list[Any]) -> Any:
    return lambda response, arg: answers.append((response.errnum, response.data, arg))


def test_a_hundred_streams_that_expired_leave_no_request_open(tmp_path):
    async def body(instance: Instance) -> None:
        await instance.load(write(tmp_path, "slow", SLOW))
        client = instance.client()
        answers: list[Any] = []
        for at in range(100):
            client.stream("slow.never", {}, heard(answers), at, timeout=5.0)
        assert len(client.pending) == 100
        await instance.sleep(4.999)
        assert (len(client.pending), answers) == (100, [])
        await instance.sleep(0.001)
        assert len(client.pending) == 0
        assert answers == [(ETIMEDOUT, "slow.never: silent for 5 s", at) for at in range(100)]

    live(body)


@pytest.mark.parametrize(
    ("gaps", "ends"),
    [([0.9, 0.9, 0.9], ENODATA), ([0.9, 1.1], ETIMEDOUT), ([], ENODATA), ([0.5, 0.9, 1.0001], ETIMEDOUT)],
)
def test_the_limit_is_for_silence_and_begins_anew_with_each_answer(tmp_path, gaps, ends):
    async def body(instance: Instance) -> None:
        await instance.load(write(tmp_path, "slow", SLOW))
        client = instance.client()
        answers: list[Any] = []
        client.stream("slow.drip", {"gaps": gaps}, heard(answers), timeout=1.0)
        await instance.sleep(10.0)
        assert answers[-1][0] == ends
        assert len(answers) == (len(gaps) + 1 if ends == ENODATA else len(gaps))
        assert len(client.pending) == 0
        assert client.stray == (0 if ends == ENODATA else 2)  # the late answer and the end of the stream

    live(body)


def test_what_is_forgotten_is_never_called_again(tmp_path):
    async def body(instance: Instance) -> None:
        await instance.load(write(tmp_path, "slow", SLOW))
        client = instance.client()
        answers: list[Any] = []
        for timeout in (None, 1.0):
            request: Message = client.stream("slow.drip", {"gaps": [0.5]}, heard(answers), timeout=timeout)
            client.forget(request)
            client.forget(request)
        await instance.sleep(10.0)
        assert (answers, len(client.pending), client.stray) == ([], 0, 4)

    live(body)


@pytest.mark.parametrize(("fanout", "place"), [(2, (0, (3, 4))), (1, (0, (2,))), (0, (0, ())), (5, (0, ()))])
def test_a_module_knows_its_parent_and_children(fanout, place):
    async def body(instance: Instance) -> None:
        assert (instance.client(1).parent, instance.client(1).children) == place
        assert instance.client(0).parent is None

    live(body, size=6, fanout=fanout)


@pytest.mark.parametrize(
    "source",
    [
        "def __init__(self, h, *args):\n    super().__init__(h, *args)\n    h.call_later(1.0, h.publish, 'tick', {})",
        "async def ready(self):\n    self.handle.call_later(1.0, self.handle.publish, 'tick', {})",
    ],
)
def test_a_module_of_timers_alone_is_one(tmp_path, source):
    async def body(instance: Instance) -> None:
        await instance.load(write(tmp_path, "ticks", source))
        client = instance.client()
        await client.call("event.subscribe", {"topic": "tick"})
        before = client.counts[5]
        await instance.sleep(2.0)
        assert client.counts[5] == before + 1

    live(body)


NOTHING = """
    @request_handler("raises")
    def raises(self, msg):
        raise RequestError(0, "no errnum")

    @request_handler("answers")
    async def answers(self, msg):
        self.handle.respond_error(msg, 0, "no errnum")
"""


@pytest.mark.parametrize("topic", ["zero.raises", "zero.answers"])
def test_an_error_without_an_errnum_is_an_error_all_the_same(tmp_path, topic):
    """As flux_respond_error(3) has it; 0 would tell whoever asked that all went well."""

    async def body(instance: Instance) -> None:
        await instance.load(write(tmp_path, "zero", NOTHING))
        with pytest.raises(RequestError) as caught:
            await instance.client().call(topic)
        assert (caught.value.errno, caught.value.text) == (EINVAL, "no errnum")

    live(body)
