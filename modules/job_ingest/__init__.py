"""Knows the requests of job-ingest; how a jobspec becomes a job is elsewhere."""

from __future__ import annotations

from typing import Any

from brokersim.brokermod import BrokerModule, Handle, Message, RequestError, errnums, policy, request_handler

from .intake import Intake


class JobIngest(BrokerModule):
    """Takes jobs in: checks them, gives them ids, writes their records and hands them to the job manager.

    Configuration: ``policy.jobspec.defaults`` and ``queues`` (RFC 33).
    """

    def __init__(self, h: Handle, *args: str) -> None:
        super().__init__(h, *args)
        if args:
            raise RequestError(
                errnums.EINVAL, f"module {self.name!r}: unknown argument {args[0]!r}; it has none"
            )
        started = float(h.attr_get("broker.starttime") or h.time())
        self._intake = Intake(h, started, _rules(h.conf_get()))
        self._intake.open()

    def stats(self) -> dict[str, object]:
        """Jobs taken and refused since the module was loaded."""
        return {"accepted": self._intake.accepted, "refused": self._intake.refused}

    @request_handler("submit", allow_guest=True)
    def submit(self, msg: Message) -> None:
        """A signed jobspec in, a job id out."""
        self._intake.submit(msg)

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
