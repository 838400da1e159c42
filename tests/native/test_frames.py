"""Frames by C and by Python: the same bytes, the same messages, the same refusals, and nothing left behind."""

from __future__ import annotations

import gc
import sys
import tracemalloc
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from brokersim.protocol import message as message_file
from brokersim.protocol import wire
from brokersim.protocol.errnums import ProtocolError, RequestError
from brokersim.protocol.message import Message
from tests.native import twins

FIELDS = (
    "type",
    "topic",
    "data",
    "flags",
    "matchtag",
    "userid",
    "rolemask",
    "routes",
    "seq",
    "nodeid",
    "errnum",
)
pytestmark = pytest.mark.skipif(
    twins.usual().engine.engine() != "compiled", reason="nothing is compiled here"
)

words = st.text(max_size=5) | st.sampled_from(
    ["kvs.ping", "a" * 128, "a" * 129, "b" * 254, "c" * 255, "é.x", "\0", "x\0"]
)
numbers = st.sampled_from([0, 1, 255, 256, (1 << 32) - 1]) | st.integers(0, (1 << 32) - 1)
odd = numbers | st.sampled_from([-1, 1 << 32, 1 << 70, True, None, "1"])
payloads = (
    st.none() | st.binary(max_size=20) | st.text(max_size=5) | st.just({"a": [1]}) | st.just(b"x" * 255)
    | st.just(b"y" * 70_000) | st.just(object) | st.just("\ud800")
)  # fmt: skip


def messages(values: st.SearchStrategy[Any]) -> st.SearchStrategy[dict[str, Any]]:
    return st.fixed_dictionaries(
        {
            "type": st.sampled_from([1, 3, 5, 7]),
            "topic": words,
            "data": payloads,
            "flags": st.integers(0, 255),
            "routes": st.lists(words, max_size=3).map(tuple),
            **dict.fromkeys(("matchtag", "userid", "rolemask", "seq", "nodeid", "errnum"), values),
        }
    )


def told(module: Any, errors: Any, what: str, *arguments: Any) -> Any:
    """What one engine makes of something: a value, or the name and words of an error."""
    try:
        made = getattr(module, what)(*arguments)
    except (errors.RequestError, errors.ProtocolError) as error:
        return type(error).__name__, str(error)
    except Exception as error:
        return type(error).__name__
    if isinstance(made, bytes) or made is None:
        return made
    found = made if isinstance(made, list) else [made]
    return [[(getattr(one, name), type(getattr(one, name))) for name in FIELDS] for one in found]


def both(what: str, *arguments: Any) -> tuple[Any, Any]:
    usual, python = twins.usual(), twins.python()
    if isinstance(arguments[0], dict):
        given_to = (usual.message.Message(**arguments[0]),), (python.message.Message(**arguments[0]),)
    else:
        given_to = arguments, arguments
    return told(usual.wire, usual.errnums, what, *given_to[0]), told(
        python.wire, python.errnums, what, *given_to[1]
    )


@given(messages(numbers))
def test_a_message_has_one_frame(fields: dict[str, Any]) -> None:
    ours, theirs = both("encode", fields)
    assert ours == theirs


@given(messages(odd))
def test_what_fits_no_frame_is_refused_in_the_same_words(fields: dict[str, Any]) -> None:
    ours, theirs = both("encode", fields)
    assert ours == theirs


@given(messages(numbers), st.data())
def test_a_frame_is_one_message_and_damage_the_same_fault(
    fields: dict[str, Any], data: st.DataObject
) -> None:
    try:
        frame = wire.encode(Message(**fields))
    except (RequestError, ProtocolError):
        return
    body = bytearray(frame[wire.HEADER_SIZE :])
    assert len({repr(one) for one in both("decode", bytes(body))}) == 1
    for _ in range(3):
        body[data.draw(st.integers(0, len(body) - 1))] = data.draw(st.integers(0, 255))
        ours, theirs = both("decode", bytes(body))
        assert ours == theirs
    body = body[: data.draw(st.integers(0, len(body)))]
    ours, theirs = both("decode", bytes(body))
    assert ours == theirs


@given(st.binary(max_size=60))
@example(b"")
@example(b"\x14" + b"\x8e\x01\x01\x09" + b"\0" * 16)
def test_garbage_is_the_same_fault(body: bytes) -> None:
    ours, theirs = both("decode", body)
    assert ours == theirs


@given(
    st.lists(messages(numbers), max_size=4), st.integers(-3, 3), st.integers(0, 1 << 16), st.integers(0, 255)
)
def test_whole_frames_are_all_or_none(many: list[dict[str, Any]], cut: int, at: int, byte: int) -> None:
    data = b""
    for fields in many:
        try:
            data += wire.encode(Message(**fields))
        except (RequestError, ProtocolError):
            continue
    ours, theirs = both("whole_frames", data)
    assert ours == theirs
    damaged = bytearray(data[:cut] if cut < 0 else data + b"x" * cut)
    if damaged:
        damaged[at % len(damaged)] = byte
    ours, theirs = both("whole_frames", bytes(damaged))
    assert ours == theirs


def test_frames_are_taken_by_c_and_without_their_ends_by_none() -> None:
    data = wire.encode(Message(1, "a", {"b": 1}, 8, 7)) + wire.encode(Message(3, "a", None, 8, 7, errnum=2))
    whole = wire.whole_frames(data)
    assert whole is not None
    assert [(one.type, one.topic, one.data, one.errnum) for one in whole] == [
        (1, "a", b'{"b":1}\0', 0),
        (3, "a", None, 2),
    ]
    assert [wire.whole_frames(data[:end]) for end in (len(data) - 1, 7)] == [None, None]
    assert not isinstance(wire.whole_frames, type(test_nothing_is_left_behind))


def test_another_thing_than_bytes_is_refused_alike() -> None:
    for what, argument in (("decode", 7), ("encode", 7), ("whole_frames", 7), ("encode", None)):
        ours, theirs = both(what, argument)
        assert ours == theirs


def test_topics_are_remembered_and_bounded() -> None:
    frame = wire.encode(Message(1, "kvs.ping"))[wire.HEADER_SIZE :]
    assert wire.decode(frame).topic is wire.decode(frame).topic
    for number in range(2_000):
        body = wire.encode(Message(1, f"topic.{number}"))[wire.HEADER_SIZE :]
        assert wire.decode(body).topic == f"topic.{number}"


def test_nothing_is_left_behind() -> None:
    message = Message(1, "kvs.ping", {"seq": 1}, 8, 5, routes=())
    routed = Message(3, "a.b", b"x" * 300, 8, 5, routes=("one", "two"))

    def work(count: int) -> None:
        for _ in range(count):
            frames = wire.encode(message) + wire.encode(routed)
            wire.whole_frames(frames)
            wire.whole_frames(wire.encode(message) * 3)
            wire.whole_frames(frames[:-1])
            for damaged in (frames[8:40], b"", b"\x14" * 21):
                try:
                    wire.decode(damaged)
                except ProtocolError:
                    pass
            try:
                wire.encode(Message(1, "a", matchtag=-1))
            except RequestError:
                pass

    work(50)
    gc.collect()
    held = [
        sys.getrefcount(one) for one in (message, message.topic, message.data, message_file.encode_payload)
    ]
    tracemalloc.start()
    work(50)
    before = tracemalloc.get_traced_memory()[0]
    work(500)
    gc.collect()
    grown = tracemalloc.get_traced_memory()[0] - before
    tracemalloc.stop()
    assert grown < 2_000
    assert held == [
        sys.getrefcount(one) for one in (message, message.topic, message.data, message_file.encode_payload)
    ]
