"""Knows broker.conf-builtin: paths of a Flux installation, by the `flux` on the broker's PATH. Here there are none."""

from __future__ import annotations

import os
from functools import partial
from typing import Final

import msgspec

from brokersim.host.command import Command
from brokersim.protocol.errnums import EINVAL
from brokersim.protocol.message import Message
from brokersim.services.endpoint import BrokerEndpoint, Table
from brokersim.services.environment import variables_of

#: More keys than there are; each costs a process when it is asked for the first time.
_MOST: Final = 64


class KeysArgs(msgspec.Struct):
    """Payload of broker.conf-builtin; what is no text is passed over, as upstream does."""

    keys: list[object]


class Paths(dict[str, str]):
    """What `flux` said on this rank, by key."""

    def __init__(self, _: BrokerEndpoint) -> None:
        super().__init__()


def get(server: BrokerEndpoint, request: Message) -> None:
    """The value of each key. Errnum 22 names one that Flux has not, or any where no `flux` is found."""
    keys = [key for key in request.unpack(KeysArgs).keys if isinstance(key, str)][:_MOST]
    server.broker.instance.background.start(partial(_answer, server, request, keys))


async def _answer(server: BrokerEndpoint, request: Message, keys: list[str]) -> None:
    known = server.kept(Paths)
    with server.broker.instance.runner.hold():
        for key in keys:
            if key not in known:
                value = await _ask(server, key)
                if not value:
                    server.respond_error(request, EINVAL, f"{key}: invalid key")
                    return
                known[key] = value
    server.respond(request, {"values": {key: known[key] for key in keys}})


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
