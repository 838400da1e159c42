"""Words of commands, and what Nagios plugins print: the vectors of the specification, and hostile neighbours."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from modules.probe.perfdata import Item, Range, parse_output, parse_perfdata, parse_range, state_of
from modules.probe.probes.expand import expand


@pytest.mark.parametrize(
    ("command", "config", "words"),
    [
        (
            "ping -c 1 $-W $-s $-t $-p $-M $-Q $address",
            {"-W": 2, "-s": 56, "-t": 60, "-p": "00", "-M": "dont", "-Q": "0", "address": "iu.edu"},
            [
                "ping",
                "-c",
                "1",
                "-W",
                "2",
                "-s",
                "56",
                "-t",
                "60",
                "-p",
                "00",
                "-M",
                "dont",
                "-Q",
                "0",
                "iu.edu",
            ],
        ),
        ("ping $-n $-v $x $address", {"-n": True, "-v": False, "address": "h"}, ["ping", "-n", "h"]),
        ("grep 'two words' $f", {"f": "/a b"}, ["grep", "two words", "/a b"]),
        ("curl http://${address}/", {"address": "h"}, ["curl", "http://h/"]),
        ("x '' $$y", {"y": 1}, ["x", "", "$y"]),
        ("x $l $-l", {"l": ["a b", 1], "-l": ["c", 2.5]}, ["x", "a b", "1", "-l", "c", "2.5"]),
        ("x a$b cost=$$5 ${n}ms", {"b": 1, "n": 0}, ["x", "a$b", "cost=$5", "0ms"]),
        ("x $n $z $e", {"n": None, "z": 0, "e": ""}, ["x", "0", ""]),
        ("x $ $a;b '|' '>f'", {}, ["x", "|", ">f"]),
    ],
)
def test_a_command_becomes_words(command, config, words):
    assert expand(command, config) == words


@pytest.mark.parametrize("command", ["curl ${nowhere}", "grep 'open", "x a${b"])
def test_what_cannot_be_put_in_is_refused(command):
    if command == "x a${b":
        assert expand(command, {}) == ["x", "a${b"]
    else:
        with pytest.raises(ValueError):
            expand(command, {})


def test_the_line_of_the_specification():
    items, bad = parse_perfdata("'/var log'=1.5GB;~:8;@9:10;0;12 time=0.01s;;;0 'it''s'=U load=3c")
    inf = float("inf")
    assert bad == 0
    assert items == [
        Item("/var log", 1.5, "GB", Range(-inf, 8), Range(9, 10, True), 0, 12),
        Item("time", 0.01, "s", None, None, 0),
        Item("it's", None),
        Item("load", 3, "c"),
    ]
    assert [item.is_counter for item in items] == [False, False, False, True]


@pytest.mark.parametrize(
    ("text", "alerting"),
    [
        ("10", [-1, 15, 20, 21]), ("10:", [-1, 0, 9]), ("~:10", [15, 20, 21]), ("10:20", [-1, 0, 9, 21]),
        ("@10:20", [10, 15, 20]), ("@10", [0, 9, 10]), ("~:", []), ("0:0", [-1, 9, 10, 15, 20, 21]),
        ("-1:1e1", [15, 20, 21]), (":10", [-1, 15, 20, 21]),
    ],
)  # fmt: skip
def test_what_a_range_alerts_for(text, alerting):
    found = parse_range(text)
    assert [value for value in (-1, 0, 9, 10, 15, 20, 21) if found.alerts(value)] == alerting


@pytest.mark.parametrize("text", ["20:10", "a", "@", "10:20:30", "~", "~10", "1,5"])
def test_what_is_no_range(text):
    with pytest.raises(ValueError, match="is no range"):
        parse_range(text)


@pytest.mark.parametrize(
    ("text", "labels", "bad"),
    [
        ("a=1 b=x c=3", ["a", "c"], 1),
        ("a=1;;;;;;;; c=3", ["c"], 1),
        ("=1 a=2", ["a"], 1),
        ("words with no meaning a=2", ["a"], 4),
        ("'open=1 a=2", ["a"], 1),
        ("a=1,5 b=2", ["b"], 1),
        ("a=1%;80;90 b=2", ["a", "b"], 0),
        ("a=U b=Us", ["a"], 1),
        ("a=1;20:10 b=1", ["b"], 1),
        ("'a=b'=1", ["a=b"], 0),
        ("a= b=2", ["b"], 1),
        ("  ", [], 0),
        ("a=-1.5e3s", ["a"], 0),
    ],
)
def test_a_bad_item_is_counted_and_the_others_stand(text, labels, bad):
    items, found = parse_perfdata(text)
    assert ([item.label for item in items], found) == (labels, bad)


def test_long_output_has_performance_data_behind_its_second_bar():
    found = parse_output(b"DISK OK | /=1MB\nline one\nline two | /boot=2MB;5\n/home=3MB\n")
    assert found.text == "DISK OK\nline one\nline two"
    assert [(item.label, item.value) for item in found.items] == [("/", 1), ("/boot", 2), ("/home", 3)]
    assert parse_output(b"") == parse_output(b"\n")
    assert len(parse_output(b"x" * 9000).text) == 4096


@given(st.text(max_size=80))
def test_no_text_breaks_the_parser(text):
    items, bad = parse_perfdata(text)
    assert bad >= 0 and all(item.label for item in items)


@pytest.mark.parametrize(
    ("code", "trouble", "state"),
    [
        (0, "", ("OK", "")), (1, "", ("WARNING", "")), (2, "", ("CRITICAL", "")), (3, "", ("UNKNOWN", "")),
        (127, "", ("UNKNOWN", "exit code 127")), (-1, "", ("UNKNOWN", "exit code -1")),
        (None, "killed by signal 9", ("UNKNOWN", "killed by signal 9")), (0, "no answer", ("UNKNOWN", "no answer")),
    ],
)  # fmt: skip
def test_any_other_end_is_unknown_with_its_reason(code, trouble, state):
    assert state_of(code, trouble) == state
