"""Knows how to crash: ``ask`` raises, and the module ends; its callers get EHOSTUNREACH."""

from __future__ import annotations

from brokersim.brokermod import BrokerModule, Message, request_handler


class Crashing(BrokerModule):
    """Ends at the first ``ask``."""

    @request_handler("ask")
    def ask(self, msg: Message) -> None:
        raise ZeroDivisionError("crashed on purpose")
