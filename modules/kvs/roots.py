"""Knows how a rank comes to the roots of its namespaces and keeps up with them; not lookups, not commits.

Rank 0 has the primary root from its checkpoint, and moves roots itself. The other ranks follow the namespaces
that are used there: they ask their parent once, and from then on events move the root.
"""

from __future__ import annotations

import syslog
from collections.abc import Callable
from typing import Any, Final

import msgspec

from brokersim.brokermod import NODEID_UPSTREAM, Handle, Message, RequestError, blobref, errnums, treeobj

from .access import permit
from .messages import PRIMARY, Root, VersionRequest, checkpoint, last_of
from .namespaces import Namespace, Namespaces, unknown_namespace

Act = Callable[[Namespace, Message, Any], None]
#: Errors of a checkpoint that mean there is none: nothing stored yet, or nowhere to store it.
_NO_CHECKPOINT: Final = (errnums.ENOENT, errnums.ENOSYS)
#: Seconds between two looks at whether commits under way have ended, and looks: a second, of the ten a stop may take.
_FINISH_LOOK, _FINISH_LOOKS = 0.0005, 2000


class Roots:
    """The namespaces of one rank, and the requests that wait for them."""

    __slots__ = ("_checkpointed", "_handle", "_watched", "namespaces", "owner")

    def __init__(self, handle: Handle) -> None:
        self._handle = handle
        self.namespaces = Namespaces()
        self.owner = int(handle.attr_get("security.owner") or 0)
        self._checkpointed = -1
        #: Namespaces in which somebody waits for a version.
        self._watched: dict[str, Namespace] = {}
        if handle.rank == 0:
            self.namespaces.expect(PRIMARY)

    def within(self, name: str, msg: Message, act: Act, request: Any) -> None:
        """Call ``act(namespace, msg, request)`` as soon as the namespace is known here.

        Raises RequestError(ENOTSUP), or answers with it later, if it does not exist.
        """
        namespace = self.namespaces.get(name)
        if namespace is not None:
            act(namespace, msg, request)
            return
        if not self.namespaces.is_expected(name):
            if not self._handle.rank:
                raise unknown_namespace(name)
            self.follow(name)
        self.namespaces.wait(
            name,
            lambda namespace: self._act(act, namespace, msg, request),
            lambda error: self.refuse(error, msg),
        )

    def _act(self, act: Act, namespace: Namespace, msg: Message, request: Any) -> None:
        try:
            act(namespace, msg, request)
        except RequestError as error:
            self.refuse(error, msg)

    def refuse(self, error: RequestError, msg: Message) -> None:
        """Answer a request with an error."""
        self._handle.respond_error(msg, error.errno or errnums.EIO, error.text)

    # -- moving

    def move(self, namespace: Namespace, rootref: str, rootseq: int) -> None:
        """A namespace has a newer root: who waited for that version is answered."""
        for request in namespace.advance(rootref, rootseq):
            self._handle.respond(request, {"rootseq": rootseq, "rootref": rootref})

    def pause(self, namespace: Namespace, msg: Message, is_paused: bool) -> None:
        """Stop heeding events of a namespace's roots, or heed those that came meanwhile. Raises RequestError(EPERM)."""
        permit(namespace, msg)
        if is_paused:
            if namespace.held is None:
                namespace.held = []
        else:
            held, namespace.held = namespace.held, None
            for root in held or ():
                self.move(namespace, root.rootref, root.rootseq)
        self._handle.respond(msg)

    def move_to(self, root: Root) -> None:
        """The same, for a root told by somebody else; nothing if the namespace is not followed here."""
        namespace = self.namespaces.get(root.namespace)
        if namespace is not None:
            self.move(namespace, root.rootref, root.rootseq)

    def remove(self, name: str) -> None:
        """A namespace is no more: who waited in it is told."""
        namespace = self.namespaces.remove(name)
        if namespace is not None:
            self._watched.pop(name, None)
            for request in namespace.dismiss():
                self.refuse(unknown_namespace(name), request)

    def dismiss_all(self) -> None:
        """The module goes: nobody will answer those who wait here any more (flux-core's errnum for it: ENOSYS)."""
        for namespace in self.namespaces:
            for request in namespace.dismiss():
                self.refuse(RequestError(errnums.ENOSYS), request)

    def answer(self, namespace: Namespace, msg: Message, _request: object) -> None:
        """Where the root is. Raises RequestError(EPERM)."""
        permit(namespace, msg)
        self._handle.respond(msg, namespace.root())

    def await_version(self, namespace: Namespace, msg: Message, request: VersionRequest) -> None:
        """Answer once the namespace has reached a version. Raises RequestError(EPERM)."""
        permit(namespace, msg)
        if namespace.rootseq >= request.rootseq:
            self._handle.respond(msg, {"rootseq": namespace.rootseq, "rootref": namespace.rootref})
        else:
            namespace.waiting.append((request.rootseq, msg))
            self._watched[namespace.name] = namespace

    def forget(self, sender: str) -> None:
        """A client is gone: it waits for nothing."""
        for name, namespace in list(self._watched.items()):
            namespace.forget(sender)
            if not namespace.waiting:
                del self._watched[name]

    # -- ranks above 0

    def follow(self, name: str) -> None:
        """Keep up with a namespace from now on, starting from the root the parent knows."""
        self.namespaces.expect(name)
        self._handle.event_subscribe(self._events(name))
        topic = f"{self._handle.name}.getroot"
        self._handle.request(topic, {"namespace": name}, self._got_root, name, NODEID_UPSTREAM)

    def _events(self, name: str) -> str:
        return f"{self._handle.name}.namespace-{name}-"

    def _got_root(self, response: Message, name: str) -> None:
        if not self.namespaces.is_expected(name):
            return  # removed while the answer was on its way
        if response.errnum:
            self._handle.event_unsubscribe(self._events(name))
            self.namespaces.refuse(name, response.error())
            return
        root = response.unpack(Root)
        namespace = Namespace(
            name=name, owner=root.owner, flags=root.flags, rootref=root.rootref, rootseq=root.rootseq
        )
        foreseen = self.namespaces.foreseen(name)
        if foreseen:
            namespace.advance(foreseen.rootref, foreseen.rootseq)
        self.namespaces.add(namespace)

    def heed(self, event: Message) -> None:
        """News of a namespace. Raises RequestError(EPROTO) or TypeError if the event has no root in it."""
        root = event.unpack(Root)
        if event.topic.endswith("-removed"):
            self._handle.event_unsubscribe(self._events(root.namespace))
            self.namespaces.refuse(root.namespace, unknown_namespace(root.namespace))
            self.remove(root.namespace)
        elif not self.namespaces.foresee(root.namespace, root):
            known = self.namespaces.get(root.namespace)
            if known is not None and known.held is not None:
                known.held.append(root)
            else:
                self.move_to(root)

    # -- rank 0: the checkpoint

    async def restart(self, initial_rootref: str | None) -> None:
        """The primary namespace starts from its checkpoint, else where it is told to, else empty.

        Raises RequestError if the checkpoint is damaged.
        """
        root = await self._last_root()
        if root is None and initial_rootref is not None:
            root = Root(rootref=initial_rootref, rootseq=0)
        if root is None:
            root = Root(rootref=treeobj.EMPTY_DIR_REF, rootseq=0)
            await self._store_empty_directory()
        self._checkpointed = root.rootseq
        self.namespaces.add(
            Namespace(name=PRIMARY, owner=self.owner, flags=0, rootref=root.rootref, rootseq=root.rootseq)
        )

    async def _last_root(self) -> Root | None:
        try:
            answer = await self._handle.call("content.checkpoint-get", {})
        except RequestError as error:
            if error.errno in _NO_CHECKPOINT:
                return None
            raise
        kept = answer["value"]
        while True:
            try:
                return await self._root_of(kept)
            except (msgspec.ValidationError, AttributeError, ValueError, RequestError) as error:
                text = f"checkpoint of {self._handle.name}-{PRIMARY} is damaged: {error}"
                # One that leads nowhere must not be replaced by an empty store: better not to start.
                if not self._handle.attr_get("content.recover") or not kept[1:]:
                    raise RequestError(errnums.EIO, f"{text}; restore or change the statedir") from None
                self._handle.log(syslog.LOG_WARNING, f"recovering: {text}; going back to the one before")
                kept = kept[1:]

    async def _root_of(self, checkpoints: list[dict[str, Any]]) -> Root | None:
        """The newest checkpoint of ours, whose root is there. Raises what tells that it is not."""
        last = last_of(self._handle.name, checkpoints)
        if last is None:
            return None
        root = msgspec.convert({"rootseq": last.get("sequence"), **last}, Root)
        await self._handle.call("content.load", blobref.digest(root.rootref))
        return root

    async def _store_empty_directory(self) -> None:
        try:
            await self._handle.call("content.store", treeobj.encode(treeobj.directory()))
        except RequestError as error:
            self._handle.log(
                syslog.LOG_ERR, f"cannot store the empty root directory: {error}; is content-cache loaded?"
            )

    async def leave_checkpoint(self) -> None:
        """At the end: where the primary namespace is, so that the next start has its data."""
        primary = self.namespaces.get(PRIMARY)
        if primary is None:
            return
        await self._finish_commits(primary)
        if primary.rootseq == self._checkpointed:
            return
        value = checkpoint(self._handle.name, primary.rootref, primary.rootseq, self._handle.time())
        try:
            await self._handle.call("content.flush")
            await self._handle.call("content.checkpoint-put", {"value": value})
        except RequestError as error:
            if error.errno != errnums.ENOSYS:  # without a backing store nothing was to be kept
                self._handle.log(
                    3, f"no checkpoint of root {primary.rootseq}: {error}; its data is lost at exit"
                )

    async def _finish_commits(self, namespace: Namespace) -> None:
        """No new ones come any more, but those under way will be acknowledged, and so belong into the checkpoint."""
        for _ in range(_FINISH_LOOKS):
            if not (namespace.busy or namespace.queue):
                return
            await self._handle.sleep(_FINISH_LOOK)
        self._handle.log(syslog.LOG_ERR, "commits under way did not end, and are in no checkpoint")
