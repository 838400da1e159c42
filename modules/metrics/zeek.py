"""Knows the messages of the Zeek script of 2011, for whoever compares with it: a star, counted dones, an expiry.

All its faults are kept: a done that comes twice ends a collection early, a worker that says nothing loses the epoch
for all, after five minutes and with no record of it; only whoever waits for an answer is told. Sums only.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import attrs

from brokersim.brokermod import Handle

from .member import Member
from .reducers.sums import sum_state
from .stat import Row, Rows, Stat

COMPAT = "zeek-2011"
#: Entries of one results message (`cluster_send_in_groups_of`), and seconds after which its tables forget a collection.
GROUP = 50
EXPIRE = 300.0


@attrs.define(eq=False)
class _Collecting:
    stat: Stat
    logged: Callable[[Rows], object]
    lost: Callable[[int], object]
    data: dict[str, Any] = attrs.field(factory=dict)
    done_with: int = 0


class Script:
    """Manager on rank 0, worker on the others."""

    def __init__(self, handle: Handle, member: Member) -> None:
        self._handle = handle
        self._member = member
        self._collecting: dict[str, _Collecting] = {}

    # -- the manager

    def log_it(
        self, stat: Stat, uid: str, logged: Callable[[Rows], object], lost: Callable[[int], object]
    ) -> None:
        """The break: ask all workers; ``logged`` gets the rows once as many dones have come as there are workers.

        If they do not come ``lost`` is told how many did.
        """
        self._collecting[uid] = _Collecting(stat, logged, lost)
        self._handle.call_later(EXPIRE, self._expire, uid)
        told = {"uid": uid, "id": stat.streams[0].name, "filter_name": stat.name}
        self._handle.publish(f"{self._handle.name}.cluster_collect", told)

    def _expire(self, uid: str) -> None:
        one = self._collecting.pop(uid, None)
        if one is not None:
            one.lost(one.done_with)

    def results(self, told: dict[str, Any]) -> None:
        """cluster_results: add value by value; count dones, from whomever they are."""
        one = self._collecting.get(told["uid"])
        if one is None:
            return  # in the script a run-time error
        for text, value in told["data"].items():
            one.data[text] = one.data.get(text, 0) + value
        one.done_with += bool(told["done"])
        if one.done_with == self._handle.size - 1:
            del self._collecting[told["uid"]]
            now = round(self._handle.time() * 1e9)
            one.logged([[text, [[0, now, now, [_state(value)]]]] for text, value in sorted(one.data.items())])

    # -- a worker

    def collect(self, told: dict[str, Any]) -> None:
        """cluster_collect: queue what there is, reset the filter."""
        held = self._member.stats.get(told["filter_name"])
        if held is not None:
            data = {row[0]: _value(row) for row in held.table.swap()}
            self._handle.call_later(0.0, self._send_data, told, data)

    def _send_data(self, told: dict[str, Any], data: dict[str, Any]) -> None:
        """Up to 50 entries, moved out of the table; if any are left, once more behind what is queued."""
        part = {text: data.pop(text) for text in list(data)[:GROUP]}
        answer = {**told, "data": part, "done": not data}
        self._handle.publish(f"{self._handle.name}.cluster_results", answer)
        if data:
            self._handle.call_later(0.0, self._send_data, told, data)


def _state(value: Any) -> Any:
    return sum_state(value, []) if isinstance(value, int) else sum_state(0, [value])


def _value(row: Row) -> Any:
    state = row[1][0][3][0]
    return state if isinstance(state, int) else math.fsum(state)
