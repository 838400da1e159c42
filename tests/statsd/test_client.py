"""The client: what it sends and when, what it refuses, and how the client of 2021 differs."""

from __future__ import annotations

import math
from collections.abc import Callable
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from brokersim.statsd.aggregator import Aggregator
from brokersim.statsd.batch import Batch
from brokersim.statsd.client import StatsClient
from brokersim.statsd.dialects import DIALECTS
from brokersim.statsd.names import MAX_SENT_KEY, StatsNameError
from brokersim.statsd.numbers import LARGEST
from brokersim.statsd.packet import MAX_PACKET, GaugeBlock, pack
from brokersim.statsd.tables import MAX_HELD

MODULE_COUNTERS = [
    f"flux.kvs.0.{name}"
    for name in ("request_tx", "request_rx", "response_tx", "response_rx", "event_tx", "event_rx",
                 "keepalive_tx", "keepalive_rx")
]  # fmt: skip


class Wire:
    """A connected socket: it keeps what was sent, or is full."""

    def __init__(self) -> None:
        self.packets: list[bytes] = []
        self.full = False
        self.timers: list[tuple[float, Callable[[], None]]] = []
        self.cancelled = 0

    def send(self, packet: bytes) -> bool:
        if not self.full:
            self.packets.append(packet)
        return not self.full

    def start_timer(self, period: float, tick: Callable[[], None]) -> Wire:
        self.timers.append((period, tick))
        return self

    def cancel(self) -> None:
        self.cancelled += 1

    def lines(self) -> list[str]:
        """What was sent since the last look."""
        lines = [line for packet in self.packets for line in packet.decode().split("\n")]
        self.packets.clear()
        return lines


@pytest.fixture
def wire() -> Wire:
    return Wire()


# --- lines


def test_a_period_sends_one_line_per_gauge_and_counter_and_every_timing(wire: Wire):
    client = StatsClient(wire.send, prefix="flux.0", dialect="strict")
    for n in (1, 2, 3):
        client.inc("commits", n)
        client.gauge_set("depth", n)
        client.timing("load", n / 2)
        client.count("rx", n * 10)
        client.set("users", f"u{n % 2}")
        client.gauge_inc("running", n)
    assert wire.lines() == []
    client.flush()
    assert sorted(wire.lines()) == sorted(
        ["flux.0.commits:6|c", "flux.0.depth:3|g", "flux.0.load:0.5:1:1.5|ms", "flux.0.rx:10|C", "flux.0.rx:30|C",
         "flux.0.users:u1|s", "flux.0.users:u0|s", "flux.0.running:+6|g"]
    )  # fmt: skip
    client.flush()
    assert wire.lines() == []


@pytest.mark.parametrize(
    ("dialect", "timings", "totals"),
    [
        ("strict", ["t:1:2|ms"], ["c:5|C", "c:8|C"]),
        ("etsy", ["t:1|ms:2|ms"], ["c:3|c"]),
        ("brubeck", ["t:1|ms", "t:2|ms"], ["c:5|C", "c:8|C"]),
        ("collectd", ["t:1|ms", "t:2|ms"], ["c:3|c"]),
    ],
)
def test_each_server_gets_the_form_it_reads(wire: Wire, dialect: str, timings: list[str], totals: list[str]):
    client = StatsClient(wire.send, dialect=dialect)
    client.timing("t", 1)
    client.timing("t", 2)
    client.flush()
    assert wire.lines() == timings
    client.count("c", 5)
    client.count("c", 8)
    client.flush()
    assert wire.lines() == totals


@pytest.mark.parametrize(
    ("calls", "lines"),
    [
        ([("gauge_set", -10_000)], ["g:0|g", "g:-10000|g"]),
        ([("gauge_set", 5), ("gauge_inc", 2)], ["g:7|g"]),
        ([("gauge_set", 5), ("gauge_inc", -7)], ["g:0|g", "g:-2|g"]),
        ([("gauge_inc", 2), ("gauge_set", 5)], ["g:5|g"]),
        ([("gauge_inc", 1), ("gauge_inc", -1)], []),
        ([("gauge_inc", -1)], ["g:-1|g"]),
        ([("gauge_inc", 0.5)], ["g:+0.5|g"]),
        ([("gauge_set", -0.0)], ["g:0|g"]),
        ([("gauge_set", 1e300)], ["g:1e+300|g"]),
    ],
)
def test_gauges_are_written_so_that_no_server_goes_wrong(
    wire: Wire, calls: list[tuple[str, float]], lines: list[str]
):
    client = StatsClient(wire.send, dialect="strict")
    for method, value in calls:
        getattr(client, method)("g", value)
    client.flush()
    assert wire.lines() == lines


def test_a_gauge_and_a_counter_of_one_name_are_two_things(wire: Wire):
    client = StatsClient(wire.send, dialect="strict")
    client.gauge_set("k", -1)
    client.inc("k", 2)
    client.timing("k", 3)
    client.flush()
    assert sorted(wire.lines()) == ["k:-1|g", "k:0|g", "k:2|c", "k:3|ms"]


def test_the_two_lines_of_a_negative_gauge_never_part_and_no_packet_is_too_long(wire: Wire):
    client = StatsClient(wire.send, dialect="strict")
    for number in range(300):
        client.gauge_set(f"some.longer.name.{number}", -number - 1)
        client.timing("t", number / 7)
    client.flush()
    packets = wire.packets.copy()
    assert len(packets) > 10
    for packet in packets:
        assert len(packet) <= MAX_PACKET
        lines = packet.split(b"\n")
        for zero, minus in zip(lines, [*lines[1:], b""], strict=True):
            if zero.endswith(b":0|g"):
                assert minus.startswith(zero.removesuffix(b"0|g") + b"-")
    whole = client.statistics()
    assert (whole.packets, whole.bytes) == (len(packets), sum(map(len, packets)))
    assert whole.lines == sum(packet.count(b"\n") + 1 for packet in packets)


# --- periods


def test_the_timer_runs_only_while_something_is_queued(wire: Wire):
    client = StatsClient(wire.send, period=2.0, start_timer=wire.start_timer, dialect="strict")
    assert wire.timers == []
    client.inc("a")
    client.inc("b")
    ((period, tick),) = wire.timers
    assert period == 2.0
    tick()
    assert (len(wire.lines()), wire.cancelled) == (2, 0)
    tick()
    assert (wire.lines(), wire.cancelled) == ([], 1)
    client.inc("a")
    assert len(wire.timers) == 2


@pytest.mark.parametrize("period", [0, -1.0])
def test_period_0_and_below_sends_each_call_at_once(wire: Wire, period: float):
    client = StatsClient(wire.send, period=period, start_timer=wire.start_timer, dialect="strict")
    client.inc("a")
    client.inc("a", 2)
    client.gauge_inc("g", 0)
    client.gauge_inc("g", 1)
    assert (wire.lines(), wire.timers) == (["a:1|c", "a:2|c", "g:+1|g"], [])


def test_what_was_refused_at_period_0_goes_with_the_next_call(wire: Wire):
    client = StatsClient(wire.send, period=0, dialect="strict")
    wire.full = True
    client.inc("a")
    client.inc("a")
    client.timing("t", 1)
    wire.full = False
    client.inc("a", 5)
    assert wire.lines() == ["a:7|c", "t:1|ms"]
    assert (client.statistics().refused, client.statistics().queued) == (3, 0)


def test_a_metric_may_have_its_own_period_and_the_others_keep_theirs(wire: Wire):
    client = StatsClient(wire.send, period=1.0, start_timer=wire.start_timer, dialect="strict")
    client.set_period(0, "now")
    client.set_period(0.1, "often")
    client.inc("now")
    assert wire.lines() == ["now:1|c"]
    client.inc("often")
    client.inc("seldom")
    assert [period for period, _ in wire.timers] == [0.1, 1.0]
    wire.timers[0][1]()
    assert wire.lines() == ["often:1|c"]
    wire.timers[1][1]()
    assert wire.lines() == ["seldom:1|c"]


def test_what_nobody_took_before_a_metric_got_a_period_of_its_own_goes_out_before_what_came_later(wire: Wire):
    client = StatsClient(wire.send, start_timer=wire.start_timer, period=0, dialect="strict")
    wire.full = True
    client.count("total", 1)
    client.count("other", 7)
    client.set_period(0, "total")
    wire.full = False
    client.count("total", 0)
    client.close()
    assert wire.lines() == ["total:1|C", "total:0|C", "other:7|C"]


def test_a_new_period_and_a_new_prefix_send_what_is_queued_first(wire: Wire):
    client = StatsClient(wire.send, prefix="old", dialect="strict")
    client.inc("a")
    client.set_period(0.5)
    assert wire.lines() == ["old.a:1|c"]
    client.inc("a")
    client.set_prefix("new.")
    assert (wire.lines(), client.prefix) == (["old.a:1|c"], "new")
    client.inc("a")
    client.flush()
    assert wire.lines() == ["new.a:1|c"]


def test_a_counter_under_a_new_prefix_starts_from_the_total_it_had(wire: Wire):
    server = Aggregator()
    client = StatsClient(lambda packet: server.feed(packet) is None, prefix="old", dialect="strict")
    client.count("rx", 100)
    client.flush()
    client.set_prefix("new")
    client.count("rx", 110)
    client.flush()
    assert server.flush(1.0).counters == {"old.rx": 0, "new.rx": 10}


def test_totals_that_fill_several_packets_stay_in_order_when_they_are_refused():
    server = Aggregator()
    taking = False
    client = StatsClient(lambda packet: taking and server.feed(packet) is None, dialect="strict")
    name = "x" * 500
    totals = [number * number % 23 for number in range(40)]
    for total in totals:
        client.count(name, total)
    client.flush()
    assert client.statistics().refused > 2
    taking = True
    client.flush()
    truth = sum(new - old if new >= old else new for old, new in pairwise(totals))
    assert server.flush(1.0).counters == {name: truth}


def test_two_contexts_on_one_socket_share_nothing(wire: Wire):
    one, other = (StatsClient(wire.send, prefix=name, dialect="strict") for name in ("one", "other"))
    one.set_period(0)
    one.inc("a")
    other.inc("a")
    one.enabled = False
    assert wire.lines() == ["one.a:1|c"]
    assert (other.period, other.enabled) == (1.0, True)
    other.flush()
    assert wire.lines() == ["other.a:1|c"]


# --- off, closed, refused


def test_a_flush_of_nothing_is_none(wire: Wire):
    client = StatsClient(wire.send, prefix="flux.0", dialect="strict")
    client.flush()
    assert (client.statistics().flushes, wire.packets) == (0, [])


def test_switching_off_sends_what_is_queued_and_then_nothing(wire: Wire):
    client = StatsClient(wire.send, start_timer=wire.start_timer, dialect="strict")
    client.inc("a")
    client.enabled = False
    assert (wire.lines(), wire.cancelled) == (["a:1|c"], 1)
    for method, value in (
        ("inc", 1),
        ("count", 1),
        ("gauge_set", 1),
        ("gauge_inc", 1),
        ("timing", 1),
        ("set", "x"),
    ):
        getattr(client, method)("not even a legal name", value)
    client.flush()
    assert (wire.lines(), client.statistics().queued) == ([], 0)
    client.enabled = True
    client.inc("a")
    client.flush()
    assert wire.lines() == ["a:1|c"]


def test_a_client_without_a_socket_is_off_for_good():
    client = StatsClient(None, dialect="strict")
    client.enabled = True
    client.inc("a")
    assert (client.enabled, client.statistics().queued) == (False, 0)


def test_closing_sends_all_and_ends_it(wire: Wire):
    client = StatsClient(wire.send, start_timer=wire.start_timer, dialect="strict")
    client.set_period(5, "b")
    client.inc("a")
    client.inc("b")
    client.close()
    assert sorted(wire.lines()) == ["a:1|c", "b:1|c"]
    assert wire.cancelled == 2
    client.enabled = True
    client.inc("a")
    client.close()
    assert wire.lines() == []


def test_what_nobody_takes_at_the_end_is_counted_as_dropped(wire: Wire):
    client = StatsClient(wire.send, dialect="strict")
    wire.full = True
    client.inc("a")
    client.close()
    assert (client.statistics().dropped, client.statistics().queued) == (1, 0)


def test_samples_for_a_server_that_takes_nothing_are_bounded_and_the_rest_counted(wire: Wire):
    client = StatsClient(wire.send, dialect="strict")
    wire.full = True
    for _ in range(3):
        for _ in range(10_000):
            client.timing("t", 1.5)
        client.flush()
    wire.full = False
    client.flush()
    sent = sum(line.count("1.5") for line in wire.lines())
    assert (sent, client.statistics().dropped) == (MAX_HELD, 10_000)


def test_what_no_server_can_read_is_dropped_and_counted(wire: Wire):
    client = StatsClient(wire.send, dialect="strict")
    for value in (float("nan"), float("inf"), 10**400):
        client.gauge_set(f"g{value}"[:5], value)
        client.inc(f"c{value}"[:5], value)
    for ms in (-1.0, float("nan"), 5.0):
        client.timing("t", ms)
    client.flush()
    assert (wire.lines(), client.statistics().dropped) == (["t:5|ms"], 8)


def test_what_every_server_can_just_read_is_sent_and_the_next_above_is_not(wire: Wire):
    client = StatsClient(wire.send, dialect="strict")
    for number, value in enumerate((LARGEST, math.nextafter(LARGEST, math.inf))):
        client.gauge_set(f"g{number}", value)
        client.inc(f"c{number}", value)
        client.count(f"t{number}", 0)
        client.count(f"t{number}", value)
    client.flush()
    assert wire.lines() == ["c0:1e+300|c", "g0:1e+300|g", "t0:0|C", "t0:1e+300|C"]
    assert client.statistics().dropped == 3


# --- names and values that are refused


@pytest.mark.parametrize("name", ["", "a:b", "a|b", "a b", "a\nb", "é", "x" * (MAX_SENT_KEY + 1)])
def test_a_name_is_refused_when_it_is_first_used_and_not_when_it_is_sent(wire: Wire, name: str):
    client = StatsClient(wire.send, dialect="strict")
    for method in ("inc", "count", "gauge_set", "gauge_inc", "timing", "set"):
        with pytest.raises(StatsNameError, match="metric name"):
            getattr(client, method)(name, 1)
    client.flush()
    assert wire.packets == []


def test_the_longest_legal_name_goes_out_with_any_value_in_any_dialect():
    for dialect in ("strict", "etsy", "brubeck", "collectd"):
        wire = Wire()
        client = StatsClient(wire.send, prefix="p", dialect=dialect)
        name = "x" * (MAX_SENT_KEY - 2)
        for _ in range(2):
            client.gauge_set(name, -(10**299))
            client.inc(name, -(10**299))
            client.timing(name, 1 / 3)
            client.count(name, 10**299)
        client.flush()
        assert wire.packets and max(map(len, wire.packets)) <= MAX_PACKET
    with pytest.raises(StatsNameError, match=f"{MAX_SENT_KEY + 1} characters"):
        client.inc("x" * (MAX_SENT_KEY - 1))


@pytest.mark.parametrize("member", ["a\nb", "a|b", "a\r", "a\0", "x" * 401])
def test_a_set_refuses_an_element_that_would_break_its_line(wire: Wire, member: str):
    with pytest.raises(ValueError, match="element"):
        StatsClient(wire.send, dialect="strict").set("s", member)


def test_a_colon_in_an_element_is_for_strict_only_and_brubeck_has_no_sets(wire: Wire):
    StatsClient(wire.send, dialect="strict").set("s", "host:1")
    with pytest.raises(ValueError, match="etsy"):
        StatsClient(wire.send, dialect="etsy").set("s", "host:1")
    client = StatsClient(wire.send, dialect="brubeck")
    client.set("s", "x")
    assert (client.statistics().queued, client.statistics().dropped) == (0, 1)


def test_wrong_arguments_say_what_would_be_right(wire: Wire):
    with pytest.raises(ValueError, match="strict, dogstatsd, etsy"):
        StatsClient(wire.send, dialect="x")
    with pytest.raises(ValueError, match="fripp-2021"):
        StatsClient(wire.send, compat="fripp")
    with pytest.raises(ValueError, match="finite"):
        StatsClient(wire.send, period=float("nan"), dialect="strict")
    with pytest.raises(StatsNameError):
        StatsClient(wire.send, prefix="a b", dialect="strict")
    client = StatsClient(wire.send, dialect="strict")
    with pytest.raises(ValueError, match="below 0"):
        client.count("a", -1)
    with pytest.raises(ValueError, match="clock"):
        client.timer("a")


def test_a_timed_block_is_a_timing_in_milliseconds_even_if_it_raises(wire: Wire):
    now = iter([1.0, 1.25, 2.0, 2.5])
    client = StatsClient(wire.send, clock=lambda: next(now), dialect="strict")
    with client.timer("t"):
        pass
    with pytest.raises(KeyError), client.timer("t"):
        raise KeyError
    client.flush()
    assert wire.lines() == ["t:250:500|ms"]


def test_handing_over_needs_no_text_and_counts_as_sent():
    batches: list[Batch] = []
    client = StatsClient(None, prefix="p", hand_over=batches.append, dialect="strict")
    client.inc("a", 2)
    client.flush()
    assert [list(batch.lines()) for batch in batches] == [[b"p.a:2|c"]]
    assert client.statistics().flushes == 1


# --- fripp-2021


def fripp(wire: Wire, **options: object) -> StatsClient:
    return StatsClient(wire.send, dialect="brubeck", compat="fripp-2021", **options)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("calls", "sent"),
    [
        ([("gauge_inc", 30)], b"k:+30|g\n"),
        ([("gauge_inc", 1), ("gauge_inc", -1)], b"k:0|g\n"),
        ([("gauge_inc", -15)], b"k:-15|g\n"),
        ([("gauge_set", -10_000)], b"k:-10000|g\n"),
        ([("gauge_set", 5), ("gauge_inc", 2)], b"k:+7|g\n"),
        ([("gauge_set", 100), ("gauge_inc", 1)], b"k:+101|g\n"),
        ([("timing", 1.5), ("timing", 2.5)], b"k:2.5|ms\n"),
        ([("count", 5), ("count", 8)], b"k:8|C\n"),
        ([("count", 5), ("gauge_set", 3)], b"k:3|g\n"),
    ],
)
def test_the_client_of_2021_keeps_its_mistakes(wire: Wire, calls: list[tuple[str, float]], sent: bytes):
    client = fripp(wire)
    for method, value in calls:
        getattr(client, method)("k", value)
    client.flush()
    assert wire.packets == [sent]


def test_the_client_of_2021_at_period_0_sends_a_zero_increment_as_a_set(wire: Wire):
    fripp(wire, period=0).gauge_inc("k", 0)
    assert wire.packets == [b"k:0|g\n"]


def test_the_client_of_2021_drops_a_line_of_128_bytes_and_we_send_the_rest(wire: Wire):
    client = fripp(wire)
    client.inc("x" * (127 - len(":1|c\n")))
    client.inc("y" * (128 - len(":1|c\n")))
    client.inc("z")
    client.flush()
    assert [line[:1] for line in wire.lines()] == ["x", "z", ""]
    assert client.statistics().dropped == 1


def test_the_client_of_2021_ignores_negative_periods_and_long_prefixes_and_renames_what_waits(wire: Wire):
    client = fripp(wire, period=1.0, start_timer=wire.start_timer)
    client.inc("a")
    client.set_period(-5)
    client.set_prefix("p" * 128)
    assert (client.period, client.prefix, wire.packets) == (1.0, "", [])
    client.set_prefix("flux.0")
    client.set_period(2.0)
    assert (wire.packets, [period for period, _ in wire.timers]) == ([], [1.0, 2.0])
    client.flush()
    assert wire.packets == [b"flux.0.a:1|c\n"]


def test_the_client_of_2021_loses_what_is_refused_and_splits_at_1440(wire: Wire):
    client = fripp(wire)
    wire.full = True
    client.inc("a")
    client.flush()
    wire.full = False
    client.flush()
    assert (wire.packets, client.statistics().dropped, client.statistics().restored) == ([], 1, 0)
    for number in range(200):
        client.gauge_set(f"a.gauge.{number}", number)
    client.flush()
    assert len(wire.packets) == 3
    assert all(len(packet) <= MAX_PACKET and packet.endswith(b"|g\n") for packet in wire.packets)


# --- packets


@given(st.lists(st.binary(min_size=1, max_size=60), max_size=60), st.integers(60, 200))
def test_packets_hold_all_groups_in_order_and_are_filled_before_the_next_one_starts(
    groups: list[bytes], limit: int
):
    packets = list(pack(groups, limit))
    assert b"\n".join(packets) == b"\n".join(groups)
    assert all(0 < len(packet) <= limit for packet in packets)
    at = 0
    for packet in packets[:-1]:
        size = 0
        while size < len(packet):
            size += len(groups[at]) + (size > 0)
            at += 1
        assert len(packet) + 1 + len(groups[at]) > limit


def test_a_group_longer_than_a_packet_is_refused():
    with pytest.raises(ValueError, match="1441 bytes"):
        list(pack([b"x" * 1441]))


def test_the_packet_of_week_2_is_239_bytes_and_ends_without_a_newline():
    block = GaugeBlock(MODULE_COUNTERS)
    packet = block.format([905_000, 525_000, 515_000, 905_000, 208_000, 210_000, 1, 0])
    assert len(packet) == 239
    assert packet.startswith(b"flux.kvs.0.request_tx:905000|g\nflux.kvs.0.request_rx:525000|g\n")
    assert packet.endswith(b"flux.kvs.0.keepalive_tx:1|g\nflux.kvs.0.keepalive_rx:0|g")


@given(
    st.lists(st.integers(-(2**63), 2**63), min_size=8, max_size=8),
    st.lists(st.integers(-9, 9), min_size=8, max_size=8),
)
def test_a_gauge_block_sets_its_gauges_whatever_they_were(values: list[int], before: list[int]):
    block = GaugeBlock(MODULE_COUNTERS)
    for dialect in ("strict", "collectd"):
        server = Aggregator(dialect)
        server.feed(block.format(before))
        server.feed(block.format(values))
        assert server.flush(1.0).gauges == pytest.approx(dict(zip(MODULE_COUNTERS, values, strict=True)))


def test_a_gauge_block_refuses_what_it_cannot_send():
    with pytest.raises(StatsNameError):
        GaugeBlock(["a b"])
    with pytest.raises(ValueError, match="at least one"):
        GaugeBlock([])
    with pytest.raises(ValueError, match="1440"):
        GaugeBlock(["x" * 100] * 20)
    with pytest.raises(TypeError):
        GaugeBlock(["a", "b"]).format([1])


def test_a_receiver_nobody_named_gets_what_every_server_reads_right(wire: Wire):
    client = StatsClient(wire.send)
    for ms in (1.5, 2.5, 3.5):
        client.timing("t", ms)
    client.count("n", 100)
    client.flush()
    client.count("n", 150)
    client.set("s", "x")
    client.flush()
    packets = list(wire.packets)
    # A value a line, differences, and no set, which would be a bad line somewhere.
    assert wire.lines() == ["t:1.5|ms", "t:2.5|ms", "t:3.5|ms", "n:50|c"]
    assert client.statistics().dropped == 1
    for dialect in DIALECTS:
        server = Aggregator(dialect)
        for packet in packets:
            server.feed(packet)
        flush = server.flush(1.0)
        assert (flush.timer_counts["t"], flush.counters["n"], flush.bad_lines) == (3, 50, 0), dialect


@pytest.mark.parametrize(
    ("name", "lines"),
    [
        ("dogstatsd", ["t:1:2|ms", "n:50|c", "s:x|s"]),
        ("netdata", ["t:1|ms", "t:2|ms", "n:50|c", "s:x|s"]),
        ("prom", ["t:1|ms", "t:2|ms", "n:50|c"]),
        ("statsd", ["t:1|ms:2|ms", "n:50|c", "s:x|s"]),
    ],
)
def test_receivers_by_the_names_people_use(wire: Wire, name: str, lines: list[str]):
    client = StatsClient(wire.send, dialect=name)
    client.count("n", 100)
    client.flush()
    client.timing("t", 1)
    client.timing("t", 2)
    client.count("n", 150)
    client.set("s", "x")
    client.flush()
    assert sorted(wire.lines()) == sorted(lines)
