"""Knows how to tell beforehand whether a module file runs here and in Flux: by reading it, and by a trial load."""

from __future__ import annotations

import ast
import importlib.util
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Final

import attrs

from brokersim.fluxapi.core.handle import _FUNCTIONS, Flux
from brokersim.program import open_instance, run
from brokersim.protocol.errnums import RequestError

#: Names that usually are the handle, in module files.
_HANDLES: Final = ("h", "handle", "flux_handle")
#: What a file of each tier may import beyond the one before it (tier 3: the rest of flux).
_TIERS: Final = (
    ("flux", "flux.brokermod", "flux.constants", "flux.message"),
    ("flux.kvs", "flux.job", "flux.job.JobID", "flux.future", "flux.rpc", "flux.core.watchers"),
)

#: What the trial instance has: storage and jobs, but no scheduler, which may be what the file is.
_TRIAL_MODULES: Final = ("content-cache", "content-sqlite", "kvs", "kvs-watch", "job-manager")


@attrs.frozen(kw_only=True)
class Check:
    """What a file uses, what it became in the trial, and what stands in its way here and in Flux."""

    tier: int
    imports: tuple[str, ...]
    methods: tuple[str, ...]
    services: tuple[str, ...]
    subscriptions: tuple[str, ...]
    not_here: tuple[str, ...]
    not_in_flux: tuple[str, ...]


def check(path: Path, args: Sequence[str] = ()) -> Check:
    """Look at a file, and load it in an instance of its own, with storage and jobs but no scheduler.

    Raises OSError if it cannot be read, SyntaxError if it is no Python.
    """
    tree = ast.parse(path.read_text(encoding="utf-8"), str(path))
    imports = tuple(
        dict.fromkeys(name for name in _imports(tree) if name.partition(".")[0] in ("flux", "_flux"))
    )
    methods = tuple(sorted(dict.fromkeys(_methods(tree))))
    failure, services, subscriptions = run(_trial, path, args)
    unknown = [f"the handle's {name}" for name in methods if not _is_here(name)]
    unsupported = [f"import {name}" for name in imports if not _importable(name)]
    ours = [f"import {name}" for name in _imports(tree) if name.partition(".")[0] == "brokersim"]
    return Check(
        tier=_tier(imports),
        imports=imports,
        methods=methods,
        services=services,
        subscriptions=subscriptions,
        not_here=(*unsupported, *unknown, *([failure] if failure else ())),
        not_in_flux=tuple(dict.fromkeys(ours)),
    )


def _imports(tree: ast.Module) -> Iterator[str]:
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
            yield node.module


def _methods(tree: ast.Module) -> Iterator[str]:
    """Attributes of what is called like a handle: ``h.x``, ``self.handle.x``."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Attribute):
            owner = node.value
            name = (
                owner.id
                if isinstance(owner, ast.Name)
                else owner.attr
                if isinstance(owner, ast.Attribute)
                else ""
            )
            if name in _HANDLES:
                yield node.attr


def _is_here(name: str) -> bool:
    plain = name.removeprefix("flux_")
    return plain in _FUNCTIONS or hasattr(Flux, plain) or plain == "aux_txn"


def _importable(name: str) -> bool:
    top, _, rest = name.partition(".")
    if top != "flux" or name == "flux.core.inner":
        return False
    try:
        return not rest or importlib.util.find_spec(f"brokersim.fluxapi.{rest}") is not None
    except ModuleNotFoundError:
        return False


def _tier(imports: Sequence[str]) -> int:
    known: tuple[str, ...] = ()
    for tier, names in enumerate(_TIERS, 1):
        known += names
        if all(name in known for name in imports):
            return tier
    return len(_TIERS) + 1


async def _trial(path: Path, args: Sequence[str]) -> tuple[str, tuple[str, ...], tuple[str, ...]]:
    async with open_instance(modules=_TRIAL_MODULES) as instance:
        try:
            await instance.load(str(path.resolve()), *args, name="checked")
        except RequestError as error:
            return f"loading it: {error.text}", (), ()
        broker = instance.broker(0)
        loaded = [module.handle for module in instance.modules(0) if module.name == "checked"]
        if not loaded:
            return f"right after it was loaded: {broker.log.lines()[-1].partition(' - - - ')[2]}", (), ()
        handle = loaded[0]
        services = tuple(
            name for name, owner in broker.services.items() if owner is handle and name != "checked"
        )
        topics = (topic for topic, owner in broker.subscriptions if owner is handle)
        return "", services, tuple(topic for topic in topics if topic != "checked.stats-clear")
