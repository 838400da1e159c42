"""Knows how to draw the values of the protocol floor: messages, topics, payloads, tree objects, counters.

Every strategy draws what a correct program could send; tests that want broken input break it themselves.
"""

from __future__ import annotations

from typing import Any
from uuid import UUID

from hypothesis import strategies as st

from brokersim.protocol import treeobj
from brokersim.protocol.blobref import from_digest
from brokersim.protocol.message import (
    CONTROL,
    COUNTER_NAMES,
    EVENT,
    FLAG_NORESPONSE,
    FLAG_PRIVATE,
    FLAG_ROUTE,
    FLAG_STREAMING,
    FLAG_UPSTREAM,
    FLAG_USER1,
    REQUEST,
    RESPONSE,
    Message,
)

uint32s = st.integers(0, 0xFFFFFFFF)
ranks = st.integers(0, 1023)

_words = st.text("abcdefghijklmnopqrstuvwxyz0123456789-_", min_size=1, max_size=12)
#: Names a module could have.
services = _words
#: Topics of one word and more, plain and not: a topic is any UTF-8 text without NUL.
topics = st.one_of(
    st.sampled_from(
        ["kvs.commit", "content.load", "heartbeat.pulse", "job-info.eventlog-watch", "a.b.c", "x"]
    ),
    st.lists(_words, min_size=1, max_size=4).map(".".join),
    st.text(st.characters(exclude_characters="\0", exclude_categories=["Cs"]), min_size=1, max_size=300),
)
#: A hop is named by a UUID; four bytes drawn tell as many apart as a test ever has.
_hops = st.binary(min_size=4, max_size=4).map(lambda drawn: str(UUID(bytes=drawn * 4))) | _words
routes = st.lists(_hops, max_size=5).map(tuple)

json_text = st.text(st.characters(exclude_categories=["Cs"]), max_size=20)
json_scalars = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(-(2**63), 2**64 - 1),
    st.floats(allow_nan=False, allow_infinity=False),
    json_text,
)
json_values = st.recursive(
    json_scalars,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(json_text, inner, max_size=4),
    max_leaves=10,
)
#: JSON payloads are objects.
json_payloads = st.dictionaries(json_text, json_values, max_size=5)
#: Payload bytes around the lengths where the length of a part changes form, and the usual short ones.
raw_payloads = st.binary(max_size=300) | st.integers(250, 260).map(lambda size: b"p" * size)

_TYPE_FLAGS = {
    REQUEST: [0, FLAG_NORESPONSE, FLAG_STREAMING, FLAG_UPSTREAM, FLAG_USER1],
    RESPONSE: [0, FLAG_STREAMING],
    EVENT: [0, FLAG_PRIVATE],
    CONTROL: [0],
}


@st.composite
def messages(draw: st.DrawFn, payloads: st.SearchStrategy[Any] = raw_payloads) -> Message:
    """A message as it may travel: fields its type does not have keep their defaults."""
    kind = draw(st.sampled_from([REQUEST, RESPONSE, EVENT, CONTROL]))
    message = Message(
        kind,
        flags=draw(st.sampled_from(_TYPE_FLAGS[kind])),
        userid=draw(uint32s),
        rolemask=draw(uint32s),
    )
    if kind != CONTROL:
        message.topic = draw(topics)
        message.data = draw(st.none() | payloads)
    if draw(st.booleans()):
        message.flags |= FLAG_ROUTE
        message.routes = draw(routes)
    first, second = draw(uint32s), draw(uint32s)
    if kind == REQUEST:
        message.nodeid, message.matchtag = first, second
    elif kind == EVENT:
        message.seq = first
    else:
        message.errnum, message.matchtag = first, second
    return message


blobrefs = st.binary(min_size=20, max_size=20).map(from_digest)
#: What may stand between the dots of a key.
entry_names = json_text.map(lambda text: text.replace(".", "")).filter(bool)
keys = st.lists(st.sampled_from(["a", "b", "c", "dir", "été"]), min_size=1, max_size=4).map(".".join)
_leaf_treeobjs = st.one_of(
    st.binary(max_size=100).map(treeobj.val),
    st.lists(blobrefs, min_size=1, max_size=3).map(treeobj.valref),
    blobrefs.map(treeobj.dirref),
    st.builds(treeobj.symlink, keys, st.none() | _words),
)
treeobjs = st.recursive(
    _leaf_treeobjs,
    lambda inner: st.dictionaries(entry_names, inner, max_size=4).map(treeobj.directory),
    max_leaves=8,
)
directories = st.dictionaries(entry_names, treeobjs, max_size=4).map(treeobj.directory)

#: The eight counters of a module, in the journal's order.
counter_lists = st.lists(st.integers(0, 2**40), min_size=len(COUNTER_NAMES), max_size=len(COUNTER_NAMES))
