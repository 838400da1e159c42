"""Knows where lines of the log go besides its ring: standard error and a file, as the attributes log-* say.

Source: flux-broker-attributes(7) of flux-core 0.88; the form of a line as its broker writes it.
"""

from __future__ import annotations

import os
import re
import sys
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from datetime import datetime
from typing import Final

from brokersim import files
from brokersim.instance import Instance
from brokersim.routing.logring import ERR, LEVELS
from brokersim.services.broker import Broker

_LINE: Final = re.compile(r"<(\d+)>1 (\S+) (\S+) (\S+) \S+ \S+ \S+ (.*)", re.DOTALL)
#: More is what a syslog level cannot be: a line that is none is shown in any case.
_NONE: Final = -1


def parts(line: str) -> tuple[int, str, str, str]:
    """Its severity, its rank, its time for a person, and who says what. A line that is none is said by nobody."""
    match = _LINE.fullmatch(line)
    if match is None:
        return _NONE, "", "", line
    severity, stamp, rank, name, text = min(int(match[1]) >> 3, 7), match[2], match[3], match[4], match[5]
    with suppress(ValueError):
        local = datetime.fromisoformat(stamp).astimezone()
        stamp = f"{local:%b %d %H:%M:%S.%f %Z %Y}"
    return severity, rank, stamp, f"{name}.{LEVELS[severity]}[{rank}]: {text}"


class Stderr:
    """Shows lines of a rank's log on standard error, down to the level that the attributes name at that moment."""

    def __init__(self, broker: Broker) -> None:
        self._broker = broker
        self._is_local = broker.attributes.get("log-stderr-mode") == "local"

    def show(self, line: str) -> None:
        """One line, if it is to be shown."""
        severity, rank, stamp, text = parts(line)
        if severity <= self._limit(rank == str(self._broker.rank)):
            # Local lines are for a collector that knows the time itself and reads the level in front.
            with suppress(OSError):  # nobody reads it any more
                print(
                    f"<{severity}>{text}" if self._is_local else f"{stamp} {text}",
                    file=sys.stderr,
                    flush=True,
                )

    def _limit(self, is_own: bool) -> int:
        """The highest severity that is shown: critical ones of the rank's own are in any case."""
        names = ["log-critical-level"] if is_own else []
        if is_own or not self._is_local:
            names.append("log-stderr-level")
        return max((int(self._broker.attributes.get(name) or _NONE) for name in names), default=_NONE)


class _File:
    """Writes all lines to a file; one that takes no more is left alone, and the log says so."""

    def __init__(self, broker: Broker, number: int) -> None:
        self._broker = broker
        self._number = number

    def write(self, line: str) -> None:
        _, _, stamp, text = parts(line)
        try:
            os.write(self._number, f"{stamp} {text}".strip().encode() + b"\n")
        except OSError as error:
            self.stop()
            self._broker.write_local_log(ERR, "broker", f"log-filename: {error.strerror}; no more is written")

    def stop(self) -> None:
        """Nothing more is written: its number may be another file's by then."""
        if self.write in self._broker.log.followers:
            self._broker.log.followers.remove(self.write)


@contextmanager
def log_outlets(instance: Instance) -> Iterator[None]:
    """While inside, lines of the log go there, too. Raises OSError for a file that cannot be written."""
    first = instance.broker(0)
    is_local = first.attributes.get("log-stderr-mode") == "local"
    for broker in map(instance.broker, range(instance.size if is_local else 1)):
        broker.log.followers.append(Stderr(broker).show)
    name = first.attributes.get("log-filename")
    with ExitStack() as stack:
        if name is not None:
            number = files.open_output(name, append=False)
            stack.callback(os.close, number)
            file = _File(first, number)
            first.log.followers.append(file.write)
            stack.callback(file.stop)
        yield
