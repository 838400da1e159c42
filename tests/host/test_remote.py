"""The broker's side of a module process, without a process: whatever the wire brings, nobody else is harmed."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from pathlib import Path
from typing import Any

import pytest
import trio
from hypothesis import given
from hypothesis import strategies as st

import brokersim
from brokersim.host.remote import RemoteModule, loader_name
from brokersim.instance import Instance
from brokersim.protocol.errnums import EHOSTUNREACH, EINVAL, ENOTSUP, EPROTO, RequestError
from brokersim.protocol.message import (
    CONTROL,
    EVENT,
    FLAG_NORESPONSE,
    FLAG_STREAMING,
    REQUEST,
    RESPONSE,
    USERID_UNKNOWN,
    Message,
)
from brokersim.services.broker import Broker
from brokersim.services.composition import Settings
from tests.host.live import FIXTURES, refused


class FakeWire:
    """Keeps what is sent to the process, and says for it what a test wants."""

    def __init__(self, broker: Broker, module: RemoteModule) -> None:
        self.broker = broker
        self.module = module
        self.sent: list[Message] = []
        self.signals: list[str] = []
        self.pid = 4711
        self.queued = 0

    def send(self, message: Message) -> None:
        self.sent.append(message)

    def unread(self) -> int:
        return 0

    def terminate(self) -> None:
        self.signals.append("TERM")

    def kill(self) -> None:
        self.signals.append("KILL")

    def bring(self, *messages: Message) -> None:
        """The process sends these."""
        runner = self.broker.instance.runner
        with runner.inside():
            for message in messages:
                self.module.handle.peer.receive(message)
            self.module.handle.turned()
        runner.drain_inline()

    def say(self, status: int, **more: int) -> None:
        self.bring(Message(REQUEST, "module.status", {"status": status, **more}, FLAG_NORESPONSE))

    def exit(self, code: int = 0) -> None:
        with self.broker.instance.runner.inside():
            self.module.exited(code)
        self.broker.instance.runner.drain_inline()


class FakeLauncher:
    def __init__(self) -> None:
        self.wires: list[FakeWire] = []

    def has_flux(self) -> bool:
        return True

    def command(self, loader: str, path: Path) -> tuple[str, ...]:
        return (loader, str(path))

    def start(self, broker: Broker, command: Sequence[str], module: RemoteModule) -> FakeWire:
        self.wires.append(FakeWire(broker, module))
        return self.wires[-1]


def live(
    body: Callable[[Instance, FakeWire], Awaitable[None]], is_ready: bool = True, **settings: Any
) -> None:
    """A fake process module ``far`` that runs, or is about to, in an instance in real time with module ``kinds``."""

    async def main() -> None:
        launcher = FakeLauncher()
        chosen = Settings(modules=("kinds",), module_path=(FIXTURES,), **settings)
        with trio.fail_after(20):
            async with Instance(chosen, launcher=launcher).running() as instance:
                request = {"path": str(FIXTURES / "kinds.py"), "args": ["x"], "exec": True, "name": "far"}
                instance.client().request(
                    "module.load", request, lambda answer, _: loaded.append(answer.errnum)
                )
                while not launcher.wires or not launcher.wires[0].sent:
                    await instance.sleep(0)
                if is_ready:
                    launcher.wires[0].say(1)
                    while not loaded:
                        await instance.sleep(0)
                await body(instance, launcher.wires[0])
                for wire in launcher.wires:
                    wire.exit()

    loaded: list[int] = []

    brokersim.run(main, clock="real")


@pytest.mark.parametrize("more", [{}, {"exec": True}, {"exec": True, "loader": "module-exec"}], ids=str)
def test_a_shared_object_is_given_to_fluxs_loader_however_it_is_loaded(
    tmp_path: Path, more: dict[str, Any]
) -> None:
    shared = tmp_path / "near.so"
    shared.touch()

    async def main() -> None:
        launcher = FakeLauncher()
        launcher.has_flux = lambda: True  # type: ignore[method-assign]
        async with Instance(Settings(modules=()), launcher=launcher).running() as instance:
            payload = {"path": str(shared), "args": [], **more}
            instance.client().request("module.load", payload, lambda answer, _: None)
            while not launcher.wires:
                await instance.sleep(0)
            assert instance.module(0, str(shared)).loader == "flux"  # type: ignore[attr-defined]
            launcher.wires.pop().exit()

    brokersim.run(main, clock="real")


def test_a_file_that_only_flux_can_run_is_given_to_its_loader_where_there_is_one(tmp_path: Path) -> None:
    shared = tmp_path / "near.so"
    shared.touch()

    async def main() -> None:
        launcher = FakeLauncher()
        for has_flux in (True, False):
            launcher.has_flux = lambda found=has_flux: found  # type: ignore[method-assign,misc]
            async with Instance(Settings(modules=()), launcher=launcher).running() as instance:
                errors: list[tuple[int, str | None]] = []
                instance.client().request(
                    "module.load",
                    {"path": str(shared), "args": []},
                    lambda answer, _, errors=errors: errors.append((answer.errnum, answer.payload_str)),
                )
                while len(launcher.wires) == 0 and not errors:
                    await instance.sleep(0)
                if has_flux:
                    wire = launcher.wires.pop()
                    assert instance.module(0, str(shared)).loader == "flux"  # type: ignore[attr-defined]
                    wire.exit()
                else:
                    assert errors[0][0] == ENOTSUP
                    assert "is a module in C: it needs the loader of a flux" in (errors[0][1] or "")

    brokersim.run(main, clock="real")


async def settle(instance: Instance) -> None:
    for _ in range(3):
        await instance.sleep(0)


def test_the_welcome_says_who_it_is_and_what_never_changes() -> None:
    async def body(instance: Instance, wire: FakeWire) -> None:
        welcome = wire.sent[0]
        assert (welcome.topic, welcome.payload["args"], welcome.payload["name"]) == ("welcome", ["x"], "far")
        assert welcome.payload["uuid"] == wire.module.handle.uuid
        assert welcome.payload["attrs"]["rank"] == "0" and "hook" not in welcome.payload["attrs"]

    live(body)


def test_states_follow_what_the_process_says_and_its_end_is_its_exit() -> None:
    async def body(instance: Instance, wire: FakeWire) -> None:
        module, client = wire.module, instance.client()
        assert module.status == 1
        removed: list[Any] = []
        client.request("module.remove", {"name": "far"}, lambda answer, _: removed.append(answer.errnum))
        await settle(instance)
        assert (wire.sent[-1].topic, wire.sent[-1].is_noresponse, module.status) == ("far.shutdown", True, 1)
        wire.bring(Message(REQUEST, "module.status", {"status": 2}, matchtag=9))
        assert (module.status, wire.sent[-1].topic, wire.sent[-1].matchtag) == (2, "module.status", 9)
        with refused(38):
            await client.call("far.ping", {})
        client.publish("far.stats-clear")
        await settle(instance)
        assert wire.sent[-1].topic == "module.status", "nothing reaches it but the answer to that"
        wire.say(3, errnum=0)
        assert (module.status, removed) == (2, [])
        wire.exit()
        await settle(instance)
        assert (module.status, removed, wire.signals) == (3, [0], [])
        assert instance.broker(0).log.lines() == []

    live(body)


def test_who_refuses_to_stop_gets_a_signal_and_then_another(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("brokersim.host.remote.CANCEL_GRACE", 0.01)
    monkeypatch.setattr("brokersim.host.remote.KILL_GRACE", 0.01)

    async def body(instance: Instance, wire: FakeWire) -> None:
        instance.client().request("module.remove", {"name": "far", "cancel": True}, lambda *_: None)
        while len(wire.signals) < 2:
            await instance.sleep(0.005)
        assert wire.signals == ["TERM", "KILL"]
        wire.exit(-9)
        assert [line.partition(" - - - ")[2] for line in instance.broker(0).log.lines()] == [
            "refuses to stop: SIGTERM to process 4711", "ignores SIGTERM: process 4711 is killed",
        ]  # fmt: skip

    live(body)


def test_removed_before_it_is_ready_it_is_still_made_to_go(monkeypatch: pytest.MonkeyPatch) -> None:
    async def body(instance: Instance, wire: FakeWire) -> None:
        instance.client().request("module.remove", {"name": "far"}, lambda *_: None)
        await settle(instance)
        wire.say(1)
        assert wire.module.status == 0, "it is on its way out"
        while not wire.signals:
            await instance.sleep(0.005)
        assert wire.signals == ["TERM"]

    live(body, is_ready=False, attributes={"broker.module-stop-timeout": "0.01"})


def test_one_that_ends_by_itself_is_not_asked_to_when_it_is_removed_meanwhile() -> None:
    async def body(instance: Instance, wire: FakeWire) -> None:
        wire.bring(Message(REQUEST, "module.status", {"status": 2}, matchtag=1))
        removed: list[int] = []
        instance.client().request(
            "module.remove", {"name": "far"}, lambda answer, _: removed.append(answer.errnum)
        )
        await settle(instance)
        assert (wire.sent[-1].topic, removed) == ("module.status", [])
        wire.exit()
        await settle(instance)
        assert removed == [0]

    live(body)


def test_pending_requests_are_answered_and_those_it_asked_are_told_when_it_dies() -> None:
    async def body(instance: Instance, wire: FakeWire) -> None:
        client = instance.client()
        answers: list[tuple[str, int]] = []
        for flags in (0, FLAG_STREAMING):
            client.request(
                "far.wait", None, lambda one, _: answers.append((one.topic, one.errnum)), flags=flags
            )
        trace: list[str] = []
        kinds = instance.broker(0).module("kinds")
        kinds.set_tracer(lambda direction, _, message: trace.append(f"{direction} {message.topic}"))
        wire.bring(
            Message(REQUEST, "kinds.ping", {"seq": 1}, matchtag=1),
            Message(REQUEST, "kinds.ping", {}, matchtag=2),
        )
        await settle(instance)
        wire.exit(-11)
        await settle(instance)
        assert answers == [("far.wait", EHOSTUNREACH)] * 2
        assert trace.count("rx kinds.disconnect") == 1
        assert (
            instance.broker(0)
            .log.lines()[-1]
            .endswith("process 4711 was killed by Segmentation fault (SIGSEGV)")
        )

    live(body)


def test_answers_carry_the_stack_back_and_a_second_answer_is_dropped() -> None:
    async def body(instance: Instance, wire: FakeWire) -> None:
        client = instance.client()
        answers: list[Any] = []
        client.request("far.it", {"a": 1}, lambda one, _: answers.append(one.payload))
        await settle(instance)
        request = wire.sent[-1]
        assert request.routes == (client.uuid, instance.broker(0).uuid)
        answer = {"routes": request.routes, "matchtag": request.matchtag}
        wire.bring(
            Message(RESPONSE, "far.it", b'{"b":2}\0', **answer),
            Message(RESPONSE, "far.it", b'{"b":3}\0', **answer),
        )
        await settle(instance)
        assert answers == [{"b": 2}]
        assert wire.module.handle.counts[2] == 2, "both were sent"

    live(body)


@pytest.mark.parametrize(("wanted", "found"), [(None, "brokersim"), ("brokersim", "brokersim"), ("flux", "flux"),
                                               ("module-python-exec", "brokersim")])  # fmt: skip
def test_loaders_by_name(wanted: str | None, found: str) -> None:
    assert loader_name(wanted) == found


def test_a_loader_there_is_not_is_refused() -> None:
    with refused(EINVAL, "no loader 'lua'"):
        loader_name("lua")


def test_a_status_there_is_not_is_refused() -> None:
    async def body(instance: Instance, wire: FakeWire) -> None:
        wire.bring(Message(REQUEST, "module.status", {"status": 7}, matchtag=5))
        await settle(instance)
        assert (wire.sent[-1].matchtag, wire.sent[-1].errnum) == (5, EPROTO)
        assert wire.module.status == 1

    live(body)


u32 = st.integers(0, 0xFFFFFFFF)
topics = st.sampled_from(
    ["", "kinds.ping", "kinds.nosuch", "far.ping", "far.debug", "far.stats-clear", "far", "x", "event.subscribe",
     "event.unsubscribe", "service.add", "service.remove", "log.append", "attr.get", "module.status", "nosuch.x",
     "far.stats-get", "kinds.disconnect", "...", "welcome"]
)  # fmt: skip
payloads = st.one_of(
    st.none(), st.binary(max_size=20),
    st.sampled_from(
        ['{"topic":"kinds"}', '{"service":"x"}', '{"service":"kvs.x"}', '{"status":1}', '{"flags":-1}', '{"flags":"x"}',
         '{"name":"rank"}', "[]"]
    ).map(lambda text: text.encode() + b"\0"),
)  # fmt: skip
messages = st.builds(
    Message,
    type=st.sampled_from([REQUEST, RESPONSE, EVENT, CONTROL]),
    topic=topics,
    data=payloads,
    # A frame has not both of these (wire.decode).
    flags=st.integers(0, 255).map(
        lambda flags: flags & ~FLAG_STREAMING if flags & FLAG_NORESPONSE else flags
    ),
    matchtag=st.sampled_from([0, 1, 2, 0xFFFFFFFF]),
    errnum=st.sampled_from([0, 0, 1, 61, 0xFFFFFFFF]),
    nodeid=st.sampled_from([0xFFFFFFFF, 0xFFFFFFFE, 0, 1, 77]),
    seq=u32,
    userid=st.sampled_from([USERID_UNKNOWN, 0, 4242]),
    rolemask=st.sampled_from([0, 1, 2, 5]),
    routes=st.sampled_from([(), ("a",), ("a", "b")]),
)


@given(st.lists(messages, max_size=12))
def test_whatever_it_sends_others_are_served_and_the_end_is_in_order(sent: list[Message]) -> None:
    async def body(instance: Instance, wire: FakeWire) -> None:
        client = instance.client()
        client.request("far.held", None, lambda *_: None)
        for message in sent:
            wire.bring(message)
        wire.bring(
            *(Message(RESPONSE, "far.held", routes=one.routes, matchtag=one.matchtag) for one in wire.sent)
        )
        assert (await client.call("kinds.ping", {"seq": 1}))["seq"] == 1
        assert (await client.call("attr.get", {"name": "rank"}))["value"] == "0"
        try:
            await client.call("module.list")
        except RequestError as error:  # none of these is one to refuse
            raise AssertionError from error

    live(body)


@pytest.mark.parametrize(
    ("nopanic", "failure"), [(None, "module runtime failure: one on rank 0"), ("1", None)]
)
def test_one_in_fluxs_hands_that_fails_as_it_runs_ends_the_instance_unless_told_not_to(
    nopanic: str | None, failure: str | None, tmp_path: Path
) -> None:
    shared = tmp_path / "one.so"
    shared.touch()

    async def main() -> None:
        launcher = FakeLauncher()
        attributes = {} if nopanic is None else {"broker.module-nopanic": nopanic}
        settings = Settings(modules=(), attributes=attributes)
        async with Instance(settings, launcher=launcher).running() as instance:
            instance.client().request(
                "module.load", {"path": str(shared), "args": []}, lambda answer, _: None
            )
            while not launcher.wires or not launcher.wires[0].sent:
                await instance.sleep(0)
            launcher.wires[0].say(1)
            await settle(instance)
            launcher.wires[0].say(2)
            launcher.wires[0].say(3, errnum=5)
            launcher.wires[0].exit(1)
            assert (instance.failure or "").startswith(failure or "")
            assert (instance.failure is None, instance.stopped.is_set()) == (not failure, bool(failure))

    brokersim.run(main, clock="real")


def test_one_that_did_at_its_start_all_it_was_for_was_loaded(tmp_path: Path) -> None:
    shared = tmp_path / "one.so"
    shared.touch()

    async def main() -> None:
        launcher = FakeLauncher()
        async with Instance(Settings(modules=()), launcher=launcher).running() as instance:
            errors: list[int] = []
            instance.client().request(
                "module.load",
                {"path": str(shared), "args": []},
                lambda answer, _: errors.append(answer.errnum),
            )
            while not launcher.wires or not launcher.wires[0].sent:
                await instance.sleep(0)
            launcher.wires[0].say(2)
            launcher.wires[0].say(3, errnum=0)
            launcher.wires[0].exit(0)
            await settle(instance)
            assert (errors, instance.modules(0), instance.failure) == ([0], [], None)

    brokersim.run(main, clock="real")
