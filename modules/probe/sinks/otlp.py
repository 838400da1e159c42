"""Knows samples as OpenTelemetry writes them in JSON (OTLP), appended to a file or posted; what is posted, how it is
judged. Not HTTP: a program of its own speaks that, so that no receiver keeps the loop waiting."""

from __future__ import annotations

import sys
from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar, Final

import msgspec

from brokersim.brokermod import Handle

from ..contract import COUNTER
from ..execution import Wish
from ..sending.gaps import Gap
from ..sending.series import Sample, Series
from ..worker import Worker
from .base import Down, Partly, Refused, Sink
from .lines import LineFile

DELTA, CUMULATIVE = 1, 2
#: Beyond these an integer is told as a float: OTLP counts in 64 bits with a sign.
_INT_MAX: Final = 2**63
#: gRPC's codes for what may be tried again: cancelled, deadline, exhausted, aborted, out of range, unavailable, lost.
_AGAIN: Final = (1, 4, 8, 10, 11, 14, 15)
_PROGRAM: Final = Path(__file__).parent.parent / "programs" / "poster.py"
Document = dict[str, Any]


class Otlp(Sink):
    """One request a batch: a line of ``path``, or a POST to ``url`` (such as ``http://host:4318/v1/metrics``)."""

    options: ClassVar[dict[str, Any]] = {"path": "", "url": "", "headers": {}}
    has_text = False

    @classmethod
    def check(cls, config: Mapping[str, Any]) -> None:
        if bool(config["path"]) == bool(config["url"]):
            raise ValueError("otlp needs a path or a url")
        if config["url"] and not str(config["url"]).startswith(("http://", "https://")):
            raise ValueError(f"url must begin with http:// or https://, not {config['url']!r:.60}")

    def __init__(self, handle: Handle, config: dict[str, Any]) -> None:
        super().__init__(handle, config)
        self._file = LineFile(handle, {"path": config["path"]}) if config["path"] else None
        if self._file is None and (handle.attr_get("clock") or "").startswith("virtual"):
            raise ValueError("url is of this machine, which has no virtual time; give a path")
        self._worker: Worker | None = None
        #: By series when (ns) its last sample was: where the next one's growth begins.
        self._before: dict[str, int] = {}

    def send(self, samples: Sequence[Sample], gaps: Sequence[Gap]) -> Awaitable[None] | None:
        data = msgspec.json.encode(request(samples, gaps, self.handle.rank, self._before))
        self.target, self.size = self.config["url"], len(data)
        if self._file is not None:
            self._file.append(data + b"\n")
            self._passed(samples)
            return None
        return self._posted(data, samples)

    def _passed(self, samples: Iterable[Sample]) -> None:
        for one in samples:
            if one.series.form == "delta":
                self._before[one.series.mid] = one.ts_ns

    async def _posted(self, data: bytes, samples: Sequence[Sample]) -> None:
        wish = {"url": self.config["url"], "headers": self.config["headers"], "body": data.decode()}
        answer = await self.handle.occurrence(self._asking(msgspec.json.encode(wish).decode() + "\n"))
        if isinstance(answer, Exception):
            raise Down(f"{self.config['url']}: {answer}")
        self._judge(msgspec.json.decode(answer))
        self._passed(samples)

    def _asking(self, line: str) -> Callable[[Callable[[Any], object]], None]:
        worker = self._worker
        if worker is None or worker.has_ended:
            programs = ((sys.executable, str(_PROGRAM)),)
            worker = self._worker = Worker(self.handle, Wish(programs=programs))
        return lambda then: worker.ask(then, line)

    def _judge(self, answer: Mapping[str, Any]) -> None:
        """Raises Down, Refused, Partly for what was not taken."""
        status, text = answer.get("status", 0), str(answer.get("text", ""))[:200]
        if status == 0:
            raise Down(f"{self.config['url']}: {text}")
        said = _json(answer.get("text", ""))
        if 200 <= status < 300:
            partial = said.get("partialSuccess") or {}
            rejected = int(partial.get("rejectedDataPoints") or 0)
            if rejected:
                raise Partly(f"it rejected {rejected}: {partial.get('errorMessage', '')}"[:200], rejected)
            return
        trouble = f"{self.config['url']}: status {status}: {text}".removesuffix(": ")
        # A receiver that is full for now says so in many ways; what it then refuses it may take later.
        if (
            400 <= status < 500
            and status != 429
            and said.get("code") not in _AGAIN
            and "memory" not in text.lower()
        ):
            raise Refused(trouble)
        raise Down(trouble, answer.get("retry_after"))

    def close(self) -> None:
        if self._file is not None:
            self._file.close()
        if self._worker is not None:
            self._worker.end()


def _json(text: str) -> Document:
    try:
        found = msgspec.json.decode(text)
    except (msgspec.DecodeError, RecursionError):
        return {}
    return found if isinstance(found, dict) else {}


def request(samples: Iterable[Sample], gaps: Iterable[Gap], rank: int, before: Mapping[str, int]) -> Document:
    """An ExportMetricsServiceRequest. ``before``: by series when (ns) the growth of its next sample begins."""
    metrics: dict[tuple[str, str, str], Document] = {}
    seen = dict(before)
    for one in samples:
        series = one.series
        key = (series.metric, _unit(series), _shape(series))
        metric = metrics.get(key)
        if metric is None:
            metric = metrics[key] = _metric(series)
        point = {
            "attributes": _attributes(_labels(series)),
            "timeUnixNano": str(one.ts_ns),
            **_value(one.value),
        }
        if series.form == "delta":
            if series.mid in seen:
                point["startTimeUnixNano"] = str(seen[series.mid])
            seen[series.mid] = one.ts_ns
        metric[_shape(series)]["dataPoints"].append(point)
    dropped = [_gap(gap) for gap in gaps]
    found = [
        *metrics.values(),
        *([_sum("brokersim.probe.dropped", "{sample}", DELTA, dropped)] if dropped else []),
    ]
    resource = {"attributes": _attributes({"service.name": "brokersim", "brokersim.rank": rank})}
    scope = {"scope": {"name": "brokersim.probe"}, "metrics": found}
    return {"resourceMetrics": [{"resource": resource, "scopeMetrics": [scope]}]}


def _shape(series: Series) -> str:
    return "sum" if series.kind == COUNTER and series.form != "rate" else "gauge"


def _unit(series: Series) -> str:
    return f"{series.field.unit}/s" if series.kind == COUNTER and series.form == "rate" else series.field.unit


def _metric(series: Series) -> Document:
    if _shape(series) == "sum":
        return _sum(series.metric, _unit(series), DELTA if series.form == "delta" else CUMULATIVE, [])
    return {"name": series.metric, "unit": _unit(series), "gauge": {"dataPoints": []}}


def _sum(name: str, unit: str, temporality: int, points: list[Document]) -> Document:
    shape = {"aggregationTemporality": temporality, "isMonotonic": True, "dataPoints": points}
    return {"name": name, "unit": unit, "sum": shape}


def _gap(gap: Gap) -> Document:
    """Samples that were dropped on the way; when, nobody knows any more."""
    labels = {"mid": gap.mid, "from": gap.first, "to": gap.last}
    return {"attributes": _attributes(labels), "asInt": str(gap.last - gap.first + 1)}


def _labels(series: Series) -> dict[str, Any]:
    return {"subject": series.subject, "measurement": series.measurement, **series.attributes}


def _attributes(labels: Mapping[str, Any]) -> list[Document]:
    return [
        {"key": key, "value": {"intValue": str(value)} if type(value) is int else {"stringValue": str(value)}}
        for key, value in labels.items()
    ]


def _value(value: float | str) -> Document:
    if type(value) is int and -_INT_MAX <= value < _INT_MAX:
        return {"asInt": str(value)}
    return {"asDouble": float(value)}
