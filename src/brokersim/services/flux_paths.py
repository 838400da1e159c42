"""Knows broker.conf-builtin: paths of a Flux installation, by the `flux` on the broker's PATH. Here there are none.

Guests may ask, and each answer costs a process: so `flux` is asked only for what it can know, once a key, in turn.
"""

from __future__ import annotations

import os
from functools import partial
from typing import Final

import msgspec
import trio

from brokersim.host.command import Command
from brokersim.protocol.errnums import EINVAL, RequestError
from brokersim.protocol.message import Message
from brokersim.services.endpoint import BrokerEndpoint, Table
from brokersim.services.environment import variables_of

#: Those of flux-core 0.88.
KEYS: Final = frozenset((
    "cmdhelp_pattern", "confdir", "connector_path", "datadir", "exec_path", "jobtap_pluginpath", "libexecdir",
    "lua_cpath_add", "lua_path_add", "man_path", "module_path", "no_docs_path", "pmi_library_path", "python_path",
    "python_wrapper", "rc1_path", "rc3_path", "rundir", "shell_initrc", "shell_path", "shell_pluginpath",
    "upmi_pluginpath",
))  # fmt: skip


class KeysArgs(msgspec.Struct):
    """Payload of broker.conf-builtin; what is no text is passed over, as upstream does."""

    keys: list[object]


class Paths:
    """What `flux` said on this rank."""

    def __init__(self, server: BrokerEndpoint) -> None:
        self._server = server
        self._known: dict[str, str] = {}
        self._turn = trio.Lock()

    async def value(self, key: str) -> str:
        """That of a key, nothing where it has none."""
        async with self._turn:
            if key not in self._known:
                self._known[key] = await _ask(self._server, key)
            return self._known[key]


def get(server: BrokerEndpoint, request: Message) -> None:
    """The value of each key. Errnum 22 names one that Flux has not, or any where no `flux` is found."""
    keys = [key for key in request.unpack(KeysArgs).keys if isinstance(key, str)]
    unknown = next((key for key in keys if key not in KEYS), None)
    if unknown is not None:
        raise _invalid(unknown)
    server.broker.instance.background.start(partial(_answer, server, request, list(dict.fromkeys(keys))))


def _invalid(key: str) -> RequestError:
    return RequestError(EINVAL, f"{key:.60}: invalid key")


async def _answer(server: BrokerEndpoint, request: Message, keys: list[str]) -> None:
    paths, values = server.kept(Paths), {}
    with server.broker.instance.runner.hold():
        for key in keys:
            values[key] = await paths.value(key)
            if not values[key]:
                server.respond_error(request, EINVAL, _invalid(key).text)
                return
    server.respond(request, {"values": values})


async def _ask(server: BrokerEndpoint, key: str) -> str:
    """What `flux config builtin` prints, nothing for a key that is none."""
    said: list[bytes] = []
    words = ("flux", "config", "builtin", "--", key)
    command = Command(words, None, variables_of(server.broker), stdin=os.devnull)
    try:
        status = await command.run(
            lambda stream, data: said.append(data) if stream == "stdout" else None, _room
        )
    except OSError:
        return ""
    return b"".join(said).decode(errors="replace").strip() if status == 0 else ""


async def _room() -> None:
    """A line of text finds room."""


TABLE: Final[Table] = {"broker.conf-builtin": (get, True)}
