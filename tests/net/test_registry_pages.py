"""The registry over HTTP, against a live instance: what each method answers, who may write, what a lost update is."""

from __future__ import annotations

import json
import socket
from contextlib import asynccontextmanager

import pytest
import trio
from prometheus_client.parser import text_string_to_metric_families

from brokersim import open_instance
from brokersim.net.connector import Connector
from brokersim.net.registry_bridge import Bridge
from brokersim.net.registry_pages import BODY_MAX, METHODS, RegistryPages
from brokersim.statsd_server.http import HttpServer

TOKEN = "s3cret"


class Web:
    def __init__(self, address, token=TOKEN):
        self._address = address
        self._token = token

    async def __call__(self, method, path, body=None, **headers):
        """``status, headers, JSON``."""
        data = body if isinstance(body, bytes) else b"" if body is None else json.dumps(body).encode()
        given = {"Host": "localhost", "Connection": "close", "Content-Length": str(len(data))}
        if self._token:
            given["Authorization"] = f"Bearer {self._token}"
        given |= {key.replace("_", "-"): value for key, value in headers.items()}
        lines = [f"{method} {path} HTTP/1.1", *(f"{key}: {value}" for key, value in given.items())]
        stream = await trio.open_tcp_stream(*self._address)
        async with stream:
            await stream.send_all("\r\n".join(lines).encode() + b"\r\n\r\n" + data)
            received = b""
            while piece := await stream.receive_some():
                received += piece
        head, _, rest = received.partition(b"\r\n\r\n")
        status, *heads = head.decode().split("\r\n")
        found = dict(line.split(": ", 1) for line in heads)
        is_json = found.get("Content-Type") == "application/json"
        return int(status.split()[1]), found, json.loads(rest) if is_json else rest


def served(act, token=TOKEN, given=TOKEN):
    async def main(tmp):
        modules = ["content-cache", "content-sqlite", "kvs", "registry"]
        async with (
            open_instance(modules=modules, clock="real") as instance,
            serving(instance, tmp, token) as (address, notes),
        ):
            with trio.fail_after(20):
                await act(Web(address, given), notes)

    return main


@asynccontextmanager
async def serving(instance, folder, token):
    connector = Connector(instance, folder)
    connector.listen()
    sock = socket.create_server(("127.0.0.1", 0))
    notes = []
    pages = RegistryPages(Bridge(connector.uri), token, False, notes.append)
    server = HttpServer(pages.routes(), notes.append, methods=METHODS, body_max=BODY_MAX)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(connector.serve)
        nursery.start_soon(server.serve, sock)
        yield sock.getsockname()[:2], notes
        nursery.cancel_scope.cancel()


def test_the_table_of_methods_and_answers(tmp_path):
    async def act(web, notes):
        assert (await web("GET", "/v1/nodes"))[::2] == (200, [])
        status, headers, made = await web("POST", "/v1/nodes", {"id": "n", "a": 1})
        assert (status, made["version"], headers["ETag"]) == (201, 1, '"1"')
        assert (await web("POST", "/v1/nodes", {"id": "n"}))[0] == 409
        assert (await web("POST", "/v1/nodes", [{"id": "b"}, {"id": "c"}]))[0] == 201
        assert (await web("GET", "/v1/nodes/n"))[2]["a"] == 1
        status, _, put = await web("PUT", "/v1/nodes/n", {"a": 2}, If_Match='"1"')
        assert (status, put["a"], put["version"]) == (200, 2, 2)
        status, _, error = await web("PUT", "/v1/nodes/n", {"a": 3}, If_Match='"1"')
        assert status == 412 and "is at version 2, not 1" in error["error"]
        assert (await web("PUT", "/v1/nodes/n", {"a": 3}))[0] == 428
        status, _, patched = await web("PATCH", "/v1/nodes/n", {"b": 5}, If_Match="2")
        assert (status, patched["a"], patched["b"]) == (200, 2, 5)
        assert (await web("PUT", "/v1/nodes/new", {}, If_None_Match="*"))[0] == 200
        assert (await web("DELETE", "/v1/nodes/new", If_Match="*"))[0] == 200
        status, _, error = await web("GET", "/v1/nodes/new")
        assert status == 404 and "was deleted" in error["error"]
        assert len((await web("GET", "/v1/nodes/n/history"))[2]) == 3
        assert (await web("GET", "/v1/nodes/n?version=1"))[2]["a"] == 1
        status, headers, found = await web("GET", "/v1/nodes?limit=1&skip=1&sort=-id&fields=id")
        assert (status, found, headers["X-Total-Count"]) == (200, [{"id": "c"}], "3")
        asked = {"collection": "nodes", "filter": {"a": {"gte": 2}}}
        assert [one["id"] for one in (await web("POST", "/v1/query", asked))[2]] == ["n"]
        assert (await web("GET", "/v1/schemas/services"))[2]["required"] == ["name"]
        assert any(note.startswith("GET /v1/nodes/n: 200, ") and note.endswith(" ms") for note in notes)

    trio.run(served(act), tmp_path)


def test_what_is_wrong_is_told_with_its_place_and_nothing_is_written(tmp_path):
    async def act(web, _):
        status, _, error = await web("POST", "/v1/measurements", [{"probe": "cpu"}, {"prob": 1}])
        assert status == 400 and error["faults"] == [
            "/1/probe is missing",
            "/1/prob is no key (is probe meant?)",
        ]
        assert (await web("GET", "/v1/measurements"))[2] == []
        for method, path, body, wanted in [
            ("POST", "/v1/nodes", b"{", 400), ("GET", "/v1/nowhere", None, 404), ("GET", "/v1/nodes/x", None, 404),
            ("GET", "/v1/nodes?limit=x", None, 400), ("GET", "/v1/nodes?lim=1", None, 400),
            ("GET", "/v1/nodes?filter={", None, 400), ("PUT", "/v1/nodes", {}, 405), ("GET", "/v1/a/b/c/d", None, 404),
            ("GET", "/v1/nodes/x/what", None, 404),
            ("POST", "/v1/nodes", b"x" * (BODY_MAX + 1), 413), ("PUT", "/v1/nodes/x", b"[" * 10**5, 428),
            ("GET", "/v1/schemas/x", None, 404), ("TRACE", "/v1/nodes", None, 405),
        ]:  # fmt: skip
            assert (await web(method, path, body))[0] == wanted, (method, path)
        assert "nothing is at" in (await web("GET", "/v1/nodes/x/what"))[2]["error"]
        assert (await web("PUT", "/v1/nodes/x", b"[" * 10**5, If_Match="*"))[0] == 400
        assert (await web("PUT", "/v1/nodes/x", {}, If_Match="W/x"))[0] == 400

    trio.run(served(act), tmp_path)


@pytest.mark.parametrize(
    ("token", "given", "status"), [(TOKEN, "wrong", 401), (TOKEN, "", 401), (None, "x", 403)]
)
def test_only_who_has_the_token_writes_and_everybody_reads(tmp_path, token, given, status):
    async def act(web, _):
        assert (await web("GET", "/v1/nodes"))[0] == 200
        refused, headers, _ = await web("POST", "/v1/nodes", {})
        assert (refused, headers.get("WWW-Authenticate")) == (status, "Bearer" if status == 401 else None)

    trio.run(served(act, token, given), tmp_path)


def test_a_watcher_hears_of_each_change(tmp_path):
    async def act(web, _):
        stream = await trio.open_tcp_stream(*web._address)
        async with stream:
            await stream.send_all(b"GET /v1/nodes/watch HTTP/1.1\r\nHost: localhost\r\n\r\n")
            heard = b""
            while b"from now on" not in heard:
                heard += await stream.receive_some()
            while not (b"data: " in heard and heard.endswith(b"\n\n\r\n")):
                with trio.move_on_after(0.2):
                    heard += await stream.receive_some()
                if b"data: " not in heard:
                    await web("PUT", "/v1/nodes/n", {"t": trio.current_time()}, If_Match="*")
        line = next(line for line in heard.split(b"\n") if line.startswith(b"data: "))
        assert json.loads(line.removeprefix(b"data: "))["id"] == "n"

    trio.run(served(act), tmp_path)


def test_samples_are_sent_many_series_at_once_asked_for_by_time_and_scraped(tmp_path):
    async def act(web, _):
        assert (await web("GET", "/v1/data"))[::2] == (200, [])
        sent = [
            {"subject": "node/0", "metric": "a.b", "samples": [[1.5, 1], [2.5, 2], [3.5, 3]]},
            {"subject": "node/1", "metric": "a.b", "attributes": {"x": 'y"\n'}, "samples": [[1, 5, 7]]},
            {"subject": "n", "metric": "n", "kind": "counter", "unit": "By", "samples": [[2, 9]]},
            {"subject": "n", "metric": "s", "kind": "state", "samples": [[2, "OK"]]},
        ]
        status, _, stored = await web("POST", "/v1/data", sent)
        assert status == 201 and [one["stored"] for one in stored] == [3, 1, 1, 1]
        mid = stored[0]["mid"]
        assert (await web("POST", "/v1/data", {"mid": mid, "samples": [[3.5, 3, 3]]}))[2][0]["stored"] == 0
        status, _, found = await web("GET", f"/v1/data/{mid}?from=2&to=3.5&limit=5")
        assert (status, found["metric"]) == (200, "a.b")
        assert found["samples"] == [{"ts": 2.5, "seq": 2, "value": 2}]
        first = (await web("GET", f"/v1/data/{mid}?to=1970-01-01T01:00:02+01:00"))[2]["samples"]
        assert [one["ts"] for one in first] == [1.5]
        assert len((await web("GET", "/v1/data"))[2]) == 4
        status, headers, text = await web("GET", "/metrics")
        assert (status, headers["Content-Type"]) == (200, "text/plain; version=0.0.4; charset=utf-8")
        families = {one.name: one for one in text_string_to_metric_families(text.decode())}
        assert {name: one.type for name, one in families.items()} == {
            "probe_a_b": "gauge",
            "probe_n": "counter",
        }
        values = {one.labels["subject"]: (one.value, one.timestamp) for one in families["probe_a_b"].samples}
        assert values == {"node/0": (3, 3.5), "node/1": (5, 1)}
        assert families["probe_a_b"].samples[1].labels["x"] == 'y"\n'

    trio.run(served(act), tmp_path)


def test_what_is_wrong_with_samples_is_told(tmp_path):
    async def act(web, _):
        for method, path, body, wanted, says in [
            ("GET", "/v1/data/sha1-0", None, 404, "no series 'sha1-0' here"),
            ("GET", "/v1/data/x/y", None, 404, "nothing is at /v1/data/x/y"),
            ("GET", "/v1/data/x/history", None, 404, "nothing is at /v1/data/x/history"),
            ("GET", "/v1/schemas/node/what", None, 404, "nothing is at /v1/schemas/node/what"),
            ("GET", "/v1/schemas/node/history", None, 404, "nothing is at /v1/schemas/node/history"),
            ("GET", "/v1/nodes/x/history/1", None, 404, "nothing is at /v1/nodes/x/history/1"),
            (
                "GET",
                "/v1/data/x?from=soon",
                None,
                400,
                "from must be seconds since the epoch, or a time such as",
            ),
            ("GET", "/v1/data/x?to=2026-03-01T12:00:00", None, 400, "to must be seconds"),
            ("GET", "/v1/data/x?limit=-1", None, 400, "limit must be a whole number, 0 or more"),
            ("GET", "/v1/data/x?until=5", None, 400, "no parameter 'until'; there are from, to, limit"),
            ("POST", "/v1/data", {"subject": "x"}, 400, '/0 must be {"subject", "metric", "samples": ['),
            (
                "POST",
                "/v1/data",
                [{"subject": "x", "metric": "y", "samples": [[1]]}],
                400,
                "/0/samples/0 must be",
            ),
            ("POST", "/metrics", {}, 405, "POST /metrics is not possible"),
        ]:
            status, _, error = await web(method, path, body)
            assert (status, error["error"][: len(says)]) == (wanted, says), (method, path)
        assert (await web("GET", "/v1/data"))[2] == []

    trio.run(served(act), tmp_path)


def test_who_has_no_token_sends_no_samples(tmp_path):
    async def act(web, _):
        assert (await web("POST", "/v1/data", []))[0] == 401
        assert (await web("GET", "/metrics"))[0] == 200

    trio.run(served(act, TOKEN, "wrong"), tmp_path)
