"""Knows where the scheduler's settings stand: its arguments, an attribute, a jobspec; not what they lead to."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final

from brokersim.brokermod import Resources

#: One simulated node of four cores.
SHAPE_DEFAULT: Final = "1x4"


def shape_option(args: Sequence[str], attribute: str | None) -> Resources:
    """The simulated resources: argument ``resources=NxCxG``, else the attribute ``resources``, else ``1x4``.

    Raises ValueError that names the argument and what would be right.
    """
    text = attribute or SHAPE_DEFAULT
    for arg in args:
        key, equals, value = arg.partition("=")
        if key != "resources" or not equals:
            raise ValueError(
                f"unknown argument {arg!r}; the only one is resources=NxCxG, e.g. resources=8x12"
            )
        text = value
    return Resources.parse(text)


def duration_of(jobspec: Mapping[str, Any]) -> float:
    """Time limit of a job in seconds, 0 for none (``attributes.system.duration``)."""
    attributes = jobspec.get("attributes")
    system = attributes.get("system") if isinstance(attributes, Mapping) else None
    duration = system.get("duration") if isinstance(system, Mapping) else None
    return float(duration) if isinstance(duration, (int, float)) and duration > 0 else 0.0
