"""Knows the requests of job-ingest; how a jobspec becomes a job is elsewhere."""

from __future__ import annotations

from typing import Any

from brokersim.brokermod import BrokerModule, Handle, Message, RequestError, errnums, policy, request_handler

from .checks import Checks, to_checks
from .intake import Intake
from .options import to_options


class JobIngest(BrokerModule):
    """Takes jobs in: checks them, gives them ids, writes their records and hands them to the job manager.

    Configuration: ``policy.jobspec.defaults`` and ``queues`` (RFC 33), ``ingest``.
    """

    def __init__(self, h: Handle, *args: str) -> None:
        super().__init__(h, *args)
        try:
            self._options = to_options(args)
            checks = to_checks(h.conf_get(), self._options)
        except ValueError as error:
            raise RequestError(errnums.EINVAL, f"module {self.name!r}: {error}") from None
        started = float(h.attr_get("broker.starttime") or h.time())
        self._intake = Intake(h, started, _rules(h.conf_get()), checks)
        self._intake.open()
        self._tell(checks)

    def _tell(self, checks: Checks) -> None:
        self.log.debug(f"configuring validator with {checks.told}")

    async def ready(self) -> None:
        """A rank that may not make ids has no use for it."""
        if self.handle.rank > self._options.generator_max:
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
        try:
            checks = to_checks(msg.payload, self._options)
        except ValueError as error:
            raise RequestError(errnums.EINVAL, str(error)) from None
        self._intake.rules, self._intake.checks = _rules(msg.payload), checks
        self._tell(checks)
        self.handle.respond(msg)


def _rules(conf: Any) -> policy.Rules:
    try:
        return policy.to_rules(conf)
    except ValueError as error:
        raise RequestError(errnums.EINVAL, str(error)) from None
