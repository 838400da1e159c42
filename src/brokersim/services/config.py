"""Knows the service config: the configuration object of the instance, read, watched and replaced.

A new one is first offered to every module of rank 0 (``NAME.config-reload``), as flux-core 0.88 does: if one refuses,
those that had taken it are given back the old one, and nothing has changed.
"""

from __future__ import annotations

from pathlib import Path

from brokersim.protocol.decoded import JsonObject
from brokersim.protocol.errnums import EINVAL, EPROTO, RequestError, errname
from brokersim.protocol.message import Message
from brokersim.protocol.policy import to_rules
from brokersim.routing import logring
from brokersim.services.access import WHO, Access
from brokersim.services.config_files import read_path
from brokersim.services.endpoint import BrokerEndpoint, Table


class Getters(list[Message]):
    """Who asked for the object and what becomes of it."""

    def __init__(self, _: BrokerEndpoint) -> None:
        super().__init__()


def get(server: BrokerEndpoint, request: Message) -> None:
    """The configuration object, and with a stream each one that follows it."""
    server.respond(request, server.broker.instance.conf)
    if request.is_streaming:
        getters = server.kept(Getters)
        getters.append(request)
        server.add_stream(request, lambda: getters.remove(request))


def load(server: BrokerEndpoint, request: Message) -> None:
    """Replace the object with the payload."""
    conf = None if request.data is None else request.payload
    if not isinstance(conf, dict):
        raise RequestError(EPROTO, "config.load: the payload is the configuration, an object")
    _start(server, request, conf)


def reload(server: BrokerEndpoint, request: Message) -> None:
    """Read the files anew that the instance was started with; without any nothing changes."""
    path = server.broker.attributes.get("config.path")
    try:
        conf = server.broker.instance.conf if path is None else read_path(Path(path))
    except ValueError as error:
        raise RequestError(EINVAL, str(error)) from None
    _start(server, request, conf)


def _start(server: BrokerEndpoint, request: Message, conf: JsonObject) -> None:
    if server.rank:
        raise RequestError(EINVAL, "configuration can only be changed on rank 0")
    try:
        to_rules(conf)
        access = Access.of(conf)
    except ValueError as error:
        raise RequestError(EINVAL, str(error)) from None
    if conf == server.broker.instance.conf:
        server.respond(request)
    else:
        Change(server, request, conf, access).go_on()


class Change:
    """One new configuration on its way through the modules of rank 0, one after the other."""

    def __init__(self, server: BrokerEndpoint, request: Message, conf: JsonObject, access: Access) -> None:
        self._server = server
        self._request = request
        self._conf = conf
        self._access = access
        self._left = [module.name for module in server.broker.instance.modules(0)]
        self._took: list[str] = []

    def go_on(self) -> None:
        """Offer it to the next; when all have taken it, it is the instance's."""
        if self._left:
            name = self._left.pop(0)
            self._server.request(f"{name}.config-reload", self._conf, self._answered, name)
        else:
            self._finish()

    def _answered(self, response: Message, name: str) -> None:
        if not response.errnum:
            self._took.append(name)
            self.go_on()
            return
        server = self._server
        for taken in self._took:
            server.request(f"{taken}.config-reload", server.broker.instance.conf, _unheard, server)
        text = response.payload_str or errname(response.errnum)
        server.respond_error(self._request, response.errnum, f"error updating {name}: {text}")

    def _finish(self) -> None:
        server = self._server
        instance = server.broker.instance
        instance.conf = self._conf
        if server.broker.service(WHO) is not None:
            self._access.log(server.broker)
        for rank in range(instance.size):
            here = instance.broker(rank).service("config")
            assert isinstance(here, BrokerEndpoint)
            for getter in list(here.kept(Getters)):
                here.respond(getter, self._conf)
            for module in instance.modules(rank) if rank else ():
                here.request(f"{module.name}.config-reload", self._conf, _unheard, here)
        server.respond(self._request)


def _unheard(response: Message, server: BrokerEndpoint) -> None:
    """Nobody waits for this answer: what is wrong stands in the log."""
    if response.errnum:
        text = response.payload_str or errname(response.errnum)
        server.broker.write_log(logring.ERR, "config", f"{response.topic}: {text}")


TABLE: Table = {
    "config.get": (get, True),
    "config.load": (load, False),
    "config.reload": (reload, False),
}
