"""Knows the requests of the probe service; what is read, when and where to is in files of their own."""

from __future__ import annotations

from typing import Any

import msgspec

from brokersim.brokermod import BrokerModule, Handle, Message, RequestError, errnums, request_handler

from .contract import Context, Reading, readings
from .here import Here
from .local import run_here
from .offline import Alone, read_once
from .probes import PROBES, checked, find
from .procfs import ProcFS

__all__ = ["PROBES", "Alone", "ProbeModule", "checked", "find", "read_once", "run_here", "shown"]


class Read(msgspec.Struct):
    """Payload of probe.read: a probe and its configuration, or ``name``, a measurement that runs."""

    probe: str
    config: dict[str, Any] = {}


def shown(reading: Reading) -> dict[str, Any]:
    """A reading as it is answered."""
    found: dict[str, Any] = {"subject": reading.subject, "metrics": reading.metrics}
    for key in ("ts", "partial", "text", "identity"):
        if getattr(reading, key):
            found[key] = getattr(reading, key)
    return found


class ProbeModule(BrokerModule):
    """Measures what modules cost the machine, on schedules; nothing runs until a measurement is added."""

    def __init__(self, h: Handle, *args: str) -> None:
        super().__init__(h, *args)
        self._here = Here(h)

    @request_handler("read")
    async def read(self, msg: Message) -> None:
        """One reading of a probe, now; answered with what it read."""
        wish = msg.unpack(Read)
        try:
            probe, config = find(wish.probe)(), checked(wish.probe, wish.config)
        except ValueError as error:
            raise RequestError(errnums.EINVAL, f"{self.name}.read: {error}") from None
        files = ProcFS()
        context = Context(ask=self._here, procfs=files, config=config)
        try:
            probe.open(context)
            answer = probe.read()
            if hasattr(answer, "__await__"):
                answer = await answer
            found = readings(answer, context.subject)
        except RequestError:
            raise
        except Exception as error:
            raise RequestError(errnums.EIO, f"{self.name}.read {wish.probe}: {error}") from None
        finally:
            probe.close()
            files.close()
        self.handle.respond(msg, {"readings": [shown(one) for one in found]})
