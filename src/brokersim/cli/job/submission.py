"""Knows how many jobs are submitted on one connection and waited for; not where they come from."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from typing import Final

from brokersim.cli.job.progress import Progress
from brokersim.cli.session import Session
from brokersim.protocol import jobid
from brokersim.protocol.decoded import JsonObject, JsonView
from brokersim.protocol.errnums import RequestError

#: Submissions sent before the first answer is awaited: enough to fill a batch window of 10 ms.
WINDOW: Final = 1000
Refused = Callable[[RequestError], None]


class Submission:
    """Submissions in order, up to WINDOW unanswered; with ``wait`` a wait request per job, in ``outcomes``.

    ``refused`` is told of each job that is not taken; what it raises ends the submission.
    """

    def __init__(self, session: Session, wait: bool, bar: Progress, refused: Refused) -> None:
        self._session = session
        self._wait = wait
        self._bar = bar
        self._refused = refused
        self._waiting: deque[int] = deque()
        self._awaited: deque[int] = deque()
        self.ids: list[int] = []
        self.outcomes: list[JsonObject] = []

    def send(self, payload: JsonView) -> None:
        """One more job-ingest.submit payload."""
        self._session.trace("job-ingest.submit", payload)
        self._waiting.append(self._session.client.send_request("job-ingest.submit", payload))
        if len(self._waiting) >= WINDOW:
            self._accept()

    def finish(self) -> None:
        """Returns when all are answered, and done if so wished. Raises CommandError."""
        while self._waiting:
            self._accept()
        while self._awaited:
            self._collect()

    @property
    def jobs(self) -> list[JsonObject]:
        """What ``--json`` tells of each: how it ended, or its id."""
        return self.outcomes if self._wait else [{"id": one} for one in self.ids]

    def _accept(self) -> None:
        response = self._session.client.recv_response(self._waiting.popleft())
        if response.errnum:
            self._refused(response.error())
            self._bar.submitted()
            self._bar.done()
            return
        self._bar.submitted()
        job_id = response.payload["id"]
        self.ids.append(job_id)
        if not self._session.json:
            self._session.out(jobid.encode(job_id))
        if self._wait:
            self._awaited.append(
                self._session.client.send_request("job-manager.wait", {"id": job_id, "claim": False})
            )

    def _collect(self) -> None:
        response = self._session.client.recv_response(self._awaited.popleft())
        if response.errnum:
            error = response.error()
            raise self._session.told(error, "job-manager.wait")
        self.outcomes.append(response.payload)
        self._bar.done()
