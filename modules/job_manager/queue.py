"""Knows whether jobs may be submitted and may be scheduled; not which jobs there are."""

from __future__ import annotations

from typing import Any

import attrs


@attrs.define(eq=False)
class QueueSwitch:
    """The instance's one anonymous queue: open for submission (``enabled``), handing out resources (``started``)."""

    enabled: bool = True
    started: bool = True
    reason_disabled: str = ""
    reason_stopped: str = ""

    def to_dict(self) -> dict[str, Any]:
        """The answer of job-manager.queue-status: reasons only while they apply."""
        status: dict[str, Any] = {"enable": self.enabled, "start": self.started}
        if not self.enabled and self.reason_disabled:
            status["disable_reason"] = self.reason_disabled
        if not self.started and self.reason_stopped:
            status["stop_reason"] = self.reason_stopped
        return status
