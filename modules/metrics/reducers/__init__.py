"""Knows which reducers there are, by name; what each does is in the files beside this one."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from difflib import get_close_matches
from typing import Any, Protocol

from brokersim.brokermod import quoted

from .base import Counter, Origin, Reducer, State
from .lists import Last, Sample, TopK
from .sets import HllUnique, Unique
from .shapes import Histogram, Quantile
from .sums import Average, Max, Min, StdDev, Sum, Variance

__all__ = ["REDUCERS", "Counter", "Origin", "Reducer", "State", "Sum", "check_params", "reducer"]

REDUCERS: dict[str, type[Reducer]] = {
    one.name: one
    for one in (
        Sum, Average, Variance, StdDev, Min, Max, Unique, HllUnique, TopK, Sample, Last, Histogram, Quantile
    )
}  # fmt: skip
_PARAMS = {name for kind in REDUCERS.values() for name in kind.defaults}


def reducer(name: str, params: Mapping[str, Any]) -> Reducer:
    """The reducer of that name; of the parameters it takes its own. Raises ValueError that says what there is."""
    kind = REDUCERS.get(name)
    if kind is None:
        near = get_close_matches(name, REDUCERS, n=1)
        hint = f"; did you mean {near[0]}?" if near else f"; there are {', '.join(REDUCERS)}"
        raise ValueError(f"no reducer {quoted(name)}{hint}")
    return kind({key: value for key, value in params.items() if key in kind.defaults})


class Applied(Protocol):
    """A stream of a stat: the names of its reducers, the parameters given with them."""

    apply: list[str]
    params: dict[str, Any]


def check_params(streams: Sequence[Applied]) -> None:
    """Raises ValueError for a parameter that no reducer has, or none of a stat's.

    One that a stream gives may be that of a reducer of another: on the command line they are given once.
    """
    applied = list(dict.fromkeys(name for stream in streams for name in stream.apply))
    taken = {name for kind in applied if kind in REDUCERS for name in REDUCERS[kind].defaults}
    for name in dict.fromkeys(name for stream in streams for name in stream.params):
        if name not in _PARAMS:
            raise ValueError(
                f"no parameter {quoted(name)} of a reducer; there are {', '.join(sorted(_PARAMS))}"
            )
        if name not in taken:
            whose = ", ".join(kind for kind, one in REDUCERS.items() if name in one.defaults)
            raise ValueError(
                f"{name} is a parameter of {whose}, which is not applied here: {', '.join(applied)}"
            )
