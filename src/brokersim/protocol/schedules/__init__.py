"""Knows when things are due: grids, windows, days, cron expressions, chance. Values, and no clock among them.

Cron entries and probes share it. A schedule is a frozen value; ``schedule.ticks(now, random)`` gives its times.
"""

from brokersim.protocol.schedules.adaptive import Adaptive, Pace
from brokersim.protocol.schedules.avoid import Avoid, overfull, slots
from brokersim.protocol.schedules.base import Random, Schedule, Span, first_index
from brokersim.protocol.schedules.calendar import Cron, check_expression
from brokersim.protocol.schedules.every import Every, Onetime
from brokersim.protocol.schedules.fires import fires
from brokersim.protocol.schedules.named import Named, Said
from brokersim.protocol.schedules.nested import Level, Nested
from brokersim.protocol.schedules.random import RandomGaps
from brokersim.protocol.schedules.spec import KINDS, parse_schedule, to_schedule, to_spec
from brokersim.protocol.schedules.windows import Daily, Windows
from brokersim.protocol.schedules.zone import LOCAL, instant, zone

__all__ = [
    "KINDS", "LOCAL", "Adaptive", "Avoid", "Cron", "Daily", "Every", "Level", "Named", "Nested", "Onetime", "Pace",
    "Random", "RandomGaps", "Said", "Schedule", "Span", "Windows", "check_expression", "fires", "first_index",
    "instant", "overfull", "parse_schedule", "slots", "to_schedule", "to_spec", "zone",
]  # fmt: skip
