"""Other people's schemas: records must satisfy them besides our own; each fault has its place, nothing is fetched."""

from __future__ import annotations

import json
import socket

import pytest

from brokersim.protocol.errnums import EINVAL, RequestError
from modules.registry.foreign import Foreign
from tests.modules.registry.test_live import refused, with_registry

pytest.importorskip("jsonschema", reason="the extra schemas is not installed")

SITE = {
    "type": "object",
    "required": ["rack"],
    "properties": {"rack": {"type": "string", "pattern": "^r[0-9]+$"}},
}
SWITCH = {
    "properties": {
        "ports": {"type": "array", "items": {"$ref": "https://example.org/port"}},
        "at": {"$ref": "nodes"},
    },
}
PORT = {
    "$id": "https://example.org/port",
    "type": "object",
    "properties": {"speed": {"enum": [1, 10, 100]}},
    "additionalProperties": False,
}


@pytest.fixture
def folder(tmp_path):
    for name, schema in (("nodes", SITE), ("switch", SWITCH), ("port", PORT)):
        (tmp_path / f"{name}.json").write_text(json.dumps(schema))
    return tmp_path


def test_faults_of_a_collection_s_schema_and_of_the_one_that_is_named(folder):
    found = Foreign(folder)
    assert list(found.faults("nodes", {"rack": "r1"}, "")) == []
    assert list(found.faults("nodes", {"rack": "x"}, "/3")) == [
        "/3/rack: 'x' does not match '^r[0-9]+$' (schema nodes)"
    ]
    assert list(found.faults("nodes", {}, "")) == ["/: 'rack' is a required property (schema nodes)"]
    record = {"$schema": "switch", "ports": [{"speed": 10}, {"speed": 7}], "at": {}}
    assert sorted(found.faults("services", record, "")) == [
        "/at: 'rack' is a required property (schema switch)",
        "/ports/1/speed: 7 is not one of [1, 10, 100] (schema switch)",
    ]
    for name in ("router", "nodes"):
        (fault,) = found.faults("services", {"$schema": name}, "/0")
        assert fault == f"/0/$schema: no schema {name!r}; there are port, switch"


def test_nothing_is_fetched_and_what_is_not_there_is_told(tmp_path, monkeypatch):
    def no(*_):
        raise AssertionError("a schema was looked for in the web")

    monkeypatch.setattr(socket, "create_connection", no)
    monkeypatch.setattr(socket, "getaddrinfo", no)
    (tmp_path / "far.json").write_text('{"properties": {"a": {"$ref": "https://example.org/x.json"}}}')
    (fault,) = Foreign(tmp_path / "far.json").faults("nodes", {"$schema": "far", "a": 1}, "")
    assert fault.startswith("/ cannot be checked by schema far: ") and "example.org" in fault


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("{", "is no JSON"),
        ('{"type": "objekt"}', r"bad.json is no JSON Schema at /type: 'objekt' is not valid"),
        ("[]", "is no JSON Schema"),
    ],
)
def test_what_is_no_schema_is_refused_with_its_place(tmp_path, text, says):
    (tmp_path / "bad.json").write_text(text)
    with pytest.raises(ValueError, match=says):
        Foreign(tmp_path)
    (tmp_path / "empty").mkdir()
    with pytest.raises(ValueError, match="no file"):
        Foreign(tmp_path / "empty")
    with pytest.raises(ValueError, match="No such file"):
        Foreign(tmp_path / "nowhere.json")


def test_a_registry_with_them_writes_nothing_that_they_do_not_allow(folder):
    async def act(_, client):
        loaded = {"path": "registry", "args": [f"schemas={folder}"]}
        await client.call("module.remove", {"name": "registry"})
        await client.call("module.load", loaded)
        error = await refused(
            client, "registry.post", {"collection": "nodes", "records": [{"id": "n", "rack": 5}]}
        )
        assert error.errno == EINVAL and error.text == "/0/rack: 5 is not of type 'string' (schema nodes)"
        assert (await client.call("registry.list", {"collection": "nodes"}))["records"] == []
        made = {"id": "n", "rack": "r5", "$schema": "switch", "ports": []}
        error = await refused(
            client, "registry.post", {"collection": "nodes", "records": [{**made, "at": 1}]}
        )
        assert error.text == "/0/at: 1 is not of type 'object' (schema switch)"
        (record,) = (await client.call("registry.post", {"collection": "nodes", "records": [made]}))[
            "records"
        ]
        assert record["$schema"] == "switch"
        schemas = (await client.call("registry.schemas"))["schemas"]
        assert (
            schemas["switch"] == SWITCH and schemas["nodes.json"] == SITE and "required" in schemas["nodes"]
        )
        await client.call("module.remove", {"name": "registry"})
        for args, says in (
            (["schemas=/no"], "No such file"),
            (["x"], "takes schemas=PATH"),
            (["schemas=a"] * 2, "takes"),
        ):
            with pytest.raises(RequestError, match=says):
                await client.call("module.load", {"path": "registry", "args": args})

    with_registry(act)
