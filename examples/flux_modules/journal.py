"""Writes a line to the KVS every period and whenever somebody publishes `journal.note`, and reads it back when asked.

The same file in both: `module load ./journal.py [SECONDS]`.
"""

import flux.kvs
from flux.brokermod import BrokerModule, event_handler, request_handler


class Journal(BrokerModule):
    def __init__(self, h, *args):
        super().__init__(h, *args)
        period = float(args[0]) if args else 10.0
        self.lines = 0
        self.timer = h.timer_watcher_create(period, self.tick, repeat=period).start()

    def write(self, text):
        self.lines += 1
        flux.kvs.put(self.handle, f"journal.line{self.lines}", text)
        flux.kvs.commit(self.handle)  # waits for the answer; other modules go on meanwhile
        self.handle.event_send("journal.written", {"line": self.lines})

    def tick(self, handle, watcher, revents, args):
        self.write("tick")

    @event_handler("note")
    def note(self, msg):
        self.write(msg.payload["text"])

    @request_handler("read")
    def read(self, msg):
        if not flux.kvs.isdir(self.handle, "journal"):
            self.handle.respond(msg, {"lines": []})
            return
        folder = flux.kvs.get_dir(self.handle, "journal")
        self.handle.respond(msg, {"lines": [folder[f"line{n}"] for n in range(1, len(folder) + 1)]})
