"""The families of operations that ship, each with the invariants of its service."""

from __future__ import annotations

from typing import Final

from brokersim.explore.families.content import CONTENT
from brokersim.explore.families.cron import CRON
from brokersim.explore.families.events import EVENTS
from brokersim.explore.families.family import Family
from brokersim.explore.families.jobs import JOBS
from brokersim.explore.families.kvs import KVS
from brokersim.explore.families.metrics import METRICS
from brokersim.explore.families.modules import MODULES
from brokersim.explore.families.probe import PROBE
from brokersim.explore.families.records import RECORDS
from brokersim.explore.families.watch import WATCH

#: Families that look at a module, for modules that are not called like theirs.
OF_MODULES: Final = {
    "kvs-watch": WATCH.name,
    "content-cache": CONTENT.name,
    "content-sqlite": CONTENT.name,
    **dict.fromkeys(("sched", "job-manager", "job-ingest", "job-exec", "resource"), JOBS.name),
    **dict.fromkeys(("job-info", "job-list"), RECORDS.name),
    "heartbeat": CRON.name,
}
#: By name.
FAMILIES: Final[dict[str, Family]] = {
    family.name: family
    for family in (KVS, WATCH, CONTENT, JOBS, CRON, EVENTS, MODULES, METRICS, PROBE, RECORDS)
}
