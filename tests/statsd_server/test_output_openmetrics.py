"""The OpenMetrics page, read by Prometheus' own parser."""

from __future__ import annotations

import math
import shutil
import subprocess

import pytest
import trio
from hypothesis import example, given
from hypothesis import strategies as st

from brokersim.statsd import DIALECTS, Aggregator, AggregatorConfig
from brokersim.statsd.buckets import LogBuckets
from brokersim.statsd_server.outputs.histograms import Histogram
from brokersim.statsd_server.outputs.openmetrics import OpenMetricsPage, split_key
from brokersim.statsd_server.server import StatsdServer
from brokersim.statsd_server.settings import ServeSettings
from tests.statsd_server.harness import Kept, serving

parser = pytest.importorskip("prometheus_client.openmetrics.parser")


def samples_of(text: str) -> dict[tuple, float]:
    return {
        (each.name, *sorted(each.labels.items())): each.value
        for family in parser.text_string_to_metric_families(text)
        for each in family.samples
    }


def page_of(*packets: bytes, dialect: str = "strict", flushes: int = 1, **config) -> dict[tuple, float]:
    aggregator = Aggregator(dialect, AggregatorConfig(**config))
    page = OpenMetricsPage()
    for number in range(flushes):
        for packet in packets:
            aggregator.feed(packet)
        page.offer(aggregator.flush(float(number)))
    return samples_of(page.render())


def test_counters_grow_from_flush_to_flush_and_gauges_do_not():
    found = page_of(b"flux.kvs.0.rx:3|c\nload:5|g\nusers:a|s\nusers:b|s", flushes=3)
    assert found == {("flux_kvs_0_rx_total",): 9, ("load",): 5, ("users",): 2}


def test_timers_are_summaries_with_quantiles_of_the_interval_and_sums_since_the_start():
    found = page_of(*(b"t:%d|ms" % n for n in range(1, 11)), flushes=2)
    assert found == {
        ("t", ("quantile", "0.5")): 5,
        ("t", ("quantile", "0.9")): 9,
        ("t", ("quantile", "0.99")): 10,
        ("t_count",): 20,
        ("t_sum",): 110,
    }


def test_a_sampled_timer_counts_all_that_it_stands_for_and_keeps_its_mean():
    found = page_of(b"t:100|ms|@0.1")
    assert (found["t_count",], found["t_sum",]) == (10, 1000)


def test_a_timer_beyond_the_cap_has_quantiles_within_a_percent():
    found = page_of(*(b"t:%d|ms" % n for n in range(1, 1001)), timer_cap=100)
    assert found["t", ("quantile", "0.9")] == pytest.approx(900, rel=0.01)
    assert found["t_sum",] == 500_500


def test_tags_become_labels():
    found = page_of(b'k:1|c|#env:prod,9:"x\\,bare,quantile:5')
    assert list(found) == [
        ("k_total", ("_9", '"x\\'), ("bare", "true"), ("env", "prod"), ("exported_quantile", "5"))
    ]


def test_names_that_differ_only_in_what_is_escaped_stay_two_series():
    found = page_of(b"a.b:1|c\na-b:2|c\na_b:3|g\na.b:4|g\na_b_total:5|g\na.b:6|ms")
    assert sorted(found.values()) == [1, 1, 2, 3, 4, 5, 6, 6, 6, 6]


def test_a_counter_below_zero_is_told_as_unknown():
    assert page_of(b"k:-5|c") == {("k",): -5}


def test_a_counter_of_nothing_is_a_counter():
    assert page_of(b"k:0|c") == {("k_total",): 0}


def test_a_counter_whose_name_ends_in_total_does_not_get_it_twice():
    assert page_of(b"requests_total:1|c") == {("requests_total",): 1}


def test_a_key_keeps_its_name_when_others_come_and_go():
    aggregator = Aggregator("strict", AggregatorConfig(gauge_ttl=1))
    page = OpenMetricsPage()
    for number in range(30):
        aggregator.feed(b"a-b:1|c")
        aggregator.feed(b"\n".join(b"n%d.%d:1|g" % (number, each) for each in range(100)))
        aggregator.feed(b"a.b:2|c")
        page.offer(aggregator.flush(float(number)))
        found = samples_of(page.render())
    assert found["a_b_total",] == 30
    assert found["a_b_total", ("key", "a.b")] == 60
    assert len(page._names) < 2000


async def test_the_servers_health_is_on_the_page():
    server = StatsdServer(ServeSettings(listen=(), outputs=()), wall=None)
    server.feed(b"k:1|c\nbad\nk:x|c")
    server.flush_now()
    found = samples_of(server.openmetrics.render(server.statistics()))
    assert found["statsd_bad_lines_total", ("reason", "no_value")] == 1
    assert found["statsd_bad_lines_total", ("reason", "bad_number")] == 1
    assert found["statsd_packets_total",] == 1
    assert found["statsd_kernel_drops_total",] == 0
    assert found["k_total",] == 1


@example(lines=[("", "3|ms"), ("", "-3|c")], dialect="brubeck")
@given(
    st.lists(
        st.tuples(
            st.text(st.sampled_from('ab._-;=:#1/é\\"'), max_size=6),
            st.sampled_from(["1|c", "-3|c", "2|g", "3|ms", "x|s", "1|c|#a:b,a:c", "7|C", "Infinity|g"]),
        ),
        max_size=12,
    ),
    st.sampled_from(DIALECTS),
)
def test_whatever_the_keys_the_page_is_valid_and_ends_as_it_must(lines, dialect):
    aggregator = Aggregator(dialect)
    page = OpenMetricsPage()
    for number in range(2):
        aggregator.feed("\n".join(f"{key}:{value}" for key, value in lines).encode())
        flush = aggregator.flush(float(number))
        page.offer(flush)
    text = page.render()
    assert text.endswith("# EOF\n")
    sums = sum(totals.total >= 0 for totals in page._timers.values())
    singles = len(flush.counters) + len(flush.gauges) + len(flush.sets) + len(flush.timer_counts) + sums
    assert len([name for name in samples_of(text) if not is_quantile(name)]) == singles


def is_quantile(name: tuple) -> bool:
    return any(label[0] == "quantile" for label in name[1:])


@given(st.text(max_size=30))
def test_any_key_has_a_legal_name(key):
    name, labels = split_key(key)
    assert name.replace("_", "a").replace(":", "a").isalnum() and name.isascii() and not name[0].isdigit()
    assert len(dict(labels)) == len(labels)


def text_of(*packets: bytes, flushes: int = 1, classic: bool = False, **config) -> str:
    aggregator = Aggregator("strict", AggregatorConfig(**config))
    page = OpenMetricsPage(histograms=True)
    for number in range(flushes):
        for packet in packets:
            aggregator.feed(packet)
        page.offer(aggregator.flush(float(number)))
    return "".join(page.slices(classic=classic))


@given(
    st.lists(
        st.floats(0.001, 1e6) | st.sampled_from([0.0, 1.0, 1e-300, 1e300, math.inf]), min_size=1, max_size=60
    ),
    st.booleans(),
)
def test_a_histogram_counts_what_is_not_above_each_bound(values: list[float], folds: bool):
    histogram = Histogram()
    if folds:
        fold = LogBuckets()
        fold.add_many(values)
        values = [min(value, 1e300) for value in values]  # as a fold has them
        histogram.add_fold(fold, 2)
    else:
        histogram.add(sorted(values), 2)
    found = list(histogram.cumulative())
    assert found[-1][1] == 2 * len(values)
    for upper, count in found:
        # Within a fold a value may be taken for one a percent larger.
        least = 2 * sum(value <= upper * (0.98 if folds else 1) for value in values)
        most = 2 * sum(value <= upper * (1.02 if folds else 1) for value in values)
        assert least <= count <= most
    bounds = [upper for upper, _ in found]
    assert bounds == sorted(set(bounds))


def test_a_seldom_scrape_misses_no_flush_of_a_timer():
    text = text_of(b"t:1:2:300|ms", b"t:5|ms|@0.5", flushes=15)
    found = samples_of(text)
    assert found["t_distribution_count",] == found["t_count",] == 15 * 5
    assert found["t_distribution_bucket", ("le", "+Inf")] == 75
    bounds = {
        float(labels[0][1]): n for (name, *labels), n in found.items() if name == "t_distribution_bucket"
    }
    assert min(upper for upper, n in bounds.items() if n >= 45) < 7
    assert "# TYPE t_distribution histogram\n" in text
    assert "# TYPE t summary\n" in text


def test_the_format_before_openmetrics_names_families_by_their_samples():
    lines = text_of(b"n:1|c\nneg:-1|c\ng:1|g", classic=True).splitlines()
    assert "# TYPE n_total counter" in lines
    assert "# TYPE neg untyped" in lines
    assert "# EOF" not in lines


def test_promtool_finds_nothing_wrong(tmp_path):
    promtool = shutil.which("promtool")
    if promtool is None:
        pytest.skip("no promtool: run `make peers` (it needs apt-get and root)")

    async def page() -> str:
        async with serving(Kept(), listen=(), http="127.0.0.1:0") as server:
            server.feed(
                b"shop.orders:1|c|#env:x\nqueue.depth:2|g\nload:3:5|ms\nusers:x|s\nnonsense\nlow:-3|d"
            )
            server.flush_now()
            return "".join(server.openmetrics.slices(server.statistics(), classic=True))

    done = subprocess.run(
        [promtool, "check", "metrics"], input=trio.run(page), text=True, capture_output=True
    )
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
