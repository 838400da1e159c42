"""What the broker and every module answer by themselves: attributes, log, trace, stats, rusage, lists; to anybody."""

from __future__ import annotations

import re
from typing import Any

import pytest
import trio

import brokersim
from brokersim.host.methods import METHODS, message_counts
from brokersim.instance import Instance
from brokersim.protocol.errnums import EINVAL, ENODATA, ENOENT, EPERM, RequestError
from brokersim.protocol.message import REQUEST, Message
from brokersim.services.table import TABLE
from tests.host.live import FIXTURES, live, refused

# -- attributes


def test_attributes_are_read_set_listed_and_removed():
    async def body(instance: Instance) -> None:
        client = instance.client(1)
        assert await client.call("attr.get", {"name": "rank"}) == {"value": "1", "flags": 1}
        assert await client.call("attr.get", {"name": "size"}) == {"value": "3", "flags": 1}
        assert await client.call("attr.get", {"name": "tbon.parent"}) == {"value": "0", "flags": 1}
        assert await client.call("attr.get", {"name": "test.mine"}) == {"value": "given", "flags": 0}
        await client.call("attr.set", {"name": "test.mine", "value": "changed"})
        assert await client.call("attr.get", {"name": "test.mine"}) == {"value": "changed", "flags": 0}
        names = (await client.call("attr.list"))["names"]
        assert {"rank", "size", "test.mine", "hostlist", "content.hash", "broker.starttime", "seed"} <= set(
            names
        )
        await client.call("attr.rm", {"name": "test.mine"})
        await client.call("attr.rm", {"name": "test.mine"})
        with refused(ENOENT):
            await client.call("attr.get", {"name": "test.mine"})

    live(body, size=3, attrs={"test.mine": "given"})


def test_immutable_attributes_stay_as_they_are():
    async def body(instance: Instance) -> None:
        client = instance.client()
        with refused(EINVAL, "attribute 'rank' may not be updated"):
            await client.call("attr.set", {"name": "rank", "value": "7"})
        for topic, payload in (
            ("attr.set", {"name": "rank", "value": "7", "force": True}),
            ("attr.rm", {"name": "rank"}),
        ):
            with refused(EPERM, "attribute 'rank' is immutable"):
                await client.call(topic, payload)
        with refused(ENOENT, "unknown attribute ''; one of your own is named test.NAME"):
            await client.call("attr.set", {"name": "", "value": "7"})
        assert (await client.call("attr.get", {"name": "rank"}))["value"] == "0"

    live(body)


def test_the_root_has_no_parent_and_no_state_directory_means_no_attribute(tmp_path):
    async def without(instance: Instance) -> None:
        for name in ("tbon.parent", "statedir"):
            with refused(ENOENT):
                await instance.client().call("attr.get", {"name": name})

    async def with_one(instance: Instance) -> None:
        assert (await instance.client().call("attr.get", {"name": "statedir"}))["value"] == str(tmp_path)

    live(without)
    live(with_one, state_dir=tmp_path)


# -- log


LINE = re.compile(r"<(\d+)>1 (\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{6}Z) (\d+) (\S+) - - - (.*)")


async def dmesg(client: Any, **options: bool) -> list[str]:
    lines: list[str] = []
    ended: list[int] = []
    client.stream(
        "log.dmesg",
        {"follow": False, "nobacklog": False, **options},
        lambda response, _: (ended if response.errnum else lines).append(
            response.errnum or response.payload_str
        ),
    )
    await client.sleep(0.1)
    assert ended == ([] if options.get("follow") else [ENODATA])
    return lines


def test_a_log_line_has_severity_time_rank_and_name_in_fluxs_form():
    async def body(instance: Instance) -> None:
        handle = instance.broker(1).module("kinds")
        await instance.sleep(1.5)
        for level, text in ((5, "notice"), (6, "info"), (7, "debug\nwith\tcontrols\0 and é")):
            handle.log(level, text)
        lines = await dmesg(instance.client(1))
        assert [LINE.fullmatch(line).groups() for line in lines] == [
            ("40", "2026-01-01T00:00:01.500000Z", "1", "kinds", "notice"),
            ("48", "2026-01-01T00:00:01.500000Z", "1", "kinds", "info"),
            ("56", "2026-01-01T00:00:01.500000Z", "1", "kinds", "debug with controls  and é"),
        ]
        assert await dmesg(instance.client(0)) == lines  # rank 0 has everybody's

    live(body, "kinds", size=2)


def test_following_the_log_brings_new_lines_until_the_reader_goes():
    async def body(instance: Instance) -> None:
        handle = instance.broker(0).module("kinds")
        handle.log(5, "before")
        reader, late = instance.client(), instance.client()
        lines = await dmesg(reader, follow=True)
        only_new = await dmesg(late, follow=True, nobacklog=True)
        handle.log(5, "after")
        await instance.sleep(0.1)
        assert [line.split(" - - - ")[1] for line in lines] == ["before", "after"]
        assert [line.split(" - - - ")[1] for line in only_new] == ["after"]
        reader.close()
        await instance.sleep(0.1)
        assert len(instance.broker(0).log.followers) == 1
        handle.log(5, "later")
        await instance.sleep(0.1)
        assert (len(lines), len(only_new)) == (2, 2)

    live(body, "kinds")


def test_the_log_keeps_the_last_lines_and_is_cleared():
    async def body(instance: Instance) -> None:
        handle = instance.broker(0).module("kinds")
        for number in range(1030):
            handle.log(6, f"line {number}")
        await instance.sleep(0.1)
        lines = await dmesg(instance.client())
        assert len(lines) == 1024
        assert lines[0].endswith("line 6") and lines[-1].endswith("line 1029")
        await instance.client().call("log.clear")
        assert await dmesg(instance.client()) == []

    live(body, "kinds")


def test_appending_to_the_log_is_never_answered():
    async def body(instance: Instance) -> None:
        client = instance.client()
        got: list[Any] = []
        client.request("log.append", b"<40>1 - 0 me - - - hello", lambda response, _: got.append(response))
        await instance.sleep(0.1)
        assert got == []
        assert await dmesg(instance.client()) == ["<40>1 - 0 me - - - hello"]

    live(body)


# -- trace


def test_a_trace_streams_what_a_module_is_handed_and_sends():
    async def body(instance: Instance) -> None:
        watcher, client = instance.client(), instance.client()
        records: list[dict[str, Any]] = []
        watcher.stream(
            "module.trace", {"names": ["kinds"], "full": True}, lambda r, _: records.append(r.data)
        )
        await instance.sleep(1.0)
        await client.call("kinds.ping", {"a": 1})
        with refused(EINVAL):
            await client.call("kinds.refuse")
        client.publish("kinds.news")
        await instance.sleep(0.1)
        assert [(r["prefix"], r["type"], r["topic"], r["errnum"]) for r in records] == [
            ("rx", 1, "kinds.ping", 0), ("tx", 2, "kinds.ping", 0),
            ("rx", 1, "kinds.refuse", 0), ("tx", 2, "kinds.refuse", EINVAL),
            ("rx", 4, "kinds.news", 0),
        ]  # fmt: skip
        assert records[0] == {
            "timestamp": 1767225601.0, "prefix": "rx", "rank": -1, "name": "kinds", "type": 1, "topic": "kinds.ping",
            "payload_size": 8, "payload": {"a": 1}, "errnum": 0, "errstr": "",
        }  # fmt: skip
        assert (records[3]["errstr"], records[3]["payload_size"], records[3]["payload"]) == (
            "not like this",
            0,
            None,
        )
        watcher.close()
        await instance.sleep(0.1)
        assert not instance.broker(0).traces
        assert instance.broker(0).module("kinds").tracer is None

    live(body, "kinds")


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        ({}, {"kinds.sync", "kinds.news", "fresh.one"}),
        ({"names": ["fresh"]}, {"fresh.one"}),
        ({"typemask": 4}, {"kinds.news", "fresh.one"}),
        ({"topic_glob": "*.s*"}, {"kinds.sync"}),
        ({"topic_glob": ""}, {"kinds.sync", "kinds.news", "fresh.one"}),
        ({"names": ["nosuch"]}, set()),
    ],
)
def test_a_trace_is_filtered_by_name_type_and_topic(options, expected):
    async def body(instance: Instance) -> None:
        watcher, client = instance.client(), instance.client()
        topics: set[str] = set()
        watcher.stream("module.trace", options, lambda r, _: topics.add(r.data["topic"]))
        await instance.sleep(0.1)
        await client.call("kinds.sync")
        client.publish("kinds.news")
        client.publish("fresh.one")
        await instance.sleep(0.1)
        assert topics == expected

    live(body, "kinds", "fresh")


def test_a_module_loaded_after_a_trace_began_is_traced_from_its_welcome_on():
    async def body(instance: Instance) -> None:
        watcher = instance.client()
        records: list[str] = []
        watcher.stream("module.trace", {"names": ["kinds"]}, lambda r, _: records.append(r.data["topic"]))
        await instance.sleep(0.1)
        await instance.load("kinds")
        await instance.sleep(0.1)
        assert records[0] == "welcome"
        assert "module.status" in records

    live(body)


def test_in_real_time_each_traced_message_has_the_time_of_its_own_hand_out(monkeypatch):
    """One batch of the loop holds them all, and the reactor's time stands still in it; the clock's does not."""
    stamps: list[float] = []

    async def main() -> None:
        async with brokersim.open_instance(
            modules=["kinds"], module_path=[FIXTURES], clock="real"
        ) as instance:
            client, watcher = instance.client(), instance.client()
            watcher.stream(
                "module.trace", {"names": ["kinds"]}, lambda r, _: stamps.append(r.data["timestamp"])
            )
            await client.call("kinds.ping")
            del stamps[:]
            answers: list[Any] = []
            for _ in range(50):
                client.request("kinds.ping", None, lambda r, _: answers.append(r))
            while len(answers) < 50 or len(stamps) < 100:
                await client.call("kinds.ping")

    brokersim.run(main, clock="real")
    assert len(set(stamps)) == len(stamps)
    assert stamps == sorted(stamps)


@pytest.mark.parametrize("names", [["broker"], ["connector"], ["client"], ["broker", "client", "kinds"]])
def test_a_trace_never_traces_itself(names):
    async def body(instance: Instance) -> None:
        watcher, client = instance.client(), instance.client()
        topics: list[str] = []
        watcher.stream("module.trace", {"names": names}, lambda r, _: topics.append(r.data["topic"]))
        await instance.sleep(0.1)
        await client.call("attr.get", {"name": "rank"})
        await instance.sleep(0.1)
        assert "module.trace" not in topics
        assert len(topics) < 20

    live(body, "kinds")


# -- what every module answers


def test_every_module_answers_the_default_methods():
    async def body(instance: Instance) -> None:
        client = instance.client()
        stats = await client.call("fresh.stats-get")
        assert stats == {
            "tx": {"request": 5, "response": 0, "event": 0, "control": 0},
            "rx": {"request": 2, "response": 3, "event": 0, "control": 0},
        }
        for who in ("self", "children", "thread"):
            used = await client.call("fresh.rusage", {"who": who})
            assert list(used)[:4] == ["utime", "stime", "maxrss", "ixrss"]
            assert len(used) == 16
        assert len(await client.call("fresh.rusage")) == 16
        for method in ("config-reload", "config-update"):
            assert await client.call(f"fresh.{method}", {"any": "thing"}) is None
        assert await client.call("fresh.stats-clear") is None
        assert instance.broker(0).module("fresh").counts == [0, 0, 1, 0, 0, 0, 0, 0]
        with refused(EINVAL, "who"):
            await client.call("fresh.rusage", {"who": "everybody"})

    live(body, "fresh")


def test_the_event_stats_clear_zeroes_a_module_on_every_rank():
    async def body(instance: Instance) -> None:
        instance.client().publish("fresh.stats-clear")
        await instance.sleep(0.1)
        for rank in range(2):
            assert instance.broker(rank).module("fresh").counts == [0] * 8

    live(body, "fresh", size=2)


def test_shutdown_ends_the_module():
    async def body(instance: Instance) -> None:
        instance.client().request("kinds.shutdown")
        await instance.sleep(0.1)
        assert instance.modules(0) == []

    live(body, "kinds")


def test_the_list_of_modules_has_fluxs_keys_and_ours():
    async def body(instance: Instance) -> None:
        await instance.sleep(1.5)
        answer = await instance.client().call("module.list")
        (one,) = answer["mods"]
        assert one.pop("path").endswith("kinds.py")
        assert one == {
            "name": "kinds", "idle": 1, "status": 1, "services": ["kinds"], "sendqueue": 0, "recvqueue": 0,
            "mask": 0, "hook": "prepare", "iterations": 4, "idle_calls": 0, "packets": 0, "open": 0,
            "uuid": instance.modules(0)[0].handle.uuid, **message_counts(instance.modules(0)[0].handle.counts),
        }  # fmt: skip
        assert answer["time"] == instance.broker(0).endpoint.now() == 1.5

    live(body, "kinds")


OPEN = """\
from brokersim.brokermod import BrokerModule, request_handler

class Open(BrokerModule):
    def listed_figures(self):
        return {"answer": 42 / (self.name != "broken")}

    @request_handler("ask")
    async def ask(self, msg):
        await self.handle.call("silent.wait")

    @request_handler("wait")
    def wait(self, msg):
        pass
"""


def test_a_listed_module_shows_its_open_requests_and_figures_of_its_own(tmp_path):
    file = tmp_path / "open.py"
    file.write_text(OPEN)

    async def body(instance: Instance) -> None:
        await instance.load(str(file))
        await instance.load(str(file), name="silent")
        client = instance.client()
        client.request("open.ask")
        await instance.sleep(0.1)
        before = list(instance.modules(0)[0].handle.counts)
        one, other = (await client.call("module.list"))["mods"]
        assert (one["open"], other["open"], one["figures"]) == (1, 0, {"answer": 42})
        assert instance.modules(0)[0].handle.counts == before, "to be listed is no message to the module"

    live(body)


def test_a_module_whose_figures_raise_ends_and_the_list_is_answered(tmp_path):
    file = tmp_path / "open.py"
    file.write_text(OPEN)

    async def body(instance: Instance) -> None:
        await instance.load(str(file), name="broken")
        (one,) = (await instance.client().call("module.list"))["mods"]
        assert "figures" not in one
        assert instance.modules(0) == []
        assert "ZeroDivisionError" in "".join(instance.broker(0).log.lines())

    live(body)


def test_overlay_and_groups_describe_the_tree():
    async def body(instance: Instance) -> None:
        client = instance.client(2)
        topology = await client.call("overlay.topology", {"rank": 0}, nodeid=0)
        assert topology == {
            "rank": 0,
            "size": 4,
            "children": [
                {"rank": 1, "size": 2, "children": [{"rank": 3, "size": 1, "children": []}]},
                {"rank": 2, "size": 1, "children": []},
            ],
        }
        with refused(ENOENT, "the instance has ranks 0-3"):
            await client.call("overlay.topology", {"rank": 4})
        health = await client.call("overlay.health", nodeid=1)
        assert [child["rank"] for child in health["children"]] == [3]
        assert await client.call("groups.get", {"name": "broker.online"}, nodeid=0) == {"members": "0-3"}
        assert await client.call("groups.get", {"name": "nosuch"}, nodeid=0) == {"members": ""}

    live(body, size=4)


# -- roles


def test_guests_are_refused_what_only_owners_may():
    async def body(instance: Instance) -> None:
        guest = instance.client()
        guest.userid, guest.rolemask = 1001, 2
        for topic in (
            "kinds.sync",
            "kinds.debug",
            "kinds.shutdown",
            "kinds.stats-clear",
            "attr.set",
            "module.load",
        ):
            with refused(EPERM, "Request requires owner credentials"):
                await guest.call(topic, {})
        assert await guest.call("kinds.guests") == {"userid": 1001, "rolemask": 2}
        assert (await guest.call("kinds.ping", {}))["userid"] == 1001
        assert "utime" in await guest.call("kinds.rusage")
        assert "tx" in await guest.call("kinds.stats-get")
        assert (await guest.call("attr.get", {"name": "rank"}))["value"] == "0"
        # What an owner asked before must not have opened the way for a guest.
        await instance.client().call("kinds.sync")
        with refused(EPERM):
            await guest.call("kinds.sync")

    live(body, "kinds")


# -- whatever comes in


NONSENSE: list[Any] = [
    None, b"", b"\0", b"not json\0", b"[1,2]\0", b"\xff\xfe", b'{"name":', "text", {}, {"name": None}, {"name": 5},
    {"name": ""}, {"name": "a\0b", "value": "\ud800"}, {"path": "", "args": []}, {"path": "x" * 5000, "args": []},
    {"path": "/", "args": [1]}, {"path": "~nobodyhere/x", "args": []}, {"topic": 7}, {"topic": "\0"},
    {"service": "a.b"}, {"service": ""}, {"rank": -1}, {"rank": 10**30}, {"rank": "0"}, {"status": 99},
    {"name": "kinds", "hook": "\0"}, {"op": "set", "flags": 1e300}, {"who": ["self"]},
    {"typemask": -1, "topic_glob": "[", "names": ["kinds"]}, {"names": "kinds"}, {"follow": 1}, {"to": -5},
    {"topic": "x", "flags": "0"}, {"topic": "x", "payload": "=" * 50}, {"cancel": "yes", "name": "nosuch"},
]  # fmt: skip
TOPICS = sorted(
    {*TABLE, *(f"kinds.{method}" for method in METHODS), *(f"broker.{method}" for method in METHODS)}
)


@pytest.mark.parametrize("topic", [topic for topic in TOPICS if topic != "broker.stop"])
def test_no_payload_harms_the_instance_or_goes_unanswered(topic):
    async def body(instance: Instance) -> None:
        client, witness = instance.client(), instance.client()
        answered: list[int] = []
        for payload in NONSENSE:
            message = client.request(topic, payload, lambda response, n: answered.append(n), len(answered))
            assert isinstance(message, Message) and message.type == REQUEST
        await instance.sleep(1.0)
        unsendable = 1  # one of them is no UTF-8, which even log.append refuses
        silent = topic in ("log.append", "kinds.disconnect", "broker.disconnect")
        streams = topic in ("module.trace", "log.dmesg", "overlay.trace")
        if silent:
            assert len(answered) <= unsendable
        elif not streams and topic != "kinds.shutdown":
            assert len(answered) == len(NONSENSE)
        client.close()
        assert (await witness.call("broker.ping", {}))["rank"] == 0
        if topic not in ("kinds.shutdown", "module.remove"):
            assert (await witness.call("kinds.sync"))["rank"] == 0
        failures = [line for line in instance.broker(0).log.lines() if "failed:" in line]
        assert failures == []

    live(body, "kinds")


@pytest.mark.parametrize(
    "topic", ["", ".", "..", "a.", ".b", "\0", "é.é", "x" * 10000, "kinds.", "kinds..sync"]
)
def test_no_topic_harms_the_instance(topic):
    async def body(instance: Instance) -> None:
        client = instance.client()
        with pytest.raises(RequestError) as caught:
            await client.call(topic)
        assert caught.value.errno == 38
        client.publish(topic)
        assert (await client.call("kinds.sync"))["rank"] == 0

    live(body, "kinds")


def test_a_bug_in_a_task_of_the_broker_is_logged_and_ends_nothing():
    async def body(instance: Instance) -> None:
        async def broken() -> None:
            async with trio.open_nursery() as nursery:
                nursery.start_soon(fail)

        async def fail() -> None:
            raise KeyError("ours")

        instance.broker(0).endpoint.start_task(broken)
        await instance.sleep(1.0)
        assert (await instance.client().call("broker.ping", {}))["rank"] == 0
        assert any("a task of it failed: KeyError: 'ours'" in line for line in instance.broker(0).log.lines())

    live(body)


def test_what_flux_builds_into_a_broker_is_made_when_it_is_first_asked_for_and_traced_like_all():
    async def body(instance: Instance) -> None:
        client, watcher = instance.client(), instance.client()
        names = [[one.name for one in instance.broker(rank).endpoints] for rank in range(2)]
        assert names == [["broker", "client", "client"], ["broker"]], "65,536 ranks have none of them"
        topics: list[str] = []
        watcher.stream("module.trace", {"names": ["groups"]}, lambda r, _: topics.append(r.data["topic"]))
        await instance.sleep(0.1)
        await client.call("groups.stats-get")
        with pytest.raises(RequestError, match="'groups' is already registered"):
            await client.call("service.add", {"service": "groups"})
        await instance.sleep(0.1)
        assert topics == ["groups.stats-get"] * 2

    live(body, size=2)


def test_a_modules_hook_is_changed_before_and_after_its_bit_was_set():
    async def body(instance: Instance) -> None:
        client, handle = instance.client(), instance.broker(0).module("kinds")
        assert await client.call("module.hook", {"name": "kinds", "hook": "check"}) == {"hook": "check"}
        first = handle.instrument
        assert first is not None and first.hook == "check"
        assert await client.call("module.hook", {"name": "kinds", "hook": "timer:1s"}) == {"hook": "timer:1s"}
        assert handle.instrument is first and first.hook == "timer:1s"

    live(body, "kinds")


# -- modules


def test_a_module_that_is_not_there_is_refused_by_the_errnums_words_and_those_that_are():
    async def body(instance: Instance) -> None:
        client = instance.client()
        with refused(ENOENT, "No such file or directory: no module 'x' on rank 0; loaded: none"):
            await client.call("module.remove", {"name": "x"})
        await instance.load("heartbeat")
        with refused(ENOENT, "No such file or directory: no module 'x' on rank 0; loaded: heartbeat"):
            await client.call("module.remove", {"name": "x"})

    live(body)
