"""The strict dialect: our own grammar, shown by statsd's names.

Knows nothing of any server's habits.
"""

from __future__ import annotations

from typing import ClassVar

from brokersim.statsd.config import AggregatorConfig
from brokersim.statsd.dialects.graphite import GraphiteDialect
from brokersim.statsd.keys import shown_key, stored_key
from brokersim.statsd.parse import judge_strict
from brokersim.statsd.sample import NOTHING, BadLineError, Judgement, bad


class Strict(GraphiteDialect):
    """Every doubt is a bad line; nobody but us writes our own metrics."""

    name: ClassVar[str] = "strict"
    has_forms: ClassVar[bool] = True
    packs_values: ClassVar[bool] = True

    def __init__(self, config: AggregatorConfig) -> None:
        super().__init__(config)
        self._reserved = self.plain_unless = f"{config.prefix_stats}.".encode()

    def judge(self, line: bytes) -> Judgement:
        if not line:
            return NOTHING
        try:
            return Judgement(judge_strict(line, self._reserved))
        except BadLineError as error:
            return bad(error.reason)

    def text(self, key: bytes) -> str:
        return shown_key(key)

    def stored(self, key: bytes) -> bytes:
        return stored_key(key)
