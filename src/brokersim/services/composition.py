"""Knows what an instance is made of: its settings, the modules it starts with, the attributes its ranks have.

Doesn't know how ranks are put together, nor how modules are loaded.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from functools import cache
from pathlib import Path

import attrs

from brokersim import version
from brokersim.protocol import topology
from brokersim.protocol.decoded import JsonObject
from brokersim.protocol.hostlist import expand
from brokersim.protocol.resources import Resources
from brokersim.protocol.settings import ClockKind, check_hook, check_jobs, jobs_of
from brokersim.reactor.cost import CostModel
from brokersim.routing.attributes import DEFAULTS, check_start
from brokersim.routing.link import DEFAULT_LATENCY

#: What an instance loads unless told otherwise, in this order; the end takes them down in reverse.
DEFAULT_MODULES = (
    "heartbeat", "content-cache", "content-sqlite", "kvs", "kvs-watch", "cron", "resource", "job-manager", "job-ingest",
    "job-list", "job-info", "sched", "job-exec",
)  # fmt: skip
#: These serve the whole instance from rank 0, as upstream's start-up script has it.
RANK0_MODULES = frozenset({*DEFAULT_MODULES, "registry", "content-files"}) - {
    "content-cache",
    "kvs",
    "kvs-watch",
}
#: Arguments of modules loaded at the start, as upstream's start-up script gives them.
START_ARGS: dict[str, tuple[str, ...]] = {"cron": ("sync=heartbeat.pulse",)}
#: Where virtual wall-clock time starts: 2026-01-01T00:00:00Z.
VIRTUAL_EPOCH = 1_767_225_600.0


def _attribute_dict(value: Mapping[str, str] | None) -> dict[str, str]:
    return dict(value or {})


@cache
def _hosts(text: str) -> tuple[str, ...]:
    """The hosts of a list, none if it is none; once for all ranks."""
    try:
        return tuple(expand(text)) if text else ()
    except ValueError:
        return ()


@attrs.frozen(kw_only=True)
class Settings:
    """What an instance is made of. Durations in seconds; ``cost`` only acts under the virtual clock."""

    size: int = attrs.field(default=1, validator=attrs.validators.ge(1))
    fanout: int = attrs.field(default=2, validator=attrs.validators.ge(0))
    clock: ClockKind = attrs.field(factory=lambda: ClockKind(1.0))
    seed: int = 0
    modules: tuple[str, ...] = DEFAULT_MODULES
    #: Searched before the shipped modules, and behind them.
    module_path: tuple[Path, ...] = ()
    last_module_path: tuple[Path, ...] = ()
    hook: str = attrs.field(default="prepare", converter=check_hook)
    latency: float = attrs.field(default=DEFAULT_LATENCY, validator=attrs.validators.ge(0))
    cost: CostModel | None = None
    #: Seconds a handler may hold the loop before its module is ended; ``None``: not watched.
    watchdog: float | None = None
    resources: Resources = attrs.field(factory=Resources)
    #: ``simulated`` or ``real``: what a job does that does not say so itself; ``""``: what the clock suggests.
    jobs: str = attrs.field(default="", converter=check_jobs)
    state_dir: Path | None = None
    attributes: dict[str, str] = attrs.field(factory=dict, converter=_attribute_dict)
    conf: JsonObject = attrs.field(factory=dict)

    def attributes_of_all(self, *, userid: int, pid: int, epoch: float, uuid: str) -> dict[str, str]:
        """Attributes that every rank has. Raises RequestError(EINVAL) for one that an instance cannot start with.

        ``userid`` and ``pid`` are the owner's and the process's, ``epoch`` (s since the Unix epoch) when it started.
        """
        for name, value in self.attributes.items():
            check_start(name, value)
        common = {
            **DEFAULTS,
            "size": self.size,
            "hostlist": f"sim[0-{self.size - 1}]" if self.size > 1 else self._host(0),
            "security.owner": userid,
            "version": version.VERSION,
            "broker.mapping": f"[[0,1,{self.size},1]]",
            "broker.pid": pid,
            "broker.quorum": self.size,
            "broker.starttime": f"{epoch:.6f}",
            "broker.uuid": uuid,
            "tbon.topo": f"kary:{self.fanout}",
            "tbon.maxlevel": topology.depth(self.size - 1, self.fanout),
            "clock": self.clock,
            "seed": self.seed,
            "jobs": jobs_of(self.jobs, self.clock),
            "hook": self.hook,
            "resources": self.resources,
            **self.attributes,
        }
        if self.state_dir is not None:
            common |= {"statedir": self.state_dir, "statedir-cleanup": 0}
        return {name: str(value) for name, value in sorted(common.items())}

    def _host(self, rank: int) -> str:
        """As the attribute ``hostlist`` says, if it has a host for each rank. One rank in real time is this host."""
        hosts = _hosts(self.attributes.get("hostlist", ""))
        if len(hosts) == self.size:
            return hosts[rank]
        # Under the virtual clock the same bytes are sent on every host.
        return os.uname().nodename if self.size == 1 and not self.clock.is_virtual else f"sim{rank}"

    def attributes_of_one(self, rank: int) -> dict[str, str]:
        """Attributes by which a rank differs from the others."""
        fixed: dict[str, object] = {
            "rank": rank,
            "hostname": self._host(rank),
            "tbon.level": topology.depth(rank, self.fanout),
            "tbon.descendants": topology.subtree_size(rank, self.fanout, self.size) - 1,
        }
        if rank:
            fixed["tbon.parent"] = topology.parent(rank, self.fanout)
        return {name: str(value) for name, value in fixed.items()}
