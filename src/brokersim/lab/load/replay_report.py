"""Knows how answers to a replayed trace compare with the recorded ones; not how either was got. Imports no trio."""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence

import attrs

from brokersim.lab.load.message_trace import MessageTrace
from brokersim.protocol.decoded import Json, JsonObject
from brokersim.protocol.errnums import ENODATA, errname

#: Differences told one by one.
MOST_TOLD = 20
#: What is another in every run: a difference in one of these alone is none.
ALWAYS_NEW = {
    "id",
    "rootseq",
    "rootref",
    "t_submit",
    "matchtag",
    "uuid",
    "timestamp",
    "route",
    "time.tv_sec",
    "time.tv_nsec",
}


@attrs.frozen(kw_only=True)
class Differently:
    """One request that was answered otherwise than in the trace."""

    number: int
    topic: str
    then: str
    now: str


@attrs.frozen(kw_only=True)
class Replayed:
    """What came of a replay; times in seconds, medians over the requests that were answered both times."""

    sent: int
    same: int
    differently: tuple[Differently, ...]
    unanswered: int
    not_compared: int
    wall_s: float
    span_s: float
    median_then_s: float | None
    median_now_s: float | None
    left_out: dict[str, int]

    @property
    def is_same(self) -> bool:
        return not self.differently and not self.unanswered

    def to_json(self) -> JsonObject:
        return attrs.asdict(self) | {"differently": [attrs.asdict(one) for one in self.differently]}


class Replies:
    """Answers as they come in, in any order: ``payload(n)`` is what to send, ``take`` what came for it.

    Ids that the instance gives anew (of jobs) are translated: a request that named the recorded id names the new one.
    """

    def __init__(self, trace: MessageTrace) -> None:
        self._trace = trace
        self._took: dict[int, float] = {}
        self._told: dict[int, Differently | None] = {}
        self._ids: dict[int, int] = {}
        #: (s, number): when each answer came in the trace, those that are out first.
        self._answers = deque(
            sorted(
                (asked.at + asked.took_s, number)
                for number, asked in enumerate(trace.requests)
                if asked.took_s is not None
            )
        )

    def needs(self, number: int) -> int | None:
        """A request whose answer has to come before this one is sent; None: send it. Ask in the order of the trace.

        What had been answered in the trace has to have been answered again: its sender may have waited for that, and a
        trace does not say who sent what.
        """
        answers, at = self._answers, self._trace.requests[number].at
        while answers and answers[0][0] <= at and answers[0][1] < number:
            before = answers[0][1]
            if before not in self._took:
                return before
            answers.popleft()
        return None

    def give_up(self, number: int) -> None:
        """Its answer is not waited for any more before others are sent."""
        self._answers = deque(one for one in self._answers if one[1] != number)

    def payload(self, number: int) -> Json:
        payload = self._trace.requests[number].payload
        known = _id(payload)
        return payload if known not in self._ids else {**payload, "id": self._ids[known]}

    def take(self, number: int, errnum: int, payload: object, took_s: float) -> None:
        """The first answer counts; a stream's others are not compared."""
        if number in self._took:
            return
        self._took[number] = took_s
        asked = self._trace.requests[number]
        if not asked.is_answered:
            return
        recorded, given = _id(asked.answer), _id(payload)
        if recorded is not None and given is not None:
            self._ids[recorded] = given
        then, now = _said(asked.errnum, asked.answer), _said(errnum, payload)
        if _comparable(asked.errnum, asked.answer) == _comparable(errnum, payload):
            self._told[number] = None
        else:
            self._told[number] = Differently(number=number, topic=asked.topic, then=then, now=now)

    @property
    def is_complete(self) -> bool:
        """Everything that was answered in the trace has been answered again."""
        return all(
            number in self._took for number, asked in enumerate(self._trace.requests) if asked.is_answered
        )

    @property
    def has_all(self) -> bool:
        """Every request has been answered."""
        return len(self._took) == len(self._trace.requests)

    def result(self, wall_s: float) -> Replayed:
        requests = self._trace.requests
        compared = [number for number, one in enumerate(requests) if one.is_answered]
        both = [number for number in compared if number in self._took]
        return Replayed(
            sent=len(requests),
            same=sum(self._told.get(number, 1) is None for number in compared),
            differently=tuple(one for one in self._told.values() if one is not None),
            unanswered=len(compared) - len(both),
            not_compared=len(requests) - len(compared),
            wall_s=wall_s,
            span_s=self._trace.span,
            median_then_s=_median([requests[number].took_s or 0.0 for number in both]),
            median_now_s=_median([self._took[number] for number in both]),
            left_out=self._trace.left_out,
        )


def _id(value: object) -> int | None:
    """What an answer or a request calls ``id``, if it is a number."""
    found = value.get("id") if isinstance(value, dict) else None
    return found if type(found) is int else None


def _median(values: Sequence[float]) -> float | None:
    return sorted(values)[len(values) // 2] if values else None


def _comparable(errnum: int, answer: object) -> object:
    """The error, or the answer without what is new in every run. A trace without payloads has errors only."""
    if errnum:
        return errname(errnum)
    return (
        {key: one for key, one in answer.items() if key not in ALWAYS_NEW}
        if isinstance(answer, dict)
        else answer
    )


def _said(errnum: int, answer: object) -> str:
    if errnum == ENODATA:
        return "end of stream"
    if errnum:
        return errname(errnum)
    text = str(answer)
    return text if len(text) <= 120 else f"{text[:119]}…"
