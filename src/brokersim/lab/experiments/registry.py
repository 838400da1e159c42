"""Knows which experiments there are, in the order of the book; not what is in them.

A door that wants one of them asks for it by name, and has the list of all without any: importing them takes a second.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from importlib import import_module
from typing import Any

from brokersim.lab.experiments.experiment import Experiment

#: In the order of the book, with a sentence of help each; each has a file here that ends with its value.
ABOUT: Mapping[str, str] = {
    "watchers": "Run the same jobs under each hook: wall time, packets, overhead.",
    "overhead": "What a hook costs in wall time, beside the journal's.",
    "modules": "Each module's counters per job and its metrics over time.",
    "decay": "Does it slow down as jobs pile up? Models: none, linear, store.",
    "idle": "An instance at rest: what moves, under each hook.",
    "latency": "Content loads and stores: percentiles of samples, of windows.",
    "states": "Job-state curves against the truth; NEW sinking, and cured.",
    "resolution": "Plugin timer x flush x retention: errors of the curves.",
    "period": "Client aggregation off and on: why RUN goes below 0; cures.",
    "aggregator": "A flood: offered, received, dropped; traps, and the lint.",
    "intervals": "Which intervals give the truest curves, in seconds and by price.",
}
NAMES = tuple(ABOUT)
#: Not of the journal, and so no chapters of its book.
BESIDE: Mapping[str, str] = {
    "hooks": "Hooks in a real Flux and in each home here: one table.",
    "probes": "Measuring on schedules: how wrong the curve is, what it costs.",
}
ALL: Mapping[str, str] = {**ABOUT, **BESIDE}


def experiment(name: str) -> Experiment[Any]:
    """The experiment of that name. Raises KeyError."""
    if name not in ALL:
        raise KeyError(name)
    found: Experiment[Any] = import_module(f"{__package__}.{name}").EXPERIMENT
    return found


def experiments() -> Iterator[Experiment[object]]:
    """All chapters of the book, in their order."""
    return map(experiment, NAMES)
