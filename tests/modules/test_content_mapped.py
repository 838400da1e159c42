"""Files that stand in for blobs: which parts they have, who finds them, and what becomes of a file that changes."""

from __future__ import annotations

import hashlib
import os

import pytest
from hypothesis import given
from hypothesis import strategies as st

from brokersim import open_instance, run
from brokersim.brokermod import RequestError, errnums
from modules.content_cache.mapped import Mapped


def sha1(data):
    return hashlib.sha1(data, usedforsecurity=False).digest()


def mapping(path, chunksize=0, tag="main"):
    mapped = Mapped()
    mapped.add(str(path), chunksize, tag)
    return mapped


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tmp_path_factory.mktemp("mapped")


@given(data=st.binary(min_size=1, max_size=300), chunksize=st.integers(0, 50))
def test_every_part_of_a_file_is_found_by_its_hash_and_nothing_else(folder, data, chunksize):
    path = folder / "file"
    path.write_bytes(data)
    mapped = mapping(path, chunksize)
    step = chunksize or len(data)
    parts = {data[at : at + step] for at in range(0, len(data), step)}
    assert {mapped.find(sha1(part)) for part in parts} == parts
    assert mapped.find(sha1(data + b"x")) is None and mapped.to_dict()["blobs"] == len(parts)


def test_holes_are_no_parts(tmp_path):
    path = tmp_path / "sparse"
    with path.open("wb") as file:
        file.seek(1 << 20)
        file.write(b"x" * 4096)
        file.truncate(2 << 20)
    mapped = mapping(path)
    [blob] = [mapped.find(digest) for digest in mapped._parts]
    assert blob is not None and blob.strip(b"\0") == b"x" * 4096 and len(blob) < 1 << 20


def test_what_two_files_have_is_found_until_both_are_gone(tmp_path):
    for name in "ab":
        (tmp_path / name).write_bytes(b"same")
    mapped = mapping(tmp_path / "a", tag="one")
    mapped.add(str(tmp_path / "b"), 0, "two")
    found = []
    for tag in ("one", "nosuch", "two"):
        mapped.remove(tag)
        found.append(mapped.find(sha1(b"same")))
    assert found == [b"same", b"same", None] and not mapped


@pytest.mark.parametrize("change", ["other", "shorter", "gone"])
def test_a_file_that_is_another_now_is_refused_and_not_believed(tmp_path, change):
    path = tmp_path / "file"
    path.write_bytes(b"content")
    mapped = mapping(path)
    if change == "gone":
        path.unlink()
    else:
        path.write_bytes(b"CONTENT" if change == "other" else b"con")
    with pytest.raises(RequestError, match=r"^mapped file content has changed") as error:
        mapped.find(sha1(b"content"))
    assert error.value.errno == errnums.EINVAL


def test_what_is_no_file_with_something_in_it_is_not_mapped(tmp_path):
    (tmp_path / "empty").touch()
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "link").symlink_to("empty")
    said = []
    for path, chunksize in (
        *((tmp_path / name, 0) for name in ("empty", "pipe", "", "nosuch", "link")),
        ("relative", 0),
        ("/x", -1),
    ):
        with pytest.raises(RequestError) as error:
            mapping(path, chunksize)
        said.append((error.value.errno, error.value.text.removeprefix(f"{tmp_path}")))
    assert said == [
        (errnums.EINVAL, "/empty: not suitable for mapping"),
        (errnums.EINVAL, "/pipe: not suitable for mapping"),
        (errnums.EINVAL, ": not suitable for mapping"),
        (errnums.ENOENT, "/nosuch: No such file or directory"),
        (40, "/link: Too many levels of symbolic links"),
        (errnums.EINVAL, "path must be fully qualified"),
        (errnums.EINVAL, "chunksize is a number of bytes, not -1"),
    ]


def test_every_rank_loads_a_mapped_blob_and_only_the_first_maps(tmp_path):
    (tmp_path / "file").write_bytes(b"content")
    wish = {"path": str(tmp_path / "file"), "chunksize": 0, "tag": "main"}

    async def main():
        async with open_instance(size=2, modules=["content-cache"]) as instance:
            client = instance.client()
            await client.call("content.mmap-add", wish)
            blobs = [
                bytes(await client.call("content.load", sha1(b"content"), nodeid=rank)) for rank in (0, 1)
            ]
            stats = (await client.call("content.stats-get"))["mmap"]
            said = []
            for topic in ("mmap-add", "mmap-remove"):
                with pytest.raises(RequestError) as error:
                    await client.call(f"content.{topic}", wish, nodeid=1)
                said.append(error.value.text)
            await client.call("content.mmap-remove", {"tag": "main"})
            with pytest.raises(RequestError) as error:
                await client.call("content.load", sha1(b"content"), nodeid=0)
            client.close()
            return blobs, stats, said, error.value.errno

    assert run(main) == (
        [b"content"] * 2,
        {"tags": {"main": [wish["path"]]}, "blobs": 1},
        ["content may only be mmapped on rank 0", "content can only be mmapped on rank 0"],
        errnums.ENOENT,
    )


def test_a_path_that_is_none_is_refused_and_the_store_goes_on(tmp_path):
    async def main():
        async with open_instance(modules=("content-cache", "content-sqlite")) as instance:
            client = instance.client()
            wish = {"path": f"{tmp_path}/x\0y", "chunksize": 0, "tag": "t"}
            with pytest.raises(RequestError, match="embedded null byte") as caught:
                await client.call("content.mmap-add", wish)
            client.close()
            return caught.value.errno, [one.name for one in instance.modules(0)]

    number, modules = run(main)
    assert number == errnums.EINVAL and "content-cache" in modules
