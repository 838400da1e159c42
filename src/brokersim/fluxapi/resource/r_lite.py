"""Knows R_lite (RFC 20), which ranks have which cores and gpus, as entries of R and as short text; not who has them."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Final

from brokersim.fluxapi.idset import IDSET_FLAG_BRACKETS, IDSET_FLAG_RANGE, IDset
from brokersim.protocol.decoded import JsonObject, JsonView

#: What ranks have, as R calls one of it and as we call all of it.
KINDS: Final = {"core": "cores", "gpu": "gpus"}


def ranks_of(R_lite: Iterable[JsonView]) -> dict[int, JsonObject]:
    """By rank its ``cores`` and ``gpus``, in order of ranks. Raises ValueError, KeyError, TypeError."""
    found = {
        rank: {
            kind: frozenset(IDset(entry.get("children", {}).get(name, ""))) for name, kind in KINDS.items()
        }
        for entry in R_lite
        for rank in IDset(entry["rank"])
    }
    return dict(sorted(found.items()))


def entries_of(ranks: Mapping[int, JsonView]) -> list[JsonObject]:
    """An entry for each set of ranks with the same resources."""
    return [
        {
            "rank": ids_text(alike),
            "children": {"core": ids_text(cores), **({"gpu": ids_text(gpus)} if gpus else {})},
        }
        for alike, cores, gpus in _alike(ranks)
    ]


def text_of(ranks: Mapping[int, JsonView]) -> str:
    """``rank0/core[0-3],gpu0``, a part for each set of ranks with the same resources."""
    return " ".join(
        f"rank{_bracketed(alike)}/core{_bracketed(cores)}" + (f",gpu{_bracketed(gpus)}" if gpus else "")
        for alike, cores, gpus in _alike(ranks)
    )


def ids_text(numbers: Iterable[int]) -> str:
    """``0-3,7``."""
    return str(IDset(numbers))


def _bracketed(numbers: Iterable[int]) -> str:
    return IDset(numbers).encode(IDSET_FLAG_RANGE | IDSET_FLAG_BRACKETS)


def _alike(ranks: Mapping[int, JsonView]) -> list[tuple[list[int], frozenset[int], frozenset[int]]]:
    """Ranks with the same cores and gpus, by their lowest rank."""
    groups: dict[tuple[frozenset[int], frozenset[int]], list[int]] = {}
    for rank, info in sorted(ranks.items()):
        groups.setdefault((frozenset(info["cores"]), frozenset(info["gpus"])), []).append(rank)
    return [(alike, cores, gpus) for (cores, gpus), alike in groups.items()]
