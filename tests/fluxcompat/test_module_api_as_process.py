"""The tests of `test_module_api.py` again, each module in a process of its own: a file behaves the same in both.

Time runs five times as fast as the wall, and a module's process with it. Left out are the tests that need no module or
look into this process, one that loads a name again before its process can have left, one that counts ticks of virtual
time, and one that answers with bare text, of which the wire keeps the bytes.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any

import pytest
import trio

import brokersim
from brokersim.instance import Instance
from tests.fluxcompat import test_module_api as api
from tests.fluxcompat.test_module_api import (
    file,
    test_a_file_descriptor_is_watched_in_real_time,
    test_a_fresh_module_stands_where_flux_has_it,
    test_an_exception_in_a_handler_ends_the_module_whatever_it_is,
    test_attributes_configuration_services_and_the_rest_of_the_handle,
    test_exit_errnums_are_fluxs,
    test_messages_are_received_by_hand,
    test_mod_main_runs_to_its_end_and_may_wait_before_and_behind_the_reactor,
    test_streams_come_one_answer_at_a_time_and_end_with_61,
    test_the_kvs_helpers_read_and_write,
)

__all__ = [
    "file",
    "test_a_file_descriptor_is_watched_in_real_time",
    "test_a_fresh_module_stands_where_flux_has_it",
    "test_an_exception_in_a_handler_ends_the_module_whatever_it_is",
    "test_attributes_configuration_services_and_the_rest_of_the_handle",
    "test_exit_errnums_are_fluxs",
    "test_messages_are_received_by_hand",
    "test_mod_main_runs_to_its_end_and_may_wait_before_and_behind_the_reactor",
    "test_streams_come_one_answer_at_a_time_and_end_with_61",
    "test_the_kvs_helpers_read_and_write",
]

#: Faster than the wall, slow enough for a loaded machine to keep up with what the tests wait for.
SPEED = 5
CLOCK = f"real*{SPEED}"


def live(body: Callable[[Instance], Awaitable[None]], **settings: Any) -> None:
    """As there, on a clock that processes can follow."""

    async def main() -> None:
        attrs = {"broker.module-load-timeout": "1h"}  # twelve minutes of the wall
        with trio.fail_after(SPEED * 30):
            settings.pop("clock", None)
            async with brokersim.open_instance(
                modules=api.STORAGE, clock=CLOCK, attrs=attrs, **settings
            ) as instance:
                await body(instance)

    brokersim.run(main, clock=CLOCK)


@pytest.fixture(autouse=True)
def as_processes(monkeypatch: pytest.MonkeyPatch) -> None:
    load = Instance.load

    async def load_as_process(self: Instance, path: str, *args: str, **how: Any) -> None:
        await load(self, path, *args, as_process=path.endswith(".py"), **how)

    monkeypatch.setattr(api, "live", live)
    monkeypatch.setattr(Instance, "load", load_as_process)
