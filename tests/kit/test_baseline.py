"""Baselines as people edit them: what is read, what is written, and what is said of a file that is wrong."""

from __future__ import annotations

import tomllib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from brokersim.kit.baseline import Baseline, BaselineError, merged, read_baseline
from brokersim.kit.laws import LAWS, Relaxation
from brokersim.kit.toml import dump, line_of
from brokersim.protocol.message import COUNTER_NAMES

GOOD = """\
format = 1

[run]
command = ["sh", "work.sh"]
size = 1

[tolerances]
"kvs.*" = "2%"

[counters."kvs.0"]
request_rx = 4
response_tx = 4

[varying]
"kvs.0.event_rx" = [1, 3]

[topics."kvs.0"]
"request_rx kvs.ping" = 4
"""


def test_a_good_one_is_read():
    found = read_baseline(GOOD, "base.toml")
    assert found.counters == {"kvs.0.request_rx": 4, "kvs.0.response_tx": 4}
    assert (found.command, found.varying) == (("sh", "work.sh"), {"kvs.0.event_rx": (1, 3)})
    assert (found.tolerance("kvs.0.request_rx"), found.tolerance("cron.0.event_rx")) == (2.0, 0.0)


@pytest.mark.parametrize(
    ("old", "new", "text"),
    [
        ("[run]", "[run", "base.toml: Expected ']' at the end of a table declaration (at line 3, column 5)"),
        ("format = 1", "format = 2", "base.toml:1: format = 2: this brokersim reads format 1; record it anew"),
        ("[tolerances]", "[toleranzen]", "base.toml:7: toleranzen is no table of a baseline; there are format, run"),
        ("size = 1", 'size = "one"', "base.toml:5: [run] size = 'one' is no whole number"),
        ("size = 1", "siz = 1", "base.toml:5: [run] siz is no setting; there are command, size"),
        ('["sh", "work.sh"]', '"work.sh"', 'base.toml:4: [run] command is no command; give its words, such as ["sh"'),
        ('"2%"', '"lots"', "base.toml:8: [tolerances] \"kvs.*\" is not a tolerance: 'lots'; give a percentage"),
        ("request_rx = 4", "request_rx = -1", 'base.toml:11: [counters."kvs.0"] request_rx = -1 is no count; give a'),
        ("request_rx = 4", "request_xx = 4", 'base.toml:11: [counters."kvs.0"] request_xx is no counter; there are re'),
        ('[counters."kvs.0"]', "[counters.kvs]", "base.toml:10: [counters] kvs is no module on a rank; write it as"),
        ('[counters."kvs.0"]', "[counters.kvs.0]", "base.toml:10: [counters.kvs] 0 = "),
        ("[1, 3]", "3", 'base.toml:15: [varying] "kvs.0.event_rx" = 3 is no range; give the lowest and the highest'),
        ("[varying]", '[relaxed.L9]\nreason = "x"\n[varying]', "base.toml:14: [relaxed] L9 is wrong: no law 'L9'; the"),
        ("[varying]", "[relaxed.L3]\n[varying]", "base.toml:14: [relaxed] L3 is wrong: law answered is relaxed"),
        (GOOD, "", "base.toml: run is missing: this is no baseline; write one with --record"),
    ],
)  # fmt: skip
def test_a_wrong_one_is_told_with_file_line_and_key(old, new, text):
    assert GOOD.replace(old, new, 1) != GOOD
    with pytest.raises(BaselineError) as caught:
        read_baseline(GOOD.replace(old, new, 1), "base.toml")
    assert str(caught.value).startswith(text)


_words = st.text(st.characters(exclude_categories=["Cs"]), max_size=8)
_parties = st.tuples(st.text("abc-", min_size=1, max_size=5), st.integers(0, 9)).map(
    lambda p: f"{p[0]}.{p[1]}"
)
_names = st.tuples(_parties, st.sampled_from(COUNTER_NAMES)).map(".".join)
_baselines = st.builds(
    Baseline,
    command=st.lists(_words, min_size=1, max_size=3).map(tuple),
    settings=st.fixed_dictionaries({"size": st.integers(1, 9), "clock": _words, "modules": st.lists(_words)}),
    versions=st.dictionaries(_words, _words, max_size=2),
    operations=st.dictionaries(_words, st.integers(0, 9), max_size=2),
    counters=st.dictionaries(_names, st.integers(0, 2**40), min_size=1, max_size=4),
    topics=st.dictionaries(_parties, st.dictionaries(_words, st.integers(0, 9), min_size=1, max_size=2), max_size=2),
    varying=st.dictionaries(_names, st.tuples(st.integers(0, 9), st.integers(0, 9)), max_size=2),
    tolerances=st.dictionaries(_words, st.sampled_from([0.0, 0.5, 2.0, 100.0]), max_size=2),
    relaxed=st.dictionaries(
        st.sampled_from(list(LAWS)),
        st.builds(Relaxation, reason=st.just("why not"), allow=st.none() | st.integers(0, 3)), max_size=2,
    ),
)  # fmt: skip


@given(_baselines)
def test_what_is_written_is_read_again(baseline):
    assert read_baseline(baseline.to_toml(), "x") == baseline


@given(
    st.recursive(
        st.integers(0, 9) | _words, lambda inner: st.dictionaries(_words, inner, min_size=1, max_size=3)
    )
)
def test_every_key_of_a_dumped_file_is_found_in_its_line(tables):
    if not isinstance(tables, dict):
        tables = {"a": tables}
    text = dump(tables)
    assert tomllib.loads(text) == tables
    lines = text.split("\n")
    for path in paths(tables):
        number = line_of(text, path)
        assert number is not None
        found = tomllib.loads(lines[number - 1])
        assert found


def paths(tables, head=()):
    for name, value in tables.items():
        yield (*head, name)
        if isinstance(value, dict):
            yield from paths(value, (*head, name))


def test_what_differs_between_runs_varies_and_the_rest_is_exact():
    runs = [read_baseline(GOOD.replace("request_rx = 4", f"request_rx = {n}"), "x") for n in (4, 6, 5)]
    found = merged(runs)
    assert found.counters == {"kvs.0.response_tx": 4}
    assert found.varying == {"kvs.0.request_rx": (4, 6), "kvs.0.event_rx": (1, 3)}
