"""Knows which queues there are and whether each takes jobs and hands out resources; not which jobs wait there."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import attrs

from brokersim.brokermod import policy


@attrs.define(eq=False)
class Queue:
    """One queue: open for submission (``enabled``), handing out resources (``started``)."""

    enabled: bool = True
    started: bool = True
    reason_disabled: str = ""
    reason_stopped: str = ""
    #: Of ``started``: what a later life of the module finds.
    kept_started: bool = True

    def to_dict(self, has_scheduler: bool = True) -> dict[str, Any]:
        """The answer of job-manager.queue-status: reasons only while they apply."""
        started = self.started and has_scheduler
        status: dict[str, Any] = {"enable": self.enabled, "start": started}
        if not self.enabled and self.reason_disabled:
            status["disable_reason"] = self.reason_disabled
        reason = self.reason_stopped if has_scheduler else "Scheduler is offline"
        if not started and reason:
            status["stop_reason"] = reason
        return status

    def to_record(self) -> dict[str, Any]:
        """What is kept of it."""
        record: dict[str, Any] = {"enable": self.enabled, "start": self.kept_started}
        if not self.enabled:
            record["disable_reason"] = self.reason_disabled
        if not self.kept_started and self.reason_stopped:
            record["stop_reason"] = self.reason_stopped
        return record

    def restore(self, record: dict[str, Any]) -> None:
        """As it was when that was kept."""
        self.enabled, self.reason_disabled = bool(record["enable"]), str(record.get("disable_reason", ""))
        self.started = self.kept_started = bool(record["start"])
        self.reason_stopped = str(record.get("stop_reason", ""))


class Queues:
    """The instance's one anonymous queue, or the named ones of the configuration (RFC 33)."""

    __slots__ = ("_anonymous", "_named", "_offered", "kept", "rules")

    def __init__(self, rules: policy.Rules) -> None:
        self._anonymous = Queue()
        self._named: dict[str, Queue] = {}
        self._offered: dict[str, dict[str, Any]] = {}
        self.rules = rules
        self.configure(rules)
        #: What the KVS has of it, as far as it is not what everyone begins with.
        self.kept = self.to_record()

    def configure(self, rules: policy.Rules) -> None:
        """Queues that stay are as they were, new ones are open and stopped, as in flux-core."""
        self.rules = rules
        kept, self._named = self._named, {}
        for name in rules.queues:
            queue = kept.get(name)
            if queue is None:
                queue = Queue(started=False, kept_started=False)
                if name in self._offered:
                    queue.restore(self._offered[name])
            self._named[name] = queue

    @property
    def names(self) -> list[str]:
        """Of the named ones."""
        return list(self._named)

    def find(self, name: str | None) -> Queue:
        """The queue of a job that says so, or that a request is about. Raises ValueError."""
        if name is None and not self._named:
            return self._anonymous
        if name is None:
            raise ValueError("a named queue is required")
        queue = self._named.get(name)
        if queue is None:
            raise ValueError(f"'{name:.60}' is not a valid queue")
        return queue

    def meant(self, name: str | None, is_all: bool) -> dict[str | None, Queue]:
        """The queues that a request is about: one, or all of them. Raises ValueError."""
        if name is not None or not self._named:
            return {name: self.find(name)}
        if not is_all:
            raise ValueError("Use --all to apply this command to all queues")
        return dict[str | None, Queue](self._named.items())

    def is_started(self, name: str | None) -> bool:
        """Whether a job there gets resources; where the queue is gone it does not."""
        queue = self._named.get(name) if name is not None else None if self._named else self._anonymous
        return queue is not None and queue.started

    def refusal(self, facts: Any) -> str:
        """Why a job is not taken, ``""`` if it is."""
        name = facts.queue
        try:
            queue = self.find(name)
        except ValueError as error:
            return str(error)
        if not queue.enabled:
            where = f" to {name}" if name else ""
            return f"job submission{where} is disabled: {queue.reason_disabled}".rstrip(": ")
        return self.rules.refusal(facts)

    # -- between two lives of the module

    def to_record(self) -> list[dict[str, Any]]:
        """What is kept of all."""
        if not self._named:
            return [self._anonymous.to_record()]
        return [{"name": name, **queue.to_record()} for name, queue in self._named.items()]

    def restore(self, records: Iterable[dict[str, Any]]) -> None:
        """As they were; a queue that is not there now may be configured later. Raises ValueError, KeyError."""
        for record in records:
            name = record.get("name")
            if name is None:
                self._anonymous.restore(record)
            else:
                self._offered[name] = record
                if name in self._named:
                    self._named[name].restore(record)
        self.kept = self.to_record()
