"""Knows simulated resources: nodes x cores x gpus, and their R object (RFC 20). Not who holds what."""

from __future__ import annotations

import re

import attrs

from brokersim.protocol.decoded import JsonObject
from brokersim.protocol.quoting import quoted

_FORM = re.compile(r"[1-9]\d{0,6}(x[1-9]\d{0,4}(x\d{1,3})?)?", re.ASCII)


@attrs.frozen(kw_only=True)
class Resources:
    """``nodes`` nodes of ``cores`` cores and ``gpus`` gpus each."""

    nodes: int = attrs.field(default=1, validator=attrs.validators.ge(1))
    cores: int = attrs.field(default=4, validator=attrs.validators.ge(1))
    gpus: int = attrs.field(default=0, validator=attrs.validators.ge(0))

    @classmethod
    def parse(cls, text: str) -> Resources:
        """From ``N``, ``NxC`` or ``NxCxG``. Raises ValueError that says so."""
        if _FORM.fullmatch(text) is None:
            raise ValueError(
                f"not resources: {quoted(text)}; give N, NxC or NxCxG: nodes, cores, gpus (8x12)"
            )
        return cls(**dict(zip(("nodes", "cores", "gpus"), map(int, text.split("x")), strict=False)))

    def __str__(self) -> str:
        return f"{self.nodes}x{self.cores}" + (f"x{self.gpus}" if self.gpus else "")

    def to_r(self) -> JsonObject:
        """The R object of everything."""
        below = {"core": _idset(self.cores)} | ({"gpu": _idset(self.gpus)} if self.gpus else {})
        return {
            "version": 1,
            "execution": {
                "R_lite": [{"rank": _idset(self.nodes), "children": below}],
                "starttime": 0.0,
                "expiration": 0.0,
                "nodelist": [f"sim[0-{self.nodes - 1}]" if self.nodes > 1 else "sim0"],
            },
        }


def _idset(count: int) -> str:
    return "0" if count == 1 else f"0-{count - 1}"
