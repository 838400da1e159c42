"""Knows what a plugin of the job manager sees and may do; not where it comes from or what happens when it fails.

A plugin is a Python file with one function; it needs no import::

    def plugin_init(plugin):
        plugin.add_handler("job.state.run", lambda call: plugin.log.info(f"job {call.job.id} runs"))

Source: flux-core's jobtap plugins, topics ``job.new``, ``job.state.*`` and ``job.priority.get``.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Protocol, TypeAlias

import attrs

from brokersim.brokermod import (
    Handle,
)
from brokersim.brokermod import (
    JobState as State,
)

from .job import Job

#: Topics a handler may be for, and what may stand in for part of them.
TOPICS = ("job.new", "job.priority.get", *(f"job.state.{state.name.lower()}" for state in State))


@attrs.frozen(kw_only=True)
class Call:
    """One call of a handler: the topic, the job (to be read, not changed), its state and the one it left."""

    topic: str
    job: Job
    state: str
    previous: str | None


Handler: TypeAlias = Callable[[Call], Any]


class Log(Protocol):
    """The job manager's log."""

    def info(self, text: str) -> object: ...
    def error(self, text: str) -> object: ...


class Plugin:
    """One loaded plugin: its name, its settings, the job manager's handle and log.

    ``on_query`` gives a dict that ``jobtap query`` shows; ``on_remove`` is called once at its end, where timers and
    watchers of the plugin's own have to be stopped.
    """

    __slots__ = ("conf", "handle", "handlers", "log", "name", "on_query", "on_remove", "path")

    def __init__(self, name: str, path: str, conf: dict[str, Any], handle: Handle, log: Log) -> None:
        self.name = name
        self.path = path
        self.conf = conf
        self.handle = handle
        self.log = log
        self.handlers: list[tuple[str, Handler]] = []
        self.on_query: Callable[[], dict[str, Any]] = dict
        self.on_remove: Callable[[], object] = _nothing

    def add_handler(self, topic: str, handler: Handler) -> None:
        """Call ``handler(call)`` at a topic; ``job.state.*`` is all that begin so. Raises ValueError.

        A handler of ``job.priority.get`` returns the priority, or None to leave it to others. What any handler
        raises ends the plugin, not the job manager.
        """
        begin = topic.removesuffix("*")
        if not any(one == topic or (begin != topic and one.startswith(begin)) for one in TOPICS):
            raise ValueError(f"no topic {topic!r}; there are {', '.join(TOPICS)}")
        self.handlers.append((topic, handler))

    def take(self, **known: Callable[[Any], Any]) -> dict[str, Any]:
        """The settings converted by the function of their name. Raises ValueError that names a wrong one."""
        taken = {}
        for key, value in self.conf.items():
            if key not in known:
                raise ValueError(f"unknown setting {key!r}; there are {', '.join(known)}")
            try:
                taken[key] = known[key](value)
            except (ValueError, TypeError) as error:
                raise ValueError(f"setting {key}={value!s:.40}: {error}") from None
        return taken

    def send_stats(self, packet: bytes) -> bool:
        """A statsd packet as it is, to where the instance's statistics go; False if it was refused."""
        return self.handle.send_packet(packet)

    def stats_client(self, prefix: str, period: float) -> Any:
        """A statsd client of the plugin's own; ``period`` in seconds, 0 sends at once. Close it in ``on_remove``."""
        return self.handle.stats_client(prefix, period)


def _nothing() -> None:
    """A plugin with nothing to stop."""
