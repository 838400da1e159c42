"""Knows how a probe is read once, with no module running: by the command line, or by whoever tries a probe out."""

from __future__ import annotations

import time
from collections.abc import Awaitable, Callable, Coroutine
from pathlib import Path
from typing import Any

import attrs

from brokersim.brokermod import NODEID_ANY, RequestError, errnums

from .answers import readings
from .contract import Asks, Context, Reading
from .local import run_here
from .probes import checked, find
from .procfs import ProcFS, Recording

Call = Callable[[str, Any, int], Any]
Run = Callable[[Any], Any]


@attrs.frozen(kw_only=True)
class Alone(Asks):
    """What a probe asks of an instance, asked by waiting: nobody else is kept from anything here."""

    rank: int = 0
    parent: int | None = None
    #: One RPC. Raises RequestError, or that there is no instance.
    asked: Call
    #: One command, as the probe ``command`` wants it.
    ran: Run

    def call(self, topic: str, payload: Any = None, nodeid: int = NODEID_ANY) -> Awaitable[Any]:
        return self._later(lambda: self.asked(topic, payload, nodeid))

    def run(self, command: Any) -> Awaitable[Any]:
        return self._later(lambda: self.ran(command))

    def sleep(self, seconds: float) -> Awaitable[None]:
        return self._later(lambda: time.sleep(seconds))

    def now(self) -> float:
        return time.monotonic()

    def start(self, wish: Any) -> Any:
        raise ValueError("one reading starts nothing that lives on; try the program itself")

    def line(self, worker: Any) -> Awaitable[bytes]:
        raise AssertionError("nothing was started")

    async def _later(self, act: Callable[[], Any]) -> Any:
        return act()


def record(name: str, config: dict[str, Any], ask: Asks, folder: Path) -> int:
    """Keep what a probe reads of this machine below ``folder``; how many files that are. Raises as `read_once`."""
    files = Recording(folder)
    read_once(name, config, ask, files=files)
    return files.count


def read_once(
    name: str, config: dict[str, Any], ask: Asks, root: str = "/", over: float | None = None,
    files: ProcFS | None = None,
) -> list[Reading]:  # fmt: skip
    """One reading, or with ``over`` a second one so many seconds later, for what is the difference of two.

    ``files``: instead of those below ``root``. Raises ValueError for what cannot be read, and what the probe raises.
    """
    probe = find(name)()
    fine = checked(name, config)
    if "first" in probe.options and over is None:
        fine.setdefault("first", "boot")
    files = ProcFS(root) if files is None else files
    try:
        probe.open(Context(ask=ask, procfs=files, config=fine))
        answer = whole(probe.read())
        if over is not None:
            time.sleep(over)
            answer = whole(probe.read())
        return readings(answer, f"node/{ask.rank}")
    finally:
        probe.close()
        files.close()


def reader(name: str, config: dict[str, Any], rank: int) -> Callable[[], Any]:
    """A probe that is open, to be read again and again by one who has no broker."""

    def asked(topic: str, *_: object) -> Any:
        raise RequestError(errnums.ENOSYS, f"{topic}: a process of a probe's own has no broker to ask")

    probe = find(name)()
    probe.open(Context(ask=Alone(rank=rank, asked=asked, ran=run_here), procfs=ProcFS(), config=config))
    return lambda: whole(probe.read())


def whole(answer: Any) -> Any:
    """An answer that is a coroutine, run to its end: nothing it awaits here waits for a loop."""
    if not isinstance(answer, Coroutine):
        return answer
    try:
        answer.send(None)
    except StopIteration as ended:
        return ended.value
    answer.close()
    raise ValueError("the probe waits for what only a running module can give")
