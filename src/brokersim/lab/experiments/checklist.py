"""Knows what an experiment's result looks like: figures beside the journal's, agreeing or not; no experiment."""

from __future__ import annotations

import os
import platform
from collections.abc import Callable, Iterable
from typing import Any

import attrs

from brokersim.version import VERSION

NOTE = "brokersim, not Flux: compare order and ratios, not numbers"
Say = Callable[[str], object]


def silent(_text: str) -> None:
    """Says nothing."""


@attrs.frozen(kw_only=True)
class Check:
    """One thing that should agree: its id in the journal's checklist or laws, a sentence, whether it does.

    ``ours`` and ``journal`` are the figures behind it, as text; ``journal`` is empty where the journal has none.
    ``why`` says why it may not agree, and is shown where it does not.
    """

    id: str
    sentence: str
    ok: bool
    ours: str
    journal: str = ""
    why: str = ""


@attrs.frozen(kw_only=True)
class Beside:
    """One cell of the journal's result table beside ours; ``why`` explains a difference that is meant to be."""

    what: str
    ours: str
    journal: str
    ok: bool
    why: str = ""


def beside(rows: Iterable[Beside]) -> list[dict[str, Any]]:
    """The rows as part of a result."""
    return [attrs.asdict(row) for row in rows]


def result(experiment: str, plan: Any, checks: Iterable[Check], **parts: Any) -> dict[str, Any]:
    """``{"meta", …parts…, "checks"}``: the same plan and seed give the same, under the virtual clock to the byte."""
    return {"meta": meta(experiment, plan), **parts, "checks": [attrs.asdict(check) for check in checks]}


def meta(experiment: str, plan: Any) -> dict[str, Any]:
    """What was run and on what; ``plan`` is the experiment's frozen Plan."""
    return {
        "experiment": experiment,
        "plan": {key: _plain(value) for key, value in attrs.asdict(plan).items()},
        "clock": getattr(plan, "clock", "virtual"),
        "seed": getattr(plan, "seed", 0),
        "brokersim": VERSION,
        "python": platform.python_version(),
        "cores": os.cpu_count(),
        "note": NOTE,
    }


def _plain(value: Any) -> Any:
    return list(value) if isinstance(value, tuple) else value


def failed(found: dict[str, Any]) -> list[str]:
    """The ids of the checks that do not agree."""
    return [check["id"] for check in found["checks"] if not check["ok"]]
