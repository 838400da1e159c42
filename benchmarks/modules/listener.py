"""Knows that the heartbeat beats; does nothing about it. The leanest module that receives events."""

from __future__ import annotations

from brokersim.brokermod import BrokerModule, Message, event_handler


class Listener(BrokerModule):
    @event_handler("heartbeat.pulse", prefix=False)
    def pulse(self, _msg: Message) -> None:
        pass
