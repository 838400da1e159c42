"""Knows cron as clients use it: entries fire while they are there and no more when they are gone, once at a time."""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence

from brokersim.explore.families.family import Family
from brokersim.explore.plan import Step
from brokersim.explore.world import Asked, World
from brokersim.protocol.decoded import JsonObject
from brokersim.protocol.errnums import EINVAL, ENOENT, RequestError
from brokersim.protocol.message import Message

#: Seconds after a deletion within which what was published before may be heard: longer than hand-overs take.
_SOON = 0.3
#: Seconds in which an entry that is to run runs: the longest interval, and the heartbeats it waits for.
_LONGEST = 8.0
#: Seconds between two heartbeats, which runs wait for.
_BEAT = 2.0
_CHANGES = ("cron.stop", "cron.start", "cron.delete")


def _create(rng: random.Random, number: int) -> JsonObject:
    return {
        **_when(rng),
        "asks": rng.choice(("", "", "", "", "cron.list", "cron.nosuch")),
        "most": rng.choice((0, 2)),
    }


def _when(rng: random.Random) -> JsonObject:
    if rng.random() < 0.3:
        schedule: JsonObject = {"topic": "cue", "nth": rng.choice((0, 2)), "after": rng.choice((0, 1))}
        return {"type": "event", "schedule": schedule, "repeat": rng.choice((0, 0, 2))}
    if rng.random() < 0.15:
        return {"type": "at", "schedule": {"after": rng.choice((0.1, 1.0, 4.0))}, "repeat": 1}
    return {
        "type": "interval",
        "schedule": {"interval": rng.choice((0.1, 0.5, 3.0))},
        "repeat": rng.choice((0, 0, 2)),
    }


def _one(rng: random.Random, _: int) -> JsonObject:
    return {"which": rng.randrange(3)}


def _none(_rng: random.Random, _: int) -> JsonObject:
    return {}


def _sync(rng: random.Random, _: int) -> JsonObject:
    return {"waits": rng.choice((False, False, True))}


def _begin(world: World) -> None:
    """Whoever listens to what entries publish, on rank 0, hears it at once."""
    broker = world.instance.broker(0)
    ticks: list[tuple[float, str]] = world.kept.setdefault("ticks", [])
    torn: list[str] = world.kept.setdefault("torn", [])
    listener = world.client(Step(id=-2, op="cron.listen"))

    def heard(event: Message) -> None:
        ticks.append((world.now, event.topic))
        if event.topic != "cue" and event.data != {"of": event.topic}:
            torn.append(event.topic)

    listener.heard = heard
    broker.subscribe("tick.", listener)
    broker.subscribe("cue", listener)


def _do_create(world: World, step: Step) -> None:
    args, client = step.args, world.client(step)
    schedule = args["schedule"]
    if args["type"] == "at":
        schedule = {"time": client.time() + schedule["after"]}
    topic = f"tick.{step.id}"
    if asks := args.get("asks"):
        schedule = {**schedule, "message": {"topic": asks, "payload": {}}}
    payload = {
        "type": args["type"], "name": f"e{step.id}", "args": schedule, "command": f'event:{topic} {{"of": "{topic}"}}',
        "repeat": args["repeat"], "stop-on-failure": args.get("most", 0),
    }  # fmt: skip
    world.ask(step, "cron.create", payload, client=client)


def _do_cue(world: World, step: Step) -> None:
    client = world.client(step)
    client.publish("cue")
    client.close()


def _do_sync(world: World, step: Step) -> None:
    """From now on runs wait for the next heartbeat, as they do from the start, or for nothing."""
    waits = step.args["waits"]
    world.ask(step, "cron.sync", {"topic": "heartbeat.pulse"} if waits else {"disable": True})


def _do_delete(world: World, step: Step) -> None:
    _change(world, step, "cron.delete")


def _do_stop(world: World, step: Step) -> None:
    _change(world, step, "cron.stop")


def _do_start(world: World, step: Step) -> None:
    """Of an entry that is stopped: if none is, one is first."""
    stopped = [made for made in world.acked("cron.create") if _is_stopped(world, made.value["id"])]
    if stopped:
        _change(world, step, "cron.start", stopped)
        return

    def then(asked: Asked) -> None:
        if asked.is_acked and step.rank not in world.down:
            world.ask(step, "cron.start", asked.payload)

    _change(world, step, "cron.stop", then=then)


def _is_stopped(world: World, number: int) -> bool:
    """As far as those know who stopped it."""
    changes = [
        asked
        for asked in world.asked
        if asked.topic in ("cron.stop", "cron.start") and asked.payload["id"] == number and asked.is_acked
    ]
    return bool(changes) and max(changes, key=lambda asked: asked.answered or 0).topic == "cron.stop"


def _change(
    world: World,
    step: Step,
    topic: str,
    among: Sequence[Asked] = (),
    then: Callable[[Asked], object] | None = None,
) -> None:
    created = among or world.acked("cron.create")
    if created:
        entry = created[step.args["which"] % len(created)].value["id"]
        world.ask(step, topic, {"id": entry}, then)


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
    broken = [
        f"cron: {topic} was published without its payload" for topic in dict.fromkeys(world.kept["torn"])
    ]
    for created in world.acked("cron.create"):
        number = created.value["id"]
        if created.step.args.get("asks"):
            broken += _judge_asks(world, created, entries.get(number))
            continue
        heard = [when for when, topic in ticks if topic == f"tick.{created.step.id}"]
        deleted = _done(world, "cron.delete", number)
        was_asked = any(
            asked.topic == "cron.delete" and asked.payload["id"] == number for asked in world.asked
        )
        broken += _judge(created, entries.get(number), heard, deleted, was_asked)
        broken += _judge_stop(world, created, heard)
        broken += _judge_silence(world, created, entries.get(number), heard)
        broken += _judge_counts(world, created, entries.get(number), heard)
        broken += _judge_restart(world, created, entries.get(number), heard)
        broken += _judge_times(world, created, entries.get(number), heard)
    return broken


def _judge_asks(world: World, created: Asked, entry: JsonObject | None) -> list[str]:
    """One that asks succeeds if it is answered well, fails else, and stops after as many failures as it may have."""
    if entry is None or world.failing:
        return []
    args, stats = created.step.args, entry["stats"]
    name = f"cron: entry {entry['id']} (step {created.step.id})"
    under_way = stats["total"] - stats["success"] - stats["failure"]
    if not 0 <= under_way <= 1:
        return [f"{name} ran {stats['total']} times, of which {under_way} have no end"]
    wrong = "success" if args["asks"] == "cron.nosuch" else "failure"
    if stats[wrong]:
        return [f"{name} asks {args['asks']}, and that was a {wrong} {stats[wrong]} times"]
    if args["most"] and stats["failcount"] >= args["most"] and not entry["stopped"]:
        return [f"{name} failed {stats['failcount']} times and goes on, where {args['most']} end it"]
    if args["most"] and stats["failcount"] > args["most"]:
        return [f"{name} failed {stats['failcount']} times, where {args['most']} end it"]
    return []


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
        late = [when for when in heard if when > deleted.said + _SOON]
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
        # One that was sent before may come later.
        starts = [one.answered for one in ours if one.topic == "cron.start"]
        is_last = all(answered is not None and answered < stop.sent for answered in starts)
        late = [when for when in heard if when > stop.said + _SOON]
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


def _judge_counts(world: World, created: Asked, entry: JsonObject | None, heard: list[float]) -> list[str]:
    """One that nobody stopped, started or deleted has counted each event, and run as often as its times say."""
    number = created.value["id"]
    changes = [asked for asked in world.asked if asked.topic in _CHANGES and asked.payload["id"] == number]
    if entry is None or changes or world.failing:
        return []
    name, args = f"cron: entry {number} (step {created.step.id})", created.step.args
    schedule, repeat = args["schedule"], args["repeat"]
    if args["type"] == "event":
        cues = [when for when, topic in world.kept["ticks"] if topic == "cue"]
        least = sum(when > created.said + _SOON for when in cues)
        most = sum(when > created.when - _SOON for when in cues)
        runs = [_runs(schedule, cues, repeat) for cues in range(least, most + 1)]
        total = entry["stats"]["total"]
        # While runs wait for a beat those that come due meanwhile are dropped; else none is.
        is_short = total < min(runs) if _never_waits(world, created.when) else min(runs) and not total
        if total > max(runs) or is_short:
            return [f"{name} ran {total} times on {least} to {most} events"]
        return []
    if args["type"] == "at":
        due = created.when + schedule["after"] + world.slack
        return [] if len(heard) == 1 or world.now < due + _BEAT else [f"{name} was heard {len(heard)} times"]
    span = world.now - created.said
    most = repeat or int((world.now - created.when) / schedule["interval"]) + 2
    if len(heard) > most:
        return [f"{name} was heard {len(heard)} times in {span:.1f} s"]
    every = max(schedule["interval"], _BEAT)
    least = int((span - 2 * _BEAT) / every) - 1
    least = min(least, repeat) if repeat else least
    if len(heard) < least:
        return [f"{name} was heard {len(heard)} times in {span:.1f} s, and should {least} times"]
    return []


def _judge_restart(world: World, created: Asked, entry: JsonObject | None, heard: list[float]) -> list[str]:
    """One that was started anew counts its runs from there; one may wait for its beat."""
    number = created.value["id"]
    changes = [asked for asked in world.asked if asked.topic in _CHANGES and asked.payload["id"] == number]
    starts = [asked for asked in changes if asked.topic == "cron.start" and asked.is_acked]
    if entry is None or not starts:
        return []
    last = max(starts, key=lambda asked: asked.answered or 0)
    if any(one.answered is None or one.answered > last.sent for one in changes if one is not last):
        return []
    args, count = created.step.args, entry["stats"]["count"]
    if args["type"] == "event":
        cues = [when for when, topic in world.kept["ticks"] if topic == "cue"]
        most = sum(when > last.when - _SOON for when in cues)
        if count > max(_runs(args["schedule"], cues, args["repeat"]) for cues in range(most + 1)):
            return [
                f"cron: entry {number} (step {created.step.id}) counts {count} runs on {most} events at most"
            ]
    since = sum(when >= last.when for when in heard)
    if count <= since + 1:
        return []
    return [
        f"cron: entry {number} (step {created.step.id}) counts {count} runs, and had {since} since it was started"
    ]


def _judge_times(world: World, created: Asked, entry: JsonObject | None, heard: list[float]) -> list[str]:
    """Runs that wait for nothing come when they are due, and the thousandth as well as the first."""
    if entry is None or created.step.args["type"] != "interval" or world.failing:
        return []
    changes = [one for one in world.asked if one.topic in _CHANGES and one.payload["id"] == entry["id"]]
    begun = max([created, *changes], key=lambda one: one.sent)
    if begun is not created and (begun.topic != "cron.start" or not begun.is_acked):
        return []
    is_clear = all(
        one.answered is not None and one.answered < begun.sent for one in changes if one is not begun
    )
    # A run that was under way when it was started anew is one of those before.
    ours = [when for when in heard if begun is created or when > begun.said + world.slack]
    if not is_clear or not _never_waits(world, created.when):
        return []
    interval = created.step.args["schedule"]["interval"]
    off = [when - (begun.when + (at + 1) * interval) for at, when in enumerate(ours)]
    late = world.now - (begun.when + (len(ours) + 1) * interval)
    if not entry["stopped"] and late > world.slack:
        off.append(late)
    if off and max(map(abs, off)) > world.slack:
        worst = max(off, key=abs)
        return [f"cron: entry {entry['id']} (step {created.step.id}) ran {worst:+.3f} s from when it was due"]
    return []


def _never_waits(world: World, since: float) -> bool:
    """Runs have not had to wait for a beat from then (s of the instance's clock) on."""
    syncs = world.of("cron.sync")
    return not any(one.step.args["waits"] for one in syncs) and any(
        one.is_acked and one.said < since for one in syncs
    )


def _runs(schedule: dict[str, int], cues: int, repeat: int) -> int:
    """Of so many events, those that it runs on."""
    nth, after = schedule["nth"] or 1, max(1, schedule["after"])
    first = after if not schedule["nth"] or schedule["after"] else nth
    due = 0 if cues < first else 1 + (cues - first) // nth
    return min(due, repeat) if repeat else due


CRON = Family(
    name="cron",
    modules=("heartbeat", "cron"),
    topics=("cron.create", "cron.delete", "heartbeat.pulse", "cue"),
    draws={"create": _create, "cue": _none, "delete": _one, "stop": _one, "start": _one, "sync": _sync},
    does={
        "create": _do_create,
        "cue": _do_cue,
        "delete": _do_delete,
        "stop": _do_stop,
        "start": _do_start,
        "sync": _do_sync,
    },
    check=_check,
    fair={"create": (), "delete": (ENOENT,), "stop": (EINVAL, ENOENT), "start": (EINVAL, ENOENT), "sync": ()},
    themes=(
        ("create", "sync"),
        ("create", "cue"),
        ("create", "cue", "stop", "start"),
        ("create", "delete", "cue"),
        ("create", "stop", "start"),
    ),
    optional=("asks", "most"),
    events=("heartbeat.pulse", "cue"),
    begin=_begin,
    makes={"create": 1},
)
