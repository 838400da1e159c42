"""Who waits for what was written so far is told when that is written: not before, nor only with what comes later."""

from __future__ import annotations

import pytest

from brokersim.protocol.message import Message
from modules.job_manager.batch import CommitBatch

RESPONSE = 3


class Handle:
    """Keeps commits and timers until they are let go."""

    def __init__(self):
        self.commits = []

    def request(self, topic, payload, then, arg):
        self.commits.append((len(payload["ops"]), then, arg))

    def call_later(self, seconds, call):
        return self

    def cancel(self):
        pass

    def answer(self, errnum=0):
        """Of the oldest commit: how many operations it had."""
        count, then, arg = self.commits.pop(0)
        then(Message(RESPONSE, "kvs.commit", None, errnum=errnum), arg)
        return count


@pytest.fixture
def handle():
    return Handle()


@pytest.fixture
def batch(handle):
    return CommitBatch(handle, lambda _text: None)


@pytest.fixture
def told():
    return []


def test_who_asks_while_the_last_commit_is_under_way_is_told_when_that_is_answered(handle, batch, told):
    batch.add({})
    batch.flush()
    batch.when_committed(lambda: told.append("first"))
    assert told == []
    handle.answer()
    assert (told, handle.commits) == (["first"], [])


def test_who_asks_while_more_waits_is_told_when_that_is_written(handle, batch, told):
    batch.add({})
    batch.flush()
    batch.add({})
    batch.when_committed(lambda: told.append("second"))
    batch.flush()
    handle.answer()
    assert (told, len(batch)) == ([], 1)
    handle.answer()
    assert (told, len(batch)) == (["second"], 0)


def test_who_is_told_and_adds_something_waits_for_it_like_all_others(handle, batch, told):
    def first():
        batch.add({})
        batch.when_committed(lambda: told.append("its own"))

    batch.add({})
    batch.flush()
    batch.when_committed(first)
    handle.answer()
    assert told == []
    batch.flush()
    handle.answer()
    assert told == ["its own"]


def test_a_commit_that_failed_tells_nobody_until_it_is_done_again(handle, batch, told):
    batch.add({})
    batch.when_committed(lambda: told.append("first"))
    batch.flush()
    batch.when_committed(lambda: told.append("late"))
    handle.answer(errnum=28)
    assert told == []
    batch.flush()
    assert (handle.answer(), told) == (1, ["first", "late"])
