"""The service groups: members come and go with their clients, all are known on rank 0, a barrier is made of them."""

from __future__ import annotations

from typing import Any

import pytest

from brokersim import open_instance, run
from brokersim.protocol.errnums import EEXIST, EINVAL, ENOENT, EPROTO, RequestError


def in_instance(test: Any, size: int = 4) -> Any:
    async def main() -> Any:
        async with open_instance(size=size, modules=()) as instance:
            return await test(instance)

    return run(main, clock="virtual")


def test_the_members_are_the_ranks_whose_clients_joined_until_they_leave_or_go():
    async def test(instance: Any) -> Any:
        clients = [instance.client(rank) for rank in range(instance.size)]
        seen: list[str] = []
        follower = instance.client()
        follower.stream(
            "groups.get", {"name": "g"}, lambda response, _: seen.append(response.payload["members"])
        )
        for client in (clients[3], clients[1], clients[2]):
            await client.call("groups.join", {"name": "g"})
            await instance.sleep(0.1)
        await clients[1].call("groups.leave", {"name": "g"})
        await instance.sleep(0.1)
        clients[3].close()
        await instance.sleep(0.1)
        follower.close()
        await clients[2].call("groups.leave", {"name": "g"})
        await instance.sleep(0.1)
        return seen, await clients[0].call("groups.get", {"name": "g"})

    assert in_instance(test) == (["", "3", "1,3", "1-3", "2-3", "2"], {"members": ""})


def test_what_cannot_be_is_refused_with_its_reason():
    async def test(instance: Any) -> Any:
        client, other = instance.client(), instance.client()
        await client.call("groups.join", {"name": "g"})
        said = []
        for who, topic, payload, nodeid in (
            (client, "groups.join", {"name": "g"}, 0),
            (other, "groups.leave", {"name": "g"}, 0),
            (client, "groups.leave", {"name": "none"}, 0),
            (client, "groups.join", {"name": "far"}, 1),
            (client, "groups.leave", {"name": "far"}, 1),
            (client, "groups.join", {"name": "broker.online"}, 0),
            (client, "groups.get", {"name": "g"}, 1),
            (client, "groups.join", {}, 0),
        ):
            with pytest.raises(RequestError) as refused:
                await who.call(topic, payload, nodeid=nodeid)
            said.append((refused.value.errno, refused.value.text))
        stats = await client.call("groups.stats-get")
        return said, (await client.call("groups.get", {"name": "broker.online"}))["members"], stats["subtree"]

    said, online, subtree = in_instance(test)
    assert said[:-1] == [
        (EEXIST, "rank 0 is already a member of g"),
        (ENOENT, "rank 0 is not a member of g"),
        (ENOENT, "rank 0 is not a member of none"),
        (EINVAL, "groups.join is restricted to the local broker"),
        (EINVAL, "groups.leave is restricted to the local broker"),
        (EINVAL, "group broker.online is the brokers' own"),
        (EPROTO, "groups.get is only available on rank 0"),
    ]
    assert said[-1][0] == EPROTO
    assert online == "0-3" and subtree == {"broker.online": "0-3", "g": "0"}


def test_a_change_costs_one_message_a_hop():
    async def test(instance: Any) -> Any:
        client = instance.client(3)
        before = [instance.broker(rank).service("groups").counts[:] for rank in (3, 1, 0)]
        await client.call("groups.join", {"name": "g"})
        await instance.sleep(0.1)
        after = [instance.broker(rank).service("groups").counts for rank in (3, 1, 0)]
        return [[b - a for a, b in zip(*pair, strict=True)] for pair in zip(before, after, strict=True)]

    # Sent and received requests, responses, events: the join, then updates to rank 1 and rank 0.
    found = in_instance(test)
    assert [counts[:2] for counts in found] == [[1, 1], [1, 1], [0, 1]]


@pytest.mark.parametrize("payload", [None, {"update": {"g": 42}}, {"update": {"g": [["eat", "0"]]}}])
def test_an_update_that_makes_no_sense_stands_in_the_log(payload: Any):
    async def test(instance: Any) -> Any:
        client = instance.client()
        client.request("groups.update", payload)
        await instance.sleep(0.1)
        lines = [str(line) for line in instance.broker(0).log.lines()]
        return [line for line in lines if "groups.update" in line]

    assert len(in_instance(test)) == 1
