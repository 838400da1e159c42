"""Whatever bytes come, the codec gives messages or ProtocolError, and agrees with a second codec on which.

How many examples are drawn is the hypothesis profile's choice; one draw is kept cheap for the slow one.
"""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from brokersim.protocol import wire
from brokersim.protocol.errnums import ProtocolError, RequestError
from brokersim.protocol.message import EVENT, FLAG_ROUTE, FLAG_TOPIC, REQUEST, RESPONSE, Message
from tests import strategies
from tests.protocol import reference_codec

WIRE_TYPE = {1: 1, 3: 2, 5: 4, 7: 8}


def as_reference(message: Message) -> dict[str, Any]:
    """The reference codec's view of a message whose payload is raw bytes."""
    fields: dict[str, Any] = {
        "type": WIRE_TYPE[message.type],
        "flags": message.flags | (1 if message.topic else 0) | (2 if message.data is not None else 0),
        "userid": message.userid,
        "rolemask": message.rolemask,
        "aux1": {REQUEST: message.nodeid, EVENT: message.seq}.get(message.type, message.errnum),
        "aux2": 0 if message.type == EVENT else message.matchtag,
    }
    if message.flags & FLAG_ROUTE:
        fields["routes"] = list(reversed(message.routes))
    if fields["flags"] & FLAG_TOPIC:
        fields["topic"] = message.topic
    if message.data is not None:
        fields["payload"] = message.data
    return fields


@given(strategies.messages())
def test_both_codecs_write_the_same_bytes_and_read_them_back(message: Message) -> None:
    expected = as_reference(message)
    frame = wire.encode(message)
    assert frame == reference_codec.encode(expected)
    assert as_reference(wire.decode(frame[8:])) == expected
    assert reference_codec.decode(frame) == expected


# Edits are drawn as few small numbers: an example is then cheap to draw and its failure short to read.
edits = st.lists(
    st.tuples(st.integers(0, 2**16), st.sampled_from(["set", "del", "ins", "cut"]), st.integers(0, 255)),
    max_size=4,
)
corpus = [
    wire.encode(Message(kind, topic, data, flags=flags, routes=routes, matchtag=1))
    for kind in (REQUEST, RESPONSE, EVENT)
    for topic, data in (("kvs.lookup", b'{"key":"a"}\0'), ("x", None), ("content.store", b"\xff" * 260))
    for flags, routes in ((0, ()), (FLAG_ROUTE, ()), (FLAG_ROUTE, ("client-uuid", "broker-uuid")))
]


def mutated(frame: bytes, changes: list[tuple[int, str, int]], *, mend_length: bool) -> bytes:
    data = bytearray(frame)
    for where, what, byte in changes:
        at = where % (len(data) or 1)
        if what == "set" and data:
            data[at] = byte
        elif what == "ins":
            data.insert(at, byte)
        elif what == "del":
            del data[at : at + 1]
        elif what == "cut" and len(data) > 64:
            del data[-1:]
    if mend_length and len(data) >= 8:  # else nearly every edit would end at the header
        data[4:8] = (len(data) - 8).to_bytes(4, "big")
    return bytes(data)


def verdict(frame: bytes) -> dict[str, Any] | None:
    """What our codec makes of bytes that should be exactly one frame; ``None`` if it takes exception."""
    decoder = wire.FrameDecoder()
    try:
        messages = list(decoder.feed(frame))
    except ProtocolError:
        return None
    if len(messages) != 1 or decoder.pending:
        return None
    return as_reference(messages[0])


def reference_verdict(frame: bytes) -> dict[str, Any] | None:
    try:
        fields = reference_codec.decode(frame)
    except reference_codec.Refused:
        return None
    if fields["type"] == 4:
        fields["aux2"] = 0  # an event has no second field: what stands there is not looked at
    return fields


def test_an_empty_topic_is_read_and_written_again_as_it_came() -> None:
    fields = {"type": 1, "flags": 1, "userid": 0, "rolemask": 0, "aux1": 0, "aux2": 7, "topic": ""}
    frame = reference_codec.encode(fields)
    assert as_reference(wire.decode(frame[8:])) == fields
    assert wire.encode(wire.decode(frame[8:])) == frame


@given(st.sampled_from(corpus), edits)
def test_both_codecs_agree_on_which_damaged_frames_are_still_frames(frame: bytes, changes: Any) -> None:
    damaged = mutated(frame, changes, mend_length=True)
    assert verdict(damaged) == reference_verdict(damaged)


@given(st.sampled_from(corpus), edits, st.sampled_from(corpus), st.integers(1, 80))
def test_a_damaged_stream_gives_messages_or_ProtocolError_in_reads_of_any_size(
    frame: bytes, changes: Any, intact: bytes, size: int
) -> None:
    stream = intact + mutated(frame, changes, mend_length=False) + intact
    decoder = wire.FrameDecoder()
    seen: list[bytes] = []
    try:
        for at in range(0, len(stream), size):
            seen.extend(map(wire.encode, decoder.feed(stream[at : at + size])))
    except ProtocolError:
        pass
    assert seen[:1] == [intact]


@given(st.binary(max_size=200))
def test_random_bytes_in_a_frame_raise_only_ProtocolError(body: bytes) -> None:
    header = wire.MAGIC + len(body).to_bytes(4, "big")
    assert verdict(header + body) == reference_verdict(header + body)
    assert verdict(body) == reference_verdict(body)


@given(st.binary(max_size=60), st.integers(0, 255), st.sampled_from([1, 2, 4, 8]))
def test_random_parts_before_a_good_PROTO_part_are_judged_alike(parts: bytes, flags: int, kind: int) -> None:
    body = parts + bytes([20, 0x8E, 1, kind, flags]) + bytes(16)
    frame = wire.MAGIC + len(body).to_bytes(4, "big") + body
    assert verdict(frame) == reference_verdict(frame)


@given(st.sampled_from(corpus), st.data())
def test_a_truncated_frame_is_awaited_never_delivered(frame: bytes, data: st.DataObject) -> None:
    cut = data.draw(st.integers(0, len(frame) - 1))
    decoder = wire.FrameDecoder()
    assert list(decoder.feed(frame[:cut])) == []
    with pytest.raises(ProtocolError):
        wire.decode(frame[8 : max(8, cut)])


@given(st.text(max_size=20) | st.text(st.characters(categories=["Cs"]), min_size=1), st.booleans())
def test_any_text_as_topic_or_route_is_sent_faithfully_or_refused_with_RequestError(
    text: str, route: bool
) -> None:
    message = Message(EVENT, "x" if route else text, flags=FLAG_ROUTE, routes=(text,) if route else ())
    try:
        frame = wire.encode(message)
    except RequestError:
        assert "\0" in text or not text or any("\ud800" <= letter <= "\udfff" for letter in text)
        return
    decoded = wire.decode(frame[8:])
    assert (decoded.topic, decoded.routes) == (message.topic, message.routes)
