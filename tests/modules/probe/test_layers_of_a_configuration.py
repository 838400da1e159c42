"""Files, command lines and the registry over each other: the matrix, a model by paths, a module that follows."""

from __future__ import annotations

import errno
import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from brokersim import open_instance, run
from brokersim.protocol.errnums import RequestError
from modules.probe.registered.layers import MODES, explained, laid

MODULES = ["content-cache", "content-sqlite", "kvs", "registry"]
ABSENT = "absent"


@pytest.mark.parametrize(
    ("file", "registry", "wanted"),
    [
        ({"a": 1}, {}, {"registry-wins": 1, "file-wins": 1, "file-only": 1}),
        ({}, {"a": 2}, {"registry-wins": 2, "file-wins": 2, "file-only": ABSENT}),
        ({"a": 3}, {"a": 3}, {"registry-wins": 3, "file-wins": 3, "file-only": 3}),
        ({"a": 1}, {"a": 2}, {"registry-wins": 2, "file-wins": 1, "file-only": 1}),
        ({"a": None}, {"a": 2}, {"registry-wins": 2, "file-wins": ABSENT, "file-only": ABSENT}),
        ({"a": 1}, {"a": {"b": 2}}, {"registry-wins": {"b": 2}, "file-wins": 1, "file-only": 1}),
        ({"a": [1, 2]}, {"a": [3]}, {"registry-wins": [3], "file-wins": [1, 2], "file-only": [1, 2]}),
    ],
)
def test_the_matrix(file, registry, wanted):
    for mode in MODES:
        found = laid(mode, {"file": {"x": file}, "registry": {"x": registry}})
        assert found.get("x", {}).get("a", ABSENT) == wanted[mode], mode


def test_the_command_line_is_over_the_file_and_the_registry_over_both_if_it_wins():
    layers = {"file": {"a": 1}, "command line": {"a": 2}, "registry": {"a": 3}}
    assert [laid(mode, layers)["a"] for mode in MODES] == [3, 2, 2]
    assert [[row["layer"] for row in explained(mode, layers, "a") if row["wins"]] for mode in MODES] == [
        ["registry"], ["command line"], ["command line"],
    ]  # fmt: skip


trees = st.recursive(
    st.none() | st.integers(0, 3),
    lambda inner: st.dictionaries(st.sampled_from("ab"), inner, max_size=2),
    max_leaves=6,
)
documents = st.dictionaries(st.sampled_from("ab"), trees, max_size=2)


@given(st.sampled_from(MODES), documents, documents, documents)
def test_every_leaf_is_that_of_the_strongest_layer_that_says_anything_of_it(mode, file, line, registry):
    """By paths: from the strongest down, the first layer that has a value or an end of the way there decides."""
    layers = {"file": file, "command line": line, "registry": registry}
    names = {"registry-wins": "RLF", "file-wins": "LFR", "file-only": "LF"}[mode]
    strong = [{"R": registry, "L": line, "F": file}[name] for name in names]

    def of(path):
        for layer in strong:
            value = layer
            for key in path:
                if not isinstance(value, dict):
                    return None  # a scalar or null stands above it
                if key not in value:
                    break
                value = value[key]
            else:
                if not isinstance(value, dict):
                    return value
                return {}
        return None

    def leaves(value, path=()):
        if isinstance(value, dict):
            for key, inner in value.items():
                yield from leaves(inner, (*path, key))
        else:
            yield path, value

    for path, value in leaves(laid(mode, layers)):
        assert of(path) == value
    for layer in strong:
        for path, value in leaves(layer):
            if (
                value is not None
                and of(path) == value
                and all(isinstance(of(path[:n]), dict) for n in range(len(path)))
            ):
                assert (path, value) in list(leaves(laid(mode, layers)))


def followed(act, *args, modules=MODULES, **options):
    async def main():
        async with open_instance(modules=modules, **options) as instance:
            return await act(instance, instance.client(), *args)

    return run(main)


DUMMY = {"probe": "dummy", "schedule": "1s", "reporting": {"sinks": []}}


def test_a_module_follows_its_record_and_a_wrong_one_is_refused_whole():
    async def act(instance, client):
        service = {"id": "s0", "name": "s0", "probes": {"a": DUMMY}}
        await client.call("registry.post", {"collection": "services", "records": [service]})
        await instance.load("probe", "registry=s0")

        async def states():
            await instance.sleep(1)
            return {one["name"]: one["state"] for one in (await client.call("probe.status"))["measurements"]}

        async def patch(record):
            wish = {"collection": "services", "id": "s0", "record": record, "if_version": None}
            await client.call("registry.patch", wish)
            return await states()

        assert await states() == {"a": "WAIT"}
        assert await patch({"probes": {"b": DUMMY}}) == {"a": "WAIT", "b": "WAIT"}
        assert await patch({"probes": {"a": {"probe": "nonsense"}}}) == {"a": "WAIT", "b": "WAIT"}
        assert await patch({"probes": {"a": None}}) == {"b": "WAIT"}
        assert await patch({"status": "OFF"}) == {"b": "OFF"}

    followed(act)


def test_a_file_may_win_and_explain_says_which(tmp_path):
    path = tmp_path / "probes.json"
    path.write_text(json.dumps({"probes": {"a": {**DUMMY, "schedule": "5s"}}}))

    async def act(instance, client):
        service = {"id": "s0", "name": "s0", "probes": {"a": DUMMY, "b": DUMMY}}
        await client.call("registry.post", {"collection": "services", "records": [service]})
        for mode, wins, names in [
            ("file-wins", "file", "ab"), ("registry-wins", "registry", "ab"), ("file-only", "file", "a")
        ]:  # fmt: skip
            await instance.load("probe", f"file={path}", "registry=s0", f"merge={mode}")
            told = await client.call("probe.explain", {"key": "probes/a/schedule"})
            assert told["merge"] == mode
            assert [row["layer"] for row in told["layers"] if row["wins"]] == [wins]
            status = (await client.call("probe.status"))["measurements"]
            assert "".join(sorted(one["name"] for one in status)) == names
            await client.call("module.remove", {"name": "probe"})

    followed(act)


def test_what_was_added_while_it_runs_stands_over_all_layers(tmp_path):
    path = tmp_path / "probes.json"
    path.write_text(json.dumps({"probes": {"a": DUMMY, "b": DUMMY}}))

    async def act(instance, client):
        await instance.load("probe", f"file={path}")

        async def stands(key):
            rows = (await client.call("probe.explain", {"key": key}))["layers"]
            return [(row["layer"], row["value"]) for row in rows if row["wins"]][:1]

        await client.call("probe.add", {"name": "c", "record": {**DUMMY, "schedule": "7s"}})
        await client.call("probe.set", {"name": "a", "record": {"schedule": "9s"}})
        assert await stands("probes/c/schedule") == [("added", "7s")]
        assert await stands("probes/a/schedule") == [("added", "9s")]
        assert await stands("probes/b/schedule") == [("file", "1s")]
        assert (await stands("probes/c/overlap"))[0][0] == "defaults"
        assert await stands("nosuch/thing") == []

    followed(act)


def test_all_a_rank_has_is_one_request_and_one_commit(tmp_path):
    path = tmp_path / "probes.json"
    path.write_text(json.dumps({"probes": {f"m{n}": {**DUMMY, "probe": "ping"} for n in range(20)}}))

    async def act(instance, client):
        roots, commits = [], []
        for _ in range(2):
            roots.append((await client.call("kvs.getroot", {"namespace": "primary"}))["rootseq"])
            await instance.load("probe", f"file={path}", "registry=s0")
            commits.append((await client.call("registry.stats-get", {}))["commits"])
            await client.call("module.remove", {"name": "probe"})
        roots.append((await client.call("kvs.getroot", {"namespace": "primary"}))["rootseq"])
        assert commits == [1, 1]  # nothing new the second time
        assert roots[1] - roots[0] == 1 and roots[2] == roots[1]
        listed = await client.call("registry.list", {"collection": "metadata"})
        assert listed["total"] == 40
        [node] = (await client.call("registry.list", {"collection": "nodes"}))["records"]
        assert (node["id"], node["name"]) == ("node-0", "node/0")

    followed(act)


def test_neither_a_registry_nor_a_file_is_told_with_both_names():
    async def act(instance, client):
        with pytest.raises(RequestError, match="no registry for service 's0', and no file") as caught:
            await instance.load("probe", "registry=s0")
        assert caught.value.errno == errno.ENOENT
        for args in (["merge=last"], ["set=["], ["set=[]"], ["fle=x"], ["set=" + "[" * 5000]):
            with pytest.raises(RequestError) as caught:
                await instance.load("probe", *args)
            assert caught.value.errno == errno.EINVAL, args

    followed(act, modules=[])


def test_without_the_registry_nothing_is_read_of_it_and_all_is_told_under_a_new_id(tmp_path):
    """The switch of the notes: a copy of a service is tried out beside it."""
    path = tmp_path / "probes.json"
    path.write_text('{"probes": {"mine": {"probe": "dummy", "schedule": "5s"}}}')

    async def act(instance, client):
        theirs = {"id": "s0", "name": "s0", "probes": {"theirs": {"probe": "dummy"}}}
        await client.call("registry.post", {"collection": "services", "records": [theirs]})
        for wrong in (["no-registry"], ["no-registry", f"file={path}", "registry=s0"]):
            with pytest.raises(
                RequestError, match="no-registry needs file=PATH or set=JSON, and no registry=ID"
            ):
                await instance.load("probe", *wrong)
        await instance.load("probe", f"file={path}", "no-registry")
        names = [one["name"] for one in (await client.call("probe.status"))["measurements"]]
        services = (await client.call("registry.list", {"collection": "services"}))["records"]
        (mine,) = [one["id"] for one in services if one["id"] != "s0"]
        written = {"name": "x", "probes": {"other": {"probe": "dummy"}}}
        await client.call(
            "registry.put", {"collection": "services", "id": mine, "record": written, "if_version": 1}
        )
        await instance.sleep(1)
        after = [one["name"] for one in (await client.call("probe.status"))["measurements"]]
        (told,) = (await client.call("registry.list", {"collection": "measurements"}))["records"]
        return names, after, told["id"] == f"{mine}-0-mine"

    assert followed(act) == (["mine"], ["mine"], True)


@pytest.mark.parametrize(
    ("key", "stands", "value"),
    [
        ("probes/a/schedule", "file (probe_defaults)", "5s"),
        ("probes/b/schedule", "registry", "1s"),
        ("probes/a/overlap", "defaults", "skip"),
        ("probes/a/reporting/every_n", "registry (probe_defaults)", 7),
        ("probes/a/reporting/on_stop", "defaults", True),
        ("probes/a/config/core", None, None),
        ("merge", "defaults", "registry-wins"),
        ("probes/a/schedule/params/every", None, None),  # what is built in is replaced whole
    ],
)
def test_where_a_key_of_a_measurement_comes_from_that_it_does_not_say_itself(key, stands, value):
    layers = {
        "file": {
            "probe_defaults": {"schedule": "5s"},
            "probes": {"a": {"probe": "cpu"}, "b": {"probe": "cpu"}},
        },
        "registry": {"probe_defaults": {"reporting": {"every_n": 7}}, "probes": {"b": {"schedule": "1s"}}},
    }
    rows = explained("registry-wins", layers, key)
    found = [(row["layer"], row["value"]) for row in rows if row["wins"]]
    assert found == ([(stands, value)] if stands else [])
    assert rows[-1]["layer"] == "defaults"
