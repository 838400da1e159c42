"""Knows how a signed jobspec becomes a job; not what happens to jobs after that."""

from __future__ import annotations

from typing import Any, Final

import attrs
import msgspec

from brokersim.brokermod import (
    Handle,
    Message,
    RequestError,
    errnums,
    job_facts,
    job_states,
    jobid,
    policy,
    treeobj,
)

from .checks import Checks
from .fluid import FluidGenerator
from .hosts import lists_named, missing

ROLE_OWNER: Final = 1
#: Submit flag (RFC 16): the instance's own checks are left out.
FLAG_NOVALIDATE: Final = 8
#: Seconds for which submissions are gathered from the first on (flux-core's).
WINDOW: Final = 0.01


class Submission(msgspec.Struct, gc=False):
    """Payload of job-ingest.submit."""

    J: str
    urgency: int = job_states.URGENCY_DEFAULT
    flags: int = 0


class Refusals(msgspec.Struct, gc=False):
    """Answer of job-manager.submit: id and text of each job that is refused."""

    errors: list[tuple[int, str]] = []

    def to_dict(self) -> dict[int, str]:
        return dict(self.errors)


@attrs.frozen(kw_only=True)
class Candidate:
    """A job with its id that waits for its records to be in the KVS."""

    msg: Message
    id: int
    entry: dict[str, Any]


class Intake:
    """Checks jobspecs, makes ids, commits J and jobspec, then hands the jobs to job-manager.submit.

    Submissions within 10 ms share one commit and one job-manager.submit (flux-core's batch window).
    """

    __slots__ = (
        "_asking", "_candidates", "_clock_zero", "_handle", "_held", "_ids", "_is_open", "_timer", "accepted",
        "checks", "refused", "rules",
    )  # fmt: skip

    def __init__(self, handle: Handle, started: float, rules: policy.Rules, checks: Checks) -> None:
        self._handle = handle
        self._clock_zero = started
        self.rules = rules
        self.checks = checks
        self._ids = FluidGenerator(handle.rank)
        self._candidates: list[Candidate] = []
        self._timer: Any = None
        #: Ids must be larger than all there have been: what comes before that is known waits.
        self._is_open = False
        self._asking = False
        self._held: list[Message] = []
        self.accepted = 0
        self.refused = 0

    def open(self) -> None:
        """Ask the job manager for the largest id there has been; then take jobs."""
        if not self._asking:
            self._asking = True
            self._handle.request("job-manager.getinfo", None, self._told_largest)

    def _told_largest(self, response: Message, _arg: None) -> None:
        self._asking = False
        held, self._held = self._held, []
        if response.errnum:
            for msg in held:
                text = response.payload_str or errnums.strerror(response.errnum)
                self._handle.respond_error(msg, response.errnum, f"job-manager: {text}")
            return
        self._is_open = True
        if response.payload["max_jobid"]:
            self._ids.start_after(response.payload["max_jobid"])
        for msg in held:
            try:
                self.submit(msg)
            except RequestError as error:
                self._handle.respond_error(msg, error.errno or errnums.EINVAL, error.text)

    def submit(self, msg: Message) -> None:
        """Take one submission. Raises RequestError: EPERM for guests, EINVAL naming what is wrong."""
        _check_submitter(msg)
        if not self._is_open:
            self._held.append(msg)
            self.open()
            return
        wish = msg.unpack(Submission)
        try:
            entry = self._check(msg, wish)
        except ValueError as error:
            self.refused += 1
            raise RequestError(errnums.EINVAL, str(error)) from None
        candidate = Candidate(msg=msg, id=entry["id"], entry=entry)
        if wish.flags & FLAG_NOVALIDATE or not self.checks.is_enabled:
            self._take(candidate)
        elif lists := lists_named(entry["jobspec"]):
            self._handle.request("resource.get", None, self._hosts_told, (candidate, lists))
        else:
            self._ask_scheduler(candidate)

    def _hosts_told(self, response: Message, asked: tuple[Candidate, list[str]]) -> None:
        candidate, lists = asked
        lost = "" if response.errnum else missing(lists, response.payload)
        if lost:
            text = f"host constraint contains invalid hosts: host {lost!r} not found"
            self._refuse([candidate], errnums.EPERM, text)
        else:
            self._ask_scheduler(candidate)

    def _ask_scheduler(self, candidate: Candidate) -> None:
        if self.checks.asks_scheduler:
            entry = candidate.entry
            jobinfo = {name: entry[name] for name in ("jobspec", "userid", "urgency", "flags")}
            self._handle.request("feasibility.check", jobinfo, self._judged, candidate)
        else:
            self._take(candidate)

    def _judged(self, response: Message, candidate: Candidate) -> None:
        if (
            response.errnum and response.errnum != errnums.ENOSYS
        ):  # where there is no scheduler, nothing is said
            text = response.payload_str or errnums.strerror(response.errnum)
            self._refuse([candidate], errnums.EINVAL, text)
        else:
            self._take(candidate)

    def _take(self, candidate: Candidate) -> None:
        self._candidates.append(candidate)
        if len(self._candidates) == self.checks.batch_count:
            self.flush()
        elif self._timer is None:
            self._timer = self._handle.call_later(WINDOW, self.flush)

    def _check(self, msg: Message, wish: Submission) -> dict[str, Any]:
        if not 0 <= wish.urgency <= job_states.URGENCY_MAX:
            raise ValueError(
                f"urgency range is [0:{job_states.URGENCY_MAX}], 0 holds the job; not {wish.urgency}"
            )
        userid, payload = job_facts.unwrap(wish.J)
        if userid != msg.userid:
            raise ValueError(f"J was signed by user {userid} but sent by user {msg.userid}")
        jobspec = job_facts.decode_jobspec(payload)
        if jobspec.get("version") == 1 or not self.checks.any_version:
            facts = job_facts.check_jobspec(jobspec)
            refusal = "" if wish.flags & FLAG_NOVALIDATE else self.checks.refusal(jobspec, facts)
            if refusal:
                raise ValueError(refusal)
            if self.checks.completes:
                self.rules.complete(jobspec)
        _redact(jobspec)
        return {
            "id": self._ids.make(self._milliseconds()),
            "J": wish.J,
            "userid": userid,
            "urgency": wish.urgency,
            "flags": wish.flags,
            "t_submit": self._handle.time(),
            "jobspec": jobspec,
        }

    def _milliseconds(self) -> int:
        return max(1, int((self._handle.time() - self._clock_zero) * 1000))

    def timestamp(self) -> int:
        """What an id of this moment would begin with, in milliseconds."""
        return self._ids.timestamp(self._milliseconds())

    # -- records, then the job manager

    def flush(self) -> None:
        """Commit the records of all candidates in one transaction."""
        if self._timer is not None:
            self._timer.cancel()
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
        try:
            # Whoever is the job manager: it may have nothing to say.
            errors = {} if response.data is None else response.unpack(Refusals).to_dict()
        except RequestError as error:
            self._refuse(batch, errnums.EPROTO, f"the job manager's answer makes no sense: {error}")
            return
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
    attributes = jobspec.get("attributes")
    system = attributes.get("system") if isinstance(attributes, dict) else None
    if isinstance(system, dict):
        system.pop("environment", None)


def _records(entry: dict[str, Any]) -> tuple[dict[str, Any], dict[str, Any]]:
    path = jobid.job_kvspath(entry["id"])
    return (
        _put(f"{path}.J", entry["J"].encode()),
        _put(f"{path}.jobspec", msgspec.json.encode(entry["jobspec"])),
    )


def _put(key: str, value: bytes) -> dict[str, Any]:
    return {"key": key, "flags": 0, "dirent": treeobj.val(value)}


def _check_submitter(msg: Message) -> None:
    """Raises RequestError(EPERM): jobspecs are signed by mechanism none here, which only the owner may use."""
    if not msg.rolemask & ROLE_OWNER:
        raise RequestError(errnums.EPERM, "only instance owner can use sign-type=none")


def _ignore(_response: Message, _arg: None) -> None:
    """The records of a refused job: if they stay, nobody will look for them."""
