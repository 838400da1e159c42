"""Knows when commits start: one loop iteration after the request, as in Flux. Not what a commit does.

flux-core's kvs has a prepare, a check and a no-op idle watcher: prepare starts the idle watcher if a
transaction is ready, so that poll does not block, and check carries it out. The same trio here, in the loop
only while something is ready: the same iterations, and nothing to pay at other times.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from brokersim.brokermod import Handle

from .namespaces import Namespace


class CommitWatchers:
    """Calls ``commit(namespace)`` from the check watcher of the iteration after the one that called ``ready()``."""

    __slots__ = ("_check", "_commit", "_idle", "_prepare", "_ready")

    def __init__(self, handle: Handle, commit: Callable[[Namespace], object]) -> None:
        self._commit = commit
        #: Namespaces in which a commit can start, by name.
        self._ready: dict[str, Namespace] = {}
        self._idle = handle.idle_watcher_create(None)
        self._prepare = handle.prepare_watcher_create(self._on_prepare)
        self._check = handle.check_watcher_create(self._on_check)

    def ready(self, namespace: Namespace) -> None:
        """A transaction waits and no commit of the namespace is on its way."""
        if not self._ready:
            self._prepare.start()
            self._check.start()
        self._ready[namespace.name] = namespace

    def _on_prepare(self, *_: Any) -> None:
        self._idle.start()

    def _on_check(self, *_: Any) -> None:
        for watcher in (self._idle, self._prepare, self._check):
            watcher.stop()
        ready, self._ready = self._ready, {}
        for namespace in ready.values():
            if namespace.ready:
                self._commit(namespace)
