"""Knows events as clients use them: who subscribed gets each one that was acknowledged, once and in order."""

from __future__ import annotations

import random
from collections.abc import Callable
from typing import Any

from brokersim.explore.families.family import Family
from brokersim.explore.plan import Step
from brokersim.explore.world import Asked, Client, World
from brokersim.protocol.decoded import JsonObject

_TOPICS = ("news.a", "news.b")


def _publish(rng: random.Random, _: int) -> JsonObject:
    return {"topic": rng.choice(_TOPICS)}


def _subscribe(rng: random.Random, _: int) -> JsonObject:
    return {"prefix": rng.choice(("news", *_TOPICS))}


def _which(rng: random.Random, _: int) -> JsonObject:
    return {"which": rng.randrange(3)}


def _do_publish(world: World, step: Step) -> None:
    payload = {"topic": step.args["topic"], "flags": 0}
    world.ask(step, "event.publish", payload, nodeid=0)


def _do_subscribe(world: World, step: Step) -> None:
    _subscribe_to(world, step, step.args["prefix"])


def _subscribe_to(
    world: World, step: Step, prefix: str, then: Callable[[Asked], object] | None = None
) -> None:
    client = world.client(step)
    asked = world.ask(step, "event.subscribe", {"topic": prefix}, then, nodeid=step.rank, client=client)
    world.kept.setdefault("subscribers", []).append((asked, client))


def _do_unsubscribe(world: World, step: Step) -> None:
    """Somebody who has subscribed on this rank does so no more; if there is nobody, somebody does first."""
    there = [
        asked
        for asked, client in world.kept.get("subscribers", [])
        if asked.is_acked and client.is_open and asked.step.rank == step.rank
    ]
    if there:
        _leave(world, step, there[step.args["which"] % len(there)])
    else:
        _subscribe_to(world, step, "news", lambda asked: _leave(world, step, asked))


def _leave(world: World, step: Step, subscribed: Asked) -> None:
    if subscribed.is_acked and step.rank not in world.down:
        payload = subscribed.payload
        gone = world.ask(step, "event.unsubscribe", payload, nodeid=step.rank, client=subscribed.client)
        world.kept.setdefault("gone", {}).setdefault(subscribed.step.id, gone)


async def _check(world: World) -> list[str]:
    broken = []
    published = world.acked("events.publish")
    subscribers: list[tuple[Any, Client]] = world.kept.get("subscribers", [])
    for subscribed, client in subscribers:
        if not subscribed.is_acked or not client.is_open:
            continue
        got = [event.seq for event in client.events if event.topic.startswith("news")]
        if got != sorted(set(got)):
            broken.append(f"events: the subscriber of step {subscribed.step.id} was given {got}")
        gone = world.kept.get("gone", {}).get(subscribed.step.id)
        if gone is not None:
            broken += _after(subscribed, gone, published, got)
            continue
        for asked in published:
            is_for_it = asked.step.args["topic"].startswith(subscribed.payload["topic"])
            if is_for_it and asked.sent > subscribed.answered and asked.value["seq"] not in got:
                broken.append(
                    f"events: event {asked.value['seq']} ({asked.step.args['topic']}), published by step"
                    f" {asked.step.id} and acknowledged, never came to the subscriber of step {subscribed.step.id}"
                )
    return broken


def _after(subscribed: Asked, gone: Asked, published: list[Asked], got: list[int]) -> list[str]:
    """What came to one who had unsubscribed before it was published."""
    return [
        f"events: event {asked.value['seq']}, published by step {asked.step.id}, came to the subscriber of step"
        f" {subscribed.step.id}, who had unsubscribed by step {gone.step.id}"
        for asked in published
        if gone.is_acked and asked.sent > (gone.answered or 0) and asked.value["seq"] in got
    ]


EVENTS = Family(
    name="events",
    modules=(),
    topics=("event.publish", "event.subscribe", "news.a", "news.b"),
    draws={"publish": _publish, "subscribe": _subscribe, "unsubscribe": _which},
    does={"publish": _do_publish, "subscribe": _do_subscribe, "unsubscribe": _do_unsubscribe},
    check=_check,
    fair={"publish": (), "subscribe": ()},
)
