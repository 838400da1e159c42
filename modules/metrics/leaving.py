"""Knows what becomes of what was counted when a rank's metrics service goes; not how it is counted."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from brokersim.brokermod import BrokerLogger, Handle, RequestError

from .member import Member
from .root import Root, Taker
from .stat import Rows, Stat

#: Seconds that the last epochs may take at unload.
_LAST_EPOCH = 5.0
#: Rows of one request when a rank goes.
_HANDOVER = 50


async def hand_over(handle: Handle, service: str, log: BrokerLogger, member: Member) -> None:
    """What was counted here is counted by the rank above from now on."""
    member.leave()
    for held in member.stats.values():
        rows = held.table.swap()
        for at in range(0, len(rows), _HANDOVER):
            part = {"name": held.stat.name, "hash": held.stat.hash, "rows": rows[at : at + _HANDOVER]}
            try:
                assert handle.parent is not None
                await handle.call(f"{service}.handover", part, handle.parent)
            except RequestError as error:
                log.warning(f"{len(rows) - at} rows of stat {held.stat.name} are lost: {error}")
                held.carry(rows[at:])  # gone with this module, and not unheard of
                break


async def end_epochs(handle: Handle, root: Root) -> None:
    """Whoever sent rows has them no more: collections under way end too, in time or with what they have."""
    courses = [one for one in root.courses.values() if one.stat.definition.epoch or one.open is not None]
    left = len(courses)

    def begin(done: Callable[[Any], None]) -> None:
        def give_up() -> None:
            for course in courses:
                if course.open is not None:
                    course.open.expire()
            done(None)

        limit = handle.call_later(_LAST_EPOCH, give_up)

        def ended() -> None:
            nonlocal left
            left -= 1
            if not left and limit.is_active:
                limit.cancel()
                done(None)

        for course in courses:
            if course.stat.definition.epoch:
                root.end_epoch(course, [_Told(ended)])
            else:
                course.takers.append(_Told(ended))

    if courses:
        await handle.occurrence(begin)


class _Told(Taker):
    def __init__(self, told: Callable[[], object]) -> None:
        self._told = told

    def rows(self, stat: Stat, rows: Rows) -> None:
        """Its takers have them."""

    def end(self, stat: Stat, record: dict[str, Any]) -> None:
        self._told()
