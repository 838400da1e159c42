"""Knows the requests and events of the kvs-watch service; what they mean is in the files beside this one."""

from __future__ import annotations

from functools import partial
from typing import Any

from brokersim.brokermod import (
    BrokerModule,
    Handle,
    Message,
    RequestError,
    errnums,
    event_handler,
    request_handler,
)

from .messages import CancelRequest, WatchRequest, plain_key
from .monitors import EVENTS, Monitors
from .watch import Watch

_ROLE_OWNER = 1


class KvsWatch(BrokerModule):
    """Tells clients of changes to keys: looks a key up again after each commit that names it (flux-core's rule)."""

    def __init__(self, h: Handle, *args: str) -> None:
        super().__init__(h, *args)
        if args:
            raise RequestError(
                errnums.EINVAL, f"module {h.name!r} takes no arguments, not {' '.join(args)!r}"
            )
        self._monitors = Monitors(h)

    async def ready(self) -> None:
        """Follow a namespace only while it is watched, rank 0 the primary one always.

        In flux-core the instance's own services watch there, so each of its commits is one event received.
        """
        self.handle.event_unsubscribe(EVENTS)
        if self.handle.rank == 0:
            self._monitors.keep("primary")

    @request_handler("lookup", allow_guest=True)
    def lookup(self, msg: Message) -> None:
        """A stream of the values of a key."""
        request = msg.unpack(WatchRequest)
        request.check(msg.is_streaming)
        plain_key(request.key)
        self._monitors.watch(request.namespace, partial(Watch, self.handle, msg, request))

    @request_handler("cancel", allow_guest=True)
    def cancel(self, msg: Message) -> None:
        """End a stream with errnum 61; not answered itself."""
        self._monitors.cancel(msg.sender, msg.unpack(CancelRequest).matchtag)

    @request_handler("disconnect", allow_guest=True)
    def disconnect(self, msg: Message) -> None:
        self._monitors.leave(msg.sender)

    @event_handler(f"{EVENTS}*", prefix=False)
    def namespace_event(self, msg: Message) -> None:
        """A namespace moved, came or went. Guests may publish, too, but not this."""
        if not msg.rolemask & _ROLE_OWNER:
            return
        try:
            self._monitors.heed(msg)
        except (RequestError, TypeError) as error:
            self.log.error(f"event {msg.topic} ignored: {error}")

    def stats(self) -> dict[str, Any]:
        return self._monitors.statistics()
