"""What a module does with its handle: waits of three kinds at exact times, watchers, chance, time, statistics."""

from __future__ import annotations

from typing import Any

import pytest
import trio

import brokersim
from brokersim.instance import Instance
from brokersim.protocol.errnums import EEXIST, ENOENT, RequestError
from tests.host.live import FIXTURES, live, refused

# -- waiting


@pytest.mark.parametrize("kind", ["step", "task"])
def test_calls_and_sleeps_take_their_exact_time_in_virtual_time(kind):
    async def body(instance: Instance) -> None:
        client = instance.client()
        times: list[tuple[float, Any]] = []

        async def work() -> None:
            await client.sleep(0.1)
            times.append((client.now(), None))
            answer = await client.call("kinds.step")
            times.append((client.now(), answer["inner"]))
            await client.sleep(0.0)
            times.append((client.now(), None))

        if kind == "step":
            client.spawn(work())
            await instance.sleep(1.0)
        else:
            await work()
        assert times == [(0.1, None), (0.35, "sync"), (0.35, None)]

    live(body, "kinds")


@pytest.mark.parametrize("kind", ["step", "task"])
def test_an_error_answer_is_raised_where_it_is_awaited(kind):
    async def body(instance: Instance) -> None:
        client = instance.client()
        caught: list[str] = []

        async def work() -> None:
            try:
                await client.call("kinds.refuse")
            except RequestError as error:
                caught.append(error.text)

        if kind == "step":
            client.spawn(work())
            await instance.sleep(1.0)
        else:
            await work()
        assert caught == ["not like this"]

    live(body, "kinds")


def test_a_call_given_up_drops_its_late_answer_and_the_next_wait_is_undisturbed():
    async def body(instance: Instance) -> None:
        client = instance.client()
        with trio.move_on_after(0.1) as scope:
            await client.call("kinds.step")
        assert scope.cancelled_caught
        assert await client.call("kinds.ping", {"seq": 1})
        await instance.sleep(1.0)
        assert (client.stray, client.pending) == (1, {})

    live(body, "kinds")


def test_a_call_nobody_ever_answers_is_an_error_when_nothing_else_is_due():
    async def body(instance: Instance) -> None:
        with refused(35, "this would wait for ever"):
            await instance.client().call("kinds.hold")

    live(body, "kinds")


def test_futures_are_ready_when_answered_and_call_back_once_an_answer():
    async def body(instance: Instance) -> None:
        client = instance.client()
        got: list[Any] = []
        future = client.rpc("kinds.ping", {"seq": 1})
        assert not future.is_ready()
        with refused(35):
            future.get()
        future.then(lambda done, extra: got.append((done.get()["seq"], extra)), "extra")
        await instance.sleep(0.1)
        assert got == [(1, "extra")]
        future.then(lambda done: got.append("again"))  # one that is here already: never inside this call
        assert got[1:] == []
        await instance.sleep(0)
        assert got[1:] == ["again"]
        stream = client.rpc("kinds.count", {"to": 3}, flags=0x40)
        numbers: list[int] = []

        def next_one(done: Any) -> None:
            if not done.is_ended:
                numbers.append(done.get()["number"])
            done.reset()

        stream.then(next_one)
        await instance.sleep(0.1)
        assert numbers == [0, 1, 2]

    live(body, "kinds")


# -- watchers of Flux's kind


def test_a_timer_watcher_calls_after_its_delay_then_each_period_until_stopped():
    async def body(instance: Instance) -> None:
        handle = instance.broker(0).module("kinds")
        calls: list[tuple[float, Any]] = []
        watcher = handle.timer_watcher_create(
            0.5, lambda h, w, revents, args: calls.append((h.now(), args)), repeat=1.0, args="mine"
        )
        await instance.sleep(5.0)
        assert calls == []  # made is not started
        watcher.start()
        watcher.start()
        await instance.sleep(3.0)
        watcher.stop()
        await instance.sleep(5.0)
        assert calls == [(5.5, "mine"), (6.5, "mine"), (7.5, "mine")]
        with watcher:
            await instance.sleep(0.6)
        await instance.sleep(5.0)
        assert [round(at, 9) for at, _ in calls[3:]] == [13.5]

    live(body, "kinds")


def test_a_timer_watcher_without_period_calls_once_and_can_be_started_again():
    async def body(instance: Instance) -> None:
        handle = instance.broker(0).module("kinds")
        calls: list[float] = []
        watcher = handle.timer_watcher_create(1.0, lambda h, *_: calls.append(h.now()))
        watcher.start()
        await instance.sleep(5.0)
        watcher.start()
        await instance.sleep(5.0)
        assert calls == [1.0, 6.0]
        watcher.reset(after=0.25)
        watcher.start()
        await instance.sleep(1.0)
        assert calls == [1.0, 6.0, 10.25]
        with pytest.raises(ValueError, match="0 s or more"):
            handle.timer_watcher_create(-1.0, print)

    live(body, "kinds")


def test_a_repeating_timer_that_stops_itself_calls_no_more():
    async def body(instance: Instance) -> None:
        handle = instance.broker(0).module("kinds")
        calls: list[float] = []

        def call(h: Any, watcher: Any, revents: int, args: Any) -> None:
            calls.append(h.now())
            if len(calls) == 2:
                watcher.stop()

        handle.timer_watcher_create(1.0, call, repeat=1.0).start()
        await instance.sleep(10.0)
        assert calls == [1.0, 2.0]

    live(body, "kinds")


def test_a_late_repeating_timer_does_not_catch_up_in_a_burst():
    async def body(instance: Instance) -> None:
        handle = instance.broker(0).module("kinds")
        reactor = instance.reactor
        calls: list[float] = []
        handle.timer_watcher_create(1.0, lambda h, *_: calls.append(h.now()), repeat=1.0).start()
        await instance.sleep(1.5)
        # The loop is kept from its timers until 7.25, as by a handler that takes long.
        instance.runner.clock.now = reactor.now = round(7.25e9)
        await instance.sleep(3.1)
        assert calls[0] == 1.0
        # Late once, then never earlier than now: at most one more call before the rhythm goes on from there.
        assert [at for at in calls if 1.0 < at <= 7.25] in ([7.25], [7.25, 7.25])
        assert [at for at in calls if at > 7.25] == [8.25, 9.25, 10.25]

    live(body, "kinds")


def test_hook_watchers_run_in_the_modules_loop_and_stop():
    async def body(instance: Instance) -> None:
        handle = instance.broker(0).module("kinds")
        client = instance.client()
        calls: list[str] = []
        watchers = [
            handle.prepare_watcher_create(lambda h, w, revents, args: calls.append(args), "prepare"),
            handle.check_watcher_create(lambda h, w, revents, args: calls.append(args), "check"),
        ]
        for watcher in watchers:
            watcher.start()
        before = handle.iterations
        await client.call("kinds.sync")
        assert (calls, handle.iterations - before) == (["check", "prepare"], 1)
        for watcher in watchers:
            watcher.stop()
        await client.call("kinds.sync")
        assert (calls, handle.iterations - before) == (["check", "prepare"], 2)

    live(body, "kinds")


# -- identity, time, chance, configuration


def test_time_is_a_fixed_epoch_plus_now_under_the_virtual_clock():
    async def body(instance: Instance) -> None:
        handle = instance.broker(0).module("kinds")
        await instance.sleep(2.5)
        assert (handle.now(), handle.time()) == (2.5, 1_767_225_602.5)

    live(body, "kinds")


def test_each_module_rank_and_seed_has_chance_of_its_own_that_others_do_not_disturb():
    drawn: dict[Any, float] = {}

    async def body(instance: Instance) -> None:
        for rank in range(2):
            for name in [module.name for module in instance.modules(rank)]:
                drawn[instance.seed, rank, name] = instance.broker(rank).module(name).random.random()

    live(body, "kinds", size=2, seed=1)
    alone = dict(drawn)
    live(body, "fresh", "kinds", size=2, seed=1)
    live(body, "kinds", size=2, seed=2)
    assert {key: drawn[key] for key in alone} == alone
    assert len(set(drawn.values())) == len(drawn) == 6


def test_configuration_is_read_by_dotted_keys():
    async def body(instance: Instance) -> None:
        handle = instance.broker(0).module("kinds")
        assert handle.conf_get() == {"a": {"b": 1}}
        assert handle.conf_get("a.b") == 1
        assert handle.conf_get("a.x", "default") == "default"
        assert handle.conf_get("a.b.c") is None
        assert await instance.client().call("config.get") == {"a": {"b": 1}}

    live(body, "kinds", conf={"a": {"b": 1}})


def test_services_are_registered_once_and_unregistered_by_their_owner():
    async def body(instance: Instance) -> None:
        kinds, fresh = (instance.broker(0).module(name) for name in ("kinds", "fresh"))
        kinds.service_register("extra")
        with refused(EEXIST, "service 'extra' is already registered"):
            fresh.service_register("extra")
        with refused(ENOENT, "service 'extra' is not registered here"):
            fresh.service_unregister("extra")
        assert (await instance.client().call("extra.ping", {}))["rank"] == 0
        kinds.service_unregister("extra")
        with refused(38):
            await instance.client().call("extra.ping", {})

    live(body, "kinds", "fresh")


def test_statistics_of_a_module_are_sent_under_its_name():
    async def body(instance: Instance) -> None:
        handle = instance.broker(0).module("kinds")
        handle.stats.timing("load", 1.5)
        handle.stats.gauge_set("depth", 3)
        await instance.sleep(5.0)
        lines = {line for _, packet in instance.sink.packets for line in packet.split(b"\n") if line}
        assert lines == {b"flux.kinds.0.load:1.5|ms", b"flux.kinds.0.depth:3|g"}

    live(body, "kinds", stats="mem:")


def test_the_clock_stands_still_while_a_module_holds_it():
    async def body(instance: Instance) -> None:
        handle = instance.broker(0).module("kinds")
        with handle.hold_clock():
            await trio.to_thread.run_sync(lambda: None)
            assert handle.now() == 0.0
        await instance.sleep(1.0)
        assert handle.now() == 1.0

    live(body, "kinds")


# -- real and scaled time


def test_on_a_real_clock_everything_works_as_under_the_virtual_one():
    async def main() -> None:
        async with brokersim.open_instance(
            size=3, clock="real*1000", modules=["kinds"], module_path=[FIXTURES], stats="mem:"
        ) as instance:
            with trio.fail_after(60_000):
                client = instance.client(2)
                assert (await client.call("kinds.task", nodeid=0))["inner"] == "step"
                await client.call("kinds.walk")
                before = client.now()
                await instance.sleep(50.0)
                assert client.now() - before >= 50.0

    brokersim.run(main, clock="real*1000")


def test_a_spinning_module_on_a_real_clock_leaves_timers_and_callers_their_turn():
    async def main() -> None:
        async with brokersim.open_instance(
            clock="real*1000",
            modules=["heartbeat", "kinds"],
            module_path=[FIXTURES],
            hook="idle",
            stats="mem:",
        ) as instance:
            with trio.fail_after(60_000):
                client = instance.client()
                await client.call("kinds.debug", {"op": "setbit", "flags": 0x1000})
                heartbeat = instance.broker(0).module("heartbeat")
                before = heartbeat.counts[0]
                while heartbeat.counts[0] - before < 5:  # however little of the machine there is
                    await instance.sleep(2.0)
                assert (await client.call("kinds.step"))["inner"] == "sync"
                loop = instance.broker(0).module("kinds").own_loop
                assert loop.idle_calls > 100

    brokersim.run(main, clock="real*1000")
