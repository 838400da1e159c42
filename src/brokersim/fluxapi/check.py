"""Knows how to tell beforehand whether a module file runs here and in Flux: by reading it, and by a trial load."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Final

import attrs

from brokersim import files
from brokersim.fluxapi.constants import FLUX_MSGTYPE_REQUEST
from brokersim.fluxapi.endpoint import FluxEndpoint
from brokersim.fluxapi.source import Source
from brokersim.host.handle import Handle
from brokersim.host.loader import default_name
from brokersim.program import open_instance, run
from brokersim.protocol.errnums import RequestError

#: What the trial instance has: storage and jobs, but no scheduler, which may be what the file is.
_TRIAL_MODULES: Final = (
    "content-cache",
    "content-sqlite",
    "kvs",
    "kvs-watch",
    "job-manager",
    "job-ingest",
    "job-info",
)
#: Real seconds that loading it may take.
_PATIENCE: Final = 10.0


@attrs.frozen(kw_only=True)
class Check:
    """What a file uses, what it became in the trial, and what stands in its way here and in Flux."""

    #: Whose API it is written for: ``flux`` or ``brokersim``.
    api: str
    #: Of Flux's API, how far it reaches (1 to 3); None for a file of ours.
    tier: int | None
    imports: tuple[str, ...]
    methods: tuple[str, ...]
    #: Topics it answers, services beyond its own name, event prefixes.
    requests: tuple[str, ...]
    services: tuple[str, ...]
    subscriptions: tuple[str, ...]
    not_here: tuple[str, ...]
    not_in_flux: tuple[str, ...]
    notes: tuple[str, ...]

    @property
    def is_fine(self) -> bool:
        """It would run in both."""
        return not self.not_here and not self.not_in_flux


@attrs.frozen
class _Trial:
    failure: str = ""
    requests: tuple[str, ...] = ()
    services: tuple[str, ...] = ()
    subscriptions: tuple[str, ...] = ()


def check(path: Path, args: Sequence[str] = ()) -> Check:
    """Look at a file, and load it in an instance of its own, with storage and jobs but no scheduler.

    Raises OSError if it cannot be read, SyntaxError if it is no Python.
    """
    source = Source(files.read_text(path), str(path))
    trial: _Trial = run(_try, path, args)
    not_here = source.not_here()
    return Check(
        api=source.api,
        tier=source.tier if source.api == "flux" else None,
        imports=source.flux_imports,
        methods=source.methods,
        requests=trial.requests,
        services=trial.services,
        subscriptions=trial.subscriptions,
        not_here=(*not_here, *([trial.failure] if trial.failure else ())),
        not_in_flux=tuple(source.not_in_flux()),
        notes=tuple(source.notes()),
    )


async def _try(path: Path, args: Sequence[str]) -> _Trial:
    name = default_name(path.resolve())
    if name in _TRIAL_MODULES or not name:
        name = "checked"
    request = {"path": str(path.resolve()), "args": list(args), "name": name}
    async with open_instance(modules=_TRIAL_MODULES, watchdog=_PATIENCE) as instance:
        try:
            await instance.client().call("module.load", request)
        except RequestError as error:
            return _Trial(f"loading it: {error.text}")
        broker = instance.broker(0)
        loaded = [module.handle for module in instance.modules(0) if module.name == name]
        if not loaded:
            return _Trial(f"right after it was loaded: {broker.log.lines()[-1].partition(' - - - ')[2]}")
        handle = loaded[0]
        topics = broker.subscriptions.of(handle)
        return _Trial(
            requests=_requests(handle),
            services=tuple(
                service for service, by in broker.services.items() if by is handle and service != name
            ),
            subscriptions=tuple(topic for topic in topics if topic != f"{name}.stats-clear"),
        )


def _requests(handle: Handle) -> tuple[str, ...]:
    """The topics a module answers beyond those that all modules do."""
    if isinstance(handle, FluxEndpoint):
        return tuple(one.topic_glob for one in handle.watchers if one.type_mask & FLUX_MSGTYPE_REQUEST)
    return tuple(handle.table.request_topics(handle.name))
