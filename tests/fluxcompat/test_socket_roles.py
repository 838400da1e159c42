"""Who may do what: the owner everything, a guest what Flux lets it. The owner of the instance poses as the guest."""

from __future__ import annotations

from typing import Any

import pytest

from tests.fluxcompat.conftest import GUEST
from tests.fluxcompat.minimal_client import NORESPONSE, PRIVATE, STREAMING, MinimalClient
from tests.fluxcompat.test_socket_jobs import jobspec, signed, submit
from tests.fluxcompat.test_socket_kvs import EMPTY, commit, lookup, put, val

REFUSAL = "Request requires owner credentials"
CANCEL = {"type": "cancel", "severity": 0}


@pytest.mark.parametrize(
    ("topic", "payload"),
    [
        ("attr.set", {"name": "a", "value": "b"}),
        ("attr.rm", {"name": "a"}),
        ("log.dmesg", {}),
        ("log.clear", None),
        ("module.load", {"path": "/x.py", "args": []}),
        ("module.remove", {"name": "cron"}),
        ("module.trace", {}),
        ("kvs.stats-clear", None),
        ("kvs.debug", {"op": "setbit", "flags": 1}),
        ("kvs.shutdown", None),
        ("kvs.dropcache", None),
        ("kvs.namespace-create", {"namespace": "x"}),
        ("content.store", b"x"),
        ("content.load", b"x" * 20),
        ("cron.create", {"type": "interval", "name": "x", "args": {"interval": 1}, "command": "id"}),
        ("job-manager.drain", None),
        ("job-manager.submit", {"jobs": []}),
        ("job-manager.queue-enable", {"enable": False}),
        ("sched.alloc", {"id": 1}),
        ("job-exec.start", {"id": 1}),
        ("job-exec.kill", {"id": 1, "signum": 9}),
        ("job-manager.wait", {"id": 1}),
        ("job-manager.idle", None),
        ("job-manager.queue-start", {"start": False}),
        ("job-manager.events-journal", {}),
        ("job-manager.sched-hello", None),
        ("job-manager.jobtap-load", {"path": "x"}),
        ("kvs.namespace-remove", {"namespace": "x"}),
        ("kvs.namespace-list", None),
        ("content.flush", None),
        ("content.dropcache", None),
        ("cron.delete", {"id": 1}),
        ("resource.drain", {"targets": "0"}),
        ("resource.undrain", {"targets": "0"}),
        ("resource.acquire", None),
        ("rexec.exec", {"cmd": {"cmdline": ["id"]}, "flags": 0}),
        ("rexec.write", {"matchtag": 1, "io": {"stream": "stdin"}}),
        ("rexec.kill", {"pid": 1, "signum": 9}),
        ("rexec.wait", {"pid": 1}),
        ("rexec.list", None),
        ("heartbeat.shutdown", None),
        ("broker.stop", None),
    ],
)
def test_a_guest_is_refused_what_only_the_owner_may(guest: MinimalClient, topic: str, payload: Any) -> None:
    frame = guest.raw(topic, payload)
    assert (frame.errnum, frame.text) == (1, REFUSAL)


@pytest.mark.parametrize(
    ("topic", "payload"),
    [
        ("attr.get", {"name": "rank"}),
        ("attr.list", None),
        ("kvs.ping", {"seq": 1}),
        ("kvs.rusage", None),
        ("kvs.stats-get", None),
        ("module.list", None),
        ("config.get", None),
        ("state-machine.get", None),
        ("groups.get", {"name": "broker.online"}),
        ("overlay.health", None),
        ("resource.status", None),
        ("resource.sched-status", None),
        ("job-manager.queue-list", None),
        ("job-manager.queue-status", {}),
        ("job-list.list", {"max_entries": 1, "attrs": ["all"]}),
        ("job-list.list-attrs", None),
        ("job-list.job-stats", None),
        ("overlay.topology", {"rank": 0}),
        ("cron.ping", {"seq": 1}),
        ("content.stats-get", None),
        ("sched.resource-status", None),
        ("feasibility.check", {"jobspec": jobspec("true")}),
    ],
)
def test_a_guest_may_ask_what_all_may(guest: MinimalClient, topic: str, payload: Any) -> None:
    assert guest.raw(topic, payload).errnum == 0


def test_the_owner_poses_as_a_guest_and_services_see_the_guest(guest: MinimalClient) -> None:
    answer = guest.rpc("kvs.ping", {"seq": 1})
    assert (answer["userid"], answer["rolemask"]) == GUEST


def test_a_guest_uses_its_own_namespace_on_any_rank_and_no_other(client: MinimalClient, connect: Any) -> None:
    for name, owner in (("guests", GUEST[0]), ("others", 4243)):
        client.rpc(
            "kvs.namespace-create", {"namespace": name, "rootref": EMPTY, "owner": owner, "flags": 0}, 0
        )
    commit(client, "others", put("k", "secret"))
    for rank in (0, 1):
        guest = connect(GUEST, rank)
        commit(guest, "guests", put("k", f"{rank}"))
        assert lookup(guest, "guests", "k") == val(f"{rank}")
        assert guest.rpc("kvs.getroot", {"namespace": "guests"})["owner"] == GUEST[0]
        link = {"ver": 1, "type": "symlink", "data": {"target": "k", "namespace": "others"}}
        assert (
            guest.errnum("kvs.commit", {"namespace": "guests", "flags": 0, "ops": [put("link", link)]}) == 1
        )
        commit(client, "guests", put("link", link))
        root = client.rpc("kvs.getroot", {"namespace": "others"})["rootref"]
        for request in (
            ("kvs.lookup", {"key": "k", "namespace": "others", "flags": 0}),
            ("kvs.lookup", {"key": "link", "namespace": "guests", "flags": 0}),
            ("kvs.commit", {"namespace": "others", "flags": 0, "ops": [put("k", "mine")]}),
            ("kvs.commit", {"namespace": "primary", "flags": 0, "ops": [put("k", "mine")]}),
            ("kvs.getroot", {"namespace": "others"}),
            ("kvs.wait-version", {"namespace": "others", "rootseq": 0}),
        ):
            assert guest.errnum(*request) == 1, request
        # Who has a root was given it: flux-core lets anybody read below it.
        below = {"key": "k", "namespace": "primary", "flags": 0, "rootref": root}
        assert guest.rpc("kvs.lookup", below)["val"] == val("secret")
    assert lookup(client, "guests", "link") == lookup(client, "others", "k") == val("secret")


def test_a_guests_service_is_named_for_its_user(guest: MinimalClient) -> None:
    assert guest.errnum("service.add", {"service": "kvs2"}) == 1
    assert guest.errnum("service.add", {"service": f"{GUEST[0]}-mine"}) == 0
    assert guest.errnum("service.remove", {"service": f"{GUEST[0]}-mine"}) == 0


def test_a_guest_cannot_submit_unsigned_nor_touch_or_read_the_owners_jobs(
    client: MinimalClient, guest: MinimalClient
) -> None:
    job = submit(client, "sleep", duration=1000)
    unsigned = {"J": signed(jobspec("true"), GUEST[0]), "urgency": 16, "flags": 0}
    for topic, payload, text in (
        ("job-ingest.submit", unsigned, "only instance owner can use sign-type=none"),
        ("job-manager.raise", {"id": job, **CANCEL}, "guests can only raise exceptions on their own jobs"),
        ("job-manager.kill", {"id": job, "signum": 15}, "guests may only send signals to their own jobs"),
        (
            "job-manager.raiseall",
            {"userid": 0, "states": 62, "dry_run": False, **CANCEL},
            "guests can only raise exceptions on their own jobs",
        ),
        (
            "job-manager.killall",
            {"userid": 0, "signum": 9, "dry_run": True},
            "guests can only kill their own jobs",
        ),
        (
            "job-manager.urgency",
            {"id": job, "urgency": 0},
            "guests can only reprioritize their own jobs",
        ),
        ("job-info.lookup", {"id": job, "keys": ["jobspec"]}, "guests can only read their own jobs"),
    ):
        frame = guest.raw(topic, payload)
        assert (frame.errnum, frame.text) == (1, text), topic
    watch = guest.send(
        "job-info.eventlog-watch", {"id": job, "path": "eventlog", "flags": 0}, flags=STREAMING
    )
    assert guest.answer(watch).errnum == 1
    client.rpc("job-manager.raise", {"id": job, **CANCEL})


def test_a_guests_cancel_or_leaving_does_not_end_the_owners_watch(
    client: MinimalClient, connect: Any
) -> None:
    client.rpc("kvs.commit", {"namespace": "primary", "flags": 0, "ops": [put("roles.k", "1")]})
    tag = client.send(
        "kvs-watch.lookup", {"key": "roles.k", "namespace": "primary", "flags": 4}, flags=STREAMING
    )
    values = client.responses(tag)
    next(values)
    guest = connect(GUEST)
    guest.send("kvs-watch.cancel", {"matchtag": tag}, flags=NORESPONSE)
    guest.rpc("attr.get", {"name": "rank"})
    commit(client, "primary", put("roles.k", "2"))
    assert next(values).json == {"val": val("2")}


def test_a_guests_events_are_its_own_by_either_way(client: MinimalClient, guest: MinimalClient) -> None:
    client.subscribe("roles.event")
    guest.publish("roles.event")
    assert (
        client.event().userid,
        guest.rpc("event.publish", {"topic": "roles.event", "flags": 0}, 0)["seq"] > 0,
    ) == (
        GUEST[0],
        True,
    )
    assert client.event().userid == GUEST[0]


def test_an_owners_private_event_says_whose_it_is(client: MinimalClient, guest: MinimalClient) -> None:
    client.subscribe("roles.private")
    guest.publish("roles.private", flags=PRIVATE)
    event = client.event()
    assert (event.userid, event.rolemask, event.flags & PRIVATE) == (*GUEST, PRIVATE)
