"""Knows the states of a job and which event leads where (RFC 21); not what is done in a state."""

from __future__ import annotations

from enum import IntEnum
from typing import Final

from brokersim.protocol.decoded import JsonView


class State(IntEnum):
    """A job's state; the value is its bit in job-list's masks (RFC 21)."""

    NEW = 1
    DEPEND = 2
    PRIORITY = 4
    SCHED = 8
    RUN = 16
    CLEANUP = 32
    INACTIVE = 64


#: Masks users of job-list know: jobs that wait, jobs that hold or are about to give back resources, all of them.
PENDING: Final = State.DEPEND | State.PRIORITY | State.SCHED
RUNNING: Final = State.RUN | State.CLEANUP
ACTIVE: Final = PENDING | RUNNING

#: Priorities by urgency (RFC 30): 0 holds a job, 31 puts it before all others.
URGENCY_DEFAULT: Final = 16
URGENCY_MAX: Final = 31
PRIORITY_MAX: Final = 4294967295

TRANSITIONS: Final = {
    (State.NEW, "validate"): State.DEPEND,
    (State.DEPEND, "depend"): State.PRIORITY,
    (State.PRIORITY, "priority"): State.SCHED,
    (State.SCHED, "flux-restart"): State.PRIORITY,
    # What the scheduler was asked holds no longer.
    (State.SCHED, "jobspec-update"): State.PRIORITY,
    (State.SCHED, "alloc"): State.RUN,
    (State.RUN, "finish"): State.CLEANUP,
    (State.CLEANUP, "clean"): State.INACTIVE,
}

_BEFORE_END: Final = State.NEW | ACTIVE
#: The states in which an event may come, as a mask; events not named may come in any but INACTIVE.
ALLOWED: Final = {
    "submit": State.NEW,
    "validate": State.NEW,
    "invalidate": State.NEW,
    "dependency-add": State.NEW | State.DEPEND,
    "dependency-remove": State.DEPEND,
    "depend": State.DEPEND,
    "priority": State.PRIORITY | State.SCHED,
    "alloc": State.SCHED | State.CLEANUP,
    "start": RUNNING,
    "finish": RUNNING,
    "release": RUNNING,
    "free": State.CLEANUP,
    "clean": State.CLEANUP,
}


def next_state(state: State, name: str, context: JsonView | None = None) -> State:
    """The state after an event. Raises ValueError if that event cannot come in that state."""
    if not state & ALLOWED.get(name, _BEFORE_END):
        raise ValueError(f"event {name} cannot come in state {state.name}")
    if name == "exception":
        fatal = context is None or context.get("severity", 0) == 0
        return State.CLEANUP if fatal else state
    return TRANSITIONS.get((state, name), state)


def priority_of(urgency: int) -> int:
    """The priority a job gets from its urgency when no priority plugin says otherwise."""
    return PRIORITY_MAX if urgency == URGENCY_MAX else urgency


#: In the order of the states; an enum's `name` is a descriptor that costs ten times a tuple's entry.
_NAMES: Final = tuple(state.name for state in State)


class StateCounts:
    """How many jobs are in each state; at every instant they sum to ``submitted`` (journal law L8)."""

    __slots__ = ("_counts", "submitted")

    def __init__(self) -> None:
        self._counts = dict.fromkeys(State, 0)
        self.submitted = 0

    def enter(self, state: State = State.NEW) -> None:
        """A job came to be, in ``state``."""
        self.submitted += 1
        self._counts[state] += 1

    def move(self, old: State, new: State) -> None:
        """A job went from one state to another."""
        self._counts[old] -= 1
        self._counts[new] += 1

    def __getitem__(self, state: State) -> int:
        return self._counts[state]

    def to_dict(self) -> dict[str, int]:
        """``{"NEW": n, … "INACTIVE": n}``."""
        return dict(zip(_NAMES, self._counts.values(), strict=True))
