"""What a Graphite retention such as `0.1s:1d` really keeps, and why some cannot be.

Knows nothing of files. Source: whisper 1.1, as run: whole seconds, coarser steps multiples of finer ones.
"""

from __future__ import annotations

import re
from itertools import pairwise

import attrs

from brokersim.protocol.plurals import counted

# whisper takes the beginning of any of these words, in small letters; of two that begin alike the first.
_UNITS = {"seconds": 1, "minutes": 60, "hours": 3_600, "days": 86_400, "weeks": 604_800, "years": 31_536_000}
_PART = re.compile(r"(\d{1,12}(?:\.\d{0,12})?|\.\d{1,12})([A-Za-z]*)")
_HEADER_BYTES = 16
_ARCHIVE_BYTES = 12
_POINT_BYTES = 12
# What carbon does where no rule matches.
_CARBON_DEFAULT = "60s:1d"


@attrs.frozen(kw_only=True)
class Archive:
    """One row of points `step` seconds apart."""

    step: int
    points: int

    @property
    def seconds(self) -> int:
        return self.step * self.points


@attrs.frozen(kw_only=True)
class RetentionReport:
    """`ok` with the archives and what they cost; or why not, in `text`, and in `hint` what would work."""

    ok: bool
    text: str
    hint: str = ""
    archives: tuple[Archive, ...] = ()
    bytes: int = 0


def explain_retention(retention: str, flush: float | None = None) -> RetentionReport:
    """What `retention` (`step:length`, several with commas) keeps when flushed every `flush` seconds. Never raises."""
    archives: list[Archive] = []
    for part in retention.split(","):
        read = _read(part.strip())
        if isinstance(read, RetentionReport):
            return read
        archives.append(read)
    archives.sort(key=lambda archive: archive.step)
    misfit = _misfit(archives)
    if misfit:
        return RetentionReport(
            ok=False, text=f"{retention}: {misfit}", hint="10s:6h,60s:7d fits: 60 is a multiple of 10"
        )
    size = _size(archives)
    return RetentionReport(
        ok=True, text=_kept(archives), hint=_thinned(archives[0], flush), archives=tuple(archives), bytes=size
    )


def _read(part: str) -> Archive | RetentionReport:
    step_text, colon, length_text = part.partition(":")
    step = seconds_of(step_text)
    length = seconds_of(length_text)
    if not colon or step is None or length is None:
        return RetentionReport(
            ok=False,
            text=f"{part!r} is no retention; it is a step, a colon and a length, each with s, m, h, d, w or y",
            hint="1s:1d",
        )
    if step < 1 or step != int(step):
        return _too_fine(step_text, max(1, round(step)), length_text)
    # A bare number behind the colon is a number of points.
    points = int(length) if length_text.strip().isdigit() else int(length // step)
    if points < 1:
        return RetentionReport(
            ok=False, text=f"{part}: {length_text} is shorter than one step", hint=f"{step_text}:1d"
        )
    return Archive(step=int(step), points=points)


def seconds_of(text: str) -> float | None:
    """A length of time as Graphite writes it, and in ms as it does not, in s; None if it is none."""
    match = _PART.fullmatch(text.strip())
    if match is None:
        return None
    if match[2] == "ms":
        return float(match[1]) * 0.001
    factor = next((seconds for word, seconds in _UNITS.items() if word.startswith(match[2])), None)
    return None if factor is None else float(match[1]) * factor


def _too_fine(step_text: str, whole: int, length_text: str) -> RetentionReport:
    would_work = _read(f"{whole}s:{length_text}")
    hint = f"{whole}s:{length_text}"
    if isinstance(would_work, Archive):
        hint += f" = {_kept([would_work])}; files that exist keep their old layout"
    return RetentionReport(
        ok=False,
        text=(
            f"{step_text}: whisper stores whole seconds (minimum 1s); carbon refuses to start with it; "
            f"one already running keeps its old rule ({_CARBON_DEFAULT} by default)"
        ),
        hint=hint,
    )


def _misfit(archives: list[Archive]) -> str:
    for fine, coarse in pairwise(archives):
        if coarse.step % fine.step or coarse.step == fine.step:
            return f"a step of {coarse.step} s behind one of {fine.step} s; it must be a multiple of it"
        if coarse.seconds <= fine.seconds:
            return f"{coarse.step} s points last {coarse.seconds} s, no longer than those of {fine.step} s before them"
        if fine.points < coarse.step // fine.step:
            return f"{fine.points} points of {fine.step} s do not fill one of {coarse.step} s"
    return ""


def _size(archives: list[Archive]) -> int:
    points = sum(archive.points for archive in archives)
    return _HEADER_BYTES + _ARCHIVE_BYTES * len(archives) + _POINT_BYTES * points


def _kept(archives: list[Archive]) -> str:
    points = sum(archive.points for archive in archives)
    return f"{counted(points, 'point')}, {_size(archives) / 1e6:.2f} MB a series"


def _thinned(finest: Archive, flush: float | None) -> str:
    if flush is None or flush >= finest.step:
        return ""
    return (
        f"flushes every {flush:g} s into slots of {finest.step} s: the last one in a slot wins, "
        f"so one gauge in {finest.step / flush:g} is kept"
    )
