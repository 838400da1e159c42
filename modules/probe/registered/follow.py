"""Knows a module's configuration while a registry may change it: its layers are taken whole or not at all."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Final

import msgspec

from brokersim.brokermod import BrokerLogger, Handle, RequestError, check_nesting, errnums

from ..config import Config, read_file, to_config
from ..works import Works
from .layers import ABSENT, MODES, at, explained, laid
from .node import node, records

_ARGUMENTS: Final = ("file", "registry", "merge", "set")
#: An argument without a value: what the registry has is not read, what there is is told under a new id.
UNREAD: Final = "no-registry"
#: What the registry writes into a record, and what of a service is no configuration.
_FOREIGN: Final = ("id", "version", "ts", "hash", "state", "selfRef", "node")


class Follower:
    """The layers of one module; ``args`` are ``file=PATH``, ``registry=ID``, ``merge=MODE``, ``set=JSON``, or
    ``no-registry`` for ``registry=ID``: nothing is read from it, what is measured is told under a new id."""

    def __init__(self, handle: Handle, works: Works, log: BrokerLogger, args: tuple[str, ...]) -> None:
        self._handle = handle
        self._works = works
        self._log = log
        given = _arguments(args)
        self.file = given.get("file") or handle.attr_get("probe.file") or ""
        self.service = given.get("registry", "")
        self._mode = given.get("merge", "")
        self._layers: dict[str, dict[str, Any]] = {"file": {}, "command line": {}, "registry": {}}
        self._is_unread = UNREAD in given
        if self._is_unread and (self.service or not (self.file or "set" in given)):
            raise ValueError(f"{UNREAD} needs file=PATH or set=JSON, and no registry=ID")
        if "set" in given:
            self._layers["command line"] = msgspec.json.decode(given["set"], type=dict[str, Any])
            check_nesting(self._layers["command line"], "set")
        if self.file:
            self.read_file()
        elif "set" in given:
            self._take(self._layers)

    @property
    def mode(self) -> str:
        """As the module was told, else as its layers say, else the registry wins."""
        said = (self._mode, *(layer.get("merge") for layer in self._layers.values()))
        return next((mode for mode in said if mode in MODES), MODES[0])

    def read_file(self) -> None:
        """The file anew. Raises ValueError; then all is as it was."""
        given = read_file(Path(self.file))
        check_nesting(given, "a configuration")
        if not isinstance(given, dict):
            raise ValueError(f"{self.file}: a configuration is an object with probes, not {given!r:.60}")
        self._take({**self._layers, "file": given})

    async def begin(self) -> None:
        """Take what the registry has, tell it what there is. Raises RequestError(ENOENT) for neither it nor a file."""
        if self._is_unread:
            await self._tell_anew()
        if not self.service or self._is_unread:
            return
        try:
            is_known = await self._fetch()
        except RequestError as error:
            if error.errno != errnums.ENOSYS:
                raise
            if not self.file:
                text = (
                    f"no registry for service {self.service!r}, and no file: load registry, or give file=PATH"
                )
                raise RequestError(errnums.ENOENT, text) from None
            self._log.warning(f"no registry: {self.file} alone says what is measured")
            return
        await self._register(is_known)

    async def changed(self, ident: str) -> None:
        """Somebody has written a service: if it is ours it is taken, whole or not at all."""
        if ident == self.service and not self._is_unread:
            try:
                await self._fetch()
            except (ValueError, OSError) as error:
                self._log.error(
                    f"service {ident!r} as the registry has it is refused, all goes on as it was: {error}"
                )

    def explain(self, key: str) -> list[dict[str, Any]]:
        """Each layer's value of a key, the strongest first: that is what was added or set while the module runs."""
        rows = explained(self.mode, self._layers, key)
        probes, _, rest = key.strip("/").partition("/")
        name, _, inner = rest.partition("/")
        running = self._works.config.measurements.get(name) if probes == "probes" else None
        laid_down = self._laid().measurements.get(name)
        if running is None or (laid_down is not None and laid_down.written == running.written):
            return rows
        value = at(running.record, inner.split("/"))
        is_set = value is not ABSENT
        own = {"layer": "added", "is_set": is_set, "value": value if is_set else None, "wins": is_set}
        return [own, *({**row, "wins": row["wins"] and not is_set} for row in rows)]

    async def _fetch(self) -> bool:
        wish = {"collection": "services", "id": self.service}
        try:
            record = (await self._ask("registry.get", wish))["record"]
        except RequestError as error:
            if error.errno != errnums.ENOENT:
                raise
            record = None
        found = {key: value for key, value in (record or {}).items() if key not in _FOREIGN}
        self._take({**self._layers, "registry": found})
        return record is not None

    def _take(self, layers: dict[str, dict[str, Any]]) -> None:
        before, self._layers = self._layers, layers
        try:
            self._works.take(self._laid())
        except (ValueError, OSError):
            self._layers = before
            raise

    def _laid(self) -> Config:
        return to_config(laid(self.mode, self._layers), self._works.is_virtual)

    async def _tell_anew(self) -> None:
        self.service = f"{self._handle.random.getrandbits(64):016x}"
        try:
            await self._register(False)
        except RequestError as error:
            if error.errno != errnums.ENOSYS:
                raise
            self._log.warning("no registry: nobody is told what is measured")

    async def _register(self, is_known: bool) -> None:
        rank, virtual = self._handle.rank, self._works.is_virtual
        told = records(self.service, rank, self._works.config.measurements.values())
        told["nodes"] = [node(rank, virtual)]
        if not is_known and (rank == 0 or self._is_unread):  # an id of its own has every rank
            told["services"] = [{"id": self.service, "name": self.service}]
        await self._ask("registry.register", {"records": told})

    async def _ask(self, topic: str, payload: dict[str, Any]) -> Any:
        """One request to the registry, and a line of what it was for who debugs."""
        size, begun, status = len(msgspec.json.encode(payload)), self._handle.now(), "ok"
        try:
            return await self._handle.call(topic, payload)
        except RequestError as error:
            status = errnums.errname(error.errno or 0)
            raise
        finally:
            took = (self._handle.now() - begun) * 1000
            self._log.debug(f"{topic}: {size} bytes, {status}, {took:.1f} ms")


def _arguments(args: tuple[str, ...]) -> dict[str, str]:
    """Raises ValueError for what is none."""
    given = {}
    for arg in args:
        key, _, value = arg.partition("=") if arg != UNREAD else (UNREAD, "=", arg)
        if key not in (*_ARGUMENTS, UNREAD) or not value:
            raise ValueError(
                f"unknown argument {arg!r}; give file=PATH, registry=ID, merge=MODE, set=JSON, {UNREAD}"
            )
        given[key] = value
    if given.get("merge", MODES[0]) not in MODES:
        raise ValueError(f"merge must be {', '.join(MODES)}, not {given['merge']!r:.40}")
    return given
