"""Knows what an experiment found: a frozen value with figures, curves and checks; nothing of how, or of drawing.

On the outside a result is one JSON document, ``{"meta", …parts…, "checks"}``; inside it is a `Result`.
"""

from __future__ import annotations

import os
import platform
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

import attrs

from brokersim.protocol.decoded import JsonObject, JsonView
from brokersim.version import VERSION

NOTE = "brokersim, not Flux: compare order and ratios, not numbers"
#: What each clock models, said under every table that either could have made (docs/experiments.md, "Two clocks").
CLOCKS = {
    "real": "this program as it is, one loop for all modules of a broker. What a hook costs in Flux, which gives each "
    "module a thread, it does not predict.",
    "flux": "a real Flux as it is on this machine, a thread or a process a module.",
    "virtual": "a thread a module on so many cores, as Flux runs them, with costs from a model: orders and ratios.",
}
Say = Callable[[str], object]
Row = JsonView


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
    ours: str = ""
    journal: str = ""
    why: str = ""

    @property
    def stem(self) -> str:
        """The id without what it was looked at in: ``L1 (prepare)`` is an ``L1``."""
        return self.id.partition(" (")[0]


@attrs.frozen(kw_only=True)
class Beside:
    """One cell of the journal's result table beside ours; ``why`` explains a difference that is meant to be."""

    what: str
    ours: str
    journal: str
    ok: bool
    why: str = ""


@attrs.frozen(kw_only=True)
class Result:
    """What an experiment found; the same plan and seed give the same, under the virtual clock to the byte.

    ``meta`` says what was run and on what. ``parts`` are all else but the checks, under the names they have in JSON:
    rows of figures, curves as ``[[s, value], …]`` at whatever depth, tables.
    """

    meta: JsonView
    parts: JsonView = attrs.field(factory=dict)
    checks: tuple[Check, ...] = ()

    @property
    def experiment(self) -> str:
        return str(self.meta.get("experiment", ""))

    @property
    def clock(self) -> str:
        return str(self.meta.get("clock", ""))

    @property
    def runs(self) -> list[Row]:
        """The main table: a row a run, or a combination of settings."""
        rows = self.parts.get("runs") or self.parts.get("rows") or ()
        return [row for row in rows if isinstance(row, Mapping)]

    @property
    def series(self) -> JsonView:
        return self.parts.get("series") or {}

    @property
    def truth(self) -> JsonView:
        return self.parts.get("truth") or {}

    @property
    def beside(self) -> tuple[Beside, ...]:
        return tuple(Beside(**row) for row in self.parts.get("beside") or ())

    def failed(self) -> list[str]:
        """The ids of the checks that do not agree."""
        return [check.id for check in self.checks if not check.ok]

    def to_json(self) -> JsonObject:
        """The document; every reader of JSON has it again by `from_json`."""
        return {
            "meta": dict(self.meta),
            **self.parts,
            "checks": [attrs.asdict(check) for check in self.checks],
        }

    @classmethod
    def from_json(cls, document: JsonView) -> Result:
        """Raises KeyError without ``meta``; a check that says more than ours is cut to what is known."""
        known = {field.name for field in attrs.fields(Check)}
        checks = [
            Check(**{key: value for key, value in check.items() if key in known})
            for check in document.get("checks") or ()
        ]
        parts = {key: value for key, value in document.items() if key not in ("meta", "checks")}
        return cls(meta=dict(document["meta"]), parts=parts, checks=tuple(checks))

    def with_meta(self, **more: object) -> Result:
        """The same, with more said about how it came about."""
        return attrs.evolve(self, meta={**self.meta, **more})


def result(experiment: str, plan: object, checks: Iterable[Check], **parts: object) -> Result:
    """A result under the meta of its plan; ``parts`` in the order in which JSON has them."""
    return Result(meta=meta(experiment, plan), parts=parts, checks=tuple(checks))


def rows(values: Iterable[Beside]) -> list[JsonObject]:
    """Values as a part of a result."""
    return [attrs.asdict(value) for value in values]


def meta(experiment: str, plan: Any) -> JsonObject:
    """What was run and on what; ``plan`` is the experiment's frozen Plan."""
    return {
        "experiment": experiment,
        "plan": {key: _plain(value) for key, value in attrs.asdict(plan).items()},
        "clock": getattr(plan, "clock", "virtual"),
        "seed": getattr(plan, "seed", 0),
        **made_by(),
    }


def made_by() -> JsonObject:
    """Without this no figure of ours stands."""
    return {
        "brokersim": VERSION,
        "python": platform.python_version(),
        "cores": os.cpu_count(),
        "note": NOTE,
    }


def _plain(value: object) -> Any:
    return list(value) if isinstance(value, tuple) else value


def agreement(checks: Sequence[Check]) -> str:
    """``15 of 17 agree``."""
    return f"{sum(check.ok for check in checks)} of {len(checks)} agree"


def merged(checks: Sequence[Check]) -> list[Check]:
    """Each check once: what was looked at under several hooks agrees if it does under each, with all figures."""
    groups: dict[tuple[str, str], list[Check]] = {}
    for check in checks:
        groups.setdefault((check.stem, check.sentence), []).append(check)
    return [_one(stem, each) if len(each) > 1 else each[0] for (stem, _), each in groups.items()]


def _one(stem: str, each: Sequence[Check]) -> Check:
    said = {check.id.removeprefix(stem).strip(" ()"): check for check in each}
    apart = [where for where, check in said.items() if not check.ok]
    first = next((check for check in each if not check.ok), each[0])
    ours = "; ".join(f"{where}: {check.ours}" for where, check in said.items())
    return attrs.evolve(first, id=f"{stem} ({', '.join(apart)})" if apart else stem, ok=not apart, ours=ours)
