"""The services of the broker and of every module, asked by a client that shares no code with the server."""

from __future__ import annotations

import json
import os
import re
import select
import socket
from itertools import dropwhile, islice
from pathlib import Path
from typing import Any

import pytest

from tests.fluxcompat.minimal_client import (
    ANY,
    EVENT,
    NORESPONSE,
    PAYLOAD,
    PRIVATE,
    RESPONSE,
    ROUTE,
    STREAMING,
    TOPIC,
    UPSTREAM,
    MinimalClient,
    build,
    take_apart,
)

UID = os.getuid()


def test_an_answer_has_the_senders_topic_and_matchtag_and_the_owners_credentials(
    client: MinimalClient,
) -> None:
    frame = client.raw("attr.get", {"name": "rank"})
    assert (frame.type, frame.flags, frame.userid, frame.rolemask) == (
        RESPONSE,
        TOPIC | PAYLOAD | ROUTE,
        UID,
        5,
    )
    assert (frame.topic, frame.errnum, frame.matchtag, frame.routes) == ("attr.get", 0, 1, ())
    assert frame.payload == b'{"value":"0","flags":1}\0'


def test_both_codecs_agree_on_long_parts() -> None:
    body = build(EVENT, "t" * 300, b"x" * 70_000, routes=(b"a" * 36,))[8:]
    frame = take_apart(body)
    assert (len(frame.topic), len(frame.payload or b""), frame.routes) == (300, 70_000, (b"a" * 36,))


def test_attributes_getattr_lsattr_setattr(client: MinimalClient) -> None:
    for name, value in (("size", "2"), ("rank", "0"), ("content.hash", "sha1"), ("instance-level", "0")):
        assert client.rpc("attr.get", {"name": name}) == {"value": value, "flags": 1}
    assert client.raw("attr.get", {"name": "nosuch"}).errnum == 2
    assert client.raw("attr.set", {"name": "test.own", "value": "1"}).payload is None
    assert client.rpc("attr.get", {"name": "test.own"}) == {"value": "1", "flags": 0}
    assert "test.own" in client.rpc("attr.list")["names"]
    client.rpc("attr.rm", {"name": "test.own"})
    assert client.errnum("attr.get", {"name": "test.own"}) == 2
    assert client.errnum("attr.set", {"name": "rank", "value": "7"}) == 22


@pytest.mark.parametrize(("nodeid", "rank", "hops"), [(ANY, 0, 3), (0, 0, 3), (1, 1, 4)])
def test_ping_echoes_every_key_and_adds_the_route(
    client: MinimalClient, nodeid: int, rank: int, hops: int
) -> None:
    sent = {"seq": 3, "time.tv_sec": 1, "time.tv_nsec": 2, "pad": "xx", "unknown": [1]}
    answer = client.rpc("kvs.ping", sent, nodeid)
    route = answer.pop("route").split("!")
    assert answer == {**sent, "userid": UID, "rolemask": 5, "rank": rank}
    assert len(route) == hops and all(len(hop) == 8 for hop in route)


def test_upstream_addressing_goes_to_the_parent_and_at_the_root_nowhere(connect: Any) -> None:
    below = connect(rank=1)
    tag = below.send("kvs.ping", {"seq": 0}, 1, UPSTREAM)
    assert below.answer(tag).json["rank"] == 0
    root = connect()
    assert root.answer(root.send("kvs.ping", {"seq": 0}, 0, UPSTREAM)).errnum == 113


def test_errnums_and_texts_of_what_is_not_there(client: MinimalClient) -> None:
    for topic, text in (
        ("nosuch.ping", "No service matching nosuch.ping is registered"),
        ("kvs.nosuch", "Unknown service method 'kvs.nosuch'"),
    ):
        frame = client.raw(topic)
        assert (frame.errnum, frame.text) == (38, text)
    assert client.errnum("kvs.ping", {"seq": 0}, 7) == 113
    assert client.errnum("kvs.lookup", b"not json\0") == 71
    assert client.errnum("kvs.lookup", b"[]\0") == 71
    assert client.errnum("kvs.lookup", {"namespace": "primary", "flags": 0}) == 71


@pytest.mark.parametrize(
    ("topic", "errnum"),
    [
        ("shutdown.start", 38),
        ("kvs.fence", 38),
        ("sdexec.exec", 38), ("overlay.disconnect-subtree", 38), ("overlay.monitor", 38),
        ("resource.topo-put", 38),
    ],
)  # fmt: skip
def test_what_is_absent_is_answered_with_its_errnum(client: MinimalClient, topic: str, errnum: int) -> None:
    frame = client.raw(topic, {}, 0)
    assert frame.errnum == errnum and topic in frame.text


def test_debug_bits_as_the_command_line_sets_them(client: MinimalClient) -> None:
    steps = (
        ("setbit", 0, 0),
        ("setbit", 0x1000, 0x1000),
        ("clrbit", 0x1000, 0),
        ("set", 0x1003, 0x1003),
        ("clr", 0, 0),
    )
    for op, flags, after in steps:
        assert client.rpc("kvs-watch.debug", {"op": op, "flags": flags}) == {"flags": after}
    assert client.rpc("broker.debug", {"op": "setbit", "flags": 0}) == {"flags": 0}
    assert client.errnum("kvs-watch.debug", {"op": "nosuch", "flags": 0}) == 71


def test_stats_have_tx_and_rx_for_every_module_and_are_cleared_by_request_and_event(
    client: MinimalClient,
) -> None:
    names = [mod["name"] for mod in client.rpc("module.list")["mods"]]
    for name in names:
        stats = client.rpc(f"{name}.stats-get")
        for side in ("tx", "rx"):
            assert list(stats[side]) == ["request", "response", "event", "control"]
    client.rpc("cron.stats-clear")
    # the clearing is answered after it, and the question is itself received
    assert client.rpc("cron.stats-get")["tx"]["response"] == 1
    client.subscribe("cron.stats-clear")
    client.publish("cron.stats-clear")
    client.event()
    assert client.rpc("cron.stats-get")["tx"]["response"] == 0


def test_rusage_has_two_floats_and_fourteen_integers(client: MinimalClient) -> None:
    for payload in (None, {"who": "self"}, {"who": "children"}, {"who": "thread"}):
        used = client.rpc("kvs.rusage", payload)
        assert [type(value) for value in used.values()] == [float] * 2 + [int] * 14


def test_config_and_the_module_methods_about_it(client: MinimalClient) -> None:
    assert client.rpc("config.get") == {}
    for method in ("config-reload", "config-update"):
        assert client.raw(f"kvs.{method}", {"any": 1}).payload is None


def test_what_uptime_and_the_status_commands_ask(client: MinimalClient) -> None:
    assert client.rpc("state-machine.get")["state"] == "run"
    status = client.rpc("resource.status", None, 0)
    assert list(status["R"]) == ["version", "execution"]
    assert {key: status[key] for key in ("online", "offline", "exclude", "drain", "torpid")} == {
        "online": "0", "offline": "", "exclude": "", "drain": {}, "torpid": ""
    }  # fmt: skip
    assert client.rpc("groups.get", {"name": "broker.online"}, 0) == {"members": "0-1"}
    assert client.rpc("job-manager.queue-list", None, 0) == {"queues": []}
    assert client.rpc("job-manager.queue-status", {}, 0) == {"enable": True, "start": True}
    health = client.rpc("overlay.health", None, 0)
    assert (health["status"], [child["rank"] for child in health["children"]]) == ("full", [1])
    leaf = {"rank": 1, "size": 1, "children": []}
    assert client.rpc("overlay.topology", {"rank": 0}, 0) == {"rank": 0, "size": 2, "children": [leaf]}


@pytest.mark.parametrize("topic", ["resource.sched-status", "sched.resource-status"])
def test_resource_list_finds_all_down_and_allocated(client: MinimalClient, topic: str) -> None:
    status = client.rpc(topic, None, 0)
    assert list(status) == ["all", "down", "allocated"]
    assert status["all"]["execution"]["R_lite"] == [{"rank": "0", "children": {"core": "0-3"}}]


# -- events, log


def test_events_are_sequenced_and_carry_the_publishers_route(client: MinimalClient) -> None:
    client.subscribe("fluxcompat.")
    client.publish("other.topic")
    client.publish("fluxcompat.x", b'{"x":1}\0')
    first = client.event()
    answer = client.rpc("event.publish", {"topic": "fluxcompat.y", "flags": 0, "payload": "eyJ5IjoyfQA="}, 0)
    second = client.event()
    assert (first.topic, first.payload, first.rolemask, first.aux2) == ("fluxcompat.x", b'{"x":1}\0', 5, 0)
    assert len(first.routes or ()) == 2
    assert (second.topic, second.json, second.aux1) == ("fluxcompat.y", {"y": 2}, answer["seq"])
    assert len(second.routes or ()) == 1
    assert second.aux1 > first.aux1
    client.raw("event.unsubscribe", {"topic": "fluxcompat."})


def test_private_events_are_for_owners_and_their_own_guest(
    client: MinimalClient, guest: MinimalClient
) -> None:
    client.subscribe("private.")
    client.publish("private.a", flags=PRIVATE)
    client.rpc("event.publish", {"topic": "private.b", "flags": PRIVATE}, 0)
    assert [client.event().flags & PRIVATE for _ in "ab"] == [PRIVATE, PRIVATE]


def test_a_request_without_a_matchtag_is_answered_all_the_same(client: MinimalClient) -> None:
    for name in ("rank", "nosuch"):
        client.socket.sendall(build(1, "attr.get", json.dumps({"name": name}).encode() + b"\0"))
    answers = [
        client.wait(
            lambda frame: frame.topic == "attr.get" and frame.matchtag == 0 and frame.type == RESPONSE
        )
        for _ in "ab"
    ]
    assert [one.errnum for one in answers] == [0, 2] and answers[0].json["value"] == "0"


def test_the_log_is_appended_streamed_and_cleared(client: MinimalClient) -> None:
    client.rpc("log.clear")
    line = "<40>1 2026-11-22T00:53:27.867800Z 0 logger - - - hello there"
    client.socket.sendall(build(1, "log.append", line.encode()))  # matchtag 0, flag noresponse clear
    client.send("log.append", line.encode(), flags=NORESPONSE)
    frames = list(client.stream("log.dmesg", {"follow": False, "nobacklog": False}))
    assert [frame.text for frame in frames[:-1]] == [line, line]
    assert (frames[-1].errnum, frames[-1].payload, frames[-1].flags & STREAMING) == (61, None, STREAMING)
    following = client.stream("log.dmesg", {"follow": True, "nobacklog": True})
    client.rpc("attr.get", {"name": "rank"})
    client.send("log.append", b"<40>1 - 0 x - - - new", flags=NORESPONSE)
    assert next(following).text.endswith("new")


# -- modules

HELLO = """\
from flux.brokermod import BrokerModule, request_handler

class Hello(BrokerModule):
    @request_handler("info")
    def info(self, msg):
        self.handle.respond(msg, {"name": self.name, "args": list(self.args)})
"""


def test_modules_are_listed_loaded_reloaded_and_removed(client: MinimalClient, tmp_path: Path) -> None:
    path = tmp_path / "hello.py"
    path.write_text(HELLO.replace("flux.brokermod", "brokersim.brokermod"))
    load = {"path": str(path), "args": ["a", "b=1"], "exec": False}
    for _ in "load", "reload":
        assert client.raw("module.load", load).payload is None
        assert client.rpc("hello.info") == {"name": "hello", "args": ["a", "b=1"]}
        [listed] = [mod for mod in client.rpc("module.list")["mods"] if mod["name"] == "hello"]
        assert {
            "path": str(path),
            "status": 1,
            "services": ["hello"],
            "sendqueue": 0,
        }.items() <= listed.items()
        assert client.errnum("module.load", load) == 17
        assert client.raw("module.remove", {"name": "hello", "cancel": False}).payload is None
        assert client.errnum("hello.info") == 38
    assert client.errnum("module.remove", {"name": "hello", "cancel": False}) == 2
    assert client.errnum("module.load", {**load, "path": str(tmp_path / "nosuch.py")}) == 2


def test_a_module_is_loaded_as_a_process_over_the_socket(client: MinimalClient, tmp_path: Path) -> None:
    path = tmp_path / "farhello.py"
    path.write_text(HELLO)
    client.rpc("module.load", {"path": str(path), "args": ["x"], "exec": True})
    assert client.rpc("farhello.info") == {"name": "farhello", "args": ["x"]}
    assert client.rpc("farhello.stats-get")["rx"]["request"] == 3  # the welcome, info, this
    (listed,) = (mod for mod in client.rpc("module.list")["mods"] if mod["name"] == "farhello")
    assert (listed["status"], listed["loader"], listed["pid"] > 1) == (1, "brokersim", True)
    client.rpc("module.remove", {"name": "farhello", "cancel": False})
    assert client.errnum("farhello.info") == 38
    refused = client.raw("module.load", {"path": str(path), "args": [], "exec": True, "loader": "lua"})
    assert (refused.errnum, refused.text) == (22, "Invalid argument: no loader 'lua'; give brokersim or flux")


def test_a_flux_module_file_is_loaded_over_the_socket(client: MinimalClient, tmp_path: Path) -> None:
    path = tmp_path / "fluxhello.py"
    path.write_text(HELLO)
    client.rpc("module.load", {"path": str(path), "args": ["x"], "exec": False})
    assert client.rpc("fluxhello.info") == {"name": "fluxhello", "args": ["x"]}
    client.rpc("module.remove", {"name": "fluxhello", "cancel": False})


def test_a_trace_shows_what_a_module_is_handed_and_sends(client: MinimalClient, connect: Any) -> None:
    asked = {"typemask": 15, "topic_glob": "*", "names": ["cron"], "full": True}
    trace = client.stream("module.trace", asked)
    client.rpc("attr.get", {"name": "rank"})
    connect().rpc("cron.ping", {"seq": 1})
    seen = [next(trace).json for _ in range(2)]
    keys = [
        "timestamp",
        "prefix",
        "rank",
        "name",
        "type",
        "topic",
        "payload_size",
        "payload",
        "errnum",
        "errstr",
    ]
    assert [list(line) for line in seen] == [keys, keys]
    assert [(line["prefix"], line["type"], line["topic"], line["rank"]) for line in seen] == [
        ("rx", 1, "cron.ping", -1), ("tx", 2, "cron.ping", -1)
    ]  # fmt: skip
    assert seen[0]["payload"] == {"seq": 1}
    assert seen[0]["payload_size"] == len(json.dumps({"seq": 1})) + 1


# -- services of clients, flow


def test_a_trace_that_is_not_full_has_no_payloads(client: MinimalClient, connect: Any) -> None:
    asked = {"typemask": 15, "topic_glob": "*", "names": ["cron"], "full": False}
    trace = client.stream("module.trace", asked)
    client.rpc("attr.get", {"name": "rank"})
    connect().rpc("cron.ping", {"seq": 1})
    assert [(one["payload"], one["payload_size"] > 0) for one in (next(trace).json for _ in range(2))] == [
        (None, True)
    ] * 2


def test_a_client_serves_requests_and_answers_with_the_route_stack_unchanged(connect: Any) -> None:
    server, asker = connect(), connect()
    assert server.raw("service.add", {"service": "mysvc"}).rolemask == 1
    assert asker.errnum("service.add", {"service": "mysvc"}) == 17
    tag = asker.send("mysvc.method", {"q": 1})
    request = server.wait(lambda frame: frame.type == 1)
    assert (request.topic, request.json, request.userid, len(request.routes)) == (
        "mysvc.method",
        {"q": 1},
        UID,
        2,
    )
    server.socket.sendall(
        build(RESPONSE, request.topic, b'{"a":2}\0', aux1=0, aux2=request.matchtag, routes=request.routes)
    )
    assert asker.answer(tag).json == {"a": 2}
    assert server.raw("service.remove", {"service": "mysvc"}).errnum == 0
    assert asker.errnum("mysvc.method") == 38


@pytest.mark.parametrize("answers", [2, 300])
def test_all_answers_to_one_request_reach_who_asked_though_it_was_for_one_only(
    connect: Any, answers: int
) -> None:
    server, asker = connect(), connect()
    server.rpc("service.add", {"service": "many"})
    tag = asker.send("many.method")
    request = server.wait(lambda frame: frame.type == 1)
    for seq in range(answers):
        payload = b'{"seq":%d}\0' % seq
        server.socket.sendall(
            build(RESPONSE, request.topic, payload, aux1=0, aux2=request.matchtag, routes=request.routes)
        )
    assert [asker.answer(tag).json["seq"] for _ in range(answers)] == list(range(answers))


def test_leaving_is_one_disconnect_a_service_whatever_the_number_of_requests(
    client: MinimalClient, connect: Any
) -> None:
    trace = client.stream("module.trace", {"typemask": 1, "names": ["cron"]})
    client.rpc("attr.get", {"name": "rank"})
    other = connect()
    for _ in range(3):
        other.rpc("cron.ping", {"seq": 0})
    other.send("cron.ping", {"seq": 0}, flags=NORESPONSE)
    other.close()
    # The client of an earlier test may be leaving still.
    heard = dropwhile("cron.disconnect".__eq__, (message.json["topic"] for message in trace))
    assert list(islice(heard, 5)) == ["cron.ping"] * 4 + ["cron.disconnect"]
    assert client.rpc("cron.ping", {"seq": 1})["seq"] == 1
    assert next(trace).json["topic"] == "cron.ping"  # and no second one


def test_a_burst_of_100000_requests_is_taken_whole_and_answered_in_order(
    client: MinimalClient, connect: Any
) -> None:
    """All are sent before one answer is read: others go on, and the server's memory stays bounded."""
    total = 100_000
    burst = b"".join(build(1, "attr.get", b'{"name":"rank"}\0', 0, ANY, tag) for tag in range(1, total + 1))
    before = client.rpc("broker.rusage")["maxrss"]
    flood = connect()
    sent = _push(flood, burst, 0)
    assert sent == len(burst)
    assert connect().rpc("attr.get", {"name": "rank"})["value"] == "0"
    received: list[int] = []
    pending = b""
    while len(received) < total:
        pending += flood.socket.recv(1 << 20)
        pending = _tags(pending, received)
    assert received == list(range(1, total + 1))
    grown = client.rpc("broker.rusage")["maxrss"] - before
    assert grown < 32 * 1024, f"{grown} KiB"


def _push(client: MinimalClient, data: bytes, start: int, patience: int = 300) -> int:
    """Send what the socket takes; the position reached when it takes no more for that many milliseconds."""
    poll = select.poll()
    poll.register(client.socket, select.POLLOUT)
    view = memoryview(data)
    while start < len(data) and poll.poll(patience):
        start += client.socket.send(view[start : start + 65536], socket.MSG_DONTWAIT)
    return start


def _tags(data: bytes, tags: list[int]) -> bytes:
    """Note the matchtags of whole answers; the rest of the bytes."""
    at = 0
    while len(data) - at >= 8:
        end = at + 8 + int.from_bytes(data[at + 4 : at + 8], "big")
        if end > len(data):
            break
        tags.append(int.from_bytes(data[end - 4 : end], "big"))  # the last field of the last part
        at = end
    return data[at:]


@pytest.mark.parametrize(
    ("topic", "payload", "stats", "count"),
    [
        (
            "kvs-watch.lookup",
            {"key": "leaving", "namespace": "primary", "flags": 12},
            "kvs-watch",
            "watchers",
        ),
        (
            "job-info.eventlog-watch",
            {"id": 1, "path": "eventlog", "flags": 1},
            "job-info",
            "watchers",
        ),
    ],
)
def test_leaving_ends_the_streams_of_who_left(
    client: MinimalClient, connect: Any, topic: str, payload: dict[str, Any], stats: str, count: str
) -> None:
    before = client.rpc(f"{stats}.stats-get")[count]
    leaving = connect()
    for _ in range(3):
        leaving.send(topic, payload, flags=STREAMING)
    leaving.rpc(f"{stats}.ping", {"seq": 0})
    assert client.rpc(f"{stats}.stats-get")[count] == before + 3
    leaving.close()
    for _ in range(1000):
        if client.rpc(f"{stats}.stats-get")[count] == before:
            return
    raise AssertionError("its streams are still open")


def test_matchtags_are_the_clients_own_and_used_again(client: MinimalClient, connect: Any) -> None:
    """Two clients use one tag at a time, and one client the same tag for one request after the other."""
    other = connect()
    for _ in range(3):
        for one, name in ((client, "rank"), (other, "size")):
            one.socket.sendall(build(1, "attr.get", f'{{"name":"{name}"}}\0'.encode(), 0, ANY, 77))
        assert (client.answer(77).json["value"], other.answer(77).json["value"]) == ("0", "2")


def test_log_lines_of_modules_have_fluxs_form(client: MinimalClient) -> None:
    client.rpc("log.clear")
    client.publish("kvs.namespace-primary-setroot", b'{"namespace":1}\0')
    for _ in range(200):
        lines = [frame.text for frame in client.stream("log.dmesg", {"follow": False, "nobacklog": False})][
            :-1
        ]
        if lines:
            break
    pattern = r"<\d+>1 \d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{6}Z [01] kvs(-watch)? \S+ - - event .* ignored: .*"
    assert lines and all(re.fullmatch(pattern, line) for line in lines), lines
