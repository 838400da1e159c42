"""Tags of one connection: small, used again, and never for two requests at a time."""

from __future__ import annotations

from brokersim.net.matchtags import AWAITED, DROPPED, UNASKED, Matchtags
from brokersim.protocol.errnums import ENODATA
from brokersim.protocol.message import FLAG_NORESPONSE, FLAG_STREAMING, MATCHTAG_NONE, RESPONSE, Message


def answer(tag: int, errnum: int = 0, flags: int = 0) -> Message:
    return Message(RESPONSE, "a.b", matchtag=tag, errnum=errnum, flags=flags)


def test_tags_are_dense_and_the_one_freed_last_is_used_next() -> None:
    tags = Matchtags()
    assert [tags.allot(0) for _ in range(3)] == [1, 2, 3]
    assert tags.allot(FLAG_NORESPONSE) == MATCHTAG_NONE
    tags.release(1)
    tags.release(2)
    tags.release(2)  # nothing more came for it: it is not there twice
    assert [tags.allot(0) for _ in range(3)] == [2, 1, 4]
    assert tags.outstanding == 4


def test_what_was_given_up_keeps_its_tag_until_its_last_response_has_come() -> None:
    tags = Matchtags()
    one, many = tags.allot(0), tags.allot(FLAG_STREAMING)
    tags.give_up(one)
    tags.give_up(many)
    tags.give_up(99)
    assert (tags.outstanding, one in tags, many in tags, 99 in tags) == (0, True, True, False)
    assert tags.arrives(answer(many, flags=FLAG_STREAMING)) == DROPPED
    assert many in tags
    assert tags.arrives(answer(many, ENODATA, FLAG_STREAMING)) == DROPPED
    assert tags.arrives(answer(one)) == DROPPED
    assert (one in tags, many in tags) == (False, False)
    assert tags.arrives(answer(one)) == UNASKED


def test_a_stream_ends_with_an_error_and_a_plain_request_with_its_one_answer() -> None:
    tags = Matchtags()
    one, many = tags.allot(0), tags.allot(FLAG_STREAMING)
    assert tags.arrives(answer(one)) == tags.arrives(answer(many)) == AWAITED
    assert (tags.is_stream(one), tags.is_stream(many)) == (False, True)
    assert [tags.is_last(answer(tag, errnum)) for tag in (one, many) for errnum in (0, ENODATA)] == [
        True, True, False, True,
    ]  # fmt: skip
