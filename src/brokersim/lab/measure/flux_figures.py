"""Knows what hooks did in real Fluxes, as it was measured there; nothing of it is made here.

Ratios of the wall time of serial jobs to a run without hooks, packets a message, messages a job against none.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import attrs

from brokersim.lab.result import Row


@attrs.frozen(kw_only=True)
class Measured:
    """One system: by hook the least and the most of each figure; None where it was not looked at."""

    name: str
    origin: str
    wall: dict[str, tuple[float, float]]
    packets: dict[str, float]


FLUX_088 = Measured(
    name="Flux 0.88",
    origin="flux-core 0.88.0, 2 vCPU, kernel 6.18, the journal's hook in each C module by a preloaded library; "
    "5 interleaved rounds, wall time ± 30 %",
    wall={"timer:1s": (1.0, 1.0), "prepare": (1.019, 1.019), "check": (0.98, 1.02), "idle": (36.0, 50.0)},
    packets={"timer:1s": 0.001, "prepare": 1.088, "check": 1.031, "idle": 1.037},
)
FLUX_028 = Measured(
    name="Flux 0.28",
    origin="flux-core 0.28 with the journal's patch, two cores, 20 jobs (docs/reactor.md)",
    wall={"prepare": (1.07, 1.07), "check": (1.10, 1.10), "idle": (21.0, 21.0)},
    packets={},
)
JOURNAL = Measured(
    name="journal",
    origin="the journal (2021), 12 cores, 10,000 jobs; packets are kvs's",
    wall={
        "timer:1s": (1.002, 1.002),
        "check": (1.119, 1.119),
        "prepare": (1.154, 1.154),
        "idle": (1.658, 1.658),
    },
    packets={"prepare": 1.17, "check": 1.00, "idle": 1.09},
)
SYSTEMS = (FLUX_088, FLUX_028, JOURNAL)


def beside_flux(rows: Iterable[Row]) -> list[dict[str, Any]]:
    """Rows of `watchers` beside each system: wall time as a multiple of none's, packets a message."""
    return [
        {
            "hook": row["hook"],
            "wall, here": f"×{1 + row['overhead']:.3g}",
            **{f"wall, {one.name}": _range(one.wall.get(row["hook"])) for one in SYSTEMS},
            "packets, here": f"{row['packets_per_message']:.3f}",
            **{
                f"packets, {one.name}": f"{one.packets[row['hook']]:.3f}"
                if row["hook"] in one.packets
                else "–"
                for one in (FLUX_088, JOURNAL)
            },
        }
        for row in rows
        if row["hook"] != "none" and row["overhead"] is not None
    ]


def _range(known: tuple[float, float] | None) -> str:
    if known is None:
        return "–"
    least, most = (f"{one:.3g}" for one in known)
    return f"×{least}" if least == most else f"×{least} to ×{most}"
