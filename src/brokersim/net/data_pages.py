"""Knows how samples that the registry has are asked for, sent and scraped over HTTP; not what they are of."""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Mapping
from datetime import datetime
from typing import Any, Final

from brokersim.protocol.decoded import Json
from brokersim.statsd import exposition
from brokersim.statsd_server.outputs.openmetrics import CLASSIC_TYPE, label_name, sample_line

__all__ = ["CLASSIC_TYPE", "to_payload", "to_stored", "to_text"]

_LIMIT: Final = re.compile(r"\d{1,9}", re.ASCII)


def to_payload(mid: str, query: Mapping[str, str]) -> dict[str, Any]:
    """The request for ``/v1/data/MID?from&to&limit``. Raises ValueError that says what would be right."""
    for key in query:
        if key not in ("from", "to", "limit"):
            raise ValueError(f"no parameter {key!r:.40}; there are from, to, limit")
    payload: dict[str, Any] = {"mid": mid}
    payload |= {key: _moment(key, query[key]) for key in ("from", "to") if key in query}
    if "limit" in query:
        if not _LIMIT.fullmatch(query["limit"]):
            raise ValueError(f"limit must be a whole number, 0 or more, not {query['limit']!r:.40}")
        payload["limit"] = int(query["limit"])
    return payload


def _moment(key: str, text: str) -> float:
    """Seconds since the epoch, or ISO 8601 with its offset. A + that nobody encoded is a blank by now."""
    try:
        seconds = float(text)
    except ValueError:
        try:
            when = datetime.fromisoformat(text.replace(" ", "+"))
        except ValueError:
            when = None
        seconds = math.nan if when is None or when.tzinfo is None else when.timestamp()
    if not math.isfinite(seconds):
        raise ValueError(
            f"{key} must be seconds since the epoch, or a time such as 2026-03-01T12:00:00Z, not {text!r:.40}"
        )
    return seconds


def to_stored(body: Json) -> dict[str, Any]:
    """The request for ``POST /v1/data``: a series with its samples, or a list of such. Raises ValueError."""
    given = body if isinstance(body, list) else [body]
    for number, one in enumerate(given):
        if not isinstance(one, dict) or not isinstance(one.get("samples"), list):
            raise ValueError(
                f'/{number} must be {{"subject", "metric", "samples": [[ts, value], ...]}}, not {one!r:.60}'
            )
    return {"series": given}


def to_text(latest: Iterable[Mapping[str, Any]]) -> bytes:
    """The newest number of each series as Prometheus reads it: labels are subject, measurement and attributes."""
    families: dict[str, list[str]] = {}
    headings: dict[str, str] = {}
    written = exposition.Page()
    for one in sorted(latest, key=lambda one: str(one["metric"])):
        if isinstance(one["value"], str):
            continue  # a state is a text, which there has no place for
        is_counter = one["kind"] == "counter" and one["form"] == "raw"
        family = exposition.family(one["metric"], one["unit"], is_counter)
        value = one["value"] / family.divisor if family.divisor > 1 else one["value"]
        labels = written.own(family.name, _labels(one, family), one["metric"])
        line = sample_line(family.name, sorted(labels.items()), value).removesuffix("\n")
        families.setdefault(family.name, []).append(f"{line} {round(one['ts'] * 1000)}\n")
        heading = exposition.heading(family, one["metric"])
        headings[family.name] = min(heading, headings.get(family.name, heading))
    return "".join(headings[name] + "".join(lines) for name, lines in sorted(families.items())).encode()


def _labels(one: Mapping[str, Any], family: exposition.Family) -> dict[str, str]:
    own = {"subject": one["subject"], "measurement": one["measurement"], **family.own_labels()}
    if one["form"] != "raw":
        own["form"] = one["form"]
    return {label_name(key): value for key, value in {**own, **one["attributes"]}.items() if value}
