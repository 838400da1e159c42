"""Knows the requests about queues, and where their state is kept; what they may say is elsewhere."""

from __future__ import annotations

from typing import Any, Final

import msgspec

from brokersim.brokermod import BrokerModule, Message, RequestError, errnums, policy, request_handler, treeobj

from .machine import JobMachine
from .messages import QueueEnable, QueueName, QueueStart
from .queues import Queue

#: Where the state of the queues is kept between two lives of the module (flux-core's key and form).
CHECKPOINT: Final = "checkpoint.job-manager"


class QueueService(BrokerModule):
    """Queues: listed, shown, opened and closed, started and stopped."""

    _machine: JobMachine

    @request_handler("job-manager.queue-list", prefix=False, allow_guest=True)
    def queue_list(self, msg: Message) -> None:
        """The named queues."""
        self.handle.respond(msg, {"queues": self._machine.queues.names})

    @request_handler("job-manager.queue-status", prefix=False, allow_guest=True)
    def queue_status(self, msg: Message) -> None:
        """Whether jobs may be submitted, and whether they get resources."""
        name = msg.unpack(QueueName).name
        try:
            queue = self._machine.queues.find(name)
        except ValueError as error:
            raise RequestError(errnums.EINVAL, str(error)) from None
        self.handle.respond(msg, queue.to_dict(self._machine.sched_ready))

    @request_handler("job-manager.queue-enable", prefix=False)
    def queue_enable(self, msg: Message) -> None:
        """Open or close queues for submissions."""
        wish = msg.unpack(QueueEnable)
        if not wish.enable and wish.reason is None:
            raise RequestError(errnums.EINVAL, "reason is required for disable")
        for queue in self._meant(wish).values():
            queue.enabled, queue.reason_disabled = wish.enable, wish.reason or ""
        self.handle.respond(msg)

    @request_handler("job-manager.queue-start", prefix=False)
    def queue_start(self, msg: Message) -> None:
        """Let jobs get resources, or not; ``nocheckpoint``: a later life of the module does not know of it."""
        wish = msg.unpack(QueueStart)
        for name, queue in self._meant(wish).items():
            queue.started, queue.reason_stopped = wish.start, wish.reason or ""
            if not wish.nocheckpoint:
                queue.kept_started = wish.start
            self._machine.queue_changed(name, wish.start)
        self.handle.respond(msg)

    def _meant(self, wish: QueueEnable | QueueStart) -> dict[str | None, Queue]:
        try:
            return self._machine.queues.meant(wish.name, wish.all)
        except ValueError as error:
            raise RequestError(errnums.EINVAL, str(error)) from None

    # -- between two lives of the module

    async def restore_queues(self) -> None:
        """As the last life of the module left them."""
        look = {"key": CHECKPOINT, "namespace": "primary", "flags": 0}
        try:
            found = await self.handle.call("kvs.lookup", look)
        except RequestError as error:
            if error.errno not in (errnums.ENOENT, errnums.ENOSYS, errnums.ENOTDIR):
                raise
            return
        try:
            self._machine.queues.restore(msgspec.json.decode(treeobj.val_bytes(found["val"]))["queue"])
        except (ValueError, LookupError, TypeError) as error:
            self.log.error(f"{CHECKPOINT}: its queues make no sense: {error}")

    def keep_queues(self) -> None:
        """Let the last commit have them, if there is anything to keep."""
        queues = self._machine.queues.to_record()
        if queues != self._machine.queues.kept:
            value = msgspec.json.encode({"version": 1, "queue": queues})
            self._machine.batch.add({"key": CHECKPOINT, "flags": 0, "dirent": treeobj.val(value)})


def rules_in(conf: Any) -> policy.Rules:
    """What a configuration says of jobs and queues. Raises RequestError(EINVAL)."""
    try:
        return policy.to_rules(conf)
    except ValueError as error:
        raise RequestError(errnums.EINVAL, str(error)) from None
