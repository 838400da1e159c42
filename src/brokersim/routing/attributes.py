"""Knows the broker's attributes: their names, who may set them when, what values they may have; not what they mean.

Source: flux-broker-attributes(7) of flux-core 0.88, and attribute answers as observed.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from fnmatch import fnmatchcase
from typing import Final

from brokersim.protocol.duration import parse_duration
from brokersim.protocol.errnums import EINVAL, ENOENT, EPERM, RequestError

#: Once set it never changes, so clients keep it (``flags`` of attr.get); not for the command line; settable while
#: the instance runs (others only by force).
IMMUTABLE, READONLY, RUNTIME = 1, 2, 4
_FACT = IMMUTABLE | READONLY

#: Flux's attributes, and which of them a start may set, a running instance change.
_FLUX: Final[Mapping[str, int]] = {
    **dict.fromkeys(
        (
            "rank", "size", "security.owner", "parent-uri", "instance-level", "jobid", "jobid-path",
            "parent-kvs-namespace", "broker.mapping", "broker.pid", "broker.starttime", "broker.uuid",
        ),
        _FACT,
    ),
    **dict.fromkeys(
        (
            "version", "tbon.descendants", "tbon.level", "tbon.maxlevel", "tbon.endpoint",
            "tbon.parent-endpoint", "test-ro.*",
        ),
        READONLY,
    ),
    **dict.fromkeys(
        (
            "rundir-cleanup", "statedir-cleanup", "local-uri", "hostlist", "hostname", "broker.critical-ranks",
            "broker.boot-method", "broker.quorum", "broker.quorum-warn", "broker.shutdown-warn",
            "broker.shutdown-timeout", "broker.sd-stop-timeout", "config.path", "tbon.interface-hint",
            "log-ring-size", "log-forward-level", "log-critical-level", "log-syslog-enable", "log-syslog-level",
            "log-stderr-mode", "log-level", "content.hash", "test-im.*", "vendor.*",
        ),
        IMMUTABLE,
    ),
    **dict.fromkeys(
        (
            "rundir", "statedir", "broker.cleanup-timeout", "broker.unload-builtins-timeout", "broker.rc1_path",
            "broker.rc3_path", "broker.rc2_none", "broker.rc2_pgrp", "broker.sd-notify", "broker.exit-norestart",
            "broker.recovery-mode", "tbon.topo", "tbon.zmqdebug", "tbon.zmq_io_threads", "tbon.child_rcvhwm",
            "tbon.prefertcp", "tbon.torpid_min", "tbon.torpid_max", "tbon.tcp_user_timeout",
            "tbon.connect_timeout", "log-filename", "content.backing-module", "cron.directory", "test-nr.*",
        ),
        0,
    ),
    **dict.fromkeys(
        (
            "broker.exit-restart", "broker.module-nopanic", "conf.shell_initrc", "conf.shell_pluginpath",
            "log-stderr-level", "content.dump", "content.restore", "test.*", "test-rd.*",
        ),
        RUNTIME,
    ),
}  # fmt: skip
#: Ours: facts of a simulation, settings of the modules, limits of the broker.
_OURS: Final[Mapping[str, int]] = {
    **dict.fromkeys(("clock", "jobs", "seed", "stats.http", "tbon.parent"), _FACT),
    **dict.fromkeys(("hook", "resources"), READONLY | RUNTIME),
    **dict.fromkeys(
        (
            "access.allow-guest-user", "broker.handler-timeout", "broker.module-load-timeout",
            "broker.module-stop-timeout", "stats.*", "heartbeat.period", "content.*", "probe.file",
        ),
        RUNTIME,
    ),
}  # fmt: skip
KNOWN: Final = {**_FLUX, **_OURS}
_GLOBS: Final = tuple(name for name in KNOWN if name.endswith("*"))

#: Command lines that are run before the program and behind it; with the first one nothing else loads modules.
RC1: Final = "broker.rc1_path"
RC3: Final = "broker.rc3_path"
#: Those that mean something by being there.
FLAGS: Final = frozenset({"broker.rc2_none", "broker.rc2_pgrp", "broker.recovery-mode", "broker.sd-notify"})
#: Those by which ranks differ.
OWN: Final = frozenset({"rank", "hostname", "tbon.level", "tbon.descendants", "tbon.parent"})
#: What they are unless a start says otherwise, where nothing here makes another value true.
DEFAULTS: Final[Mapping[str, str]] = {
    "broker.boot-method": "single", "broker.cleanup-timeout": "none", "broker.critical-ranks": "0",
    "broker.quorum-warn": "1m", "broker.sd-stop-timeout": "none", "broker.shutdown-timeout": "none",
    "broker.shutdown-warn": "1m", "broker.unload-builtins-timeout": "1m",
    "content.hash": "sha1", "instance-level": "0", "jobid-path": "/",
    "log-critical-level": "2", "log-forward-level": "3", "log-level": "7", "log-ring-size": "1024",
    "log-stderr-level": "3", "log-stderr-mode": "leader", "log-syslog-enable": "0", "log-syslog-level": "3",
    "rundir-cleanup": "1", "statedir-cleanup": "1", "tbon.child_rcvhwm": "0", "tbon.connect_timeout": "30s",
    "tbon.interface-hint": "default-route", "tbon.prefertcp": "0", "tbon.tcp_user_timeout": "20s",
    "tbon.torpid_max": "30s", "tbon.torpid_min": "5s", "tbon.zmq_io_threads": "1", "tbon.zmqdebug": "0",
}  # fmt: skip

#: What a value must be, in words, and whether one is.
Check = tuple[str, Callable[[str], bool]]


def _whole(low: int, high: int | None = None) -> Check:
    def is_one(text: str) -> bool:
        digits = text.removeprefix("-")
        if not (digits.isascii() and digits.isdecimal()):
            return False
        return len(digits) < 20 and low <= int(text) and (high is None or int(text) <= high)

    return f"a whole number from {low}" + (f" to {high}" if high is not None else ""), is_one


def _is_duration(text: str) -> bool:
    if text in ("none", "infinity"):
        return True
    try:
        return parse_duration(text) >= 0
    except ValueError:
        return False


_SEVERITY = _whole(-1, 7)
_DURATION: Check = ("a duration like 30s, or none", _is_duration)
_CHECKS: Final[Mapping[str, Check]] = {
    "log-ring-size": _whole(0),
    "log-syslog-enable": _whole(0, 1),
    **dict.fromkeys(
        ("log-level", "log-forward-level", "log-critical-level", "log-syslog-level", "log-stderr-level"),
        _SEVERITY,
    ),
    "log-stderr-mode": ("leader or local", lambda text: text in ("leader", "local")),
    "broker.boot-method": (
        "single, simple, pmix, config or a libpmi, though ranks here find each other by themselves",
        lambda text: text in ("single", "simple", "pmix", "config") or text.startswith("libpmi"),
    ),
    "log-filename": ("the path of a file", bool),
    **dict.fromkeys(("broker.exit-norestart", "broker.exit-restart"), _whole(0, 255)),
    "content.hash": ("sha1, the only hash here", lambda text: text == "sha1"),
    "access.allow-guest-user": ("true or false", lambda text: text in ("true", "false")),
    **dict.fromkeys(
        (
            "broker.cleanup-timeout", "broker.unload-builtins-timeout", "broker.quorum-warn",
            "broker.shutdown-warn", "broker.shutdown-timeout", "broker.sd-stop-timeout", "tbon.torpid_min",
            "tbon.torpid_max", "tbon.tcp_user_timeout", "tbon.connect_timeout", "broker.module-load-timeout",
            "broker.module-stop-timeout",
        ),
        _DURATION,
    ),
}  # fmt: skip


def flags_of(name: str) -> int | None:
    """What may be done with an attribute of that name; ``None`` if there is no such name."""
    found = KNOWN.get(name)
    if found is None:
        found = next((KNOWN[glob] for glob in _GLOBS if fnmatchcase(name, glob)), None)
    return found


def check_start(name: str, value: str) -> None:
    """Whether an instance may be started with it. Raises RequestError(EINVAL): unknown, read-only, a bad value."""
    flags = flags_of(name)
    if flags is None:
        raise RequestError(EINVAL, f"attribute {name!r} is unknown; one of your own is named test.NAME")
    if flags & READONLY:
        raise RequestError(EINVAL, f"attribute {name!r} may not be set at the start")
    check_value(name, value)


def check_value(name: str, value: str) -> None:
    """Raises RequestError(EINVAL) that says what it must be."""
    words, is_right = _CHECKS.get(name, ("", lambda _: True))
    if not is_right(value):
        raise RequestError(EINVAL, f"attribute {name!r} is {value!r}; it must be {words}")


class Attributes:
    """Name to string value, some immutable once set. ``common`` are those of all ranks, kept once for all of them.

    ``own`` makes those of this rank when one of them is asked for, or anything changes: on most ranks of a large
    instance nothing ever does.
    """

    __slots__ = ("_common", "_held", "_own")

    def __init__(self, common: Mapping[str, str], own: Callable[[], Mapping[str, str]] = dict) -> None:
        self._common = common
        self._own = own
        self._held: tuple[dict[str, str | None], set[str]] | None = None

    def _hold(self) -> tuple[dict[str, str | None], set[str]]:
        """This rank's own (``None``: removed here), and which of them cannot be changed."""
        if self._held is None:
            own: dict[str, str | None] = dict(self._own())
            self._held = own, set(own)
        return self._held

    @property
    def _values(self) -> dict[str, str | None]:
        return self._hold()[0]

    @property
    def _fixed(self) -> set[str]:
        return self._hold()[1]

    def fix(self, name: str, value: str) -> None:
        """Set a value that cannot be changed any more, whatever its name says."""
        self._values[name] = value
        self._fixed.add(name)

    def set(self, name: str, value: str, force: bool = False) -> None:
        """Set it in a running instance.

        Raises RequestError: ENOENT for a name that is none, EPERM if it is immutable, EINVAL if it is not meant to
        change (and ``force`` is not given) or for a value it cannot have.
        """
        flags = flags_of(name)
        if flags is None:
            raise RequestError(ENOENT, f"unknown attribute {name!r}; one of your own is named test.NAME")
        if self.get(name) is not None and not flags & RUNTIME and not force:
            raise RequestError(EINVAL, f"attribute {name!r} may not be updated")
        self._check(name)
        check_value(name, value)
        self._values[name] = value

    def remove(self, name: str) -> None:
        """There is none afterwards. Raises RequestError(EPERM) if it is immutable."""
        self._check(name)
        self._values[name] = None

    def get(self, name: str) -> str | None:
        """The value, ``None`` if there is none."""
        if self._held is None and name not in OWN:
            return self._common.get(name)
        values = self._values
        return values[name] if name in values else self._common.get(name)

    def flags(self, name: str) -> int:
        """``IMMUTABLE`` or 0."""
        return IMMUTABLE if self._is_fixed(name) else 0

    def fixed(self) -> dict[str, str]:
        """Those that never change."""
        return {name: value for name, value in self.items() if self._is_fixed(name)}

    def items(self) -> Iterator[tuple[str, str]]:
        for name, value in {**self._common, **self._values}.items():
            if value is not None:
                yield name, value

    def _is_fixed(self, name: str) -> bool:
        return name in self._fixed or bool(self.get(name) is not None and (flags_of(name) or 0) & IMMUTABLE)

    def _check(self, name: str) -> None:
        if self._is_fixed(name):
            raise RequestError(EPERM, f"attribute {name!r} is immutable")
