"""Knows one hook's runs in a real Flux: its modules hooked by a preloaded library, its jobs simulated.

The figures are a `LiveRun`'s: the same load through the socket, packets on a real UDP port. What modules counted, and
how often their loops turned, the library tells when the instance has ended.
"""

from __future__ import annotations

from contextlib import ExitStack
from pathlib import Path
from tempfile import TemporaryDirectory

from brokersim.lab.measure.hook_run import HookTask, ModuleFigures
from brokersim.lab.measure.live_run import LiveRun
from brokersim.realflux.place import Flux
from brokersim.realflux.preload import read_reached, settings
from brokersim.realflux.started import started


class FluxRun(LiveRun):
    """One hook's real instance; ``library`` was built for this Flux. `found` ends it. Raises NoFlux."""

    def __init__(self, task: HookTask, flux: Flux, library: Path) -> None:
        self._flux = flux
        self._library = library
        super().__init__(task)

    def _start(self, opened: ExitStack) -> str:
        folder = Path(opened.enter_context(TemporaryDirectory(prefix="brokersim-flux-")))
        self._report = folder / "reached"
        self._instance = opened.enter_context(ExitStack())
        added = settings(self._library, self._task.hook, self._listener.address, self._report)
        return self._instance.enter_context(started(self._flux, self._task.size, added))

    @property
    def _is_masked(self) -> bool:
        return True  # without a hook turns and messages are counted all the same

    def _figures(self) -> tuple[ModuleFigures, ...]:
        self._instance.close()
        return tuple(
            ModuleFigures(name=name, counts=one.counts, iterations=one.turns, packets=one.packets)
            for (_rank, name), one in sorted(read_reached(self._report).ended.items())
            if one.turns
        )
