"""Knows how jobs are selected and shown (service job-list, RFC 31's constraints); not where they come from."""

from __future__ import annotations

import operator
import sys
from collections.abc import Callable, Iterable, Mapping, Sequence
from itertools import chain, islice
from typing import Any, Final, TypeAlias

from brokersim.brokermod import (
    JobRecord,
    JobTable,
    hostlist,
    job_facts,
    job_states,
    ranks,
)
from brokersim.brokermod import (
    JobState as State,
)

Test: TypeAlias = Callable[[JobRecord], bool]

#: A constraint deeper than this is a mistake or an attack on the stack.
DEPTH_MAX: Final = 32
#: Ranks beyond this are a mistake: more nodes than an instance can simulate.
RANKS_MAX: Final = 10_000_000
_INACTIVE: Final = State.INACTIVE


def _expiration(job: JobRecord) -> float | None:
    return job.R["execution"]["expiration"] if job.R else None


def _nodelist(job: JobRecord) -> str | None:
    return ",".join(job.R["execution"]["nodelist"]) if job.R else None


def _rank_ids(job: JobRecord) -> str:
    return ",".join(entry["rank"] for entry in job.R["execution"]["R_lite"]) if job.R else ""


def _ranks(job: JobRecord) -> str | None:
    """One rank as it is, more of them in brackets, as flux-core shows them."""
    ids = _rank_ids(job)
    if "," in ids:
        ids = ranks.format_ranks(ranks.parse_ranks(ids, RANKS_MAX))
    return f"[{ids}]" if "," in ids or "-" in ids else ids or None


def _nnodes(job: JobRecord) -> int | None:
    return (job_facts.counts_in(job.R)["node"] if job.R else 0) or job.facts.nnodes or None


def _ncores(job: JobRecord) -> int | None:
    """Those it has: a job that asked for whole nodes got more than it knew."""
    if job.R:
        return job_facts.counts_in(job.R)["core"]
    return None if job.facts.exclusive else job.facts.ncores


def _ntasks(job: JobRecord) -> int:
    per = job.facts.per_resource
    return job_facts.counts_in(job.R)[per[0]] * per[1] if per and job.R else job.facts.ntasks


def _ended(value: Callable[[JobRecord], Any]) -> Callable[[JobRecord], Any]:
    return lambda job: value(job) if job.state is _INACTIVE else None


#: Attribute → its value, None when the job has none (then it is left out, as in flux-core).
ATTRIBUTES: Final[dict[str, Callable[[JobRecord], Any]]] = {
    "userid": lambda job: job.userid,
    "urgency": lambda job: job.urgency,
    "priority": lambda job: job.priority if job.priority >= 0 else None,
    "t_submit": lambda job: job.t_submit,
    "t_depend": lambda job: job.t_depend or None,
    "t_priority": lambda job: job.t_priority or None,
    "t_sched": lambda job: job.t_sched or None,
    "t_run": lambda job: job.t_run or None,
    "t_cleanup": lambda job: job.t_cleanup or None,
    "t_inactive": lambda job: job.t_inactive or None,
    "state": lambda job: int(job.state),
    "name": lambda job: job.facts.name,
    "cwd": lambda job: job.facts.cwd,
    "queue": lambda job: job.facts.queue,
    "project": lambda job: job.facts.project,
    "bank": lambda job: job.facts.bank,
    "ntasks": _ntasks,
    "ncores": _ncores,
    "duration": lambda job: job.facts.duration,
    "nnodes": _nnodes,
    "ranks": _ranks,
    "nodelist": _nodelist,
    "expiration": _expiration,
    "success": _ended(lambda job: job.success),
    "result": _ended(lambda job: job.result),
    "waitstatus": lambda job: job.status,
    "exception_occurred": _ended(lambda job: job.exception is not None),
    "exception_type": lambda job: job.exception[0] if job.exception else None,
    "exception_severity": lambda job: 0 if job.exception else None,
    "exception_note": lambda job: job.exception[1] if job.exception else None,
    "annotations": lambda job: job.annotations,
    "dependencies": lambda job: list(job.waits_for) or None,
}


def columns(attrs: Sequence[Any]) -> dict[str, Callable[[JobRecord], Any]]:
    """The attributes asked for (``all`` is every one). Raises ValueError for one that does not exist."""
    if any(not isinstance(name, str) for name in attrs):
        raise ValueError("attr has no string value; give names")
    if "all" in attrs:
        return ATTRIBUTES
    for name in attrs:
        if name not in ATTRIBUTES and name != "id":
            raise ValueError(
                f"{name:.60} is not a valid attribute; there are: id, all, {', '.join(ATTRIBUTES)}"
            )
    return {name: ATTRIBUTES[name] for name in attrs if name != "id"}


def show(job: JobRecord, asked: Mapping[str, Callable[[JobRecord], Any]]) -> dict[str, Any]:
    """``{"id": n, …}`` with the attributes the job has."""
    shown: dict[str, Any] = {"id": job.id}
    for name, value_of in asked.items():
        value = value_of(job)
        if value is not None:
            shown[name] = value
    return shown


def select(
    jobs: JobTable[JobRecord], test: Test, max_entries: int = 0, since: float = 0.0, tries: int = 0
) -> Iterable[JobRecord]:
    """Matching jobs: pending by priority, then running newest first, then inactive newest first.

    ``max_entries`` 0 is no limit; inactive jobs only if they ended after ``since`` (seconds since the epoch).
    ``tries``, unless 0, is how many jobs may be looked at. Raises ValueError, as it is gone through, beyond that.
    """
    active = sorted(jobs.active.values(), key=_active_order)
    ended = reversed(jobs.inactive.values()) if since <= 0 else _ended_since(jobs, since)
    every = chain(active, ended)
    found = (job for job in (_at_most(every, tries) if tries else every) if test(job))
    return islice(found, max_entries) if 0 < max_entries < sys.maxsize else found


def _at_most(jobs: Iterable[JobRecord], tries: int) -> Iterable[JobRecord]:
    for tried, job in enumerate(jobs):
        if tried >= tries:
            raise ValueError("Excessive comparisons made, limit search via states or since")
        yield job


def _active_order(job: JobRecord) -> tuple[int, float, int]:
    if job.state < State.RUN:
        return (0, -float(job.priority), job.id)
    return (1, -job.t_run, job.id)


def _ended_since(jobs: JobTable[JobRecord], since: float) -> Iterable[JobRecord]:
    for job in reversed(jobs.inactive.values()):
        if job.t_inactive <= since:
            return
        yield job


# -- constraints: {"operator": [values]}


def to_test(constraint: Any, depth: int = 0) -> Test:
    """The test a constraint stands for; none selects every job. Raises ValueError that names the bad part."""
    if constraint is None or constraint == {}:
        return lambda job: True
    if not isinstance(constraint, Mapping) or depth > DEPTH_MAX:
        raise ValueError("constraint must be JSON object, of one operator and its list of values")
    if len(constraint) != 1:
        raise ValueError("constraint must only contain 1 element: an operator and its list of values")
    [(name, values)] = constraint.items()
    if not isinstance(values, Sequence) or isinstance(values, str):
        raise ValueError(f"operator {name:.40} values not an array: give a list")
    if name in _COMBINE:
        return _COMBINE[name]([to_test(value, depth + 1) for value in values])
    if name in _TIMES:
        if not values:
            raise ValueError(f"{name}: timestamp value not specified")
        return _all_of([_compare(name, value) for value in values])
    if name not in _MATCH:
        known = ", ".join((*_COMBINE, *_MATCH, *_TIMES))
        raise ValueError(f"unknown constraint operator: {name:.40}; there are: {known}")
    return _MATCH[name](values)


def _all_of(tests: Sequence[Test]) -> Test:
    return lambda job: all(test(job) for test in tests)


def _any_of(tests: Sequence[Test]) -> Test:
    return lambda job: any(test(job) for test in tests) if tests else True


def _none_of(tests: Sequence[Test]) -> Test:
    return lambda job: not all(test(job) for test in tests)


def _user(values: Sequence[Any]) -> Test:
    users = {user & _UNKNOWN_USER for user in _typed("userid", values, int)}  # -1 is said, too
    return lambda job: job.userid in users or _UNKNOWN_USER in users


def _states(values: Sequence[Any]) -> Test:
    mask = 0
    for value in values:
        mask |= _mask(value, _STATE_NAMES, "states")
    return lambda job: bool(job.state & mask)


def _results(values: Sequence[Any]) -> Test:
    mask = 0
    for value in values:
        mask |= _mask(value, _RESULT_NAMES, "results")
    return lambda job: job.state is _INACTIVE and bool(job.result & mask)


def _name(values: Sequence[Any]) -> Test:
    names = _typed("name", values, str)
    return lambda job: job.facts.name in names


def _queue(values: Sequence[Any]) -> Test:
    names = _typed("queue", values, str)
    return lambda job: job.facts.queue in names


def _hosts(values: Sequence[Any]) -> Test:
    """Jobs that have, or had, one of the hosts."""
    try:
        wanted = {host for value in _typed("host", values, str) for host in hostlist.expand(value)}
    except ValueError as error:
        what = "" if "must be" in str(error) else "host value not in valid Hostlist format: "
        raise ValueError(f"{what}{error}") from None
    return lambda job: bool(wanted.intersection(hostlist.expand(_nodelist(job) or "")))


def _on_ranks(values: Sequence[Any]) -> Test:
    """Jobs that have, or had, one of the ranks."""
    wanted = {rank for value in _typed("ranks", values, str) for rank in ranks.parse_ranks(value, RANKS_MAX)}
    return lambda job: bool(
        (mine := _rank_ids(job)) and wanted.intersection(ranks.parse_ranks(mine, RANKS_MAX))
    )


def _ids(values: Sequence[Any]) -> Test:
    ids = _typed("id", values, int)
    return lambda job: job.id in ids


def _typed(name: str, values: Sequence[Any], kind: type) -> list[Any]:
    if any(type(value) is not kind for value in values):
        raise ValueError(f"{name} value must be {_KIND_WORDS[kind]}")
    return list(values)


def _mask(value: Any, names: Mapping[str, int], where: str) -> int:
    if type(value) is int and 0 <= value <= sum(bit for bit in names.values() if bit.bit_count() == 1):
        return value
    if not isinstance(value, (str, int)):
        raise ValueError(f"{where} value invalid type")
    mask = names.get(value.lower()) if isinstance(value, str) else None
    if mask is None:
        known = ", ".join(names)
        raise ValueError(
            f"invalid {where} value '{value!s:.40}' specified; give a bit mask or one of {known}"
        )
    return mask


def _compare(name: str, value: Any) -> Test:
    if not isinstance(value, str):
        raise ValueError(f"{name} value must be a string")
    text = value
    sign = text[:2] if text[:2] in _SIGNS else text[:1]
    if sign not in _SIGNS:
        raise ValueError(
            f"timestamp comparison operator not specified: {name} {value!r:.40}; give >, >=, < or <="
        )
    try:
        compare, limit = _SIGNS[sign], float(text[len(sign) :])
    except ValueError:
        raise ValueError(f"Invalid timestamp value specified: {name} {value!r:.40}") from None
    if not limit >= 0:
        raise ValueError(f"timestamp value must be >= 0.0, not {limit:g}")
    attribute = ATTRIBUTES[name]
    return lambda job: (when := attribute(job)) is not None and compare(when, limit)


_KIND_WORDS: Final = {int: "an integer", str: "a string"}
_UNKNOWN_USER: Final = 0xFFFFFFFF
_STATE_NAMES: Final = {
    **{state.name.lower(): int(state) for state in State},
    "pending": 14,
    "running": 48,
    "active": int(job_states.ACTIVE),
}
_RESULT_NAMES: Final = {"completed": 1, "failed": 2, "canceled": 4, "timeout": 8}
_COMBINE: Final[dict[str, Callable[[Sequence[Test]], Test]]] = {
    "and": _all_of,
    "or": _any_of,
    "not": _none_of,
}
_MATCH: Final[dict[str, Callable[[Sequence[Any]], Test]]] = {
    "userid": _user,
    "states": _states,
    "results": _results,
    "name": _name,
    "queue": _queue,
    "hostlist": _hosts,
    "ranks": _on_ranks,
    "id": _ids,
}
_TIMES: Final = ("t_submit", "t_depend", "t_priority", "t_sched", "t_run", "t_cleanup", "t_inactive")
_SIGNS: Final = {">=": operator.ge, "<=": operator.le, ">": operator.gt, "<": operator.lt}
