"""Recorded traces: which requests are sent again, and how the answers compare. Recorded and replayed for real, too."""

from __future__ import annotations

import json
import math
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from brokersim.lab.load.message_trace import MessageTrace, TraceError, parse_trace
from brokersim.lab.load.replay_report import Replayed, Replies
from brokersim.lab.load.workload_run import replay_inside
from brokersim.program import open_instance, run
from brokersim.protocol.errnums import ENODATA, ENOENT, RequestError
from brokersim.protocol.message import Message


def line(
    t: float, prefix: str, name: str, kind: int, topic: str, payload: Any = None, errnum: int = 0
) -> bytes:
    size = len(json.dumps(payload)) if payload is not None else 0
    record = {"timestamp": t, "prefix": prefix, "rank": -1, "name": name, "type": kind, "topic": topic,
              "payload_size": size, "payload": payload, "errnum": errnum, "errstr": ""}  # fmt: skip
    return json.dumps(record).encode() + b"\n"


COMMIT = [
    line(100.0, "rx", "kvs", 1, "kvs.commit", {"a": 1}),
    line(100.0, "tx", "kvs", 1, "content.store", {"x": 2}),
    line(100.001, "rx", "content-cache", 1, "content.store", {"x": 2}),
    line(100.002, "tx", "content-cache", 2, "content.store", {"ref": "r"}),
    line(100.003, "tx", "kvs", 2, "kvs.commit", {"rootseq": 7}),
    line(100.5, "rx", "kvs", 1, "kvs.disconnect"),
    line(101.5, "rx", "kvs", 1, "kvs.lookup", {"key": "no"}),
    line(101.5, "tx", "kvs", 2, "kvs.lookup", errnum=ENOENT),
]


def test_requests_from_outside_are_sent_again_and_what_modules_asked_each_other_is_not() -> None:
    found = parse_trace(COMMIT)
    assert [(one.at, one.topic, one.errnum, one.answer) for one in found.requests] == [
        (0.0, "kvs.commit", 0, {"rootseq": 7}),
        (1.5, "kvs.lookup", ENOENT, None),
    ]
    assert found.requests[0].took_s == pytest.approx(0.003)
    assert found.left_out == {"sent by a module": 1, "administration": 1}
    assert found.span == 1.5


def test_only_the_services_named_and_no_more_than_the_limit() -> None:
    more = [*COMMIT, line(102, "rx", "cron", 1, "cron.list", {})]
    assert [one.topic for one in parse_trace(more, services=("cron",)).requests] == ["cron.list"]
    assert [one.topic for one in parse_trace(more, limit=1).requests] == ["kvs.commit"]


def test_a_request_whose_payload_was_not_recorded_is_left_out_and_told() -> None:
    record = json.loads(COMMIT[0]) | {"payload": None}
    found = parse_trace([json.dumps(record).encode()])
    assert found.requests == ()
    assert found.left_out == {"payload not recorded (module trace --full) or no JSON": 1}


def test_a_request_with_many_answers_was_a_stream() -> None:
    lines = [
        line(1, "rx", "kvs-watch", 1, "kvs-watch.lookup", {"key": "a"}),
        line(2, "tx", "kvs-watch", 2, "kvs-watch.lookup", {"val": 1}),
        line(3, "tx", "kvs-watch", 2, "kvs-watch.lookup", {"val": 2}),
        line(4, "tx", "kvs-watch", 2, "kvs-watch.lookup", errnum=ENODATA),
    ]
    (one,) = parse_trace(lines).requests
    assert (one.is_streaming, one.answer) == (True, {"val": 1})


@pytest.mark.parametrize("wrong", [b"{", b"[]", b"3", b'{"timestamp": "x"}', b"\xff\xfe", b'{"type": 1}'])
def test_a_line_that_is_no_record_is_told_by_file_and_line(wrong: bytes) -> None:
    with pytest.raises(TraceError, match=r"day\.jsonl:2: no record of a trace: .*module trace --full --json"):
        parse_trace([COMMIT[0], wrong], "day.jsonl")


STEPS = st.lists(
    st.tuples(st.sampled_from(["rx1", "tx2"]), st.sampled_from("ab"), st.integers(0, 3)), max_size=30
)


@given(STEPS)
def test_the_oldest_open_request_for_a_topic_gets_the_answer(steps: list[tuple[str, str, int]]) -> None:
    lines, waiting, expected = [], {"a": [], "b": []}, []  # type: ignore[var-annotated]
    for at, (kind, topic, value) in enumerate(steps):
        lines.append(line(float(at), kind[:2], "m", int(kind[2]), f"m.{topic}", {"v": value}))
        if kind == "rx1":
            expected.append([value, None])
            waiting[topic].append(expected[-1])
        elif waiting[topic]:
            waiting[topic].pop(0)[1] = {"v": value}
    found = parse_trace(lines)
    assert [[one.payload["v"], one.answer] for one in found.requests] == expected


def compared(then: tuple[int, Any], now: tuple[int, Any]) -> Replayed:
    trace = parse_trace(
        [line(0, "rx", "m", 1, "m.x", {}), line(1, "tx", "m", 2, "m.x", then[1], errnum=then[0])]
    )
    replies = Replies(trace)
    replies.take(0, *now, 0.25)
    return replies.result(1.0)


@pytest.mark.parametrize(
    ("then", "now", "same"),
    [
        ((0, {"a": 1}), (0, {"a": 1}), True),
        ((0, {"a": 1}), (0, {"a": 2}), False),
        ((0, {"a": 1, "rootseq": 4}), (0, {"a": 1, "rootseq": 9}), True),
        ((2, None), (2, None), True),
        ((2, None), (38, None), False),
        ((0, None), (2, None), False),
        ((0, None), (0, None), True),
    ],
)
def test_answers_are_the_same_but_for_what_is_new_in_every_run(then: Any, now: Any, same: bool) -> None:
    found = compared(then, now)
    assert (found.same, len(found.differently), found.is_same) == (int(same), int(not same), same)
    assert (found.median_then_s, found.median_now_s) == (1.0, 0.25)


def test_what_was_said_otherwise_is_told_as_it_was_and_as_it_is() -> None:
    def told(then: tuple[int, Any], now: tuple[int, Any]) -> tuple[str, str]:
        (one,) = compared(then, now).differently
        return one.then, one.now

    assert told((0, {"a": 1}), (ENODATA, None)) == ("{'a': 1}", "end of stream")
    assert told((2, None), (0, {"a": "x" * 200})) == ("ENOENT", f"{{'a': '{'x' * 112}…")


def test_a_request_that_names_a_new_id_waits_for_it_and_names_todays() -> None:
    trace = parse_trace(
        [
            line(0, "rx", "job-manager", 1, "job-ingest.submit", {"J": "x"}),
            line(1, "tx", "job-manager", 2, "job-ingest.submit", {"id": 500}),
            line(2, "rx", "job-manager", 1, "job-manager.wait", {"id": 500}),
        ]
    )
    replies = Replies(trace)
    assert (replies.needs(0), replies.needs(1)) == (None, 0)
    replies.take(0, 0, {"id": 900}, 0.1)
    assert replies.needs(1) is None
    assert replies.payload(1) == {"id": 900}
    assert replies.is_complete  # the other was not answered in the trace either


def test_what_had_been_answered_is_answered_before_the_next_is_sent_and_what_was_still_out_is_not_waited_for() -> (
    None
):
    trace = parse_trace(
        [
            line(0, "rx", "kvs", 1, "kvs.wait-version", {"rootseq": 9}),
            line(1, "rx", "kvs", 1, "kvs.commit", {"a": 1}),
            line(2, "tx", "kvs", 2, "kvs.commit", {}),
            line(3, "rx", "kvs", 1, "kvs.lookup", {"key": "a"}),
            line(4, "tx", "kvs", 2, "kvs.wait-version", {}),
        ]
    )
    replies = Replies(trace)
    assert [replies.needs(number) for number in range(3)] == [None, None, 1]
    replies.take(1, 0, {}, 0.1)
    assert replies.needs(2) is None


def test_an_answer_that_does_not_come_is_given_up() -> None:
    replies = Replies(parse_trace(COMMIT))
    assert replies.needs(1) == 0
    replies.give_up(0)
    assert replies.needs(1) is None
    assert replies.result(1.0).unanswered == 2


def test_what_does_not_come_is_counted_as_unanswered() -> None:
    replies = Replies(parse_trace(COMMIT))
    assert not replies.is_complete
    assert replies.result(1.0).unanswered == 2


async def record() -> list[bytes]:
    """What a client asks of an instance, as `module trace --full --json` writes it."""
    lines: list[bytes] = []
    async with open_instance(clock="virtual", seed=1) as instance:
        watcher, client = instance.client(), instance.client()
        request = {"typemask": 15, "topic_glob": "*", "names": [], "full": True}

        def heard(response: Message, _: object) -> None:
            if not response.errnum:
                lines.append(json.dumps(response.payload).encode())

        watcher.stream("module.trace", request, heard)
        await instance.sleep(0.1)
        await client.call("kvs.commit", {"namespace": "primary", "flags": 0, "ops": []})
        with pytest.raises(RequestError):
            await client.call("kvs.lookup", {"key": "nope", "namespace": "primary", "flags": 0})
        await instance.sleep(1.0)
        await client.call("cron.list", {})
        client.close()
        watcher.close()
    return lines


async def replayed(trace: MessageTrace, speed: float) -> Replayed:
    async with open_instance(clock="virtual", seed=2) as instance:
        return await replay_inside(instance, trace, speed)


@pytest.mark.parametrize("speed", [1.0, 4.0, math.inf])
def test_a_recording_replayed_into_a_new_instance_is_answered_as_before(speed: float) -> None:
    trace = parse_trace(run(record, clock="virtual"))
    assert [one.topic for one in trace.requests] == ["kvs.commit", "kvs.lookup", "cron.list"]
    found = run(replayed, trace, speed, clock="virtual")
    assert (found.sent, found.same, found.differently, found.unanswered) == (3, 3, (), 0)
    assert found.wall_s >= trace.span / speed  # at any speed: the look-up did not overtake the commit
    assert msgspec.json.decode(msgspec.json.encode(found.to_json()))["same"] == 3
