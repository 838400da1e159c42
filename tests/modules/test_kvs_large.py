"""A directory that grows commit by commit, through kvs, content-cache, content-sqlite and a restart."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any

import brokersim
from brokersim.instance import Instance

SIZE = 150


def stored(value: dict[str, Any]) -> str:
    raw = json.dumps(value, sort_keys=True, separators=(",", ":")).encode()
    return f"sha1-{hashlib.sha1(raw).hexdigest()}"


def directory(entries: dict[str, Any]) -> dict[str, Any]:
    return {"data": entries, "type": "dir", "ver": 1}


def val(number: int) -> dict[str, Any]:
    return {"data": ["MA==", "MQ==", "Mg=="][number % 3], "type": "val", "ver": 1}


def expected(count: int) -> tuple[str, dict[str, Any]]:
    entries = {f"k{number:03}": val(number) for number in range(count)}
    inner = {"data": [stored(directory(entries))], "type": "dirref", "ver": 1}
    return stored(directory({"d": inner})), entries


async def commit(instance: Instance, number: int) -> str:
    operation = {"key": f"d.k{number:03}", "flags": 0, "dirent": val(number)}
    payload = {"namespace": "primary", "flags": 0, "ops": [operation]}
    answer = await instance.client().call("kvs.commit", payload)
    return str(answer["rootref"])


async def listed(instance: Instance, rank: int = 0) -> dict[str, Any]:
    payload = {"key": "d", "flags": 1, "namespace": "primary"}
    answer = await instance.client(rank).call("kvs.lookup", payload)
    return dict(answer["val"]["data"])


def test_every_version_has_the_name_of_its_bytes_and_is_read_back_after_a_restart(tmp_path: Path) -> None:
    async def grow() -> None:
        async with brokersim.open_instance(size=2, state_dir=tmp_path) as instance:
            for number in range(SIZE):
                assert await commit(instance, number) == expected(number + 1)[0]
            assert await listed(instance) == await listed(instance, 1) == expected(SIZE)[1]

    async def read() -> None:
        async with brokersim.open_instance(state_dir=tmp_path) as instance:
            client = instance.client()
            assert (await client.call("kvs.getroot", {"namespace": "primary"}))["rootref"] == expected(SIZE)[
                0
            ]
            assert await listed(instance) == expected(SIZE)[1]
            for count in (70, 100, SIZE):  # versions kept as differences, loaded from the file
                entries = directory(expected(count)[1])
                blob = await client.call("content.load", bytes.fromhex(stored(entries).removeprefix("sha1-")))
                assert json.loads(blob) == entries
            assert await commit(instance, SIZE) == expected(SIZE + 1)[0]

    brokersim.run(grow)
    brokersim.run(read)


def test_a_folder_larger_than_the_cache_is_loaded_for_no_commit_and_stored_as_what_changed() -> None:
    """Beyond 8 MiB the cache dropped what was just put into it: 400 ms and 100 MB for each commit of one key."""
    names = [f"k{number:03}" for number in range(80)]
    long = {
        "data": {"target": "t" * 120_000},
        "type": "symlink",
        "ver": 1,
    }  # 9.6 MB, and a hundred entries only

    async def main() -> None:
        async with brokersim.open_instance() as instance:
            client = instance.client()
            ops = [{"key": f"d.{name}", "flags": 0, "dirent": long} for name in names]
            await client.call("kvs.commit", {"namespace": "primary", "flags": 0, "ops": ops})
            await client.call("content.flush")
            store = instance.module(0, "content-sqlite").handle.body._store
            before = store.statistics()["dbfile_size"]
            for number in range(5):
                answer = await commit(instance, number)
            await client.call("content.flush")
            entries = dict.fromkeys(names, long) | {f"k{number:03}": val(number) for number in range(5)}
            inner = {"data": [stored(directory(entries))], "type": "dirref", "ver": 1}
            assert answer == stored(directory({"d": inner}))
            figures = await client.call("kvs.stats-get")
            assert figures["cache"]["#faults"] == 0
            assert before > 9_600_000
            assert store.statistics()["dbfile_size"] - before < 10_000

    brokersim.run(main)
