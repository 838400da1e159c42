"""Knows how rank 0 carries out commits: apply, store, move the root, tell everybody; one at a time a namespace.

Knows nothing of lookups, nor of how commit requests come in.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

from brokersim.brokermod import Handle, Message, RequestError, blobref, errnums

from . import transaction
from .messages import PRIMARY, USUAL_NAME, checkpoint
from .namespaces import SYNC, Namespace, Transaction, next_batch, unknown_namespace
from .objects import ObjectCache, StoredObject
from .roots import Roots
from .runner import Runner


class Commit:
    """One commit on its way: the transactions merged in it and what is still to be stored."""

    __slots__ = ("error", "namespace", "objects", "rootref", "transactions", "unanswered")

    def __init__(self, namespace: Namespace, transactions: list[Transaction]) -> None:
        self.namespace = namespace
        self.transactions = transactions
        self.rootref = ""
        self.objects: dict[str, StoredObject] = {}
        self.unanswered = 0
        self.error: RequestError | None = None


class Committer:
    """Takes commits from the namespaces' queues to their answers."""

    __slots__ = ("_cache", "_free", "_handle", "_is_usual", "_roots", "_runner")

    def __init__(
        self,
        handle: Handle,
        cache: ObjectCache,
        runner: Runner,
        roots: Roots,
        free: Callable[[Namespace], None],
    ) -> None:
        self._handle = handle
        self._is_usual = handle.name == USUAL_NAME
        self._cache = cache
        self._runner = runner
        self._roots = roots
        #: Called when the next commit of a namespace may start.
        self._free = free

    def start(self, namespace: Namespace) -> None:
        """Begin the next commit of a namespace that is ready."""
        assert namespace.queue
        namespace.busy = True
        self._apply(Commit(namespace, next_batch(namespace.queue)))

    def _apply(self, commit: Commit) -> None:
        namespace = commit.namespace
        parts = commit.transactions
        ops: Sequence[transaction.Op] = (
            parts[0].ops if len(parts) == 1 else [op for part in parts for op in part.ops]
        )
        steps = transaction.apply(self._runner, namespace.name, namespace.rootref, ops)
        self._runner.run(steps, self._applied, self._failed, commit)

    def _applied(self, outcome: transaction.Outcome, commit: Commit) -> None:
        commit.rootref = outcome.rootref
        commit.objects = outcome.objects
        commit.unanswered = len(outcome.objects)
        if not outcome.objects:
            commit.namespace.noop_stores += 1
            self._stored_all(commit)
            return
        request = self._handle.request
        stored = self._stored
        for found in outcome.objects.values():
            blob = found.stored_form
            if blob is None:
                blob = found.blob
            # The store asks the kvs of the usual name for its roots, no other: what that is not in must stay by itself.
            request("content.store", blob if self._is_usual else blobref.alone(blob), stored, commit)

    def _stored(self, response: Message, commit: Commit) -> None:
        if response.errnum and commit.error is None:
            commit.error = response.error()
        commit.unanswered -= 1
        if commit.unanswered:
            return
        if commit.error is None:
            self._stored_all(commit)
        else:
            self._failed(commit.error, commit)

    def _stored_all(self, commit: Commit) -> None:
        if commit.transactions[0].flags & SYNC:
            self._handle.request("content.flush", None, self._flushed, commit)
        else:
            self._finish(commit)

    def _flushed(self, response: Message, commit: Commit) -> None:
        namespace = commit.namespace
        if response.errnum:
            self._failed(response.error(), commit)
        elif namespace.name == PRIMARY:
            value = checkpoint(self._handle.name, commit.rootref, namespace.rootseq + 1, self._handle.time())
            request = {"value": value}
            self._handle.request("content.checkpoint-put", request, self._checkpointed, commit)
        else:
            self._finish(commit)

    def _checkpointed(self, response: Message, commit: Commit) -> None:
        if response.errnum:
            self._failed(response.error(), commit)
        else:
            self._finish(commit)

    def _finish(self, commit: Commit) -> None:
        self._cache.put_stored(commit.objects)
        namespace = commit.namespace
        if namespace.is_removed:
            self._failed(unknown_namespace(namespace.name), commit)
            return
        namespace.busy = False
        rootseq = namespace.rootseq + 1
        self._announce(commit, rootseq)
        self._roots.move(namespace, commit.rootref, rootseq)
        answer = {"rootref": commit.rootref, "rootseq": rootseq}
        for part in commit.transactions:
            self._handle.respond(part.request, answer)
        self._free(namespace)

    def _announce(self, commit: Commit, rootseq: int) -> None:
        namespace = commit.namespace
        self._handle.publish(
            f"{self._handle.name}.namespace-{namespace.name}-setroot",
            {
                "namespace": namespace.name,
                "rootseq": rootseq,
                "rootref": commit.rootref,
                "names": [part.name for part in commit.transactions],
                "keys": {op.key: None for part in commit.transactions for op in part.ops},
                "owner": namespace.owner,
            },
            private=True,  # its keys are nobody's business but the owner's
        )

    def _failed(self, error: RequestError, commit: Commit) -> None:
        """One that fails alone is answered; a merged commit is tried again one by one, to spare the innocent."""
        namespace = commit.namespace
        namespace.busy = False
        if len(commit.transactions) == 1 or namespace.is_removed:
            for part in commit.transactions:
                self._handle.respond_error(part.request, error.errno or errnums.EIO, error.text)
        else:
            namespace.put_back(commit.transactions)
        self._free(namespace)
