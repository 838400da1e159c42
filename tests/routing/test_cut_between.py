"""A link that breaks between two messages that arrive at one instant: the second is lost, and who waits is told."""

from __future__ import annotations

import pytest

import brokersim
from brokersim.instance import Instance
from brokersim.kit.ledger import Ledger
from brokersim.protocol.errnums import EHOSTUNREACH
from brokersim.routing.cut import cut_off
from tests.host.live import write

TWICE = """
    @request_handler("twice")
    def twice(self, msg):
        self.handle.respond(msg, {"n": 1})
        self.handle.respond_error(msg, 61)
"""


@pytest.mark.parametrize("has_ledger", [False, True])
def test_who_waits_for_the_second_of_two_answers_of_one_instant_is_told(tmp_path, has_ledger):
    path = write(tmp_path, "twice", TWICE)
    heard = []

    async def main() -> None:
        async with brokersim.open_instance(size=2, modules=()) as instance:
            if has_ledger:
                Ledger(instance)  # its taps give each message a timer of its own
            await instance.load(path, rank=1)
            client = instance.client()
            client.stream("twice.twice", {}, lambda answer, _: take(instance, answer), None, 1)
            await instance.sleep(1)
            assert not client.pending

    def take(instance: Instance, answer) -> None:
        heard.append(answer.errnum)
        if len(heard) == 1:
            cut_off(instance, 1, lambda _: None)

    brokersim.run(main)
    assert heard == [0, EHOSTUNREACH]
