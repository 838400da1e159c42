"""Knows how to fetch what lookups and commits need, each object once; not what they do with it."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import msgspec

from brokersim.brokermod import Handle, Message, RequestError, blobref

from .namespaces import Namespaces, unknown_namespace
from .objects import ObjectCache, StoredObject
from .steps import OBJECTS, Need, Steps

Then = Callable[[Any, Any], None]
Failed = Callable[[RequestError, Any], None]


class _Run(msgspec.Struct, eq=False):
    """One step function on its way, with whom to tell, and what it has of what it needs."""

    steps: Steps[Any]
    then: Then
    failed: Failed
    arg: Any
    found: dict[str, Any] = {}
    missing: int = 0


class Runner:
    """Runs step functions; their View of what is at hand, too."""

    __slots__ = (
        "_ask_namespace", "_cache", "_handle", "_loading", "_namespaces", "faults", "get", "holds", "running",
    )  # fmt: skip

    def __init__(
        self,
        handle: Handle,
        cache: ObjectCache,
        namespaces: Namespaces,
        ask_namespace: Callable[[str], None],
    ) -> None:
        self._handle = handle
        self._cache = cache
        #: View: an object kept here; that it was stored from here of late, so the content store has it.
        self.get = cache.get
        self.holds = cache.was_stored
        self._namespaces = namespaces
        self._ask_namespace = ask_namespace
        #: By blobref, the runs that wait for that object.
        self._loading: dict[str, list[_Run]] = {}
        self.faults = 0
        self.running = 0

    def root(self, namespace: str) -> str | None:
        """View: the root of a namespace known here."""
        known = self._namespaces.get(namespace)
        return known.rootref if known else None

    def run(self, steps: Steps[Any], then: Then, failed: Failed, arg: Any) -> None:
        """Have ``then(result, arg)`` or ``failed(error, arg)`` called when the steps end, at once if they can."""
        self.running += 1
        self._advance(_Run(steps, then, failed, arg), steps.__next__)

    def _advance(self, run: _Run, step: Callable[[], Need]) -> None:
        try:
            need, names = step()
        except StopIteration as stop:
            self.running -= 1
            run.then(stop.value, run.arg)
        except RequestError as failure:
            self.running -= 1
            run.failed(failure, run.arg)
        else:
            run.found = {}
            run.missing = len(names)
            fetch = self._load if need == OBJECTS else self._find_root
            for name in names:
                fetch(name, run)

    def _load(self, ref: str, run: _Run) -> None:
        waiting = self._loading.get(ref)
        if waiting is not None:
            waiting.append(run)
            return
        self._loading[ref] = [run]
        self.faults += 1
        self._handle.request("content.load", blobref.digest(ref), self._loaded, ref)

    def _loaded(self, response: Message, ref: str) -> None:
        waiting = self._loading.pop(ref)
        if response.errnum:
            text = response.payload_str or RequestError(response.errnum)
            failure = RequestError(response.errnum, f"object {ref} cannot be loaded: {text}")
            self._fail(waiting, failure)
            return
        found = StoredObject(blobref.as_blob(response.raw))
        self._cache.put(ref, found)
        for run in waiting:
            self._found(run, ref, found)

    def _find_root(self, name: str, run: _Run) -> None:
        known = self._namespaces.get(name)
        if known is not None:
            self._found(run, name, known.rootref)
            return
        if not self._namespaces.is_expected(name):
            if self._handle.rank == 0:
                self._fail([run], unknown_namespace(name))
                return
            self._ask_namespace(name)
        self._namespaces.wait(
            name,
            lambda namespace: self._found(run, name, namespace.rootref),
            lambda error: self._fail([run], error),
        )

    def _found(self, run: _Run, name: str, value: Any) -> None:
        run.found[name] = value
        run.missing -= 1
        if not run.missing:
            self._advance(run, partial(run.steps.send, run.found))

    def _fail(self, runs: list[_Run], error: RequestError) -> None:
        for run in runs:
            if run.missing > 0:
                run.missing = -1  # the first failure ends it; what else was under way for it comes to nothing
                self._advance(run, partial(run.steps.throw, error))
