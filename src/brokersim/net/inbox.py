"""What came on one connection and nobody has taken yet. Knows no socket's limits and sends nothing."""

from __future__ import annotations

import errno
from collections import deque
from collections.abc import Callable
from typing import Final

from brokersim.net.bounded_socket import BoundedSocket, Unreachable
from brokersim.net.matchtags import AWAITED, UNASKED, Matchtags
from brokersim.protocol.errnums import ProtocolError
from brokersim.protocol.message import RESPONSE, Message
from brokersim.protocol.wire import FrameDecoder

_READ_SIZE: Final = 256 * 1024


class BadPeer(Unreachable):
    """What came is not the protocol; the connection is closed."""


class Inbox:
    """Messages in order of arrival, with responses that nobody waits for left out. Raises BadPeer.

    ``tags`` are released here, with the last response to each.
    """

    def __init__(self, connection: BoundedSocket, name: str, tags: Matchtags) -> None:
        self._socket = connection
        self._name = name
        self._tags = tags
        self._decoder = FrameDecoder()
        self._messages: deque[Message] = deque()

    def take(self, wanted: Callable[[Message], bool]) -> Message:
        """The first that is wanted, once it has come; others stay."""
        messages = self._messages
        seen = 0
        while True:
            for at in range(seen, len(messages)):
                message = messages[at]
                if wanted(message):
                    del messages[at]
                    if message.type == RESPONSE and self._tags.is_last(message):
                        self._tags.release(message.matchtag)
                    return message
            seen = len(messages)
            self.receive()

    def abandon(self, matchtag: int) -> None:
        """Responses with this matchtag are dropped, those that still come too; it is free after the last of them."""
        waiting = [one for one in self._messages if one.type == RESPONSE and one.matchtag == matchtag]
        for message in waiting:
            self._messages.remove(message)
        if any(self._tags.is_last(message) for message in waiting):
            self._tags.release(matchtag)
        else:
            self._tags.give_up(matchtag)

    def receive(self) -> None:
        """Waits for bytes and files the messages they complete."""
        self.take_in(self._socket.read(_READ_SIZE))

    def take_in(self, data: bytes) -> None:
        """Files the messages that bytes complete."""
        try:
            for message in self._decoder.feed(data):
                self._file(message)
        except ProtocolError as error:
            self._bad(str(error))

    def _file(self, message: Message) -> None:
        if message.type != RESPONSE:
            self._messages.append(message)
            return
        what = self._tags.arrives(message)
        if what == UNASKED:
            self._bad(f"{message.topic!r} answers matchtag {message.matchtag}, which asks nothing")
        elif what == AWAITED:
            self._messages.append(message)

    def _bad(self, text: str) -> None:
        self._socket.close()
        raise BadPeer(f"{self._name}: not a broker's protocol: {text}", errno.EPROTO) from None
