"""Knows what should agree with the journal when the same jobs run under each hook; not how they are run.

Source: docs/experiments.md, J4 to J8 and laws L1, L3, L4, L7. Orders and ratios only, never rates.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from statistics import fmean, pstdev
from typing import Any

from brokersim.lab.experiments.checklist import Beside, Check
from brokersim.lab.experiments.overhead_journal import JOURNAL, REAL_SPREAD
from brokersim.protocol.message import COUNTER_NAMES

Rows = Mapping[str, Mapping[str, Any]]
#: Packets a message, of any hook that looks in every turn.
LOWEST, HIGHEST = 0.8, 1.3
#: metrics/s in the journal: peak and low.
PEAKS = {"prepare": (27_000, 7_000), "check": (25_000, 5_500), "idle": (21_000, 4_500)}
HOOKS = ("timer:1s", "check", "prepare", "idle")
#: Windows a run is cut into for its scatter, whatever it takes: else a slow run would look smooth.
WINDOWS = 40


def scatter(packets: Sequence[tuple[float, int]], end: float) -> float:
    """Spread of metrics a second around their linear trend, as a share of their mean; 0.0 of too few."""
    if end <= 0 or len(packets) < WINDOWS:
        return 0.0
    rates = [0.0] * WINDOWS
    for t, lines in packets:
        rates[min(WINDOWS - 1, int(t / end * WINDOWS))] += lines
    rates = rates[1:-1]  # the first and the last are cut short
    mean, middle = fmean(rates), (len(rates) - 1) / 2
    slope = sum((x - middle) * rate for x, rate in enumerate(rates)) / sum(
        (x - middle) ** 2 for x in range(len(rates))
    )
    return pstdev([rate - slope * (x - middle) for x, rate in enumerate(rates)]) / mean if mean else 0.0


def checks(rows: Rows, modules: Mapping[str, Sequence[Mapping[str, Any]]], clock: str) -> list[Check]:
    """Of the hooks that ran; rows by hook, with each hook's modules."""
    found: list[Check] = []
    if rows.keys() >= {"none", *HOOKS}:
        found += _costs(rows, clock)
    found += [_share(hook, row) for hook, row in rows.items() if hook in PEAKS]
    if rows.keys() >= {"prepare", "check"}:
        found.append(_more(rows))
    if rows.keys() >= PEAKS.keys():
        found.append(_peaks(rows, clock))
        if clock == "real":  # modelled time has no noise that could be jagged
            found.append(_scatter(rows))
    for hook, each in modules.items():
        found += [*_turns(hook, each), *_answers(hook, each)]
    return found


def beside(rows: Rows) -> Iterator[Beside]:
    """The journal's cost and peaks beside ours: orders agree, numbers need not."""
    for hook, share in JOURNAL.items():
        if hook in rows and rows[hook]["overhead"] is not None:
            ours = rows[hook]["overhead"]
            yield Beside(
                what=f"{hook}: wall time added", ours=f"{ours:+.1%}", journal=f"{share:+.1%}",
                ok=_is_in_order(hook, rows), why="another machine, another broker: its place in the order counts",
            )  # fmt: skip
    for hook, (peak, low) in PEAKS.items():
        if hook in rows:
            row = rows[hook]
            yield Beside(
                what=f"{hook}: metrics/s, peak and low",
                ours=f"{row['metrics_per_s_peak']:,.0f} / {row['metrics_per_s_low']:,.0f}",
                journal=f"{peak:,} / {low:,}",
                ok=row["metrics_per_s_peak"] > row["metrics_per_s_low"],
                why="no decay here; bench decay has its models",
            )


def _is_in_order(hook: str, rows: Rows) -> bool:
    slower = [rows[each]["overhead"] for each in HOOKS[HOOKS.index(hook) + 1 :] if each in rows]
    ours: float = rows[hook]["overhead"]
    # check and prepare may stand either way round.
    bound = max(slower, default=ours) if hook in ("check", "prepare") else min(slower, default=ours)
    return ours <= bound + REAL_SPREAD


def _costs(rows: Rows, clock: str) -> list[Check]:
    spread = REAL_SPREAD if clock == "real" else 0.0
    shares = {hook: float(rows[hook]["overhead"]) for hook in HOOKS}
    early, late = sorted((shares["check"], shares["prepare"]))
    within = f" (within {spread:.0%}, the spread of real runs)" if spread else ""
    found = [
        Check(
            id="L7",
            sentence=f"none ≤ timer < {{check, prepare}} < idle in wall time{within}",
            ok=-0.01 - spread <= shares["timer:1s"] < early + spread and late < shares["idle"] + spread,
            ours=", ".join(f"{hook} {share:+.1%}" for hook, share in shares.items()),
            journal=", ".join(f"{hook} {share:+.1%}" for hook, share in JOURNAL.items()),
        )
    ]
    cpu = {hook: rows[hook]["cpu_s"] for hook in ("none", *HOOKS)}
    if all(seconds is not None for seconds in cpu.values()):
        early, late = sorted((cpu["check"], cpu["prepare"]))
        found.append(
            Check(
                id="L7 b",
                sentence="a hook in every turn costs CPU, a timer hardly any, and idle most",
                ok=max(cpu["none"], cpu["timer:1s"]) < early and late < cpu["idle"],
                ours=", ".join(f"{hook} {seconds:.2f} s" for hook, seconds in cpu.items()),
            )
        )
    return found


def _share(hook: str, row: Mapping[str, Any]) -> Check:
    ours = row["packets_per_message"]
    return Check(
        id=f"L1 ({hook})",
        sentence=f"about one packet a message, {LOWEST:g} to {HIGHEST:g}"
        + (", at least 1" if hook == "prepare" else ""),
        ok=(1.0 if hook == "prepare" else LOWEST) <= ours <= HIGHEST,
        ours=f"{ours:.2f}",
        journal="kvs: check 1.00, prepare 1.17, idle 1.09",
    )


def _more(rows: Rows) -> Check:
    ours = {hook: rows[hook]["packets_per_message"] for hook in ("prepare", "check")}
    return Check(
        id="J4/J6",
        sentence="prepare sends at least as many packets as check for the same work",
        ok=ours["prepare"] >= ours["check"],
        ours=", ".join(f"{hook} {share:.3f} a message" for hook, share in ours.items()),
        journal="kvs: 1.17 against 1.00",
    )


def _peaks(rows: Rows, clock: str) -> Check:
    peak = {hook: rows[hook]["metrics_per_s_peak"] for hook in PEAKS}
    spread = 0.25 if clock == "real" else 0.0
    return Check(
        id="J4-J6",
        sentence="peaks of metrics a second: prepare ≥ check"
        + (f" (within {spread:.0%}, the spread of real runs)" if spread else "")
        + ", idle below",
        ok=peak["prepare"] >= peak["check"] * (1 - spread)
        and peak["idle"] < max(peak["prepare"], peak["check"]),
        ours=", ".join(f"{hook} {rate:,.0f}" for hook, rate in peak.items()),
        journal="27,000, 25,000, 21,000",
        why="while jobs wait for batches of 10 ms, as serial ones do most of the time, a hook costs processor time and "
        "hardly any rate; --workload bulk keeps the loop busy",
    )


def _scatter(rows: Rows) -> Check:
    spread = {hook: rows[hook]["cv"] for hook in PEAKS}
    return Check(
        id="J5",
        sentence="the idle hook's curve is the most jagged around its trend",
        ok=spread["idle"] >= max(spread["prepare"], spread["check"]),
        ours=", ".join(f"{hook} {cv:.2f}" for hook, cv in spread.items()),
        journal="idle jagged, prepare and check smooth",
        why="here one loop turns all modules in their order, so one that spins delays the others evenly; in the "
        "journal each had a thread, and the kernel decided who waited",
    )


def _turns(hook: str, modules: Sequence[Mapping[str, Any]]) -> Iterator[Check]:
    if hook not in PEAKS:
        return
    over = [each["name"] for each in modules if each["packets"] > each["iterations"] + 1]
    yield Check(
        id=f"L1 b ({hook})",
        sentence="at most one packet a turn of the loop, in every module",
        ok=not over,
        ours=f"{sum(each['packets'] for each in modules):,} packets in "
        f"{sum(each['iterations'] for each in modules):,} turns"
        + (f"; more in {', '.join(over)}" if over else ""),
    )


def _answers(hook: str, modules: Sequence[Mapping[str, Any]]) -> Iterator[Check]:
    kvs = next(
        (dict(zip(COUNTER_NAMES, each["counts"], strict=True)) for each in modules if each["name"] == "kvs"),
        None,
    )
    if kvs is None:
        return
    # Open when it was read: the question itself, and what was asked at start without wanting an answer.
    yield Check(
        id=f"L3 ({hook})",
        sentence="kvs gets an answer to all it asks, and answers all but the notices of clients that left",
        ok=0 <= kvs["request_tx"] - kvs["response_rx"] <= 6 and kvs["request_rx"] >= kvs["response_tx"],
        ours=f"{kvs['request_tx']:,} asked, {kvs['response_rx']:,} answers; {kvs['request_rx']:,} in, "
        f"{kvs['response_tx']:,} answered",
        journal="905k = 905k; 525k, 515k",
    )
