"""Knows how a signed jobspec becomes a job (service job-ingest); not what happens to jobs after that."""

from __future__ import annotations

from typing import Any

import attrs
import msgspec

from brokersim.brokermod import Handle, Message, RequestError, errnums, jobid

from .batch import WINDOW, put_op
from .fluid import FluidGenerator
from .jobspec import check_jobspec, decode_jobspec, unwrap
from .roles import check_submitter
from .states import URGENCY_DEFAULT, URGENCY_MAX


class Submission(msgspec.Struct, gc=False):
    """Payload of job-ingest.submit."""

    J: str
    urgency: int = URGENCY_DEFAULT
    flags: int = 0


@attrs.frozen(kw_only=True)
class Candidate:
    """A job with its id that waits for its records to be in the KVS."""

    msg: Message
    id: int
    entry: dict[str, Any]


class Ingest:
    """Checks jobspecs, makes ids, commits J and jobspec, then hands the jobs to job-manager.submit.

    Submissions within 10 ms share one commit and one job-manager.submit (flux-core's batch window).
    """

    __slots__ = ("_candidates", "_clock_zero", "_handle", "_held", "_ids", "_timer", "accepted", "refused")

    def __init__(self, handle: Handle, started: float) -> None:
        self._handle = handle
        self._clock_zero = started
        self._ids = FluidGenerator()
        self._candidates: list[Candidate] = []
        self._timer: Any = None
        self._held: list[Message] | None = []
        self.accepted = 0
        self.refused = 0

    def open(self, largest: int) -> None:
        """Begin to take jobs, with ids above ``largest``; what came before waits until now."""
        if largest >= 0:
            self._ids.start_after(largest)
        held, self._held = self._held or [], None
        for msg in held:
            try:
                self.submit(msg)
            except RequestError as error:
                self._handle.respond_error(msg, error.errno or errnums.EINVAL, error.text)

    def submit(self, msg: Message) -> None:
        """Take one submission. Raises RequestError: EPERM for guests, EINVAL naming what is wrong."""
        check_submitter(msg)
        if self._held is not None:
            self._held.append(msg)
            return
        wish = msg.unpack(Submission)
        try:
            entry = self._check(msg, wish)
        except ValueError as error:
            self.refused += 1
            raise RequestError(errnums.EINVAL, str(error)) from None
        self._candidates.append(Candidate(msg=msg, id=entry["id"], entry=entry))
        if self._timer is None:
            self._timer = self._handle.call_later(WINDOW, self.flush)

    def _check(self, msg: Message, wish: Submission) -> dict[str, Any]:
        if not 0 <= wish.urgency <= URGENCY_MAX:
            raise ValueError(f"urgency must be 0 (held) to {URGENCY_MAX}, not {wish.urgency}")
        userid, payload = unwrap(wish.J)
        if userid != msg.userid:
            raise ValueError(f"J was signed by user {userid} but sent by user {msg.userid}")
        jobspec = decode_jobspec(payload)
        check_jobspec(jobspec)
        _redact(jobspec)
        milliseconds = int((self._handle.time() - self._clock_zero) * 1000)
        return {
            "id": self._ids.make(max(1, milliseconds)),
            "J": wish.J,
            "userid": userid,
            "urgency": wish.urgency,
            "flags": wish.flags,
            "t_submit": self._handle.time(),
            "jobspec": jobspec,
        }

    # -- records, then the job manager

    def flush(self) -> None:
        """Commit the records of all candidates in one transaction."""
        self._timer = None
        batch, self._candidates = self._candidates, []
        if not batch:
            return
        operations = [operation for candidate in batch for operation in _records(candidate.entry)]
        payload = {"namespace": "primary", "flags": 0, "ops": operations}
        self._handle.request("kvs.commit", payload, self._committed, batch)

    def _committed(self, response: Message, batch: list[Candidate]) -> None:
        if response.errnum:
            text = f"job records not committed: {response.payload_str or errnums.strerror(response.errnum)}"
            self._refuse(batch, response.errnum, text)
            return
        jobs = [candidate.entry for candidate in batch]
        self._handle.request("job-manager.submit", {"jobs": jobs}, self._submitted, batch)

    def _submitted(self, response: Message, batch: list[Candidate]) -> None:
        if response.errnum:
            self._refuse(batch, response.errnum, response.payload_str or "")
            return
        errors = dict(response.payload["errors"])
        for candidate in batch:
            text = errors.get(candidate.id)
            if text is None:
                self.accepted += 1
                self._handle.respond(candidate.msg, {"id": candidate.id})
            else:
                self._refuse([candidate], errnums.EINVAL, text)
                self._forget(candidate.id)

    def _refuse(self, batch: list[Candidate], errnum: int, text: str) -> None:
        for candidate in batch:
            self.refused += 1
            self._handle.respond_error(candidate.msg, errnum, text)

    def _forget(self, job: int) -> None:
        unlink = {"key": jobid.job_kvspath(job), "flags": 0, "dirent": None}
        self._handle.request("kvs.commit", {"namespace": "primary", "flags": 0, "ops": [unlink]}, _ignore)


def _redact(jobspec: dict[str, Any]) -> None:
    """The environment can be large and hold secrets: as in flux-core it stays in J, where the shell finds it."""
    system = (jobspec.get("attributes") or {}).get("system")
    if system:
        system.pop("environment", None)


def _records(entry: dict[str, Any]) -> tuple[dict[str, Any], dict[str, Any]]:
    path = jobid.job_kvspath(entry["id"])
    return (
        put_op(f"{path}.J", entry["J"].encode()),
        put_op(f"{path}.jobspec", msgspec.json.encode(entry["jobspec"])),
    )


def _ignore(_response: Message, _arg: None) -> None:
    """The records of a refused job: if they stay, nobody will look for them."""
