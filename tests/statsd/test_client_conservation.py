"""Whatever a caller does and in whatever order, the server ends up with what was counted: no more, no less."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Callable

from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from brokersim.statsd.aggregator import Aggregator
from brokersim.statsd.batch import Batch
from brokersim.statsd.client import StatsClient
from tests.effort import examples
from tests.statsd.reference import ReferenceServer

SMALL = st.integers(-50, 50)
NAME = st.sampled_from(["a", "b", "queue.depth"])
PERIOD = st.sampled_from([-1.0, 0.0, 0.1, 1.0])
DIALECT = st.sampled_from(["strict", "etsy", "brubeck", "collectd"])


class Timers:
    """Repeating timers that tick when the test says so."""

    def __init__(self) -> None:
        self.running: dict[int, Callable[[], None]] = {}
        self.started = 0

    def start(self, period: float, tick: Callable[[], None]) -> Timer:
        assert period > 0
        self.started += 1
        self.running[self.started] = tick
        return Timer(self, self.started)

    def tick(self) -> None:
        for tick in list(self.running.values()):
            tick()


class Timer:
    def __init__(self, timers: Timers, number: int) -> None:
        self.timers, self.number = timers, number

    def cancel(self) -> None:
        del self.timers.running[self.number]


class Conservation(RuleBasedStateMachine):
    """The model knows nothing of periods, tables or packets: each call changes it at once."""

    @initialize(dialect=DIALECT, period=PERIOD)
    def start(self, dialect: str, period: float) -> None:
        self.dialect = dialect
        self.server = ReferenceServer(dialect)
        self.taking = True
        self.timers = Timers()
        self.client = StatsClient(
            self.send, prefix="p0", period=period, dialect=dialect, start_timer=self.timers.start
        )
        self.prefix = "p0"
        self.counters: Counter[str] = Counter()
        self.totals: dict[str, int] = {}
        self.gauges: dict[str, int] = {}
        self.timings: dict[str, list[float]] = defaultdict(list)
        self.sets: dict[str, set[str]] = defaultdict(set)

    def send(self, packet: bytes) -> bool:
        if self.taking:
            self.server.receive(packet)
        return self.taking

    def key(self, name: str) -> str:
        return f"{self.prefix}.{name}"

    @rule(name=NAME, n=SMALL)
    def inc(self, name: str, n: int) -> None:
        self.client.inc("c." + name, n)
        if self.client.enabled:
            self.counters[self.key("c." + name)] += n

    @rule(name=NAME, total=st.integers(0, 100))
    def count(self, name: str, total: int) -> None:
        self.client.count("t." + name, total)
        if self.client.enabled:
            last = self.totals.get(name, total)
            self.counters[self.key("t." + name)] += total - last if total >= last else total
            self.totals[name] = total

    @rule(name=NAME, value=SMALL)
    def gauge_set(self, name: str, value: int) -> None:
        self.client.gauge_set("g." + name, value)
        if self.client.enabled:
            self.gauges[self.key("g." + name)] = value

    @rule(name=NAME, delta=SMALL)
    def gauge_inc(self, name: str, delta: int) -> None:
        self.client.gauge_inc("g." + name, delta)
        if self.client.enabled:
            self.gauges[self.key("g." + name)] = self.gauges.get(self.key("g." + name), 0) + delta

    @rule(name=NAME, ms=st.floats(0, 1e9), times=st.integers(1, 300))
    def timing(self, name: str, ms: float, times: int) -> None:
        for _ in range(times):
            self.client.timing("m." + name, ms)
        if self.client.enabled:
            self.timings[self.key("m." + name)] += [ms] * times

    @precondition(lambda self: self.dialect != "brubeck")
    @rule(name=NAME, member=st.sampled_from(["x", "y", "a b", "user/1", ""]))
    def set(self, name: str, member: str) -> None:
        self.client.set("s." + name, member)
        if self.client.enabled:
            self.sets[self.key("s." + name)].add(member)

    @rule()
    def flush(self) -> None:
        self.client.flush()

    @rule()
    def tick(self) -> None:
        self.timers.tick()

    @rule(period=PERIOD, name=st.none() | st.sampled_from(["c.a", "g.a", "t.b", "m.queue.depth"]))
    def set_period(self, period: float, name: str | None) -> None:
        self.client.set_period(period, name)

    @rule(taking=st.booleans())
    def socket(self, taking: bool) -> None:
        self.taking = taking

    # What waits while the socket takes nothing has no other name to go out under than the new one.
    # And an earlier prefix does not come back: the server would count the steps of a total twice.
    @precondition(lambda self: self.taking)
    @rule()
    def set_prefix(self) -> None:
        self.prefix = f"p{int(self.prefix[1:]) + 1}"
        self.client.set_prefix(self.prefix)

    @rule(on=st.booleans())
    def switch(self, on: bool) -> None:
        self.client.enabled = on

    @invariant()
    def nothing_waits_without_a_timer(self) -> None:
        client = self.client
        if client.enabled and self.taking and client.period > 0 and client.statistics().queued:
            assert self.timers.running or client.statistics().refused

    def teardown(self) -> None:
        self.taking = True
        self.client.close()
        assert self.client.statistics().dropped == self.client.statistics().queued == 0
        assert self.timers.running == {}
        server = self.server
        assert {key: n for key, n in server.counters.items() if n} == {
            key: n for key, n in self.counters.items() if n
        }
        assert {key: n for key, n in server.gauges.items() if n} == {
            key: n for key, n in self.gauges.items() if n
        }
        assert {key: sorted(each) for key, each in server.timings.items()} == {
            key: sorted(each) for key, each in self.timings.items()
        }
        assert server.sets == self.sets


TestConservation = Conservation.TestCase
TestConservation.settings = settings(max_examples=examples(150), stateful_step_count=30, deadline=None)

CALLS = st.lists(
    st.one_of(
        st.tuples(st.sampled_from(["inc", "gauge_set", "gauge_inc"]), NAME, SMALL | st.floats(-1e6, 1e6)),
        st.tuples(st.just("count"), NAME, st.integers(0, 100)),
        st.tuples(st.just("timing"), NAME, st.floats(0, 1e6) | st.integers(0, 10)),
        st.tuples(st.just("set"), NAME, st.sampled_from(["x", "y:z", "1"])),
        st.just(("flush", "", 0)),
        st.just(("send", "", 0)),
    ),
    max_size=60,
)


@given(CALLS, st.sampled_from(["", "p", "a;z=1", "a;b=1;a=2", "statsd"]))
def test_handing_tables_over_gives_the_same_flush_as_text(calls: list[tuple[str, str, float]], prefix: str):
    text, direct = Aggregator(), Aggregator()

    def send(packet: bytes) -> bool:
        text.feed(packet)
        return True

    clients = [StatsClient(send, prefix=prefix), StatsClient(None, prefix=prefix, hand_over=direct.take)]
    # From the second period on the keys are known, and tables go where text would have to be read.
    warm = [("inc", "a", 1), ("gauge_set", "a", 1), ("timing", "a", 1), ("set", "a", "x"), ("flush", "", 0)]
    warm += [("inc", "a", 2), ("send", "", 0)]
    for number, (method, name, value) in enumerate([*warm, *calls, *calls, ("flush", "", 0)]):
        for client in clients:
            if method in ("flush", "send"):
                client.flush()
            else:
                getattr(client, method)(name, value)
                getattr(client, method)(name, value)
        if method == "flush":
            theirs, ours = text.flush(number), direct.flush(number)
            assert ours.values == theirs.values
            assert (ours.samples, ours.sets, ours.bad_lines > 0) == (
                theirs.samples,
                theirs.sets,
                theirs.bad_lines > 0,
            )


@given(CALLS, DIALECT)
def test_what_is_handed_over_is_what_would_be_sent(calls: list[tuple[str, str, float]], dialect: str):
    packets: list[bytes] = []
    batches: list[Batch] = []
    clients = [
        StatsClient(lambda packet: packets.append(packet) is None, dialect=dialect),
        StatsClient(None, dialect=dialect, hand_over=batches.append),
    ]
    for client in clients:
        for method, name, value in calls:
            if method in ("flush", "send"):
                client.flush()
            elif method != "set" or ":" not in str(value) or dialect == "strict":
                getattr(client, method)(name, value)
        client.close()
    assert (
        b"\n".join(packets).split(b"\n") == [line for batch in batches for line in batch.lines()]
        or not packets
    )


def test_each_dialects_aggregator_takes_tables_as_it_would_take_the_text():
    for dialect in ("strict", "etsy", "brubeck", "collectd"):
        text, direct = Aggregator(dialect), Aggregator(dialect)
        clients = [
            StatsClient(lambda packet, to=text: to.feed(packet) is None, dialect=dialect),
            StatsClient(None, dialect=dialect, hand_over=direct.take),
        ]
        for t in (1.0, 2.0, 3.0):
            for client in clients:
                for n in (1, 2.5):
                    client.inc("c", n * t)
                    client.count("total", n * t)
                    client.gauge_set("g", -n * t)
                    client.gauge_inc("d", n - t)
                    client.timing("t", n * t)
                    client.set("s", str(n))
                client.flush()
            theirs, ours = text.flush(t), direct.flush(t)
            assert ours.values == theirs.values and len(ours.values) > 5, dialect
            assert ours.bad_lines == theirs.bad_lines == 0
