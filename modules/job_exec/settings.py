"""Knows where the execution service's settings stand: arguments, a table, an attribute; not what they lead to."""

from __future__ import annotations

import signal
from collections.abc import Mapping, Sequence
from signal import Signals
from typing import Any, Final

import attrs

from brokersim.brokermod import duration

#: Seconds between SIGTERM and SIGKILL (flux-core's kill-timeout).
KILL_TIMEOUT: Final = 5.0
_KINDS: Final = ("simulated", "real")
#: The one way here in which jobs are executed, by flux-core's name.
METHOD: Final = "bulk-exec"
#: Read by flux-core for parts that are not here; they are checked, shown and have no effect.
_WITHOUT_EFFECT: Final = {"job-shell": "default_job_shell", "imp": "flux_imp_path", "service": "exec_service"}
_KNOWN: Final = (
    "kill-timeout", "term-signal", "kill-signal", "method", "shell-exit-timeout", *_WITHOUT_EFFECT,
)  # fmt: skip
#: Seconds that the other nodes' shells have when one has ended (flux-core's): one shell serves all nodes here.
SHELL_EXIT_TIMEOUT: Final = 30.0


@attrs.frozen(kw_only=True)
class Settings:
    """``simulate``: jobs that do not say so themselves run no command. ``kill_timeout`` in seconds.

    A job that is to end gets ``term_signal``, then ``kill_signal``.
    """

    simulate: bool = False
    kill_timeout: float = KILL_TIMEOUT
    term_signal: Signals = signal.SIGTERM
    kill_signal: Signals = signal.SIGKILL
    #: What is shown of settings without effect.
    shown: Mapping[str, str | float] = {
        "default_job_shell": "flux-shell", "exec_service": "rexec", "shell_exit_timeout": SHELL_EXIT_TIMEOUT,
    }  # fmt: skip

    def to_dict(self) -> dict[str, object]:
        """As flux-core's stats have it."""
        return {
            "method": METHOD,
            "kill-timeout": self.kill_timeout,
            "term-signal": self.term_signal.name,
            "kill-signal": self.kill_signal.name,
            "config": dict(self.shown),
        }


def to_settings(args: Sequence[str], attribute: str | None, conf: Any = None) -> Settings:
    """From the table ``exec`` of a configuration and arguments of the same names, which come first.

    ``jobs=KIND`` is an argument only, the kind else from the attribute ``jobs``. Raises ValueError that names the
    setting and what would be right.
    """
    kind, found = attribute or "real", _table(conf)
    for arg in args:
        key, _, value = arg.partition("=")
        if key == "jobs" and value in _KINDS:
            kind = value
        elif key in _KNOWN and value:
            found[key] = value
        else:
            known = ", ".join(f"{name}=" for name in _KNOWN)
            raise ValueError(f"unknown argument {arg!r}; there are {known} and jobs=simulated or real")
    if found.get("method", METHOD) != METHOD:
        raise ValueError(f"unknown exec.method {found['method']!r:.40}; there is {METHOD}")
    shown: dict[str, str | float] = {
        name: found[key] for key, name in _WITHOUT_EFFECT.items() if key in found
    }
    if (text := found.get("shell-exit-timeout")) is not None:
        shown["shell_exit_timeout"] = 0.0 if text == "none" else _seconds("shell-exit-timeout", text)
    usual = Settings(simulate=kind == "simulated")
    return attrs.evolve(
        usual,
        kill_timeout=_seconds("kill-timeout", found["kill-timeout"])
        if "kill-timeout" in found
        else KILL_TIMEOUT,
        term_signal=_signal("term-signal", found, usual.term_signal),
        kill_signal=_signal("kill-signal", found, usual.kill_signal),
        shown={**usual.shown, **shown},
    )


def _table(conf: Any) -> dict[str, str]:
    table = (conf or {}).get("exec", {})
    if not isinstance(table, Mapping):
        raise ValueError("configuration: exec is not a table")
    for key in _KNOWN:
        if key in table and not isinstance(table[key], str):
            raise ValueError(f"error reading config value exec.{key}: it is a text, not {table[key]!r:.40}")
    return {key: table[key] for key in _KNOWN if key in table}


def _seconds(key: str, text: str) -> float:
    try:
        return duration.parse_duration(text)
    except ValueError as error:
        raise ValueError(f"invalid {key}: {text:.40}: {error}") from None


def _signal(key: str, found: Mapping[str, str], usual: Signals) -> Signals:
    """By name, or by number."""
    text = found.get(key)
    if text is None:
        return usual
    try:
        return Signals(int(text)) if text.isdecimal() else Signals[text]
    except (ValueError, KeyError):
        raise ValueError(f"invalid {key}: {text:.40}; give a signal's name, as in SIGTERM") from None
