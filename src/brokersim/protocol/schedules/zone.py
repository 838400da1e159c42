"""Knows time zones by name, this machine's own, and which instant a wall-clock time is; not which zone is wanted."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta, tzinfo
from zoneinfo import ZoneInfo

from brokersim.protocol.quoting import quoted


class _Local(tzinfo):
    """This machine's zone, by the rules it has now (``TZ``, else its own): what a datetime without a zone means."""

    def utcoffset(self, when: datetime | None) -> timedelta | None:
        return None if when is None else when.replace(tzinfo=None).astimezone().utcoffset()

    def dst(self, when: datetime | None) -> timedelta | None:
        return None

    def tzname(self, when: datetime | None) -> str | None:
        return None if when is None else when.replace(tzinfo=None).astimezone().tzname()

    def fromutc(self, when: datetime) -> datetime:
        instant = when.replace(tzinfo=UTC).timestamp()
        return datetime.fromtimestamp(instant).replace(tzinfo=self)


LOCAL = _Local()


def zone(name: str | None) -> tzinfo:
    """A zone by its IANA name, ``UTC``, or this machine's for None. Raises ValueError."""
    if name is None:
        return LOCAL
    if name == "UTC":
        return UTC
    try:
        return ZoneInfo(name)
    except (OSError, ValueError, KeyError):
        raise ValueError(
            f"tz {quoted(name)} is no time zone: give a name such as Europe/Berlin, or UTC"
        ) from None


def instant(wall: datetime) -> float:
    """Seconds since the epoch of a wall-clock time: the first of two, the end of the gap for one that is skipped."""
    where = wall.tzinfo
    found = wall.replace(fold=0).astimezone(UTC)
    if found.astimezone(where).replace(tzinfo=None) == wall.replace(tzinfo=None):
        return found.timestamp()
    # Skipped: by the old offset it lies behind the jump, by the new one (fold 1) before it. Look between the two.
    # The clock is changed at whole seconds.
    low, high = (at.replace(microsecond=0) for at in (wall.replace(fold=1).astimezone(UTC), found))
    new = high.astimezone(where).utcoffset()
    while high - low > timedelta(seconds=1):
        middle = (low + (high - low) / 2).replace(microsecond=0)
        if middle.astimezone(where).utcoffset() == new:
            high = middle
        else:
            low = middle
    return high.timestamp()
