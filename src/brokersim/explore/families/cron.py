"""Knows cron as clients use it: entries fire while they are there and no more when they are gone, once at a time."""

from __future__ import annotations

import random

from brokersim.explore.families.family import Family
from brokersim.explore.plan import Step
from brokersim.explore.world import Asked, World
from brokersim.protocol.decoded import JsonObject
from brokersim.protocol.errnums import RequestError

#: Seconds after a deletion within which what was published before may be heard: longer than hand-overs take.
_SOON = 0.3
#: Seconds in which an entry that is to run runs: the longest interval, and the heartbeats it waits for.
_LONGEST = 8.0


def _create(rng: random.Random, number: int) -> JsonObject:
    if rng.random() < 0.3:
        schedule: JsonObject = {"topic": "cue", "nth": rng.choice((0, 2)), "after": rng.choice((0, 1))}
        return {"type": "event", "schedule": schedule, "repeat": rng.choice((0, 0, 2))}
    return {
        "type": "interval",
        "schedule": {"interval": rng.choice((0.1, 0.5, 3.0))},
        "repeat": rng.choice((0, 0, 2)),
    }


def _one(rng: random.Random, _: int) -> JsonObject:
    return {"which": rng.randrange(3)}


def _none(_rng: random.Random, _: int) -> JsonObject:
    return {}


def _begin(world: World) -> None:
    """Whoever listens to what entries publish, on rank 0, hears it at once."""
    broker = world.instance.broker(0)
    ticks: list[tuple[float, str]] = world.kept.setdefault("ticks", [])
    listener = world.client(Step(id=-2, op="cron.listen"))
    listener.heard = lambda event: ticks.append((world.now, event.topic))
    broker.subscribe("tick.", listener)


def _do_create(world: World, step: Step) -> None:
    args = step.args
    payload = {
        "type": args["type"], "name": f"e{step.id}", "args": args["schedule"], "command": f"event:tick.{step.id}",
        "repeat": args["repeat"],
    }  # fmt: skip
    world.ask(step, "cron.create", payload)


def _do_cue(world: World, step: Step) -> None:
    client = world.client(step)
    client.publish("cue")
    client.close()


def _do_delete(world: World, step: Step) -> None:
    _change(world, step, "cron.delete")


def _do_stop(world: World, step: Step) -> None:
    _change(world, step, "cron.stop")


def _do_start(world: World, step: Step) -> None:
    _change(world, step, "cron.start")


def _change(world: World, step: Step, topic: str) -> None:
    created = world.acked("cron.create")
    if created:
        entry = created[step.args["which"] % len(created)].value["id"]
        world.ask(step, topic, {"id": entry})


async def _check(world: World) -> list[str]:
    if (0, "cron") in world.disturbed:
        return []  # its entries go with it, in Flux as here
    if world.acked("cron.create"):
        await world.instance.sleep(_LONGEST)  # who is to be heard at all is heard by then
    try:
        entries = {entry["id"]: entry for entry in (await world.call("cron.list", {}))["entries"]}
    except RequestError as error:
        return [f"cron: its entries cannot be listed at rest: {error}"]
    ticks: list[tuple[float, str]] = world.kept["ticks"]
    broken = []
    for created in world.acked("cron.create"):
        number = created.value["id"]
        heard = [when for when, topic in ticks if topic == f"tick.{created.step.id}"]
        deleted = _done(world, "cron.delete", number)
        was_asked = any(
            asked.topic == "cron.delete" and asked.payload["id"] == number for asked in world.asked
        )
        broken += _judge(created, entries.get(number), heard, deleted, was_asked)
        broken += _judge_stop(world, created, heard)
        broken += _judge_silence(world, created, entries.get(number), heard)
    return broken


def _done(world: World, topic: str, number: int) -> Asked | None:
    return next(
        (
            asked
            for asked in world.asked
            if asked.topic == topic and asked.payload["id"] == number and asked.is_acked
        ),
        None,
    )


def _judge(
    created: Asked, entry: JsonObject | None, heard: list[float], deleted: Asked | None, was_asked: bool
) -> list[str]:
    name = f"cron: entry {created.value['id']} (step {created.step.id})"
    if deleted is not None:
        late = [when for when in heard if when > deleted.when + _SOON]
        if late:
            return [f"{name} fired {len(late)} times after it was deleted"]
        return [f"{name} was deleted and is there"] if entry is not None else []
    if entry is None and was_asked:
        return []  # and maybe done, though the answer says otherwise
    if entry is None:
        return [f"{name} is gone, and nobody deleted it"]
    stats = entry["stats"]
    if stats["success"] != len(heard):
        return [f"{name} has {stats['success']} runs behind it, and was heard {len(heard)} times"]
    repeat = created.step.args["repeat"]
    if repeat and stats["count"] > repeat:
        return [f"{name} ran {stats['count']} times, and should {repeat} times"]
    return []


def _judge_stop(world: World, created: Asked, heard: list[float]) -> list[str]:
    """One that was stopped, and that nobody asked to start since, is silent, but for a run that waits for a beat."""
    number = created.value["id"]
    changes = [asked for asked in world.asked if asked.topic in ("cron.stop", "cron.start")]
    ours = [asked for asked in changes if asked.payload["id"] == number]
    for stop in ours:
        is_last = not any(one.topic == "cron.start" and one.sent > stop.sent - 1 for one in ours)
        late = [when for when in heard if when > stop.when + _SOON]
        if stop.topic == "cron.stop" and stop.is_acked and is_last and len(late) > 1:
            return [
                f"cron: entry {number} (step {created.step.id}) fired {len(late)} times after it was stopped"
            ]
    return []


def _judge_silence(world: World, created: Asked, entry: JsonObject | None, heard: list[float]) -> list[str]:
    """An interval that runs for ever has been heard of late."""
    args = created.step.args
    if entry is None or entry["stopped"] or args["type"] != "interval" or args["repeat"]:
        return []
    if any(when > world.now - _LONGEST for when in heard):
        return []
    return [f"cron: entry {entry['id']} (step {created.step.id}) was not heard for {_LONGEST} s"]


CRON = Family(
    name="cron",
    modules=("heartbeat", "cron"),
    topics=("cron.create", "cron.delete", "heartbeat.pulse", "cue"),
    draws={"create": _create, "cue": _none, "delete": _one, "stop": _one, "start": _one},
    does={"create": _do_create, "cue": _do_cue, "delete": _do_delete, "stop": _do_stop, "start": _do_start},
    check=_check,
    begin=_begin,
)
