"""The codec of a client that asks once: byte for byte what the whole codec says, or nothing."""

from __future__ import annotations

import json
import math
import subprocess
import sys
from typing import Any

import msgspec
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from brokersim.protocol import lean, wire
from brokersim.protocol.errnums import RequestError
from brokersim.protocol.lean import Unsure
from brokersim.protocol.message import FLAG_ROUTE, FLAG_STREAMING, REQUEST, RESPONSE, Message

#: All that Python's json would take, more than msgspec takes.
loose = st.recursive(
    st.none() | st.booleans() | st.integers(-(1 << 70), 1 << 70) | st.floats() | st.text(st.characters()),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4),
    max_leaves=8,
)
objects = st.dictionaries(st.text(), loose, max_size=4)
topics = st.text("abc.-_é\0", max_size=12) | st.sampled_from(["kvs.lookup", "x" * 254, "x" * 255])


@given(topics, st.none() | objects, st.integers(0, (1 << 32) - 1))
@example("kvs.lookup", {"key": "a.b", "namespace": "primary", "flags": 0}, lean.NODEID_ANY)
@example("kvs.lookup", {"key": "x" * 240}, 0)
@example("kvs.lookup", {"key": "x" * 300}, 0)
def test_a_request_is_the_frame_the_whole_codec_makes(topic: str, payload: Any, nodeid: int) -> None:
    try:
        frame = lean.request(topic, payload, nodeid)
    except Unsure:
        return
    assert frame == wire.encode(Message(REQUEST, topic, payload, FLAG_ROUTE, lean.MATCHTAG, nodeid=nodeid))


@pytest.mark.parametrize(
    "payload", [None, {}, {"key": "a.b", "flags": 16, "n": [None, True, 1.5, -3, {"é": "ü\n"}]}]
)
def test_what_commands_ask_is_surely_written(payload: Any) -> None:
    assert lean.request("kvs.lookup", payload)


@given(st.integers(0, 200), st.none() | st.binary(max_size=300) | objects, st.data())
def test_a_response_is_what_the_whole_codec_reads_and_a_part_of_it_is_none(
    errnum: int, payload: Any, data: st.DataObject
) -> None:
    try:
        frame = wire.encode(Message(RESPONSE, "kvs.lookup", payload, FLAG_ROUTE, 1, errnum=errnum))
    except RequestError:
        return
    assert lean.response(frame) == (errnum, wire.decode(frame[wire.HEADER_SIZE :]).data)
    assert lean.response(frame[: data.draw(st.integers(0, len(frame) - 1))]) is None


def test_another_frame_than_the_answer_is_not_known() -> None:
    good = Message(RESPONSE, "a.b", {"x": 1}, FLAG_ROUTE, 1)
    others = [
        Message(RESPONSE, "a.b", {"x": 1}, FLAG_ROUTE, 2),
        Message(REQUEST, "a.b", {"x": 1}, FLAG_ROUTE, 1),
        Message(RESPONSE, "a.b", {"x": 1}, FLAG_ROUTE | FLAG_STREAMING, 1),
        Message(RESPONSE, "a.b", {"x": 1}, FLAG_ROUTE, 1, routes=("client",)),
        Message(RESPONSE, "a.b", {"x": 1}, 0, 1),
    ]
    for other in others:
        with pytest.raises(Unsure):
            lean.response(wire.encode(other))
    with pytest.raises(Unsure):
        lean.response(wire.encode(good) * 2)


@pytest.mark.parametrize("topic", [b"\x80.b", b"a\0b", b""])
def test_a_topic_that_is_none_is_for_the_whole_codec(topic: bytes) -> None:
    frame = wire.encode(Message(RESPONSE, "a.b", {"x": 1}, FLAG_ROUTE, 1))
    frame = frame.replace(b"\3a.b", bytes([len(topic)]) + topic)
    size = len(frame) - wire.HEADER_SIZE
    with pytest.raises(Unsure):
        lean.response(frame[:4] + size.to_bytes(4, "big") + frame[wire.HEADER_SIZE :])


@given(st.data(), st.binary(max_size=40))
def test_garbage_is_unsure_or_what_the_whole_codec_reads(data: st.DataObject, noise: bytes) -> None:
    frame = bytearray(wire.encode(Message(RESPONSE, "a.b", {"x": 1}, FLAG_ROUTE, 1)))
    at = data.draw(st.integers(0, len(frame)))
    frame[at : at + len(noise)] = noise
    try:
        found = lean.response(bytes(frame))
    except Unsure:
        return
    if found is not None:
        read = wire.decode(bytes(frame)[wire.HEADER_SIZE :])
        assert found == (read.errnum, read.data)


@given(loose)
def test_json_is_written_as_msgspec_writes_it(value: Any) -> None:
    try:
        written = lean.to_json(value)
    except Unsure:
        return
    assert written == msgspec.json.encode(value)


@given(loose)
def test_json_for_people_is_laid_out_as_msgspec_does(value: Any) -> None:
    try:
        ours = lean.indented(value)
    except Unsure:
        return
    assert ours == msgspec.json.format(msgspec.json.encode(value), indent=1).decode()


@given(st.dictionaries(st.text(), loose), st.booleans())
@example({"a": 1 << 63}, True)
@example({"a": math.inf}, True)
def test_json_is_read_as_msgspec_reads_it(value: Any, ascii_only: bool) -> None:
    raw = (
        json.dumps(value, ensure_ascii=ascii_only, separators=(",", ":")).encode(errors="surrogatepass")
        + b"\0"
    )
    try:
        found = lean.from_json(raw)
    except Unsure:
        return
    assert repr(found) == repr(msgspec.json.decode(raw[:-1]))


@given(st.text('{}[]":,\\ue0123456789.-+E truefalsnNaInity\n "', max_size=16))
def test_json_that_msgspec_refuses_is_not_read(text: str) -> None:
    try:
        found = lean.from_json(text.encode())
    except Unsure:
        return
    assert repr(found) == repr(msgspec.json.decode(text))


def test_numbers_both_write_alike_are_surely_written() -> None:
    for number in (0, -1, (1 << 64) - 1, -(1 << 63), 0.5, 12.25, -0.1, 1700000000.123456):
        assert lean.to_json({"n": number}) == msgspec.json.encode({"n": number})
    for number in (1 << 64, -(1 << 63) - 1, 1e30, 1e-7, math.inf, math.nan):
        with pytest.raises(Unsure):
            lean.to_json({"n": number})


def test_without_the_scanner_in_c_the_same_is_read() -> None:
    code = (
        "import sys; sys.modules['_json'] = None\n"
        "from brokersim.protocol import lean\n"
        "assert lean.make_scanner is None\n"
        """print(lean.from_json(b'{"a":[1,2.5,null,"x"]}\\0'))"""
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert (done.stdout, done.stderr) == ("{'a': [1, 2.5, None, 'x']}\n", "")
