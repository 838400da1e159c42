"""Ten million random datagrams into the aggregator, every dialect in turn: does it live, and what does garbage cost?

    python benchmarks/statsd_random.py [--json] [--gate] [--datagrams N] [--workers N] [--progress] [--seed N]

Three of four datagrams are real lines cut at any byte, with bytes exchanged for those that mean something to a parser;
one of four is bytes by chance. Half of them come in batches as from a socket, half one by one. The baseline is the same
stream before it was damaged, in the same run. After each round a good line must still count, and what came in must add
up: packets, lines, bad lines by reason, finite values.
"""

from __future__ import annotations

import math
import multiprocessing
import os
import random
import sys
import time
from collections.abc import Iterator
from typing import Any

import _measure
import attrs
import statsd_server

from brokersim.statsd import DIALECTS, Aggregator

#: Datagrams of a round: some megabytes of text, made anew for each.
ROUND = 20_000
#: Where garbage costs more than so many times what it was made of, a sender of garbage has the better of us.
DEARER = 20
ALPHABET = b":|@#;,.+-0123456789eEcgmshdCxX\0\n\r \t\xff"
#: What has killed or fooled a statsd somewhere.
NASTY = (
    b"toString:1|ms", b"__proto__:1|c", b"constructor:1|g", b"k:1|c|@0", b"k:1|c|@+0.5", b"k:1|c|@Infinity",
    b"k:NaN|g", b"k:Infinity|g", b"k:1e400|g", b"k\0:1|c", b"n" * 2000 + b":1|c", b"k:%b|g" % (b"9" * 5000),
    b"k:-0|g", b"k:+0|g", b"C:5|C", b"s:x|s", b"k;a=b:1|c|#c:d,e", b"t:1:2:3|ms|@0.1", b"_e{1,1}:a|b", b"_sc|a|0",
)  # fmt: skip


@attrs.frozen(kw_only=True)
class Spent:
    """One round of one dialect: CPU ns a datagram, damaged and whole."""

    dialect: str
    random_ns: float
    whole_ns: float


def whole_datagrams(chance: random.Random, count: int) -> list[bytes]:
    lines = b"\n".join(statsd_server.packets(40, 50, chance.randrange(1 << 30))).split(b"\n")
    lines += [each for each in NASTY for _ in range(5)]
    return [b"\n".join(chance.choices(lines, k=1 + (number % 4 == 0))) for number in range(count)]


def damaged(datagrams: list[bytes], chance: random.Random) -> list[bytes]:
    """The datagrams' bytes, cut anew and with changes; every fourth is chance alone."""
    text = bytearray(b"\n".join(datagrams))
    for at in chance.choices(range(len(text)), k=len(text) // 30):
        text[at] = chance.choice(ALPHABET)
    noise = chance.randbytes(len(datagrams) * 32)
    made, start = [], 0
    for number, cut in enumerate(chance.choices(range(len(text) // len(datagrams) * 2), k=len(datagrams))):
        if number % 4:
            made.append(bytes(text[start : start + cut]))
            start += cut
        else:
            made.append(noise[number * 32 : number * 32 + cut % 32])
    return made


def feed(aggregator: Aggregator, datagrams: list[bytes]) -> float:
    """CPU ns a datagram: half in batches, half one by one."""
    half = len(datagrams) // 2
    started = time.process_time_ns()
    for start in range(0, half, 64):
        aggregator.feed_all(datagrams[start : min(start + 64, half)], lambda index: None)
    for datagram in datagrams[half:]:
        aggregator.feed(datagram)
    return (time.process_time_ns() - started) / len(datagrams)


def round_of(dialect: str, seed: int, count: int) -> Spent:
    """Feeds a round and checks what came of it; AssertionError says what is wrong."""
    chance = random.Random(seed)
    whole = whole_datagrams(chance, count)
    garbage = damaged(whole, chance)
    aggregator, beside = Aggregator(dialect), Aggregator(dialect)
    whole_ns, random_ns = feed(beside, whole), feed(aggregator, garbage)
    aggregator.feed(b"still.here:1|g")
    flush, health = aggregator.flush(1.0), aggregator.statistics()
    where = f"{dialect}, seed {seed}"
    assert flush.gauges.get("still.here") == 1, f"{where}: a good line no longer counts"
    assert health.packets == len(garbage) + 1, f"{where}: {health.packets} packets"
    assert health.bytes == sum(map(len, garbage)) + 14, f"{where}: {health.bytes} bytes"
    assert sum(health.bad_by_reason.values()) == health.bad_lines, f"{where}: {health}"
    assert all(math.isfinite(value) for _, value in flush.graphite()), f"{where}: a value is not finite"
    return Spent(dialect=dialect, random_ns=random_ns, whole_ns=whole_ns)


def all_rounds(count: int, seed: int, workers: int) -> Iterator[Spent]:
    tasks = [
        (DIALECTS[number % len(DIALECTS)], seed + number, min(ROUND, count - start))
        for number, start in enumerate(range(0, count, ROUND))
    ]
    if workers == 1:
        yield from (round_of(*task) for task in tasks)
        return
    with multiprocessing.get_context("spawn").Pool(workers, _unpin) as pool:
        yield from pool.imap_unordered(_one_round, tasks)


def _unpin() -> None:
    """They share the work, and CPU time is what is measured: anywhere will do."""
    if hasattr(os, "sched_setaffinity"):
        os.sched_setaffinity(0, range(os.cpu_count() or 1))


def _one_round(task: tuple[str, int, int]) -> Spent:
    return round_of(*task)


def measure(arguments: Any) -> _measure.Report:
    report = _measure.begin("statsd_random", arguments, datagrams=arguments.datagrams, seed=arguments.seed)
    taken: list[Spent] = []
    started = time.perf_counter()
    for spent in all_rounds(arguments.datagrams, arguments.seed, arguments.workers):
        taken.append(spent)
        if arguments.progress or sys.stderr.isatty():
            done = min(1.0, len(taken) * ROUND / arguments.datagrams)
            print(f"\r  {done:4.0%} of {arguments.datagrams:,} datagrams", end="", file=sys.stderr)
    if arguments.progress or sys.stderr.isatty():
        print("\r\033[K", end="", file=sys.stderr)
    for dialect in DIALECTS:
        values = [each.random_ns for each in taken if each.dialect == dialect]
        if values:
            report.figures.append(
                _measure.Figure(name=f"{dialect}, random datagram", unit="ns", values=values)
            )
    dearer = _measure.ratio([each.random_ns for each in taken], [each.whole_ns for each in taken])
    report.gates.append(
        _measure.Gate(what="times dearer than undamaged datagrams", ratio=dearer, limit=DEARER)
    )
    report.keys = {
        "datagrams": arguments.datagrams,
        "took_s": time.perf_counter() - started,
        "times_dearer": dearer,
    }
    report.notes.append(f"{arguments.datagrams:,} datagrams; after every {ROUND:,} a good line still counted")
    return report


def main() -> int:
    parser = _measure.parser(__doc__, repeats=1)
    parser.add_argument("--datagrams", type=_measure.positive, default=10_000_000, metavar="N")
    parser.add_argument("--workers", type=_measure.positive, default=2, help="processes that share the work")
    parser.add_argument(
        "--progress", action="store_true", help="how far it is, on stderr, even if that is no terminal"
    )
    parser.add_argument("--seed", type=int, default=7, help="of the first round; the next has the next")
    arguments = parser.parse_args()
    return measure(arguments).finish(arguments)


if __name__ == "__main__":
    sys.exit(main())
