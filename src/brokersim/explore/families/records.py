"""Knows the records of jobs as clients see them: logs and the journal, followed as they grow, and lists of jobs."""

from __future__ import annotations

import random
from collections.abc import Mapping

import msgspec

from brokersim.explore.families import joblogs, jobs
from brokersim.explore.families.family import Family
from brokersim.explore.families.joblogs import Log, succeeded, when
from brokersim.explore.plan import Step
from brokersim.explore.world import Asked, Client, World
from brokersim.protocol.decoded import JsonObject
from brokersim.protocol.errnums import ENODATA, ENOENT, RequestError, errname
from brokersim.protocol.job_states import State as JobState
from brokersim.protocol.message import FLAG_STREAMING

_WAITCREATE = 1
_MAIN, _GUEST = "eventlog", "guest.exec.eventlog"
#: The id of no job: those of an instance begin at 1 << 24.
_NOBODY = 1
#: Seconds after its submission, of a short job: it starts, it runs, its log moves, it has ended.
_COURSE = (0.0, 0.01, 0.02, 0.03, 0.05)
#: What it takes of jobs, so that there are records.
_JOBS = ("submit", "cancel", "after", "kill")
_STATES = (0, JobState.RUN, JobState.CLEANUP, JobState.INACTIVE)


def _follow(rng: random.Random, number: int) -> JsonObject:
    which, path = jobs.one(rng, number), rng.choice((_MAIN, _GUEST))
    return {**which, "later": rng.choice(_COURSE), "path": path}


def _unfollow(rng: random.Random, number: int) -> JsonObject:
    return {**_follow(rng, number), "after": rng.choice((0.0, 0.01, 0.1))}


def _list(rng: random.Random, number: int) -> JsonObject:
    return {**jobs.one(rng, number), "state": int(rng.choice(_STATES))}


def _none(_rng: random.Random, _: int) -> JsonObject:
    return {}


def _do_follow(world: World, step: Step) -> None:
    jobs.with_job(
        world, step, lambda job: _follow_log(world, step, job, step.args["path"], world.client(step))
    )


def _follow_log(
    world: World, step: Step, job: int, path: str, client: Client, *, may_wait: bool = False
) -> Asked:
    """A job of an earlier life may have got lost with it, and whoever follows its log then waits for good."""
    payload = {"id": job, "path": path, "flags": _WAITCREATE}
    return world.ask(
        step,
        "job-info.eventlog-watch",
        payload,
        flags=FLAG_STREAMING,
        client=client,
        may_wait=may_wait or bool(world.life),
    )


def _do_unfollow(world: World, step: Step) -> None:
    """One client follows both logs of a job, and gives one of them up: the other goes on."""

    def ask(job: int) -> None:
        client = world.client(step)
        paths = (_MAIN, _GUEST) if step.args["path"] == _MAIN else (_GUEST, _MAIN)
        both = [_follow_log(world, step, job, path, client) for path in paths]
        world.instance.reactor.call_later(step.args["after"], _give_up, world, both[0])

    jobs.with_job(world, step, ask)


def _give_up(world: World, follow: Asked) -> None:
    if follow.client.is_open and follow.answered is None:
        world.kept.setdefault("given up", []).append(follow)
        cancel = {"matchtag": follow.matchtag}
        follow.client.request("job-info.eventlog-watch-cancel", cancel)


def _do_ahead(world: World, step: Step) -> None:
    """Follow the log of a job that nobody has submitted: whoever may wait for it waits, and is told nothing.

    On rank 0: of a client whose rank is lost nobody tells job-info, in Flux as here, and this log has no end.
    """
    _follow_log(world, step, _NOBODY, _MAIN, world.client(step, 0), may_wait=True)


def _do_list(world: World, step: Step) -> None:
    """When the job has come to a state, or is over."""

    def ask(job: int) -> None:
        payload = {"id": job, "attrs": ["state", "result"], "state": step.args["state"]}
        world.ask(step, "job-list.list-id", payload, may_wait=True)

    jobs.with_job(world, step, ask)


def _do_journal(world: World, step: Step) -> None:
    world.ask(step, "job-manager.events-journal", {}, flags=FLAG_STREAMING, nodeid=0)


async def _check(world: World) -> list[str]:
    if not joblogs.is_calm(world):
        return []  # whoever told was loaded anew, and with it went whom it told
    broken, logs = [], dict[int, Log]()
    for asked in jobs.submitted(world):
        job = asked.value["id"]
        try:
            found = await world.call("job-info.lookup", {"id": job, "keys": [_MAIN], "flags": 0})
            logs[job] = _events(found[_MAIN])
            broken += await _judge_guests(world, job)
            listed = await world.call("job-list.list-id", {"id": job, "attrs": ["state", "result"]})
        except RequestError as error:
            broken.append(f"records: of job {job} (step {asked.step.id}) cannot be had at rest: {error}")
            continue
        broken += _judge_listed(f"at rest job {job}", listed["job"], logs[job])
    for asked in world.asked:
        judge = _JUDGES.get(asked.topic)
        if asked in world.kept.get("given up", ()):
            continue
        if judge is not None and asked.client.is_open and (found := judge(asked, logs)):
            broken.append(f"records: {asked} {found}")
    return broken


async def _judge_guests(world: World, job: int) -> list[str]:
    """Who follows a guest log to its good end is told all of what is kept of it, also what came last."""
    follows = [
        asked
        for asked in world.asked
        if asked.topic == "job-info.eventlog-watch" and asked.payload["id"] == job and asked.client.is_open
        and asked.payload["path"] == _GUEST and asked.errnum == ENODATA
        and asked not in world.kept.get("given up", ())
    ]  # fmt: skip
    if not follows:
        return []
    try:
        found = await world.call("job-info.lookup", {"id": job, "keys": [_GUEST], "flags": 0})
    except RequestError as error:
        if error.errno == ENOENT:
            return []  # it never ran
        raise
    told = {asked: "".join(value["event"] for value in asked.values) for asked in follows}
    return [
        f"records: {asked} was told {_names(_events(told[asked]))}, and there is {_names(_events(found[_GUEST]))}"
        for asked in follows
        if told[asked] != found[_GUEST]
    ]


def _events(text: str) -> Log:
    return [msgspec.json.decode(line) for line in text.splitlines()]


def _judge_listed(what: str, job: JsonObject, log: Log) -> list[str]:
    if job["state"] != JobState.INACTIVE:
        return [f"records: {what} is listed in state {JobState(job['state']).name}, and has ended"]
    if (job["result"] == 1) != succeeded(log):
        return [f"records: {what} is listed with result {job['result']}, and its log says otherwise"]
    return []


def _judge_list(asked: Asked, logs: Mapping[int, Log]) -> str:
    if asked.payload["id"] not in logs:
        return ""
    if asked.answered is None:
        return "was never answered, and the job has ended"
    if asked.errnum:
        return f"was refused: {asked.text}"
    wanted, state = asked.payload["state"], asked.value["job"]["state"]
    if wanted and not state & (wanted | JobState.INACTIVE) and state < wanted:
        return f"was answered in state {JobState(state).name}"
    end = when(logs[asked.payload["id"]], "clean")
    if state == JobState.INACTIVE and (end is None or end > asked.told):
        return "was told that the job is over, before it was"
    return ""


def _judge_follow(asked: Asked, logs: Mapping[int, Log]) -> str:
    if asked.payload["id"] == _NOBODY and asked.answered is not None:
        return f"ended with {asked.text or errname(asked.errnum)}, and could have waited"
    if asked.payload["id"] not in logs:
        return ""
    lines = [event for value in asked.values for event in _events(value["event"])]
    log, is_main = logs[asked.payload["id"]], asked.payload["path"] == _MAIN
    if is_main and lines != log[: len(lines)]:
        return f"was told {_names(lines)}, and there is {_names(log)}"
    if asked.answered is None:
        return "has not ended, and the job has"
    if is_main and (asked.errnum != ENODATA or lines != log):
        return f"ended with {asked.text or asked.errnum} after {_names(lines)} of {_names(log)}"
    has_run = when(log, "start") is not None
    if not is_main and asked.errnum not in ((ENODATA,) if has_run else (ENODATA, ENOENT)):
        return f"ended with {asked.text or asked.errnum} after {_names(lines)}"
    if len({event["timestamp"] for event in lines}) < len(lines) and lines != _once(lines):
        return f"was told {_names(lines)}"
    return ""


def _once(lines: Log) -> Log:
    found: Log = []
    for line in lines:
        if line not in found:
            found.append(line)
    return found


def _judge_journal(asked: Asked, logs: Mapping[int, Log]) -> str:
    """The events of each job that was active since, all of them, in order and once."""
    for job, log in logs.items():
        told = [event for value in asked.values if value["id"] == job for event in value["events"]]
        kept = [event for event in told if event["name"] != "annotations"]
        if kept != log and (kept or not _was_over(asked, log)):
            return f"was told {_names(kept)} of job {job}, and there is {_names(log)}"
    return ""


def _was_over(asked: Asked, log: Log) -> bool:
    """The job had ended when the first answer came, or about then."""
    end = when(log, "clean")
    return end is not None and end <= asked.asked_at + joblogs.SLACK


def _names(log: Log) -> str:
    return " ".join(event["name"] for event in log) or "nothing"


_JUDGES = {
    "job-list.list-id": _judge_list,
    "job-info.eventlog-watch": _judge_follow,
    "job-manager.events-journal": _judge_journal,
}

RECORDS = Family(
    name="records",
    modules=(*jobs.JOBS.modules, "job-list"),
    topics=("job-info.eventlog-watch", "kvs-watch.lookup", "job-list.list-id", "kvs.commit", "job-manager.submit"),
    draws={
        "follow": _follow, "unfollow": _unfollow, "list": _list, "journal": _none, "ahead": _none,
        **{verb: jobs.JOBS.draws[verb] for verb in _JOBS},
    },
    does={
        "follow": _do_follow, "unfollow": _do_unfollow, "list": _do_list, "journal": _do_journal, "ahead": _do_ahead,
        **{verb: jobs.JOBS.does[verb] for verb in _JOBS},
    },
    end=jobs.release,
    check=_check,
    fair={"list": (), **{verb: jobs.JOBS.fair[verb] for verb in _JOBS}},
    themes=(
        ("submit", "follow"), ("submit", "follow", "unfollow"), ("submit", "list", "cancel"), ("submit", "journal"),
        ("follow", "submit", "kill"), ("submit", "follow", "ahead"),
    ),
    failures=jobs.JOBS.failures,
    reloads={verb: pairs for verb, pairs in jobs.JOBS.reloads.items() if verb in _JOBS},
    lossy=jobs.JOBS.lossy,
    optional=jobs.JOBS.optional,
    spreads=jobs.JOBS.spreads,
    most=jobs.JOBS.most,
    makes={"submit": 1},
)  # fmt: skip
