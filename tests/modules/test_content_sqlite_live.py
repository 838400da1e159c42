"""The backing store in a running instance: batches in time, full disks, directories it cannot use."""

from __future__ import annotations

import errno
import gc
import hashlib
import shutil
import sqlite3
from collections.abc import Awaitable, Callable
from typing import Any

import pytest

import brokersim
from brokersim.instance import Instance
from brokersim.protocol.errnums import EINVAL, EIO, ENOENT, ENOSPC, ENOSYS, EPROTO, RequestError

STORAGE = ("content-cache", "content-sqlite")
Body = Callable[[Instance], Awaitable[None]]


def live(body: Body, modules: tuple[str, ...] = STORAGE, **settings: Any) -> None:
    async def main() -> None:
        async with brokersim.open_instance(modules=modules, **settings) as instance:
            await body(instance)

    brokersim.run(main)


async def errnum(awaitable: Awaitable[Any]) -> int | None:
    with pytest.raises(RequestError) as caught:
        await awaitable
    return caught.value.errno


def digest_of(data: bytes) -> bytes:
    return hashlib.sha1(data).digest()


def database(instance: Instance) -> sqlite3.Connection:
    return instance.module(0, "content-sqlite").handle.body._store._db


async def pending(instance: Instance) -> int:
    return (await instance.client().call("content-sqlite.stats-get"))["pending"]


def log_of(instance: Instance, text: str) -> list[str]:
    return [line for line in instance.broker(0).log.lines() if text in line]


def test_blobs_wait_ten_milliseconds_for_company():
    async def body(instance: Instance) -> None:
        client = instance.client()
        for n in range(5):
            await client.call("content.store", b"%d" % n)
        assert await pending(instance) == 5
        await instance.sleep(0.009)
        assert await pending(instance) == 5
        await instance.sleep(0.002)
        assert await pending(instance) == 0
        assert (await client.call("content-sqlite.stats-get"))["writes"] == 1

    live(body)


def test_a_thousand_blobs_are_written_at_once():
    async def body(instance: Instance) -> None:
        client = instance.client()
        for n in range(1001):
            await client.call("content-backing.store", b"%d" % n)
        assert await pending(instance) == 1

    live(body)


def test_stored_blobs_and_checkpoints_are_there_after_a_restart(tmp_path):
    async def write(instance: Instance) -> None:
        client = instance.client()
        await client.call("content.store", b"kept")
        await client.call("content.checkpoint-put", {"value": {"n": 1}})

    async def read(instance: Instance) -> None:
        client = instance.client()
        assert await client.call("content.load", digest_of(b"kept")) == b"kept"
        assert await client.call("content.checkpoint-get", {}) == {"value": [{"n": 1}]}

    live(write, state_dir=tmp_path)
    live(read, state_dir=tmp_path)


def test_after_a_kill_everything_acknowledged_by_a_flush_is_there(tmp_path):
    alive, killed = tmp_path / "alive", tmp_path / "killed"
    alive.mkdir()

    async def write(instance: Instance) -> None:
        client = instance.client()
        for n in range(2500):
            client.request("content.store", b"%d" % n, lambda *_: None)
        await client.call("content.flush")
        shutil.copytree(alive, killed)

    async def read(instance: Instance) -> None:
        client = instance.client()
        for n in range(2500):
            assert await client.call("content.load", digest_of(b"%d" % n)) == b"%d" % n

    live(write, state_dir=alive)
    live(read, state_dir=killed)


def test_a_full_disk_is_told_to_who_flushes_and_loses_nothing(tmp_path):
    async def body(instance: Instance) -> None:
        client = instance.client()
        database(instance).execute("PRAGMA max_page_count=5")
        blobs = [b"%d" % n + b"x" * 9000 for n in range(5)]
        for data in blobs:
            await client.call("content.store", data)
        assert await errnum(client.call("content.flush")) == ENOSPC
        await instance.sleep(10)
        assert len(log_of(instance, "full; 5 blobs wait in memory")) == 1
        await client.call("content.store", b"and one more")
        assert await errnum(client.call("content.flush")) == ENOSPC

        database(instance).execute("PRAGMA max_page_count=1000000")
        await instance.sleep(1.1)
        assert await pending(instance) == 0
        assert len(log_of(instance, "writing works again")) == 1
        await client.call("content.flush")
        await client.call("content.dropcache")
        for data in [*blobs, b"and one more"]:
            assert await client.call("content.load", digest_of(data)) == data

    live(body, state_dir=tmp_path)


def test_who_comes_first_after_a_full_disk_is_not_refused_for_what_has_been(tmp_path):
    """It was refused until the next attempt that the clock made, up to a second later."""

    async def body(instance: Instance) -> None:
        client = instance.client()
        database(instance).execute("PRAGMA max_page_count=5")
        await client.call("content.store", b"x" * 90_000)
        assert await errnum(client.call("content.flush")) == ENOSPC
        await instance.sleep(0.1)  # the clock's own attempt comes in a second
        assert await errnum(client.call("content-backing.store", b"")) == ENOSPC
        attempts = 0

        def count(statement: str) -> None:
            nonlocal attempts
            attempts += statement.startswith("BEGIN")

        database(instance).set_trace_callback(count)
        for number in range(100):  # at one instant
            assert await errnum(client.call("content-backing.store", b"%d" % number)) == ENOSPC
        assert attempts <= 1
        database(instance).execute("PRAGMA max_page_count=1000000")
        await instance.sleep(0.02)
        await client.call("content-backing.store", b"the first after it")
        await client.call("content.flush")
        assert await pending(instance) == 0

    live(body, state_dir=tmp_path)


def test_a_damaged_blob_is_EIO_with_a_line_in_the_log(tmp_path):
    async def body(instance: Instance) -> None:
        client = instance.client()
        digest = await client.call("content.store", b"data")
        await client.call("content.flush")
        await client.call("content.dropcache")
        database(instance).execute("UPDATE objects SET object = x'00'")
        assert await errnum(client.call("content.load", digest)) == EIO
        assert len(log_of(instance, f"blob sha1-{digest.hex()} is damaged")) == 1

    live(body, state_dir=tmp_path)


@pytest.mark.parametrize(
    ("topic", "payload", "expected"),
    [
        ("content-backing.load", b"short", EPROTO),
        ("content-backing.load", b"x" * 20, ENOENT),
        ("content-backing.checkpoint-get", {}, ENOENT),
        ("content-backing.checkpoint-put", {}, EPROTO),
        ("content-backing.no-such-method", None, ENOSYS),
    ],
)
def test_wrong_requests_are_refused(topic, payload, expected):
    async def body(instance: Instance) -> None:
        assert await errnum(instance.client().call(topic, payload)) == expected
        assert await errnum(instance.client().call("content-backing.load", b"x" * 20)) == ENOENT

    live(body)


def no_directory(folder) -> None:
    folder.rmdir()


def a_file_in_its_place(folder) -> None:
    folder.rmdir()
    folder.touch()


def no_database(folder) -> None:
    (folder / "content.sqlite").write_bytes(b"no database" * 100)


def a_directory_in_its_place(folder) -> None:
    (folder / "content.sqlite").mkdir()


@pytest.mark.parametrize(
    ("spoil", "text"),
    [
        (no_directory, "is no directory; create it first"),
        (a_file_in_its_place, "is no directory; create it first"),
        (no_database, "file is not a database; move it away or give another state directory"),
        (a_directory_in_its_place, "unable to open database file"),
    ],
)
def test_a_state_directory_it_cannot_use_fails_the_load_with_one_clear_line(spoil, text, tmp_path):
    folder = tmp_path / "state"
    folder.mkdir()
    spoil(folder)

    async def body(instance: Instance) -> None:
        with pytest.raises(RequestError, match=text) as caught:
            await instance.load("content-sqlite")
        assert str(folder) in caught.value.text
        assert "\n" not in caught.value.text
        await instance.client().call("content.store", b"others go on")

    live(body, modules=("content-cache",), state_dir=folder)


def test_a_state_directory_in_use_is_refused(tmp_path):
    async def body(instance: Instance) -> None:
        database(instance)
        with pytest.raises(RequestError, match="another instance uses this state directory") as caught:
            await instance.load("content-sqlite", name="second")
        assert caught.value.errno == errno.EBUSY

    live(body, state_dir=tmp_path)


def test_it_can_be_unloaded_and_loaded_again_on_the_same_file(tmp_path):
    async def body(instance: Instance) -> None:
        client = instance.client()
        digest = await client.call("content.store", b"x")
        await instance.remove("content-sqlite")
        await client.call("content.store", b"y")
        await instance.load("content-sqlite")
        await client.call("content.flush")
        await client.call("content.dropcache")
        assert await client.call("content.load", digest) == b"x"
        assert await client.call("content.load", digest_of(b"y")) == b"y"

    live(body, state_dir=tmp_path)


def test_after_a_crash_it_can_be_loaded_again_on_the_same_file(tmp_path):
    async def body(instance: Instance) -> None:
        client = instance.client()
        digest = await client.call("content.store", b"x")
        await client.call("content.flush")
        gc.disable()  # nobody tidies up by chance
        try:
            instance.module(0, "content-sqlite").handle.body.stop_error()
            await instance.sleep(0.1)
            await client.call("content.store", b"y")
            assert await errnum(client.call("content.flush")) == ENOSYS
            await instance.load("content-sqlite")
        finally:
            gc.enable()
        await client.call("content.flush")
        await client.call("content.dropcache")
        assert await client.call("content.load", digest) == b"x"
        assert await client.call("content.load", digest_of(b"y")) == b"y"

    live(body, state_dir=tmp_path)


@pytest.mark.parametrize("is_kept", [False, True])
@pytest.mark.parametrize("crashes", [False, True])
def test_what_it_acknowledged_outlives_it_written_or_not(is_kept, crashes, tmp_path):
    async def body(instance: Instance) -> None:
        client = instance.client()
        blobs = [b"%d" % n * 100 for n in range(5)]
        for blob in blobs[:-1]:
            await client.call("content.store", blob)
        await instance.sleep(1)  # written
        await client.call("content.store", blobs[-1])
        if crashes:
            instance.module(0, "content-sqlite").crashed(RuntimeError("on purpose"), None)
        else:
            await instance.remove("content-sqlite")
        await instance.load("content-sqlite")
        await client.call("content.dropcache")
        assert [await client.call("content.load", digest_of(blob)) for blob in blobs] == blobs
        await instance.sleep(1)
        assert await pending(instance) == 0

    live(body, state_dir=tmp_path if is_kept else None)


@pytest.mark.parametrize("is_kept", [False, True])
def test_truncate_forgets_what_a_predecessor_left(is_kept, tmp_path):
    async def body(instance: Instance) -> None:
        client = instance.client()
        await client.call("content.store", b"written")
        await instance.sleep(1)
        await client.call("content.store", b"waiting")
        instance.module(0, "content-sqlite").crashed(RuntimeError("on purpose"), None)
        await instance.load("content-sqlite", "truncate")
        await client.call("content.dropcache")
        for blob in (b"written", b"waiting"):
            assert await errnum(client.call("content.load", digest_of(blob))) == ENOENT

    live(body, state_dir=tmp_path if is_kept else None)


def test_without_content_cache_it_does_not_load_and_says_what_is_missing():
    async def body(instance: Instance) -> None:
        with pytest.raises(RequestError, match="load content-cache first"):
            await instance.load("content-sqlite")

    live(body, modules=())


def test_it_belongs_on_rank_0():
    async def body(instance: Instance) -> None:
        with pytest.raises(RequestError, match="belongs on rank 0"):
            await instance.load("content-sqlite", rank=1)

    live(body, size=2)


def test_journal_mode_and_synchronous_are_arguments(tmp_path):
    async def body(instance: Instance) -> None:
        await instance.load("content-sqlite", "journal_mode=delete", "synchronous=full")
        assert database(instance).execute("PRAGMA journal_mode").fetchone() == ("delete",)
        assert database(instance).execute("PRAGMA synchronous").fetchone() == (2,)
        await instance.remove("content-sqlite")
        await instance.load("content-sqlite")
        assert database(instance).execute("PRAGMA journal_mode").fetchone() == ("wal",)
        assert database(instance).execute("PRAGMA synchronous").fetchone() == (1,)

    live(body, modules=("content-cache",), state_dir=tmp_path)


@pytest.mark.parametrize("arg", ["journal_mode=fast", "synchronous", "path=elsewhere"])
def test_an_unknown_argument_is_named_with_what_is_known(arg):
    async def body(instance: Instance) -> None:
        with pytest.raises(RequestError, match=rf"argument {arg!r}; known are journal_mode=WAL\|") as caught:
            await instance.load("content-sqlite", arg)
        assert caught.value.errno == EINVAL

    live(body, modules=("content-cache",))
