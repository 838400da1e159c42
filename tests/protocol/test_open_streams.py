"""Open streams by who asked, against a plain list of all."""

from __future__ import annotations

import attrs
from hypothesis import given
from hypothesis import strategies as st

from brokersim.protocol.message import REQUEST, Message
from brokersim.protocol.open_streams import OpenStreams


@attrs.frozen(eq=False)
class Stream:
    msg: Message


def asked(sender: str, matchtag: int) -> Stream:
    return Stream(Message(REQUEST, "a.b", matchtag=matchtag, routes=(sender,)))


steps = st.lists(
    st.tuples(st.sampled_from(["begin", "end"]), st.sampled_from("ab"), st.integers(1, 3)), max_size=30
)


@given(steps)
def test_what_is_open_is_found_by_sender_and_matchtag_in_the_order_it_was_begun(
    taken: list[tuple[str, str, int]],
) -> None:
    streams, model = OpenStreams[Stream](), list[Stream]()
    for what, sender, tag in taken:
        if what == "begin":
            model.append(asked(sender, tag))
            streams.add(model[-1])
        else:
            for one in streams.find(sender, tag)[:1]:
                streams.remove(one)
                streams.remove(one)  # harmless
                model.remove(one)
        assert list(streams) == model and len(streams) == len(model)
        for who in "abc":
            mine = [one for one in model if one.msg.sender == who]
            assert set(streams.of(who)) == set(mine)
            for number in (1, 2, 3):
                assert streams.find(who, number) == tuple(one for one in mine if one.msg.matchtag == number)


def test_nothing_is_kept_of_a_sender_that_has_none_open_any_more() -> None:
    streams = OpenStreams[Stream]()
    for number in range(100):
        one = asked(f"client{number}", number)
        streams.add(one)
        streams.remove(one)
    assert not streams._by_sender and not streams._open


def test_a_cancel_looks_at_no_other_stream() -> None:
    class Unlooked(Stream):
        def __eq__(self, other: object) -> bool:
            raise AssertionError("looked at")

        __hash__ = object.__hash__

    streams = OpenStreams[Stream]()
    for number in range(50):
        streams.add(Unlooked(asked("a", number).msg))
    (one,) = streams.find("a", 7)
    streams.remove(one)
    assert len(streams) == 49 and not streams.find("a", 7)
