"""What the modules that run jobs are asked: one scenario of `shipped`, in a file of its own for its length."""

from __future__ import annotations

import json
import os
from typing import Any

from brokersim.protocol import jobid
from brokersim.protocol import jobspec as specs
from brokersim.testing import Broker

from .asking import ask, commit, follow, leave, put

#: Flag of a submission: somebody will ask how it ended (flux-core's FLUX_JOB_WAITABLE).
WAITABLE = 4


def envelope(*command: str, slots: int = 1, **system: Any) -> dict[str, Any]:
    spec = specs.build(list(command or ("true",)), run_time=system.pop("run_time", 0.1))
    spec["resources"][0]["count"] = slots
    spec["attributes"]["system"].update(system)
    return {"J": specs.sign(spec, os.getuid()), "urgency": 16, "flags": 0}


async def jobs(broker: Broker) -> None:
    """One job after the other through everything, several at once, and what people do to them."""

    async def submit(urgency: int = 16, **more: Any) -> int:
        answer = await ask(broker, "job-ingest.submit", envelope(**more) | {"urgency": urgency})
        return int((answer or {"id": 0})["id"])

    async def manage(topic: str, job: int, **more: Any) -> None:
        await ask(broker, f"job-manager.{topic}", {"id": job, **more})

    first = await submit()
    await manage("wait", first)
    for log in ("eventlog", "guest.exec.eventlog", "guest.output"):
        await follow(broker, "job-info.eventlog-watch", {"id": first, "path": log, "flags": 0})
    await ask(broker, "job-info.lookup", {"id": first, "keys": ["R", "jobspec", "J"], "flags": 0})
    await ask(broker, "job-info.lookup", {"id": 5, "keys": ["R"], "flags": 0})
    many = [await submit(slots=slots, run_time=2.0) for slots in (1, 2, 3, 4)]
    held = await submit(urgency=0)
    await submit(slots=99)
    await manage("urgency", held, urgency=20)
    await manage("urgency", many[3], urgency=25)
    await manage("urgency", many[3], urgency=0)
    await manage("urgency", many[3], urgency=16)
    await manage("raise", many[2], type="cancel", severity=0, note="enough")
    await manage("kill", many[0], signum=15)
    for topic in ("raise", "kill", "urgency", "wait"):
        await manage(topic, 5, type="cancel", severity=0, signum=9, urgency=1)
    await _lists(broker, first)
    await ask(broker, "job-manager.drain")
    await _fed(broker, submit)
    await _queue(broker, submit, manage)
    await _everybodys(broker, submit)
    after = await submit(run_time=0.5)
    await submit(dependencies=[{"scheme": "afterok", "value": str(after)}])
    await submit(dependencies=[{"scheme": "afternotok", "value": str(after)}])
    await submit(duration=0.2, run_time=5.0)
    await ask(broker, "job-ingest.submit", {"J": "nonsense"})
    await ask(broker, "job-manager.drain")
    await _overtaken(broker, submit, manage)
    await broker.advance(3)


async def _overtaken(broker: Broker, submit: Any, manage: Any) -> None:
    """A waiting job is given the first place; what is done to the other shows which of them ran."""
    runs, late, early = [await submit(slots=4, run_time=1.0) for _ in range(3)]
    await broker.advance(0.2)
    await manage("urgency", early, urgency=30)
    await ask(broker, "sched.prioritize", {"jobs": [[late, 17]]})
    await manage("wait", early)
    await broker.advance(0.2)
    await manage("raise", late, type="cancel", severity=0)
    await ask(broker, "job-manager.drain")
    killed = await submit(run_time=9.0)
    await broker.advance(0.2)
    for job in (killed, runs):
        await ask(broker, "job-exec.kill", {"id": job, "signum": 15})
    await broker.publish("job-exception", {"id": "none"})
    await ask(broker, "job-manager.drain")


async def _lists(broker: Broker, job: int) -> None:
    every = {"max_entries": 0, "attrs": ["all"]}
    await ask(broker, "job-list.list", every)
    await follow(broker, "job-list.list", every)
    await ask(broker, "job-list.list-id", {"id": job, "attrs": ["state"]})
    for topic in ("job-list.list-attrs", "job-list.job-stats", "job-manager.stats-get", "sched.stats-get"):
        await ask(broker, topic, {})
    await ask(broker, "job-exec.stats-get")
    await ask(broker, "sched.resource-status")
    for topic in ("cancel", "free"):
        await ask(broker, f"sched.{topic}", {"id": 5, "final": True})
    await ask(broker, "feasibility.check", {"jobspec": specs.build(["true"], run_time=1)})
    await leave(broker, "job-manager.events-journal", {}, stream=True)
    await leave(broker, "job-info.update-watch", {"id": job, "key": "R", "flags": 0}, stream=True)


async def _queue(broker: Broker, submit: Any, manage: Any) -> None:
    await ask(broker, "job-manager.queue-start", {"start": False, "reason": "noon"})
    stopped = await submit()
    client = broker.instance.client()
    client.stream("job-manager.events-journal", {}, lambda *_: None)
    watch = client.stream(
        "job-info.eventlog-watch", {"id": stopped, "path": "eventlog", "flags": 0}, lambda *_: None
    )
    await broker.advance(0.5)
    client.request("job-info.eventlog-watch-cancel", {"matchtag": watch.matchtag})
    await ask(broker, "job-manager.queue-status")
    await ask(broker, "job-manager.queue-list")
    await ask(broker, "job-manager.queue-start", {"start": True})
    await manage("wait", stopped)
    client.close()
    await ask(broker, "job-manager.queue-enable", {"enable": False, "reason": "closed"})
    await submit()
    await ask(broker, "job-manager.queue-enable", {"enable": True})


async def _fed(broker: Broker, submit: Any) -> None:
    """A job that is given standard input, more of it than it wants, and a job that is not there."""
    job = await submit(run_time=3.0)
    await broker.advance(0.5)
    shell = f"{os.getuid()}-shell-{job}.stdin"
    for io in ({"data": "one\n"}, {"data": "two\n", "eof": True}, {"data": "late"}):
        await ask(broker, shell, {"stream": "stdin", "rank": "all", **io})
    await ask(broker, f"{os.getuid()}-shell-5.stdin", {"stream": "stdin", "rank": "all"})
    await follow(broker, "job-info.eventlog-watch", {"id": job, "path": "guest.input", "flags": 0})


async def _everybodys(broker: Broker, submit: Any) -> None:
    """What is done to all jobs of a user, and to those of all users."""
    running, everybody = 16, 0xFFFFFFFF
    for _ in range(2):
        await submit(run_time=30.0)
    held = await submit(urgency=0)
    await broker.advance(0.5)
    for is_trial in (True, False):
        await ask(broker, "job-manager.killall", {"userid": everybody, "signum": 15, "dry_run": is_trial})
    await ask(broker, "job-manager.killall", {"userid": everybody, "signum": 99})
    await ask(broker, "job-manager.idle")
    await submit(run_time=30.0)
    await broker.advance(0.5)
    trial = {"userid": os.getuid(), "states": running, "type": "cancel", "severity": 0, "dry_run": True}
    for wish in (trial, {**trial, "dry_run": False}, {**trial, "severity": 9}):
        await ask(broker, "job-manager.raiseall", wish)
    await ask(broker, "job-manager.idle")
    await ask(broker, "job-manager.raise", {"id": held, "type": "cancel", "severity": 0})
    await ask(broker, "job-manager.drain")


async def jobs_watched(broker: Broker) -> None:
    """What is asked about jobs while they run, what plugins are told, and how resources are handed back."""
    await _plugins(broker)
    await _waited_for(broker)
    await _begun_later(broker)
    await _journal(broker)
    await _updated(broker)
    await _by_hand(broker)


async def _submit(broker: Broker, flags: int = 0, **more: Any) -> int:
    answer = await ask(broker, "job-ingest.submit", envelope(**more) | {"flags": flags})
    return int((answer or {"id": 0})["id"])


async def _plugins(broker: Broker) -> None:
    for name in ("state-counts", "state-history", "no-such"):
        await ask(broker, "job-manager.jobtap-load", {"path": name})
    await ask(broker, "job-manager.jobtap-load", {"path": "state-counts", "remove": "state-*"})
    await ask(broker, "job-manager.wait", {"id": await _submit(broker), "claim": False})
    await ask(broker, "job-manager.jobtap-list")
    for name in ("state-counts", "no-such"):
        await ask(broker, "job-manager.jobtap-query", {"name": name})
    for name in ("state-*", "no-such"):
        await ask(broker, "job-manager.jobtap-remove", {"name": name})


async def _waited_for(broker: Broker) -> None:
    """Waitable jobs, asked for before and after they end, by somebody, by nobody, by one who left."""
    some = 0xFFFFFFFFFFFFFFFF
    await ask(broker, "job-manager.wait", {"id": some})
    first = await _submit(broker, WAITABLE)
    await broker.advance(1)
    await ask(broker, "job-manager.wait", {"id": some})
    second = await _submit(broker, WAITABLE, run_time=1.0)
    await ask(broker, "job-manager.wait", {"id": some})
    for job in (first, second):
        await ask(broker, "job-manager.wait", {"id": job})
    third = await _submit(broker, WAITABLE, run_time=2.0)
    for topic, payload in (
        ("job-manager.wait", {"id": some}),
        ("job-manager.wait", {"id": third}),
        ("job-manager.drain", None),
    ):
        await leave(broker, topic, payload)
    await broker.advance(3)
    await ask(broker, "job-manager.wait", {"id": some})
    await ask(broker, "job-manager.drain")


async def _begun_later(broker: Broker) -> None:
    begin = f"{broker.instance.wall_time() + 3:.6f}"
    job = await _submit(broker, dependencies=[{"scheme": "begin-time", "value": begin}])
    await broker.advance(1)
    await ask(broker, "job-list.list-id", {"id": job, "attrs": ["state"]})
    await ask(broker, "job-manager.wait", {"id": job, "claim": False})
    after = await _submit(broker, run_time=1.0)
    for scheme in ("after", "afterany"):
        await _submit(broker, dependencies=[{"scheme": scheme, "value": jobid.encode(after)}])
    await ask(broker, "job-manager.drain")


async def _journal(broker: Broker) -> None:
    """One journal is followed, cancelled and silent from then on; another is left by its client."""
    client = broker.instance.client()
    stream = client.stream("job-manager.events-journal", {}, lambda *_: None)
    await ask(broker, "job-manager.wait", {"id": await _submit(broker), "claim": False})
    for matchtag in (stream.matchtag + 1, stream.matchtag):
        client.request("job-manager.events-journal-cancel", {"matchtag": matchtag})
        await broker.settle()
        await ask(broker, "job-manager.wait", {"id": await _submit(broker), "claim": False})
    client.close()
    job = await _submit(broker, run_time=1.0)
    watch = {"id": job, "path": "eventlog", "flags": 0}
    await leave(broker, "job-manager.events-journal", {}, stream=True)
    await leave(broker, "job-info.eventlog-watch", watch, stream=True)
    await leave(broker, "job-info.update-watch", {"id": job, "key": "R", "flags": 0}, stream=True)
    await ask(broker, "job-manager.wait", {"id": job, "claim": False})
    await ask(broker, "job-manager.events-journal", {})


async def _updated(broker: Broker) -> None:
    """R of a running job is followed while updates are appended to its eventlog, good ones and a bad one."""
    job = await _submit(broker, run_time=30.0)
    await broker.advance(0.5)
    client = broker.instance.client()
    for key in ("R", "jobspec", "nothing"):
        client.stream("job-info.update-watch", {"id": job, "key": key, "flags": 0}, lambda *_: None)
    for expiration in (100.0, 200.0, 200.0):
        await _append(broker, job, "resource-update", {"expiration": expiration})
    await ask(broker, "job-info.lookup", {"id": job, "keys": ["R"], "flags": 2})
    watch = client.stream("job-info.update-watch", {"id": job, "key": "R", "flags": 0}, lambda *_: None)
    await broker.settle()
    client.request("job-info.update-watch-cancel", {"matchtag": watch.matchtag})
    await _append(broker, job, "jobspec-update", {"attributes.system.duration": 77})
    await _append(broker, job, "jobspec-update", {"no.such.path": 1})
    await ask(broker, "job-manager.raise", {"id": job, "type": "cancel", "severity": 0})
    await ask(broker, "job-manager.drain")
    client.close()


async def _append(broker: Broker, job: int, name: str, context: dict[str, Any]) -> None:
    line = json.dumps({"timestamp": 1.0, "name": name, "context": context}, separators=(",", ":"))
    await commit(broker, put(jobid.job_kvspath(job, "eventlog"), line.encode() + b"\n", 32))
    await broker.settle()


async def _by_hand(broker: Broker) -> None:
    """The scheduler and the executor asked as the job manager does, and as it never would."""
    job = await _submit(broker, run_time=60.0)
    await broker.advance(0.5)
    await ask(broker, "sched.free", {"id": job, "final": True})
    spec = specs.build(["true"], run_time=1)
    wish = {"id": job + 1, "priority": 16, "userid": 0, "t_submit": 0.0, "jobspec": spec}
    client = broker.instance.client()
    for _ in range(2):
        client.request("sched.alloc", wish, lambda *_: None)
    await broker.advance(0.1)
    await ask(broker, "sched.renew")
    client.request("sched.renew")
    await broker.advance(0.1)
    await ask(broker, "sched.cancel", {"id": job + 1})
    await ask(broker, "job-manager.raise", {"id": job, "type": "cancel", "severity": 0})
    await ask(broker, "job-manager.drain")
    bad = {"id": 9, "userid": 0, "jobspec": {"version": 1, "tasks": 7}}
    await follow(broker, "job-exec.start", bad)
    await ask(broker, "job-exec.start", bad)
    client.close()
