"""Knows flux-core's local connector: a Unix socket per rank, peer credentials, frames in and out.

It doesn't know what the topics mean beyond the four the connector answers itself. Source: flux-core 0.88 as
observed (docs/flux-compat.md).
"""

from __future__ import annotations

import errno
import os
import socket
import struct
from collections.abc import Callable
from pathlib import Path
from typing import Any

import trio

from brokersim.host.methods import message_counts
from brokersim.instance import Instance
from brokersim.net.doorway import Doorway
from brokersim.net.outbox import DROP_ALWAYS, DROP_AT, FULL_AT, PAUSE_AT, STALL, Outbox
from brokersim.net.repose import Repose
from brokersim.net.unfinished import Unfinished
from brokersim.protocol.errnums import EPERM, EPROTO, ProtocolError, RequestError
from brokersim.protocol.message import (
    FLAG_NORESPONSE,
    FLAG_ROUTE,
    RESPONSE,
    ROLE_LOCAL,
    ROLE_OWNER,
    ROLE_USER,
    USERID_UNKNOWN,
    Message,
)
from brokersim.protocol.wire import FrameDecoder, encode
from brokersim.reactor.interrupts import pass_on
from brokersim.routing.endpoint import Endpoint, Handler, Method
from brokersim.routing.logring import ERR, WARNING
from brokersim.routing.wire_peer import WirePeer
from brokersim.services.broker import Broker
from brokersim.services.endpoint import BrokerEndpoint
from brokersim.services.service import check_service_name

#: Messages queued in the process at which clients are not read any further: ten full reads of small requests.
QUEUE_AT = 10_000
_READ = 1 << 16
#: A read of fewer bytes is no pipeline of requests.
_LITTLE = 512
_BACKLOG = 128
_UCRED = struct.Struct("3i")
#: The name by which the connector answers for itself.
_NAME = "connector-local"
#: Streams that only look on, and commands, which are real: a client waiting for them does not make virtual time move.
_OBSERVED = frozenset({"log.dmesg", "module.trace", "rexec.exec", "rexec.wait"})


class Connector:
    """The sockets of an instance, one a rank, named ``local-<rank>`` in a folder of their own."""

    def __init__(self, instance: Instance, folder: Path) -> None:
        self.instance = instance
        self.folder = folder
        self.connections: dict[Connection, None] = {}
        self.repose = Repose()
        self.unfinished = Unfinished()
        self._listeners: list[tuple[socket.socket, Path]] = []
        self._doorway = Doorway("connector", instance.log_error, bytes([errno.EMFILE]))

    @property
    def uri(self) -> str:
        """Rank 0's address."""
        return f"local://{self.folder / 'local-0'}"

    def listen(self) -> None:
        """Bind every rank's socket. Raises OSError that names the path (taken, too long, folder not writable)."""
        for rank in range(self.instance.size):
            path = self.folder / f"local-{rank}"
            try:
                self._listeners.append((bind(path), path))
            except OSError:
                self.close()  # of those below this rank
                raise
            broker = self.instance.broker(rank)
            broker.attributes.fix("local-uri", f"local://{path}")
            BrokerEndpoint(broker, {f"{_NAME}.stats-get": (self._stats, True)}, (_NAME,), _NAME)
        if self.instance.runner.is_virtual:
            self.instance.runner.may_jump = self.is_waited_for
            self.instance.runner.is_settled = self.repose.is_settled

    def _stats(self, server: BrokerEndpoint, request: Message) -> None:
        """Who is connected to this rank (flux-core's keys, as far as there is something to say)."""
        here = [one for one in self.connections if one.broker is server.broker]
        clients = [{"uuid": one.uuid, "userid": one.userid, "rxbacklog": len(one.outbox)} for one in here]
        access = {"allow_guest_user": self._allows_guests(server.broker), "allow_root_owner": False}
        server.respond(request, {"server": {"clients": clients}, **access, **message_counts(server.counts)})

    def is_waited_for(self) -> bool:
        """Some client waits for an answer that only time may bring."""
        return any(
            request.topic not in _OBSERVED
            for connection in self.connections
            for request in connection.open_requests()
        )

    async def serve(self) -> None:
        """Accept clients until cancelled."""
        try:
            async with trio.open_nursery() as nursery:
                for rank, (listener, _) in enumerate(self._listeners):
                    nursery.start_soon(self._accept, nursery, self.instance.broker(rank), listener)
        finally:
            self._doorway.close()

    async def _accept(self, nursery: trio.Nursery, broker: Broker, listener: socket.socket) -> None:
        while True:
            self._admit(nursery, broker, await self._doorway.accept(listener))

    def _admit(self, nursery: trio.Nursery, broker: Broker, client: socket.socket) -> None:
        pid, uid, _ = _UCRED.unpack(client.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, _UCRED.size))
        allowed = uid == broker.owner or self._allows_guests(broker)
        try:
            client.send(b"\0" if allowed else bytes([EPERM]))
        except OSError:
            allowed = False
        if not allowed:
            client.close()
            return
        connection = Connection(self, broker, client, uid, nursery)
        self.connections[connection] = None
        self.repose.add(client, pid)
        nursery.start_soon(connection.run)

    def _allows_guests(self, broker: Broker) -> bool:
        """By the attribute, or by the configuration as in Flux."""
        access = self.instance.conf.get("access")
        is_in_conf = isinstance(access, dict) and access.get("allow-guest-user") is True
        return is_in_conf or broker.attributes.get("access.allow-guest-user") == "true"

    def close(self) -> None:
        """Close the sockets and take their files away."""
        for listener, path in self._listeners:
            listener.close()
            path.unlink(missing_ok=True)
        self._listeners.clear()


def bind(path: Path) -> socket.socket:
    """A listening socket at ``path``; one left by a dead instance is replaced.

    Raises OSError with a text for people: the path is too long, or a live instance has it.
    """
    listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    listener.setblocking(False)
    try:
        if path.exists():
            _remove_stale(path)
        # Under another name until it listens: a socket that refuses is taken for one of a dead instance.
        making = path.with_name("." + path.name.removeprefix("local-"))
        making.unlink(missing_ok=True)
        listener.bind(os.fspath(making))
        making.chmod(0o777)  # as upstream: the folder's mode and the peer's credentials are what guards it
        listener.listen(_BACKLOG)
        making.rename(path)
    except OSError as error:
        listener.close()
        if "too long" in str(error):
            raise OSError(
                error.errno, f"socket path {path} is longer than a Unix socket allows (107 bytes)"
            ) from None
        raise OSError(error.errno, f"socket {path}: {error.strerror or error}") from None
    return listener


def _remove_stale(path: Path) -> None:
    if not path.is_socket():
        raise OSError(98, "a file that is no socket is in the way")
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as probe:
        probe.setblocking(False)
        try:
            probe.connect(os.fspath(path))
        except ConnectionRefusedError:
            path.unlink(missing_ok=True)
            return
        except BlockingIOError:
            pass  # too busy to take us, but alive
    raise OSError(98, "a live instance listens there already")


class Connection(Endpoint):
    """One client of the local connector: its socket, and what the connector itself answers it."""

    __slots__ = (
        "_connector",
        "_decoder",
        "_is_writing",
        "_nursery",
        "_peer",
        "_socket",
        "outbox",
    )

    broker: Broker

    def __init__(
        self, connector: Connector, broker: Broker, client: socket.socket, uid: int, nursery: trio.Nursery
    ) -> None:
        super().__init__(broker, "connector", connector.instance.uuid(broker.rank, "connector"))
        self.userid = uid
        self.rolemask = ROLE_OWNER | ROLE_LOCAL if uid == broker.owner else ROLE_USER | ROLE_LOCAL
        self._connector = connector
        self._socket = client
        self._decoder = FrameDecoder()
        # A second task and a nursery for both would be a quarter of what coming, one request and going cost.
        self._nursery = nursery
        self._is_writing = False
        self.outbox = Outbox(client, self.reactor, self._moved, self.lose, self._start_writing)
        self._peer = WirePeer(self, self)
        broker.add_endpoint(self)

    # -- in

    async def run(self) -> None:
        """Read until the client goes or breaks the protocol; then everything it had open is closed."""
        try:
            # Who comes waits for our welcome first: to look at once would find nothing.
            await trio.lowlevel.wait_readable(self._socket)
            await self._read()
        finally:
            self._close()

    def _start_writing(self) -> None:
        """The client does not take all at once: the rest is for a task of its own."""
        self._is_writing = True
        self._nursery.start_soon(self._write)

    async def _write(self) -> None:
        try:
            await self.outbox.write()
        except trio.ClosedResourceError:
            pass  # the connection was closed meanwhile

    async def _read(self) -> None:
        runner = self._connector.instance.runner
        unfinished = self._connector.unfinished
        reactor = runner.reactor
        receive = self._peer.receive
        while not self.outbox.is_closed:
            try:
                data = self._socket.recv(_READ)
            except BlockingIOError:
                await trio.lowlevel.wait_readable(self._socket)
                continue
            except OSError:
                return
            if not data:
                return
            self._connector.repose.stirred()
            reactor.now = runner.clock.now_ns()
            reactor.enter()  # what `inside` does, at a tenth of its price
            try:
                for message in self._decoder.feed(data):
                    receive(message)
            except ProtocolError as error:
                self.lose(str(error))
                return
            except Exception as error:
                self.failed(error, None)
                return
            finally:
                reactor.leave()
            if self._decoder.pending or self in unfinished:
                unfinished.note(self, self._decoder.pending)
            runner.drain_inline()
            while len(reactor.fifo) > QUEUE_AT:
                # Requests without answers fill no output, but memory all the same.
                await trio.lowlevel.checkpoint()
            if self.outbox.size > PAUSE_AT and not await self.outbox.room_before(PAUSE_AT, STALL):
                self.lose(f"it left {self.outbox.size} bytes unread and asks for more")
            if len(data) < _LITTLE:
                # Most likely one request, whose sender waits for the answer: nothing more is there yet.
                await trio.lowlevel.wait_readable(self._socket)
            else:
                await trio.lowlevel.checkpoint()

    async def room(self) -> None:
        """Wait while the client leaves much unread."""
        await self.outbox.room(FULL_AT)

    def intercept(self, request: Message) -> bool:
        """Event subscriptions and service names are the connector's own business, and answered here."""
        own = _OWN_TOPICS.get(request.topic)
        if own is None:
            return False
        self._answer_own(request, own)
        return True

    def _answer_own(self, message: Message, act: Callable[[Connection, Message, Any], None]) -> None:
        """Answer in nobody's name, as upstream does.

        They enter no broker, so they are not counted: nobody receives them, and the ledger would miss their answers.
        """
        response = Message(
            RESPONSE,
            message.topic,
            matchtag=message.matchtag,
            flags=FLAG_ROUTE,
            userid=USERID_UNKNOWN,
            rolemask=ROLE_OWNER,
        )
        try:
            act(self, message, message.payload)
        except RequestError as error:
            response.errnum, response.data = error.errno or EPROTO, error.text
        except (KeyError, TypeError):
            response.errnum, response.data = EPROTO, f"{message.topic}: payload lacks its one key, a string"
        if not message.flags & FLAG_NORESPONSE:
            self.send(response)

    def answered(self, request: Message, response: Message) -> None:
        self.respond(request, response.data)

    def unclaimed(self, response: Message) -> None:
        """Late, or made up: a client may send what it likes."""

    def stray_response(self, response: Message) -> None:
        if not self._peer.send_untagged(response):
            super().stray_response(response)

    # -- out

    def method(self, topic: str) -> Method | None:
        """As a service (service.add): every method is the client's to answer, guests included."""
        return self._peer.forward, True

    def event_handler(self, topic: str) -> Handler:
        return self._peer.send_event

    def send(self, message: Message) -> None:
        """Queue a frame; it is written when the loop flushes. A client that does not read is disconnected."""
        outbox = self.outbox
        if outbox.is_closed:
            return
        try:
            frame = encode(message)
        except (RequestError, ProtocolError) as error:
            self.broker.write_log(ERR, "connector", f"{message.topic} cannot be sent: {error}")
            if message.type != RESPONSE:
                return
            frame = encode(
                Message(RESPONSE, message.topic, str(error), FLAG_ROUTE, message.matchtag, errnum=EPROTO)
            )
        outbox.add(frame)
        if outbox.size > DROP_AT and (outbox.size > DROP_ALWAYS or outbox.stalled() >= STALL):
            self.lose(f"it left {outbox.size} bytes unread")

    def _moved(self, sent: int) -> None:
        """Something was written: the client may have more to say."""
        self._connector.repose.stirred()

    def lose(self, why: str = "", level: int = WARNING) -> None:
        """Give the client up, with a line in the log if it is still there: its reader sees the end at once."""
        if why:
            self.broker.write_log(level, "connector", f"client {self.uuid[:8]} is disconnected: {why}")
        self.outbox.close()
        try:
            self._socket.shutdown(socket.SHUT_RDWR)
        except OSError:
            pass

    def _close(self) -> None:
        runner = self._connector.instance.runner
        self._connector.connections.pop(self, None)
        self._connector.unfinished.drop(self)
        self._connector.repose.drop(self._socket)
        self.outbox.close()
        with runner.inside():
            self.broker.drop_endpoint(self)
        if self._is_writing:
            trio.lowlevel.notify_closing(self._socket)
        self._socket.close()
        runner.drain_inline()

    def failed(self, error: BaseException, message: Message | None) -> None:
        """A callback of this connection raised: a bug here, which costs this client its connection, no more."""
        pass_on(error)
        self.lose(f"{type(error).__name__}: {error}", ERR)


def _subscribe(connection: Connection, request: Message, payload: dict[str, Any]) -> None:
    connection.broker.subscribe(_text(payload["topic"]), connection)


def _unsubscribe(connection: Connection, request: Message, payload: dict[str, Any]) -> None:
    connection.broker.unsubscribe(_text(payload["topic"]), connection)


def _add_service(connection: Connection, request: Message, payload: dict[str, Any]) -> None:
    name = _text(payload["service"])
    check_service_name(name, request)
    connection.broker.add_service(name, connection)


def _remove_service(connection: Connection, request: Message, payload: dict[str, Any]) -> None:
    connection.broker.drop_service(_text(payload["service"]), connection)


def _text(value: object) -> str:
    if not isinstance(value, str):
        raise TypeError
    return value


#: Topics the connector answers itself, never forwarded as requests.
_OWN_TOPICS: dict[str, Callable[[Connection, Message, Any], None]] = {
    "event.subscribe": _subscribe,
    "event.unsubscribe": _unsubscribe,
    "service.add": _add_service,
    "service.remove": _remove_service,
}
