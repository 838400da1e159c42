"""When the resources end: who is asked, and who is not."""

from __future__ import annotations

import pytest

from modules.job_manager.lifetime import Lifetime


class Handle:
    def __init__(self, clock):
        self._clock, self.asked = clock, []

    def attr_get(self, name):
        return {"clock": self._clock}[name]

    def stream(self, topic, payload, then):
        self.asked.append((topic, payload["key"]))


@pytest.mark.parametrize(
    ("clock", "asked"), [("virtual", []), ("real", [("kvs-watch.lookup", "resource.R")])]
)
def test_the_end_of_resources_is_followed_in_real_time_only(clock, asked):
    handle = Handle(clock)
    Lifetime(handle).follow()
    assert handle.asked == asked
