"""The broker's environment: read and changed by its owner, one rank at a time, and given to what it starts."""

from __future__ import annotations

import os

import pytest

from brokersim import open_instance, run
from brokersim.brokermod import RequestError, errnums


def asked(*requests, size=1):
    """The answer to each request (topic, payload, rank), or its errnum."""

    async def main():
        async with open_instance(modules=[], size=size) as instance:
            client = instance.client()
            answers = []
            for topic, payload, rank in requests:
                try:
                    answers.append(await client.call(topic, payload, nodeid=rank))
                except RequestError as error:
                    answers.append(error.errno)
            client.close()
            return answers

    return run(main)


def get(*names, rank=0):
    return "broker.getenv", {"names": list(names)}, rank


def set_(rank=0, **env):
    return "broker.setenv", {"env": env}, rank


def test_variables_are_set_and_unset_for_one_rank_and_not_for_the_process(monkeypatch):
    monkeypatch.setenv("BROKER_TEST_A", "of the process")
    _, first, other, _, last = asked(
        set_(BROKER_TEST_A="new", BROKER_TEST_B="b"), get("BROKER_TEST_A", "BROKER_TEST_B", "BROKER_TEST_C"),
        get("BROKER_TEST_A", "BROKER_TEST_B", rank=1), set_(BROKER_TEST_A=None, BROKER_TEST_C=None),
        get("BROKER_TEST_A", "BROKER_TEST_B"), size=2,
    )  # fmt: skip
    assert first == {"env": {"BROKER_TEST_A": "new", "BROKER_TEST_B": "b"}}
    assert other == {"env": {"BROKER_TEST_A": "of the process"}}
    assert last == {"env": {"BROKER_TEST_B": "b"}}
    assert os.environ["BROKER_TEST_A"] == "of the process" and "BROKER_TEST_B" not in os.environ


@pytest.mark.parametrize("env", [{"A=B": "x"}, {"": "x"}, {"A": 42}, {"A": "\0"}, {"A\0": "x"}], ids=repr)
def test_a_variable_that_cannot_be_leaves_all_as_they_were(env):
    wish = ("broker.setenv", {"env": {"BROKER_TEST_OK": "1", **env}}, 0)
    assert asked(wish, get("BROKER_TEST_OK")) == [errnums.EPROTO, {"env": {}}]


def test_requests_without_their_key_are_malformed():
    assert asked(("broker.getenv", {}, 0), ("broker.setenv", {}, 0)) == [errnums.EPROTO] * 2
