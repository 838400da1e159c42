"""Knows which mutants no input can tell from the code, and why. A table; that each place is there a test says."""

from __future__ import annotations

_SCHEDULES = "src/brokersim/protocol/schedules"
#: By file and place (`Place.said`), the reason.
EQUIVALENT: dict[tuple[str, str], str] = {
    (f"{_SCHEDULES}/nested.py", "bound moved: (begin := (start + (n * step if n else 0.0))) < end 1"):
        "a window that begins where it ends has no tick",
    ("src/brokersim/statsd/keys.py", "guard left out: _PLAIN.fullmatch(key) 2"):
        "a short way: what is plain is shown, and a path, as it is",
    ("modules/probe/ticker.py", "bound moved: at < self._armed 1"):
        "a timer armed twice for one moment fires once",
    ("src/brokersim/lab/measure/series.py", "bound moved: size > most 1"):
        "the larger of two that are equal",
    (f"{_SCHEDULES}/calendar.py", "and for or: self.window is None or self.child is None 1"):
        "the post-init refuses one without the other",
}  # fmt: skip
