"""The resource module: where its R comes from, what it remembers, what schedulers make of it."""

from __future__ import annotations

import json
import re

import pytest

from brokersim.brokermod import RequestError, Resources, errnums, jobid, treeobj
from modules.resource.inventory import check_r, configured_r, simulated_r, without
from tests.modules.job_harness import attributes, in_instance, jobspec, outcome, submit

#: What the log says of nodes that nobody configured.
FOUND = "dynamic-discovery"
R = {
    "version": 1,
    "execution": {
        "R_lite": [
            {"rank": "0-1", "children": {"core": "0-1"}},
            {"rank": "3", "children": {"core": "0-7", "gpu": "0"}},
        ],
        "nodelist": ["fake[0-1],big"],
        "properties": {"fat": "3"},
        "starttime": 0.0,
        "expiration": 0.0,
    },
}


def lite(entry):
    return {"version": 1, "execution": {"R_lite": [entry], "nodelist": ["a"]}}


def test_hosts_stand_at_their_ranks_and_what_is_no_r_is_named():
    assert check_r(R) == ("fake0", "fake1", "", "big")
    for broken, says in (
        ({}, "not R version 1"),
        ({**R, "version": 2}, "not R version 1"),
        ({"version": 1, "execution": {"R_lite": [], "nodelist": []}}, "at least one node"),
        ({"version": 1, "execution": {**R["execution"], "nodelist": ["a"]}}, "names 1 hosts for 3 nodes"),
        ({"version": 1, "execution": {"R_lite": [{"rank": "x"}], "nodelist": []}}, "not a set of ranks"),
        (lite({"rank": "0"}), "children"),
        (lite({"rank": "0", "children": 5}), "values"),
        (lite({"rank": "0", "children": {"core": "x"}}), "not a set of ranks"),
        (lite({"rank": "0", "children": {"core": "0-99999999999"}}), "99999999999"),
        ({**R, "execution": {**R["execution"], "properties": {"x": "zz"}}}, "not a set of ranks"),
        ({**R, "execution": {**R["execution"], "properties": ["x"]}}, "items|values"),
    ):
        with pytest.raises(ValueError, match=says):
            check_r(broken)


def test_simulated_nodes_are_called_as_the_brokers_where_there_are_as_many():
    assert check_r(simulated_r("3x2", "node[7-9]", "virtual")) == ("node7", "node8", "node9")
    assert check_r(simulated_r("3x2", "sim0", "virtual")) == ("sim0", "sim1", "sim2")
    assert check_r(simulated_r(None, "sim0", "virtual")) == ("sim0",), "the same bytes on every host"


def test_configured_resources_add_up_by_host():
    r = configured_r([
        {"hosts": "n[0-2]", "cores": "0-3", "properties": ["all"]},
        {"hosts": "n1", "gpus": "0-1", "properties": ["gpu"]},
    ])  # fmt: skip
    assert check_r(r) == ("n0", "n1", "n2")
    assert r["execution"]["R_lite"][1]["children"] == {"core": "0-3", "gpu": "0-1"}
    assert r["execution"]["properties"] == {"all": "0-2", "gpu": "1"}
    with pytest.raises(ValueError, match=r"resource\.config: .*hosts"):
        configured_r([{"cores": "0"}])


async def reload_with(instance, client, r):
    """Other resources, as Flux's tests give them: R in the KVS, the scheduler away meanwhile."""
    put = {"key": "resource.R", "flags": 0, "dirent": treeobj.val(json.dumps(r).encode())}
    await client.call("kvs.commit", {"namespace": "primary", "flags": 0, "ops": [put]})
    await instance.remove("sched")
    await instance.remove("resource")
    await instance.load("resource", "noverify")
    await instance.load("sched")


def test_r_in_the_kvs_is_what_the_module_has_when_it_is_loaded_again_and_jobs_get_it():
    async def test(instance, client):
        await reload_with(instance, client, R)
        fat = await submit(client, jobspec(cores=6, constraints={"properties": ["fat"]}))
        spread = await submit(client, jobspec(nodes=3, cores=2))
        told = [(await outcome(client, job))["success"] for job in (fat, spread)]
        status = (await client.call("resource.status"))["online"]
        return told, [await attributes(client, job) for job in (fat, spread)], status

    told, (fat, spread), online = in_instance(test)
    assert told == [True, True]
    assert (fat["ranks"], fat["nodelist"]) == ("3", "big")
    assert (spread["ranks"], spread["nodelist"]) == ("[0-1,3]", "fake[0-1],big")
    assert online == "0-1,3"


async def looked_up(client, key):
    try:
        answer = await client.call("kvs.lookup", {"key": key, "namespace": "primary", "flags": 0})
    except RequestError as error:
        return error.errno
    return json.loads(treeobj.val_bytes(answer["val"]))


def test_what_r_holds_for_schedulers_goes_on_to_each_job_also_when_resources_came_back():
    async def test(instance, client):
        await reload_with(instance, client, R | {"scheduling": {"graph": [1]}})
        found = []
        for _ in range(2):
            job = await submit(client, jobspec(cores=1))
            r = await looked_up(client, jobid.job_kvspath(job, "R"))
            found.append(r["scheduling"])
        return found, (await client.call("sched.resource-status"))["all"].keys()

    assert in_instance(test) == ([{"graph": [1]}] * 2, {"version", "execution"})


def test_a_job_that_would_outlast_the_resources_is_refused_once_r_in_the_kvs_tells_their_end():
    async def put(client, r):
        ops = [{"key": "resource.R", "flags": 0, "dirent": treeobj.val(r)}]
        await client.call("kvs.commit", {"namespace": "primary", "flags": 0, "ops": ops})
        await client.call("kvs-watch.stats-get")  # behind what it has sent

    async def refused(client, seconds):
        try:
            await submit(client, jobspec(duration=seconds))
        except RequestError as error:
            return re.sub(r"\((60|5\d)s\)$", "(less than 1m)", error.text)
        return ""

    async def test(instance, client):
        r = await client.call("resource.get")
        ends = r["execution"] | {"expiration": client.time() + 60}
        told = [await refused(client, 3600)]
        for put_there in (json.dumps(r | {"execution": ends}).encode(), b"none"):
            await put(client, put_there)
            told += [await refused(client, seconds) for seconds in (0, 30, 3600)]
        await put(client, json.dumps(r | {"execution": ends | {"expiration": 1.0}}).encode())
        log = [line for line in instance.broker(0).log.lines() if "duration-validator" in line]
        return [*told, await refused(client, 1)], len(log)

    late = "job duration (1h) exceeds remaining instance lifetime (less than 1m)"
    over = "duration exceeds instance lifetime"
    assert in_instance(test, clock="real") == (["", "", "", late, "", "", late, over], 3)


def test_r_that_nests_too_deep_to_be_read_is_used_by_nobody_and_ends_no_module(tmp_path):
    deep = b'{"execution":{},"scheduling":' + b"[" * 5000 + b"]" * 5000 + b"}"
    path = tmp_path / "R"
    path.write_bytes(deep)

    async def test(instance, client):
        ops = [{"key": "resource.R", "flags": 0, "dirent": treeobj.val(deep)}]
        await client.call("kvs.commit", {"namespace": "primary", "flags": 0, "ops": ops})
        await client.call("kvs-watch.stats-get")  # behind what it has sent
        await submit(client)
        for name in ("sched", "resource"):
            await instance.remove(name)
        await instance.load("resource")
        with pytest.raises(RequestError, match="recursion"):
            await client.call("resource.reload", {"path": str(path), "xml": False, "force": False})
        return (await client.call("resource.get"))["version"]

    assert in_instance(test, clock="real") == 1


@pytest.mark.parametrize(("clock", "shown"), [("real", True), ("virtual", False)])
def test_r_stands_in_the_kvs_from_the_start_in_real_time_only(clock, shown):
    async def test(_instance, client):
        root = await client.call("kvs.getroot", {"namespace": "primary"})
        kept = (await client.call("content-sqlite.stats-get"))["checkpoints"]
        assert [one["value"]["rootref"] for one in kept] == [root["rootref"]] * shown
        log = await looked_up(client, "resource.eventlog")
        if shown:
            log = [log["name"], log["context"]]
        return await looked_up(client, "resource.R"), log, await client.call("resource.get"), root["rootseq"]

    in_kvs, log, r, version = in_instance(test, clock=clock)
    told = ["resource-define", {"method": FOUND}]
    assert (in_kvs, log, version) == ((r, told, 1) if shown else (errnums.ENOENT, errnums.ENOENT, 0))


def test_the_kvs_tells_of_each_life_where_its_resources_were_from_and_the_journal_of_this_one(tmp_path):
    async def wish(instance, client):
        await reload_with(instance, client, R)
        return await define_methods(instance, client)

    kept = {"clock": "real", "state_dir": tmp_path}
    assert [in_instance(test, **kept) for test in (define_methods, wish, define_methods)] == [
        ([FOUND], [FOUND]),
        ([FOUND, FOUND, "kvs"], ["kvs"]),
        ([FOUND, FOUND, "kvs", "kvs"], ["kvs"]),
    ]


async def define_methods(instance, client):
    """The methods that the log in the KVS and the journal tell of."""
    answer = await client.call("kvs.lookup", {"namespace": "primary", "key": "resource.eventlog", "flags": 0})
    kept = [json.loads(line) for line in treeobj.val_bytes(answer["val"]).splitlines()]
    told = []
    client.stream("resource.journal", None, lambda response, _: told.extend(response.data["events"]))
    await client.call("resource.get")
    return tuple(
        [one["context"]["method"] for one in log if one["name"] == "resource-define"] for log in (kept, told)
    )


def test_without_a_backing_store_r_is_in_the_kvs_and_there_is_no_checkpoint():
    async def test(instance, client):
        await instance.remove("resource")
        await instance.remove("content-sqlite")
        ops = [{"key": "resource", "flags": 0, "dirent": None}]
        await client.call("kvs.commit", {"namespace": "primary", "flags": 0, "ops": ops})
        await instance.load("resource")
        return await looked_up(client, "resource.R") == await client.call("resource.get")

    assert in_instance(test, clock="real")


def test_r_that_nobody_put_there_follows_the_settings_of_the_next_life_and_a_wish_does_not(tmp_path):
    async def cores(_instance, client):
        r = await client.call("resource.get")
        assert await looked_up(client, "resource.R") == r
        return r["execution"]["R_lite"][0]["children"]["core"]

    async def wish(instance, client):
        await reload_with(instance, client, R)
        return await cores(instance, client)

    lives = [("1x4", cores), ("1x2", cores), ("1x2", wish), ("1x8", cores)]
    kept = {"clock": "real", "state_dir": tmp_path}
    assert [in_instance(test, resources=asked, **kept) for asked, test in lives] == [
        "0-3",
        "0-1",
        "0-1",
        "0-1",
    ]


@pytest.mark.parametrize("key", ["resource.R", "resource.R-made", "resource.eventlog"])
def test_a_folder_where_r_would_be_is_told_and_stops_no_start(tmp_path, key):
    async def make(_instance, client):
        ops = [
            {"key": key, "flags": 0, "dirent": None},
            {"key": f"{key}.x", "flags": 0, "dirent": treeobj.val(b"1")},
        ]
        await client.call("kvs.commit", {"namespace": "primary", "flags": 0, "ops": ops})

    async def look(instance, client):
        nodes = (await client.call("resource.get"))["execution"]["R_lite"]
        log = instance.broker(0).log.lines()
        return nodes[0]["children"]["core"], any(f"{key} in the KVS is not used" in line for line in log)

    kept = {"clock": "real", "state_dir": tmp_path, "resources": "1x3"}
    in_instance(make, **kept)
    assert in_instance(look, **kept) == ("0-2", True)


def test_an_expiration_is_no_less_than_nothing():
    async def test(_instance, client):
        await client.call("resource.expiration-update", {"expiration": 0})
        with pytest.raises(RequestError, match="no less than 0"):
            await client.call("resource.expiration-update", {"expiration": -1})

    in_instance(test)


def test_drained_nodes_are_drained_in_the_next_life_of_the_module():
    async def test(instance, client):
        await client.call("resource.drain", {"targets": "1-2", "reason": "fans"})
        await client.call("resource.undrain", {"targets": "2"})
        before = (await client.call("resource.status"))["drain"]
        await instance.remove("sched")
        await instance.remove("resource")
        await instance.load("resource")
        await instance.load("sched")
        down = (await client.call("resource.sched-status"))["down"]["execution"]["R_lite"]
        return before, (await client.call("resource.status"))["drain"], down[0]["rank"]

    before, after, down = in_instance(test, resources="4x1")
    assert after == before and list(before) == ["1"]
    assert down == "1"


def test_other_resources_are_loaded_from_a_file_while_no_scheduler_has_them(tmp_path):
    path = tmp_path / "R"
    path.write_text(json.dumps(R))

    async def test(instance, client):
        wish = {"path": str(path), "xml": False, "force": False}
        with pytest.raises(RequestError, match="resources are busy"):
            await client.call("resource.reload", wish)
        await instance.remove("sched")
        await client.call("resource.reload", wish)
        await instance.load("sched")
        return (await client.call("resource.sched-status"))["all"]["execution"]["nodelist"]

    assert in_instance(test) == ["fake[0-1],big"]


def test_the_journal_tells_that_resources_were_configured():
    async def test(_instance, client):
        told = []
        client.stream("resource.journal", None, lambda response, _: told.extend(response.data["events"]))
        await client.call("resource.get")
        return [one["context"]["method"] for one in told if one["name"] == "resource-define"]

    conf = {"resource": {"config": [{"hosts": "n0", "cores": "0-3"}]}}
    assert in_instance(test, conf=conf) == ["configuration"]


def test_a_table_resource_with_an_unknown_key_is_refused():
    async def test(_instance, client):
        await client.call("config.load", {"resource": {"noverify": True}})
        with pytest.raises(RequestError, match="unknown key 'foo'") as refused:
            await client.call("config.load", {"resource": {"foo": 42}})
        return refused.value.errno

    assert in_instance(test) == errnums.EINVAL


def test_an_expiration_is_taken_on_rank_0_only():
    async def test(_instance, client):
        await client.call("module.load", {"path": "resource", "args": []}, nodeid=1)
        with pytest.raises(RequestError, match="only available on rank 0") as refused:
            await client.call("resource.expiration-update", {"expiration": 5}, nodeid=1)
        return refused.value.errno

    assert in_instance(test, size=2) == errnums.ENOSYS


def test_a_muted_scheduler_is_told_of_no_changes():
    async def test(_instance, client):
        await client.call("resource.acquire-mute")
        await client.call("resource.drain", {"targets": "0", "reason": "late"})
        job = await submit(client, jobspec(nodes=2))
        return (await outcome(client, job))["success"], (await client.call("resource.status"))["drain"].keys()

    assert in_instance(test, resources="2x1") == (True, {"0"})


def test_excluded_nodes_are_not_given_out():
    async def test(_instance, client):
        job = await submit(client, jobspec(nodes=2))
        await outcome(client, job)
        status = await client.call("resource.status")
        return (await attributes(client, job))["ranks"], status["exclude"]

    conf = {"resource": {"exclude": "0-1"}}
    assert in_instance(test, resources="4x1", conf=conf) == ("[2-3]", "0-1")


async def anew(instance, client, exclude):
    """The scheduler and the resources are loaded anew, with these nodes excluded."""
    await instance.remove("sched")
    await instance.remove("resource")
    await client.call("config.load", {"resource": {"exclude": exclude}} if exclude else {})
    await instance.load("resource")
    await instance.load("sched")
    await instance.sleep(1)


@pytest.mark.parametrize("exclude", ["0", "0-1"])
def test_a_job_ends_whose_node_is_excluded_when_a_scheduler_comes_and_later_ones_run(exclude):
    async def test(instance, client):
        job = await submit(client, jobspec(nodes=1, duration=1e6))
        await instance.sleep(1)
        await anew(instance, client, exclude)
        answer = await outcome(client, job)
        held = (await client.call("sched.stats-get"))["cores"]["allocated"]
        there = await client.call("resource.sched-status")
        await anew(instance, client, "")
        return answer["errstr"], held, there, (await outcome(client, await submit(client, jobspec(nodes=2))))

    why, held, there, last = in_instance(test, resources="2x1")
    assert why == "Fatal exception type=scheduler-restart failed to reallocate R for running job"
    assert (held, last["success"]) == (0, True)
    assert [entry["rank"] for entry in there["all"]["execution"]["R_lite"]] == ["1"] * (exclude == "0")


def test_a_scheduler_knows_nothing_of_what_was_excluded_when_it_came_whatever_comes_later():
    async def test(_instance, client):
        told = []
        await client.call("module.remove", {"name": "sched"})
        client.stream("resource.acquire", None, lambda response, _: told.append(response.payload))
        await client.call("config.load", {"resource": {"exclude": "3"}})
        await client.call("config.load", {})
        await client.call("resource.drain", {"targets": "1"})
        await client.call("resource.drain", {"targets": "0"})
        await client.call("resource.status")
        return told

    first, *changes = in_instance(test, resources="4x1", conf={"resource": {"exclude": "1"}})
    assert ([entry["rank"] for entry in first["resources"]["execution"]["R_lite"]], first["up"]) == (
        ["0,2-3"], "0,2-3",
    )  # fmt: skip
    assert first["resources"]["execution"]["nodelist"] == ["sim[0,2-3]"]
    assert changes == [{"down": "3"}, {"up": "3"}, {"down": "0"}]


def test_properties_of_excluded_nodes_go_with_them():
    r = Resources.parse("2x1").to_r()
    r["execution"]["properties"] = {"big": "0", "all": "0-1"}
    assert without(r, [0])["execution"]["properties"] == {"all": "1"}
    assert without(r, []) is r


def test_a_module_argument_that_is_none_is_named():
    async def test(instance, _client):
        await instance.remove("sched")
        await instance.remove("resource")
        with pytest.raises(RequestError, match="unknown argument 'nosuch'"):
            await instance.load("resource", "nosuch")

    in_instance(test)


async def put(client, key, value):
    ops = [{"key": key, "flags": 0, "dirent": treeobj.val(value)}]
    await client.call("kvs.commit", {"namespace": "primary", "flags": 0, "ops": ops})


async def reloaded(client, log):
    """What is drained once the module has found that log."""
    for name in ("sched", "resource"):
        await client.call("module.remove", {"name": name})
    await put(client, "resource.eventlog", log)
    await client.call("module.load", {"path": "resource", "args": []})
    return (await client.call("resource.status"))["drain"]


def drained(**context):
    return json.dumps({"timestamp": 5.0, "name": "drain", "context": context}).encode() + b"\n"


@pytest.mark.parametrize(
    ("log", "found"),
    [
        (drained(idset="0", nodelist="sim[1-2]", reason="x"), {"1-2": {"timestamp": 5.0, "reason": "x"}}),
        (drained(idset="0", nodelist="sim[2-9]", reason="x"), {"2": {"timestamp": 5.0, "reason": "x"}}),
        (drained(idset="42", nodelist="sim42", reason="x"), {}),
        (drained(idset="1", reason="x"), {"1": {"timestamp": 5.0, "reason": "x"}}),
    ],
)
def test_a_drained_node_is_known_again_by_its_host(log, found):
    async def test(_instance, client):
        return await reloaded(client, log)

    assert in_instance(test, resources="3x4") == found


@pytest.mark.parametrize("log", [b"{}\n", b"{", drained()])
def test_a_log_that_makes_no_sense_keeps_the_module_from_loading(log):
    async def test(_instance, client):
        with pytest.raises(RequestError, match=r"resource\.eventlog in the KVS") as refused:
            await reloaded(client, log)
        return refused.value.errno

    assert in_instance(test) == 22


def test_an_excluded_node_is_not_drained_nor_can_it_be():
    async def test(_instance, client):
        await client.call("resource.drain", {"targets": "0-1", "reason": "x"})
        await client.call("config.load", {"resource": {"exclude": "0"}})
        drained = (await client.call("resource.status"))["drain"]
        texts = []
        for targets, mode in (("0", "force-overwrite"), ("0-1", "")):
            with pytest.raises(RequestError) as refused:
                await client.call("resource.drain", {"targets": targets, "reason": "y", "mode": mode})
            texts.append(refused.value.text)
        await client.call("config.load", {})
        return list(drained), texts, list((await client.call("resource.status"))["drain"])

    drained, texts, after = in_instance(test, resources="3x4")
    assert drained == after == ["1"]
    assert texts == ["rank 0 already excluded", "ranks 0-1 already drained or excluded"]


def test_ranks_that_are_not_there_are_out_of_range():
    async def test(_instance, client):
        with pytest.raises(RequestError, match="idset is out of range: there are ranks 0-2"):
            await client.call("resource.drain", {"targets": "0-3", "reason": "x"})

    in_instance(test, resources="3x4")


def test_each_event_of_the_log_is_behind_the_one_before_and_all_ranks_come_online():
    async def test(_instance, client):
        events = []
        answers, done = [], []
        client.stream("resource.journal", None, lambda response, _: answers.append(response.data))
        await client.call("resource.get")
        for answer in answers:
            events += answer["events"] if answer else done
        return [(event["name"], event["context"].get("idset")) for event in events], [
            event["timestamp"] for event in events
        ]

    names, times = in_instance(test, resources="3x2")
    assert names == [("restart", None), ("online", "0"), ("resource-define", None), ("online", "1-2")]
    assert times == sorted(set(times))
