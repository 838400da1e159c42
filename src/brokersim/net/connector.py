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
from functools import partial
from pathlib import Path
from typing import Any

import attrs
import trio

from brokersim.host.methods import message_counts
from brokersim.instance import Instance
from brokersim.net.doorway import Doorway
from brokersim.net.outbox import DROP_ALWAYS, DROP_AT, FULL_AT, PAUSE_AT, STALL, Outbox
from brokersim.net.readers import Readers
from brokersim.net.repose import Repose
from brokersim.net.unfinished import Unfinished
from brokersim.protocol.decoded import JsonObject
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
from brokersim.reactor.run import QUEUE_AT
from brokersim.routing.endpoint import Endpoint, Handler, Method
from brokersim.routing.logring import ERR, WARNING
from brokersim.routing.wire_peer import WirePeer
from brokersim.services.access import WHO, Access
from brokersim.services.broker import Broker
from brokersim.services.endpoint import BrokerEndpoint
from brokersim.services.service import check_service_name

#: Bytes of a read: 15 submissions of jobs, so that who sends thousands at once keeps another's ping waiting for a few
#: of them. What is left of a frame that is longer is read by more.
READ_SHARE, _READ = 1 << 13, 1 << 16
_BACKLOG = 128
_UCRED = struct.Struct("3i")
#: The name by which the connector answers for itself.
_NAME = WHO
#: Debug bits of it: the next client is refused, the next owner is taken for an unknown guest (flux-core's).
_REFUSE_ONE, _LOWER_ONE = 1, 4
#: Streams that only look on, and commands, which are real: a client waiting for them does not make virtual time move.
_OBSERVED = frozenset({"log.dmesg", "module.trace", "rexec.exec", "rexec.wait"})


class Connector:
    """The sockets of an instance, one a rank, named ``local-<rank>`` in a folder of their own."""

    def __init__(self, instance: Instance, folder: Path) -> None:
        self.instance = instance
        self.folder = folder
        self.connections: dict[Connection, None] = {}
        self.readers = Readers()
        self.repose = Repose()
        self.unfinished = Unfinished()
        self._listeners: list[tuple[socket.socket, Path]] = []
        #: Told that something was written or read, where time may only move when clients have come to rest.
        self.moved = self.repose.stirred if instance.runner.is_virtual else None
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
        self._access(self.instance.broker(0)).log(self.instance.broker(0))
        if self.instance.runner.is_virtual:
            self.instance.runner.may_jump = self.is_waited_for
            self.instance.runner.is_settled = self.repose.is_settled

    def _stats(self, server: BrokerEndpoint, request: Message) -> None:
        """Who is connected to this rank (flux-core's keys, as far as there is something to say)."""
        here = [one for one in self.connections if one.broker is server.broker]
        clients = [{"uuid": one.uuid, "userid": one.userid, "rxbacklog": len(one.outbox)} for one in here]
        found = self._access(server.broker)
        access = {"allow_guest_user": found.guests, "allow_root_owner": found.root}
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
                    admit = partial(self._admit, nursery, self.instance.broker(rank))
                    self._doorway.open(nursery, self.readers, listener, admit)
                await self.readers.run()
        finally:
            for connection in list(self.connections):
                connection.close()
            self._doorway.close()
            self.readers.close()

    def _admit(self, nursery: trio.Nursery, broker: Broker, client: socket.socket) -> None:
        pid, uid, _ = _UCRED.unpack(client.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, _UCRED.size))
        access = self._access(broker)
        is_owner = uid == broker.owner or (uid == 0 and access.root)
        allowed = (is_owner or access.guests) and not _takes_bit(broker, _REFUSE_ONE)
        try:
            client.send(b"\0" if allowed else bytes([EPERM]))
        except OSError:
            allowed = False
        if not allowed:
            client.close()
            return
        if is_owner and _takes_bit(broker, _LOWER_ONE):
            uid, is_owner = USERID_UNKNOWN, False
        rolemask = (ROLE_OWNER if is_owner else ROLE_USER) | ROLE_LOCAL
        self.connections[Connection(self, broker, client, uid, rolemask, nursery)] = None
        if self.moved is not None:
            self.repose.add(client, pid)

    def _access(self, broker: Broker) -> Access:
        """Who is let in, by the attribute, or by the configuration as in Flux."""
        try:
            access = Access.of(self.instance.conf)
        except ValueError:
            access = Access()
        is_wished = broker.attributes.get("access.allow-guest-user") == "true"
        return attrs.evolve(access, guests=True) if is_wished else access

    def close(self) -> None:
        """Close the sockets and take their files away."""
        for listener, path in self._listeners:
            listener.close()
            path.unlink(missing_ok=True)
        self._listeners.clear()


def _takes_bit(broker: Broker, bit: int) -> bool:
    """Whether a debug bit of the connector is set, which is for one client only."""
    door = broker.service(_NAME)
    if not isinstance(door, BrokerEndpoint) or not door.mask & bit:
        return False
    door.set_mask(door.mask & ~bit)
    return True


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
        raise OSError(errno.EADDRINUSE, "a file that is no socket is in the way")
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as probe:
        probe.setblocking(False)
        try:
            probe.connect(os.fspath(path))
        except ConnectionRefusedError:
            path.unlink(missing_ok=True)
            return
        except BlockingIOError:
            pass  # too busy to take us, but alive
    raise OSError(errno.EADDRINUSE, "a live instance listens there already")


class Connection(Endpoint):
    """One client of the local connector: its socket, and what the connector itself answers it."""

    __slots__ = (
        "_connector",
        "_decoder",
        "_fd",
        "_is_writing",
        "_nursery",
        "_peer",
        "_socket",
        "outbox",
    )

    broker: Broker

    def __init__(
        self,
        connector: Connector,
        broker: Broker,
        client: socket.socket,
        uid: int,
        rolemask: int,
        nursery: trio.Nursery,
    ) -> None:
        super().__init__(broker, "connector", connector.instance.identities.uuid(broker.rank, "connector"))
        self.userid = uid
        self.rolemask = rolemask
        self._connector = connector
        self._socket = client
        self._fd = client.fileno()
        self._decoder = FrameDecoder()
        # Few ever need a task: who does not read, with us writing or waiting.
        self._nursery = nursery
        self._is_writing = False
        self.outbox = Outbox(client, self.reactor, connector.moved, self.lose, self._start_writing)
        self._peer = WirePeer(self, self)
        broker.add_endpoint(self)
        connector.readers.add(self._fd, self.read)

    # -- in

    def read(self) -> None:
        """Take what is there; the client that goes or breaks the protocol is closed, with everything it had open."""
        if self.outbox.is_closed:
            self.close()
            return
        if len(self.reactor.fifo) > QUEUE_AT:
            return  # it is read on when others had their turn: requests without answers fill no output, but memory
        try:
            data = self._socket.recv(READ_SHARE if self._decoder.pending < READ_SHARE else _READ)
        except BlockingIOError:
            return
        except OSError:
            data = b""
        if not data:
            self.close()
            return
        if self._connector.moved is not None:
            self._connector.moved()
        if self._take(data):
            self._connector.instance.runner.drain_inline()
            if self.outbox.size > PAUSE_AT:
                self._connector.readers.drop(self._fd)
                self._nursery.start_soon(self._pause)

    def _take(self, data: bytes) -> bool:
        """Queue the messages that are complete; False if one is none, and the client lost."""
        reactor = self.reactor
        reactor.now = self._connector.instance.runner.clock.now_ns()
        reactor.enter()  # what `inside` does, at a tenth of its price
        try:
            receive = self._peer.receive
            for message in self._decoder.feed(data):
                receive(message)
        except ProtocolError as error:
            self.lose(str(error))
            return False
        except Exception as error:
            self.failed(error, None)
            return False
        finally:
            reactor.leave()
        unfinished = self._connector.unfinished
        if self._decoder.pending or self in unfinished:
            unfinished.note(self, self._decoder.pending)
        return True

    async def _pause(self) -> None:
        """It has much to read before it is read on."""
        if not await self.outbox.room_before(PAUSE_AT, STALL):
            self.lose(f"it left {self.outbox.size} bytes unread and asks for more")
        if self in self._connector.connections:
            self._connector.readers.add(self._fd, self.read)

    def _start_writing(self) -> None:
        """The client does not take all at once: the rest is for a task of its own."""
        self._is_writing = True
        self._nursery.start_soon(self._write)

    async def _write(self) -> None:
        try:
            await self.outbox.write()
        except trio.ClosedResourceError:
            pass  # the connection was closed meanwhile

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

    def _answer_own(self, message: Message, act: Callable[[Connection, Message, object], None]) -> None:
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
        self._peer.send_stray(response)

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

    def lose(self, why: str = "", level: int = WARNING) -> None:
        """Give the client up, with a line in the log if it is still there: its reader sees the end at once."""
        if why:
            self.broker.write_log(level, "connector", f"client {self.uuid[:8]} is disconnected: {why}")
        self.outbox.close()
        try:
            self._socket.shutdown(socket.SHUT_RDWR)
        except OSError:
            pass

    def close(self) -> None:
        """It has gone, or has to."""
        runner = self._connector.instance.runner
        self._connector.connections.pop(self, None)
        self._connector.readers.drop(self._fd)
        self._connector.unfinished.drop(self)
        self._connector.repose.drop(self._socket)
        self.outbox.close()
        reactor = self.reactor
        reactor.enter()
        try:
            self.broker.drop_endpoint(self)
        finally:
            reactor.leave()
        if self._is_writing:
            trio.lowlevel.notify_closing(self._socket)
        self._socket.close()
        runner.drain_inline()

    def failed(self, error: BaseException, message: Message | None) -> None:
        """A callback of this connection raised: a bug here, which costs this client its connection, no more."""
        pass_on(error)
        self.lose(f"{type(error).__name__}: {error}", ERR)


def _subscribe(connection: Connection, request: Message, payload: JsonObject) -> None:
    connection.broker.subscribe(_text(payload["topic"]), connection)


def _unsubscribe(connection: Connection, request: Message, payload: JsonObject) -> None:
    connection.broker.unsubscribe(_text(payload["topic"]), connection)


def _add_service(connection: Connection, request: Message, payload: JsonObject) -> None:
    name = _text(payload["service"])
    check_service_name(name, request)
    connection.broker.add_service(name, connection)


def _remove_service(connection: Connection, request: Message, payload: JsonObject) -> None:
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
