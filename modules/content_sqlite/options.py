"""Knows what a backing store can be told, by the configuration and by arguments; not what it does with that."""

from __future__ import annotations

from typing import Any, Final

import attrs

from brokersim.brokermod import Handle, RequestError, errnums

from .batches import CHECKPOINTS_MAX
from .store import JOURNAL_MODES, SYNCHRONOUS

SECTION: Final = "content-sqlite"
#: The attribute that ``brokersim start --recover`` sets.
RECOVER: Final = "content.recover"


@attrs.define
class Options:
    """How SQLite writes, how many checkpoints are kept, and whether what is there is thrown away first."""

    journal_mode: str
    synchronous: str
    max_checkpoints: int = CHECKPOINTS_MAX
    truncate: bool = False
    #: Go on with what there is of a database that is gone in part.
    recover: bool = False


def options(handle: Handle, args: tuple[str, ...], is_kept: bool) -> Options:
    """Arguments over configuration over what suits a store that is kept, or not.

    Raises RequestError(EINVAL) that says what is known.
    """
    found = Options("WAL", "NORMAL") if is_kept else Options("OFF", "OFF")
    found.recover = bool(handle.attr_get(RECOVER))
    section = handle.conf_get(SECTION, default={})
    if not isinstance(section, dict):
        raise RequestError(errnums.EINVAL, f"configuration: [{SECTION}] is no table")
    for key in ("journal_mode", "synchronous", "max_checkpoints"):
        if key in section:
            _set(found, key, section[key], f"configuration: {SECTION}.{key}")
    for arg in args:
        key, equals, value = arg.partition("=")
        name = "max_checkpoints" if key == "max-checkpoints" else key
        _set(found, name, value if equals else True, f"module {handle.name!r}: argument {arg!r}")
    return found


def _set(found: Options, name: str, value: Any, where: str) -> None:
    if name in ("truncate", "recover") and value is True:
        setattr(found, name, True)
    elif name == "max_checkpoints" and _count(value) > 0:
        found.max_checkpoints = _count(value)
    elif name in _CHOICES and isinstance(value, str) and value.upper() in _CHOICES[name]:
        setattr(found, name, value.upper())
    else:
        raise RequestError(errnums.EINVAL, f"{where}; known are {_known()}")


_CHOICES: Final = {"journal_mode": JOURNAL_MODES, "synchronous": SYNCHRONOUS}


def _count(value: Any) -> int:
    if isinstance(value, str):
        return int(value) if value.isascii() and value.isdecimal() else 0
    return value if type(value) is int else 0


def _known() -> str:
    choices = [f"{name}={'|'.join(values)}" for name, values in _CHOICES.items()]
    return ", ".join([*choices, "max-checkpoints=N (1 or more)", "truncate", "recover"])
