"""What one more key costs in a KVS folder of N keys, and of a hundredth of them: CPU and memory a commit.

    python benchmarks/folder.py [--json] [--gate] [--keys N] [--commits N]

In process, without a state directory. The folder is filled by commits of 10,000 keys; then keys are put that grow, one
a commit, as job ids do, and keys are changed that lie anywhere, whose commits hash all that lies behind (SHA-1 over one
JSON text, as Flux stores it). The baseline is the same in the small folder, and SHA-1 over as many bytes.
"""

from __future__ import annotations

import random
import sys
import time
from hashlib import sha1
from typing import Any

import _measure
from ranks import resident

import brokersim
from brokersim.instance import Instance
from brokersim.protocol import treeobj

BATCH = 10_000
VALUES = [treeobj.val(b"%d" % number) for number in range(10)]


def operation(number: int, value: int = 0) -> dict[str, Any]:
    return {"key": f"folder.key{number:09}", "flags": 0, "dirent": VALUES[value]}


async def commit(instance: Instance, ops: list[list[dict[str, Any]]]) -> None:
    """Commit the operations of each list, one list after the other."""
    client = instance.client()

    def start(done: Any) -> None:
        left = iter(ops)

        def following(response: Any, _: None) -> None:
            if response is not None and response.errnum:
                raise SystemExit(f"kvs.commit failed: {response.payload_str}")
            some = next(left, None)
            if some is None:
                done(None)
            else:
                client.request("kvs.commit", {"namespace": "primary", "flags": 0, "ops": some}, following)

        following(None, None)

    await client.occurrence(start)
    client.close()


async def measure(keys: int, commits: int) -> dict[str, float]:
    """CPU µs a commit of one key, and bytes that memory grew by, behind a folder of so many keys."""
    async with brokersim.open_instance() as instance:
        started = time.process_time()
        for at in range(0, keys, BATCH):
            await commit(instance, [[operation(number) for number in range(at, min(at + BATCH, keys))]])
        filled = time.process_time() - started
        next_key = keys

        async def grow(count: int) -> float:
            nonlocal next_key
            ops = [[operation(next_key + number)] for number in range(count)]
            next_key += count
            began = time.process_time()
            await commit(instance, ops)
            return (time.process_time() - began) / count * 1e6

        await grow(commits)
        before = resident()
        growing = await grow(commits)
        bytes_each = (resident() - before) / commits
        draw = random.Random(1)
        some = [[operation(draw.randrange(keys), 1 + number % 9)] for number in range(max(10, commits // 20))]
        began = time.process_time()
        await commit(instance, some)
        anywhere = (time.process_time() - began) / len(some) * 1e6
    return {
        "fill_us": filled / keys * 1e6,
        "growing_us": growing,
        "anywhere_us": anywhere,
        "bytes": bytes_each,
    }


def hashing(keys: int) -> float:
    """CPU µs of SHA-1 over half of such a folder's stored form: what lies behind a key on average."""
    data = bytes(len(treeobj.encode({"key000000000": VALUES[0]})) * keys // 2)
    began = time.process_time()
    sha1(data).digest()
    return (time.process_time() - began) * 1e6


def main() -> int:
    parser = _measure.parser(__doc__, repeats=1)
    parser.add_argument("--keys", type=_measure.positive, default=1_000_000, help="keys of the large folder")
    parser.add_argument("--commits", type=_measure.positive, default=1_000, help="commits of one key, timed")
    arguments = parser.parse_args()
    small = max(1, arguments.keys // 100)
    report = _measure.begin("folder", arguments, keys=arguments.keys, commits=arguments.commits)
    rounds = [
        {keys: brokersim.run(measure, keys, arguments.commits) for keys in (small, arguments.keys)}
        for _ in range(arguments.repeats)
    ]
    bare = [hashing(arguments.keys) for _ in range(arguments.repeats)]

    def values(keys: int, key: str) -> list[float]:
        return [one[keys][key] for one in rounds]

    large = arguments.keys
    report.figures = [
        _measure.Figure(name=f"{keys:,} keys: {what}", unit=unit, values=values(keys, key), target=target)
        for keys, target in ((small, None), (large, 1000))
        for what, unit, key in (
            ("a growing key", "µs", "growing_us"),
            ("a key anywhere", "µs", "anywhere_us"),
        )
    ]
    report.figures += [
        _measure.Figure(name=f"{large:,} keys: memory a commit", unit="B", values=values(large, "bytes")),
        _measure.Figure(
            name=f"{large:,} keys: to fill it, a key", unit="µs", values=values(large, "fill_us")
        ),
        _measure.Figure(name="SHA-1 over half of it", unit="µs", values=bare),
    ]
    ratio = _measure.ratio(values(large, "growing_us"), values(small, "growing_us"))
    report.keys = {"growth": ratio, "growing_us": report.figures[2].median, "bytes": report.figures[4].median}
    report.gates = [
        _measure.Gate(what="a growing key: cost at N / at N/100", ratio=ratio, limit=2.5),
        _measure.Gate(
            what="a key anywhere / SHA-1 of what is behind",
            ratio=_measure.ratio(values(large, "anywhere_us"), bare),
            limit=4.0,
        ),
    ]
    return report.finish(arguments)


if __name__ == "__main__":
    sys.exit(main())
