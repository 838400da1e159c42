"""Samples on their way to a sink: the law after every step, order, gaps, backing off; and the worked example."""

from __future__ import annotations

import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from modules.probe.contract import Field, Reading
from modules.probe.plan import part, to_measurement
from modules.probe.sending.collector import Collector
from modules.probe.sending.gaps import GAPS_MAX
from modules.probe.sending.outqueue import OutQueue
from modules.probe.sending.series import Sample, to_series
from modules.probe.sending.source import Source

CHANCE = random.Random(5)


def series(metric="v", subject="node/0"):
    return to_series("m", Reading(subject=subject, metrics={metric: 1}), metric, None, "node/0", "raw")


ONE = series()


def sample(seq, value=1.0, is_timed=False):
    return Sample(ONE, seq * 10**9, seq, value, is_timed)


def test_the_id_of_a_series_is_the_hash_of_what_it_is():
    field = Field(otel="system.cpu.utilization", attributes={"cpu.mode": "user"})
    found = to_series("a", Reading(subject="node/0", metrics={"user": 1}), "user", field, "node/0", "raw")
    assert found.mid == "sha1-c2d3cba3400b0ec4c46c95b9b3c749593af218ef"
    other = to_series("b", Reading(subject="node/1", metrics={"user": 1}), "user", field, "node/1", "raw")
    assert other.mid != found.mid


@pytest.mark.parametrize(
    ("text", "name"), [("a.b", "a_b"), ("eth0:1", "eth0_1"), ("µs |", "_s__"), ("a-b_C9", "a-b_C9")]
)
def test_what_would_break_a_name_becomes_an_underscore(text, name):
    assert part(text) == name


def test_the_worked_example_of_a_sink_that_is_down_for_eight_runs():
    queue = OutQueue(name="q", max_samples=5)
    for now in range(8):
        queue.insert(sample(now + 1))
        assert queue.is_in_balance
        if queue.take(float(now)):
            queue.failed(float(now), CHANCE, "down", retry_after=0.5)
        assert queue.is_in_balance
    batch = queue.take(7.5)
    assert [one.seq for one in batch] == [4, 5, 6, 7, 8]
    assert [gap.to_dict() for gap in queue.gaps] == [{"gap": ONE.mid, "from": 1, "to": 3}]
    queue.delivered_now()
    assert (queue.delivered, queue.dropped, queue.gaps) == (5, {"full": 3}, [])


def test_backing_off_doubles_up_to_a_minute_and_is_forgotten_by_success():
    queue = OutQueue(name="q")
    queue.insert(sample(1))
    now, delays = 0.0, []
    for _ in range(10):
        assert queue.take(now)
        queue.failed(now, CHANCE, "down")
        delays.append(queue.not_before - now)
        assert queue.take(queue.not_before - 0.01) == []
        now = queue.not_before
    assert all(2**k / 2 <= delay <= 2**k for k, delay in enumerate(delays[:6]))
    assert all(30 <= delay <= 60 for delay in delays[6:])
    assert queue.take(now)
    queue.delivered_now()
    assert (queue.failures, queue.trouble) == (0, "")


def test_a_receiver_that_says_when_to_come_again_is_believed():
    queue = OutQueue(name="q")
    queue.insert(sample(1))
    queue.take(0.0)
    queue.failed(0.0, CHANCE, "503", retry_after=7.0)
    assert queue.take(6.9) == [] and queue.take(7.0)


def test_a_batch_that_can_never_be_taken_is_dropped_with_its_reason():
    queue = OutQueue(name="q")
    queue.insert(sample(1))
    queue.insert(sample(2))
    queue.take(0.0)
    queue.failed(0.0, CHANCE, "400", is_final=True)
    assert queue.dropped == {"encode": 2} and queue.queued == 0 and queue.is_in_balance


def test_the_newest_makes_way_if_that_is_wanted():
    queue = OutQueue(name="q", max_samples=2, drop_newest=True)
    for seq in (1, 2, 3):
        queue.insert(sample(seq))
    assert [one.seq for one in queue.take(0.0)] == [1, 2]
    assert [gap.to_dict()["from"] for gap in queue.gaps] == [3]


def test_ten_minutes_down_at_ten_samples_a_second_lose_nothing_and_keep_their_order():
    queue, got, now, seq = OutQueue(name="q"), [], 0.0, 0
    while now < 700:
        for _ in range(10):
            seq += 1
            queue.insert(sample(seq))
        while batch := queue.take(now):
            if now < 600:
                queue.failed(now, CHANCE, "down")
                break
            got += [one.seq for one in batch]
            queue.delivered_now()
        assert queue.is_in_balance
        now += 1.0
    assert queue.dropped.total() == 0
    assert got == list(range(1, len(got) + 1)) and len(got) + queue.queued == 7000
    assert len(got) > 6000


steps = st.lists(
    st.sampled_from(["insert", "text", "timed", "take", "ok", "fail", "final", "wait", "end"]), max_size=80
)


@given(steps, st.integers(1, 6), st.booleans(), st.booleans(), st.integers(150, 5000))
def test_after_every_step_what_went_in_is_accounted_for(steps, most, newest, has_text, most_bytes):
    queue = OutQueue(
        name="q",
        max_samples=most,
        max_bytes=most_bytes,
        drop_newest=newest,
        has_text=has_text,
        has_times=has_text,
    )
    now, seq, order = 0.0, 0, []
    for step in steps:
        if step in ("insert", "text", "timed"):
            seq += 1
            one = sample(seq, "text" if step == "text" else 1.0, step == "timed")
            if not queue.suppresses(one):
                queue.insert(one)
        elif step == "take":
            queue.take(now)
        elif step == "ok" and queue.flight:
            order += [one.seq for one in queue.flight]
            queue.delivered_now()
        elif step in ("fail", "final") and queue.flight:
            queue.failed(now, CHANCE, "down", is_final=step == "final")
        elif step == "wait":
            now += 30
        elif step == "end":
            queue.give_up()
        assert queue.is_in_balance
        assert queue.queued <= most
        assert queue.size >= 0
    assert order == sorted(set(order)), "in order, none twice"
    assert queue.inserted == seq


# -- the collector


def source(name="m", **reporting):
    record = {"probe": "dummy", "reporting": {"sinks": ["a", "b"], **reporting}}
    return Source(to_measurement(name, record), {"value": Field()}, "node/0")


def collector(limit=1 << 20, **queue):
    made = Collector(memory_limit=limit)
    for name in ("a", "b"):
        made.add_sink(OutQueue(name=name, **queue))
    return made


def reading(value, metric="value", **more):
    return Reading(subject="node/0", metrics={metric: value}, **more)


def test_a_sink_that_is_full_leaves_the_others_alone():
    made, one = collector(), source()
    made.queues["a"].max_samples = 3
    for now in range(10):
        made.insert(one, [reading(now)], float(now))
    assert made.queues["a"].queued == 3 and made.queues["b"].queued == 10
    assert all(queue.is_in_balance for queue in made.queues.values())


def test_above_its_share_of_memory_the_longest_queue_gives_way_and_at_the_limit_samples_are_refused():
    made, one = collector(limit=2000, max_samples=100), source()
    for now in range(200):
        made.insert(one, [reading(now)], float(now))
        assert made.size <= 2000
        assert all(queue.is_in_balance for queue in made.queues.values())
    dropped = made.queues["a"].dropped + made.queues["b"].dropped
    assert dropped["memory"] > 100


def test_a_sample_that_all_the_memory_would_not_hold_is_refused_and_counted():
    made, one = collector(limit=500), source()
    made.insert(one, [reading("x" * 600)], 0.0)
    made.insert(one, [reading("x" * 100)], 1.0)
    for queue in made.queues.values():
        assert queue.dropped == {"limit": 1} and queue.queued == 1 and queue.is_in_balance


def test_an_undeclared_metric_is_a_gauge_under_its_own_name():
    made, one = collector(), source()
    made.insert(one, [reading(1, "other")], 0.0)
    assert one.unknown == {"other"}
    assert [(s.metric, s.kind) for s in one.series.values()] == [("other", "gauge")]


def test_two_series_that_would_have_one_name_are_refused():
    made, one = collector(), source()
    made.insert(one, [reading(1, "a.b")], 0.0)
    with pytest.raises(ValueError, match=r"would both be named m\.a_b"):
        made.insert(one, [reading(1, "a_b")], 1.0)


def counter_source(form):
    record = {"probe": "dummy", "reporting": {"sinks": ["a"], "counters": form}}
    return Source(to_measurement("m", record), {"value": Field(kind="counter", width=32)}, "node/0")


@pytest.mark.parametrize(
    ("form", "expected"),
    [
        ("raw", [10, 30, 4294967290, 4, 2]),
        ("delta", [20, 4294967260, 10]),
        ("rate", [10.0, 2147483630.0, 5.0]),
    ],
)
def test_a_counter_is_sent_raw_or_as_its_growth_and_a_reset_is_no_growth(form, expected):
    made, one = collector(), counter_source(form)
    for step, (value, identity) in enumerate([(10, "x"), (30, "x"), (4294967290, "x"), (4, "x"), (2, "y")]):
        made.insert(one, [reading(value, identity=identity)], step * 2.0)
    assert [sent.value for sent in made.queues["a"].take(0.0)] == expected
    assert one.counts["reset"] == 1


def test_two_measurements_of_one_thing_count_its_samples_together():
    made = collector()
    first, second = source("m"), source("n")
    first.fields = second.fields = {"value": Field(otel="system.value")}
    made.insert(first, [reading(1)], 0.0)
    made.insert(second, [reading(1)], 0.0)
    assert [(one.series.mid == two.series.mid, one.seq, two.seq)
            for one, two in [made.queues["a"].take(0.0)]] == [(True, 1, 2)]  # fmt: skip


def test_what_no_convention_names_is_another_thing_in_each_measurement():
    made = collector()
    made.insert(source("m"), [reading(1)], 0.0)
    made.insert(source("n"), [reading(1)], 0.0)
    one, two = made.queues["a"].take(0.0)
    assert one.series.mid != two.series.mid
    assert one.series.attributes == {"measurement": "m"}


def test_gaps_are_told_up_to_a_bound_and_drops_are_counted_all_the_same():
    queue = OutQueue(name="q", max_samples=1)
    many = [series(metric=f"v{number}") for number in range(GAPS_MAX + 10)]
    for one in many:
        queue.insert(Sample(one, 10**9, 1, 1.0, False))
    assert len(queue.gaps) == GAPS_MAX
    assert queue.dropped["full"] == len(many) - 1
