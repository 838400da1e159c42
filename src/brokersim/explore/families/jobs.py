"""Knows jobs as clients use them: each ends once, with its exceptions, and no core is two jobs' at one time."""

from __future__ import annotations

import base64
import os
import random
from collections.abc import Callable, Mapping, Sequence
from functools import partial

import msgspec

from brokersim.explore.families import cores, joblogs
from brokersim.explore.families.family import Family
from brokersim.explore.families.joblogs import Log
from brokersim.explore.plan import Step
from brokersim.explore.world import Asked, World
from brokersim.protocol import jobid
from brokersim.protocol.decoded import JsonObject
from brokersim.protocol.errnums import EINVAL, ENOENT, RequestError

#: What an eventlog holds at most once, and the last is always there in the end.
_ONCE = ("submit", "alloc", "start", "finish", "free", "clean")

#: Seconds within which an eventlog is written to the KVS: a job has ended before its last events stand there.
_WRITTEN = 1.0
#: How long a job runs that is to be killed, cancelled, or waited for by others (s).
_LONG = 3.0
#: Attempts to kill a job that does not run yet, and seconds between two.
_KILLS, _KILL_AGAIN = 20, 0.02
#: Cores of three jobs, of four that there are: the last would have its own if the one before it did not wait.
_QUEUES = ((2, 3, 1), (2, 3, 1), (4, 3, 1), (4, 1, 2), (2, 2, 2), (4, 4, 1))
#: What there is in all.
_CORES = 4
#: How long a node is drained (s).
_AWAY = (0.05, 1.0, 2.0, 2.0)
#: Seconds within which what is asked of a job later than its step has been asked.
_LATE = 0.5
#: Of so many jobs that are submitted on rank 0 one's log is read as soon as it is told that it is there.
_READ_EACH = 3
#: Of so many requests about jobs that end one is sent whether there are any or not.
_AT_ONCE = 4
#: What may hold a job.
_HOLDS = ("job-ingest.submit", "job-manager.urgency")
#: What a job may wait for of another.
_SCHEMES = ("after", "afterany", "afterok", "afternotok")


def _submit(rng: random.Random, _: int) -> JsonObject:
    """Four cores are all there are: more than half of the jobs are so large, or so long, that others wait for them."""
    return {
        "cores": rng.choice((1, 1, 2, 3, 4, 4, 4, 5)),
        "duration": rng.choice((0.0001, 0.01, 0.2, _LONG, _LONG)),
        "urgency": rng.choice((16, 16, 16, 0, 31)),
    }


def _queue(rng: random.Random, _: int) -> JsonObject:
    """One that runs, and two behind it, of which one may have to wait, be it for the other."""
    return {
        "cores": [*rng.choice(_QUEUES)],
        "durations": [rng.choice((0.2, 1.0, _LONG, _LONG)), rng.choice((0.01, 1.0)), rng.choice((0.01, 1.0))],
    }


def _after(rng: random.Random, number: int) -> JsonObject:
    return {**one(rng, number), "scheme": rng.choice(_SCHEMES), "cores": 1}


def _none(_rng: random.Random, _: int) -> JsonObject:
    return {}


def one(rng: random.Random, _: int) -> JsonObject:
    return {"which": rng.randrange(4), "later": rng.choice((0.0, 0.001, 0.05, 0.05))}


def _leave(rng: random.Random, _: int) -> JsonObject:
    return {"which": rng.randrange(3), "topic": rng.choice(("job-manager.wait", "job-manager.drain"))}


def _purge(rng: random.Random, number: int) -> JsonObject:
    return {**one(rng, number), "left": rng.choice((0, 1, 1))}


def _away(rng: random.Random, _: int) -> JsonObject:
    return {"seconds": rng.choice(_AWAY)}


def _urgency(rng: random.Random, number: int) -> JsonObject:
    return {
        **one(rng, number),
        "urgency": rng.choice((0, 0, 16, 31)),
        "of": rng.choice(("held", "any", "any")),
    }


def envelope(cores: int, duration: float, dependencies: Sequence[dict[str, str]] = ()) -> str:
    """A jobspec as clients send it: signed by nobody."""
    slot = {"type": "slot", "count": 1, "label": "task", "with": [{"type": "core", "count": cores}]}
    spec = {
        "version": 1,
        "resources": [slot],
        "tasks": [{"command": ["true"], "slot": "task", "count": {"per_slot": 1}}],
        "attributes": {"system": {"duration": duration, "dependencies": [*dependencies]}},
    }
    header = b"version\0i1\0userid\0i%d\0mechanism\0snone\0" % os.getuid()
    return f"{base64.b64encode(header).decode()}.{base64.b64encode(msgspec.json.encode(spec)).decode()}.none"


def _do_submit(world: World, step: Step) -> None:
    _ask_submit(world, step, envelope(step.args["cores"], step.args["duration"]), step.args["urgency"])


def _do_queue(world: World, step: Step) -> None:
    """The one behind the other: a client that waits for no answer."""
    for count, duration in zip(step.args["cores"], step.args["durations"], strict=True):
        args = {"cores": count, "duration": duration, "urgency": 16}
        _do_submit(world, Step(id=step.id, op="jobs.submit", rank=step.rank, args=args))


def _ask_submit(world: World, step: Step, spec: str, urgency: int) -> None:
    def then(asked: Asked) -> None:
        if asked.is_acked and step.rank == 0 and step.id % _READ_EACH == 0:
            read = Step(id=step.id, op="jobs.read", rank=0)
            world.ask(read, "job-info.lookup", {"id": asked.value["id"], "keys": ["eventlog"], "flags": 0})
        _catch_up(world)

    world.ask(step, "job-ingest.submit", {"J": spec, "urgency": urgency, "flags": 0}, then)


def submitted(world: World) -> list[Asked]:
    """Jobs that were taken in, in the order they were sent."""
    return [asked for asked in world.asked if asked.topic == "job-ingest.submit" and asked.is_acked]


def _do_after(world: World, step: Step) -> None:
    """A job that waits for another."""

    def ask(job: int) -> None:
        scheme = step.args["scheme"]
        world.kept.setdefault("after", {})[step.id] = scheme, job
        spec = envelope(step.args["cores"], 0.01, [{"scheme": scheme, "value": jobid.encode(job)}])
        _ask_submit(world, step, spec, 16)

    with_job(world, step, ask)


def with_job(world: World, step: Step, ask: Callable[[int], object]) -> None:
    """Ask something of a job, as soon as there is one: it takes longer to be taken in than most examples last."""
    waiting: list[Callable[[], object]] = world.kept.setdefault("waiting for a job", [])
    waiting.append(partial(_ask, world, step, ask))
    _catch_up(world)


def _catch_up(world: World) -> None:
    if submitted(world):
        waiting: list[Callable[[], object]] = world.kept.get("waiting for a job", [])
        while waiting:
            waiting.pop(0)()


def _ask(world: World, step: Step, ask: Callable[[int], object]) -> None:
    """Which it is of them is seen when it is asked: one that came first is all there is at first."""

    def of_one() -> None:
        jobs = submitted(world)
        ask(jobs[step.args["which"] % len(jobs)].value["id"])

    world.instance.reactor.call_later(step.args.get("later", 0.0), _if_there, world, step, of_one)


def _if_there(world: World, step: Step, ask: Callable[[], object]) -> None:
    if step.rank not in world.down:
        ask()


def _do_cancel(world: World, step: Step) -> None:
    payload = {"severity": 0, "type": "cancel", "note": f"step {step.id}"}
    with_job(world, step, lambda job: world.ask(step, "job-manager.raise", {"id": job, **payload}))


def _do_urgency(world: World, step: Step) -> None:
    """Of any job, or of one that is held: others may have their resources soon, and cannot be changed any more."""
    if step.args.get("of") == "any":
        payload = {"urgency": step.args["urgency"]}
        with_job(world, step, lambda job: world.ask(step, "job-manager.urgency", {"id": job, **payload}))
        return
    held = [asked for asked in submitted(world) if not asked.payload["urgency"]]
    if held:
        _change_urgency(world, step, held[step.args["which"] % len(held)])
    else:
        payload = {"J": envelope(1, 0.01), "urgency": 0, "flags": 0}
        world.ask(step, "job-ingest.submit", payload, lambda asked: _change_urgency(world, step, asked))


def _change_urgency(world: World, step: Step, job: Asked) -> None:
    if job.is_acked and step.rank not in world.down:
        world.ask(step, "job-manager.urgency", {"id": job.value["id"], "urgency": step.args["urgency"]})


def _do_kill(world: World, step: Step) -> None:
    """As soon as the job runs, if that is before long."""
    with_job(world, step, partial(_kill, world, step, _KILLS))


def _kill(world: World, step: Step, left: int, job: int) -> None:
    def refused(asked: Asked) -> None:
        if asked.text == "job is not running" and left:
            again = partial(_kill, world, step, left - 1, job)
            world.instance.reactor.call_later(_KILL_AGAIN, _if_there, world, step, again)

    world.ask(step, "job-manager.kill", {"id": job, "signum": 15}, refused)


def _do_wait(world: World, step: Step) -> None:
    """Until a job has ended, which may be never: it may be held."""
    with_job(
        world,
        step,
        lambda job: world.ask(step, "job-manager.wait", {"id": job, "claim": False}, may_wait=True),
    )


def _do_drain(world: World, step: Step) -> None:
    """Until no job is active; most ask as soon as there is one."""

    def ask(_: object = None) -> None:
        world.ask(step, "job-manager.drain", may_wait=True)

    if step.id % _AT_ONCE:
        with_job(world, step, ask)
    else:
        ask()


def _do_leave(world: World, step: Step) -> None:
    """One who waits for an end goes; others go on waiting."""
    world.leave(step, step.args["topic"])


def _do_purge(world: World, step: Step) -> None:
    """Most as soon as a job has ended: before that there is nothing to forget."""
    payload = {"age_limit": -1.0, "num_limit": step.args["left"], "batch": 10, "force": True}

    def purge(ended: Asked | None = None) -> None:
        if ended is None or (ended.is_acked and step.rank not in world.down):
            world.ask(step, "job-manager.purge", payload)

    def wait(job: int) -> None:
        waiting = Step(id=step.id, op="jobs.wait", rank=step.rank)
        world.ask(waiting, "job-manager.wait", {"id": job, "claim": False}, purge, may_wait=True)

    if step.id % _AT_ONCE:
        with_job(world, step, wait)
    else:
        purge()


def _do_away(world: World, step: Step) -> None:
    """The node gets no jobs for a while."""
    payload = {"targets": "0", "reason": f"step {step.id}", "mode": "force-overwrite"}
    world.ask(step, "resource.drain", payload, nodeid=0)
    back = Step(id=step.id, op="jobs.back", rank=step.rank)
    ask = partial(world.ask, back, "resource.undrain", {"targets": "0", "mode": "update"}, nodeid=0)
    world.instance.reactor.call_later(step.args["seconds"], _if_there, world, step, ask)


async def release(world: World) -> None:
    """What waits for somebody (urgency 0: held, a node that is drained) is let go, so that all of them may end."""
    await world.instance.sleep(_LATE)
    if world.of("jobs.away"):
        await world.instance.sleep(max(_AWAY))  # whoever drained the node may undrain it first
        try:
            await world.call("resource.undrain", {"targets": "0", "mode": "update"})
        except RequestError:
            pass  # it is back
    if any(one.topic in _HOLDS and one.payload.get("urgency") == 0 for one in world.asked):
        await world.instance.sleep(_LONG + 1.0)  # those before it have ended, and it waits still
        await _let_go(world)
    for _ in range(60):
        if not await _are_active(world):
            await world.instance.sleep(_WRITTEN)  # what was submitted last may only be there now
            if not await _are_active(world):
                return
        await world.instance.sleep(0.5)


async def _let_go(world: World) -> None:
    """All that are held, those included whose client was never told that there is a job."""
    rows = (await world.call("job-manager.list", {"max_entries": 0}))["jobs"] if _is_there(world) else ()
    for job in [row["id"] for row in rows if not row["urgency"]]:
        await world.call("job-manager.urgency", {"id": job, "urgency": 16})


async def _are_active(world: World) -> bool:
    """Some jobs have not ended."""
    states = (await world.call("job-manager.stats-get"))["states"] if _is_there(world) else {}
    return any(count for name, count in states.items() if name not in ("INACTIVE", "inactive"))


def _is_there(world: World) -> bool:
    return any(module.name == "job-manager" for module in world.instance.modules(0))


async def _check(world: World) -> list[str]:
    broken, logs = [], dict[int, Log]()
    jobs = submitted(world)
    numbers = [asked.value["id"] for asked in jobs]
    if len(set(numbers)) < len(numbers):
        return [f"jobs: of {len(numbers)} that submitted some were told the same id: {sorted(numbers)}"]
    for asked in jobs:
        name = f"jobs: job {asked.value['id']} (step {asked.step.id})"
        try:
            found = await world.call(
                "job-info.lookup", {"id": asked.value["id"], "keys": ["eventlog"], "flags": 0}
            )
        except RequestError as error:
            if not _may_be_purged(world, asked):
                broken.append(f"{name} was submitted and acknowledged, and has no eventlog: {error}")
            continue
        log = [msgspec.json.decode(line) for line in found["eventlog"].splitlines()]
        if log[0]["name"] != "submit" and _may_be_purged(world, asked):
            continue  # forgotten before its last events were written, which then stand alone
        logs[asked.value["id"]] = log
        broken += [f"{name} {text}" for text in _judge(world, asked, log)]
    broken += [
        f"jobs: {read} was told that there is no log, and the job had been acknowledged before"
        for read in world.of("jobs.read")
        if read.errnum == ENOENT and not world.of("jobs.purge")
    ]
    broken += _too_few(world, logs)
    broken += joblogs.judge(world, jobs, logs)
    return broken + await cores.judge(world, jobs, logs)


def _too_few(world: World, logs: Mapping[int, Log]) -> list[str]:
    """A purge leaves as many as it was told to, of those that had ended by then: others may have forgotten some."""
    broken = []
    # Those of whom the answer got lost, too.
    jobs = sum(asked.topic == "job-ingest.submit" for asked in world.asked)
    for purge in world.acked("jobs.purge"):
        ends = [joblogs.when(log, "clean") for log in logs.values()]
        ended = jobs - len(logs) + sum(end is not None and end <= purge.told for end in ends)
        gone, left = purge.value["count"], purge.step.args["left"]
        if gone and gone + left > ended:
            broken.append(f"jobs: {purge} forgot {gone} of {ended} that had ended, and was to leave {left}")
    return broken


def _may_be_purged(world: World, asked: Asked) -> bool:
    """Somebody let inactive jobs be forgotten when it may have been over."""
    ends = [one.when for one in world.of("jobs.cancel") + world.of("jobs.kill")]
    args = asked.step.args
    # One is refused at once, one ends early by what was made to fail, or by who ran it and went.
    is_whole = args.get("cores", 1) <= _CORES and not (world.failing or world.disturbed)
    runs = args.get("duration", 0.0) if is_whole else 0.0
    least = min([asked.when + runs, *ends])
    return any(purge.answered is None or purge.said >= least for purge in world.of("jobs.purge"))


def _judge(world: World, asked: Asked, log: Log) -> list[str]:
    names = [event["name"] for event in log]
    found = joblogs.gaps(log) + [
        f"has {names.count(name)} events {name}: {' '.join(names)}" for name in _ONCE if names.count(name) > 1
    ]
    if names[-1] != "clean":
        found.append(f"has not ended at rest: {' '.join(names)}")
    elif ("alloc" in names) != ("free" in names):
        found.append(f"was given cores and never gave them back: {' '.join(names)}")
    notes = [event["context"].get("note") for event in log if event["name"] == "exception"]
    for cancel in world.acked("jobs.cancel"):
        if cancel.payload["id"] == asked.value["id"] and cancel.payload["note"] not in notes:
            found.append(f"lost the exception of step {cancel.step.id}: {' '.join(names)}")
    given = [event["context"]["urgency"] for event in log if event["name"] == "urgency"]
    changes = [one for one in world.asked if one.topic == "job-manager.urgency" and one.is_acked]
    for change in changes:
        if change.payload["id"] == asked.value["id"] and change.payload["urgency"] not in given:
            found.append(
                f"lost the urgency {change.payload['urgency']} of step {change.step.id}: {' '.join(names)}"
            )
    return found


JOBS = Family(
    name="jobs",
    modules=(
        "content-cache", "content-sqlite", "kvs", "kvs-watch", "resource", "job-manager", "job-ingest",
        "job-info", "sched", "job-exec",
    ),
    topics=(
        "job-ingest.submit", "job-manager.submit", "sched.alloc", "sched.free", "sched.cancel", "job-exec.start",
        # Thrice: each of five modules does something else when one of its commits fails.
        "kvs.commit", "kvs.commit", "kvs.commit", "job-manager.raise", "job-exception",
    ),
    draws={
        "submit": _submit, "queue": _queue, "cancel": one, "urgency": _urgency, "kill": one, "after": _after,
        "wait": one, "drain": one, "leave": _leave, "purge": _purge, "away": _away,
    },
    does={
        "submit": _do_submit, "queue": _do_queue, "cancel": _do_cancel, "urgency": _do_urgency, "kill": _do_kill,
        "after": _do_after, "wait": _do_wait, "drain": _do_drain,
        "leave": _do_leave, "purge": _do_purge, "away": _do_away,
    },
    end=release,
    check=_check,
    fair={
        "submit": (), "cancel": (EINVAL, ENOENT), "urgency": (EINVAL,), "kill": (EINVAL,), "after": (EINVAL,),
        "wait": (ENOENT,), "drain": (), "purge": (), "away": (), "back": (EINVAL,),
    },
    themes=(
        ("submit",), ("submit", "cancel"), ("submit", "urgency"), ("submit", "kill", "cancel"), ("submit", "after"),
        ("submit", "after", "cancel"), ("submit", "wait", "leave"), ("submit", "drain"), ("submit", "drain", "wait"),
        ("submit", "purge"),
        ("submit", "away"), ("queue", "away"), ("submit", "queue", "away"),
        ("queue", "cancel"), ("queue", "cancel"), ("queue", "urgency"),
    ),
    # A commit of job-ingest, of job-manager, of sched, of job-exec, and job-manager's last.
    failures=tuple(
        (topic, "kvs.commit")
        for topic in ("job-ingest.submit", "job-manager.submit", "sched.alloc", "job-exec.start", "sched.free")
    ),
    # While they owe an answer, a start, or what they were told.
    reloads={
        **dict.fromkeys(("submit", "queue"), (
            ("sched.alloc", "job-manager"), ("sched.alloc", "sched"), ("sched.alloc", "resource"),
            ("job-exec.start", "job-exec"), ("job-exec.start", "job-manager"), ("sched.free", "sched"),
            ("job-manager.submit", "job-ingest"), ("job-manager.submit", "job-manager"),
        )),
        "away": (("resource.drain", "resource"), ("resource.acquire", "resource"), ("resource.drain", "sched")),
        "cancel": (("job-exception", "job-exec"), ("job-manager.raise", "job-manager"), ("sched.cancel", "sched")),
    },
    lossy=("kvs.0", "content-cache.0", "job-manager.0"),
    spare=("content-sqlite",),
    kept_by_spare=("kvs.0", "content-cache.0"),
    optional=("later", "of"),
    events=("job-exception",),
    # What is written every ten milliseconds is not overtaken in microseconds.
    spreads=(0.0, 20e-6, 1e-3, 1e-3),
    most=6,
    makes={"submit": 1, "queue": 3},
    most_made=6,
)  # fmt: skip
