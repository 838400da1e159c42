"""A sink's queue: what it has no room for is counted, and what waits is written in parts, between messages."""

from __future__ import annotations

from modules.metrics.outlets import QUEUE_MAX, Sink


class Later:
    """A handle that keeps what is to be called later."""

    def __init__(self):
        self.calls = []

    def call_later(self, _seconds, fn, *args):
        self.calls.append((fn, args))

    def log(self, _level, _text):
        self.logged = getattr(self, "logged", 0) + 1


def test_a_sink_keeps_a_bounded_queue_and_counts_what_found_no_room():
    handle = Later()
    sink = Sink(handle, {"log": True})
    for number in range(QUEUE_MAX + 25):
        sink.end(type("Stat", (), {"name": "s"})(), {"epoch": number})
    assert sink.dropped == 25
    rounds = 0
    while handle.calls:
        fn, args = handle.calls.pop(0)
        fn(*args)
        rounds += 1
    assert (sink.written, handle.logged) == (QUEUE_MAX, QUEUE_MAX)
    assert rounds == QUEUE_MAX // 500
