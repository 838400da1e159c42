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
        if key in ("mode", "log-level", "forecast"):  # how much it logs is log-forward-level's to say
            continue
        if key != "resources" or not equals:
            raise ValueError(
                f"unknown argument {arg!r}; there are resources=NxCxG (resources=8x12), "
                "mode=unlimited|limited=N and forecast=on|off"
            )
        text = value
    return Resources.parse(text)


def limit_option(args: Sequence[str]) -> int:
    """So many requests at once are wanted of the job manager (``mode=limited=N``); 0, the default: all there are.

    Raises ValueError that says what would be right.
    """
    limit = 0
    for arg in args:
        key, _, value = arg.partition("=")
        if key != "mode":
            continue
        kind, _, number = value.partition("=")
        if kind == "limited" and number.isascii() and number.isdigit() and int(number) > 0:
            limit = int(number)
        elif value == "unlimited":
            limit = 0
        else:
            raise ValueError(f"not a mode: {value!r}; give unlimited, or limited=N with N of 1 or more")
    return limit


def forecast_option(args: Sequence[str], *, is_real: bool) -> bool:
    """Whether jobs that wait are told when they will probably start (``forecast=on`` or ``off``).

    By default in real time only: simulated runs of thousands of jobs are neither dearer for it nor count more messages.
    Raises ValueError that says what would be right.
    """
    told = is_real
    for arg in args:
        key, _, value = arg.partition("=")
        if key != "forecast":
            continue
        if value not in ("on", "off"):
            raise ValueError(f"not a forecast: {value!r}; give on or off")
        told = value == "on"
    return told


def duration_of(jobspec: Mapping[str, Any]) -> float:
    """Time limit of a job in seconds, 0 for none (``attributes.system.duration``)."""
    attributes = jobspec.get("attributes")
    system = attributes.get("system") if isinstance(attributes, Mapping) else None
    duration = system.get("duration") if isinstance(system, Mapping) else None
    return float(duration) if isinstance(duration, (int, float)) and duration > 0 else 0.0
