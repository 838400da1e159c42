"""One line of an eventlog: what passes for an event, and what is said of what does not."""

from __future__ import annotations

import pytest

from brokersim.protocol.eventlog import decode_event, encode_event, make_event


@pytest.mark.parametrize("context", [None, {}, {"a": [1]}])
def test_an_event_is_read_back_from_its_line_without_a_context_it_was_not_given(context):
    event = make_event(1.5, "submit", context)
    assert ("context" in event) == (context is not None)
    line = encode_event(event)
    assert line.endswith(b"\n")
    assert decode_event(line) == decode_event(line[:-1]) == event


@pytest.mark.parametrize(
    ("line", "says"),
    [
        ("{", "is not JSON"),
        (b"\xff", "is not JSON"),
        ("[1]", "must be a JSON object"),
        ("null", "must be a JSON object"),
        ('{"name":"a"}', "timestamp must be"),
        ('{"timestamp":0,"name":"a"}', "timestamp must be"),
        ('{"timestamp":true,"name":"a"}', "timestamp must be"),
        ('{"timestamp":"1","name":"a"}', "timestamp must be"),
        ('{"timestamp":1}', "name must be"),
        ('{"timestamp":1,"name":""}', "name must be"),
        ('{"timestamp":1,"name":2}', "name must be"),
        ('{"timestamp":1,"name":"a","context":[]}', "the rest must be"),
        ('{"timestamp":1,"name":"a","more":{}}', "the rest must be"),
        ('{"timestamp":1,"name":"a","context":{},"more":1}', "the rest must be"),
    ],
)
def test_what_is_no_event_is_refused_with_what_would_be_right(line, says):
    with pytest.raises(ValueError, match=f"eventlog line.* {says}|eventlog line {says}"):
        decode_event(line)
