"""Knows how many jobs are in each state, by counting transitions, and sends that as gauges; not what a job is.

Source: the journal's week 5 (form ``journal``: without ``job.new`` the entry into NEW is never counted, so NEW sinks,
and a gauge below 0 is a decrement to the server) and week 7 (style ``increments``).
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from ..plugin import Call, Plugin

STATES = ("NEW", "DEPEND", "PRIORITY", "SCHED", "RUN", "CLEANUP", "INACTIVE")
FORMS = ("fixed", "journal")
STYLES = ("absolute", "increments")
HOOKS = ("timer", "prepare", "check", "idle")
SETTINGS = (
    "form=fixed|journal style=absolute|increments hook=timer|prepare|check|idle period=SECONDS prefix=NAME"
)


def plugin_init(plugin: Plugin) -> None:
    """Settings: see SETTINGS. With a hook the counts go out when one changed; the timer sends them every period."""
    settings = plugin.take(
        form=_one_of(FORMS), style=_one_of(STYLES), hook=_one_of(HOOKS), period=_period, prefix=str
    )
    StateCounts(plugin, **settings)


class StateCounts:
    """Counts +1 for the state entered, −1 for the one left."""

    def __init__(
        self,
        plugin: Plugin,
        form: str = "fixed",
        style: str = "absolute",
        hook: str = "timer",
        period: float = 1.0,
        prefix: str = "flux.job-states",
    ) -> None:
        self._plugin = plugin
        self._prefix = prefix
        self._names = {state: state.lower() for state in STATES}
        self._counts = dict.fromkeys(STATES, 0)
        self._last: dict[str, int] | None = None
        self._sent = 0
        self._client: Any = None
        plugin.on_query = self._query
        plugin.add_handler("job.state.*", self._moved)
        if form == "fixed":
            plugin.add_handler("job.new", self._new)
        if style == "increments":
            if hook != "timer":
                raise ValueError("style=increments sends by its client's period; give no hook")
            self._client = plugin.stats_client(prefix, period)
            plugin.on_remove = self._client.close
        elif hook == "timer":
            if not period:
                raise ValueError("style=absolute needs a period above 0, or hook=prepare, check or idle")
            self._watch(plugin.handle.timer_watcher_create(period, self._tick, period))
        else:
            self._watch(getattr(plugin.handle, f"{hook}_watcher_create")(self._changed))

    def _watch(self, watcher: Any) -> None:
        watcher.start()
        self._plugin.on_remove = watcher.stop

    # -- counting

    def _new(self, call: Call) -> None:
        self._add(call.state, 1)  # a plugin that is loaded late meets jobs in any state

    def _moved(self, call: Call) -> None:
        if call.previous is not None:
            self._add(call.previous, -1)
        self._add(call.state, 1)

    def _add(self, state: str, n: int) -> None:
        self._counts[state] += n
        if self._client is not None:
            self._client.gauge_inc(self._names[state], n)

    # -- sending

    def _tick(self, *_: object) -> None:
        self._sent += 1
        lines = (f"{self._prefix}.{self._names[state]}:{n}|g" for state, n in self._counts.items())
        self._plugin.send_stats("\n".join(lines).encode())

    def _changed(self, *_: object) -> None:
        if self._counts != self._last:
            self._last = self._counts.copy()
            self._tick()

    def _query(self) -> dict[str, Any]:
        return {"counts": dict(self._counts), "sent": self._sent}


def _one_of(known: tuple[str, ...]) -> Callable[[Any], str]:
    def convert(value: Any) -> str:
        if value not in known:
            raise ValueError(f"give {' or '.join(known)}")
        return str(value)

    return convert


def _period(value: Any) -> float:
    seconds = float(value)
    if not 0 <= seconds < 1e9:
        raise ValueError("give seconds, 0 or more")
    return seconds
