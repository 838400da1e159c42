"""The backing store that keeps blobs in files of their own."""

from __future__ import annotations

import pytest

from brokersim import open_instance, run
from brokersim.brokermod import RequestError, blobref, errnums

BLOBS = [b"", b"a", b"x" * 1_000_000, bytes(range(256))]


def with_files(tmp_path, test, *args, modules=("content-cache",)):
    """What ``test(instance, client)`` returns, in an instance whose backing store is content-files."""

    async def main():
        async with open_instance(modules=list(modules)) as instance:
            instance.broker(0).attributes.fix("statedir", str(tmp_path))
            await instance.load("content-files", *args)
            client = instance.client()
            try:
                return await test(instance, client)
            finally:
                client.close()

    return run(main)


async def stored(client, data, topic="content-backing.store"):
    return bytes(await client.call(topic, data))


async def loaded(client, digest, topic="content-backing.load"):
    return bytes(await client.call(topic, digest) or b"")


async def refusal(client, topic, payload):
    with pytest.raises(RequestError) as error:
        await client.call(topic, payload)
    return error.value.errno


def test_each_blob_is_a_file_named_by_its_hash_and_there_in_the_next_life(tmp_path):
    async def put(_instance, client):
        return [await stored(client, data) for data in BLOBS]

    async def get(_instance, client):
        return [await loaded(client, digest) for digest in digests], await client.call(
            "content-files.stats-get"
        )

    digests = with_files(tmp_path, put)
    files = {path.name: path.read_bytes() for path in (tmp_path / "content.files").iterdir()}
    assert files == {blobref.blobref(data): data for data in BLOBS}
    found, stats = with_files(tmp_path, get)
    assert (found, stats["object_count"]) == (BLOBS, len(BLOBS))


def test_the_content_cache_and_the_kvs_work_with_it(tmp_path):
    async def test(_instance, client):
        await client.call("kvs.commit", {"namespace": "primary", "flags": 1, "ops": [
            {"key": "a", "flags": 0, "dirent": {"ver": 1, "type": "val", "data": "YQ=="}}]})  # fmt: skip
        return (await client.call("kvs.getroot", {"namespace": "primary"}))["rootref"]

    root = with_files(tmp_path, test, modules=("content-cache", "kvs"))
    assert root in {path.name for path in (tmp_path / "content.files").iterdir()}


def test_one_checkpoint_is_kept_the_last(tmp_path):
    async def test(_instance, client):
        first = await refusal(client, "content-backing.checkpoint-get", None)
        for value in ({"rootref": "bar", "timestamp": 2.2}, {"rootref": "a-longer-one"}):
            await client.call("content-backing.checkpoint-put", {"value": value})
        return first, await client.call("content-backing.checkpoint-get")

    assert with_files(tmp_path, test) == (errnums.ENOENT, {"value": [{"rootref": "a-longer-one"}]})


def test_what_is_no_hash_no_blob_or_another_blob_is_told(tmp_path):
    async def test(_instance, client):
        digest = await stored(client, b"right")
        (tmp_path / "content.files" / blobref.from_digest(digest)).write_bytes(b"wrong")
        return [
            await refusal(client, "content-backing.load", b"short"),
            await refusal(client, "content-backing.load", b"\1" * 20),
            await refusal(client, "content-backing.validate", b"\1" * 20),
            await refusal(client, "content-backing.validate", digest),
            await refusal(client, "content-backing.checkpoint-put", {}),
        ]

    told = with_files(tmp_path, test)
    assert told == [errnums.EPROTO, errnums.ENOENT, errnums.ENOENT, errnums.EINVAL, errnums.EPROTO]


def test_truncate_begins_with_nothing_and_testing_leaves_the_cache_alone(tmp_path):
    async def put(_instance, client):
        await stored(client, b"old")

    async def look(_instance, client):
        return (await client.call("content-files.stats-get"))["object_count"], await refusal(
            client, "content.flush", None
        )

    with_files(tmp_path, put)
    assert with_files(tmp_path, look, "truncate", "testing") == (0, errnums.ENOSYS)


def test_without_a_folder_its_files_go_with_it(tmp_path, monkeypatch):
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))

    async def main():
        async with open_instance(modules=["content-cache", "content-files"]) as instance:
            client = instance.client()
            digest = await stored(client, b"x")
            there = list(tmp_path.glob("*/content.files/*"))
            client.close()
            return blobref.from_digest(digest), [path.name for path in there]

    name, there = run(main)
    assert there == [name] and list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("name", ["content-files", "content-sqlite"])
def test_the_attribute_names_the_backing_store_that_is_there(name):
    async def main():
        async with open_instance(size=2, modules=["content-cache"]) as instance:
            before = instance.broker(0).attributes.get("content.backing-module")
            await instance.load(name)
            return before, instance.broker(0).attributes.get("content.backing-module")

    assert run(main) == (None, name)


def test_a_backing_store_that_the_start_did_not_name_is_refused():
    async def main():
        attributes = {"content.backing-module": "content-files"}
        async with open_instance(modules=["content-cache"], attrs=attributes) as instance:
            with pytest.raises(RequestError, match="'content-sqlite': it was 'content-files'"):
                await instance.load("content-sqlite")

    run(main)


def test_it_is_loaded_on_rank_0_alone():
    async def main():
        async with open_instance(size=2, modules=["content-cache", "content-files"]) as instance:
            return ["content-files" in {one.name for one in instance.modules(rank)} for rank in (0, 1)]

    assert run(main) == [True, False]


@pytest.mark.parametrize(("args", "text"), [(("notoption",), "known are testing, truncate")])
def test_an_argument_there_is_not_is_refused(tmp_path, args, text):
    async def test(_instance, _client):
        return None

    with pytest.raises(RequestError, match=text):
        with_files(tmp_path, test, *args)


def test_a_state_directory_that_cannot_be_written_is_told_at_once(tmp_path):
    async def test(_instance, _client):
        return None

    (tmp_path / "content.files").write_text("")
    with pytest.raises(RequestError, match=r"content\.files: File exists"):
        with_files(tmp_path, test)
