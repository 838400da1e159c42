"""The aggregator: what no order or packing may change, what no bytes may break, and what it says of itself."""

from __future__ import annotations

import math
import random
import statistics
from collections.abc import Iterable

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from brokersim.statsd.aggregator import Aggregator
from brokersim.statsd.buckets import LogBuckets
from brokersim.statsd.config import AggregatorConfig, ConfigError
from brokersim.statsd.dialects import DIALECTS
from brokersim.statsd.flushed import Flush
from brokersim.statsd.keyed import PYTHON
from brokersim.statsd.packet import pack
from tests.effort import examples
from tests.statsd.statsd_options import config_of

DIALECT = st.sampled_from(DIALECTS)
GOOD_LINES = st.one_of(
    st.builds("k{}:{}|c".format, st.integers(0, 3), st.integers(-5, 500)),
    st.builds("g{}:{}|g".format, st.integers(0, 3), st.integers(0, 10**20)),
    st.builds("t{}:{}|ms".format, st.integers(0, 3), st.integers(0, 5000)),
    st.builds("d{}:{:.3f}|ms".format, st.integers(0, 3), st.floats(0, 5000)),
    st.builds("r{}:{}|c|@0.5".format, st.integers(0, 3), st.integers(0, 9)),
    st.builds("i{}:{}|g".format, st.integers(0, 3), st.integers(-9, -1)),
)


def flushed(dialect: str, packets: Iterable[bytes], config: AggregatorConfig | None = None) -> Flush:
    aggregator = Aggregator(dialect, config)
    for packet in packets:
        aggregator.feed(packet)
    return aggregator.flush(1.0)


def key_of(line: str) -> str:
    return line.partition(":")[0]


@given(st.lists(GOOD_LINES, max_size=40), DIALECT, st.randoms(use_true_random=False), st.integers(40, 200))
def test_packing_splitting_and_reordering_independent_lines_changes_nothing(
    lines: list[str], dialect: str, order: random.Random, limit: int
):
    # Lines of different keys are independent; those of one key stay in order.
    by_key: dict[str, list[str]] = {}
    for line in lines:
        by_key.setdefault(key_of(line), []).append(line)
    turns = [key for key, share in by_key.items() for _ in share]
    order.shuffle(turns)
    shuffled = [by_key[key].pop(0) for key in turns]
    alone = flushed(dialect, [line.encode() for line in lines])
    packed = flushed(dialect, pack([line.encode() for line in shuffled], limit))
    one = flushed(dialect, ["\n".join(lines).encode()])
    assert alone.values == packed.values == one.values
    assert alone.bad_lines == packed.bad_lines == one.bad_lines


@given(st.lists(GOOD_LINES, min_size=1, max_size=30), st.lists(GOOD_LINES, max_size=30))
def test_the_fast_path_says_what_the_judge_says(warm: list[str], lines: list[str]):
    """The second interval finds all keys known. Tags that say nothing send a line down the slow path."""
    fast, slow = Aggregator(), Aggregator()
    for share in (warm, warm + lines):
        for line in share:
            fast.feed(line.encode())
            slow.feed(line.encode() + b"|#")
        ours, theirs = fast.flush(1.0), slow.flush(1.0)
        assert ours.values == theirs.values
        assert (ours.samples, ours.totals, ours.bad_lines) == (theirs.samples, theirs.totals, 0)


MUTATIONS = st.tuples(st.integers(0, 200), st.binary(max_size=3), st.integers(0, 3))


@settings(max_examples=examples(300))
@given(st.lists(st.one_of(st.binary(max_size=100), st.tuples(st.lists(GOOD_LINES, min_size=1, max_size=5), MUTATIONS)),
                max_size=10), DIALECT)  # fmt: skip
def test_whatever_arrives_the_server_lives_and_good_lines_of_other_packets_count(
    packets: list[bytes | tuple[list[str], tuple[int, bytes, int]]], dialect: str
):
    aggregator = Aggregator(dialect)
    sent = []
    for packet in packets:
        if isinstance(packet, tuple):
            good, (at, put, cut) = "\n".join(packet[0]).encode(), packet[1]
            at %= len(good) + 1
            packet = good[:at] + put + good[at + cut :]
        sent.append(packet)
        aggregator.feed(packet)
        aggregator.feed(b"safe.and.sound:1|c\nsafe.level:7|g")
    flush = aggregator.flush(1.0)
    assert flush.counters.get("safe.and.sound", 0) == len(packets)
    assert flush.gauges.get("safe.level", 7) == 7
    health = aggregator.statistics()
    assert health.packets == 2 * len(packets)
    assert health.bytes == sum(len(packet) for packet in sent) + len(packets) * len(
        b"safe.and.sound:1|c\nsafe.level:7|g"
    )
    assert sum(health.bad_by_reason.values()) == health.bad_lines
    if dialect == "strict":
        lines = sum(1 for packet in sent for line in packet.split(b"\n") if line) + 2 * len(packets)
        assert (health.lines, health.metrics + health.bad_lines) == (lines, lines)


def test_random_datagrams_by_the_ten_thousand_leave_every_server_standing():
    chance = random.Random(20_261_122)
    good = [
        b"k:1|c",
        b"g:+5|g",
        b"t:1.5:2|ms|@0.1|#a:b",
        b"s:x|s",
        b"C:5|C",
        b"k;a=b:1e3|c",
        b"__proto__:1|ms",
    ]
    alphabet = b":|@#;,.+-0123456789eEcgmshdCxX\0\n\r \xff"
    aggregators = [Aggregator(dialect) for dialect in DIALECTS]
    for number in range(examples(25_000)):
        packet = bytearray(chance.choice(good)) + b"\n" + chance.choice(good)
        for _ in range(chance.randrange(4)):
            packet[chance.randrange(len(packet))] = chance.choice(alphabet)
        if number % 10 == 0:
            packet = bytearray(chance.randbytes(chance.randrange(60)))
        for aggregator in aggregators:
            aggregator.feed(bytes(packet))
    for aggregator in aggregators:
        aggregator.feed(b"last:42|g")
        flush = aggregator.flush(1.0)
        assert flush.gauges["last"] == 42
        for _, value in flush.graphite():
            assert math.isfinite(value)


@pytest.mark.parametrize("dialect", DIALECTS)
@pytest.mark.parametrize(
    "line",
    [b"x" * 2000 + b":1|c", b"k:nan|g", b"k:Infinity|g", b"k:1e400|c", b"k:1e400|ms", b"k\0:1|c", b"toString:1|ms",
     b"__proto__:1|s", b"k:1|c|@0", b"k:1|c|@+0.5", b"k:1|ms|@1e-320", b"k:1e308|c\nk:1e308|c\nk:-1e308|c|@1e-300",
     b"k:" + b"9" * 60_000 + b"|g", b":" * 65_000, b"\n" * 65_000, b"k:1|c" + b"|" * 60_000, b"x" * 70_000,
     b"k:1:" * 16_000 + b"1|c", b"k:Infinity|ms\n" * 2],
    ids=lambda line: repr(line[:24]),
)  # fmt: skip
def test_hostile_lines_do_no_harm_in_any_dialect(line: bytes, dialect: str):
    aggregator = Aggregator(dialect, AggregatorConfig(timer_cap=1))
    for t in (1.0, 2.0):
        aggregator.feed(b"before:1|c")
        aggregator.feed(line)
        aggregator.feed(b"after:1|c\nafter.t:3|ms")
        flush = aggregator.flush(t)
        assert (flush.counters["before"], flush.counters["after"]) == (1, 1)
        assert flush.timer_counts["after.t"] == 1


def test_a_packet_over_the_dialects_limit_is_cut_and_counted():
    packet = b"\n".join(b"k:1|c" for _ in range(2000))
    counts = {}
    for dialect in DIALECTS:
        aggregator = Aggregator(dialect)
        aggregator.feed(packet)
        counts[dialect] = (aggregator.flush(1.0).counters["k"], aggregator.statistics().cut_packets)
    assert counts == {"strict": (2000, 0), "etsy": (2000, 0), "brubeck": (1365, 1), "collectd": (682, 1)}


def test_a_burst_after_a_long_packet_makes_no_phantom_errors():
    aggregator = Aggregator("brubeck")
    aggregator.feed(b"\n".join(b"k%d:1|c" % number for number in range(500)))
    for number in range(56):
        aggregator.feed(b"k%d:1|c" % number)
    assert (aggregator.statistics().bad_lines, aggregator.flush(1.0).metrics) == (0, 556)


# --- time-to-live, deletion, limits


def test_each_type_lives_its_own_number_of_flushes_and_its_value_goes_with_it():
    config = AggregatorConfig(counter_ttl=1, timer_ttl=2, gauge_ttl=3, set_ttl=1)
    aggregator = Aggregator("strict", config)
    aggregator.feed(b"k:4|c\nt:5|ms\ng:9|g\ns:x|s")
    shown = [
        sorted({name.split(".")[1] for name in aggregator.flush(t).values}) for t in (1.0, 2.0, 3.0, 4.0)
    ]
    assert shown == [["g", "k", "s", "t"], ["g", "t"], ["g"], []]
    assert aggregator.statistics().expired_keys == 4
    aggregator.feed(b"g:+1|g")
    assert aggregator.flush(5.0).gauges == {"g": 1}


def test_a_key_that_is_written_again_by_the_fast_path_lives_on():
    aggregator = Aggregator("strict", AggregatorConfig(counter_ttl=2, gauge_ttl=2, timer_ttl=2))
    for t in range(6):
        for _ in range(2):
            aggregator.feed(b"k:1|c\ng:5|g\nt:3|ms")
        assert aggregator.flush(t).counters == {"k": 2}
    assert len(aggregator.flush(7).values) > 3
    assert aggregator.flush(8).values == {}


def test_brubeck_hides_an_expired_key_and_goes_on_from_its_value():
    aggregator = Aggregator("brubeck", AggregatorConfig(gauge_ttl=1))
    aggregator.feed(b"g:9|g")
    assert [dict(aggregator.flush(t).values) for t in (1.0, 2.0)] == [{"g": 9}, {}]
    aggregator.feed(b"g:+1|g")
    assert aggregator.flush(3.0).values == {"g": 10}


def test_a_disabled_key_is_hidden_until_it_is_written_again():
    aggregator = Aggregator()
    aggregator.feed(b"g:9|g\nk:1|c\ng:1|c\ng:1|ms\ng:x|s")
    aggregator.flush(1.0)
    assert aggregator.disable("g") and aggregator.disable("k") and not aggregator.disable("nobody")
    assert aggregator.flush(2.0).values == {}
    info = aggregator.lookup("g")
    assert info is not None and info.is_disabled and info.values["gauges"] == 9
    aggregator.feed(b"g:+1|g\nk:2|c")
    assert (aggregator.flush(3.0).gauges, aggregator.flush(4.0).counters) == ({"g": 10}, {"k": 0})


def test_keys_are_deleted_by_name_or_by_prefix():
    aggregator = Aggregator()
    aggregator.feed(b"a.b:1|c\na.c:2|c\nab:3|c\na.b:4|g")
    assert aggregator.delete("counters", "nobody") == []
    assert aggregator.delete("counters", "a.*") == ["a.b", "a.c"]
    flush = aggregator.flush(1.0)
    assert (flush.counters, flush.gauges, flush.totals) == ({"ab": 3}, {"a.b": 4}, {"ab": 3})
    aggregator.feed(b"a.b:1|c")
    assert aggregator.flush(2.0).totals == {"ab": 3, "a.b": 1}


def test_new_keys_beyond_the_limit_are_refused_and_known_ones_go_on():
    aggregator = Aggregator("strict", AggregatorConfig(max_keys=2))
    for _ in range(2):
        aggregator.feed(b"a:1|c\nb:1|g\nc:1|c\na:1|ms")
    flush = aggregator.flush(1.0)
    assert (flush.counters, flush.gauges, flush.samples) == ({"a": 2}, {"b": 1}, {})
    health = aggregator.statistics()
    assert (health.bad_by_reason, health.refused_keys) == ({"too_many_keys": 4}, 4)
    assert health.keys == {"counters": 1, "gauges": 1, "timers": 0, "sets": 0}


def test_the_tables_show_the_running_interval():
    aggregator = Aggregator()
    aggregator.feed(b"k:2|c\nk:5|C\nk:8|C\ng:5|g\nt:7|ms\nt:5|ms\ns:x|s", sender="me")
    tables = {kind: aggregator.table(kind) for kind in ("counters", "gauges", "timers", "sets")}
    assert tables == {"counters": {"k": 5}, "gauges": {"g": 5}, "timers": {"t": [7, 5]}, "sets": {"s": 1}}
    info = aggregator.lookup("t")
    assert info is not None and (info.kinds, info.first_sender) == (("timers",), "me")
    assert aggregator.lookup("nobody") is None


def test_health_adds_up():
    aggregator = Aggregator()
    aggregator.feed(b"k:1|c\nx\n\nk:2|c\n", t=3.0)
    aggregator.feed_lines([b"k:3|c"])
    aggregator.flush(4.0)
    health = aggregator.statistics()
    assert (health.packets, health.lines, health.metrics, health.bad_lines) == (1, 4, 3, 1)
    assert (health.flushes, health.last_packet_t, health.last_bad_t) == (1, 3.0, 3.0)
    assert len(aggregator.bad_lines()) == 1


def test_the_ring_of_bad_lines_is_bounded_in_number_and_length():
    aggregator = Aggregator("strict", AggregatorConfig(bad_ring=3))
    for number in range(10):
        aggregator.feed(b"bad%d" % number + b"x" * 1000)
    ring = aggregator.bad_lines()
    assert [bad.line[:4] for bad in ring] == [b"bad7", b"bad8", b"bad9"]
    assert max(len(bad.line) for bad in ring) == 200


# --- names


def test_names_are_built_from_all_prefixes_and_the_suffix_stands_before_the_tags():
    config = AggregatorConfig(
        global_prefix="top",
        prefix_counter="",
        prefix_timer="T",
        prefix_gauge="G",
        prefix_set="S",
        global_suffix="end",
    )
    aggregator = Aggregator("etsy", config)
    aggregator.feed(b"k:1|c|#a:b\ng:1|g\ns:1|s\nt:1|ms")
    paths = dict(aggregator.flush(1.0).graphite())
    wanted = {
        "top.k.count.end;a=b",
        "top.G.g.end",
        "top.S.s.count.end",
        "top.T.t.upper_90.end",
        "top.statsd.numStats.end",
    }
    assert wanted <= paths.keys()
    assert all(path.startswith("top.") for path in paths)


def test_graphite_gets_full_paths_in_the_old_namespace_and_the_new_and_no_nan():
    for config, wanted in (
        (
            AggregatorConfig(legacy_namespace=True),
            {"stats.k": 2.0, "stats_counts.k": 1, "statsd.numStats": 5},
        ),
        (
            AggregatorConfig(),
            {"stats.counters.k.rate": 2.0, "stats.counters.k.count": 1, "stats.statsd.numStats": 5},
        ),
    ):
        aggregator = Aggregator("etsy", AggregatorConfig(flush=0.5, legacy_namespace=config.legacy_namespace))
        aggregator.feed(b"k:1|c\ng:Infinity|g")
        paths = dict(aggregator.flush(1.0).graphite())
        assert {name: paths[name] for name in wanted} == wanted
        assert not any("gauges.g" in path for path in paths)


def test_settings_that_cannot_be_are_refused_with_their_name_and_value():
    for settings_, words in (({"flush": 0.001}, "flush is 0.001"), ({"percentiles": (0,)}, "percentiles has 0"),
                             ({"timer_cap": 0}, "timer_cap"), ({"percentiles": (101,)}, "101")):  # fmt: skip
        with pytest.raises(ConfigError, match=words):
            AggregatorConfig(**settings_)  # type: ignore[arg-type]


def test_statsds_own_options_are_understood():
    config = config_of(
        {
            "flushInterval": 250, "percentThreshold": [50, -10], "deleteIdleStats": True, "deleteSets": False,
            "gaugesMaxTTL": 4, "graphite": {"legacyNamespace": True, "globalPrefix": "x"}, "port": 8125,
            "histogram": [{"metric": "a", "bins": [0.01, 10, "inf"]}],
        },
        bad_ring=5,
    )  # fmt: skip
    assert config == AggregatorConfig(
        flush=0.25, percentiles=(50, -10), counter_ttl=1, timer_ttl=1, set_ttl=0, gauge_ttl=4, legacy_namespace=True,
        global_prefix="x", histogram=(("a", (0.01, 10.0, math.inf)),), bad_ring=5,
    )  # fmt: skip


# --- timers


@given(
    st.lists(st.floats(0, 1e6), min_size=1, max_size=60),
    st.floats(0.1, 100),
    st.randoms(use_true_random=False),
)
def test_timer_fields_are_those_of_the_textbook(values: list[float], threshold: float, order: random.Random):
    shuffled = values.copy()
    order.shuffle(shuffled)
    flush = flushed(
        "strict", [f"t:{ms!r}|ms".encode() for ms in shuffled], AggregatorConfig(percentiles=(threshold,))
    )
    fields = {name.removeprefix("timers.t."): value for name, value in flush.values.items()}
    assert flush.samples == {"t": sorted(values)}
    wanted = {"count": len(values), "sum": sum(values), "mean": statistics.fmean(values), "upper": max(values),
              "lower": min(values), "median": statistics.median(values), "std": statistics.pstdev(values),
              "sum_squares": sum(ms * ms for ms in values)}  # fmt: skip
    for name, value in wanted.items():
        assert fields[name] == pytest.approx(value, rel=1e-9, abs=1e-6), name
    taken = sorted(values)[: int(threshold / 100 * len(values) + 0.5)] if len(values) > 1 else values
    name = f"{threshold:g}".replace(".", "_").replace("-", "top")
    if taken:
        assert fields[f"upper_{name}"] == taken[-1]
        assert fields[f"count_{name}"] == len(taken)
        assert fields[f"mean_{name}"] == pytest.approx(statistics.fmean(taken), rel=1e-9)
    else:
        assert f"upper_{name}" not in fields


def test_only_count_and_count_ps_see_the_sample_rate():
    flush = flushed("strict", [b"t:100|ms|@0.1"])
    fields = {name.removeprefix("timers.t."): value for name, value in flush.values.items()}
    assert (fields["count"], fields["count_ps"], fields["sum"], fields["mean"], fields["count_90"]) == (
        10,
        10,
        100,
        100,
        1,
    )


def test_an_idle_timer_shows_its_two_counts_and_nothing_else():
    aggregator = Aggregator()
    aggregator.feed(b"t:5|ms")
    aggregator.flush(1.0)
    assert aggregator.flush(2.0).values == {"timers.t.count": 0, "timers.t.count_ps": 0}


def test_a_threshold_of_minus_100_takes_all_and_a_tiny_one_is_left_out():
    flush = flushed("strict", [b"t:1:2|ms"], AggregatorConfig(percentiles=(-100, 10, 99.9)))
    assert (flush.values["timers.t.lower_top100"], flush.values["timers.t.sum_top100"]) == (1, 3)
    assert flush.values["timers.t.upper_99_9"] == 2
    assert not any(name.endswith("_10") for name in flush.values)


def test_bins_count_each_value_once_and_filters_know_fractional_thresholds():
    histogram = (("t", (1.0, 2.5, math.inf)), ("", (5.0,)))
    flush = flushed("strict", [b"t:0:1:2:2.5:9|ms"], AggregatorConfig(histogram=histogram))
    bins = {name: value for name, value in flush.values.items() if "bin" in name}
    assert bins == {f"timers.t.histogram.bin_{name}": n for name, n in (("1", 1), ("2_5", 2), ("inf", 2))}
    config = AggregatorConfig(percentiles=(99.9, -10), calculated=frozenset({"upper_percent", "count"}))
    assert set(flushed("strict", [b"t:1:2:3|ms"], config).values) == {"timers.t.count", "timers.t.upper_99_9"}


SHAPES = {
    "lognormal": lambda chance: chance.lognormvariate(3, 1.5),
    "pareto": lambda chance: chance.paretovariate(1.2),
    "uniform": lambda chance: chance.uniform(0, 100),
    "two humps": lambda chance: chance.gauss(10, 1) if chance.random() < 0.9 else chance.gauss(1000, 50),
}


@pytest.mark.parametrize("shape", SHAPES)
def test_beyond_the_cap_percentiles_stay_within_one_percent_and_memory_within_bounds(shape: str):
    chance = random.Random(shape)
    values = [abs(SHAPES[shape](chance)) for _ in range(60_000)]
    aggregator = Aggregator("strict", AggregatorConfig(percentiles=(50, 90, 99, 99.9, -1), timer_cap=1000))
    for start in range(0, len(values), 40):
        aggregator.feed(b"t:" + b":".join(b"%a" % value for value in values[start : start + 40]) + b"|ms")
    held = aggregator.table("timers")["t"]
    assert isinstance(held, list) and len(held) <= 1_000 + 20_000 + 40
    flush = aggregator.flush(1.0)
    assert flush.approx == {"t"} and flush.samples == {}
    values.sort()
    shown = {name.removeprefix("timers.t."): value for name, value in flush.values.items()}
    for name, rank in (("upper_50", 0.5), ("upper_90", 0.9), ("upper_99", 0.99), ("upper_99_9", 0.999)):
        assert shown[name] == pytest.approx(values[math.floor(rank * len(values) + 0.5) - 1], rel=0.0101), (
            name
        )
    assert shown["lower_top1"] == pytest.approx(values[-600], rel=0.0101)
    assert shown["sum_90"] == pytest.approx(sum(values[:54_000]), rel=0.0101)
    assert shown["sum_squares_90"] == pytest.approx(sum(ms * ms for ms in values[:54_000]), rel=0.0202)
    assert shown["median"] == pytest.approx((values[29_999] + values[30_000]) / 2, rel=0.0101)
    exact = {"count": 60_000, "upper": values[-1], "lower": values[0], "sum": sum(values),
             "mean": statistics.fmean(values), "std": statistics.pstdev(values)}  # fmt: skip
    for name, value in exact.items():
        assert shown[name] == pytest.approx(value, rel=1e-9), name
    assert len(flush.buckets["t"].counts) < 2500


@given(st.lists(st.lists(st.floats(0, 1e9), max_size=30), min_size=1, max_size=5))
def test_merged_buckets_are_the_buckets_of_all_values(parts: list[list[float]]):
    whole, merged = LogBuckets(), LogBuckets()
    whole.add_many([value for part in parts for value in part])
    for part in parts:
        buckets = LogBuckets()
        buckets.add_many(part)
        merged.merge(buckets)
    assert (merged.counts, merged.zeros, merged.n) == (whole.counts, whole.zeros, whole.n)
    assert (merged.lower, merged.upper) == (whole.lower, whole.upper)
    assert merged.std == pytest.approx(whole.std, rel=1e-6, abs=1e-3)
    values = sorted(value for part in parts for value in part)
    for rank in range(1, len(values) + 1):
        exact = values[rank - 1]
        assert merged.at_rank(rank) == pytest.approx(exact, rel=0.0101, abs=1e-300)


def test_brubeck_counts_all_timings_of_an_interval_and_looks_at_the_first_65535():
    aggregator = Aggregator("brubeck")
    for number in range(70):
        value = b"9" if number >= 66 else b"1"
        aggregator.feed(b"\n".join([b"t:" + value + b"|ms"] * 1000))
    flush = aggregator.flush(1.0)
    assert (flush.values["t.count"], flush.values["t.sum"], flush.values["t.max"]) == (70_000, 65_535, 1)


def test_collectd_forgets_nothing_beyond_the_cap_and_says_nothing_of_an_idle_timer():
    small, large = (Aggregator("collectd", AggregatorConfig(timer_cap=cap)) for cap in (10, 10_000))
    for number in range(2000):
        for aggregator in (small, large):
            aggregator.feed(b"t:%d|ms" % (number * number % 7919))
    ours, theirs = small.flush(1.0), large.flush(1.0)
    assert ours.values == theirs.values
    assert ours.values["gauge-t-count"] == 1999
    idle = small.flush(2.0).values
    assert idle["gauge-t-count"] == 0 and math.isnan(idle["latency-t-average"])


def test_a_sampled_timing_is_ten_times_too_long_in_collectd_only():
    values = {dialect: flushed(dialect, [b"t:100|ms|@0.1"]).values for dialect in DIALECTS}
    assert values["collectd"]["latency-t-upper"] == pytest.approx(1.0, abs=1e-6)
    assert (
        values["brubeck"]["t.max"]
        == values["strict"]["timers.t.upper"]
        == values["etsy"]["timers.t.upper"]
        == 100
    )


@pytest.mark.parametrize("how", ["single lines", "packed"])
def test_a_key_never_holds_many_more_samples_than_the_cap(how: str):
    aggregator = Aggregator(config=AggregatorConfig(percentiles=(50, 99)))
    most = 0
    for start in range(0, 200_000, 1000):
        values = [b"%d" % (1 + number % 997) for number in range(start, start + 1000)]
        packet = (
            b"\n".join(b"k:%b|ms" % value for value in values)
            if how == "single lines"
            else b"k:%b|ms" % b":".join(values)
        )
        aggregator.feed(packet)
        held = aggregator.table("timers")["k"]
        assert isinstance(held, list)
        most = max(most, len(held))
    assert 20_000 <= most <= 42_000, "the cap, and one look of 20,000 samples later"
    flush = aggregator.flush(1.0)
    assert (flush.timer_counts["k"], flush.approx) == (200_000, {"k"})
    assert flush.values["timers.k.upper_50"] == pytest.approx(499, rel=0.01)
    assert flush.values["timers.k.upper_99"] == pytest.approx(988, rel=0.01)


def test_the_names_of_a_flush_follow_keys_that_come_and_go():
    """Names are kept from flush to flush: an independent aggregator without a past shows the same."""
    aggregator = Aggregator("etsy")
    rounds = [[b"a:1|g", b"n:1|c"], [b"b:2|g"], [], [b"c:3|g", b"m:1|c", b"s:x|s"], [b"a:9|g"]]
    held: dict[bytes, bytes] = {}
    for number, lines in enumerate(rounds):
        for line in lines:
            aggregator.feed(line)
            held[line.partition(b":")[0]] = line
        if number == 3:
            assert aggregator.delete("gauges", "b") == ["b"]
            del held[b"b"]
        flush = aggregator.flush(float(number))
        fresh = Aggregator("etsy")
        for line in held.values():
            fresh.feed(line)
        expected = fresh.flush(0.0)
        assert flush.values.keys() == expected.values.keys()
        gauges = {name: value for name, value in flush.values.items() if name.startswith("gauges.")}
        assert gauges == {
            name: value for name, value in expected.values.items() if name.startswith("gauges.")
        }
        assert dict(flush.gauges) == dict(expected.gauges)


def test_a_flush_that_was_kept_stays_as_it_was():
    aggregator = Aggregator()
    aggregator.feed(b"g:1|g\nn:5|c")
    first = aggregator.flush(1.0)
    aggregator.feed(b"g:2|g\nn:7|c\nnew:3|g")
    aggregator.flush(2.0)
    assert (dict(first.gauges), dict(first.counters), dict(first.totals)) == ({"g": 1}, {"n": 5}, {"n": 5})
    assert first.values["gauges.g"] == 1
    assert "gauges.new" not in first.values


@pytest.mark.parametrize("dialect", DIALECTS)
def test_a_set_of_a_name_that_has_timings_too_is_no_timing(dialect):
    """Lines of a timer that is known take a shorter way; it must be theirs alone."""
    aggregator = Aggregator(dialect, keyed=PYTHON)
    for _ in range(2):
        aggregator.feed(b"k:5|ms\nk:6|ms\nk:777|s\nk:778|xs\nk:779|Ms")
        assert aggregator.flush(1.0).samples["k"] == [5, 6]


@pytest.mark.parametrize("own", [0, 5])
def test_a_users_counter_called_like_one_of_etsys_own_is_added_to_it_and_shown_once(own: int):
    packet = b"statsd.bad_lines_seen:%d|c\n" % own if own else b""
    shown = list(flushed("etsy", [packet + b"x:1|c\nbroken"]).graphite())
    assert [value for name, value in shown if name == "stats.counters.statsd.bad_lines_seen.count"] == [
        own + 1
    ]
    assert [value for name, value in shown if name == "stats.counters.x.count"] == [1]
    assert len(dict(shown)) == len(shown)
