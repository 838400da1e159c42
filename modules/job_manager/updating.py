"""Knows which updates of a job are allowed, and to whom: flux-core's built-in plugin ``.update-duration``."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from brokersim.brokermod import RequestError, errnums

DURATION: Final = "attributes.system.duration"


class UpdateDuration:
    """There from the start, and can be loaded anew. ``owner-allow-any=0`` holds the owner to a guest's rules."""

    NAME: Final = ".update-duration"
    _SETTING: Final = "owner-allow-any"

    __slots__ = ("_is_loaded", "owner_may_all")

    def __init__(self) -> None:
        self._is_loaded = True
        self.owner_may_all = True

    def load(self, conf: Mapping[str, Any]) -> None:
        """Raises RequestError: EEXIST it is there, EINVAL for settings it has not."""
        if self._is_loaded:
            raise RequestError(errnums.EEXIST, f"plugin {self.NAME!r} is already loaded; remove it first")
        value = conf.get(self._SETTING, 1)
        if set(conf) - {self._SETTING} or not isinstance(value, int):
            raise RequestError(
                errnums.EINVAL, f"plugin {self.NAME!r} has the setting {self._SETTING}=0 or 1 only"
            )
        self._is_loaded, self.owner_may_all = True, bool(value)

    def remove(self) -> bool:
        """Was it there?"""
        was, self._is_loaded = self._is_loaded, False
        return was

    def check(self, key: str, value: Any) -> None:
        """Raises RequestError(EINVAL) for what cannot be updated, or to that."""
        if key != DURATION or not self._is_loaded:
            raise RequestError(errnums.EINVAL, f"update of {key:.80} not supported")
        if type(value) not in (int, float) or not value >= 0:
            text = f"duration must be a number of seconds, 0 or more, not {value!r:.40}"
            raise RequestError(errnums.EINVAL, text)
