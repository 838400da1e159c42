"""Counts what it handles and sends the counts as statsd gauges, by UDP, from a prepare watcher.

The same file in both: `flux module load ./counters.py HOST:PORT`, `brokersim module load ./counters.py HOST:PORT`.
Nothing is sent until debug bit 0x1000 is set (`module debug --setbit 0x1000 counters`), and only when a count moved.
"""

import socket

from flux.brokermod import BrokerModule, event_handler, request_handler

EMIT = 0x1000


class Counters(BrokerModule):
    def __init__(self, h, *args):
        super().__init__(h, *args)
        host, _, port = (args[0] if args else "127.0.0.1:8125").rpartition(":")
        self.socket = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self.socket.setblocking(False)
        self.socket.connect((host, int(port)))
        self.counts = {"request_rx": 0, "response_tx": 0, "event_rx": 0}
        self.sent = None
        self.hook = h.prepare_watcher_create(self.emit).start()

    def emit(self, handle, watcher, revents, args):
        if not self.debug_test(EMIT) or self.counts == self.sent:
            return
        self.sent = dict(self.counts)
        rank = handle.get_rank()
        lines = [f"flux.{self.name}.{rank}.{what}:{n}|g" for what, n in self.counts.items()]
        try:
            self.socket.send("\n".join(lines).encode())
        except OSError:
            pass  # nobody listens, or the buffer is full: a lost gauge is replaced by the next

    @request_handler("hello")
    def hello(self, msg):
        self.counts["request_rx"] += 1
        self.counts["response_tx"] += 1
        self.handle.respond(msg, {"counts": self.counts})

    @event_handler("heartbeat.pulse", prefix=False)
    def beat(self, msg):
        self.counts["event_rx"] += 1
