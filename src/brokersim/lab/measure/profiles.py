"""Knows what Flux's modules cost, as sets of figures that say where they come from; not what is modelled with them.

A profile gives times only. How many cores a machine has, and topics that cost more, are an experiment's own.
"""

from __future__ import annotations

import tomllib
from collections.abc import Mapping
from pathlib import Path

import attrs

from brokersim import files
from brokersim.protocol.decoded import JsonObject
from brokersim.reactor.cost import CostModel

#: Fields of a cost model that are an experiment's and no profile's.
_NOT_TIMES = ("cores", "topics")


class ProfileError(ValueError):
    """A profile that is none: which, why, what would be right."""


@attrs.frozen(kw_only=True)
class Profile:
    """Times in seconds by field of the cost model, their name, and where they were measured."""

    name: str
    origin: str
    times: Mapping[str, float]

    def over(self, cost: CostModel) -> CostModel:
        """An experiment's own model with these times."""
        times: JsonObject = dict(self.times)
        return attrs.evolve(cost, **times)


#: What every figure of ours is made with unless told otherwise.
DEFAULT = "journal-2021"
PROFILES = {
    one.name: one
    for one in (
        Profile(
            name=DEFAULT,
            origin="a native run of 20 jobs of flux-core 0.28 with the journal's patch, two cores (docs/reactor.md)",
            times={
                "iteration_s": 5e-6,
                "message_s": 50e-6,
                "packet_s": 10e-6,
                "slice_s": 1.5e-3,
                "wake_s": 30e-6,
            },
        ),
        Profile(
            name="flux-0.88-c",
            origin="flux-core 0.88.0, C modules (threads of the broker), 2 vCPU, kernel 6.18: an idle turn .61 µs, "
            "a piped message through the broker 23 to 26 µs, a packet of eight gauges 3.1 to 4.2 µs, a spinner's "
            "slice 1.4 to 3 ms",
            times={
                "iteration_s": 0.61e-6,
                "message_s": 25e-6,
                "packet_s": 3.3e-6,
                "slice_s": 1.5e-3,
                "wake_s": 30e-6,
            },
        ),
        Profile(
            name="flux-0.88-python",
            origin="flux-core 0.88.0, Python modules (processes), 2 vCPU, kernel 6.18: an idle turn 1.51 µs, a piped "
            "message through the broker 38 µs, a packet of eight gauges 4.8 to 7.5 µs, a spinner's slice 1.1 to 9.7 ms",
            times={"iteration_s": 1.51e-6, "message_s": 38e-6, "packet_s": 6e-6, "slice_s": 1.5e-3},
        ),
    )
}


def read_profile(text: str) -> Profile:
    """A profile by its name, or from a TOML file with ``origin`` and the times. Raises ProfileError."""
    if text in PROFILES:
        return PROFILES[text]
    known = f"there are {', '.join(PROFILES)}, or give a file with origin and the times"
    try:
        table = tomllib.loads(files.read_text(text))
    except FileNotFoundError:
        raise ProfileError(f"no cost profile {text!r}; {known}") from None
    except OSError as error:
        raise ProfileError(f"cost profile {text}: {error.strerror}") from None
    except tomllib.TOMLDecodeError as error:
        raise ProfileError(f"{text} is no TOML: {error}; {known}") from None
    return _profile(text, table)


def _profile(file: str, table: JsonObject) -> Profile:
    fields = [field.name for field in attrs.fields(CostModel) if field.name not in _NOT_TIMES]
    origin = table.pop("origin", None)
    if not isinstance(origin, str) or not origin.strip():
        raise ProfileError(f"{file}: origin is missing: say where the figures were measured")
    for name, value in table.items():
        if name not in fields:
            raise ProfileError(f"{file}: {name} is no time of the model; there are {', '.join(fields)}")
        if isinstance(value, bool) or not isinstance(value, int | float) or not 0 <= value < 1:
            raise ProfileError(f"{file}: {name} = {value!r}; give seconds below 1, such as 5e-6")
    return Profile(name=Path(file).stem, origin=origin, times={name: float(n) for name, n in table.items()})
