"""Knows the payloads of job-list's requests and of the journal it follows; not what is done with them."""

from __future__ import annotations

from typing import Any

import msgspec


class List(msgspec.Struct, gc=False):
    """Payload of job-list.list; without ``constraint`` the older keys count: userid, states, results, name, queue."""

    max_entries: int
    attrs: Any
    since: float = 0.0
    constraint: Any = None
    userid: int = 0xFFFFFFFF
    states: int = 0
    results: int = 0
    name: str | None = None
    queue: str | None = None

    def wanted(self) -> Any:
        """The constraint, or what the older keys say as one."""
        if self.constraint is not None:
            return self.constraint
        older = (
            ("userid", self.userid if self.userid != 0xFFFFFFFF else None), ("states", self.states or None),
            ("results", self.results or None), ("name", self.name), ("queue", self.queue),
        )  # fmt: skip
        return {"and": [{key: [value]} for key, value in older if value is not None]}


class ListId(msgspec.Struct, gc=False):
    """Payload of job-list.list-id; with ``state`` it is answered when the job has come to one of that mask."""

    id: int
    attrs: Any
    state: int = 0


class Purged(msgspec.Struct, gc=False):
    """Payload of event job-purge-inactive."""

    jobs: list[int]


class Limits(msgspec.Struct, gc=False):
    """Table ``job-list`` of the configuration."""

    max_comparisons: int = 1_000_000


class Conf(msgspec.Struct, gc=False):
    """What is read of a configuration."""

    job_list: Limits = msgspec.field(name="job-list", default_factory=Limits)
    queues: dict[str, Any] = {}


def to_conf(given: Any) -> Conf:
    """What a configuration says to job-list. Raises ValueError that names what is wrong."""
    conf = msgspec.convert(given or {}, Conf)
    if conf.job_list.max_comparisons < 0:
        raise ValueError("job-list.max_comparisons must be >= 0 (0 is no limit)")
    return conf
