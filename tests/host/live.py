"""Knows how to run a test body inside a virtual-time instance with the modules of `fixture_modules`."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

import brokersim
from brokersim.instance import Instance
from brokersim.protocol.errnums import RequestError

FIXTURES = Path(__file__).parent / "fixture_modules"
Body = Callable[[Instance], Awaitable[None]]


def live(body: Body, *modules: str, **settings: Any) -> None:
    """Run ``await body(instance)`` with these modules loaded on every rank, under the virtual clock."""

    async def main() -> None:
        path = (*settings.pop("module_path", ()), FIXTURES)
        async with brokersim.open_instance(modules=modules, module_path=path, **settings) as instance:
            await body(instance)

    brokersim.run(main)


@contextmanager
def refused(errnum: int, text: str = "") -> Any:
    """The RequestError expected, with its errnum and a part of its text."""
    with pytest.raises(RequestError) as caught:
        yield caught
    assert (caught.value.errno, text in caught.value.text) == (errnum, True), caught.value.text


def write(folder: Path, name: str, body: str) -> str:
    """A module file whose class has this body (indented by its first line); returns its path."""
    lines = body.strip("\n").splitlines()
    margin = len(lines[0]) - len(lines[0].lstrip())
    text = "\n".join(f"    {line[margin:]}" if line.strip() else "" for line in lines)
    path = folder / f"{name}.py"
    path.write_text(
        "import trio\n"
        "from brokersim.brokermod import BrokerModule, RequestError, errnums\n"
        "from brokersim.brokermod import event_handler, request_handler, trio_task\n\n\n"
        f"class M(BrokerModule):\n{text}\n"
    )
    return str(path)
