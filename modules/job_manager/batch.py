"""Knows how operations of one window become one KVS commit, in order and none lost; not what they write."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from brokersim.brokermod import Handle, Message, errnums, treeobj

#: Seconds that a window stays open after its first operation: flux-core's job-manager and job-ingest.
WINDOW = 0.01
#: Seconds until a commit that failed is tried again.
RETRY = 1.0
APPEND = 32


def append_op(key: str, line: bytes) -> dict[str, Any]:
    """The KVS operation that appends to a key."""
    return {"key": key, "flags": APPEND, "dirent": treeobj.val(line)}


class CommitBatch:
    """Collects operations for 10 ms from the first and commits them to the primary namespace at once.

    A commit that fails (KVS not loaded, disk full) keeps its operations and is tried again every second, before
    any later ones: an eventlog never has its lines in another order than the job had its events.
    """

    __slots__ = ("_handle", "_in_flight", "_on_error", "_operations", "_promised", "_timer", "commits")

    def __init__(self, handle: Handle, on_error: Callable[[str], object]) -> None:
        self._handle = handle
        self._on_error = on_error
        self._operations: list[dict[str, Any]] = []
        self._timer: Any = None
        self._in_flight = 0
        self._promised: list[Callable[[], object]] = []
        self.commits = 0

    def __len__(self) -> int:
        """Operations not acknowledged yet."""
        return len(self._operations) + self._in_flight

    def add(self, operation: dict[str, Any]) -> None:
        """Put an operation into the open window, opening one if needed."""
        self._operations.append(operation)
        if self._timer is None:
            self._timer = self._handle.call_later(WINDOW, self.flush)

    def when_committed(self, then: Callable[[], object]) -> None:
        """Call ``then`` once everything added so far is in the KVS; at once if it is."""
        if self._operations or self._in_flight:
            self._promised.append(then)
        else:
            then()

    def flush(self) -> None:
        """Commit the open window now, or as soon as the commit under way is answered."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        if self._operations and not self._in_flight:
            operations, self._operations = self._operations, []
            self._in_flight = len(operations)
            self.commits += 1
            promised, self._promised = self._promised, []
            payload = {"namespace": "primary", "flags": 0, "ops": operations}
            self._handle.request("kvs.commit", payload, self._committed, (operations, promised))

    def _committed(
        self, response: Message, arg: tuple[list[dict[str, Any]], list[Callable[[], object]]]
    ) -> None:
        operations, promised = arg
        self._in_flight = 0
        if not response.errnum:
            if not self._operations:  # who asked meanwhile waits for nothing but this commit
                promised, self._promised = promised + self._promised, []
            for then in promised:
                then()
            if self._timer is None:  # a window closed while this commit was under way
                self.flush()
            return
        self._on_error(f"eventlog commit failed, retried in {RETRY:g} s: {errnums.strerror(response.errnum)}")
        self._operations[:0] = operations
        self._promised[:0] = promised
        if self._timer is not None:
            self._timer.cancel()
        self._timer = self._handle.call_later(RETRY, self.flush)
