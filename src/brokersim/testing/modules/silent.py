"""Knows how not to answer: a request to ``ask`` is kept and forgotten."""

from __future__ import annotations

from brokersim.brokermod import BrokerModule, Message, request_handler


class Silent(BrokerModule):
    """Never answers ``ask``; every other method works."""

    @request_handler("ask")
    def ask(self, msg: Message) -> None:
        """Take it and do nothing."""
