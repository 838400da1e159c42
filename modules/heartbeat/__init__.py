"""Knows the heartbeat: one published event every period; not who listens to it."""

from __future__ import annotations

import msgspec

from brokersim.brokermod import BrokerModule, Handle, Message, RequestError, errnums, request_handler

from .period import check_period, heartbeat_period, in_table

TOPIC = "heartbeat.pulse"


class Period(msgspec.Struct):
    """Payload of heartbeat.period: seconds between beats; without it the request only asks."""

    period: float | None = None


class Heartbeat(BrokerModule):
    """Publishes ``heartbeat.pulse`` every period, as flux-core's heartbeat module does.

    The event goes through the broker's ``event.publish`` service, so each beat adds one request sent and one
    response received to this module's counters (journal law L2). Arguments: ``period=FSD`` (default 2 s); the
    attribute ``heartbeat.period`` is used when the argument is absent. Configuration: ``heartbeat.period``, which goes
    before both, ``timeout`` and ``warn_thresh``.
    """

    def __init__(self, h: Handle, *args: str) -> None:
        super().__init__(h, *args)
        self._beats = 0
        self._unanswered = 0
        try:
            self._otherwise = heartbeat_period(args, h.attr_get("heartbeat.period"))
            self._default = heartbeat_period((), h.attr_get("heartbeat.period"))
            self._table = in_table(h.conf_get(), self._default)
        except ValueError as error:
            raise RequestError(errnums.EINVAL, f"module {self.name!r}: {error}") from None
        self._period = self._otherwise if self._table.period is None or args else self._table.period
        self._timer = h.timer_watcher_create(self._period, self._beat, repeat=self._period)
        self._timer.start()

    @request_handler("period")
    def period(self, msg: Message) -> None:
        """Answer with the period in seconds, changed first if the request has one (ours, not flux-core's)."""
        wanted = msg.unpack(Period).period
        if wanted is not None:
            try:
                self._period = check_period(wanted)
            except ValueError as error:
                raise RequestError(errnums.EINVAL, f"{self.name}.period: {error}") from None
            self._timer.reset(self._period, self._period)
        self.handle.respond(msg, {"period": self._period})

    @request_handler("config-reload")
    def config_reload(self, msg: Message) -> None:
        """A new configuration. Raises RequestError(EINVAL)."""
        try:
            table = in_table(msg.payload, self._default)
        except ValueError as error:
            raise RequestError(errnums.EINVAL, str(error)) from None
        if table.period != self._table.period:
            self._period = self._otherwise if table.period is None else table.period
            self._timer.reset(self._period, self._period)
        self._table = table
        self.handle.respond(msg)

    def _beat(self, *_watcher: object) -> None:
        self._beats += 1
        self._unanswered += 1
        self.handle.request("event.publish", {"topic": TOPIC, "flags": 0}, self._published, None, nodeid=0)

    def _published(self, response: Message, _arg: None) -> None:
        self._unanswered -= 1
        if response.errnum:
            self.log.error(f"heartbeat not published: {errnums.strerror(response.errnum)}")

    def stats(self) -> dict[str, object]:
        """``period`` in seconds, beats sent, how many of them the broker has not confirmed yet, what is configured."""
        return {
            "period": self._period, "beats": self._beats, "unanswered": self._unanswered,
            "timeout": self._table.timeout, "warn_thresh": self._table.warn_thresh,
        }  # fmt: skip
