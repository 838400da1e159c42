"""Knows the latest samples of series, each once and in its order, up to a bound; not who sends or keeps them."""

from __future__ import annotations

import errno
import math
from bisect import bisect_left
from collections.abc import Iterable, Mapping
from typing import Any, Final, Literal

import attrs
import msgspec

from brokersim.brokermod import RequestError, blobref, errnums

#: Samples kept of a series unless the module is told otherwise: five minutes at one a second.
SAMPLES: Final = 300
#: Series there may be. A sample costs 140 bytes, so all of them hold 170 MB at most.
SERIES_MAX: Final = 4096
TEXT_MAX: Final = 4096
Value = float | int | str
#: When (s since the epoch), what, and the how manyth of its series.
Sample = tuple[float, Value, int]


class Said(msgspec.Struct):
    """Samples of a series as they are sent: ``[ts, value]`` or ``[ts, value, seq]``.

    Either its ``mid``, if that is known here, or what makes it: subject, metric, attributes.
    """

    samples: list[list[float | int | str]]
    mid: str = ""
    subject: str = ""
    metric: str = ""
    attributes: dict[str, str] = {}
    measurement: str = ""
    unit: str = "1"
    kind: Literal["gauge", "counter", "state"] = "gauge"
    form: Literal["raw", "delta", "rate"] = "raw"
    #: Who numbers its samples: another life of a module begins at 1 again.
    life: str = ""


@attrs.define(eq=False)
class Ring:
    """The latest samples of a series, by their numbers."""

    about: dict[str, Any]
    samples: list[Sample] = attrs.field(factory=list)
    #: Whose numbers come now, and what is added to them so that they go on from those of who was there before.
    life: str = ""
    base: int = 0

    def begin(self, life: str, first: int) -> None:
        """Samples of another life follow, the first of them with this number."""
        self.life, self.base = life, max(0, self.next - first)

    def put(self, sample: Sample, most: int) -> bool:
        """One more; False if its number was here already: who is not answered sends twice."""
        at = bisect_left(self.samples, sample[2], key=lambda one: one[2])
        if at < len(self.samples) and self.samples[at][2] == sample[2]:
            return False
        self.samples.insert(at, sample)
        del self.samples[:-most]
        return True

    @property
    def next(self) -> int:
        return self.samples[-1][2] + 1 if self.samples else 1


def mid_of(subject: str, metric: str, attributes: Mapping[str, str]) -> str:
    """The id of a series: a blobref of the canonical JSON of what it is."""
    identity = {"attributes": dict(attributes), "metric": metric, "subject": subject}
    return blobref.blobref(msgspec.json.encode(identity, order="sorted"))


class Data:
    """Series by id, ``most`` samples of each."""

    def __init__(self, most: int = SAMPLES) -> None:
        self.most = most
        self.rings: dict[str, Ring] = {}
        #: Ids of those that have changed since they were kept.
        self.changed: set[str] = set()

    def store(self, given: Iterable[Said]) -> list[dict[str, Any]]:
        """By series its id and how many samples were new. Raises RequestError: EINVAL with all faults, ENOENT for a
        series nobody has described, ENOSPC; then none is stored."""
        said = list(given)
        faults = [fault for number, one in enumerate(said) for fault in _faults(one, f"/{number}")]
        if faults:
            raise RequestError(errnums.EINVAL, "; ".join(faults[:20]))
        mids = [self._mid(one, f"/{number}") for number, one in enumerate(said)]
        if len(self.rings.keys() | set(mids)) > SERIES_MAX:
            raise RequestError(errno.ENOSPC, f"there are {len(self.rings)} series already, of {SERIES_MAX}")
        return [{"mid": mid, "stored": self._put(mid, one)} for mid, one in zip(mids, said, strict=True)]

    def _mid(self, said: Said, pointer: str) -> str:
        if said.subject:
            return mid_of(said.subject, said.metric, said.attributes)
        if said.mid not in self.rings:
            text = f"{pointer}: series {said.mid!r:.60} is not known here; give its subject and metric"
            raise RequestError(errnums.ENOENT, text)
        return said.mid

    def _put(self, mid: str, said: Said) -> int:
        about = {"mid": mid} | {key: getattr(said, key) for key in _ABOUT}
        ring = self.rings.get(mid)
        if ring is None:
            ring = self.rings[mid] = Ring(about)
        elif said.subject:
            ring.about = about
        self.changed.add(mid)
        numbers = [int(one[2]) for one in said.samples if len(one) == 3]
        if said.life and said.life != ring.life and numbers:
            ring.begin(said.life, min(numbers))
        base = ring.base if said.life else 0
        stored = 0
        for one in said.samples:
            number = base + int(one[2]) if len(one) == 3 else ring.next
            stored += ring.put((float(one[0]), one[1], number), self.most)
        return stored

    def ring(self, mid: str) -> Ring:
        """Raises RequestError(ENOENT)."""
        found = self.rings.get(mid)
        if found is None:
            raise RequestError(errnums.ENOENT, f"no series {mid!r:.60} here")
        return found

    def of(self, mid: str, since: float | None, until: float | None, limit: int | None) -> dict[str, Any]:
        """A series and its samples of ``[since, until)``, the newest ``limit`` of them, by their numbers."""
        ring = self.ring(mid)
        low, high = -math.inf if since is None else since, math.inf if until is None else until
        found = [
            {"ts": ts, "seq": seq, "value": value} for ts, value, seq in ring.samples if low <= ts < high
        ]
        return {**ring.about, "samples": found[max(0, len(found) - limit) :] if limit is not None else found}

    def latest(self) -> list[dict[str, Any]]:
        """Each series with its newest sample."""
        return [
            {
                **ring.about,
                "ts": ring.samples[-1][0],
                "seq": ring.samples[-1][2],
                "value": ring.samples[-1][1],
            }
            for _, ring in sorted(self.rings.items())
            if ring.samples
        ]

    # -- as it is kept

    def kept(self, mid: str) -> bytes:
        ring = self.rings[mid]
        whose = {"life": ring.life, "base": ring.base}
        return msgspec.json.encode({"series": ring.about, "samples": ring.samples, **whose})

    def load(self, mid: str, data: bytes) -> None:
        """Raises msgspec.DecodeError, KeyError, TypeError for what is none."""
        found = msgspec.json.decode(data)
        samples = msgspec.convert(found["samples"], list[tuple[float, float | int | str, int]])
        life, base = str(found.get("life", "")), int(found.get("base", 0))
        self.rings[mid] = Ring(dict(found["series"]), samples[-self.most :], life, base)


_ABOUT: Final = ("subject", "metric", "attributes", "measurement", "unit", "kind", "form")


def _faults(said: Said, pointer: str) -> Iterable[str]:
    if bool(said.subject) != bool(said.metric) or not (said.subject or said.mid):
        yield f"{pointer} needs the subject and metric of its series, or its mid"
    for number, one in enumerate(said.samples):
        if not _is_sample(one):
            yield f"{pointer}/samples/{number} must be [ts, value] or [ts, value, seq], not {one!r:.60}"


def _is_sample(one: list[Any]) -> bool:
    if len(one) not in (2, 3) or isinstance(one[0], str) or not math.isfinite(one[0]):
        return False
    if isinstance(one[1], str):
        if len(one[1]) > TEXT_MAX:
            return False
    elif not math.isfinite(one[1]):
        return False
    return len(one) == 2 or (type(one[2]) is int and 0 < one[2] < 2**63)
