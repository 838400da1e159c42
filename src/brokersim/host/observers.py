"""Knows who on a rank listens to which stream of observations; not what becomes of an observation.

While nobody listens, ``handle.observe`` is a function that does nothing, put where the method would be: what observes
costs a call and no look-up.

A module in a process of its own has listeners of its own, and a way out for all other streams (`FarObservers`).
Who counts is the service ``metrics`` of the same rank, in the broker's process or in one of its own, in brokersim and
in Flux. So observations go there as messages, those of one turn together, before anything else the module sends: what
it answered afterwards was observed before. The answer says which of the streams are counted. One that is not costs no
message until the stats have changed, which event ``metrics.define`` tells; where nobody serves metrics it is asked
again after `RECHECK` seconds, by the next observation there is.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from functools import partial
from typing import Any, Protocol

from brokersim.native import sums
from brokersim.protocol.decoded import JsonObject
from brokersim.protocol.errnums import RequestError
from brokersim.protocol.message import NODEID_ANY, Message
from brokersim.reactor.actor import Then
from brokersim.reactor.loop import NS, Reactor

#: Who counts.
SERVICE = "metrics"
#: The request with which observations come to it: ``{"observed": [[stream, key, value], ...]}``.
TOPIC = f"{SERVICE}.observations"
#: The event that says that other streams may be counted from now on.
CHANGED = f"{SERVICE}.define"
#: Seconds after which the answer of before is no longer believed.
RECHECK = 5.0
#: Observations of one message.
BATCH_MAX = 200
#: Streams remembered as not counted; a module that makes up more names begins anew.
_STREAMS_MAX = 1000
#: Whole numbers that every reader of JSON keeps; larger ones go as floats.
_INT_MAX = 2**62
_PLAIN = (str, int, float, bool, type(None))
#: Called with the key and the value of one observation. It must not raise.
Tap = Callable[[Any, Any], object]
Observe = Callable[..., object]


def unobserved(stream: str, key: object, value: object = 1) -> None:
    """What `observe` is while nobody listens on this rank."""


if sums.is_compiled:
    unobserved = sums.unobserved


class Observer(Protocol):
    """Whoever observes: a module's handle."""

    observe: Observe


class Observers:
    """The streams of a rank and their listeners."""

    __slots__ = ("_all", "_found", "_taps", "observe")

    def __init__(self, observers: Callable[[], Iterable[Observer]]) -> None:
        self._all = observers
        self._taps: list[tuple[str, Tap, object]] = []
        self._found: dict[str, Tap] = {}
        #: What a handle's ``observe`` is at this moment.
        self.observe: Observe = unobserved

    def listen(self, stream: str, tap: Tap, owner: object) -> Callable[[], None]:
        """Give a stream's observations to ``tap`` until what this returns is called, or its owner goes."""
        entry = (stream, tap, owner)
        self._taps.append(entry)
        self._changed()
        return partial(self._drop, lambda one: one is entry)

    def drop(self, owner: object) -> None:
        """An owner goes, and what it listened with."""
        if any(one[2] is owner for one in self._taps):
            self._drop(lambda one: one[2] is owner)

    def _drop(self, is_gone: Callable[[tuple[str, Tap, object]], bool]) -> None:
        self._taps = [one for one in self._taps if not is_gone(one)]
        self._changed()

    def _changed(self) -> None:
        by_stream: dict[str, list[Tap]] = {}
        for stream, tap, _ in self._taps:
            by_stream.setdefault(stream, []).append(tap)
        self._found = {
            stream: taps[0] if len(taps) == 1 else partial(_tell_all, taps)
            for stream, taps in by_stream.items()
        }
        self.observe = _to_taps(self._found) if self._found else unobserved
        for one in self._all():
            one.observe = self.observe


def _to_taps(found: dict[str, Tap]) -> Observe:
    """A function that knows its taps is called in two thirds of the time that a method takes to find them."""
    if sums.is_compiled:
        return sums.Taps(found)
    get = found.get

    def observe(stream: str, key: object, value: object = 1) -> None:
        tap = get(stream)
        if tap is not None:
            tap(key, value)

    return observe


def _tell_all(taps: list[Tap], key: object, value: object) -> None:
    for tap in taps:
        tap(key, value)


class Sender(Observer, Protocol):
    """What is asked of the module's handle."""

    name: str
    reactor: Reactor

    @property
    def rank(self) -> int:
        """The rank it is on."""

    def request(
        self,
        topic: str,
        payload: object = None,
        then: Then | None = None,
        arg: Any = None,
        nodeid: int = NODEID_ANY,
    ) -> Message:
        """Send a request."""

    def event_subscribe(self, topic: str) -> None:
        """Receive events whose topic starts with ``topic``."""


class FarObservers(Observers):
    """The streams that the module itself listens to, and the way out for all others."""

    __slots__ = ("_batch", "_handle", "_is_subscribed", "_round", "_uncounted", "_until")

    def __init__(self, handle: Callable[[], Sender]) -> None:
        super().__init__(lambda: (handle(),))
        self._handle = handle
        self._batch: list[tuple[str, Any, Any]] = []
        self._is_subscribed = False
        #: Streams that nobody counts; those of which nothing is known are sent.
        self._uncounted: set[str] = set()
        #: Until when (ns) the last answer is believed: nothing is asked before, and without a service nothing sent.
        self._until: dict[bool, int] = {}
        #: Answers to what was asked before the stats changed say nothing.
        self._round = 0
        self.observe = self._observe

    def _changed(self) -> None:
        super()._changed()
        self.observe = self._observe
        handle = self._handle()
        handle.observe = self._observe
        handle.request("module.listen", {"streams": sorted(self._found)})

    def _observe(self, stream: str, key: Any, value: Any = 1) -> None:
        """To who listens in this process, else on with it, unless it is known that nobody does at all."""
        tap = self._found.get(stream)
        if tap is not None:
            tap(key, value)
            return
        handle = self._handle()
        if (
            stream in self._uncounted
            or handle.name == SERVICE
            or handle.reactor.now < self._until.get(False, 0)
        ):
            return
        if not self._batch:
            handle.reactor.call_later(0.0, self.flush)
        self._batch.append(sendable(stream, key, value))
        if len(self._batch) >= BATCH_MAX:
            self.flush()

    def flush(self) -> None:
        """Send what has been observed; called before anything else is sent, so that the order is kept."""
        if not self._batch:
            return
        handle = self._handle()
        batch, self._batch = self._batch, []
        if not self._is_subscribed:
            self._is_subscribed = True
            handle.event_subscribe(CHANGED)
        payload = {"observed": batch}
        if handle.reactor.now < self._until.get(True, 0):
            handle.request(TOPIC, payload, nodeid=handle.rank)
        else:
            asked = self._round, {stream for stream, _, _ in batch}
            handle.request(TOPIC, payload, self._answered, asked, handle.rank)

    def _answered(self, response: Message, asked: tuple[int, set[str]]) -> None:
        number, streams = asked
        if number != self._round:
            return
        self._until = {not response.errnum: self._handle().reactor.now + round(RECHECK * NS)}
        if not response.errnum:
            if len(self._uncounted) > _STREAMS_MAX:
                self._uncounted.clear()
            self._uncounted |= streams.difference(_counted(response))

    def changed(self) -> None:
        """Stats have come or gone: what nobody counted may be counted now."""
        self._round += 1
        self._uncounted.clear()
        self._until = {}


def _counted(response: Message) -> Iterable[str]:
    try:
        found = response.payload["counted"]
    except (RequestError, KeyError, TypeError, OSError):
        return ()
    return found if isinstance(found, list) else ()


def sendable(stream: str, key: Any, value: Any) -> tuple[str, Any, Any]:
    """One observation as JSON can say it; what can be no key, or is no value, goes as null and is refused there."""
    if isinstance(key, Mapping):
        key = dict(key)  # the caller's may change before it is sent
        if not all(isinstance(name, str) and isinstance(one, _PLAIN) for name, one in key.items()):
            key = None
    elif not isinstance(key, str):
        key = None
    return stream, key, _number(value)


def _number(value: Any) -> Any:
    if type(value) is int and not -_INT_MAX < value < _INT_MAX:
        try:
            return float(value)
        except OverflowError:
            return None
    return value if isinstance(value, str) or type(value) in (int, float, bool) else None


def relay(send: Callable[[str, JsonObject], object], topic: str, stream: str) -> Tap:
    """What a module in a process of its own listens to, observed in the broker's: handed on as it comes."""

    def tap(key: Any, value: Any) -> None:
        send(topic, {"observed": [sendable(stream, key, value)]})

    return tap
