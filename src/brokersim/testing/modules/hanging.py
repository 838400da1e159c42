"""Knows how to hang: the handler of ``ask`` never returns, and stops the loop for everybody.

The watchdog ends it with its module (``handler_timeout`` of the marker, 10 s); its callers get EHOSTUNREACH.
"""

from __future__ import annotations

import time

from brokersim.brokermod import BrokerModule, Message, request_handler


class Hanging(BrokerModule):
    """Never comes back from ``ask``."""

    @request_handler("ask")
    def ask(self, msg: Message) -> None:
        while True:
            time.sleep(0.001)
