"""What `flux resource` asks, asked by a client that shares no code with the server."""

from __future__ import annotations

import base64
import json
import socket
from collections.abc import Iterator

import pytest

from tests.fluxcompat.minimal_client import STREAMING, MinimalClient, RpcError

#: One node in real time is this host.
HOST = socket.gethostname()
EPERM, EEXIST, EINVAL, ENOSYS, EPROTO = 1, 17, 22, 38, 71


@pytest.fixture(autouse=True)
def undrained(client: MinimalClient) -> Iterator[None]:
    yield
    client.rpc("resource.undrain", {"targets": "0", "mode": "overwrite"}, 0)


def down(client: MinimalClient) -> list[str]:
    return [
        entry["rank"] for entry in client.rpc("resource.sched-status", None, 0)["down"]["execution"]["R_lite"]
    ]


def test_drained_nodes_are_shown_with_time_and_reason_and_are_down_for_the_scheduler(
    client: MinimalClient,
) -> None:
    assert client.rpc("resource.drain", {"targets": "0", "reason": "fans"}, 0) is None
    status = client.rpc("resource.status", None, 0)
    assert list(status["drain"]) == ["0"]
    entry = status["drain"]["0"]
    assert entry["reason"] == "fans" and entry["timestamp"] > 1e9
    assert down(client) == ["0"]
    assert client.rpc("resource.undrain", {"targets": "0"}, 0) is None
    assert client.rpc("resource.status", None, 0)["drain"] == {}
    assert down(client) == []


def test_drains_are_kept_in_the_log_of_resources(client: MinimalClient) -> None:
    client.rpc("resource.drain", {"targets": HOST, "reason": "disk"}, 0)
    client.rpc("resource.undrain", {"targets": HOST, "reason": "new disk"}, 0)
    look = {"key": "resource.eventlog", "namespace": "primary", "flags": 0}
    lines = base64.b64decode(client.rpc("kvs.lookup", look)["val"]["data"]).splitlines()[-2:]
    drained, undrained = (json.loads(line) for line in lines)
    assert list(drained) == ["timestamp", "name", "context"]
    where = {"idset": "0", "nodelist": HOST}
    assert (drained["name"], drained["context"]) == ("drain", {**where, "reason": "disk", "overwrite": 0})
    context = {**where, "reason": "new disk", "overwrite": 0}
    assert (undrained["name"], undrained["context"]) == ("undrain", context)


@pytest.mark.parametrize(
    ("topic", "payload", "errnum", "text"),
    [
        ("resource.undrain", {"targets": "0"}, EEXIST, "rank 0 not drained"),
        ("resource.undrain", {"targets": "0", "mode": "x"}, EINVAL, "invalid undrain mode 'x' specified"),
        ("resource.drain", {"targets": "0", "mode": "x"}, EINVAL, "Invalid mode specified"),
        ("resource.drain", {"targets": ""}, EINVAL, "idset is empty"),
        ("resource.drain", {"targets": "99"}, EINVAL, "idset is out of range: there is rank 0 only"),
        ("resource.drain", {"targets": "nosuch[0-1]"}, EINVAL, "unknown host nosuch[0-1]"),
        ("resource.drain", {}, EPROTO, "Protocol error: resource.drain: Object missing required field `targets`"),
        ("resource.reload", {"path": "/x"}, EPROTO,
         "Protocol error: resource.reload: Object missing required field `xml`"),
        ("resource.reload", {"path": "/nowhere", "xml": False, "force": False}, EINVAL, "/nowhere: "),
        ("resource.reload", {"path": "/x", "xml": True, "force": False}, ENOSYS, "resource.reload: hwloc XML"),
        ("resource.monitor-waitup", {"up": 99}, EPROTO, "up value is out of range"),
    ],
)  # fmt: skip
def test_what_cannot_be_drained_or_undrained_is_refused(
    client: MinimalClient, topic: str, payload: dict[str, str], errnum: int, text: str
) -> None:
    frame = client.raw(topic, payload, 0)
    assert frame.errnum == errnum and frame.text.startswith(text)


def test_a_node_drained_for_a_reason_is_drained_again_only_if_that_is_meant(client: MinimalClient) -> None:
    client.rpc("resource.drain", {"targets": "0", "reason": "fans"}, 0)
    with pytest.raises(RpcError, match="rank 0 already drained") as caught:
        client.rpc("resource.drain", {"targets": "0", "reason": "disk"}, 0)
    assert caught.value.errnum == EEXIST
    client.rpc("resource.drain", {"targets": "0", "reason": "disk", "mode": "overwrite"}, 0)
    assert client.rpc("resource.status", None, 0)["drain"]["0"]["reason"] == "disk"


def test_resources_are_rank_0s_and_the_owners_to_drain(client: MinimalClient, guest: MinimalClient) -> None:
    assert client.errnum("resource.drain", {"targets": "0"}, 1) == ENOSYS, "the module is on rank 0"
    for topic in ("resource.drain", "resource.undrain", "resource.reload"):
        frame = guest.raw(topic, {"targets": "0"}, 0)
        assert (frame.errnum, frame.text) == (EPERM, "Request requires owner credentials")
    assert guest.rpc("resource.status", None, 0)["drain"] == {}


def test_the_log_of_resources_is_told_from_its_beginning_and_as_it_grows(client: MinimalClient) -> None:
    tag = client.send("resource.journal", flags=STREAMING)
    events, r = [], None
    for frame in client.responses(tag):
        if not frame.json["events"]:
            break
        events += frame.json["events"]
        r = frame.json.get("R", r)
    names = [event["name"] for event in events]
    begun = names.index("restart")
    assert names[begun : begun + 3] == ["restart", "online", "resource-define"]
    assert events[begun]["context"]["online"] == "" and events[begun + 1]["context"] == {"idset": "0"}
    times = [event["timestamp"] for event in events]
    assert times == sorted(set(times))
    assert r["execution"]["nodelist"] == [HOST]
    client.rpc("resource.drain", {"targets": HOST}, 0)
    [event] = next(iter(client.responses(tag))).json["events"]
    assert (event["name"], event["context"]["idset"]) == ("drain", "0")
    client.send("resource.journal-cancel", {"matchtag": tag}, flags=4)
    assert next(iter(client.responses(tag))).errnum == 61
