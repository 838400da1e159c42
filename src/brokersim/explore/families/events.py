"""Knows events as clients use them: who subscribed gets each one that was acknowledged, once and in order."""

from __future__ import annotations

import random
from typing import Any

from brokersim.explore.families.family import Family
from brokersim.explore.plan import Step
from brokersim.explore.world import Client, World
from brokersim.protocol.decoded import JsonObject

_TOPICS = ("news.a", "news.b")


def _publish(rng: random.Random, _: int) -> JsonObject:
    return {"topic": rng.choice(_TOPICS)}


def _subscribe(rng: random.Random, _: int) -> JsonObject:
    return {"prefix": rng.choice(("news", *_TOPICS))}


def _do_publish(world: World, step: Step) -> None:
    payload = {"topic": step.args["topic"], "flags": 0}
    world.ask(step, "event.publish", payload, nodeid=0)


def _do_subscribe(world: World, step: Step) -> None:
    client = world.client(step)
    asked = world.ask(
        step, "event.subscribe", {"topic": step.args["prefix"]}, nodeid=step.rank, client=client
    )
    world.kept.setdefault("subscribers", []).append((asked, client))


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
        for asked in published:
            is_for_it = asked.step.args["topic"].startswith(subscribed.step.args["prefix"])
            if is_for_it and asked.sent > subscribed.answered and asked.value["seq"] not in got:
                broken.append(
                    f"events: event {asked.value['seq']} ({asked.step.args['topic']}), published by step"
                    f" {asked.step.id} and acknowledged, never came to the subscriber of step {subscribed.step.id}"
                )
    return broken


EVENTS = Family(
    name="events",
    modules=(),
    topics=("event.publish", "event.subscribe", "news.a", "news.b"),
    draws={"publish": _publish, "subscribe": _subscribe},
    does={"publish": _do_publish, "subscribe": _do_subscribe},
    check=_check,
)
