"""Knows what a ping carries and how its answers are told in lines; not how it is sent."""

from __future__ import annotations

import time

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence

    from brokersim.protocol.decoded import JsonObject, JsonView

NS = 1_000_000_000


def now() -> int:
    """Nanoseconds of the clock that pings are timed by."""
    return time.clock_gettime_ns(time.CLOCK_MONOTONIC)


def payload_of(number: int, pad: str) -> JsonObject:
    """Of the ping with that number, from 0 on, sent now."""
    seconds, nanoseconds = divmod(now(), NS)
    return {"seq": number, "time.tv_sec": seconds, "time.tv_nsec": nanoseconds, "pad": pad}


def shown_target(service: str, rank: int | None) -> str:
    """``4!kvs``, or ``kvs`` where any rank may answer."""
    return service if rank is None else f"{rank}!{service}"


def reply_line(target: str, pad: int, answer: JsonView, elapsed: float, is_userid: bool) -> str:
    """One answer after ``elapsed`` milliseconds."""
    who = f" userid={answer.get('userid')} rolemask={answer.get('rolemask'):#x}" if is_userid else ""
    return (
        f"{target}.ping pad={pad}{who} seq={answer['seq']} time={elapsed:.3f} ms ({answer.get('route', '')})"
    )


def summary_line(sent: int, times: Sequence[float]) -> str:
    """Of several pings; ``""`` for fewer than two answers."""
    if len(times) < 2:
        return ""
    ranked = sorted(times)
    # The smallest time that so many in a hundred do not exceed: of two pings the 99th is the slower.
    middle, late = (ranked[-(-percent * len(ranked) // 100) - 1] for percent in (50, 99))
    points = [ranked[0], middle, late, ranked[-1]]
    shown = "/".join(f"{one:.3f}" for one in points)
    return f"{sent} sent, {len(ranked)} received, min/p50/p99/max {shown} ms"
