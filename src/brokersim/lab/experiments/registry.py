"""Knows which experiments there are, in the order of the book; not what is in them.

A door that wants one of them asks for it by name: importing all takes half a second.
"""

from __future__ import annotations

from collections.abc import Iterator
from importlib import import_module
from typing import Any

from brokersim.lab.experiments.experiment import Experiment

#: In the order of the book; each has a file here that ends with its value.
NAMES = (
    "watchers", "overhead", "modules", "decay", "idle", "latency", "states", "resolution", "period", "aggregator",
)  # fmt: skip


def experiment(name: str) -> Experiment[Any]:
    """The experiment of that name. Raises KeyError."""
    if name not in NAMES:
        raise KeyError(name)
    found: Experiment[Any] = import_module(f"{__package__}.{name}").EXPERIMENT
    return found


def experiments() -> Iterator[Experiment[Any]]:
    """All of them, in their order."""
    return map(experiment, NAMES)
