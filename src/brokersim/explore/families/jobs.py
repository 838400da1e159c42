"""Knows jobs as clients use them: each ends once, with its exceptions, and no core is two jobs' at one time."""

from __future__ import annotations

import base64
import os
import random
from collections.abc import Callable, Sequence
from functools import partial

import msgspec

from brokersim.explore.families import joblogs
from brokersim.explore.families.family import Family
from brokersim.explore.families.joblogs import Log
from brokersim.explore.plan import Step
from brokersim.explore.world import Asked, World
from brokersim.protocol import jobid
from brokersim.protocol.decoded import JsonObject
from brokersim.protocol.errnums import RequestError

#: What an eventlog holds at most once, and the last is always there in the end.
_ONCE = ("submit", "alloc", "start", "finish", "free", "clean")

#: Seconds within which an eventlog is written to the KVS: a job has ended before its last events stand there.
_WRITTEN = 1.0
#: How long a job runs that is to be killed, cancelled, or waited for by others (s).
_LONG = 3.0
#: Attempts to kill a job that does not run yet, and seconds between two.
_KILLS, _KILL_AGAIN = 20, 0.02
#: What a job may wait for of another.
_SCHEMES = ("after", "afterany", "afterok", "afternotok")


def _submit(rng: random.Random, _: int) -> JsonObject:
    return {
        "cores": rng.choice((1, 1, 2, 4, 5)),
        "duration": rng.choice((0.0001, 0.01, 0.2, _LONG)),
        "urgency": rng.choice((16, 16, 16, 0, 31)),
    }


def _after(rng: random.Random, number: int) -> JsonObject:
    return {**_one(rng, number), "scheme": rng.choice(_SCHEMES), "cores": 1}


def _none(_rng: random.Random, _: int) -> JsonObject:
    return {}


def _one(rng: random.Random, _: int) -> JsonObject:
    return {"which": rng.randrange(4), "later": rng.choice((0.0, 0.0, 0.001, 0.05))}


def _urgency(rng: random.Random, number: int) -> JsonObject:
    return {**_one(rng, number), "urgency": rng.choice((0, 16, 31))}


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


def _ask_submit(world: World, step: Step, spec: str, urgency: int) -> None:
    payload = {"J": spec, "urgency": urgency, "flags": 0}
    world.ask(step, "job-ingest.submit", payload, lambda _: _catch_up(world))


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

    _with_job(world, step, ask)


def _with_job(world: World, step: Step, ask: Callable[[int], object]) -> None:
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
    jobs = submitted(world)
    job = jobs[step.args["which"] % len(jobs)].value["id"]
    world.instance.reactor.call_later(step.args.get("later", 0.0), _if_there, world, step, partial(ask, job))


def _if_there(world: World, step: Step, ask: Callable[[], object]) -> None:
    if step.rank not in world.down:
        ask()


def _do_cancel(world: World, step: Step) -> None:
    payload = {"severity": 0, "type": "cancel", "note": f"step {step.id}"}
    _with_job(world, step, lambda job: world.ask(step, "job-manager.raise", {"id": job, **payload}))


def _do_urgency(world: World, step: Step) -> None:
    """Of a job that is held: others have their resources soon, and it cannot be changed any more."""
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
    _with_job(world, step, partial(_kill, world, step, _KILLS))


def _kill(world: World, step: Step, left: int, job: int) -> None:
    def refused(asked: Asked) -> None:
        if asked.text == "job is not running" and left:
            again = partial(_kill, world, step, left - 1, job)
            world.instance.reactor.call_later(_KILL_AGAIN, _if_there, world, step, again)

    world.ask(step, "job-manager.kill", {"id": job, "signum": 15}, refused)


def _do_wait(world: World, step: Step) -> None:
    """Until a job has ended, which may be never: it may be held."""
    _with_job(
        world,
        step,
        lambda job: world.ask(step, "job-manager.wait", {"id": job, "claim": False}, may_wait=True),
    )


def _do_drain(world: World, step: Step) -> None:
    world.ask(step, "job-manager.drain", may_wait=True)


async def release(world: World) -> None:
    """What waits for somebody (urgency 0: held) is let go, so that all of them may end."""
    for asked in submitted(world):
        try:
            await world.call("job-manager.urgency", {"id": asked.value["id"], "urgency": 16})
        except RequestError:
            pass  # it has ended
    for _ in range(30):
        states = (await world.call("job-manager.stats-get"))["states"] if _is_there(world) else {}
        if not any(count for name, count in states.items() if name not in ("INACTIVE", "inactive")):
            await world.instance.sleep(_WRITTEN)
            return
        await world.instance.sleep(0.5)


def _is_there(world: World) -> bool:
    return any(module.name == "job-manager" for module in world.instance.modules(0))


async def _check(world: World) -> list[str]:
    broken, spans, logs = [], [], dict[int, Log]()
    for asked in submitted(world):
        name = f"jobs: job {asked.value['id']} (step {asked.step.id})"
        try:
            found = await world.call(
                "job-info.lookup", {"id": asked.value["id"], "keys": ["eventlog"], "flags": 0}
            )
        except RequestError as error:
            broken.append(f"{name} was submitted and acknowledged, and has no eventlog: {error}")
            continue
        log = logs[asked.value["id"]] = [msgspec.json.decode(line) for line in found["eventlog"].splitlines()]
        broken += [f"{name} {text}" for text in _judge(world, asked, log)]
        span = await _span(world, asked, log)
        if span is not None:
            spans.append((name, *span))
    broken += _overlaps(spans)
    broken += joblogs.judge(world, submitted(world), logs)
    return broken + await _all_free(world)


def _judge(world: World, asked: Asked, log: Log) -> list[str]:
    names = [event["name"] for event in log]
    found = [
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


async def _span(world: World, asked: Asked, log: Log) -> tuple[float, float, set[tuple[str, int]]] | None:
    """From when to when it had which cores."""
    times = {event["name"]: event["timestamp"] for event in log}
    if "alloc" not in times:
        return None
    try:
        found = await world.call("job-info.lookup", {"id": asked.value["id"], "keys": ["R"], "flags": 0})
    except RequestError:
        return None
    cores = set()
    for entry in msgspec.json.decode(found["R"])["execution"]["R_lite"]:
        for rank in _ids(str(entry["rank"])):
            cores |= {(str(rank), core) for core in _ids(entry["children"]["core"])}
    return times["alloc"], times.get("free", float("inf")), cores


def _ids(text: str) -> list[int]:
    found: list[int] = []
    for part in text.split(","):
        first, _, last = part.partition("-")
        found += range(int(first), int(last or first) + 1)
    return found


def _overlaps(spans: list[tuple[str, float, float, set[tuple[str, int]]]]) -> list[str]:
    return [
        f"{one[0]} and {other[0]} had the same cores at one time: {sorted(one[3] & other[3])}"
        for at, one in enumerate(spans)
        for other in spans[at + 1 :]
        if one[3] & other[3] and max(one[1], other[1]) < min(one[2], other[2])
    ]


async def _all_free(world: World) -> list[str]:
    try:
        status = await world.call("sched.resource-status")
    except RequestError as error:
        return [f"jobs: sched does not answer at rest: {error}"]
    allocated = status.get("allocated")
    lite = allocated["execution"]["R_lite"] if allocated else []
    return [f"jobs: cores are allocated at rest: {lite}"] if lite else []


JOBS = Family(
    name="jobs",
    modules=(
        "content-cache", "content-sqlite", "kvs", "kvs-watch", "resource", "job-manager", "job-ingest",
        "job-info", "sched", "job-exec",
    ),
    topics=(
        "job-ingest.submit", "job-manager.submit", "sched.alloc", "sched.free", "sched.cancel", "job-exec.start",
        "kvs.commit", "job-manager.raise", "job-exception",
    ),
    draws={
        "submit": _submit, "cancel": _one, "urgency": _urgency, "kill": _one, "after": _after, "wait": _one,
        "drain": _none,
    },
    does={
        "submit": _do_submit, "cancel": _do_cancel, "urgency": _do_urgency, "kill": _do_kill, "after": _do_after,
        "wait": _do_wait, "drain": _do_drain,
    },
    end=release,
    check=_check,
    lossy=("kvs.0", "content-cache.0", "job-manager.0"),
    most=6,
)  # fmt: skip
