"""Knows the requests of the resource service: what there is, what is drained, who schedules it; not who gets it."""

from __future__ import annotations

import errno
from functools import partial
from typing import Any, Final

import msgspec

from brokersim.brokermod import (
    BrokerModule,
    Handle,
    Message,
    RequestError,
    errnums,
    files,
    pass_on,
    ranks,
    request_handler,
    treeobj,
)

from .drainset import DrainSet
from .holder import Holder
from .inventory import check_r, configured_r, present, simulated_r
from .kept import commit, stored
from .log import ResourceLog, define_event
from .messages import Cancel, ConfigReload, DrainArgs, Expiration, Reload, WaitUp
from .topology import topology

R_KEY: Final = "resource.R"
#: The same, as this module put it there: R that differs from it is somebody's wish and goes before settings.
MADE_KEY: Final = "resource.R-made"
#: Keys of table ``resource``; of these only config and exclude mean anything where nodes are simulated.
KNOWN_KEYS: Final = frozenset({
    "path", "scheduling", "config", "verify", "exclude", "norestrict", "noverify", "no-update-watch", "rediscover",
    "journal-max", "history",
})  # fmt: skip
#: Arguments of flux-core's module that ask for what is never done here: comparing R with hardware, cutting the log.
KNOWN_ARGS: Final = frozenset({"noverify", "notruncate", "monitor-force-up"})


class ResourceModule(BrokerModule):
    """The nodes of the instance (RFC 28). All are simulated and up; a drained one gets no more jobs.

    R is what somebody put into the KVS as ``resource.R``, else the configuration's ``resource.config``, else the
    instance's. In real time it stands there in any case, where Flux's commands look for it (`flux top`), the log tells
    where it is from, and a checkpoint has both (`flux fsck`); under a virtual clock the first root stays the empty one.
    """

    def __init__(self, h: Handle, *args: str) -> None:
        super().__init__(h, *args)
        for arg in args:
            if arg.partition("=")[0] not in KNOWN_ARGS and not arg.startswith("journal-max="):
                known = ", ".join(sorted(KNOWN_ARGS))
                raise RequestError(
                    errnums.EINVAL, f"module {self.name!r}: unknown argument {arg!r}; there are {known}"
                )
        self._holder = Holder(h)
        self._log = ResourceLog(h)
        self._excluded: list[int] = []
        try:
            entries, asked = h.conf_get("resource.config"), h.attr_get
            own = configured_r(entries) if entries else None
            self._define(own or simulated_r(asked("resources"), asked("hostlist"), asked("clock")))
        except ValueError as error:
            raise RequestError(errnums.EINVAL, f"module {self.name!r}: {error}") from None

    def _define(self, r: dict[str, Any]) -> None:
        self._hosts = check_r(r)
        self._r = r
        self._drained = DrainSet(self._hosts)
        #: The first node's, made when first asked for: every job's shell asks.
        self._topology = ""

    async def ready(self) -> None:
        """Read what the KVS has of an earlier life: R and which nodes were drained."""
        if self.handle.rank:
            return
        found = await stored(self.handle, self.log, R_KEY)
        method = "configuration" if self.handle.conf_get("resource.config") else "dynamic-discovery"
        is_made = found == b"" or (
            found is not None and found == await stored(self.handle, self.log, MADE_KEY)
        )
        if found and not is_made:
            try:
                self._define(msgspec.json.decode(found))
                method = "kvs"
            except (ValueError, msgspec.DecodeError, RecursionError) as error:
                self.log.error(f"{R_KEY}: {error}; it is not used")
        excluded = self.handle.conf_get("resource.exclude")
        self._excluded = self._drained.targets(excluded) if excluded else []
        try:
            for event in self._log.restore(await stored(self.handle, self.log, self._log.KEY) or b""):
                self._replay(event)
        except ValueError as error:
            raise RequestError(errnums.EINVAL, f"{self._log.KEY} in the KVS: {error}") from None
        self._undrain_excluded()
        there = present(self._hosts)
        defined = self._log.begin(self._r, ranks.format_ranks(there), self._drained.nodelist(there), method)
        if self.handle.attr_get("clock") != "virtual":
            made = msgspec.json.encode(self._r)
            keys = (R_KEY, MADE_KEY) if is_made and made != found else ()
            ops = [{"key": key, "flags": 0, "dirent": treeobj.val(made)} for key in keys]
            await commit(self.handle, self.log, [*ops, defined])

    def _replay(self, event: dict[str, Any]) -> None:
        """A node is known again by its host; one that is not there now is passed over. Raises ValueError."""
        if event["name"] not in ("drain", "undrain"):
            return
        context = event.get("context") or {}
        if not isinstance(context.get("idset"), str):
            raise ValueError(f"event {event['name']} has no idset")
        try:
            hosts = context.get("nodelist")
            known = self._drained.known(hosts) if hosts else self._drained.targets(context["idset"])
            targets = [node for node in known if self._hosts[node]]
            if event["name"] == "drain":
                self._drained.drain(targets, event["timestamp"], context.get("reason"), "force-overwrite")
            else:
                self._drained.undrain(targets, "update")
        except (RequestError, ValueError, TypeError):
            self.log.debug(f"event {event['name']} of another inventory is not replayed")

    def _undrain_excluded(self) -> None:
        """What is excluded is not drained, and will not be when it comes back."""
        both = sorted(set(self._excluded).intersection(self._drained.nodes()))
        if both:
            self._drained.undrain(both)
            ids, nodes = ranks.format_ranks(both), self._drained.nodelist(both)
            context = {"idset": ids, "nodelist": nodes, "overwrite": 0, "reason": "configured for exclusion"}
            self._log.post(self.handle.time(), "undrain", context)

    def _up(self) -> list[int]:
        return sorted(set(present(self._hosts)).difference(self._drained.nodes(), self._excluded))

    def stats(self) -> dict[str, object]:
        """How many nodes there are and may be used."""
        return {"nodes": len(present(self._hosts)), "up": len(self._up())}

    # -- what there is

    @request_handler("status", allow_guest=True)
    def status(self, msg: Message) -> None:
        """All resources, and which of their nodes are drained, since when and why; none is ever offline here."""
        _rank_0_only(self.handle)
        answer = {
            "R": self._r,
            "drain": self._drained.to_dict(),
            "online": ranks.format_ranks(present(self._hosts)),
            "offline": "",
            "exclude": ranks.format_ranks(self._excluded),
            "torpid": "",
        }
        self.handle.respond(msg, answer)

    @request_handler("sched-status", allow_guest=True)
    def sched_status(self, msg: Message) -> None:
        """What the scheduler knows of the resources."""
        self.handle.request("sched.resource-status", None, partial(pass_on, self.handle), msg)

    @request_handler("get")
    def get(self, msg: Message) -> None:
        """R."""
        self.handle.respond(msg, self._r)

    @request_handler("topo-get", allow_guest=True)
    def topo_get(self, msg: Message) -> None:
        """How a node looks inside, as hwloc's XML: the first one's, which the others are like."""
        self._topology = self._topology or topology(self._r, present(self._hosts)[0])
        self.handle.respond(msg, self._topology)

    @request_handler("monitor-waitup")
    def waitup(self, msg: Message) -> None:
        """Answered when so many brokers are up: all are."""
        _rank_0_only(self.handle)
        if not 0 <= msg.unpack(WaitUp).up <= self.handle.size:
            raise RequestError(errnums.EPROTO, "up value is out of range")
        self.handle.respond(msg)

    # -- the scheduler

    @request_handler("acquire")
    def acquire(self, msg: Message) -> None:
        """A scheduler takes the resources: R and who is ``up``, then what went ``down`` and ``up`` (RFC 28)."""
        _rank_0_only(self.handle)
        if not msg.is_streaming:
            raise RequestError(errnums.EPROTO, "resource.acquire must be a streaming request")
        if self._holder.is_there:
            raise RequestError(errno.EBUSY, "resource.acquire: a scheduler has the resources already")
        self._holder.take(msg, self._r, self._up(), self._excluded)

    @request_handler("acquire-mute")
    def acquire_mute(self, msg: Message) -> None:
        """The scheduler is told of no changes from now on, as while an instance goes down."""
        self._holder.is_mute = True
        self.handle.respond(msg)

    @request_handler("acquire-cancel")
    def acquire_cancel(self, msg: Message) -> None:
        """The scheduler gives the resources back; not answered."""
        self._holder.give_back(msg.sender, msg.unpack(Cancel).matchtag)

    @request_handler("disconnect", allow_guest=True)
    def disconnect(self, msg: Message) -> None:
        """A client went, maybe the scheduler."""
        self._holder.leave(msg.sender)
        self._log.leave(msg.sender)

    # -- draining

    @request_handler("drain")
    def drain(self, msg: Message) -> None:
        """No more jobs for these nodes; what they run goes on."""
        _rank_0_only(self.handle)
        args = msg.unpack(DrainArgs)
        targets, before, now = self._targets(args.targets), self._up(), self.handle.time()
        self._drained.drain(targets, now, args.reason, args.mode, self._excluded)
        self._holder.tell_change(before, self._up())
        self._post(msg, "drain", targets, args, now)

    @request_handler("undrain")
    def undrain(self, msg: Message) -> None:
        """They may be used again."""
        _rank_0_only(self.handle)
        args = msg.unpack(DrainArgs)
        targets, before = self._targets(args.targets), self._up()
        self._drained.undrain(targets, args.mode)
        self._holder.tell_change(before, self._up())
        self._post(msg, "undrain", targets, args, self.handle.time())

    def _targets(self, text: str) -> list[int]:
        return [node for node in self._drained.targets(text) if self._hosts[node]]

    def _post(self, msg: Message, name: str, targets: list[int], args: DrainArgs, now: float) -> None:
        overwrite = {"overwrite": 1, "force-overwrite": 2}.get(args.mode, 0)
        ids, nodes = ranks.format_ranks(targets), self._drained.nodelist(targets)
        context: dict[str, Any] = {"idset": ids, "nodelist": nodes, "overwrite": overwrite}
        if args.reason is not None:
            context["reason"] = args.reason
        self._log.post(now, name, context, msg)
        self.log.info(f"{name} idset={ids} nodelist={nodes} overwrite={overwrite} reason={args.reason or ''}")

    # -- other resources

    @request_handler("reload")
    async def reload(self, msg: Message) -> None:
        """Other resources, from a file with R; while no scheduler has those there are."""
        if self.handle.rank:
            raise RequestError(errnums.ENOSYS, "resource.reload is only available on rank 0")
        wish = msg.unpack(Reload)
        if wish.xml:
            raise RequestError(
                errnums.ENOSYS, "resource.reload: hwloc XML is not read here; give a file with R"
            )
        try:
            r = msgspec.json.decode(files.read_bytes(wish.path))
            check_r(r)
        except (OSError, ValueError, RecursionError) as error:
            raise RequestError(errnums.EINVAL, f"{wish.path}: {error}") from None
        if self._holder.is_there:
            raise RequestError(errno.EBUSY, "resources are busy (unload scheduler?)")
        put = {"key": R_KEY, "flags": 0, "dirent": treeobj.val(msgspec.json.encode(r))}
        event = define_event(self.handle.time(), "reload")
        ops = [put, self._log.operation(event)]
        await self.handle.call("kvs.commit", {"namespace": "primary", "flags": 0, "ops": ops})
        self._define(r)
        self._log.define(event, r)
        self.handle.respond(msg)

    @request_handler("expiration-update")
    def expiration_update(self, msg: Message) -> None:
        """A new end of all resources, in seconds since the epoch; the scheduler is told."""
        if self.handle.rank:
            raise RequestError(errnums.ENOSYS, "resource.expiration-update is only available on rank 0")
        expiration = msg.unpack(Expiration).expiration
        if expiration < 0:
            raise RequestError(errnums.EINVAL, f"an expiration is no less than 0, not {expiration:g}")
        execution = {**self._r["execution"], "expiration": expiration}
        self._r = {**self._r, "execution": execution}
        self._holder.tell({"expiration": expiration})
        self._log.post(self.handle.time(), "resource-update", {"expiration": expiration}, msg)

    @request_handler("config-reload")
    def config_reload(self, msg: Message) -> None:
        """A new configuration: ``resource.exclude`` counts at once, the rest when the module is loaded again.

        Raises RequestError(EINVAL).
        """
        conf = msg.unpack(ConfigReload).resource
        unknown = sorted(conf.keys() - KNOWN_KEYS)
        if unknown:
            known = ", ".join(sorted(KNOWN_KEYS))
            text = (
                f"error parsing [resource] configuration: unknown key {unknown[0]!r:.40}; there are {known}"
            )
            raise RequestError(errnums.EINVAL, text)
        before = self._up()
        excluded = str(conf.get("exclude") or "")
        self._excluded = self._drained.targets(excluded) if excluded else []
        self._undrain_excluded()
        self._holder.tell_change(before, self._up())
        self.handle.respond(msg)

    # -- the log

    @request_handler("journal")
    def journal(self, msg: Message) -> None:
        """The log of resources so far and from now on."""
        if not msg.is_streaming:
            raise RequestError(errnums.EPROTO, "journal requires streaming RPC flag")
        self._log.follow(msg)

    @request_handler("journal-cancel")
    def journal_cancel(self, msg: Message) -> None:
        """End such a stream; not answered itself."""
        self._log.cancel(msg.sender, msg.unpack(Cancel).matchtag)


def _rank_0_only(handle: Handle) -> None:
    if handle.rank:
        raise RequestError(errnums.EPROTO, "this RPC only works on rank 0")
