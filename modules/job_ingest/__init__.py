"""Knows the requests of job-ingest; how a jobspec becomes a job is elsewhere."""

from __future__ import annotations

from typing import Any

from brokersim.brokermod import BrokerModule, Handle, Message, RequestError, errnums, policy, request_handler

from .intake import Intake
from .options import to_options


class JobIngest(BrokerModule):
    """Takes jobs in: checks them, gives them ids, writes their records and hands them to the job manager.

    Configuration: ``policy.jobspec.defaults`` and ``queues`` (RFC 33).
    """

    def __init__(self, h: Handle, *args: str) -> None:
        super().__init__(h, *args)
        try:
            options = to_options(args)
        except ValueError as error:
            raise RequestError(errnums.EINVAL, f"module {self.name!r}: {error}") from None
        self._generator_max = options.generator_max
        started = float(h.attr_get("broker.starttime") or h.time())
        self._intake = Intake(h, started, _rules(h.conf_get()), options)
        self._intake.open()

    async def ready(self) -> None:
        """A rank that may not make ids has no use for it."""
        if self.handle.rank > self._generator_max:
            self.handle.call_later(0, self.stop)

    def stats(self) -> dict[str, object]:
        """Jobs taken and refused since the module was loaded."""
        return {"accepted": self._intake.accepted, "refused": self._intake.refused}

    @request_handler("submit", allow_guest=True)
    def submit(self, msg: Message) -> None:
        """A signed jobspec in, a job id out."""
        self._intake.submit(msg)

    @request_handler("getinfo")
    def getinfo(self, msg: Message) -> None:
        """What an id of this moment would begin with, in milliseconds."""
        self.handle.respond(msg, {"timestamp": self._intake.timestamp()})

    @request_handler("config-reload")
    def config_reload(self, msg: Message) -> None:
        """New defaults and queues, for jobs from now on. Raises RequestError(EINVAL)."""
        self._intake.rules = _rules(msg.payload)
        self.handle.respond(msg)


def _rules(conf: Any) -> policy.Rules:
    try:
        return policy.to_rules(conf)
    except ValueError as error:
        raise RequestError(errnums.EINVAL, str(error)) from None
