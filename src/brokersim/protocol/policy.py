"""Knows the tables ``policy`` and ``queues`` of a configuration (RFC 33): what they may say and what they forbid a job.

It doesn't know whether a queue is open or started, nor who asks.
"""

from __future__ import annotations

from typing import Annotated

import msgspec

from brokersim.protocol.decoded import Json, JsonObject, JsonView
from brokersim.protocol.duration import format_duration, parse_duration
from brokersim.protocol.job_facts import JobFacts

Count = Annotated[int, msgspec.Meta(ge=-1)]
#: Characters that no property may have (RFC 20).
_BANNED = " \t!&'\"`|()"
UNLIMITED = -1


class Table(msgspec.Struct, forbid_unknown_fields=True, rename="kebab", gc=False):
    """A table of the configuration; a key it does not know is an error."""


class Size(Table):
    """So many of each; -1 is no limit, which is something else than none given."""

    nnodes: Count | None = None
    ncores: Count | None = None
    ngpus: Count | None = None


class JobSize(Table):
    """``job-size``."""

    min: Size = msgspec.field(default_factory=Size)
    max: Size = msgspec.field(default_factory=Size)


class Limits(Table):
    """``policy.limits``; a duration of ``"0"`` is no limit."""

    duration: str | None = None
    job_size: JobSize = msgspec.field(default_factory=JobSize)


class System(Table):
    """What a jobspec gets that does not say it itself."""

    duration: str | None = None
    queue: str | None = None

    def to_dict(self) -> JsonObject:
        """Attributes of a jobspec: the duration in seconds."""
        found: JsonObject = {}
        if self.queue is not None:
            found["queue"] = self.queue
        if self.duration is not None:
            found["duration"] = parse_duration(self.duration)
        return found


class Defaults(Table):
    """``policy.jobspec.defaults``."""

    system: System = msgspec.field(default_factory=System)


class JobspecPolicy(Table):
    """``policy.jobspec``."""

    defaults: Defaults = msgspec.field(default_factory=Defaults)


class Access(Table):
    """``policy.access``: read and checked; there are no guests here who could submit."""

    allow_user: list[str] = []
    allow_group: list[str] = []


class Policy(Table):
    """``policy``, of the instance or of one queue."""

    jobspec: JobspecPolicy = msgspec.field(default_factory=JobspecPolicy)
    limits: Limits = msgspec.field(default_factory=Limits)
    access: Access = msgspec.field(default_factory=Access)
    scheduler: Json = None


class Queue(Table):
    """``queues.NAME``: its policy, and the properties a node must have."""

    policy: Policy = msgspec.field(default_factory=Policy)
    requires: list[str] = []


class Rules(msgspec.Struct, gc=False):
    """What a configuration says of jobs and queues; its other tables are other people's."""

    policy: Policy = msgspec.field(default_factory=Policy)
    queues: dict[str, Queue] = {}

    @property
    def is_empty(self) -> bool:
        """Nothing is said: the common case, which must cost nothing."""
        return not self.queues and self.policy == Policy()

    def complete(self, jobspec: JsonObject) -> None:
        """Give a sound jobspec its defaults and its queue's constraint, in place. Raises ValueError for a queue that
        is not configured.

        What flux-core 0.88's frobnicator does by its plugins ``defaults`` and ``constraints``.
        """
        if self.is_empty:
            return
        attributes = jobspec["attributes"] = dict(jobspec.get("attributes") or {})
        system = attributes["system"] = dict(attributes.get("system") or {})
        defaults = self.policy.jobspec.defaults.system.to_dict()
        name = system.get("queue") or defaults.get("queue")
        own = self.queues.get(name) if isinstance(name, str) else None
        if name and self.queues and own is None:
            raise ValueError(f"Invalid queue '{name!s:.60}' specified")
        if own is not None:
            defaults |= own.policy.jobspec.defaults.system.to_dict()
            if own.requires:
                system["constraints"] = _narrowed(system.get("constraints"), own.requires)
        if "queue" in defaults:
            system.setdefault("queue", defaults["queue"])
        if "duration" in defaults and not system.get("duration"):
            system["duration"] = defaults["duration"]

    def refusal(self, facts: JobFacts) -> str:
        """Why a job is against the limits, ``""`` if it is not; those of its queue stand before the general ones."""
        if self.is_empty:
            return ""
        general = self.policy.limits
        own = self.queues[facts.queue].policy.limits if facts.queue in self.queues else Limits()
        where = f" for queue {facts.queue}" if facts.queue else ""
        return (
            _too_long(facts.duration, general.duration if own.duration is None else own.duration, where)
            or _beyond(facts, general.job_size.max, own.job_size.max, where)
            or _below(facts, general.job_size.min, own.job_size.min, where)
        )


def _too_long(duration: float, limit: str | None, where: str) -> str:
    most = parse_duration(limit) if limit is not None else 0.0
    if not most or 0 < duration <= most:
        return ""
    asked = format_duration(duration) if duration else "unlimited"
    return f"requested duration ({asked}) exceeds policy limit of {format_duration(most)}{where}"


def _sizes(facts: JobFacts, general: Size, own: Size) -> list[tuple[str, int, int]]:
    """What is asked, how many of it, and the limit: for each that has one."""
    found = []
    for what in ("nnodes", "ncores", "ngpus"):
        limit = getattr(own, what)
        limit = getattr(general, what) if limit is None else limit
        if limit not in (None, UNLIMITED):
            found.append((what, getattr(facts, what), limit))
    return found


def _beyond(facts: JobFacts, general: Size, own: Size, where: str) -> str:
    for what, number, limit in _sizes(facts, general, own):
        if number > limit:
            return f"requested {what} ({number}) exceeds policy limit of {limit}{where}"
    return ""


def _below(facts: JobFacts, general: Size, own: Size, where: str) -> str:
    for what, number, limit in _sizes(facts, general, own):
        if number < limit:
            return f"requested {what} ({number}) is under policy limit of {limit}{where}"
    return ""


def _narrowed(constraints: Json, properties: list[str]) -> JsonObject:
    """A job's own constraints and its queue's together."""
    if not constraints:
        return {"properties": list(properties)}
    if "properties" in constraints:
        have = constraints["properties"]
        return {**constraints, "properties": [*have, *(one for one in properties if one not in have)]}
    return {"and": [constraints, {"properties": list(properties)}]}


def to_rules(conf: JsonView | None) -> Rules:
    """The rules in a configuration. Raises ValueError that names the table and what is wrong there."""
    try:
        rules = msgspec.convert(conf or {}, Rules)
    except msgspec.ValidationError as error:
        raise ValueError(f"configuration: {error}") from None
    _check_policy("policy", rules.policy)
    for name, queue in rules.queues.items():
        _check_policy(f"queues.{name}.policy", queue.policy)
        if queue.policy.jobspec.defaults.system.queue is not None:
            raise ValueError(f"configuration: queues.{name}.policy must not define a default queue")
        for one in queue.requires:
            if not one or any(letter in _BANNED for letter in one):
                raise ValueError(
                    f"configuration: queues.{name}.requires: {one!r:.40} is no property (RFC 20)"
                )
    default = rules.policy.jobspec.defaults.system.queue
    if default is not None and default not in rules.queues:
        raise ValueError(f"configuration: the default queue {default!r:.60} is not in table queues")
    return rules


def _check_policy(where: str, policy: Policy) -> None:
    for what, text in (
        ("jobspec.defaults.system.duration", policy.jobspec.defaults.system.duration),
        ("limits.duration", policy.limits.duration),
    ):
        if text is not None:
            try:
                parse_duration(text)
            except ValueError as error:
                raise ValueError(f"configuration: {where}.{what}: {error}") from None
