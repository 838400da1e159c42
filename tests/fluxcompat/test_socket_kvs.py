"""KVS, watches, content and cron, asked by a client that shares no code with the server."""

from __future__ import annotations

import base64
import hashlib
from itertools import count
from typing import Any

import pytest

from tests.fluxcompat.minimal_client import NORESPONSE, STREAMING, MinimalClient

EMPTY = "sha1-c0a9faf907dda6216fd73bf81d0b3b21a1a8cb91"
READDIR, READLINK, TREEOBJ, APPEND = 1, 2, 16, 32
_serial = count(1)


def val(text: str) -> dict[str, Any]:
    return {"ver": 1, "type": "val", "data": base64.b64encode(text.encode()).decode()}


def put(key: str, entry: Any, flags: int = 0) -> dict[str, Any]:
    return {"key": key, "flags": flags, "dirent": val(entry) if isinstance(entry, str) else entry}


def commit(client: MinimalClient, namespace: str, *ops: dict[str, Any], flags: int = 0) -> Any:
    return client.rpc("kvs.commit", {"namespace": namespace, "flags": flags, "ops": list(ops)})


def lookup(client: MinimalClient, namespace: str, key: str, flags: int = 0) -> Any:
    return client.rpc("kvs.lookup", {"key": key, "namespace": namespace, "flags": flags})["val"]


@pytest.fixture
def namespace(client: MinimalClient) -> str:
    """A fresh one, made as the command line makes it."""
    name = f"test{next(_serial)}"
    payload = {"namespace": name, "rootref": EMPTY, "owner": -1, "flags": 0}
    assert client.raw("kvs.namespace-create", payload, 0).payload is None
    return name


def test_root_hashes_are_fluxs(client: MinimalClient, namespace: str) -> None:
    assert commit(client, namespace, put("q", "1")) == {
        "rootref": "sha1-465513047ac02de9e99956de8ce6365189b4f329", "rootseq": 1
    }  # fmt: skip
    commit(client, namespace, put("q", None), put("a", "1"))
    done = commit(client, namespace, put("b.c", "hello"))
    assert done == {"rootref": "sha1-cd0a86da1cc98a4c60910c589d99b0d07d539a17", "rootseq": 3}
    directory = lookup(client, namespace, "b", TREEOBJ)
    assert directory == {
        "ver": 1,
        "type": "dirref",
        "data": ["sha1-d356da329c76e53dc0e73f6882ceae9231cdbe96"],
    }
    # the last digest is that of the stored form, made here by hand
    stored = '{"data":{"c":{"data":"aGVsbG8=","type":"val","ver":1}},"type":"dir","ver":1}'
    assert directory["data"] == ["sha1-" + hashlib.sha1(stored.encode()).hexdigest()]


def test_lookups_with_every_flag_and_their_errnums(client: MinimalClient, namespace: str) -> None:
    link = {"ver": 1, "type": "symlink", "data": {"target": "d.v"}}
    commit(client, namespace, put("d.v", "1"), put("l", link), put("big", "x" * 100))
    assert lookup(client, namespace, "d.v") == lookup(client, namespace, "l") == val("1")
    assert list(lookup(client, namespace, "d", READDIR)["data"]) == ["v"]
    assert lookup(client, namespace, "l", READLINK) == lookup(client, namespace, "l", TREEOBJ) == link
    assert lookup(client, namespace, "big", TREEOBJ)["type"] == "valref"
    assert lookup(client, namespace, "big") == val("x" * 100)
    for key, flags, errnum in (
        ("no", 0, 2), ("d.v.x", 0, 2), ("d", 0, 21), ("d.v", READDIR, 20), ("d.v", READLINK, 22), (".", 0, 21),
    ):  # fmt: skip
        request = {"key": key, "namespace": namespace, "flags": flags}
        assert client.errnum("kvs.lookup", request) == errnum, (key, flags)
    assert client.errnum("kvs.lookup", {"key": "a", "namespace": "nosuch", "flags": 0}) == 95


def test_symlinks_nest_ten_deep_and_no_deeper(client: MinimalClient, namespace: str) -> None:
    links = [
        put(f"l{n}", {"ver": 1, "type": "symlink", "data": {"target": f"l{n - 1}"}}) for n in range(1, 12)
    ]
    commit(client, namespace, put("l0", "end"), *links)
    assert lookup(client, namespace, "l10") == val("end")
    assert client.errnum("kvs.lookup", {"key": "l11", "namespace": namespace, "flags": 0}) == 40


def test_commits_append_unlink_make_directories_and_are_refused(
    client: MinimalClient, namespace: str
) -> None:
    commit(client, namespace, put("log", "a", APPEND), put("log", "b", APPEND))
    assert lookup(client, namespace, "log") == val("ab")
    assert lookup(client, namespace, "log", TREEOBJ)["type"] == "valref"
    commit(
        client,
        namespace,
        put("dir", {"ver": 1, "type": "dir", "data": {}}),
        put("log", None),
        put("gone", None),
    )
    assert lookup(client, namespace, "dir", READDIR)["data"] == {}
    for op, errnum in ((put(".", "x"), 22), (put("dir", "x", APPEND), 21), (put("k", {"ver": 1}), 22)):
        assert client.errnum("kvs.commit", {"namespace": namespace, "flags": 0, "ops": [op]}) == errnum
    assert client.errnum("kvs.commit", {"namespace": "nosuch", "flags": 0, "ops": [put("a", "1")]}) == 95
    before = client.rpc("kvs.getroot", {"namespace": namespace})
    for flags in (1, 2, 4):
        commit(client, namespace, put("dir", {"ver": 1, "type": "dir", "data": {}}), flags=flags)
    after = client.rpc("kvs.getroot", {"namespace": namespace, "flags": 0})
    assert (after["rootref"], after["rootseq"]) == (before["rootref"], before["rootseq"] + 3)


def test_roots_versions_and_namespaces(client: MinimalClient, connect: Any, namespace: str) -> None:
    root = client.rpc("kvs.getroot", {"namespace": namespace})
    assert root == {
        "owner": root["owner"],
        "rootseq": 0,
        "rootref": EMPTY,
        "flags": 0,
        "namespace": namespace,
    }
    waiting = connect(rank=1)
    tag = waiting.send("kvs.wait-version", {"rootseq": 1, "namespace": namespace})
    done = commit(client, namespace, put("a", "1"))
    assert waiting.answer(tag).json == {"rootseq": 1, "rootref": done["rootref"]}
    listed = client.rpc("kvs.namespace-list")["namespaces"]
    assert {"namespace": namespace, "owner": root["owner"], "flags": 0} in listed
    create = {"namespace": namespace, "rootref": EMPTY, "owner": -1, "flags": 0}
    assert client.errnum("kvs.namespace-create", create, 0) == 17
    assert client.raw("kvs.namespace-remove", {"namespace": namespace}, 0).payload is None
    assert client.errnum("kvs.getroot", {"namespace": namespace}) == 95


def test_a_commit_is_announced_before_it_is_answered(client: MinimalClient, namespace: str) -> None:
    client.subscribe(f"kvs.namespace-{namespace}-")
    tag = client.send("kvs.commit", {"namespace": namespace, "flags": 0, "ops": [put("a.b", "1")]})
    event, answer = client.frame(), client.frame()
    assert (event.topic, answer.matchtag) == (f"kvs.namespace-{namespace}-setroot", tag)
    assert {**event.json, "names": 0} == {
        "namespace": namespace, **answer.json, "names": 0, "keys": {"a.b": None}, "owner": event.json["owner"]
    }  # fmt: skip
    assert event.json["names"][0].startswith("transaction_req.0.")


def test_a_watch_streams_values_until_it_is_cancelled(
    client: MinimalClient, connect: Any, namespace: str
) -> None:
    commit(client, namespace, put("k", "1"))
    watcher = connect(rank=1)
    tag = watcher.send("kvs-watch.lookup", {"key": "k", "namespace": namespace, "flags": 4}, flags=STREAMING)
    values = watcher.responses(tag)
    assert next(values).json == {"val": val("1")}
    commit(client, namespace, put("other", "x"))
    commit(client, namespace, put("k", "2"))
    assert next(values).json == {"val": val("2")}
    watcher.send("kvs-watch.cancel", {"matchtag": tag}, flags=NORESPONSE)
    end = next(values)
    assert (end.errnum, end.payload, end.flags) == (61, None, 0x49)
    assert client.errnum("kvs-watch.lookup", {"key": "k", "namespace": namespace, "flags": 4}) == 71


def test_a_dropped_cache_is_filled_again(client: MinimalClient, namespace: str) -> None:
    commit(client, namespace, put("a.b", "1"), put("a.c", "x" * 100))
    client.raw("kvs.dropcache")
    assert client.rpc("kvs.stats-get")["cache"]["#obj"] == 0
    assert lookup(client, namespace, "a.c") == val("x" * 100)


def test_content_stores_raw_bytes_under_their_sha1(client: MinimalClient) -> None:
    frame = client.raw("content.store", b"hello\n")
    assert frame.payload == bytes.fromhex("f572d396fae9206628714fb2ce00f72e94f2258f")
    assert client.raw("content.load", frame.payload).payload == b"hello\n"
    for method in ("flush", "dropcache"):
        assert client.raw(f"content.{method}").payload is None
    assert client.raw("content-backing.load", frame.payload).payload == b"hello\n"
    assert client.raw("content.load", frame.payload).payload == b"hello\n"
    assert client.errnum("content.load", b"x" * 20) == 2
    assert client.raw("content.store", b"").payload == hashlib.sha1(b"").digest()


def test_cron_entries_live_through_create_stop_start_list_delete(client: MinimalClient) -> None:
    create = {"type": "interval", "name": "foo", "args": {"interval": 10}, "command": "true"}
    entry = client.rpc("cron.create", create)
    assert list(entry) == [
        "id",
        "rank",
        "name",
        "command",
        "repeat",
        "stopped",
        "type",
        "stats",
        "typedata",
        "tasks",
    ]
    assert list(entry["stats"]) == [
        "ctime", "starttime", "lastrun", "count", "failcount", "total", "success", "failure", "deferred"
    ]  # fmt: skip
    assert list(entry["typedata"]) == ["interval", "after", "next_wakeup"]
    assert (entry["typedata"]["after"], entry["tasks"], entry["stopped"]) == (10.0, [], False)
    assert client.rpc("cron.stop", {"id": entry["id"]})["stopped"] is True
    assert client.rpc("cron.start", {"id": entry["id"]})["stopped"] is False
    assert [one["id"] for one in client.rpc("cron.list", {})["entries"]] == [entry["id"]]
    assert client.rpc("cron.delete", {"id": entry["id"], "kill": False})["id"] == entry["id"]
    assert client.errnum("cron.delete", {"id": entry["id"]}) == 2
    assert client.rpc("cron.sync", {}).keys() == {"sync_event", "sync_epsilon"}


def test_cron_runs_its_commands_at_the_next_heartbeat(client: MinimalClient, tmp_path: Any) -> None:
    made = tmp_path / "made"
    create = {
        "type": "interval",
        "name": "t",
        "args": {"interval": 0.05},
        "command": f"echo hi > {made}",
        "repeat": 1,
    }
    entry = client.rpc("cron.create", create)
    for _ in range(5000):
        client.publish("heartbeat.pulse")
        [now] = [one for one in client.rpc("cron.list", {})["entries"] if one["id"] == entry["id"]]
        if now["stats"]["success"]:
            break
    assert (now["stats"]["success"], now["stats"]["count"], made.read_text()) == (1, 1, "hi\n")
