"""Knows the requests of the probe service; what is read, when and where to is in files of their own."""

from __future__ import annotations

import errno
from typing import Any

import msgspec

from brokersim.brokermod import (
    BrokerModule,
    Handle,
    Message,
    RequestError,
    errnums,
    event_handler,
    request_handler,
)

from .answers import readings
from .calendars import Calendars, Claim, Holder
from .config import read_file, to_config
from .contract import Context, Reading
from .here import Here
from .local import run_here
from .offline import Alone, read_once, reader, record
from .probes import PROBES, checked, find
from .procfs import ProcFS
from .registered.follow import Follower
from .schema import schema
from .works import Works

__all__ = [
    "PROBES", "Alone", "ProbeModule", "checked", "find", "read_file", "read_once", "reader", "record", "run_here",
    "schema", "shown", "to_config",
]  # fmt: skip


class Read(msgspec.Struct):
    """Payload of probe.read: a probe and its configuration."""

    probe: str
    config: dict[str, Any] = {}


class Named(msgspec.Struct):
    """Payload of probe.remove, restart, run-now; of probe.status, where no name is all."""

    name: str = ""


class Added(msgspec.Struct):
    """Payload of probe.add and probe.set: a record, or a patch of one."""

    name: str
    record: dict[str, Any]


class Loaded(msgspec.Struct):
    """Payload of probe.reload: a whole configuration, or the file the module was loaded with."""

    config: dict[str, Any] | None = None


def shown(reading: Reading) -> dict[str, Any]:
    """A reading as it is answered."""
    found: dict[str, Any] = {"subject": reading.subject, "metrics": reading.metrics}
    for key in ("ts", "partial", "text", "identity"):
        if getattr(reading, key):
            found[key] = getattr(reading, key)
    if reading.fields:
        found["fields"] = {name: {"unit": one.unit, "kind": one.kind} for name, one in reading.fields.items()}
    return found


class ProbeModule(BrokerModule):
    """Measures what modules cost the machine, on schedules; nothing runs until a measurement is added.

    Arguments: ``file=PATH`` of a configuration (TOML, or JSON by its name), else the attribute ``probe.file``;
    ``registry=ID`` of a service whose record is followed; ``merge`` of the two; ``set=JSON`` over the file;
    ``no-registry`` reads none and tells what is measured under a new id.
    """

    def __init__(self, h: Handle, *args: str) -> None:
        super().__init__(h, *args)
        self._works = Works(h, self.log)
        self._calendars = Calendars(h)
        try:
            self._follower = Follower(h, self._works, self.log, args)
        except (ValueError, OSError) as error:
            raise RequestError(errnums.EINVAL, str(error)) from None

    async def ready(self) -> None:
        """What the registry has, if one is to be followed."""
        try:
            await self._follower.begin()
        except ValueError as error:
            raise RequestError(errnums.EINVAL, str(error)) from None

    @event_handler("registry.changed", prefix=False)
    async def registry_changed(self, msg: Message) -> None:
        """A record was written, perhaps ours."""
        told = msg.unpack(dict[str, Any])
        if told.get("collection") == "services":
            await self._follower.changed(str(told.get("id")))

    @request_handler("reserve")
    async def reserve(self, msg: Message) -> None:
        """Slots for all resources or none, on rank 0, where all calendars are."""
        await self._calendars.ready()
        self.handle.respond(msg, {"slots": self._calendars.reserve(msg.unpack(Claim), self.handle.time())})

    @request_handler("release")
    async def release(self, msg: Message) -> None:
        """A holder's slots are free from now on."""
        await self._calendars.ready()
        self._calendars.release(msg.unpack(Holder).holder)
        self.handle.respond(msg)

    @request_handler("explain")
    def explain(self, msg: Message) -> None:
        """Where a key of the configuration comes from: the layers, the strongest first."""
        key = msg.unpack(dict[str, str]).get("key", "")
        self.handle.respond(msg, {"merge": self._follower.mode, "layers": self._follower.explain(key)})

    async def teardown(self) -> None:
        """The last flush."""
        await self._works.end()

    def stats(self) -> dict[str, object]:
        """How many measurements are in which state, and what the sinks have taken."""
        states: dict[str, int] = {}
        for runner in self._works.runners.values():
            states[runner.state] = states.get(runner.state, 0) + 1
        queues = [queue.to_dict() for queue in self._works.collector.queues.values()]
        return {"measurements": len(self._works.config.measurements), "states": states, "sinks": queues}

    def listed_figures(self) -> dict[str, Any]:
        """What module.list shows without a message to it."""
        cost = self._works.own_cost()
        return {"cost": cost} if cost else {}

    @request_handler("list")
    def list_probes(self, msg: Message) -> None:
        """The probes there are."""
        probes = [
            {"name": name, "summary": probe.summary, "options": probe.options}
            for name, probe in PROBES.items()
        ]
        self.handle.respond(msg, {"probes": probes})

    @request_handler("status")
    def status(self, msg: Message) -> None:
        """Measurements as they are wanted and as they are, and the queues of their sinks."""
        name = msg.unpack(Named).name if msg.data is not None else ""
        names = [name] if name else list(self._works.config.measurements)
        found = [self._works.status(one) for one in names]
        sinks = [queue.to_dict() for queue in self._works.collector.queues.values()]
        self.handle.respond(msg, {"rank": self.handle.rank, "measurements": found, "sinks": sinks})

    @request_handler("add")
    def add(self, msg: Message) -> None:
        """A new measurement; answered with its status."""
        wish = msg.unpack(Added)
        self._answer(msg, wish.name, self._works.add, wish.name, wish.record)

    @request_handler("set")
    def set(self, msg: Message) -> None:
        """A merge patch on a measurement's record; what runs changes as little as that needs."""
        wish = msg.unpack(Added)
        self._answer(msg, wish.name, self._works.change, wish.name, wish.record)

    @request_handler("remove")
    def remove(self, msg: Message) -> None:
        """Stop a measurement and forget it; answered with its last status."""
        name = msg.unpack(Named).name
        status = self._works.status(name)
        self._works.remove(name)
        self.handle.respond(msg, status)

    @request_handler("restart")
    def restart(self, msg: Message) -> None:
        """Begin a measurement anew, out of FAILED or DONE, too."""
        name = msg.unpack(Named).name
        self._answer(msg, name, self._works.restart, name)

    @request_handler("run-now")
    def run_now(self, msg: Message) -> None:
        """One run beside the schedule."""
        name = msg.unpack(Named).name
        self._works.measurement(name)
        runner = self._works.runners.get(name)
        if runner is None:
            raise RequestError(errno.EBUSY, f"measurement {name!r} is OFF")
        runner.run_now()
        self.handle.respond(msg, self._works.status(name))

    @request_handler("reload")
    def reload(self, msg: Message) -> None:
        """A whole configuration, given or read anew from the file; refused whole if anything in it is wrong."""
        given = msg.unpack(Loaded).config if msg.data is not None else None
        try:
            if given is not None:
                self._works.take(to_config(given, self._works.is_virtual))
            elif self._follower.file:
                self._follower.read_file()
            else:
                raise ValueError("give a config: the module was loaded without file=PATH")
        except (ValueError, OSError) as error:
            raise RequestError(errnums.EINVAL, f"{self.name}.reload: {error}") from None
        self.handle.respond(msg, {"measurements": len(self._works.config.measurements)})

    @request_handler("read")
    async def read(self, msg: Message) -> None:
        """One reading of a probe, now; answered with what it read."""
        wish = msg.unpack(Read)
        try:
            probe, config = find(wish.probe)(), checked(wish.probe, wish.config)
        except ValueError as error:
            raise RequestError(errnums.EINVAL, f"{self.name}.read: {error}") from None
        files = ProcFS()
        context = Context(ask=Here(self.handle), procfs=files, config=config)
        try:
            probe.open(context)
            answer = probe.read()
            if hasattr(answer, "__await__"):
                answer = await answer
            found = readings(answer, context.subject)
        except RequestError:
            raise
        except Exception as error:
            raise RequestError(errnums.EIO, f"{self.name}.read {wish.probe}: {error}") from None
        finally:
            probe.close()
            files.close()
        self.handle.respond(msg, {"readings": [shown(one) for one in found]})

    def _answer(self, msg: Message, name: str, act: Any, *args: Any) -> None:
        try:
            act(*args)
        except RequestError:
            raise
        except (ValueError, OSError) as error:
            raise RequestError(errnums.EINVAL, f"{msg.topic}: {error}") from None
        self.handle.respond(msg, self._works.status(name))
