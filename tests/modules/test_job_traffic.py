"""What one job costs the KVS: the counts of flux-core 0.88, as a consequence of what is committed and looked up."""

from __future__ import annotations

import re

import pytest

from tests.modules.job_harness import envelope, in_instance, jobspec, real

TYPES = ("request_tx", "request_rx", "response_tx", "response_rx", "event_tx", "event_rx")
#: flux-core 0.88, jobs started one after the other by a client of their own, per job (journal 2.3).
SERIAL = {
    "event_tx": 20,
    "event_rx": 20,
    "request_rx": 49,
    "request_tx": 87,
    "response_rx": 87,
    "response_tx": 48,
}


def follow(client, job, path, on_line):
    """Stream a log to ``on_line``, None at its end."""

    def answered(response, _arg):
        on_line(None if response.errnum else response.payload["event"])

    client.stream("job-info.eventlog-watch", {"id": job, "path": path, "flags": 0}, answered)


def until_gone(client, job, done):
    """What flux-core's run command watches: the eventlog, from start the exec log, from shell.init the output."""
    left = [0]
    chain = {
        "eventlog": ('"start"', "guest.exec.eventlog"),
        "guest.exec.eventlog": ('"shell.init"', "guest.output"),
    }

    def open_log(path):
        left[0] += 1
        mark, following = chain.get(path, ("\0", ""))

        def line(text):
            if text is None:
                left[0] -= 1
                if not left[0]:
                    done(None)
            elif mark in text:
                open_log(following)

        follow(client, job, path, line)

    open_log("eventlog")


async def run_one(instance, spec):
    """One job as its own client runs it: submit, follow to the end, disconnect."""
    client = instance.client(name="run")
    answer = await client.call("job-ingest.submit", {"J": envelope(spec)})
    await client.occurrence(lambda done: until_gone(client, answer["id"], done))
    client.close()
    await instance.sleep(0.02)


def per_job(jobs, spec, **settings):
    async def test(instance, _client):
        await run_one(instance, spec)
        counts = instance.module(0, "kvs").handle.counts
        before = list(counts)
        for _ in range(jobs):
            await run_one(instance, spec)
        moved = [(after - start) / jobs for after, start in zip(counts, before, strict=True)]
        return dict(zip(TYPES, moved, strict=False))

    return in_instance(test, **settings)


@pytest.mark.parametrize(
    ("spec", "clock"),
    [
        (jobspec("hostname"), "virtual"),
        (jobspec("hostname", duration=0.5), "virtual"),
        (real("hostname"), "real"),
    ],
    ids=["short", "long", "real"],
)
def test_a_job_costs_the_kvs_what_it_costs_in_flux_within_15_percent(spec, clock):
    counts = per_job(5, spec, clock=clock)
    for kind, expected in SERIAL.items():
        assert counts[kind] == pytest.approx(expected, rel=0.15), f"{kind}: {counts}"


def test_every_request_is_answered_and_every_setroot_heard_by_the_kvs_itself():
    counts = per_job(5, jobspec())
    assert counts["response_tx"] == counts["request_rx"] - 1, "the shell goes, and says so"
    assert counts["response_rx"] == counts["request_tx"]
    assert counts["event_rx"] == counts["event_tx"]


def test_jobs_that_end_together_are_kept_together_and_the_next_begin_so():
    """Their shells are processes side by side: no end is carried through before the next one is seen."""

    async def test(instance, client):
        for _ in range(32):
            client.request("job-ingest.submit", {"J": envelope(jobspec())}, lambda *_: None)
        await instance.sleep(0.015)
        before = await client.call("kvs.getroot", {"namespace": "primary"})
        await client.call("job-manager.drain")
        after = await client.call("kvs.getroot", {"namespace": "primary"})
        return after["rootseq"] - before["rootseq"]

    # Four waves of eight. Of R, of the link to the guest's records and of what is kept of them the first commit has one
    # job and the second all others of a wave; the rest are the job manager's batches. They would be 89, one by one.
    assert in_instance(test, resources="1x8") <= 32


def test_the_commits_of_a_job_are_those_of_the_table():
    """The table of modules/job_manager/README.md: namespace and keys of each commit, in order."""

    async def test(instance, client):
        commits = []
        client.stream(
            "module.trace", {"names": ["kvs"], "typemask": 1, "topic_glob": "kvs.commit", "full": True},
            lambda response, _: commits.append(response.payload["payload"]),
        )  # fmt: skip
        await run_one(instance, jobspec(duration=0, exec={"test": {"run_duration": "0.5s"}}))
        return [
            (
                commit["namespace"].split("-")[0],
                [re.sub(r"^job(\.\w{4}){4}\.", "", op["key"]) for op in commit["ops"]],
            )
            for commit in commits
        ]

    assert in_instance(test) == [
        ("primary", ["J", "jobspec"]),
        ("primary", ["eventlog"]),
        ("primary", ["R"]),
        ("job", ["exec.eventlog"]),
        ("primary", ["guest"]),
        ("job", ["exec.eventlog"]),
        ("primary", ["eventlog"] * 5),
        ("job", ["input"]),
        ("job", ["output"]),
        ("job", ["exec.eventlog"]),
        ("job", ["exec.eventlog"]),
        ("job", ["output"]),
        ("job", ["exec.eventlog"]),
        ("job", ["exec.eventlog"]),
        ("primary", ["guest"]),
        ("primary", ["eventlog"] * 4),
    ]


def test_an_instance_without_jobs_commits_nothing():
    async def test(instance, _client):
        await instance.sleep(5)
        counts = instance.module(0, "kvs").handle.counts
        before = list(counts)
        await instance.sleep(600)
        return [after - start for after, start in zip(counts, before, strict=True)]

    assert in_instance(test) == [0] * 8
