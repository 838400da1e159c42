"""Knows the environment of a rank's broker, which its processes get: read and changed by whoever owns the instance.

It is the rank's own: variables of the process are those of all ranks, and of the tests an instance may run in.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import Any, Final

import msgspec

from brokersim.protocol.errnums import EPROTO, RequestError
from brokersim.protocol.message import Message
from brokersim.services.broker import Broker
from brokersim.services.endpoint import BrokerEndpoint, Table


class NamesArgs(msgspec.Struct):
    """Payload of broker.getenv."""

    names: list[str]


class EnvArgs(msgspec.Struct):
    """Payload of broker.setenv; None unsets a variable."""

    env: dict[str, str | None]


class Environment:
    """The variables of one rank."""

    def __init__(self, _server: BrokerEndpoint) -> None:
        self._changes: dict[str, str | None] = {}

    def variables(self) -> Mapping[str, str]:
        """As they are now."""
        if not self._changes:
            return os.environ
        both: dict[str, Any] = {**os.environ, **self._changes}
        return {name: value for name, value in both.items() if value is not None}

    def change(self, changes: Mapping[str, str | None]) -> None:
        """Set and unset some."""
        self._changes.update(changes)


def variables_of(broker: Broker) -> Mapping[str, str]:
    """What a process of this rank gets."""
    speaker = broker.endpoint
    assert isinstance(speaker, BrokerEndpoint), "it is made so"
    return speaker.kept(Environment).variables()


def get(server: BrokerEndpoint, request: Message) -> None:
    """The variables asked for, those that are set."""
    variables = server.kept(Environment).variables()
    names = request.unpack(NamesArgs).names
    server.respond(request, {"env": {name: variables[name] for name in names if name in variables}})


def set_(server: BrokerEndpoint, request: Message) -> None:
    """All of them, or none: errnum 71 if one cannot be."""
    env = request.unpack(EnvArgs).env
    for name, value in env.items():
        if not name or "=" in name or "\0" in name + (value or ""):
            raise RequestError(EPROTO, f"Protocol error: {name!r:.60} is no variable, or its value has a NUL")
    server.kept(Environment).change(env)
    server.respond(request)


TABLE: Final[Table] = {"broker.getenv": (get, False), "broker.setenv": (set_, False)}
