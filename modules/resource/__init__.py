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
from .inventory import check_r, configured_r, present, simulated_r, without
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
#: Flag of a commit: with a checkpoint.
SYNC: Final = 4
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
        self._scheduler: Message | None = None
        #: The ranks it does not know: those excluded when it took the resources (as in flux-core).
        self._withheld: list[int] = []
        #: The scheduler is told nothing more.
        self._is_mute = False
        self._log = ResourceLog(h)
        self._excluded: list[int] = []
        try:
            self._define(self._own_r())
        except ValueError as error:
            raise RequestError(errnums.EINVAL, f"module {self.name!r}: {error}") from None

    def _own_r(self) -> dict[str, Any]:
        entries = self.handle.conf_get("resource.config")
        if entries:
            return configured_r(entries)
        asked = self.handle.attr_get
        return simulated_r(asked("resources"), asked("hostlist"), asked("clock"))

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
        stored = await self._stored(R_KEY)
        method = "configuration" if self.handle.conf_get("resource.config") else "dynamic-discovery"
        is_made = stored == b"" or (stored is not None and stored == await self._stored(MADE_KEY))
        if stored and not is_made:
            try:
                self._define(msgspec.json.decode(stored))
                method = "kvs"
            except (ValueError, msgspec.DecodeError, RecursionError) as error:
                self.log.error(f"{R_KEY}: {error}; it is not used")
        self._exclude(self.handle.conf_get("resource.exclude") or "")
        try:
            for event in self._log.restore(await self._stored(self._log.KEY) or b""):
                self._replay(event)
        except ValueError as error:
            raise RequestError(errnums.EINVAL, f"{self._log.KEY} in the KVS: {error}") from None
        self._undrain_excluded()
        there = self._there()
        defined = self._log.begin(self._r, ranks.format_ranks(there), self._drained.nodelist(there), method)
        if self.handle.attr_get("clock") != "virtual":
            await self._show(stored if is_made else None, is_made, defined)

    async def _show(self, before: bytes | None, is_made: bool, defined: dict[str, Any]) -> None:
        """Put R into the KVS, if it is not somebody else's that is there, and the line of the log that tells of it."""
        made = msgspec.json.encode(self._r)
        keys = (R_KEY, MADE_KEY) if is_made and made != before else ()
        ops = [{"key": key, "flags": 0, "dirent": treeobj.val(made)} for key in keys]
        for flags in (SYNC, 0):  # without a backing store there is no checkpoint
            try:
                wish = {"namespace": "primary", "flags": flags, "ops": [*ops, defined]}
                await self.handle.call("kvs.commit", wish)
                return
            except RequestError as error:
                if error.errno != errnums.ENOSYS:
                    self.log.error(f"{R_KEY} is not in the KVS: {error}")
                    return

    async def _stored(self, key: str) -> bytes | None:
        """What the KVS has, ``b""`` for nothing; None, and it is said, for what is no value."""
        try:
            answer = await self.handle.call("kvs.lookup", {"key": key, "namespace": "primary", "flags": 0})
        except RequestError as error:
            if error.errno in (errnums.ENOENT, errnums.ENOSYS):
                return b""
            self.log.error(f"{key} in the KVS is not used: {error}")
            return None
        return treeobj.val_bytes(answer["val"])

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

    def _exclude(self, text: str) -> None:
        self._excluded = self._drained.targets(text) if text else []

    def _undrain_excluded(self) -> None:
        """What is excluded is not drained, and will not be when it comes back."""
        both = sorted(set(self._excluded).intersection(self._drained.nodes()))
        if both:
            self._drained.undrain(both)
            ids, nodes = ranks.format_ranks(both), self._drained.nodelist(both)
            context = {"idset": ids, "nodelist": nodes, "overwrite": 0, "reason": "configured for exclusion"}
            self._log.post(self.handle.time(), "undrain", context)

    def _there(self) -> list[int]:
        return present(self._hosts)

    def _up(self) -> list[int]:
        return sorted(set(self._there()).difference(self._drained.nodes(), self._excluded))

    def stats(self) -> dict[str, object]:
        """How many nodes there are and may be used."""
        return {"nodes": len(self._there()), "up": len(self._up())}

    def _rank_0_only(self) -> None:
        if self.handle.rank:
            raise RequestError(errnums.EPROTO, "this RPC only works on rank 0")

    # -- what there is

    @request_handler("status", allow_guest=True)
    def status(self, msg: Message) -> None:
        """All resources, and which of their nodes are drained, since when and why; none is ever offline here."""
        self._rank_0_only()
        answer = {
            "R": self._r,
            "drain": self._drained.to_dict(),
            "online": ranks.format_ranks(self._there()),
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
        self._topology = self._topology or topology(self._r, self._there()[0])
        self.handle.respond(msg, self._topology)

    @request_handler("monitor-waitup")
    def waitup(self, msg: Message) -> None:
        """Answered when so many brokers are up: all are."""
        self._rank_0_only()
        if not 0 <= msg.unpack(WaitUp).up <= self.handle.size:
            raise RequestError(errnums.EPROTO, "up value is out of range")
        self.handle.respond(msg)

    # -- the scheduler

    @request_handler("acquire")
    def acquire(self, msg: Message) -> None:
        """A scheduler takes the resources: R and who is ``up``, then what went ``down`` and ``up`` (RFC 28)."""
        self._rank_0_only()
        if not msg.is_streaming:
            raise RequestError(errnums.EPROTO, "resource.acquire must be a streaming request")
        if self._scheduler is not None:
            raise RequestError(errno.EBUSY, "resource.acquire: a scheduler has the resources already")
        self._scheduler, self._withheld = msg, self._excluded
        self.handle.respond(
            msg, {"resources": without(self._r, self._withheld), "up": ranks.format_ranks(self._up())}
        )

    @request_handler("acquire-mute")
    def acquire_mute(self, msg: Message) -> None:
        """The scheduler is told of no changes from now on, as while an instance goes down."""
        self._is_mute = True
        self.handle.respond(msg)

    @request_handler("acquire-cancel")
    def acquire_cancel(self, msg: Message) -> None:
        """The scheduler gives the resources back; not answered."""
        wish = msg.unpack(Cancel)
        held = self._scheduler
        if held is not None and (held.sender, held.matchtag) == (msg.sender, wish.matchtag):
            self._scheduler = None
            self.handle.respond_error(held, errnums.ENODATA)

    @request_handler("disconnect", allow_guest=True)
    def disconnect(self, msg: Message) -> None:
        """A client went, maybe the scheduler."""
        if self._scheduler is not None and self._scheduler.sender == msg.sender:
            self._scheduler = None
        self._log.leave(msg.sender)

    def _tell(self, before: list[int]) -> None:
        """Tell the scheduler which nodes came and went since ``before``."""
        now = self._up()
        down = sorted(set(before).difference(now, self._withheld))
        up = sorted(set(now).difference(before, self._withheld))
        change = {name: ranks.format_ranks(ids) for name, ids in (("down", down), ("up", up)) if ids}
        if self._scheduler is not None and change and not self._is_mute:
            self.handle.respond(self._scheduler, change)

    # -- draining

    @request_handler("drain")
    def drain(self, msg: Message) -> None:
        """No more jobs for these nodes; what they run goes on."""
        self._rank_0_only()
        args = msg.unpack(DrainArgs)
        targets, before, now = self._targets(args.targets), self._up(), self.handle.time()
        self._drained.drain(targets, now, args.reason, args.mode, self._excluded)
        self._tell(before)
        self._post(msg, "drain", targets, args, now)

    @request_handler("undrain")
    def undrain(self, msg: Message) -> None:
        """They may be used again."""
        self._rank_0_only()
        args = msg.unpack(DrainArgs)
        targets, before = self._targets(args.targets), self._up()
        self._drained.undrain(targets, args.mode)
        self._tell(before)
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
        if self._scheduler is not None:
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
        if self._scheduler is not None:
            self.handle.respond(self._scheduler, {"expiration": expiration})
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
        self._exclude(str(conf.get("exclude") or ""))
        self._undrain_excluded()
        self._tell(before)
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
