"""Knows how a lookup is answered: whose root it reads, whether what it wants is at hand, what a guest may see."""

from __future__ import annotations

from brokersim.brokermod import Handle, Message, treeobj

from .access import ROLE_OWNER, GuestView, guarded, permit
from .lookup import at_hand, look_up
from .messages import LookupRequest
from .namespaces import Namespace
from .objects import ObjectCache
from .roots import Roots
from .runner import Runner
from .steps import Steps, View


class Reading:
    """The lookups of one rank, through its cache."""

    __slots__ = ("_cache", "_handle", "_roots", "_runner")

    def __init__(self, handle: Handle, cache: ObjectCache, roots: Roots, runner: Runner) -> None:
        self._handle = handle
        self._cache = cache
        self._roots = roots
        self._runner = runner

    def look(self, msg: Message, request: LookupRequest) -> None:
        """Answered with ``val``, now or when what is missing has come."""
        rootref = request.root_given()
        if not msg.rolemask & ROLE_OWNER:
            if rootref is not None:
                self._walk_as_guest(rootref, msg, request)  # who has it was given it
            else:
                self._roots.within(request.namespace, msg, self._look_as_guest, request)
        elif rootref is None:
            self._roots.within(request.namespace, msg, self._look_in, request)
        else:
            self._look_up(rootref, msg, request)

    def _look_in(self, namespace: Namespace, msg: Message, request: LookupRequest) -> None:
        self._look_up(namespace.rootref, msg, request)

    def _look_as_guest(self, namespace: Namespace, msg: Message, request: LookupRequest) -> None:
        permit(namespace, msg)
        self._walk_as_guest(namespace.rootref, msg, request)

    def _walk_as_guest(self, rootref: str, msg: Message, request: LookupRequest) -> None:
        steps = self._steps(GuestView(self._runner), rootref, request)
        self._runner.run(guarded(steps, self._roots.namespaces, msg), self._found, self._roots.refuse, msg)

    def _look_up(self, rootref: str, msg: Message, request: LookupRequest) -> None:
        found = at_hand(self._cache.get, rootref, request.key, request.flags, request.value_max)
        if found is not None:
            self._handle.respond(msg, {"val": found})
            return
        steps = self._steps(self._runner, rootref, request)
        self._runner.run(steps, self._found, self._roots.refuse, msg)

    @staticmethod
    def _steps(view: View, rootref: str, request: LookupRequest) -> Steps[treeobj.TreeObj]:
        return look_up(view, request.namespace, rootref, request.key, request.flags, request.value_max)

    def _found(self, value: treeobj.TreeObj, msg: Message) -> None:
        self._handle.respond(msg, {"val": value})
