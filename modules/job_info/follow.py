"""Knows how one eventlog is followed through kvs-watch: whole lines, the end; not who asked for it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Final, TypeAlias

from brokersim.brokermod import Handle, Message, errnums, treeobj

#: Called with each whole line, newline included.
OnLine: TypeAlias = Callable[[str], object]
#: Called once at the end, with what ended it: errnum 95 when the namespace went.
OnEnd: TypeAlias = Callable[[int], object]

#: Watch flag of job-info: a log that is not there yet is awaited.
FLAG_WAITCREATE: Final = 1
#: An empty response tells that all there was at the start has been sent.
FLAG_SENTINEL: Final = 2
#: Flags of kvs-watch.lookup: what is appended, as it is; a log that is not there yet is awaited.
_WATCH_APPEND: Final = 4 | 256
_WAITCREATE: Final = 8
#: An empty response comes behind what there was at the start.
_SENTINEL: Final = 1024


class _Follower:
    """One stream of answers: what came with each, the end of what there was at the start, the end of all."""

    __slots__ = ("_handle", "_on_end", "_on_line", "_on_past", "_request", "is_done")

    #: Asks and cancels.
    topic: str
    cancel: str

    def __init__(
        self,
        handle: Handle,
        wish: dict[str, object],
        on_line: OnLine,
        on_end: OnEnd,
        on_past: Callable[[], object] | None,
    ) -> None:
        self._handle = handle
        self._on_line = on_line
        self._on_end = on_end
        self._on_past = on_past
        self.is_done = False
        self._request = handle.stream(self.topic, wish, self._answered)

    def drop(self) -> None:
        """Stop without a word: nobody listens any more."""
        if not self.is_done:
            self.is_done = True
            self._handle.request(self.cancel, {"matchtag": self._request.matchtag})

    def _answered(self, response: Message, _arg: None = None) -> None:
        if self.is_done:
            return
        if response.errnum:
            self.is_done = True
            self._on_end(response.errnum)
        elif response.data is not None:
            self._take(response)
        elif self._on_past is not None:
            self._on_past()

    def _take(self, response: Message) -> None:
        """Something came."""
        raise NotImplementedError


class Follower(_Follower):
    """One key of one namespace. Lines go out once each, in order.

    A log that is not there (and needn't be: ``must_exist`` false) is awaited; else that is the end, errnum 2.
    """

    __slots__ = ("_part",)

    topic, cancel = "kvs-watch.lookup", "kvs-watch.cancel"

    def __init__(
        self,
        handle: Handle,
        namespace: str,
        key: str,
        on_line: OnLine,
        on_end: OnEnd,
        *,
        must_exist: bool,
        on_past: Callable[[], object] | None = None,
    ) -> None:
        self._part = b""
        flags = _WATCH_APPEND | (0 if must_exist else _WAITCREATE) | (_SENTINEL if on_past else 0)
        wish: dict[str, object] = {"key": key, "namespace": namespace, "flags": flags}
        super().__init__(handle, wish, on_line, on_end, on_past)

    def _take(self, response: Message) -> None:
        value = treeobj.val_bytes(response.payload["val"])
        if not value and self._on_past is None:
            # Nothing is never appended: somebody put an empty log in the place of one, and no line may ever come.
            self.drop()
            self._on_end(errnums.EINVAL)
            return
        *lines, self._part = (self._part + value).split(b"\n")
        for line in lines:
            self._on_line(f"{line.decode(errors='replace')}\n")
            if self.is_done:
                return


class OwnFollower(_Follower):
    """One log of one job, by a request of this module to itself: how flux-core finds its way to a guest log.

    ``is_guest``: the log is in the job's own namespace, where it must exist unless ``waits``.
    """

    __slots__ = ("cancel", "topic")

    def __init__(
        self,
        handle: Handle,
        job: int,
        path: str,
        on_line: OnLine,
        on_end: OnEnd,
        *,
        is_guest: bool = False,
        waits: bool = False,
        on_past: Callable[[], object] | None = None,
    ) -> None:
        self.topic = f"{handle.name}.eventlog-watch"
        self.cancel = f"{self.topic}-cancel"
        flags = (FLAG_WAITCREATE if waits else 0) | (FLAG_SENTINEL if on_past else 0)
        wish: dict[str, object] = {"id": job, "path": path, "flags": flags}
        if is_guest:
            wish["guest"] = True
        super().__init__(handle, wish, on_line, on_end, on_past)

    def _take(self, response: Message) -> None:
        self._on_line(response.payload["event"])
