"""Knows how a view is laid out as lines of so many columns; not who prints them, nor when.

A line is a list of (text, style) pairs; styles are names of terminal colours that are legible on dark and on light.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Final, NamedTuple

from brokersim.cli.harmless import written
from brokersim.cli.module.trace import TYPES, size_text
from brokersim.cli.told import elapsed
from brokersim.cli.top.rates import BLOCKS, CLEARED, NEW, RESTARTED, Cost, Look, Module, Row, View, sparkline
from brokersim.protocol.decoded import JsonView
from brokersim.protocol.plurals import counted

Line = list[tuple[str, str]]


def harmless_line(line: Line) -> Line:
    """What a screen may be drawn of: names are whoever's, and a control in one would move the cursor."""
    return [(written(text), style) for text, style in line]


#: The mask bit that the key toggles, and which is marked.
MSGCOUNT: Final = 0x1000
PLAIN, DIM, BOLD, ON, BAD, NOTE = "", "dim", "bold", "bold green", "bold red", "bold magenta"
#: Blanks between columns: where all fit, and where not.
_WIDE, _NARROW = 2, 1
_NAME_LEAST: Final = 12
#: Notes as they fit a column of rates.
_NOTES: Final = {NEW: "new", RESTARTED: "restart", CLEARED: "cleared"}
_NOTHING: Final = "-"


class Column(NamedTuple):
    """Title, width, the sort it shows, and the text and style of a row's cell; ``left`` aligns to the left."""

    title: str
    width: int
    sort: str
    cell: Callable[[Row], tuple[str, str]]
    left: bool = False


def _plain(text: Callable[[Row], str]) -> Callable[[Row], tuple[str, str]]:
    return lambda row: (text(row), PLAIN)


def _state(row: Row) -> tuple[str, str]:
    return row.module.state, PLAIN if row.module.state == "R" else BAD


def _rx(row: Row) -> tuple[str, str]:
    return (_NOTES[row.note], NOTE) if row.note else (number(row.rx), PLAIN)


def _waiting(row: Row) -> tuple[str, str]:
    return _count(row.module.waiting), BOLD if row.module.waiting else PLAIN


def _open(row: Row) -> tuple[str, str]:
    count = row.module.open
    return _NOTHING if count is None else _count(count), BOLD if count else PLAIN


def _mask(row: Row) -> tuple[str, str]:
    mask = row.module.mask
    return _NOTHING if mask is None else f"{mask:#x}", ON if mask and mask & MSGCOUNT else PLAIN


def _hook(row: Row) -> tuple[str, str]:
    emits = bool(row.module.mask and row.module.mask & MSGCOUNT)
    return row.module.hook or _NOTHING, PLAIN if emits else DIM


#: From left to right. The name takes what the others leave.
COLUMNS: Final = {
    "rank": Column("Rank", 4, "rank", _plain(lambda row: str(row.module.rank))),
    "name": Column("Module", 0, "name", _plain(lambda row: row.module.name), True),
    "state": Column("S", 1, "", _state, True),
    "rx": Column("rx/s", 7, "rx", _rx),
    "tx": Column("tx/s", 6, "tx", _plain(lambda row: "" if row.note else number(row.tx))),
    "wait": Column("Wait", 4, "wait", _waiting),
    "open": Column("Open", 4, "open", _open),
    "p50": Column("p50 ms", 6, "", _plain(lambda row: number(row.module.slowest.get("p50")))),
    "p99": Column("p99 ms", 6, "p99", _plain(lambda row: number(row.module.slowest.get("p99")))),
    "mask": Column("Mask", 7, "", _mask),
    "hook": Column("Hook", 8, "", _hook, True),
    "packets": Column("pkt/s", 6, "packets", _plain(lambda row: number(row.packets))),
}
#: What goes first where not all fit: at 80 columns p50; at 40 what tells modules apart and what keys change stays.
_LEAST: Final = ("p50", "p99", "open", "packets", "wait", "state", "hook", "tx", "mask", "rank")


def number(value: float | None) -> str:
    """A figure in at most six characters: three digits behind the point below ten, none from a thousand on."""
    if value is None:
        return _NOTHING
    for limit, scale, form in _FORMS:
        if value < limit:
            return form.format(value / scale)
    return f"{value:.0e}"


#: Below this: divided by that, in this form.
_FORMS: Final = (
    (0.0005, 1, "0"), (9.9995, 1, "{:.3f}"), (999.95, 1, "{:.1f}"), (99_999.5, 1, "{:,.0f}"),
    (999_500, 1e3, "{:.0f}k"), (999_950_000, 1e6, "{:.1f}M"),
)  # fmt: skip


def _count(count: int) -> str:
    return (
        str(count) if count < 10_000 else f"{count // 1000}k" if count < 1_000_000 else f"{count // 10**6}M"
    )


# --- the modules


class Grid(NamedTuple):
    """The columns that are shown, each with its width, and the blanks between them."""

    widths: dict[str, int]
    gap: int

    @property
    def missing(self) -> list[str]:
        """Titles of the columns there is no room for."""
        return [column.title for key, column in COLUMNS.items() if key not in self.widths]


def grid(width: int | None, rows: Sequence[Row] = ()) -> Grid:
    """The columns that fit; all of them, and whole names, without a width."""
    longest = max((len(row.module.name) for row in rows), default=_NAME_LEAST)
    widths = {key: column.width for key, column in COLUMNS.items()} | {"name": max(longest, _NAME_LEAST)}
    if width is None or _total(widths, _WIDE) <= width:
        return Grid(widths, _WIDE)
    for key in _LEAST:
        if _total(widths | {"name": _NAME_LEAST}, _NARROW) <= width:
            break
        del widths[key]
    spare = width - _total(widths | {"name": 0}, _NARROW)
    widths["name"] = max(1, min(widths["name"], spare))
    return Grid(widths, _NARROW)


def _total(widths: dict[str, int], gap: int) -> int:
    return sum(widths.values()) + gap * (len(widths) - 1)


def titles(grid: Grid, sort: str) -> Line:
    """The line of titles; the one that is sorted by is marked."""
    return _spaced([_title(key, width, sort) for key, width in grid.widths.items()], grid.gap)


def _title(key: str, width: int, sort: str) -> tuple[str, str]:
    column = COLUMNS[key]
    return _fitted(column.title, width, column.left), "bold reverse" if column.sort == sort else BOLD


def module_line(row: Row, grid: Grid) -> Line:
    """One module."""
    return _spaced([_cell(COLUMNS[key], width, row) for key, width in grid.widths.items()], grid.gap)


def _cell(column: Column, width: int, row: Row) -> tuple[str, str]:
    text, style = column.cell(row)
    return _fitted(text, width, column.left), style


def _fitted(text: str, width: int, left: bool) -> str:
    short = text if len(text) <= width else f"{text[: max(0, width - 1)]}…"
    return short.ljust(width) if left else short.rjust(width)


def _spaced(cells: Sequence[tuple[str, str]], gap: int) -> Line:
    line: Line = []
    for cell in cells:
        line += [(" " * gap, PLAIN), cell] if line else [cell]
    return line


# --- the instance


def instance_lines(
    view: View, history: Sequence[float | None], width: int, blocks: str = BLOCKS
) -> list[Line]:
    """What it is, its jobs, its messages; what it costs, where a probe reads that; its stats over all ranks, if any."""
    lines = [_facts(view, width), _jobs(view.look, width)]
    if view.look.costs:
        lines.append(_costs(view.look, width))
    lines.append(_messages(view, history, width, blocks))
    return [*lines, _stats(view.look, width)] if view.look.stats else lines


def _costs(look: Look, width: int) -> Line:
    facts = [(f"{rank}:", _cost(cost), PLAIN) for rank, cost in sorted(look.costs.items())]
    return [("cost ", DIM), *_facts_that_fit(facts, width - len("cost "))]


def _cost(cost: Cost) -> str:
    words = []
    if cost.cpu is not None:
        words.append(f"{cost.cpu:.1%} cpu")
    if cost.resident is not None:
        words.append(f"{cost.resident / (1 << 20):.0f} MiB")
    if cost.looking is not None:
        words.append(f"{cost.looking:.2%} probes")
    return " ".join(words) or _NOTHING


def _stats(look: Look, width: int) -> Line:
    """Of each stat the rows of its last epoch, and which ranks were not in it."""
    facts = [
        (
            name,
            counted(one["rows"], "row") + (f", not {one['absent']}" if one["absent"] else ""),
            BAD if one["absent"] else PLAIN,
        )
        for name, one in look.stats.items()
    ]
    return [("stats ", DIM), *_facts_that_fit(facts, width - len("stats "))]


def _facts(view: View, width: int) -> Line:
    look = view.look
    facts = [
        ("size", str(look.size), PLAIN),
        ("up", _NOTHING if look.uptime is None else elapsed(look.uptime), PLAIN),
        ("clock", look.clock, PLAIN),
    ]
    if look.missing:
        facts.insert(1, ("no answer from", _ranks(look.missing), BAD))
    if look.clock != "real":
        facts.append(("rates", f"per {_seconds(look.clock)} second", PLAIN))
    return _facts_that_fit(facts, width)


def _seconds(clock: str) -> str:
    return "virtual" if clock == "virtual" else "scaled"


def _ranks(ranks: Sequence[int]) -> str:
    shown = ",".join(map(str, ranks[:3]))
    return shown if len(ranks) <= 3 else f"{shown},… ({len(ranks)})"


#: Words for the states, in the order of a job's life; what waits before the scheduler counts as one.
_JOB_STATES: Final = (
    ("depend", ("NEW", "DEPEND", "PRIORITY")), ("sched", ("SCHED",)), ("run", ("RUN",)), ("cleanup", ("CLEANUP",)),
    ("inactive", ("INACTIVE",)),
)  # fmt: skip


def _jobs(look: Look, width: int) -> Line:
    if look.jobs is None:
        return [("jobs ", DIM), (_NOTHING, PLAIN)]
    counts = [(word, sum(look.jobs.get(state, 0) for state in states)) for word, states in _JOB_STATES]
    facts = [(word, f"{count:,}", BOLD if count and word == "run" else PLAIN) for word, count in counts]
    if width < len("jobs ") + len(_text(_facts_that_fit(facts, 1000))):
        facts = [fact for fact in facts if fact[0] not in ("depend", "cleanup")]  # those that pass quickly
    return [("jobs ", DIM), *_facts_that_fit(facts, width - len("jobs "))]


def _facts_that_fit(facts: Sequence[tuple[str, str, str]], width: int) -> Line:
    line: Line = []
    for word, value, style in facts:
        more: Line = [*([("  ", PLAIN)] if line else []), (f"{word} ", DIM), (value, style)]
        if len(_text(line + more)) > width:
            break
        line += more
    return line


def _messages(view: View, history: Sequence[float | None], width: int, blocks: str) -> Line:
    line: Line = [("messages/s ", DIM), (f"{number(view.messages):<7}  ", BOLD)]
    peak = max((value for value in history if value is not None), default=None)
    most: Line = [("  peak ", DIM), (number(peak), PLAIN)] if width >= 60 else []
    room = width - len(_text(line)) - len(_text(most))
    return [*line, (sparkline(history, room, blocks), "cyan"), *most]


# --- one module, in words


def detail(row: Row, width: int) -> Line:
    """What is known of a module and has no room in its row."""
    module = row.module
    timed = [
        (name, f"{figures['count']:,.0f} p50 {number(figures['p50'])} p99 {number(figures['p99'])} ms", PLAIN)
        for name, figures in module.timings.items()
        if figures["count"]
    ]
    return _facts_that_fit([(f"{module.rank}!{module.name}", _counted(module), BOLD), *timed], width)


def _counted(module: Module) -> str:
    if module.rx is None or module.tx is None:
        return ""
    return f"rx {sum(module.rx.values()):,}  tx {sum(module.tx.values()):,}"


# --- one message


def trace_line(entry: JsonView, since: float, latency: float | None) -> Line:
    """A traced message: seconds since the one before, rx or tx, arrow, topic, bytes; of a response its latency."""
    _, arrow, color = TYPES.get(entry["type"], ("", "?", PLAIN))
    line: Line = [
        (f"{since:+.6f} {entry['prefix']} ", DIM),
        (arrow, f"bold {color}"),
        (f" {entry['topic']} ", PLAIN),
    ]
    line.append((size_text(dict(entry)), DIM))
    return line if latency is None else [*line, (f"  +{latency * 1e3:.1f} ms", PLAIN)]


def _text(line: Line) -> str:
    return "".join(text for text, _ in line)


def block(
    view: View, history: Sequence[float | None], rows: Sequence[Row], sort: str, blocks: str = BLOCKS
) -> str:
    """The whole view as lines of text, nothing left out: for what is no terminal."""
    columns = grid(None, rows)
    lines = instance_lines(view, history, 80, blocks)
    lines += [titles(columns, sort), *(module_line(row, columns) for row in rows)]
    return "\n".join(_text(line).rstrip() for line in lines) + "\n"
