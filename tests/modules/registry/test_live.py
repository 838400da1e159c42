"""The registry as a module: one writer after the other, what is kept over a reload, who is told of what."""

from __future__ import annotations

import errno

import pytest

from brokersim import open_instance, run
from brokersim.protocol.errnums import RequestError


async def refused(client, topic, payload):
    with pytest.raises(RequestError) as caught:
        await client.call(topic, payload)
    return caught.value


def with_registry(act, **options):
    async def main():
        async with open_instance(
            modules=["content-cache", "content-sqlite", "kvs", "registry"], **options
        ) as instance:
            return await act(instance, instance.client(options.get("size", 1) - 1))

    return run(main)


def test_a_lost_update_is_ESTALE_and_the_record_comes_back_with_every_write():
    async def act(_, client):
        made = await client.call("registry.post", {"collection": "nodes", "records": [{"id": "n", "a": 1}]})
        assert made["records"][0]["version"] == 1
        put = {"collection": "nodes", "id": "n", "record": {"a": 2}, "if_version": 1}
        assert (await client.call("registry.put", put))["records"][0]["a"] == 2
        error = await refused(client, "registry.put", {**put, "record": {"a": 3}})
        assert error.errno == errno.ESTALE and "is at version 2, not 1" in error.text
        same = await client.call("registry.patch", {**put, "record": {"a": 2}, "if_version": 2})
        assert same["records"][0]["version"] == 2
        del put["if_version"]
        assert "if_version is missing" in (await refused(client, "registry.put", put)).text

    with_registry(act, size=4)


def test_of_writers_that_read_the_same_version_one_wins_whatever_their_rank():
    async def act(instance, client):
        await client.call("registry.post", {"collection": "nodes", "records": [{"id": "n"}]})
        answers = []

        async def write(rank):
            put = {"collection": "nodes", "id": "n", "record": {"rank": rank}, "if_version": 1}
            try:
                answers.append((await instance.client(rank).call("registry.put", put))["records"][0]["rank"])
            except RequestError as error:
                answers.append(error.errno)

        for rank in range(8):
            instance.client(rank).spawn(write(rank))
        await instance.sleep(1)
        assert answers.count(errno.ESTALE) == 7 and len(answers) == 8
        [last] = (await client.call("registry.history", {"collection": "nodes", "id": "n"}))["records"][1:]
        assert last["rank"] in answers and last["version"] == 2

    with_registry(act, size=8)


def test_records_and_their_versions_outlive_the_module():
    async def act(instance, client):
        await client.call(
            "registry.register", {"records": {"nodes": [{"id": "n", "a": 1}], "services": [{"name": "s"}]}}
        )
        put = {"collection": "nodes", "id": "n", "record": {"a": 2}, "if_version": 1}
        await client.call("registry.put", put)
        before = await client.call("registry.history", {"collection": "nodes", "id": "n"})
        await client.call("module.remove", {"name": "registry"})
        await instance.load("registry")
        assert await client.call("registry.history", {"collection": "nodes", "id": "n"}) == before
        listed = await client.call("registry.list", {"collection": "services"})
        assert listed["total"] == 1 and len(listed["records"][0]["id"]) == 16

    with_registry(act)


def test_many_records_of_many_collections_are_one_commit_and_nothing_new_is_none():
    async def act(instance, client):
        given = {
            "nodes": [{"id": "n0"}],
            "measurements": [{"id": f"p{n}", "probe": "cpu"} for n in range(20)],
            "metadata": [{"id": f"m{n}", "metric": "x", "subject": "node/0"} for n in range(100)],
        }
        before = (await client.call("kvs.getroot", {"namespace": "primary"}))["rootseq"]
        assert len((await client.call("registry.register", {"records": given}))["records"]) == 121
        assert (await client.call("registry.register", {"records": given}))["records"] == []
        assert (await client.call("kvs.getroot", {"namespace": "primary"}))["rootseq"] == before + 1

    with_registry(act)


def test_whoever_watches_is_told_what_he_asked_for_until_he_cancels():
    async def act(instance, client):
        heard = []
        request = client.stream(
            "registry.watch", {"collection": "nodes", "filter": {"a": {"gt": 1}}},
            lambda answer, _: heard.append(answer.errnum or answer.data),
        )  # fmt: skip
        for number in range(4):
            record = {"id": f"n{number}", "a": number}
            await client.call("registry.post", {"collection": "nodes", "records": [record]})
        await client.call(
            "registry.post", {"collection": "metadata", "records": [{"metric": "m", "subject": "s"}]}
        )
        client.request("registry.cancel", {"matchtag": request.matchtag})
        await instance.sleep(1)
        assert [(one["action"], one["id"], one["version"], one["record"]["a"]) for one in heard[:-1]] == [
            ("created", "n2", 1, 2), ("created", "n3", 1, 3),
        ]  # fmt: skip
        assert heard[-1] == errno.ENODATA
        return (await client.call("registry.stats-get", {}))["watchers"]

    assert with_registry(act) == 0


def test_a_watcher_whose_filter_takes_too_long_is_told_so_and_who_wrote_is_not():
    async def act(instance, client):
        heard = []
        filter_ = {"filter": {"a": {"re": "(a+)+$"}}}
        client.stream("registry.watch", filter_, lambda answer, _: heard.append(answer.errnum))
        record = {"id": "n", "a": "a" * 100_000 + "!"}
        await client.call("registry.post", {"collection": "nodes", "records": [record]})
        await instance.sleep(1)
        return heard, (await client.call("registry.stats-get", {}))["watchers"]

    assert with_registry(act) == ([errno.EINVAL], 0)


def test_without_a_kvs_or_beside_rank_0_it_does_not_begin():
    async def main():
        async with open_instance(size=2, modules=[]) as instance:
            with pytest.raises(RequestError, match="load kvs first"):
                await instance.load("registry")
            with pytest.raises(RequestError, match="runs on rank 0"):
                await instance.load("registry", rank=1)

    run(main)


def test_a_commit_that_fails_leaves_the_record_as_it_was():
    async def act(instance, client):
        await client.call("registry.post", {"collection": "nodes", "records": [{"id": "n", "a": 1}]})
        await client.call("module.remove", {"name": "kvs"})
        put = {"collection": "nodes", "id": "n", "record": {"a": 2}, "if_version": 1}
        assert (await refused(client, "registry.put", put)).errno == errno.ENOSYS
        found = (await client.call("registry.get", {"collection": "nodes", "id": "n"}))["record"]
        assert (found["a"], found["version"]) == (1, 1)

    with_registry(act)
