"""Knows samples that found no room in a queue's memory: a bounded file of JSON lines, oldest first; not the queue.

What is in it outlives the module. What was taken out of it is gone from it once it is empty or closed: after kill -9
some come twice, none is lost. A disk that is full makes it take nothing more, which is said, never raised.
"""

from __future__ import annotations

import os
from collections.abc import Iterable
from typing import Any, Final

import msgspec

from .series import Sample, Series, from_stored

#: Bytes of a spool unless more or fewer are wanted.
SPOOL_MAX: Final = 64 << 20
#: Bytes read at once.
_CHUNK: Final = 1 << 16


class Spool:
    """Raises OSError if its file cannot be opened, ValueError if it is somebody else's."""

    def __init__(self, path: str, max_bytes: int = SPOOL_MAX) -> None:
        self.path = path
        self.max_bytes = max_bytes
        #: Samples in it, and why it takes none.
        self.count = 0
        self.trouble = ""
        #: Samples that are gone from it, as it was changed by somebody else.
        self.lost = 0
        self._fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o600)
        self._size = 0
        #: Where the next sample to take begins, and what was read behind it.
        self._at = 0
        self._ahead: list[bytes] = []
        #: Series whose description is in the file, in which form; and those of samples that were taken.
        self._written: dict[str, str] = {}
        self._series: dict[str, Series] = {}
        #: The last number of each series in it.
        self.last: dict[str, int] = {}
        try:
            self._size = self._find()
        except ValueError:
            os.close(self._fd)
            raise

    @property
    def size(self) -> int:
        """Bytes of the file."""
        return self._size

    def _find(self) -> int:
        """Count what an earlier life has left; a line that was cut short is taken away."""
        size = 0
        with open(self.path, "rb") as file:
            for number, line in enumerate(file, 1):
                if not line.endswith(b"\n"):
                    os.ftruncate(self._fd, size)
                    break
                document = self._read(line, number)
                if "series" in document:
                    self._written[document["series"]["mid"]] = document["series"].get("form", "")
                else:
                    self.count += 1
                    self.last[document["mid"]] = document["seq"]
                size += len(line)
        return size

    def _read(self, line: bytes, number: int) -> Any:
        try:
            document = msgspec.json.decode(line)
            if "series" in document:
                self._series[document["series"]["mid"]] = from_stored(document["series"])
            elif document["mid"] not in self._series:
                raise ValueError("of a series that is not described")
            return document
        except (msgspec.DecodeError, TypeError, ValueError, KeyError, RecursionError) as error:
            raise ValueError(f"{self.path}:{number}: no spool of ours ({error})") from None

    # -- in

    def put(self, sample: Sample) -> bool:
        """One more, behind all others; False if there is no room for it."""
        data = self._line(sample)
        if self._size + len(data) > self.max_bytes:
            self.trouble = f"{self.path}: full, {self.max_bytes} bytes"
            return False
        if not self._append(data):
            return False
        self._written[sample.series.mid] = sample.series.form
        self.last[sample.series.mid] = sample.seq
        self.count += 1
        self.trouble = ""
        return True

    def _line(self, sample: Sample) -> bytes:
        series = sample.series
        described = b""
        if self._written.get(series.mid) != series.form:
            described = msgspec.json.encode({"series": series.to_stored()}) + b"\n"
        fact = {
            "mid": series.mid, "ts": sample.ts_ns, "seq": sample.seq, "value": sample.value, "timed": sample.is_timed
        }  # fmt: skip
        return described + msgspec.json.encode(fact) + b"\n"

    def _append(self, data: bytes) -> bool:
        """All of it or nothing."""
        try:
            if os.write(self._fd, data) == len(data):
                self._size += len(data)
                return True
            self.trouble = f"{self.path}: no room for {len(data)} bytes"
        except OSError as error:
            self.trouble = f"{self.path}: {error.strerror}"
        os.ftruncate(self._fd, self._size)
        return False

    # -- out

    def take(self, most: int) -> list[Sample]:
        """The oldest, at most so many; they are the caller's from now on."""
        found: list[Sample] = []
        try:
            while len(found) < most and self.count:
                document = self._next()
                if "series" in document:
                    self._series[document["series"]["mid"]] = from_stored(document["series"])
                    continue
                found.append(_sample(self._series[document["mid"]], document))
                self.count -= 1
        except (OSError, EOFError, msgspec.DecodeError, TypeError, KeyError) as error:
            # Somebody has cut it short or written to it: what it had is lost, and told as such.
            self.lost += self.count
            self.count = 0
            self._clear()
            self.trouble = f"{self.path}: changed by another ({error})"
            return found
        if not self.count:
            self._clear()
        return found

    def _next(self) -> Any:
        if not self._ahead:
            data = os.pread(self._fd, _CHUNK, self._at)
            while b"\n" not in data:
                more = os.pread(self._fd, _CHUNK, self._at + len(data))
                if not more:
                    raise EOFError("it ends too soon")
                data += more
            whole = data[: data.rindex(b"\n") + 1]
            self._at += len(whole)
            self._ahead = whole.splitlines()[::-1]
        return msgspec.json.decode(self._ahead.pop())

    def _clear(self) -> None:
        os.ftruncate(self._fd, 0)
        self._size = self._at = 0
        self._ahead, self._written, self.trouble = [], {}, ""

    # -- the end

    def close(self, older: Iterable[Sample]) -> int:
        """Keep these before what is in it, for the next life; how many of them are kept. An empty file goes."""
        rest = [*older]
        kept = self._rewritten(rest) if rest or self._at else 0
        os.close(self._fd)
        if not self.count:
            os.unlink(self.path)
        return kept

    def _rewritten(self, older: list[Sample]) -> int:
        """A new file that takes the name of the old one; on a full disk it has the oldest of both."""
        new = f"{self.path}.new"
        try:
            fresh = Spool(new, self.max_bytes)
        except (OSError, ValueError) as error:
            self.trouble = str(error)
            return 0
        newer = self.take(self.count)
        kept = sum(fresh.put(sample) for sample in older)
        later = sum(fresh.put(sample) for sample in newer)
        self.count, self.trouble = kept + later, fresh.trouble
        os.close(fresh._fd)
        os.replace(new, self.path)
        return kept


def _sample(series: Series, document: Any) -> Sample:
    return Sample(series, document["ts"], document["seq"], document["value"], document["timed"])
