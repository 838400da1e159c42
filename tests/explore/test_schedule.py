"""Delays of hand-overs: what they may change and what they never do, and that off they leave nothing behind."""

from __future__ import annotations

from brokersim import open_instance, run
from brokersim.explore.schedule import SeededSchedule
from brokersim.explore.world import Client
from brokersim.reactor.loop import NS

ROOT = {"namespace": "primary", "flags": 0}
MODULES = ("content-cache", "content-sqlite", "kvs")


def in_instance(body, seed=1, spread=0.001, size=1):
    """Run ``body(instance, schedule)`` under a schedule."""

    async def main():
        async with open_instance(modules=MODULES, size=size) as instance:
            schedule = SeededSchedule(instance.reactor, seed, spread)
            instance.reactor.put_schedule(schedule)
            try:
                return await body(instance, schedule)
            finally:
                instance.reactor.put_schedule(None)

    return run(main)


async def ask_many(instance, count):
    """Two clients ask in turn; who was answered what, in the order of the answers, and when (ns)."""
    got = []
    clients = [Client(instance, 0, lane) for lane in range(2)]

    def ask():
        for number in range(count):
            for who, client in enumerate(clients):
                client.request(
                    "kvs.getroot", ROOT, lambda _r, a: got.append((*a, instance.reactor.now)), (who, number)
                )

    instance.reactor.call_later(0, ask)
    await instance.sleep(1)
    return got


def test_one_receiver_gets_what_it_is_sent_in_order_and_others_overtake_it():
    async def body(instance, _):
        return await ask_many(instance, 20)

    got = in_instance(body)
    for who in (0, 1):
        assert [number for one, number, _ in got if one == who] == list(range(20))
    assert [(who, number) for who, number, _ in got] != [(w, n) for n in range(20) for w in (0, 1)]
    assert len({when for _, _, when in got}) > 5


def test_equal_seeds_give_equal_orders_and_others_do_not():
    async def body(instance, _):
        return await ask_many(instance, 10)

    assert in_instance(body, seed=3) == in_instance(body, seed=3)
    assert in_instance(body, seed=3) != in_instance(body, seed=4)


def test_without_a_spread_nothing_is_late():
    async def body(instance, schedule):
        got = await ask_many(instance, 5)
        assert schedule.holding == 0
        return got

    assert {when for _, _, when in in_instance(body, spread=0.0)} == {0}


def test_a_delay_depends_on_the_receiver_and_the_number_of_its_message_alone():
    async def body(instance, schedule):
        one, other = (SeededSchedule(instance.reactor, 7, 0.001) for _ in range(2))
        kvs = instance.module(0, "kvs").handle
        first, second = one._lane(kvs), other._lane(kvs)
        assert [one.delay(first.key, n) for n in range(50)] == [other.delay(second.key, n) for n in range(50)]
        delays = [one.delay(first.key, n) for n in range(1000)]
        assert 400 < delays.count(0) < 600
        assert 0 < sum(delay > NS // 1000 for delay in delays) < 200
        assert max(delays) <= NS // 100

    in_instance(body)


def test_the_broker_is_never_overtaken():
    async def body(instance, _):
        got = []
        client = Client(instance, 0, 0)

        def ask():
            for number in range(30):
                client.request("broker.ping", {"seq": number}, None)
            got.append(instance.broker(0).endpoint.counts[1])

        before = instance.broker(0).endpoint.counts[1]
        instance.reactor.call_later(0, ask)
        instance.reactor.call_later(0, lambda: got.append(instance.broker(0).endpoint.counts[1] - before))
        await instance.sleep(1)
        return got[-1]

    assert in_instance(body, spread=0.01) == 30


def test_what_is_kept_back_from_one_that_goes_is_answered():
    async def body(instance, schedule):
        got = []
        client = Client(instance, 0, 0)

        def ask():
            for _ in range(20):
                client.request("kvs.getroot", ROOT, lambda response, _: got.append(response.errnum))
            assert schedule.kept_for(instance.module(0, "kvs").handle) > 0
            assert instance.reactor.queued_for(instance.module(0, "kvs").handle) == 20
            instance.module(0, "kvs").crashed(RuntimeError("on purpose"), None)

        instance.reactor.call_later(0, ask)
        await instance.sleep(1)
        assert schedule.holding == 0
        return got

    assert len(in_instance(body)) == 20


def test_an_anchor_comes_right_before_the_message_it_names():
    async def body(instance, schedule):
        handed, seen = [], []
        kvs = instance.module(0, "kvs").handle
        kvs.set_tracer(lambda way, _, message: handed.append(message.topic) if way == "rx" else None)
        schedule.anchor("kvs.lookup", 0, 3, lambda: seen.append(list(handed)))
        client = Client(instance, 0, 0)

        def ask():
            for _ in range(5):
                client.request("kvs.lookup", {**ROOT, "key": "a"})

        instance.reactor.call_later(0, ask)
        await instance.sleep(1)
        return seen

    assert in_instance(body) == [["kvs.lookup"] * 2]


def test_a_schedule_that_is_taken_off_leaves_the_queues_own_append():
    async def body(instance, schedule):
        reactor = instance.reactor
        reactor.put_schedule(None)
        reactor.enter()
        assert reactor.push == reactor.fifo.append
        reactor.leave()
        reactor.put_schedule(schedule)
        assert reactor.schedule is schedule

    in_instance(body)
