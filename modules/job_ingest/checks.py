"""Knows table ``ingest`` of a configuration and what it demands of a jobspec; not how a jobspec becomes a job.

flux-core runs these checks as plugins of processes; here they are part of the module, under the same names.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import PurePath
from typing import Annotated, Any, Final

import attrs
import msgspec

from brokersim.brokermod import JobFacts

from .options import Options

VALIDATORS: Final = ("jobspec", "feasibility", "require-instance")
FROBNICATORS: Final = ("defaults", "constraints")
#: Cores that stand for a node where a least number of nodes alone is given (flux-core's).
CORES_PER_NODE: Final = 16
#: What ``--require-version=any`` is kept as.
ANY_VERSION: Final = 0
_SIZE: Final = r"^[0-9]+(\.[0-9]+)?[kKMGTPE]?$"
Least = Annotated[int, msgspec.Meta(ge=0)]


class Instances(msgspec.Struct, forbid_unknown_fields=True, gc=False):
    """``ingest.validator.require-instance``: jobs of so many nodes or cores must be instances; 0: all."""

    minnodes: Least = 0
    mincores: Least = 0


class Plugins(msgspec.Struct, forbid_unknown_fields=True, rename="kebab", gc=False):
    """``ingest.validator`` and ``ingest.frobnicator``."""

    disable: bool = False
    plugins: list[str] | None = None
    args: list[str] | None = None
    require_instance: Instances = msgspec.field(default_factory=Instances)


class Ingest(msgspec.Struct, rename="kebab", gc=False):
    """``ingest``; the size of a buffer is checked, though there is no process that would have one."""

    batch_count: Least | None = None
    buffer_size: Annotated[str, msgspec.Meta(pattern=_SIZE)] | None = None
    validator: Plugins = msgspec.field(default_factory=Plugins)
    frobnicator: Plugins = msgspec.field(default_factory=Plugins)


class _Configuration(msgspec.Struct, gc=False):
    ingest: Ingest = msgspec.field(default_factory=Ingest)


@attrs.frozen(kw_only=True)
class Checks:
    """What a jobspec has to be. ``told`` is how flux-core says it in its log."""

    told: str
    is_enabled: bool = True
    asks_scheduler: bool = False
    #: Least nodes and cores of the jobs that must be instances; None: none must.
    instances: tuple[int, int] | None = None
    any_version: bool = False
    completes: bool = True
    batch_count: int = 0

    def refusal(self, jobspec: dict[str, Any], facts: JobFacts) -> str:
        """Why a sound jobspec is none for this instance, ``""`` if it is."""
        if self.instances is None or _is_instance(jobspec):
            return ""
        nodes, cores = self.instances
        if (not facts.nnodes or facts.nnodes < nodes) and facts.ncores < cores:
            return ""
        of = f" for jobs >= {nodes} nodes or {cores} cores" if nodes or cores else ""
        return f"Direct job submission disabled{of} (ingest.validator: require-instance)"


def to_checks(conf: Any, options: Options) -> Checks:
    """From a configuration and the module's arguments, which come first. Raises ValueError that names what is wrong."""
    try:
        table = msgspec.convert(conf or {}, _Configuration).ingest
    except msgspec.ValidationError as error:
        raise ValueError(_worded(error, conf)) from None
    given = table.validator
    plugins = options.plugins if options.plugins is not None else given.plugins
    args = options.args if options.args is not None else given.args
    _check_names("validator", plugins, VALIDATORS)
    _check_names("frobnicator", table.frobnicator.plugins, FROBNICATORS)
    arguments = _to_arguments(args or ())
    is_enabled = not (options.disables or given.disable)
    least = given.require_instance
    nodes = arguments.get("--require-instance-minnodes", least.minnodes)
    cores = arguments.get("--require-instance-mincores", least.mincores)
    shown = [",".join(part) if part is not None else "(null)" for part in (plugins, args)]
    return Checks(
        told=f"plugins={shown[0]}, args={shown[1]} ({'enabled' if is_enabled else 'disabled'})",
        is_enabled=is_enabled,
        asks_scheduler=is_enabled and "feasibility" in (plugins or ()),
        instances=(nodes, cores or CORES_PER_NODE * nodes)
        if is_enabled and "require-instance" in (plugins or ())
        else None,
        any_version=arguments.get("--require-version", 1) == ANY_VERSION,
        completes=options.completes and not table.frobnicator.disable,
        batch_count=options.batch_count if options.batch_count is not None else table.batch_count or 0,
    )


def _to_arguments(args: Sequence[str]) -> dict[str, int]:
    found = {}
    for arg in args:
        name, _, value = arg.partition("=")
        if arg in ("--require-version=any", "--require-version=1"):
            found[name] = ANY_VERSION if value == "any" else 1
        elif name in ("--require-instance-minnodes", "--require-instance-mincores") and value.isdecimal():
            found[name] = int(value)
        else:
            raise ValueError(
                f"ingest.validator: unknown argument {arg!r:.80}; there are --require-version=1 or any, "
                "--require-instance-minnodes=N and --require-instance-mincores=N"
            )
    return found


def _check_names(what: str, names: Sequence[str] | None, known: Sequence[str]) -> None:
    for name in names or ():
        if name not in known:
            there = ", ".join(known)
            raise ValueError(
                f"ingest.{what}: no plugin {name!r:.80}; there are {there}, and no process runs another"
            )


def _worded(error: msgspec.ValidationError, conf: Any) -> str:
    if "buffer-size" in str(error):
        return f"Invalid buffer-size: {conf['ingest']['buffer-size']!r:.40}; give bytes, as in 10M"
    return f"configuration: {error}"


def _is_instance(jobspec: dict[str, Any]) -> bool:
    """It starts another Flux: a batch script, or ``flux broker`` or ``flux start``."""
    system = (jobspec.get("attributes") or {}).get("system") or {}
    command = jobspec["tasks"][0]["command"]
    words = command.split() if isinstance(command, str) else command
    return "batch" in system or (
        len(words) > 1 and PurePath(words[0]).name == "flux" and words[1] in ("broker", "start")
    )
