"""job-ingest as a module: ids that only grow, its arguments, other ranks, and a job manager that is not there."""

from __future__ import annotations

import msgspec
import pytest

from brokersim.brokermod import RequestError, errnums, jobid
from tests.modules.job_harness import envelope, in_instance, jobspec, outcome, submit

NAME = {"name": "job-ingest"}


async def loaded(client, *args, rank=0):
    await client.call("module.load", {"path": "job-ingest", "args": list(args)}, nodeid=rank)


def test_a_reloaded_job_ingest_makes_larger_ids_and_tells_their_time():
    async def test(_instance, client):
        first = await submit(client)
        await client.call("module.remove", NAME)
        await loaded(client)
        info = await client.call("job-ingest.getinfo")
        return first, await submit(client), info["timestamp"]

    first, second, timestamp = in_instance(test)
    assert second > first and timestamp >= jobid.split(first)[0]


def test_ids_are_above_those_of_the_job_manager_that_is_there_first():
    async def test(_instance, client):
        for name in ("job-ingest", "job-manager"):
            await client.call("module.remove", {"name": name})
        await loaded(client)
        with pytest.raises(RequestError, match="job-manager: ") as early:
            await submit(client)
        await client.call("module.load", {"path": "job-manager", "args": []})
        return early.value.errno, (await outcome(client, await submit(client)))["success"]

    assert in_instance(test) == (errnums.ENOSYS, True)


def test_another_rank_takes_jobs_by_its_own_generator_unless_it_may_not():
    async def test(instance, client):
        await loaded(client, "max-fluid-generator-id=1", rank=1)
        await loaded(client, "max-fluid-generator-id=1", rank=2)
        await instance.sleep(0.1)
        answer = await client.call("job-ingest.submit", {"J": envelope(jobspec())}, nodeid=1)
        names = [[module.name for module in instance.modules(rank)] for rank in (1, 2)]
        return jobid.split(answer["id"])[1], ["job-ingest" in each for each in names]

    assert in_instance(test, size=3) == (1, [True, False])


def test_so_many_jobs_are_handed_on_without_waiting_for_more():
    async def test(_instance, client):
        await client.call("module.remove", NAME)
        await loaded(client, "batch-count=2")
        took = []
        for spec in (jobspec(), jobspec()):
            client.request(
                "job-ingest.submit", {"J": envelope(spec)}, lambda *_: took.append(client.now()), None
            )
        before = client.now()
        await client.sleep(0.05)
        return [round(at - before, 3) for at in took]

    # The window of the job manager, whose first event is committed before it answers; none of job-ingest.
    assert in_instance(test) == [0.01, 0.01]


@pytest.mark.parametrize(
    ("arg", "says"),
    [
        ("badopt=xyz", "unknown argument 'badopt=xyz'; there are batch-count"),
        ("batch-count=-1", "give a number from 0"),
        ("max-fluid-generator-id=16384", "give a number from 0 to 16383"),
        (
            "validator-plugins=jobspec,mine",
            "no plugin 'mine'; there are jobspec, feasibility, require-instance",
        ),
        ("validator-args=--foo", "unknown argument '--foo'; there are --require-version"),
    ],
)
def test_arguments_that_are_none_are_named(arg, says):
    async def test(_instance, client):
        await client.call("module.remove", NAME)
        with pytest.raises(RequestError, match=says):
            await loaded(client, arg)

    in_instance(test)


def test_jobspecs_of_other_versions_are_passed_on_only_if_that_is_asked_for():
    async def test(_instance, client):
        texts = []
        for args in ((), ("validator-plugins=jobspec", "validator-args=--require-version=any")):
            await client.call("module.remove", NAME)
            await loaded(client, *args)
            with pytest.raises(RequestError) as refused:
                await submit(client, {**jobspec(), "version": 999, "resources": []})
            texts.append(refused.value.text)
        return texts

    alone, passed_on = in_instance(test)
    assert "version must be 1, not 999" in alone
    # The job manager, whoever it is, has the last word; ours knows version 1 only.
    assert "version must be 1, not 999" in passed_on


async def refusals(client, *specs, **more):
    """The text of each jobspec's refusal, "" where it is taken."""
    texts = []
    for spec in specs:
        try:
            await submit(client, spec, **more)
            texts.append("")
        except RequestError as error:
            texts.append(error.text)
    return texts


def ingest(**validator):
    return {"ingest": {"validator": validator}}


def test_what_can_never_run_is_no_job_where_the_scheduler_is_asked_first():
    async def test(_instance, client):
        specs = jobspec(nodes=5), jobspec(slots=99), jobspec()
        told = [await refusals(client, *specs)]
        await client.call("config.load", ingest(plugins=["feasibility", "jobspec"]))
        told.append(await refusals(client, *specs))
        told.append(await refusals(client, *specs, flags=8))
        await client.call("config.load", ingest(plugins=["feasibility"], disable=True))
        told.append(await refusals(client, *specs))
        await client.call("config.load", ingest(plugins=["feasibility"]))
        await client.call("module.remove", {"name": "sched"})
        told.append(await refusals(client, *specs))
        return told

    told = in_instance(test)
    assert told[:1] + told[2:] == [[""] * 3] * 4
    assert [text[:21] for text in told[1]] == ["unsatisfiable request"] * 2 + [""]


def test_a_constraint_by_hosts_that_are_not_there_is_refused_at_once_unless_jobspecs_are_not_validated():
    async def told(client, constraints, **more):
        try:
            await submit(client, jobspec(constraints=constraints), **more)
        except RequestError as error:
            return error.errno, error.text
        return "taken"

    async def test(instance, client):
        inner = {"and": [{"not": [{"hostlist": ["sim[1-2]"]}]}, {"properties": ["x"]}]}
        found = [await told(client, {"hostlist": ["sim0", "sim[1-3]"]}), await told(client, inner)]
        found += [await told(client, {"or": [inner, {"hostlist": ["sim[3-9]"]}]})]
        found += [await told(client, {"hostlist": ["far"]}, flags=8)]
        await instance.remove("job-ingest")
        await instance.load("job-ingest", "disable-validator")
        return [*found, await told(client, {"hostlist": ["far"]})]

    def lost(host):
        return errnums.EPERM, f"host constraint contains invalid hosts: host {host!r} not found"

    assert in_instance(test, resources="3x4") == [lost("sim3"), "taken", lost("sim3"), "taken", "taken"]


@pytest.mark.parametrize(
    "constraints",
    [
        5,
        {"hostlist": 5},
        {"hostlist": "far"},
        {"hostlist": [5, "far["]},
        {"and": 5},
        {"or": [5]},
        {"not": {}},
    ],
)
def test_a_constraint_that_is_none_is_the_schedulers_to_refuse(constraints):
    async def test(instance, client):
        found = await outcome(client, await submit(client, jobspec(constraints=constraints)))
        await instance.remove("job-ingest")
        any_version = "validator-plugins=jobspec", "validator-args=--require-version=any"
        await instance.load("job-ingest", *any_version)
        odd = [{**jobspec(), "version": 2, "attributes": part} for part in ([1], {"system": constraints})]
        return found["success"], await refusals(client, *odd, jobspec())

    success, (*odd, sound) = in_instance(test)
    assert not success and sound == "" and all("version must be 1" in text for text in odd)


def test_jobs_of_a_size_must_be_instances_where_that_is_asked_for():
    async def test(_instance, client):
        await client.call("module.remove", NAME)
        await loaded(client, "validator-plugins=require-instance")
        flux = [
            jobspec(*words)
            for words in (("/bin/flux", "start"), ("flux", "broker"), ("flux", "run"), ("true",))
        ]
        told = [await refusals(client, *flux, jobspec(batch={}))]
        least = {"require-instance": {"minnodes": 2}}
        await client.call("config.load", ingest(**least))
        sizes = jobspec(nodes=1), jobspec(slots=31), jobspec(slots=32), jobspec(nodes=2)
        told.append(await refusals(client, *sizes))
        await client.call("config.load", ingest(args=["--require-instance-mincores=4"], **least))
        told.append(await refusals(client, *sizes, jobspec(slots=3)))
        return told

    why = "Direct job submission disabled{} (ingest.validator: require-instance)".format
    assert in_instance(test) == [
        ["", "", why(""), why(""), ""],
        ["", "", *[why(" for jobs >= 2 nodes or 32 cores")] * 2],
        ["", *[why(" for jobs >= 2 nodes or 4 cores")] * 3, ""],
    ]


@pytest.mark.parametrize(
    ("table", "says"),
    [
        ({"buffer-size": "10f"}, "Invalid buffer-size: '10f'; give bytes, as in 10M"),
        ({"batch-count": -1}, "ingest.batch-count"),
        ({"validator": {"foo": 42}}, "unknown field `foo`"),
        ({"validator": {"args": "--require-version=1"}}, "ingest.validator.args"),
        ({"validator": {"args": [1]}}, "ingest.validator.args"),
        ({"validator": {"plugins": [42]}}, "ingest.validator.plugins"),
        ({"validator": {"plugins": ["/a/mine.py"]}}, "no plugin '/a/mine.py'"),
        ({"frobnicator": {"plugins": ["mine"]}}, "no plugin 'mine'; there are defaults, constraints"),
        ({"validator": {"require-instance": {"minnodes": -1}}}, "minnodes"),
    ],
)
def test_a_table_that_cannot_be_is_refused_and_jobs_go_on(table, says):
    async def test(_instance, client):
        with pytest.raises(RequestError, match=says) as refused:
            await client.call("config.load", {"ingest": table})
        return refused.value.errno, await refusals(client, jobspec())

    assert in_instance(test) == (errnums.EINVAL, [""])


def test_what_is_checked_is_told_in_the_log_and_arguments_come_before_the_configuration():
    async def test(instance, client):
        await client.call(
            "config.load", ingest(plugins=["jobspec"], args=["--require-version=1"], disable=True)
        )
        await client.call("module.remove", NAME)
        await loaded(client, "validator-plugins=feasibility,jobspec", "disable-frobnicator")
        await client.call("config.load", {})
        texts = [
            line["message"] if isinstance(line, dict) else str(line)
            for line in instance.broker(0).log.lines()
        ]
        return [text.partition(" with ")[2] for text in texts if "configuring validator" in text]

    assert in_instance(test) == [
        "plugins=(null), args=(null) (enabled)",
        "plugins=jobspec, args=--require-version=1 (disabled)",
        "plugins=feasibility,jobspec, args=--require-version=1 (disabled)",
        "plugins=feasibility,jobspec, args=(null) (enabled)",
    ]


def test_defaults_are_not_filled_in_where_the_frobnicator_is_disabled():
    async def test(_instance, client):
        defaults = {"policy": {"jobspec": {"defaults": {"system": {"duration": "5s"}}}}}
        found = []
        for frobnicator in ({"plugins": ["defaults"]}, {"disable": True}):
            await client.call("config.load", {**defaults, "ingest": {"frobnicator": frobnicator}})
            job = await submit(client, jobspec(duration=0), urgency=0)
            answer = await client.call("job-manager.getattr", {"id": job, "attrs": ["jobspec"]})
            found.append(answer["jobspec"]["attributes"]["system"]["duration"])
        return found

    assert in_instance(test) == [5.0, 0]


STRANGE = """
from brokersim.brokermod import BrokerModule, request_handler

class JobManager(BrokerModule):
    @request_handler("getinfo")
    def getinfo(self, msg):
        self.handle.respond(msg, {"max_jobid": 16777216000000})

    @request_handler("submit")
    def submit(self, msg):
        self.handle.respond(msg, {ANSWER})
"""


@pytest.mark.parametrize(("answer", "fails"), [("None", False), ("{}", False), ('{"errors": 5}', True)])
def test_whoever_takes_the_jobs_may_say_nothing_or_nonsense(tmp_path, answer, fails):
    file = tmp_path / "job-manager.py"
    file.write_text(STRANGE.replace("{ANSWER}", answer))

    async def test(_instance, client):
        await loaded(client)
        if not fails:
            return await submit(client)
        with pytest.raises(RequestError, match="makes no sense") as refused:
            await submit(client)
        return refused.value.errno

    modules = ("content-cache", "content-sqlite", "kvs", str(file))
    found = in_instance(test, modules=modules)
    assert found == errnums.EPROTO if fails else jobid.split(found)[0] > 1_000_000


def test_a_jobspec_that_nests_too_deep_for_those_who_read_it_later_is_refused():
    deep = msgspec.json.encode(jobspec(deep="")).replace(b'""', b"[" * 900 + b"]" * 900)

    async def test(_instance, client):
        return await refusals(client, deep, jobspec())

    assert in_instance(test) == ["jobspec nests objects and lists at most 64 deep", ""]
