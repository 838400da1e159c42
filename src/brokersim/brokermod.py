"""The door for module authors: Flux's BrokerModule and decorators, and the values a module works with.

A module file defines one subclass of BrokerModule::

    from brokersim.brokermod import BrokerModule, request_handler

    class Hello(BrokerModule):
        @request_handler("info")
        def info(self, msg):
            self.handle.respond(msg, {"hello": self.name})
"""

from __future__ import annotations

import inspect
from collections.abc import Callable
from typing import Any, TypeVar

from brokersim import files
from brokersim.host import command as process
from brokersim.host.future import Future
from brokersim.host.handle import Handle
from brokersim.host.handler_table import MARK, TASK_MARK
from brokersim.host.ports import Running as ProgramRunning
from brokersim.host.ports import Told as ProgramTold
from brokersim.host.run_database import RunDatabase
from brokersim.native import sums
from brokersim.protocol import (
    blobref,
    duration,
    errnums,
    eventlog,
    hostlist,
    job_facts,
    job_states,
    jobid,
    policy,
    ranks,
    schedules,
    treeobj,
    updates,
)
from brokersim.protocol.brackets import check_nesting
from brokersim.protocol.errnums import RequestError
from brokersim.protocol.job_facts import JobFacts
from brokersim.protocol.job_record import JobRecord, is_own_event
from brokersim.protocol.job_states import State as JobState
from brokersim.protocol.job_table import JobTable
from brokersim.protocol.message import NODEID_ANY, NODEID_UPSTREAM, Message
from brokersim.protocol.open_streams import OpenStreams
from brokersim.protocol.quoting import quoted
from brokersim.protocol.remembered import Remembered
from brokersim.protocol.resources import Resources
from brokersim.protocol.topic import check_glob
from brokersim.routing import logring
from brokersim.statsd import exposition

__all__ = [
    "NODEID_ANY", "NODEID_UPSTREAM", "BrokerLogger", "BrokerModule", "Future", "Handle", "JobFacts", "JobRecord",
    "JobState", "JobTable", "Message", "OpenStreams", "ProgramRunning",
    "ProgramTold", "Remembered", "RequestError", "Resources", "RunDatabase", "blobref", "check_glob",
    "check_nesting", "duration", "errnums", "event_handler", "eventlog", "exposition", "files", "hostlist",
    "is_own_event", "job_facts", "job_states", "jobid", "pass_on", "policy", "process", "quoted", "ranks",
    "request_handler", "schedules", "sums", "treeobj", "trio_task", "updates",
]  # fmt: skip

F = TypeVar("F", bound=Callable[..., Any])


def request_handler(topic: str, prefix: bool = True, allow_guest: bool = False) -> Callable[[F], F]:
    """Mark a method ``(self, msg)`` as handler of requests.

    With ``prefix`` the module's name goes before the topic. ``async def`` methods are stepped by the reactor.
    """
    return _marker(topic, prefix, False, allow_guest)


def event_handler(topic: str, prefix: bool = True, allow_guest: bool = False) -> Callable[[F], F]:
    """Mark a method ``(self, msg)`` as handler of events, which are subscribed to at load.

    Events of guests reach it with ``allow_guest`` only, as in Flux: anybody may publish any topic.
    """
    return _marker(topic, prefix, True, allow_guest)


def _marker(topic: str, prefix: bool, is_event: bool, allow_guest: bool) -> Callable[[F], F]:
    def mark(method: F) -> F:
        if inspect.isgeneratorfunction(method) or inspect.isasyncgenfunction(method):
            # Calling it runs none of it: whoever asks would wait for ever.
            raise TypeError(
                f"handler {topic!r}: {method.__qualname__} yields; it must return or respond, or be async"
            )
        setattr(method, MARK, (topic, prefix, is_event, allow_guest))
        return method

    return mark


def pass_on(handle: Handle, response: Message, request: Message) -> None:
    """Answer a request as another, made on its behalf, was answered: ``partial(pass_on, handle)`` continues that."""
    if response.errnum:
        handle.respond_error(request, response.errnum, response.payload_str or "")
    else:
        handle.respond(request, response.data)


def trio_task(method: F) -> F:
    """Run an ``async def`` handler as a trio task: any trio await, at the price of a task switch a message."""
    setattr(method, TASK_MARK, True)
    return method


class BrokerLogger:
    """Writes to the broker's log from a level on (syslog's numbers, 7 debug is everything)."""

    __slots__ = ("_handle", "_level")

    def __init__(self, handle: Handle) -> None:
        self._handle = handle
        self._level = logring.DEBUG

    @property
    def level(self) -> int:
        """Threshold: lines above this number are dropped."""
        return self._level

    @level.setter
    def level(self, value: int | str) -> None:
        if isinstance(value, str):
            if value not in logring.LEVELS:
                raise ValueError(f"no log level {value!r}; one of {', '.join(logring.LEVELS)}")
            value = logring.LEVELS.index(value)
        self._level = value

    @property
    def level_name(self) -> str:
        return logring.LEVELS[self._level]

    def log(self, level: int, msg: str) -> None:
        if level <= self._level:
            self._handle.log(level, msg)

    def debug(self, msg: str) -> None:
        self.log(logring.DEBUG, msg)

    def info(self, msg: str) -> None:
        self.log(logring.INFO, msg)

    def notice(self, msg: str) -> None:
        self.log(logring.NOTICE, msg)

    def warning(self, msg: str) -> None:
        self.log(logring.WARNING, msg)

    def error(self, msg: str) -> None:
        self.log(logring.ERR, msg)

    def critical(self, msg: str) -> None:
        self.log(logring.CRIT, msg)

    def alert(self, msg: str) -> None:
        self.log(logring.ALERT, msg)

    def emerg(self, msg: str) -> None:
        self.log(logring.EMERG, msg)


class _Logger:
    """Makes a module's ``log`` when it is first asked for: most modules of a large instance never write a line."""

    def __get__(self, module: BrokerModule, _: type | None = None) -> BrokerLogger:
        module.log = made = BrokerLogger(module.handle)
        return made


class BrokerModule:
    """Base class of a broker module, as in Flux: one instance a load.

    Beyond Flux a subclass may define ``async def ready(self)`` (awaited before the module counts as running),
    ``teardown(self)`` (plain or async; run at unload, while requests can still be sent) and ``stats(self)``
    (a dict that ``stats-get`` adds to the message counters).
    """

    _is_broker_module = True
    #: What it writes to the broker's log with.
    log: BrokerLogger = _Logger()  # type: ignore[assignment]

    def __init__(self, h: Handle, *args: str) -> None:
        self.handle = h
        self.args = args

    @property
    def name(self) -> str:
        """The name it was loaded under."""
        return self.handle.name

    def set_running(self) -> None:
        """Say it is ready before the first prepare does."""
        if self.handle.module is not None:
            self.handle.module.set_running()

    def debug_test(self, flag: int, clear: bool = False) -> bool:
        """Is a bit of the debug mask set? ``clear`` clears it."""
        is_set = bool(self.handle.mask & flag)
        if clear and is_set:
            self.handle.set_mask(self.handle.mask & ~flag)
        return is_set

    def stop(self) -> None:
        """End the module in good order."""
        if self.handle.module is not None:
            self.handle.module.stop()

    def stop_error(self) -> None:
        """End the module as failed: its callers get EHOSTUNREACH."""
        if self.handle.module is not None:
            self.handle.module.crashed(OSError(errnums.ECONNRESET, "stopped with an error"), None)

    def run(self) -> None:
        """Flux's reactor run; here the loop is the broker's and already runs."""
