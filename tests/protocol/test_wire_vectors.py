"""Frames captured between flux-core's own clients and broker go through the codec, byte for byte."""

from __future__ import annotations

from typing import Any

import attrs
import pytest

from brokersim.protocol import wire
from brokersim.protocol.message import (
    CONTROL,
    EVENT,
    FLAG_NORESPONSE,
    FLAG_ROUTE,
    FLAG_STREAMING,
    NODEID_ANY,
    REQUEST,
    RESPONSE,
    USERID_UNKNOWN,
    Message,
)
from tests.protocol import reference_codec


@attrs.frozen(kw_only=True)
class Vector:
    """One captured frame and what it says; ``data`` is a JSON object, text, or raw bytes."""

    name: str
    hex: str
    type: int
    topic: str
    data: Any = None
    flags: int = FLAG_ROUTE
    fields: dict[str, Any] = attrs.Factory(dict)

    @property
    def frame(self) -> bytes:
        return bytes.fromhex(self.hex)

    def message(self) -> Message:
        return Message(self.type, self.topic, self.data, flags=self.flags, **self.fields)


OWNER = {"userid": 0, "rolemask": 5}
CRON_ENTRY = {
    "id": 1, "rank": 0, "name": "foo", "command": "true", "repeat": 0, "stopped": False, "type": "interval",
    "stats": {
        "ctime": 1795309121.3084426, "starttime": 1795309121.3084481, "lastrun": 0.0, "count": 0,
        "failcount": 0, "total": 0, "success": 0, "failure": 0, "deferred": 0,
    },
    "typedata": {"interval": 10.0, "after": 10.0, "next_wakeup": 1795309131.3084121},
    "tasks": [],
}  # fmt: skip
# Text and not a value: upstream prints 17 digits of a float, ours are the fewest that read back the same.
CRON_TEXT = (
    '{"id":1,"rank":0,"name":"foo","command":"true","repeat":0,"stopped":false,"type":"interval","stats":'
    '{"ctime":1795309121.3084426,"starttime":1795309121.3084481,"lastrun":0.0,"count":0,"failcount":0,"total":0,'
    '"success":0,"failure":0,"deferred":0},"typedata":{"interval":10.0,"after":10.0,'
    '"next_wakeup":1795309131.3084121},"tasks":[]}'
)

VECTORS = [
    Vector(
        name="attr.get request",
        hex="1200eeff000000300008617474722e676574107b226e616d65223a2272616e6b227d00148e01010bffffffff00000000ffff"
        "ffff00000001",
        type=REQUEST, topic="attr.get", data={"name": "rank"}, fields={"matchtag": 1},
    ),
    Vector(
        name="attr.get response",
        hex="1200eeff000000380008617474722e676574187b2276616c7565223a2230222c22666c616773223a317d00148e01020b0000"
        "0000000000050000000000000001",
        type=RESPONSE, topic="attr.get", data={"value": "0", "flags": 1}, fields={"matchtag": 1, **OWNER},
    ),
    Vector(
        name="no payload",
        hex="1200eeff00000022000b6d6f64756c652e6c697374148e010109ffffffff00000000ffffffff00000001",
        type=REQUEST, topic="module.list", fields={"matchtag": 1},
    ),
    Vector(
        name="errnum 2 without text",
        hex="1200eeff00000021000a6b76732e6c6f6f6b7570148e01020900000000000000050000000200000001",
        type=RESPONSE, topic="kvs.lookup", fields={"errnum": 2, "matchtag": 1, **OWNER},
    ),
    Vector(
        name="errnum 38 with text",
        hex="1200eeff00000051000b6e6f737563682e70696e672e4e6f2073657276696365206d61746368696e67206e6f737563682e70"
        "696e67206973207265676973746572656400148e01020b00000000000000050000002600000001",
        type=RESPONSE, topic="nosuch.ping", data="No service matching nosuch.ping is registered",
        fields={"errnum": 38, "matchtag": 1, **OWNER},
    ),
    Vector(
        name="event sent",
        hex="1200eeff00000018000178148e010409ffffffff000000000000000000000000",
        type=EVENT, topic="x",
    ),
    Vector(
        name="event sent with a payload",
        hex="1200eeff00000021000178087b2261223a317d00148e01040bffffffff000000000000000000000000",
        type=EVENT, topic="x", data={"a": 1},
    ),
    Vector(
        name="event delivered",
        hex="1200eeff000000712464666132343032372d303931632d346235372d386133652d3062653831386363653262352433396531"
        "373232382d326230392d343934362d383762332d3639383539383366653938650007666f6f2e626172087b2278223a317d00148e"
        "01040b00000000000000050000f0d700000000",
        type=EVENT, topic="foo.bar", data={"x": 1},
        fields={
            "seq": 0xF0D7,
            "routes": ("39e17228-2b09-4946-87b3-6985983fe98e", "dfa24027-091c-4b57-8a3e-0be818cce2b5"),
            **OWNER,
        },
    ),
    Vector(
        name="event.subscribe",
        hex="1200eeff00000037000f6576656e742e737562736372696265107b22746f706963223a22666f6f227d00148e01010bffffff"
        "ff00000000ffffffff00000001",
        type=REQUEST, topic="event.subscribe", data={"topic": "foo"}, fields={"matchtag": 1},
    ),
    Vector(
        name="the connector's own answer",
        hex="1200eeff00000026000f6576656e742e737562736372696265148e010209ffffffff000000010000000000000001",
        type=RESPONSE, topic="event.subscribe", fields={"matchtag": 1, "rolemask": 1},
    ),
    Vector(
        name="streaming request",
        hex="1200eeff00000062000c6d6f64756c652e74726163653e7b22747970656d61736b223a31352c22746f7069635f676c6f6222"
        "3a222a222c226e616d6573223a5b226b7673225d2c2266756c6c223a66616c73657d00148e01014bffffffff00000000ffffffff"
        "00000001",
        type=REQUEST, topic="module.trace", flags=FLAG_ROUTE | FLAG_STREAMING,
        data={"typemask": 15, "topic_glob": "*", "names": ["kvs"], "full": False}, fields={"matchtag": 1},
    ),
    Vector(
        name="noresponse request",
        hex="1200eeff0000003700106b76732d77617463682e63616e63656c0f7b226d61746368746167223a317d00148e01010fffffff"
        "ff00000000ffffffff00000000",
        type=REQUEST, topic="kvs-watch.cancel", flags=FLAG_ROUTE | FLAG_NORESPONSE, data={"matchtag": 1},
    ),
    Vector(
        name="end of a stream",
        hex="1200eeff0000002700106b76732d77617463682e6c6f6f6b7570148e01024900000000000000050000003d00000001",
        type=RESPONSE, topic="kvs-watch.lookup", flags=FLAG_ROUTE | FLAG_STREAMING,
        fields={"errnum": 61, "matchtag": 1, **OWNER},
    ),
    Vector(
        name="content.store, raw",
        hex="1200eeff0000002b000d636f6e74656e742e73746f72650668656c6c6f0a148e01010bffffffff00000000ffffffff000000"
        "01",
        type=REQUEST, topic="content.store", data=b"hello\n", fields={"matchtag": 1},
    ),
    Vector(
        name="content.store answer, a raw SHA-1",
        hex="1200eeff00000039000d636f6e74656e742e73746f726514f572d396fae9206628714fb2ce00f72e94f2258f148e01020b00"
        "000000000000050000000000000001",
        type=RESPONSE, topic="content.store",
        data=bytes.fromhex("f572d396fae9206628714fb2ce00f72e94f2258f"), fields={"matchtag": 1, **OWNER},
    ),
    Vector(
        name="kvs.commit q=1",
        hex="1200eeff0000008c000a6b76732e636f6d6d69746a7b226e616d657370616365223a226e7331222c22666c616773223a302c"
        "226f7073223a5b7b226b6579223a2271222c22666c616773223a302c22646972656e74223a7b22766572223a312c227479706522"
        "3a2276616c222c2264617461223a224d513d3d227d7d5d7d00148e01010bffffffff00000000ffffffff00000001",
        type=REQUEST, topic="kvs.commit", fields={"matchtag": 1},
        data={
            "namespace": "ns1", "flags": 0,
            "ops": [{"key": "q", "flags": 0, "dirent": {"ver": 1, "type": "val", "data": "MQ=="}}],
        },
    ),
    Vector(
        name="kvs.commit answer",
        hex="1200eeff0000006a000a6b76732e636f6d6d6974487b22726f6f74726566223a22736861312d343635353133303437616330"
        "32646539653939393536646538636536333635313839623466333239222c22726f6f74736571223a317d00148e01020b00000000"
        "000000050000000000000001",
        type=RESPONSE, topic="kvs.commit", fields={"matchtag": 1, **OWNER},
        data={"rootref": "sha1-465513047ac02de9e99956de8ce6365189b4f329", "rootseq": 1},
    ),
    Vector(
        name="long part",
        hex="1200eeff00000173000b63726f6e2e637265617465ff0000014c" + CRON_TEXT.encode().hex()
        + "00148e01020b00000000000000050000000000000001",
        type=RESPONSE, topic="cron.create", data=CRON_TEXT, fields={"matchtag": 1, **OWNER},
    ),
]  # fmt: skip

each_vector = pytest.mark.parametrize("vector", VECTORS, ids=lambda vector: vector.name)


def fields_of(message: Message) -> dict[str, Any]:
    """All that travels, with the flags that merely announce parts left out."""
    return {
        "type": message.type, "topic": message.topic, "data": message.data, "flags": message.flags & ~0x03,
        "matchtag": message.matchtag, "errnum": message.errnum, "nodeid": message.nodeid, "seq": message.seq,
        "userid": message.userid, "rolemask": message.rolemask, "routes": message.routes,
    }  # fmt: skip


@each_vector
def test_encoding_gives_the_captured_bytes(vector: Vector) -> None:
    assert wire.encode(vector.message()).hex() == vector.frame.hex()


@each_vector
def test_decoding_gives_the_captured_fields(vector: Vector) -> None:
    expected = vector.message()
    decoded = wire.decode(vector.frame[wire.HEADER_SIZE :])
    assert fields_of(decoded) == fields_of(expected) | {"data": decoded.data}
    if vector.data is None:
        assert decoded.data is None
    elif isinstance(vector.data, dict):
        assert decoded.payload == vector.data
    elif isinstance(vector.data, str):
        assert decoded.payload_str == vector.data
    else:
        assert decoded.raw == vector.data


@each_vector
def test_a_decoded_frame_encodes_to_itself_even_after_its_payload_was_read(vector: Vector) -> None:
    decoded = wire.decode(vector.frame[wire.HEADER_SIZE :])
    if isinstance(vector.data, dict):
        assert decoded.payload == vector.data
    assert wire.encode(decoded) == vector.frame


@each_vector
def test_a_frame_cut_at_any_byte_is_held_back_and_then_delivered_whole(vector: Vector) -> None:
    expected = fields_of(wire.decode(vector.frame[wire.HEADER_SIZE :]))
    for cut in range(1, len(vector.frame)):
        decoder = wire.FrameDecoder()
        assert list(decoder.feed(vector.frame[:cut])) == [], cut
        assert decoder.pending == cut
        assert [fields_of(message) for message in decoder.feed(vector.frame[cut:])] == [expected], cut
        assert decoder.pending == 0


@pytest.mark.parametrize("size", [1, 2, 7, 8, 9, 64, 1000, 10_000])
def test_a_stream_of_frames_gives_the_same_messages_whatever_the_size_of_a_read(size: int) -> None:
    stream = b"".join(vector.frame for vector in VECTORS)
    decoder = wire.FrameDecoder()
    messages = [
        message for at in range(0, len(stream), size) for message in decoder.feed(stream[at : at + size])
    ]
    assert [wire.encode(message) for message in messages] == [vector.frame for vector in VECTORS]
    assert decoder.pending == 0


@each_vector
def test_topics_and_routes_may_end_in_one_nul_which_is_dropped(vector: Vector) -> None:
    with_nul = reference_codec.encode(reference_codec.decode(vector.frame), nul=True)
    assert with_nul != vector.frame
    assert fields_of(wire.decode(with_nul[8:])) == fields_of(wire.decode(vector.frame[8:]))


@each_vector
def test_the_reference_codec_reads_and_writes_the_captured_bytes_too(vector: Vector) -> None:
    assert reference_codec.encode(reference_codec.decode(vector.frame)) == vector.frame


def test_a_part_of_255_bytes_or_more_has_a_five_byte_length() -> None:
    # The figures of a captured module.list response: 2537 payload bytes with the NUL.
    frame = wire.encode(Message(RESPONSE, "module.list", "m" * 2536, flags=FLAG_ROUTE, matchtag=1))
    assert frame[4:8].hex() == "00000a10"
    assert frame[21:26].hex() == "ff000009e9"
    for size, length in ((254, "fe"), (255, "ff000000ff"), (256, "ff00000100")):
        assert wire.encode(Message(EVENT, "x", b"p" * size))[10:].hex().startswith(length + "70"), size


def test_floats_in_a_captured_payload_are_read_exactly() -> None:
    message = wire.decode(VECTORS[-1].frame[wire.HEADER_SIZE :])
    assert len(message.raw) == 332
    assert message.payload == CRON_ENTRY


def test_an_absent_payload_and_an_empty_one_are_told_apart() -> None:
    absent, empty = (wire.decode(wire.encode(Message(EVENT, "x", data))[8:]).data for data in (None, b""))
    assert absent is None
    assert empty == b""


def test_a_route_stack_that_is_empty_differs_on_the_wire_from_none_at_all() -> None:
    without = wire.encode(Message(EVENT, "x"))
    with_delimiter = wire.encode(Message(EVENT, "x", flags=FLAG_ROUTE))
    assert len(with_delimiter) == len(without) + 1
    assert with_delimiter[8] == 0


def test_defaults_are_what_a_client_sends_when_it_knows_nothing() -> None:
    message = wire.decode(wire.encode(Message(REQUEST, "x"))[8:])
    assert (message.userid, message.rolemask, message.nodeid) == (USERID_UNKNOWN, 0, NODEID_ANY)


def test_a_control_message_carries_its_type_and_status() -> None:
    frame = wire.encode(Message(CONTROL, errnum=1, matchtag=2))
    assert frame.hex() == "1200eeff00000015148e010800ffffffff000000000000000100000002"
    message = wire.decode(frame[8:])
    assert (message.type, message.errnum, message.matchtag, message.topic) == (CONTROL, 1, 2, "")
