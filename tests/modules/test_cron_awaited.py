"""Which entries an event concerns: those that a look at all of them finds, without a look at all of them."""

from __future__ import annotations

from fnmatch import fnmatchcase
from types import SimpleNamespace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

import brokersim
from brokersim.protocol.errnums import ENOENT, RequestError
from modules.cron import awaited as awaited_file
from modules.cron.awaited import Awaited, plain_part

TOPICS = ["", "*", "a", "a*", "a.b", "a.?", "a.[bc]", "a.b*", "b", "?", "heartbeat.pulse", "*.pulse"]
EVENTS = ["", "a", "a.b", "a.c", "a.bc", "b", "heartbeat.pulse"]
changes = st.lists(st.tuples(st.booleans(), st.integers(0, 30), st.sampled_from(TOPICS)), max_size=60)


def entry(number: int) -> Any:
    return SimpleNamespace(id=number)


@given(changes)
def test_an_event_finds_whom_it_concerns_oldest_first_and_what_is_subscribed_to_is_what_is_waited_for(steps):
    held, waiting, subscribed = Awaited(), {}, []
    for is_new, number, topic in steps:
        if is_new and number not in waiting:
            waiting[number] = topic, entry(number)
            subscribed += filter(lambda part: part is not None, [held.add(*waiting[number])])
        elif not is_new and number in waiting:
            gone = held.remove(*waiting.pop(number))
            if gone is not None:
                subscribed.remove(gone)
        assert sorted(subscribed) == sorted({plain_part(topic) for topic, _ in waiting.values()})
    for event in EVENTS:
        expected = [number for number in sorted(waiting) if fnmatchcase(event, waiting[number][0])]
        assert [one.id for one in held.for_event(event)] == expected


def test_of_a_thousand_that_wait_for_something_else_an_event_looks_at_none(monkeypatch):
    held, looks = Awaited(), []

    def counted(topic: str, pattern: str) -> bool:
        looks.append(pattern)
        return fnmatchcase(topic, pattern)

    monkeypatch.setattr(awaited_file, "fnmatchcase", counted)
    for number in range(1000):
        held.add(f"other.{number}", entry(number))
        held.add("job.*", entry(1000 + number))
    held.add("heartbeat.pulse", entry(5000))
    assert [one.id for one in held.for_event("heartbeat.pulse")] == [5000]
    assert looks == ["heartbeat.pulse"]
    assert len(held.for_event("job.x")) == 1000
    assert looks == ["heartbeat.pulse", "job.*"]


def test_an_unknown_entry_is_refused_by_a_text_of_bounded_length():
    async def main() -> None:
        async with brokersim.open_instance(modules=("heartbeat", "cron")) as instance:
            client = instance.client()
            wish = {
                "type": "event",
                "name": "x",
                "command": "true",
                "args": {"topic": "never.*", "nth": 0, "after": 0},
            }
            for _ in range(30):
                await client.call("cron.create", wish)
            with pytest.raises(RequestError) as caught:
                await client.call("cron.delete", {"id": 99})
            assert caught.value.errno == ENOENT
            assert caught.value.text.endswith("18, 19, 20 and 10 more")

    brokersim.run(main)
