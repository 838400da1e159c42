"""Knows where the execution service's settings stand: its arguments, an attribute; not what they lead to."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

import attrs

from brokersim.brokermod import duration

#: Seconds between SIGTERM and SIGKILL (flux-core's kill-timeout).
KILL_TIMEOUT: Final = 5.0
_KINDS: Final = ("simulated", "real")


@attrs.frozen(kw_only=True)
class Settings:
    """``simulate``: jobs that do not say so themselves run no command. ``kill_timeout`` in seconds."""

    simulate: bool = False
    kill_timeout: float = KILL_TIMEOUT


def to_settings(args: Sequence[str], attribute: str | None) -> Settings:
    """From arguments ``kill-timeout=FSD`` and ``jobs=KIND``, the kind else from the attribute ``jobs``.

    Raises ValueError that names the argument and what would be right.
    """
    kind, seconds = attribute or "real", KILL_TIMEOUT
    for arg in args:
        key, _, value = arg.partition("=")
        if key == "jobs" and value in _KINDS:
            kind = value
        elif key == "kill-timeout" and value:
            seconds = duration.parse_duration(value)
        else:
            raise ValueError(
                f"unknown argument {arg!r}; there are kill-timeout=5s and jobs=simulated or real"
            )
    return Settings(simulate=kind == "simulated", kill_timeout=seconds)
