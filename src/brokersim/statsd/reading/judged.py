"""Lines one at a time: in full as the dialect judges them, or by their form, if that was judged before.

Knows nothing of packets, nor of how plain lines are taken in faster.
"""

from __future__ import annotations

from collections.abc import Callable

from brokersim.statsd.dialects.base import Dialect
from brokersim.statsd.forms import Forms
from brokersim.statsd.health import BadLineRing, Intake
from brokersim.statsd.numbers import EXACT_DIGITS
from brokersim.statsd.stored.store import Store

# Bytes of `42|c` that are known to be 42. Bounded, because a sender chooses what is in it.
_MEMO_LIMIT = 4096
# Samples between two looks for timers over their cap; a key may be over it by as many, and by one packed line.
_FOLD_EVERY = 20_000
#: Who sent the packet or line at an index. It is only asked when it matters: finding out costs as much as some lines.
SenderOf = Callable[[int], str | None]


class Judged:
    """Takes lines into a store; bad ones are counted by reason and kept in a ring."""

    def __init__(self, dialect: Dialect, store: Store, intake: Intake, ring: BadLineRing) -> None:
        self._dialect = dialect
        self._store = store
        self._intake = intake
        self._ring = ring
        self.forms = Forms(dialect.without_forms, store.reader)
        #: What fields of counters say; open to whoever takes plain lines in faster.
        self.memo: dict[bytes, int] = {}
        self._until_fold = _FOLD_EVERY

    def take(self, line: bytes, sender_of: SenderOf, index: int, t: float) -> None:
        """Takes in a line of the packet, or the lines, at an index; ``t`` (s) is kept with bad ones."""
        if not self._take_form(line):
            self._judge(line, sender_of(index), t)

    def _take_form(self, line: bytes) -> bool:
        """Takes in a line whose form was judged before; False if this one must be."""
        name, _, rest = line.partition(b":")
        field, _, suffix = rest.partition(b"|")
        form = self.forms.find((name, suffix))
        taken = 0 if form is None else self._store.take_known[form.kind](form.key, form.weight, field)
        self._until_fold -= taken
        return taken > 0

    def _judge(self, line: bytes, sender: str | None, t: float) -> None:
        judgement = self._dialect.judge(line)
        if not line and not judgement.bad:
            self._intake.lines -= 1
            return
        self._remember(line)
        if self._dialect.has_forms:
            self.forms.remember(line, judgement)
        self._until_fold -= len(judgement.samples)
        reasons = judgement.bad
        if judgement.samples and (reason := self._store.apply(judgement.samples, sender)):
            reasons = (*reasons, reason)
        for reason in reasons:
            self.note_bad(reason, line, sender, t)

    def _remember(self, line: bytes) -> None:
        """Keeps `42|c`, which is 42 in every dialect, so that the fast path takes it next time."""
        field = line.rpartition(b":")[2]
        digits = field[:-2]
        if (
            field[-2:] == b"|c"
            and digits.isdigit()
            and len(digits) <= EXACT_DIGITS
            and len(self.memo) < _MEMO_LIMIT
        ):
            self.memo[field] = int(digits)

    def note_bad(self, reason: str, line: bytes, sender: str | None, t: float) -> None:
        self._intake.bad_lines += 1
        self._intake.bad_by_reason[reason] += 1
        self._intake.last_bad_t = t
        self._ring.add(reason, line, sender, t)

    def note(self, lines: int, samples: int) -> None:
        """So many were taken in, here or elsewhere."""
        self._intake.lines += lines
        self._until_fold -= samples
        if self._until_fold < 0:
            self._store.timers.fold_long()
            # Looking through many keys must not cost more than what they were sent.
            self._until_fold = max(_FOLD_EVERY, len(self._store.timers.samples))
