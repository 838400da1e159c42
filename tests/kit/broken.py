"""Knows modules that each break one law, written to a folder when a test wants one; judges nothing."""

from __future__ import annotations

from pathlib import Path

_HEAD = """
from brokersim.brokermod import BrokerModule, event_handler, request_handler


class M(BrokerModule):
"""

BODIES = {
    # Loses what is on its way over links: it cancels the timers that carry it.
    "loser": """
    @request_handler("ask")
    def ask(self, msg):
        self.handle.respond(msg)
        self.handle.request("kvs.ping", {}, lambda *_: None, nodeid=self.handle.size - 1)
        for _, _, timer in self.handle.reactor._timers:
            if timer.actor is None:
                timer.cancel()
""",
    # Gives itself an event again that it was given.
    "echo": """
    again = False

    @event_handler("news")
    def news(self, msg):
        if not self.again:
            self.again = True
            self.handle.reactor.push(msg)
""",
    # Takes the events of another module out of the queue.
    "thief": """
    @event_handler("news", prefix=False)
    def news(self, msg):
        victim = self.handle.broker.module("listener")
        self.handle.reactor.purge(victim)
""",
    "listener": """
    @event_handler("news", prefix=False)
    def news(self, msg):
        pass
""",
    # A kvs that does not listen to heartbeats.
    "deaf_kvs": """
    @event_handler("kvs.namespace", prefix=False)
    def changed(self, msg):
        pass
""",
    # Sends a packet of its own counters with seven of them.
    "seven": """
    @request_handler("ask")
    def ask(self, msg):
        kinds = ("request", "response", "event", "keepalive")
        lines = [f"flux.seven.0.{kind}_{way}:1|g" for kind in kinds for way in ("tx", "rx")][:7]
        self.handle.broker.instance.sink.send("\\n".join(lines).encode())
        self.handle.respond(msg)
""",
    # Sends a packet with all eight of its counters but one, and a gauge that is none in its place.
    "stranger": """
    @request_handler("ask")
    def ask(self, msg):
        kinds = ("request", "response", "event", "keepalive")
        lines = [f"flux.stranger.0.{kind}_{way}:1|g" for kind in kinds for way in ("tx", "rx")][:7]
        self.handle.broker.instance.sink.send("\\n".join([*lines, "flux.stranger.0.depth:1|g"]).encode())
        self.handle.respond(msg)
""",
    # Sends gauges that are not its counters.
    "liar": """
    @request_handler("ask")
    def ask(self, msg):
        self.handle.respond(msg)
        self.handle.call_later(1.0, self.lie)

    def lie(self):
        kinds = ("request", "response", "event", "keepalive")
        lines = [f"flux.liar.0.{kind}_{way}:4711|g" for kind in kinds for way in ("tx", "rx")]
        self.handle.broker.instance.sink.send("\\n".join(lines).encode())
""",
    # Loses a job between two states.
    "juggler": """
    lost = 0

    def stats(self):
        return {"states": {"NEW": 0, "RUN": 2 - self.lost, "INACTIVE": 1}, "submitted": 3}

    @request_handler("ask")
    def ask(self, msg):
        self.lost = 1
        self.handle.respond(msg)
        self.lost = 0
""",
}


def broken(folder: Path, name: str) -> str:
    """The path of one of these modules."""
    path = folder / f"{name}.py"
    path.write_text(_HEAD + BODIES[name].lstrip("\n"))
    return str(path)
