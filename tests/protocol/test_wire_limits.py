"""Sizes a peer may choose: long frames cost in proportion, absurd ones are refused, tables stay bounded."""

from __future__ import annotations

import time

import pytest

from brokersim.protocol import wire
from brokersim.protocol.errnums import EPROTO, ProtocolError, RequestError
from brokersim.protocol.message import (
    EVENT,
    FLAG_NORESPONSE,
    FLAG_ROUTE,
    FLAG_STREAMING,
    REQUEST,
    RESPONSE,
    Message,
)


def header(length: int) -> bytes:
    return wire.MAGIC + length.to_bytes(4, "big")


def test_a_frame_of_32_MiB_in_reads_of_4_KiB_is_joined_once() -> None:
    frame = wire.encode(Message(EVENT, "big", bytes(32 * 2**20)))
    decoder = wire.FrameDecoder()
    messages: list[Message] = []
    # CPU time, because others use the machine; joining at each read would copy 128 GiB and take half a minute.
    started = time.process_time()
    for at in range(0, len(frame), 4096):
        messages.extend(decoder.feed(frame[at : at + 4096]))
    assert time.process_time() - started < 3
    assert [(message.topic, len(message.data)) for message in messages] == [("big", 32 * 2**20)]


def test_an_announced_length_of_1_GiB_is_refused_before_any_of_it_is_awaited() -> None:
    decoder = wire.FrameDecoder()
    with pytest.raises(ProtocolError, match=f"announces {2**30} bytes, the limit is {wire.MAX_FRAME}"):
        list(decoder.feed(header(2**30)))
    assert decoder.pending == 0


def test_the_limit_itself_is_awaited_and_one_byte_more_is_refused() -> None:
    decoder = wire.FrameDecoder()
    assert list(decoder.feed(header(wire.MAX_FRAME))) == []
    with pytest.raises(ProtocolError, match="the limit is"):
        list(wire.FrameDecoder().feed(header(wire.MAX_FRAME + 1)))


def test_a_message_longer_than_a_frame_may_be_is_not_sent() -> None:
    with pytest.raises(ProtocolError, match=r"^big: frame of \d+ bytes, the limit is \d+$"):
        wire.encode(Message(EVENT, "big", bytes(wire.MAX_FRAME)))


@pytest.mark.parametrize("start", [b"\x13", b"\x12\x01", b"\xff\xee\x00\x12", b"GET / HTTP/1.1\r\n"])
def test_a_wrong_magic_is_refused_at_its_first_wrong_byte(start: bytes) -> None:
    with pytest.raises(ProtocolError, match=f"frame starts with {start[:4].hex()}, not 1200eeff"):
        list(wire.FrameDecoder().feed(start))


def test_messages_before_a_bad_frame_are_still_delivered() -> None:
    good = wire.encode(Message(EVENT, "x"))
    messages = wire.FrameDecoder().feed(good + b"bad")
    assert next(messages).topic == "x"
    with pytest.raises(ProtocolError):
        next(messages)


@pytest.mark.parametrize(
    ("body", "fault"),
    [
        ("", "does not end in a PROTO part"),
        ("13" + "8e010400" + "00" * 16, "does not end in a PROTO part"),
        ("14" + "8f010400" + "00" * 16, "magic 0x8f"),
        ("14" + "8e020400" + "00" * 16, "version 2"),
        ("14" + "8e010300" + "00" * 16, "type 0x3"),
        ("14" + "8e010144" + "00" * 16, "noresponse and streaming exclude each other"),
        ("00" + "14" + "8e010400" + "00" * 16, "1 bytes between the last part and PROTO"),
        ("14" + "8e010401" + "00" * 16, "ends where a part was due"),
        ("0278" + "14" + "8e010401" + "00" * 16, "part of 2 bytes, but 1 are left"),
        ("ff0000" + "14" + "8e010401" + "00" * 16, "ends inside a part's length"),
        ("ffffffffff" + "14" + "8e010401" + "00" * 16, "part of 4294967295 bytes, but 0 are left"),
        ("03780078" + "14" + "8e010401" + "00" * 16, "NUL inside"),
        ("01ff" + "14" + "8e010401" + "00" * 16, "topic is not UTF-8"),
        ("01ff00" + "14" + "8e010408" + "00" * 16, "route is not UTF-8"),
        ("0178" + "14" + "8e010408" + "00" * 16, "ends where a part was due"),
    ],
)
def test_the_error_names_what_is_wrong_with_a_message(body: str, fault: str) -> None:
    with pytest.raises(ProtocolError, match=fault):
        wire.decode(bytes.fromhex(body))


def test_a_route_stack_has_at_most_1024_entries() -> None:
    routes = tuple(f"r{index}" for index in range(1024))
    longest = wire.encode(Message(REQUEST, "x", flags=FLAG_ROUTE, routes=routes))
    assert wire.decode(longest[8:]).routes == routes
    too_long = wire.encode(Message(REQUEST, "x", flags=FLAG_ROUTE, routes=(*routes, "one-more")))
    with pytest.raises(ProtocolError, match="more than 1024 routes"):
        wire.decode(too_long[8:])


@pytest.mark.parametrize(
    ("message", "fault"),
    [
        (Message(RESPONSE, "kvs.lookup", errnum=-1), "kvs.lookup: a field does not fit"),
        (Message(REQUEST, "x", matchtag=2**32), "x: a field does not fit"),
        (Message(EVENT, "x", flags=0x100), "x: a field does not fit"),
        (Message(EVENT, "a\0b"), "topic 'a\\\\x00b' cannot be sent: it is empty or has a NUL inside"),
        (Message(EVENT, "\udcff"), "topic '\\\\udcff' cannot be sent as UTF-8"),
        (Message(EVENT, "x", flags=FLAG_ROUTE, routes=("",)), "route '' cannot be sent: it is empty"),
    ],
    ids=["negative errnum", "wide matchtag", "wide flags", "NUL", "surrogate", "empty route"],
)
def test_a_message_that_would_not_be_understood_is_not_sent(message: Message, fault: str) -> None:
    with pytest.raises(RequestError, match=fault) as caught:
        wire.encode(message)
    assert caught.value.errno == EPROTO


def test_topics_a_peer_invents_do_not_fill_the_memory() -> None:
    for index in range(3 * wire._INTERN_MAX):
        topic = f"invented-{index}"
        assert wire.decode(wire.encode(Message(EVENT, topic))[8:]).topic == topic
    long = "long." + "t" * 10_000
    assert wire.decode(wire.encode(Message(EVENT, long))[8:]).topic == long
    for table in (wire._PARTS, wire._TEXTS):
        assert 0 < len(table) <= wire._INTERN_MAX
        assert max(map(len, table)) <= wire._INTERN_LENGTH_MAX


def test_a_repeated_topic_is_one_string_in_memory() -> None:
    frame = wire.encode(Message(EVENT, "heartbeat.pulse"))
    assert wire.decode(frame[8:]).topic is wire.decode(frame[8:]).topic


def test_other_flags_travel_as_they_are() -> None:
    for flags in (FLAG_NORESPONSE, FLAG_STREAMING, 0x10, 0x20, 0x80, 0xB0):
        assert wire.decode(wire.encode(Message(REQUEST, "x", flags=flags))[8:]).flags == flags | 1


def test_an_empty_topic_is_read_and_written() -> None:
    (request,) = wire.FrameDecoder().feed(header(22) + bytes.fromhex("00148e010101" + "00" * 16))
    assert (request.type, request.topic) == (REQUEST, "")
    answer = wire.encode(Message(RESPONSE, "", None, FLAG_ROUTE, matchtag=7, errnum=38))
    assert answer[8:10] == b"\0\0", "an empty route stack, and an empty topic behind it"
