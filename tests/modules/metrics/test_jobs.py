"""The stream job.state where no job manager observes it: made of a journal, it is what our job manager observes."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest

from modules.metrics.jobs import JobStates
from tests.modules.job_harness import JOB_MODULES, jobspec, submit
from tests.modules.metrics.live import Cluster, by_key, cluster

COPY = "copy.state"


class Told:
    """An answer as a module gets it."""

    def __init__(self, payload: Any = None, errnum: int = 0) -> None:
        self.payload = payload
        self.errnum = errnum


class Request:
    matchtag = 7


class Fake:
    """A handle that notes what it is asked for."""

    rank = 0

    def __init__(self, *mods: dict[str, Any]) -> None:
        self.mods = list(mods)
        self.sent: list[tuple[str, Any]] = []
        self.observed: list[tuple[str, float]] = []
        self.forgotten: list[Any] = []

    def request(self, topic: str, payload: Any, then: Any = None, arg: Any = None, nodeid: int = 0) -> Any:
        self.sent.append((topic, payload))
        if topic == "module.list":
            then(Told({"mods": self.mods}), arg)

    def stream(self, topic: str, payload: Any, then: Any) -> Request:
        self.sent.append((topic, payload))
        self.told = lambda told: then(told, None)
        return Request()

    def forget(self, request: Any) -> None:
        self.forgotten.append(request)

    def observe(self, stream: str, key: Any, value: float) -> None:
        assert stream == "job.state"
        self.observed.append((key["state"], value))


OURS = {"name": "job-manager", "tx": {"request": 1}, "rx": {"request": 1}}
FLUX = {"name": "job-manager"}
JOURNAL = ("job-manager.events-journal", {"full": False})


def events(*told: tuple[float, str], **context: Any) -> list[dict[str, Any]]:
    return [{"timestamp": at, "name": name, "context": context} for at, name in told]


@pytest.mark.parametrize(
    ("mods", "asks"), [((FLUX,), True), ((OURS,), False), (({"name": "kvs"},), False), ((), False)]
)
def test_a_journal_is_followed_once_and_only_where_nobody_observes(mods: tuple[Any, ...], asks: bool) -> None:
    handle = Fake(*mods)
    jobs = JobStates(handle, lambda: True)
    jobs.look()
    jobs.look()
    assert handle.sent.count(JOURNAL) == asks


def test_the_past_says_where_a_job_is_and_is_not_counted() -> None:
    handle = Fake(FLUX)
    JobStates(handle, lambda: True).follow()
    past = events((1.0, "submit"), (1.5, "validate"), (2.0, "depend"), (2.0, "priority"))
    handle.told(Told({"id": 5, "events": past}))
    handle.told(Told({"id": -1, "events": []}))
    assert handle.observed == []
    for at, name in ((4.0, "alloc"), (4.1, "start"), (9.0, "finish"), (9.0, "release"), (9.5, "clean")):
        handle.told(Told({"id": 5, "events": events((at, name))}))
    assert handle.observed == [("SCHED", 2.0), ("RUN", 5.0), ("CLEANUP", 0.5)]


def test_what_no_state_knows_moves_no_job_and_a_fatal_exception_ends_it() -> None:
    handle = Fake(FLUX)
    JobStates(handle, lambda: True).follow()
    handle.told(Told({"id": -1, "events": []}))
    for at, name, context in (
        (1.0, "submit", {}), (2.0, "validate", {}), (3.0, "never-heard-of", {}), (3.0, "alloc", {}),
        (4.0, "exception", {"severity": 1}), (5.0, "exception", {"severity": 0}), (6.0, "clean", {}),
    ):  # fmt: skip
        handle.told(Told({"id": 5, "events": events((at, name), **context)}))
    assert handle.observed == [("NEW", 1.0), ("DEPEND", 3.0), ("CLEANUP", 1.0)]


def test_a_journal_that_ends_is_looked_for_again_and_begins_anew() -> None:
    handle = Fake(FLUX)
    jobs = JobStates(handle, lambda: True)
    jobs.look()
    handle.told(Told({"id": -1, "events": []}))
    handle.told(Told({"id": 5, "events": events((1.0, "submit"))}))
    handle.told(Told(errnum=61))
    jobs.look()
    assert handle.sent.count(JOURNAL) == 2
    handle.told(Told({"id": 5, "events": events((1.0, "submit"), (2.0, "validate"))}))
    assert handle.observed == []


def test_what_no_stat_wants_any_more_is_given_up_at_the_next_event() -> None:
    handle = Fake(FLUX)
    wanted = [True]
    JobStates(handle, lambda: wanted[0]).follow()
    handle.told(Told({"id": -1, "events": []}))
    wanted.clear()
    wanted.append(False)
    handle.told(Told({"id": 5, "events": events((1.0, "submit"))}))
    assert handle.sent[-1] == ("job-manager.events-journal-cancel", {"matchtag": 7})
    assert [one.matchtag for one in handle.forgotten] == [7]


def test_the_journal_of_our_job_manager_gives_what_it_observes() -> None:
    async def body(one: Cluster) -> None:
        for stream in ("job.state", COPY):
            await one.create(name=stream, reducers=[{"stream": stream, "apply": ["sum", "min", "max"]}])
        JobStates(one.instance.module(0, "metrics").handle, lambda: True, COPY).follow()
        for at in range(5):
            await submit(one.client, jobspec(duration=1.0 + at))
            await one.instance.sleep(0.5)
        await one.instance.sleep(60.0)
        observed, copied = [by_key((await one.gather(name))[0]) for name in ("job.state", COPY)]
        assert {"NEW", "SCHED", "RUN", "CLEANUP"} <= observed.keys() == copied.keys()
        for state, row in observed.items():
            for name in ("n", "sum", "min", "max"):
                assert copied[state][name] == pytest.approx(row[name], abs=1e-6), (state, name)

    cluster(body, size=2, modules=(*JOB_MODULES, "metrics"), jobs="simulated")


def test_a_stat_on_rank_0_makes_no_message_of_jobs_where_the_job_manager_observes() -> None:
    async def body(one: Cluster) -> None:
        await one.create(name="job.state", reducers=[{"stream": "job.state", "apply": ["max"]}])
        stats = await one.client.call("job-manager.stats-get", {})
        assert msgspec.to_builtins(stats)["journal"]["listeners"] == 1  # job-list

    cluster(body, size=1, modules=(*JOB_MODULES, "metrics"), jobs="simulated")
