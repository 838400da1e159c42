"""Knows all outputs of one server: how they are opened, get each flush, and end; not what any does with one."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence

import attrs
import trio

from brokersim.protocol.plurals import counted, one_of
from brokersim.statsd.flushed import Flush
from brokersim.statsd.slots import Slots
from brokersim.statsd_server.health import OutputStatistics
from brokersim.statsd_server.outputs import Output, PacketOutput, open_output, thinned
from brokersim.statsd_server.outputs.forward import Forward
from brokersim.statsd_server.outputs.graphite import Graphite
from brokersim.statsd_server.settings import ServeError, ServeSettings


def open_outputs(
    settings: ServeSettings, addresses: Sequence[str], *, inline: bool, log: Callable[[str], None]
) -> list[Output]:
    """Those of the settings, of a server that listens at ``addresses``. Raises ServeError."""
    # Files last: a start that fails for another reason leaves none behind that would be in the way of the next.
    urls = sorted(settings.outputs, key=lambda url: url.startswith("db:"))
    opened = [open_output(url, inline=inline, keeps=settings.keeps, goes_on=settings.goes_on) for url in urls]
    for output in opened:
        if isinstance(output, Forward) and output.leads_to(addresses):
            raise ServeError(f"output {output.target} is this server itself; what came in would never end")
        if isinstance(output, Graphite):
            output.warn = log
    return opened


def stores(settings: ServeSettings, opened: Sequence[Output]) -> list[Output]:
    """The same, each with no more flushes than it keeps."""

    def slots(step_us: int) -> Slots:
        return Slots(step_us, settings.dialect, settings.config)

    return [thinned(output, settings.keeps, slots) for output in opened]


class Outputs:
    """The outputs of a server under names of their own; one that breaks is put aside, the others go on."""

    def __init__(self, outputs: Sequence[Output], log: Callable[[str], None]) -> None:
        self._log = log
        self._life = trio.CancelScope(shield=True)
        self._outputs: dict[str, Output] = {}
        self._broken: dict[str, str] = {}
        self._missed: Counter[str] = Counter()
        for output in outputs:
            same = sum(name.partition("-")[0] == output.name for name in self._outputs)
            self._outputs[f"{output.name}-{same + 1}" if same else output.name] = output
        self.copies = [each.packet for each in outputs if isinstance(each, PacketOutput)]

    async def run(self) -> None:
        """Delivers until `close` and its grace; who is cancelled outside still delivers the last flush."""
        with self._life:
            async with trio.open_nursery() as nursery:
                for name in self._outputs:
                    nursery.start_soon(self._run, name)
        for each in self.statistics():
            if each.dropped:
                why = f" ({each.last_error})" if each.last_error else ""
                lost = counted(each.dropped, one_of(each.unit))
                were = "was" if each.dropped == 1 else "were"
                self._log(f"output {each.name}: {lost} {were} not delivered{why}")

    async def _run(self, name: str) -> None:
        try:
            await self._outputs[name].run()
        except Exception as error:
            self._put_aside(name, error)

    def _put_aside(self, name: str, error: Exception) -> None:
        if name not in self._broken:
            self._broken[name] = f"{type(error).__name__}: {error}"
            self._log(f"output {name} broke and gets nothing more: {self._broken[name]}")

    def offer(self, flush: Flush) -> None:
        for name, output in self._outputs.items():
            if name in self._broken:
                self._missed[name] += 1
                continue
            try:
                output.offer(flush)
            except Exception as error:
                self._put_aside(name, error)
                self._missed[name] += 1

    def close(self, grace_s: float) -> None:
        self.copies.clear()
        for output in self._outputs.values():
            output.close()
        self._life.deadline = trio.current_time() + grace_s

    def statistics(self) -> tuple[OutputStatistics, ...]:
        return tuple(self._told(name, output) for name, output in self._outputs.items())

    def _told(self, name: str, output: Output) -> OutputStatistics:
        told = attrs.evolve(output.statistics(), name=name)
        if name not in self._broken:
            return told
        missed = told.dropped + self._missed[name]
        return attrs.evolve(told, state="failed", last_error=self._broken[name], dropped=missed)
