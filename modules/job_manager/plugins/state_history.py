"""Knows when every job changed its state: the truth that curves of counts are compared with. Sends nothing."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from ..plugin import Call, Plugin


def plugin_init(plugin: Plugin) -> None:
    """No settings. A query gives ``history``: [[time in seconds, state left or None, state entered]]."""
    plugin.take()
    history: list[tuple[float, str | None, str]] = []
    now = plugin.handle.now

    def noted(call: Call) -> None:
        history.append((now(), call.previous, call.state))

    def query() -> dict[str, Any]:
        return {"history": history}

    plugin.add_handler("job.new", noted)
    plugin.add_handler("job.state.*", noted)
    plugin.on_query = query
