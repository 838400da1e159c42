"""Performance data of Nagios plugins, made by the guidelines' grammar rather than by looking at the parser.

``'label'=value[UOM];[warn];[crit];[min];[max]``: quotes where a label has a space, two for one inside; trailing empty
fields may be missing; U is no value; a unit has no digits, quotes or semicolons; numbers have a point, never a comma.
"""

from __future__ import annotations

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from modules.probe.perfdata import parse_perfdata, parse_range
from tests.modules.probe.harness import documents, every, lined, probing, run

UNITS = ("", "s", "us", "ms", "%", "B", "KB", "MB", "GB", "TB", "c", "µs", "m/s", "°C", "W")
LABEL = st.text(
    st.characters(codec="utf-8", exclude_characters="='\n\r", exclude_categories=("Cc", "Cs")), min_size=1
)
NUMBER = st.one_of(
    st.integers(-(10**12), 10**12).map(str),
    st.decimals(-1e6, 1e6, places=3).map(lambda number: f"{number:f}"),
    st.sampled_from(["0", "-0.5", "+7", ".25", "5.", "1e3", "-2.5E-3"]),
)
BLANKS = " \t\n\r\f\v"


@st.composite
def ranges(draw):
    """A range's text, and whether it alerts, by the words of the guidelines."""
    inside, low, high = draw(st.booleans()), draw(st.none() | NUMBER), draw(st.none() | NUMBER)
    is_open = draw(st.booleans())
    start = float("-inf") if is_open else float(low or 0)
    end = float("inf") if high is None else float(high)
    if start > end:
        low, start, is_open = None, float("-inf"), True
    text = "@" if inside else ""
    if is_open:
        text += "~:"
    elif low is not None:
        text += f"{low}:"
    elif high is None:
        text += ":"
    text += high or ""
    return text, lambda value: (start <= value <= end) is inside


@given(ranges(), st.floats(-2e6, 2e6))
def test_a_range_alerts_as_its_words_say(made, value):
    text, alerts = made
    found = parse_range(text)
    for one in (value, 0.0, found.low, found.high):
        if abs(one) != float("inf"):
            assert found.alerts(one) is alerts(one)


@st.composite
def items(draw):
    label, unit = draw(LABEL), draw(st.sampled_from(UNITS))
    value = draw(st.none() | NUMBER)
    bounds = [draw(st.just("") | ranges().map(lambda made: made[0])) for _ in range(2)]
    ends = [draw(st.just("") | NUMBER) for _ in range(2)]
    fields = ["U" if value is None else value + unit, *bounds, *ends]
    while len(fields) > 1 and not fields[-1] and draw(st.booleans()):
        fields.pop()
    inner = draw(st.sampled_from(["", "'"]))
    quoted = "'" + (label + inner.replace("'", "''")) + "'"
    is_plain = not inner and not any(blank in label for blank in BLANKS) and draw(st.booleans())
    name = label if is_plain else quoted
    wanted = (label + inner, None if value is None else float(value), "" if value is None else unit)
    return f"{name}={';'.join(fields)}", wanted, [float(end) if end else None for end in ends]


#: What is no item, each a word: locale commas, two points, no value or label, too many fields, numbers as in Python.
BAD = (
    "a=1,5", "a=1,", "a=1.2.3", "a=", "=1", "a=x", "a=Us", "a=--1", "a=1;2,5", "a=1;;;0,5", "a=1;20:10", "a=1;;;;;;",
    "word", "a=1;;;nan", "a=1;;;1_0", "a=inf", "a=1e999", "a=1;1e999", "a=0x10", "a=1'", "a=\u0661", "a=1_0",
    "a=1;;;;\u0662",
)  # fmt: skip


@given(st.lists(items() | st.sampled_from(BAD), max_size=6), st.sampled_from([" ", "  ", "\t"]))
@example([(("a=1", ("a", 1.0, ""), [None, None])), "a=1,5", ("b=2s", ("b", 2.0, "s"), [None, None])], " ")
def test_a_line_is_read_item_by_item_and_a_bad_one_costs_nothing_but_itself(parts, blank):
    line = blank.join(part if isinstance(part, str) else part[0] for part in parts)
    found, bad = parse_perfdata(line)
    wanted = [part for part in parts if not isinstance(part, str)]
    assert [(one.label, one.value, one.unit) for one in found] == [part[1] for part in wanted]
    assert [[one.least, one.most] for one in found] == [part[2] for part in wanted]
    assert bad == len(parts) - len(wanted)


@pytest.mark.parametrize("text", BAD)
def test_each_kind_of_bad_item_is_one(text):
    assert parse_perfdata(text) == ([], 1)


def test_a_plugin_s_counters_are_counters_and_its_units_its_own(tmp_path):
    """``c`` makes a counter: one taken for a gauge would never be known as reset, nor sent as what it grew by."""
    plugin, path = tmp_path / "plugin", tmp_path / "lines"
    plugin.write_text(
        "#!/bin/sh\nn=$(cat n 2>/dev/null || echo 0)\nn=$((n + 7))\necho $n > n\n"
        'echo "OK | hits=${n}c time=0.5s load=3 fields=2 state=4 bad=1,5"\n'
    )
    plugin.chmod(0o755)

    async def main():
        async with probing(path, clock="real") as (instance, client):
            config = {"argv": [str(plugin)], "cwd": str(tmp_path)}
            record = lined("nagios", every(0.05), config, timeout=30, reporting={"counters": "delta"})
            await client.call("probe.add", {"name": "m", "record": record})
            while not path.exists() or path.read_bytes().count(b'"value":7') < 2:
                await instance.sleep(0.02)

    run(main, clock="real")
    lines = documents(path)
    series = {one["series"]["metric"]: one["series"] for one in lines if "series" in one}
    assert {name: (one["kind"], one["unit"]) for name, one in series.items()} == {
        "state": ("state", ""), "time": ("gauge", "s"), "hits": ("counter", "c"), "load": ("gauge", "1"),
        "fields_": ("gauge", "1"), "state_": ("gauge", "1"), "bad_items": ("gauge", "{item}"),
    }  # fmt: skip
    hits = [one["value"] for one in lines if one.get("mid") == series["hits"]["mid"]]
    assert set(hits) == {7}
