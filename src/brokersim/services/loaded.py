"""Knows which modules each rank has, and how one comes, is kept from its messages for a while, and goes.

Doesn't know what a module does, nor how a process is started for one: a `Launcher` does.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Protocol

from brokersim.host import own_packets
from brokersim.host.course import Done, Loaded
from brokersim.host.deferral import Deferral
from brokersim.host.handle import Handle
from brokersim.host.life import Module
from brokersim.host.loader import FLUX_NAMES, Loader, NeedsFlux, default_name, is_shared_object
from brokersim.host.remote import FLUX, RemoteModule, loader_name
from brokersim.host.remote_handle import Wire
from brokersim.protocol.errnums import EEXIST, EINVAL, ENOENT, ENOTSUP, RequestError
from brokersim.services.broker import Broker, Modules, Whole

_REAL_TIME_ONLY = (
    "a module in a process of its own lives by the real clock, which virtual time cannot hold: "
    "start the instance with --clock real, or load the module without --exec"
)


class Launcher(Protocol):
    """Starts processes for modules."""

    def has_flux(self) -> bool:
        """There is a ``flux`` whose loader can be used."""

    def command(self, loader: str, path: Path) -> tuple[str, ...]:
        """What runs a module file; ``loader`` is ours or ``flux``. Raises RequestError if it cannot."""

    def start(self, broker: Broker, command: Sequence[str], module: RemoteModule) -> Wire:
        """Start it, and tell the module what it says and what becomes of it."""


class LoadedModules(Modules):
    """The modules of an instance."""

    def __init__(
        self, whole: Whole, size: int, loader: Loader, launcher: Launcher | None, *, is_virtual: bool
    ) -> None:
        self._whole = whole
        self._loader = loader
        #: Starts modules as processes of their own, where that is possible.
        self._launcher = launcher
        self._is_virtual = is_virtual
        self._by_rank: list[dict[str, Loaded]] = [{} for _ in range(size)]
        self._deferrals: dict[Handle, Deferral] = {}
        self._forget_one = self._forget  # one for all: each look-up of a method makes an object

    def on(self, rank: int) -> list[Loaded]:
        """The modules loaded on a rank, in the order they were."""
        return list(self._by_rank[rank].values())

    def find(self, rank: int, name: str) -> Loaded:
        """By name, or by the path of its file as Flux's command does. Raises RequestError(ENOENT) that names all."""
        module = self._by_rank[rank].get(FLUX_NAMES.get(name, name)) or self._by_rank[rank].get(name)
        if module is None and "/" in name:
            path = Path(os.path.realpath(name))
            module = next((one for one in self.on(rank) if one.path == path), None)
        if module is None:
            known = ", ".join(self._by_rank[rank]) or "none"
            raise RequestError(ENOENT, f"no module {name!r} on rank {rank}; loaded: {known}")
        return module

    def load(self, rank: int, path: str, args: tuple[str, ...], name: str | None, done: Done) -> None:
        """Load a file; ``done(error)`` is called when it runs or has failed. Raises RequestError at once if it can.

        A shared object, or a file that needs Flux's C binding, is run by Flux's own loader if there is one.
        """
        file = self._loader.find(path)
        name = self._free_name(rank, name or default_name(file))
        try:
            code = self._loader.load(file)
        except NeedsFlux:
            if self._launcher is None or not self._launcher.has_flux() or self._is_virtual:
                raise
            self.load_process(FLUX, rank, path, args, name, done)
            return
        broker = self._whole.broker(rank)
        own_packets.charge(broker.reactor)
        self._by_rank[rank][name] = Module(broker, name, code, args, done, self._forget_one)

    def load_process(
        self, loader: str | None, rank: int, path: str, args: tuple[str, ...], name: str | None, done: Done
    ) -> None:
        """Like ``load``, in a process of its own, by our loader or by ``flux``."""
        if self._is_virtual:
            raise RequestError(ENOTSUP, _REAL_TIME_ONLY)
        if self._launcher is None:
            raise RequestError(ENOTSUP, "this instance cannot start modules as processes of their own")
        file = self._loader.find(path)
        name = self._free_name(rank, name or default_name(file))
        loader = FLUX if is_shared_object(file) else loader_name(loader)
        command = self._launcher.command(loader, file)
        self._by_rank[rank][name] = RemoteModule(
            self._whole.broker(rank), name, file, args, done, self._forget_one,
            start=partial(self._launcher.start, self._whole.broker(rank), command), loader=loader,
        )  # fmt: skip

    def _free_name(self, rank: int, name: str) -> str:
        if name in self._by_rank[rank]:
            raise RequestError(
                EEXIST, f"module {name!r} is already loaded on rank {rank}; give it another name"
            )
        if not name or "." in name or "/" in name:
            raise RequestError(EINVAL, f"module name {name!r} is empty or contains a dot or slash")
        return name

    def _forget(self, module: Loaded) -> None:
        """A module has ended. One in Flux's hands that failed as it ran ends the instance, unless told not to."""
        self._end_deferral(module.handle)
        rank = module.handle.broker.rank
        nopanic = self._whole.broker(rank).attributes.get("broker.module-nopanic")
        is_flux = isinstance(module, RemoteModule) and module.has_failed and module.loader == FLUX
        if is_flux and nopanic in (None, "0"):
            self._whole.fail(f"module runtime failure: {module.name} on rank {rank}; its log says why")
        if self._by_rank[rank].get(module.name) is module:
            del self._by_rank[rank][module.name]

    def defer(self, rank: int, name: str, is_wanted: bool) -> None:
        """Keep requests from a module until told otherwise (flux-core's module.debug). Raises RequestError(ENOENT)."""
        handle = self.find(rank, name).handle
        if not is_wanted:
            self._end_deferral(handle)
        elif handle not in self._deferrals:
            self._deferrals[handle] = Deferral(self._whole.broker(rank), handle)

    def _end_deferral(self, handle: Handle) -> None:
        deferral = self._deferrals.pop(handle, None)
        if deferral is not None:
            deferral.end()
