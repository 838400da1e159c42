"""Knows what a service tells of itself, and how long it takes to answer: messages, and so in virtual time, too."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar, Final

from brokersim.brokermod import RequestError, errnums

from ..contract import COUNTER, STATE, Context, Field, Probe
from ..pointer import at_pointer, check_pointer

SIDES: Final = ("request", "response", "event", "control")
#: Why such a probe has no process of its own.
ASKS: Final = "it asks by messages, and a process beside the module has no way to"
COUNTERS: Final = {f"{way}.{side}": f"/{way}/{side}" for way in ("tx", "rx") for side in SIDES}


class Module(Probe):
    """What a module counts: its eight message counters, or what ``metrics`` point at in the answer of ``topic``."""

    summary = "message counters of a module, or numbers of any answer"
    fields: ClassVar[dict[str, Field]] = {
        name: Field(
            unit="{message}", kind=COUNTER, otel="brokersim.messages",
            attributes={"direction": name[:2], "type": name[3:]},
        )
        for name in COUNTERS
    }  # fmt: skip
    options: ClassVar[dict[str, Any]] = {"service": "", "topic": "", "metrics": {}}
    reads_machine = False

    @classmethod
    def inline_only(cls, config: Mapping[str, Any]) -> str:
        return ASKS

    @classmethod
    def check(cls, config: Mapping[str, Any]) -> None:
        if not config.get("service") and not config.get("topic"):
            raise ValueError("give service=NAME, such as kvs, or a topic")
        for pointer in (config.get("metrics") or {}).values():
            check_pointer(pointer)

    def open(self, context: Context) -> None:
        super().open(context)
        self._topic = self.config["topic"] or f"{self.config['service']}.stats-get"
        self._metrics = self.config["metrics"] or COUNTERS
        # `kvs.stats-get` is about the module kvs.
        self._subject = f"{context.subject}/module/{self._topic.rpartition('.')[0]}"

    async def read(self) -> Any:
        answer = await self.context.ask.call(self._topic, None, self.context.ask.rank)
        found: dict[str, Any] = {}
        partial = []
        for name, pointer in self._metrics.items():
            try:
                found[name] = at_pointer(answer, pointer)
            except LookupError:
                partial.append(name)
        return {self._subject: found | {"partial": partial}}


class Ping(Probe):
    """Round trip to a service of the parent and of rank 0, or of ``rank``; what cannot be reached is a state."""

    summary = "round trip to a service of another rank"
    fields: ClassVar[dict[str, Field]] = {
        "rtt": Field(unit="s", otel="brokersim.ping.duration"),
        "unreachable": Field(unit="", kind=STATE, otel="brokersim.ping.unreachable"),
    }
    options: ClassVar[dict[str, Any]] = {"service": "broker", "rank": -1}
    reads_machine = False

    @classmethod
    def inline_only(cls, config: Mapping[str, Any]) -> str:
        return ASKS

    async def read(self) -> Any:
        ask = self.context.ask
        wanted = self.config["rank"]
        targets = (
            dict.fromkeys([0 if ask.parent is None else ask.parent, 0]) if wanted < 0 else {wanted: None}
        )
        answer = {}
        for rank in targets:
            answer[f"{self.context.subject}/ping/{rank}/{self.config['service']}"] = await self._once(rank)
        return answer

    async def _once(self, rank: int) -> dict[str, Any]:
        ask = self.context.ask
        begun = ask.now()
        try:
            await ask.call(f"{self.config['service']}.ping", {"seq": 0, "pad": ""}, rank)
        except RequestError as error:
            return {"unreachable": errnums.errname(error.errno or 0)}
        return {"rtt": ask.now() - begun}
