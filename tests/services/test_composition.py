"""What an instance is called by: its attributes, from its settings."""

from __future__ import annotations

import os

import pytest

from brokersim import open_instance, run


@pytest.mark.parametrize(
    ("settings", "names"),
    [
        ({"size": 1, "clock": "virtual"}, ("sim0", ["sim0"])),
        ({"size": 2, "clock": "virtual"}, ("sim[0-1]", ["sim0", "sim1"])),
        ({"size": 1, "clock": "real"}, (os.uname().nodename, [os.uname().nodename])),
        ({"size": 2, "clock": "real", "attrs": {"hostlist": "a,b"}}, ("a,b", ["a", "b"])),
        ({"size": 2, "clock": "real", "attrs": {"hostlist": "a"}}, ("a", ["sim0", "sim1"])),
    ],
)
def test_a_rank_is_called_as_its_hostlist_says_and_one_in_real_time_as_this_host(settings, names):
    async def main():
        async with open_instance(modules=(), **settings) as instance:
            found = [instance.broker(rank).attributes.get("hostname") for rank in range(instance.size)]
            return instance.broker(0).attributes.get("hostlist"), found

    assert run(main, clock=settings["clock"]) == names
