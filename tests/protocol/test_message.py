"""What a message's payload is to the one who asks: a value, text, bytes, typed arguments, or a clear error."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest
from hypothesis import given

from brokersim.protocol import wire
from brokersim.protocol.errnums import EPROTO, ProtocolError, RequestError, errname, strerror
from brokersim.protocol.message import (
    CONTROL,
    COUNTER_NAMES,
    EVENT,
    FLAG_NORESPONSE,
    FLAG_STREAMING,
    REQUEST,
    RESPONSE,
    TYPE_NAMES,
    Message,
    encode_payload,
)
from tests import strategies


class Lookup(msgspec.Struct):
    key: str
    flags: int = 0


class Nothing(msgspec.Struct):
    follow: bool = False


def received(data: Any) -> Message:
    """A request as the other end of a socket sees it."""
    return wire.decode(wire.encode(Message(REQUEST, "kvs.lookup", data))[wire.HEADER_SIZE :])


@given(strategies.json_payloads)
def test_a_JSON_payload_arrives_equal_and_ends_in_one_NUL(payload: dict[str, Any]) -> None:
    message = received(payload)
    assert message.payload == payload
    assert message.raw.endswith(b"\0") and message.raw.count(b"\0") == 1


@given(strategies.messages(strategies.json_payloads))
def test_a_message_with_a_JSON_payload_encodes_to_the_same_bytes_once_received(message: Message) -> None:
    frame = wire.encode(message)
    assert wire.encode(wire.decode(frame[wire.HEADER_SIZE :])) == frame


def test_a_payload_in_process_is_passed_by_reference() -> None:
    payload = {"key": "a"}
    assert Message(REQUEST, "kvs.lookup", payload).payload is payload


def test_reading_the_payload_leaves_the_bytes_as_they_came() -> None:
    blob = b'{ "a": 1 }'
    message = received(blob)
    assert message.payload == {"a": 1}
    assert message.raw == blob


def test_asking_for_a_payload_that_is_not_there_raises_TypeError_as_in_Flux() -> None:
    message = Message(EVENT, "heartbeat.pulse")
    with pytest.raises(TypeError, match=r"event 'heartbeat.pulse' has no payload"):
        _ = message.payload
    assert message.payload_str is None
    assert message.raw == b""


@pytest.mark.parametrize(
    ("data", "fault"),
    [
        (b"", "payload is not JSON"),
        (b"{\0", "payload is not JSON"),
        (b"\xff\0", "payload is not JSON"),
        (b'{"a":"\xff"}\0', "payload is not JSON"),
        (b"[" * 100_000, "payload is not JSON"),
        (b'{"a":' + b"1" * 5000 + b"}", "payload is not JSON"),
        ("just text", "payload is not JSON"),
        (b"[1]\0", "payload must be a JSON object, not list"),
        (b"7\0", "payload must be a JSON object, not int"),
        (b"null\0", "payload must be a JSON object, not NoneType"),
    ],
    ids=lambda value: repr(value)[:20],
)
def test_a_payload_that_is_no_JSON_object_is_EPROTO_and_names_the_topic(data: Any, fault: str) -> None:
    for message in (received(data), Message(REQUEST, "kvs.lookup", data)):
        with pytest.raises(RequestError, match=rf"^Protocol error: kvs\.lookup: {fault}") as caught:
            _ = message.payload
        assert caught.value.errno == EPROTO


def test_unpack_gives_typed_arguments_and_ignores_keys_it_does_not_know() -> None:
    assert received({"key": "a", "namespace": "primary"}).unpack(Lookup) == Lookup("a", 0)


def test_unpack_of_no_payload_gives_the_defaults() -> None:
    assert Message(REQUEST, "log.dmesg").unpack(Nothing) == Nothing(follow=False)


@pytest.mark.parametrize(
    ("data", "fault"),
    [
        (None, "required field `key`"),
        ({}, "required field `key`"),
        ({"key": 1}, r"Expected `str`, got `int` - at `\$\.key`"),
        ({"key": "a", "flags": "0"}, r"Expected `int`, got `str` - at `\$\.flags`"),
        (b"[]\0", "must be a JSON object"),
    ],
    ids=repr,
)
def test_unpack_of_wrong_arguments_is_EPROTO_and_names_topic_and_key(data: Any, fault: str) -> None:
    with pytest.raises(RequestError, match=rf"^Protocol error: kvs\.lookup: .*{fault}") as caught:
        received(data).unpack(Lookup)
    assert caught.value.errno == EPROTO


def test_text_payloads_lose_their_NUL_and_undecodable_bytes_are_replaced() -> None:
    assert received("No such key").payload_str == "No such key"
    assert received("No such key").raw == b"No such key\0"
    assert received(b"\xff!").payload_str == "\N{REPLACEMENT CHARACTER}!"
    assert Message(REQUEST, "x", {"a": 1}).payload_str == '{"a":1}'


def cyclic() -> dict[str, Any]:
    value: dict[str, Any] = {}
    value["self"] = value
    return value


@pytest.mark.parametrize(
    "data",
    [{"a": object()}, {"a": "\ud800"}, {1.5j: 1}, "\ud800", cyclic()],
    ids=["object", "key", "complex key", "text", "cycle"],
)
def test_a_payload_that_cannot_be_sent_is_EPROTO_and_no_traceback(data: Any) -> None:
    with pytest.raises(RequestError, match=r"^payload cannot be sent: ") as caught:
        encode_payload(data)
    assert caught.value.errno == EPROTO


def test_types_index_the_counters_and_give_the_wire_type() -> None:
    assert [COUNTER_NAMES[kind] for kind in (REQUEST, RESPONSE, EVENT, CONTROL)] == [
        "request_rx", "response_rx", "event_rx", "keepalive_rx",
    ]  # fmt: skip
    assert [COUNTER_NAMES[kind - 1] for kind in (REQUEST, RESPONSE, EVENT, CONTROL)] == [
        "request_tx", "response_tx", "event_tx", "keepalive_tx",
    ]  # fmt: skip
    assert [1 << (kind >> 1) for kind in TYPE_NAMES] == [1, 2, 4, 8]
    assert Message(CONTROL).type_str == "control"


def test_flags_are_readable_as_words() -> None:
    assert Message(REQUEST, flags=FLAG_STREAMING).is_streaming
    assert Message(REQUEST, flags=FLAG_NORESPONSE).is_noresponse
    assert not (Message(REQUEST).is_streaming or Message(REQUEST).is_noresponse)


def test_the_sender_is_the_first_on_the_route_stack_or_the_endpoint_in_process() -> None:
    class Endpoint:
        uuid = "module-uuid"

    assert Message(REQUEST, "x", routes=("client", "broker")).sender == "client"
    assert Message(REQUEST, "x", src=Endpoint()).sender == "module-uuid"


def test_errors_speak_with_their_own_text_or_the_errnums() -> None:
    assert str(RequestError(38)) == "Function not implemented" == strerror(38)
    error = RequestError(2, "unknown job id")
    assert (error.errno, str(error), error.text) == (2, "unknown job id", "unknown job id")
    assert RequestError(2).text == ""
    assert isinstance(error, OSError)
    assert not isinstance(error, ProtocolError)


def test_errnums_have_names_and_unknown_ones_show_their_number() -> None:
    assert [errname(number) for number in (38, 113, 999)] == ["ENOSYS", "EHOSTUNREACH", "E#999"]


def test_what_stands_for_json_says_itself_what_it_is_and_nothing_else_is_encoded() -> None:
    class Rows:
        def __json__(self) -> object:
            return [1, 2]

    assert encode_payload({"rows": Rows()}) == b'{"rows":[1,2]}\0'
    with pytest.raises(RequestError, match="of type object is unsupported"):
        encode_payload({"rows": object()})
