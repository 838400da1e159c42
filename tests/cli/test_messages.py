"""rpc, event, ping."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

import pytest

from brokersim.protocol.errnums import ENOSYS, RequestError
from brokersim.protocol.message import EVENT, FLAG_NORESPONSE, FLAG_PRIVATE, NODEID_ANY, Message
from tests.cli.conftest import Run
from tests.cli.fake_broker import FakeBroker


def test_rpc_prints_the_answer_as_it_came(fake: FakeBroker, run: Run) -> None:
    fake.answers["a.b"] = b'{"z": 1,  "a": 2}\0'
    assert run("rpc", "a.b", '{"in":1}').out == '{"z": 1,  "a": 2}\n'
    assert run("rpc", "a.b", "--json").out == '{"z":1,"a":2}\n'
    assert fake.asked("a.b") == [{"in": 1}, None]


def test_rpc_with_an_empty_answer_prints_nothing(fake: FakeBroker, run: Run) -> None:
    fake.answers["a.b"] = None
    assert run("rpc", "a.b") == (0, "", "")
    assert run("rpc", "a.b", "--json").json is None


def test_rpc_reads_stdin_and_sends_raw(fake: FakeBroker, run: Run) -> None:
    fake.answers["a.b"] = b"\xff\x00"
    assert run("rpc", "--raw", "a.b", "-", stdin=b"\x00\x01").out == "\udcff\x00"
    assert run("rpc", "--raw", "a.b", "text").code == 0
    fake.answers["a.b"] = None
    assert run("rpc", "a.b", "-", stdin=b'{"k":1}').code == 0
    assert [one.raw for one in fake.requests] == [b"\x00\x01", b"text", b'{"k":1}\0']


def wait_until(run: Run, has_come: Callable[[], bool]) -> None:
    """Give the other side turns until it has read something that nobody answers."""
    for _ in range(100):
        if has_come():
            return
        run("lsattr")


def test_rpc_to_a_rank_streaming_and_without_response(fake: FakeBroker, run: Run) -> None:
    fake.answers["a.b"] = [{"n": 1}, {"n": 2}]
    assert run("rpc", "-r", "3", "--stream", "a.b").out == '{"n":1}\n{"n":2}\n'
    assert fake.nodeids("a.b") == [3]
    assert run("rpc", "--no-response", "a.c").out == ""
    # Nobody answers, so the command may be over before the other side has read.
    wait_until(run, lambda: "a.c" in fake.topics)
    assert [one.flags & FLAG_NORESPONSE for one in fake.requests if one.topic == "a.c"] == [FLAG_NORESPONSE]


def test_rpc_hints_at_the_nearest_service(fake: FakeBroker, run: Run) -> None:
    assert run("rpc", "contnt.load").err == (
        "error: No service matching contnt.load is registered (ENOSYS)\n"
        "  hint: a similar one is loaded: content\n  try:  brokersim module list\n"
    )


# --- events


def wait_for_events(fake: FakeBroker, run: Run) -> list[Message]:
    wait_until(run, lambda: bool(fake.events))
    return fake.events


def test_event_pub_sends_one_event_message(fake: FakeBroker, run: Run) -> None:
    assert run("event", "pub", "--private", "a.b", '{"x":1}') == (0, "", "")
    (event,) = wait_for_events(fake, run)
    assert (event.topic, event.payload, event.flags & FLAG_PRIVATE) == ("a.b", {"x": 1}, FLAG_PRIVATE)
    assert fake.topics.count("event.publish") == 0


def test_event_pub_in_json_says_what_was_published(fake: FakeBroker, run: Run) -> None:
    assert run("event", "pub", "--json", "a.b").json == {"published": "a.b"}


def test_event_pub_raw_is_text(fake: FakeBroker, run: Run) -> None:
    run("event", "pub", "-r", "a.b", "some text")
    assert wait_for_events(fake, run)[0].raw == b"some text\0"


def test_event_pub_synchronous_prints_the_sequence(fake: FakeBroker, run: Run) -> None:
    fake.answers["event.publish"] = {"seq": 1983}
    assert run("event", "pub", "-s", "x", '{"a":1}').out == "1983\n"
    assert run("event", "pub", "-s", "x", "--private", "--json").json == {"seq": 1983}
    # base64 of the payload bytes, their NUL included
    assert fake.asked("event.publish") == [
        {"topic": "x", "flags": 0, "payload": "eyJhIjoxfQA="}, {"topic": "x", "flags": 32},
    ]  # fmt: skip
    assert fake.nodeids("event.publish") == [0, 0]


def test_event_sub_prints_topic_and_payload(fake: FakeBroker, run: Run) -> None:
    fake.on_subscribe = [
        Message(EVENT, topic="foo.bar", data={"x": 1}, seq=3, flags=8), Message(EVENT, topic="foo", seq=4, flags=8),
    ]  # fmt: skip
    assert run("event", "sub", "-c", "2", "foo").out == 'foo.bar\t{"x":1}\nfoo\n'
    assert fake.topics == ["event.subscribe", "event.unsubscribe"]
    assert run("event", "sub", "-c", "2", "foo", "--json").lines == [
        {"topic": "foo.bar", "seq": 3, "payload": {"x": 1}}, {"topic": "foo", "seq": 4, "payload": None},
    ]  # fmt: skip


def test_event_sub_without_a_prefix_wants_everything(fake: FakeBroker, run: Run) -> None:
    fake.on_subscribe = [Message(EVENT, topic="foo", data="plain text", flags=8)]
    assert run("event", "sub", "-c", "1", "--json").lines[0]["payload"] == "plain text"
    assert fake.subscriptions == [""]


# --- ping


@pytest.fixture
def pinged(fake: FakeBroker) -> FakeBroker:
    def answer(request: Message) -> dict[str, Any]:
        return {**request.payload, "route": "aa!bb", "userid": 0, "rolemask": 5, "rank": 4}

    fake.answers["kvs.ping"] = answer
    fake.answers["broker.ping"] = answer
    return fake


def test_ping_prints_each_and_sums_up(pinged: FakeBroker, run: Run) -> None:
    result = run("ping", "-i", "0", "-c", "3", "4!kvs")
    lines = result.out.splitlines()
    assert [re.sub(r"time=[\d.]+", "time=T", line) for line in lines] == [
        f"4!kvs.ping pad=0 seq={seq} time=T ms (aa!bb)" for seq in range(3)
    ]
    assert re.fullmatch(r"3 sent, 3 received, min/p50/p99/max ([\d.]+/){3}[\d.]+ ms\n", result.err)
    assert pinged.nodeids("kvs.ping") == [4, 4, 4]
    assert [one["seq"] for one in pinged.asked("kvs.ping")] == [0, 1, 2]
    assert set(pinged.asked("kvs.ping")[0]) == {"seq", "time.tv_sec", "time.tv_nsec", "pad"}


def test_ping_targets(pinged: FakeBroker, run: Run) -> None:
    run("ping", "-c", "1", "4")
    run("ping", "-c", "1", "kvs")
    run("ping", "-c", "1", "-r", "2", "kvs")
    run("ping", "-c", "1", "any!kvs")
    assert pinged.topics == ["broker.ping", "kvs.ping", "kvs.ping", "kvs.ping"]
    assert pinged.nodeids("broker.ping") == [4]
    assert pinged.nodeids("kvs.ping") == [NODEID_ANY, 2, NODEID_ANY]


def test_ping_batch_sends_all_before_reading(pinged: FakeBroker, run: Run) -> None:
    result = run("ping", "-b", "-c", "50", "-p", "1000", "kvs")
    assert len(result.out.splitlines()) == 50
    assert len(pinged.asked("kvs.ping")[0]["pad"]) == 1000


def test_ping_json_and_userid(pinged: FakeBroker, run: Run) -> None:
    (line,) = run("ping", "-c", "1", "kvs", "--json").lines
    assert line.pop("time_ms") > 0
    assert line == {
        "target": "kvs", "seq": 0, "route": "aa!bb", "userid": 0, "rolemask": 5, "rank": 4, "pad_bytes": 0,
    }  # fmt: skip
    assert " userid=0 rolemask=0x5 seq=0 " in run("ping", "-u", "-c", "1", "kvs").out


def test_ping_prints_the_errnos_own_text(pinged: FakeBroker, run: Run) -> None:
    pinged.answers["kv.ping"] = RequestError(ENOSYS, "No service matching kv.ping is registered")
    result = run("ping", "-c", "1", "kv")
    assert result.code == 4
    assert result.err == (
        "error: kv.ping: Function not implemented (ENOSYS)\n"
        "  hint: a similar one is loaded: kvs\n  try:  brokersim module list\n"
    )
