"""What `top` computes and how it lays it out, against models made from what happened rather than from differences."""

from __future__ import annotations

from fnmatch import fnmatchcase
from itertools import pairwise
from typing import Any, NamedTuple

import attrs
import pytest
from hypothesis import given
from hypothesis import strategies as st

from brokersim.cli.top.rates import (
    ASCII_BLOCKS,
    BLOCKS,
    SORTS,
    Change,
    Cost,
    Look,
    Module,
    Row,
    arrange,
    compare,
    document,
    sparkline,
)
from brokersim.cli.top.read import to_look
from brokersim.cli.top.table import (
    BAD,
    BOLD,
    COLUMNS,
    DIM,
    ON,
    PLAIN,
    block,
    detail,
    grid,
    instance_lines,
    module_line,
    number,
    titles,
    trace_line,
)

KINDS = ("request", "response", "event", "control")
RANKS = st.integers(0, 3)
NAMES = st.sampled_from(["kvs", "kvs-watch", "cron", "content-cache", "a-module-with-a-rather-long-name"])
FIGURES = st.none() | st.floats(0, 1e9)


class Happened(NamedTuple):
    """What befell one module between two looks, in this order: counts, then cleared or reloaded, then counts."""

    before: tuple[int, ...]
    first: tuple[int, ...]
    event: str
    second: tuple[int, ...]


counts = st.tuples(*[st.integers(0, 1000)] * 8)
happenings = st.builds(
    Happened, counts, counts, st.sampled_from(["", "", "reload", "clear", "load", "gone"]), counts
)


def as_module(rank: int, name: str, values: tuple[int, ...], life: int, packets: int) -> Module:
    rx, tx = (dict(zip(KINDS, half, strict=True)) for half in (values[:4], values[4:]))
    return Module(rank=rank, name=name, uuid=f"{rank}{name}{life}", rx=rx, tx=tx, packets=packets)


def added(one: tuple[int, ...], other: tuple[int, ...]) -> tuple[int, ...]:
    return tuple(a + b for a, b in zip(one, other, strict=True))


@given(st.dictionaries(st.tuples(RANKS, NAMES), happenings), st.floats(0, 1e6), st.floats(1e-6, 1e5))
def test_rates_are_what_happened_over_the_time_it_took(
    world: dict[tuple[int, str], Happened], start: float, seconds: float
) -> None:
    before, after = [], []
    for (rank, name), one in world.items():
        if one.event != "load":
            before.append(as_module(rank, name, one.before, 0, sum(one.before)))
        if one.event == "gone":
            continue
        kept = added(one.before, one.first) if not one.event else (0,) * 8
        life = 1 if one.event in ("reload", "load") else 0
        grown = sum(one.before) + sum(one.first) + sum(one.second)
        after.append(as_module(rank, name, added(kept, one.second), life, grown))
    end = start + seconds
    view = compare(
        Look(modules=tuple(before), times=dict.fromkeys(range(4), start)),
        Look(modules=tuple(after), times=dict.fromkeys(range(4), end)),
    )
    took = end - start
    assert [row.module for row in view.rows] == after
    for row in view.rows:
        one = world[row.module.key]
        assert all(rate is None or rate >= 0 for rate in (row.rx, row.tx, row.packets))
        if one.event in ("reload", "load"):
            assert (row.note, row.rx, row.tx) == (
                {"reload": "restarted", "load": "new"}[one.event],
                None,
                None,
            )
        elif one.event == "clear":
            fell = any(new < old for old, new in zip(one.before, one.second, strict=True))
            assert (row.note == "cleared") == fell
        elif took <= 0:
            assert (row.note, row.rx, row.tx) == ("", None, None)
        else:
            moved = added(one.first, one.second)
            assert row.note == ""
            assert (row.rx, row.tx) == (sum(moved[:4]) / took, sum(moved[4:]) / took)
            assert row.packets == sum(moved) / took


def test_a_rank_that_was_missing_has_no_rates_until_it_was_seen_twice() -> None:
    module = as_module(1, "kvs", (5,) * 8, 0, 3)
    without, first, second = (
        Look(times={0: 1.0}, missing=(1,)),
        Look(modules=(module,), times={0: 2.0, 1: 2.0}),
        Look(modules=(module,), times={0: 3.0, 1: 3.0}),
    )
    assert compare(without, first).rows == (Row(module=module),)
    assert compare(first, second).rows == (Row(module=module, rx=0.0, tx=0.0, packets=0.0),)


def test_time_that_stood_still_gives_no_rates_rather_than_infinite_ones() -> None:
    module = as_module(0, "kvs", (5,) * 8, 0, 3)
    look = Look(modules=(module,), times={0: 1.0}, uptime=1.0, messages=4, clock="virtual")
    view = compare(look, look)
    assert (view.interval, view.messages) == (0.0, None)
    assert view.rows == (Row(module=module),)


def test_an_instance_that_tells_no_counters_is_shown_without_rates() -> None:
    module = Module(rank=0, name="kvs", waiting=2)
    view = compare(Look(modules=(module,), times={0: 1.0}), Look(modules=(module,), times={0: 2.0}))
    assert view.rows == (Row(module=module),)
    assert "kvs" in block(view, [], view.rows, "rank")


@given(st.integers(0, 10**6), st.integers(0, 50), st.integers(0, 10**6))
def test_the_looks_own_messages_are_not_in_the_instances_rate(start: int, own: int, others: int) -> None:
    view = compare(
        Look(uptime=1.0, messages=start, own=own), Look(uptime=3.0, messages=start + own + others, own=own)
    )
    assert view.messages == others / 2


# --- order and choice

modules = st.builds(
    Module,
    rank=RANKS,
    name=NAMES,
    waiting=st.integers(0, 5),
    open=st.none() | st.integers(0, 5),
    status=st.integers(-1, 5),
    mask=st.none() | st.sampled_from([0, 0x1000, 0x11001]),
    hook=st.none() | st.sampled_from(["prepare", "timer:0.25s"]),
    timings=st.dictionaries(
        st.sampled_from(["load", "store"]),
        st.fixed_dictionaries({"count": st.integers(0, 9), "p50": st.floats(0, 9), "p99": st.floats(0, 9)}),
    ),
)
rows = st.builds(
    Row,
    module=modules,
    rx=FIGURES,
    tx=FIGURES,
    packets=FIGURES,
    note=st.sampled_from(["", "new", "restarted", "cleared"]),
)


def figure(row: Row, sort: str) -> Any:
    module = row.module
    timed = [one["p99"] for one in module.timings.values() if one["count"]]
    return {
        "rx": row.rx, "tx": row.tx, "packets": row.packets, "wait": module.waiting, "open": module.open,
        "p99": max(timed) if timed else None,
    }[sort]  # fmt: skip


def is_like(module: Module, glob: str) -> bool:
    return any(fnmatchcase(text, glob) for text in (module.name, f"{module.rank}!{module.name}"))


@given(
    st.lists(rows),
    st.sampled_from(SORTS),
    st.sampled_from(["*", "", "kvs", "kvs*", "1!*", "0!kvs*", "[!k]*"]),
)
def test_rows_are_those_like_the_glob_in_the_order_asked_for(found: list[Row], sort: str, glob: str) -> None:
    arranged = arrange(found, sort, glob)
    wanted = [row for row in found if glob == "" or is_like(row.module, glob)]
    assert sorted(map(id, arranged)) == sorted(map(id, wanted))
    for one, other in pairwise(arranged):
        ranks = (one.module.rank, other.module.rank)
        if sort == "name":
            assert (one.module.name, ranks[0]) <= (other.module.name, ranks[1])
            continue
        if sort != "rank":
            mine, its = figure(one, sort), figure(other, sort)
            assert mine is not None or its is None
            if mine is not None and its is not None:
                assert mine >= its
            if mine != its:
                continue
        assert ranks[0] <= ranks[1]
        if ranks[0] == ranks[1]:
            assert [id(row) for row in found].index(id(one)) < [id(row) for row in found].index(id(other))


def test_a_change_is_seen_in_its_module_only() -> None:
    row = Row(module=Module(rank=0, name="kvs", mask=0x2001, hook="prepare"))
    on = Change(key=(0, "kvs"), bits=0x1000)
    assert on.applied(row).module.mask == 0x3001
    assert Change(key=(0, "kvs"), bits=0x1000, on=False).applied(on.applied(row)) == row
    assert Change(key=(0, "kvs"), hook="idle").applied(row).module.hook == "idle"
    assert Change(key=(1, "kvs"), bits=0x1000).applied(row) is row


# --- what is drawn


@given(
    st.lists(st.none() | st.floats(0, 1e300), max_size=30),
    st.integers(0, 40),
    st.sampled_from([BLOCKS, ASCII_BLOCKS]),
)
def test_a_curve_rises_where_its_values_do(values: list[float | None], width: int, blocks: str) -> None:
    curve = sparkline(values, width, blocks)
    shown = values[max(0, len(values) - width) :] if width else []
    assert len(curve) == len(shown)
    known = [
        (value, blocks.index(char)) for value, char in zip(shown, curve, strict=True) if value is not None
    ]
    assert all(char == " " for value, char in zip(shown, curve, strict=True) if value is None)
    assert [height for _, height in sorted(known)] == sorted(height for _, height in known)
    assert all((height == 0) == (value == 0) for value, height in known)
    if any(value for value, _ in known):
        assert max(known)[1] == len(blocks) - 1


@given(st.floats(0, 1e300))
def test_a_figure_has_at_most_six_characters_and_is_right_to_a_tenth(value: float) -> None:
    text = number(value)
    assert len(text) <= 6
    scale = {"k": 1e3, "M": 1e6}.get(text[-1], 1.0)
    read = float(text.rstrip("kM").replace(",", "")) * scale
    assert read == pytest.approx(value, rel=0.5 if "e" in text else 0.1, abs=0.0006)


def text(line: list[tuple[str, str]]) -> str:
    return "".join(part for part, _ in line)


@given(st.lists(rows, min_size=1, max_size=5), st.integers(40, 200), st.sampled_from(SORTS))
def test_every_line_fits_and_columns_stand_below_their_titles(
    found: list[Row], width: int, sort: str
) -> None:
    columns = grid(width, found)
    heading = text(titles(columns, sort))
    lines = [text(module_line(row, columns)) for row in found]
    assert {len(line) for line in lines} == {len(heading)}
    assert len(heading) <= width
    assert {"name", "rx", "mask"} <= columns.widths.keys()
    if width >= 80:
        assert set(columns.widths) | {"p50"} == set(grid(None).widths)
    view = compare(None, Look(modules=tuple(row.module for row in found)))
    for line in (*instance_lines(view, [1.0, None, 3.0], width), *(detail(row, width) for row in found)):
        assert len(text(line)) <= width


def test_names_of_shipped_modules_are_whole_at_80_columns() -> None:
    names = ["content-sqlite", "content-cache", "job-manager"]
    shown = [Row(module=Module(rank=999, name=name)) for name in names]
    columns = grid(80, shown)
    assert all(name in text(module_line(row, columns)) for name, row in zip(names, shown, strict=True))


def styles(**facts: Any) -> dict[str, str]:
    row = Row(module=Module(rank=0, name="kvs", **facts))
    return {key: COLUMNS[key].cell(row)[1] for key in ("state", "wait", "open", "mask", "hook")}


def test_what_waits_and_what_sends_gauges_stands_out() -> None:
    assert styles(waiting=0, open=0, mask=0x2000) == {
        "state": PLAIN, "wait": PLAIN, "open": PLAIN, "mask": PLAIN, "hook": DIM,
    }  # fmt: skip
    assert styles(status=2, waiting=1, open=1, mask=0x1000) == {
        "state": BAD, "wait": BOLD, "open": BOLD, "mask": ON, "hook": PLAIN,
    }  # fmt: skip
    assert set(styles(open=None, mask=None).values()) == {PLAIN, DIM}


@pytest.mark.parametrize(
    ("waiting", "told"),
    [(0, "0"), (9_999, "9999"), (10_000, "10k"), (999_999, "999k"), (1_000_000, "1M"), (12_345_678, "12M")],
)
def test_what_waits_is_told_in_four_characters_as_far_as_it_goes(waiting: int, told: str) -> None:
    row = Row(module=Module(rank=0, name="kvs", waiting=waiting))
    assert COLUMNS["wait"].cell(row)[0].strip() == told


@pytest.mark.parametrize(
    ("value", "told"),
    [(0.0004, "0"), (0.0005, "0.001"), (9.9994, "9.999"), (9.9996, "10.0"), (999.94, "999.9"), (999.96, "1,000"),
     (99_999.4, "99,999"), (99_999.6, "100k"), (999_499.0, "999k"), (999_501.0, "1.0M"), (1e9, "1e+09")],
)  # fmt: skip
def test_a_figure_that_would_be_rounded_to_a_character_more_is_told_as_the_next_larger_are(
    value: float, told: str
) -> None:
    assert number(value) == told


def test_as_many_facts_are_told_as_fit_to_the_last_character() -> None:
    look = Look(size=3, clock="real", jobs={"RUN": 2}, missing=(1, 2, 3, 4), costs={0: Cost(cpu=0.5)})
    view = compare(None, look)
    whole = [text(line) for line in instance_lines(view, [], 200)]
    assert whole[:3] == [
        "size 3  no answer from 1,2,3,… (4)  up -  clock real",
        "jobs depend 0  sched 0  run 2  cleanup 0  inactive 0",
        "cost 0: 50.0% cpu",
    ]
    shorter = ["size 3  no answer from 1,2,3,… (4)  up -", "jobs sched 0  run 2  inactive 0", "cost "]
    for at, (line, less) in enumerate(zip(whole, shorter, strict=False)):
        assert text(instance_lines(view, [], len(line))[at]) == line
        assert text(instance_lines(view, [], len(line) - 1)[at]) == less
    three = compare(None, attrs.evolve(look, missing=(1, 2, 3)))
    assert text(instance_lines(three, [], 200)[0]).startswith("size 3  no answer from 1,2,3  up")


def test_what_is_sorted_by_what_runs_and_what_is_missing_stand_out() -> None:
    columns = grid(None)
    for sort in ("name", "rx"):
        marked = [part.strip() for part, style in titles(columns, sort) if style == "bold reverse"]
        assert marked == [COLUMNS[sort].title]
    assert ("2", BOLD) in instance_lines(compare(None, Look(jobs={"SCHED": 3, "RUN": 2})), [], 100)[1]
    assert ("0", BOLD) not in instance_lines(compare(None, Look(jobs={"RUN": 0})), [], 100)[1]
    assert ("3", BOLD) not in instance_lines(compare(None, Look(jobs={"SCHED": 3})), [], 100)[1]
    stats = {"all": {"rows": 1, "absent": ""}, "some": {"rows": 2, "absent": "3"}}
    line = instance_lines(compare(None, Look(stats=stats)), [], 100)[-1]
    assert ("1 row", PLAIN) in line and ("2 rows, not 3", BAD) in line


def test_what_is_not_told_of_a_module_or_of_an_instance_makes_no_figure() -> None:
    half = Row(module=Module(rank=0, name="kvs", rx={"request": 1}))
    assert text(detail(half, 80)) == "0!kvs "
    for before, after in ((None, 3.0), (1.0, None)):
        view = compare(Look(uptime=before, messages=1), Look(uptime=after, messages=5))
        assert (view.interval, view.messages) == (None, None)


def test_a_traced_response_has_its_latency_behind_it() -> None:
    entry = {"type": 2, "prefix": "rx", "topic": "a.b", "payload_size": 3, "errnum": 0}
    told = text(trace_line(entry, 0.5, None))
    assert text(trace_line(entry, 0.5, 0.0123)) == f"{told}  +12.3 ms"


@pytest.mark.parametrize(("width", "has_peak"), [(59, False), (60, True)])
def test_where_there_is_room_the_peak_is_told_behind_the_curve(width: int, has_peak: bool) -> None:
    line = text(instance_lines(compare(None, Look()), [1.0, None, 7.0], width)[-1])
    assert ("peak 7.000" in line, len(line) <= width) == (has_peak, True)


def test_a_view_as_text() -> None:
    modules_ = (
        Module(rank=0, name="kvs", uuid="1", rx={"request": 9}, tx={"request": 1}, waiting=3, open=12345, mask=0x1000,
               hook="check", packets=5),
        Module(rank=1, name="content-cache", uuid="2", status=2, rx={"request": 0}, tx={"request": 0},
               timings={"load": {"count": 0, "p50": 9.0, "p99": 9.0}, "store": {"count": 2, "p50": 0.5, "p99": 12.25}}),
    )  # fmt: skip
    before = Look(modules=(Module(rank=0, name="kvs", uuid="0", rx={"request": 1}, tx={"request": 1}),
                           Module(rank=1, name="content-cache", uuid="2", rx={"request": 0}, tx={"request": 0})),
                  times={0: 1.0, 1: 1.0}, uptime=1.0, messages=10, own=4)  # fmt: skip
    after = Look(modules=modules_, times={0: 3.0, 1: 3.0}, missing=(2,), size=3, clock="virtual", uptime=3.0,
                 messages=34, own=4, jobs={"NEW": 1, "DEPEND": 1, "SCHED": 4, "RUN": 2, "INACTIVE": 1000})  # fmt: skip
    view = compare(before, after)
    assert (
        block(view, [10.0, 5.0], arrange(view.rows, "name"), "name")
        == """\
size 3  no answer from 2  up 3s  clock virtual  rates per virtual second
jobs depend 2  sched 4  run 2  cleanup 0  inactive 1,000
messages/s 10.0     █▅  peak 10.0
Rank  Module         S     rx/s    tx/s  Wait  Open  p50 ms  p99 ms     Mask  Hook       pkt/s
   1  content-cache  F        0       0     0     -   0.500    12.2        -  -              -
   0  kvs            R  restart             3   12k       -       -   0x1000  check          -
"""
    )
    assert text(detail(view.rows[1], 100)) == "1!content-cache rx 0  tx 0  store 2 p50 0.500 p99 12.2 ms"
    told = document(view)
    assert (told["messages_per_s"], told["interval_s"], told["missing"]) == (10.0, 2.0, [2])
    assert [one["note"] for one in told["modules"]] == ["restarted", ""]


def test_what_a_rank_costs_is_a_line_of_its_own_where_a_probe_reads_it() -> None:
    figures = {"cost": {"cpu": 0.125, "resident": 40 << 20, "looking": 0.0012}}
    mods = [{"name": "probe", "status": 1, "sendqueue": 0, "recvqueue": 0, "figures": figures}]
    look = to_look({}, {0: {"mods": mods}, 3: {"mods": []}}, (0, 3), 4)
    view = compare(None, look)
    lines = [text(line) for line in instance_lines(view, [], 80)]
    assert lines[2] == "cost 0: 12.5% cpu 40 MiB 0.12% probes"
    assert document(view)["costs"] == {0: {"cpu": 0.125, "resident": 40 << 20, "looking": 0.0012}}
    without = compare(None, to_look({}, {0: {"mods": []}}, (0,), 1))
    assert len(instance_lines(without, [], 80)) == 3 and "costs" not in document(without)


def test_stats_over_all_ranks_are_a_line_of_their_own_if_there_are_any():
    mod = {"name": "metrics", "status": 1, "sendqueue": 0, "recvqueue": 0}
    epochs = {
        "counters": {"epoch": 3, "rows": 21, "absent": ""},
        "lat": {"epoch": 1, "rows": 2, "absent": "3,7"},
    }
    for figures, lines in (({}, 3), ({"metrics": {"stats": 2, "keys": 0, "epochs": epochs}}, 4)):
        look = to_look({}, {0: {"mods": [{**mod, "figures": figures}]}}, [0], 1)
        found = instance_lines(compare(None, look), [], 80)
        assert len(found) == lines
    told = "".join(word for word, _ in found[3])
    assert told.startswith("stats ")
    assert "counters 21 rows" in told
    assert "lat 2 rows, not 3,7" in told
