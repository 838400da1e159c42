"""Knows Flux's Python message and its watcher; not where messages come from."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any, Final

from brokersim.fluxapi.constants import FLUX_MATCHTAG_NONE, FLUX_MSGTYPE_REQUEST
from brokersim.fluxapi.core.watchers import Watcher
from brokersim.fluxapi.endpoint import FluxHandle
from brokersim.fluxapi.payload import to_data, to_text
from brokersim.protocol import message as wire
from brokersim.protocol.decoded import Json

__all__ = ["Message", "MessageWatcher", "msg_typestr"]

#: Flux's numbers of the message types, and ours.
_TO_WIRE: Final = {1: wire.REQUEST, 2: wire.RESPONSE, 4: wire.EVENT, 8: wire.CONTROL}
_FROM_WIRE: Final = {ours: theirs for theirs, ours in _TO_WIRE.items()}


def msg_typestr(msg_type: int) -> str:
    """``request``, ``response``, ``event`` or ``control``."""
    return wire.TYPE_NAMES[_TO_WIRE[msg_type]]


class Message:
    """A message as a module sees it; its payload is decoded anew each time, so it may be changed freely."""

    __slots__ = ("inner",)

    def __init__(self, type_id: int = FLUX_MSGTYPE_REQUEST, handle: Any = None) -> None:
        self.inner: wire.Message = wire.Message(_TO_WIRE[type_id]) if handle is None else handle

    @property
    def handle(self) -> wire.Message:
        """What C functions want of it."""
        return self.inner

    @classmethod
    def from_event_encode(cls, topic: str, payload: object = None) -> Message:
        """A new event."""
        return cls(handle=wire.Message(wire.EVENT, topic, to_data(payload)))

    @property
    def topic(self) -> str:
        return self.inner.topic

    @topic.setter
    def topic(self, value: str) -> None:
        self.inner.topic = value

    @property
    def payload_str(self) -> str | None:
        """The payload as text, None if there is none."""
        return to_text(self.inner.data)

    @payload_str.setter
    def payload_str(self, value: str | None) -> None:
        self.inner.data = to_data(value)

    @property
    def payload(self) -> Json:
        """The payload decoded from JSON. Raises TypeError if there is none."""
        return json.loads(self.payload_str)  # type: ignore[arg-type]

    @payload.setter
    def payload(self, value: object) -> None:
        self.inner.data = to_data(value)

    @property
    def type(self) -> int:
        return _FROM_WIRE[self.inner.type]

    @type.setter
    def type(self, value: int) -> None:
        self.inner.type = _TO_WIRE[value]

    @property
    def type_str(self) -> str:
        return msg_typestr(self.type)

    @property
    def userid(self) -> int:
        return self.inner.userid

    @userid.setter
    def userid(self, userid: int) -> None:
        self.inner.userid = userid

    @property
    def rolemask(self) -> int:
        return self.inner.rolemask

    @rolemask.setter
    def rolemask(self, rolemask: int) -> None:
        self.inner.rolemask = rolemask

    def decode(self) -> tuple[int, str, str | None]:
        """Type, topic and payload text. Raises OSError if it is an error response."""
        if self.inner.type == wire.RESPONSE and self.inner.errnum:
            raise self.inner.error()
        return self.type, self.topic, self.payload_str


class MessageWatcher(Watcher):
    """Gets the messages of some types whose topic matches a glob; the last one started comes first."""

    def __init__(
        self,
        flux_handle: FluxHandle,
        type_mask: int,
        callback: Callable[..., object],
        topic_glob: str | bytes | None = "*",
        match_tag: int = FLUX_MATCHTAG_NONE,
        rolemask: int | None = None,
        args: object = None,
    ) -> None:
        if isinstance(topic_glob, bytes):
            topic_glob = topic_glob.decode()
        elif topic_glob is not None and not isinstance(topic_glob, str):
            raise TypeError(f"topic must be text, not {type(topic_glob).__name__}")
        self.type_mask = type_mask
        self.callback = callback
        self.topic_glob = topic_glob or "*"  # an empty one sets no condition (RFC 3)
        self.match_tag = match_tag
        #: Roles that may send it requests; the owner only unless told otherwise.
        self.rolemask = wire.ROLE_OWNER if rolemask is None else rolemask
        self.args = args
        super().__init__(flux_handle)

    def take(self, message: wire.Message) -> None:
        """Give it to the callback."""
        self.callback(self.flux_handle, self, Message(handle=message), self.args)

    def start(self) -> MessageWatcher:
        self.flux_handle.endpoint.start_watcher(self)
        return self

    def stop(self) -> MessageWatcher:
        self.flux_handle.endpoint.stop_watcher(self)
        return self
