"""Knows how tests are shared out among workers: by file, the dearest files first. Knows nothing of brokersim.

By file, because what a file's tests share (an instance, a finished run) is then made once and not in every worker, and
because xdist's own share, a test at a time, looks through all tests that are done after each. Dearest first, because a
long file that begins last leaves the other cores idle.
"""

from __future__ import annotations

from typing import Any

import pytest
from xdist.scheduler import LoadGroupScheduling

#: Files whose tests take the longest one after the other. A file that is missing here costs a little time, no more.
FIRST = (
    "tests/interop/",
)  # fmt: skip


def rank(nodeid: str) -> int:
    """Where in the order a test begins; those that are in no haste keep their order behind the others."""
    return next((at for at, name in enumerate(FIRST) if nodeid.startswith(name)), len(FIRST))


class ByFile(LoadGroupScheduling):
    """Tests of one `xdist_group` together, and else those of a file."""

    def _split_scope(self, nodeid: str) -> str:
        return str(super()._split_scope(nodeid)).split("::")[0]


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    if hasattr(config, "workerinput"):
        items.sort(key=lambda item: rank(item.nodeid))


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> ByFile | None:
    if config.getoption("dist") != "loadgroup":
        return None
    config.option.loadscopereorder = False  # by our order, not by how many they are
    return ByFile(config, log)
