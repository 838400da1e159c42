"""The pytest plugin as its users meet it: whole runs of pytest on small files, with and without pytest-trio."""

from __future__ import annotations

import os
import sys

import pytest

pytest_plugins = ["pytester"]

HEAD = """
import pytest, trio
from hypothesis import given, settings, strategies as st
from brokersim.testing import at_most, modules
ROOT = {"namespace": "primary", "flags": 0}
"""
GOOD = (
    HEAD
    + """
async def test_async(broker):
    with broker.deltas("kvs") as d:
        await broker.rpc("kvs.getroot", ROOT)
    assert d == {"request_rx": 1, "response_tx": 1}

def test_sync(broker):
    with broker.deltas("kvs") as d:
        broker.rpc("kvs.getroot", ROOT)
    assert d == {"request_rx": 1, "response_tx": 1}
    broker.advance(10)
    assert broker.wait_counter("kvs.0.event_rx", ge=5) == 5

@settings(max_examples=5)
@given(number=st.integers(1, 3))
async def test_given_async(broker, number):
    assert broker.instance.reactor.now == 0
    for _ in range(number):
        await broker.rpc("kvs.ping", {"seq": 0, "pad": ""})
    assert broker.ledger.tallies[0, "kvs"][1, "kvs.ping"] == number

@settings(max_examples=5, deadline=None)
@given(number=st.integers(1, 3))
def test_given_sync(broker, number):
    with broker.deltas("kvs") as d:
        for _ in range(number):
            broker.rpc("kvs.getroot", ROOT)
    assert d == {"request_rx": number, "response_tx": number}

@pytest.mark.parametrize("more", [0, 1])
@settings(max_examples=3)
@given(number=st.integers(1, 3))
async def test_given_parametrized(broker, number, more):
    with broker.deltas("kvs") as d:
        for _ in range(number + more):
            await broker.rpc("kvs.getroot", ROOT)
    assert d == {"request_rx": number + more, "response_tx": number + more}

async def test_sleep(broker):
    start = trio.current_time()
    await trio.sleep(12)
    assert trio.current_time() == start + 12
    with trio.move_on_after(5) as scope:
        await trio.sleep_forever()
    assert scope.cancelled_caught and trio.current_time() == start + 17

@pytest.mark.brokersim(size=3, mask={"kvs": 0x1000}, seed=7, hook="prepare")
async def test_marked(broker, stats_sink, virtual_clock):
    assert (broker.instance.size, broker.instance.seed) == (3, 7)
    with broker.expect_metrics({"flux.kvs.2.event_rx": 1}):
        await broker.advance(3)
    assert virtual_clock.current_time() >= 3
    assert stats_sink.value("flux.kvs.0.event_rx") == 1
    assert {metric.kind for metric in stats_sink.metrics} == {"gauges", "timers"}

async def test_instances(instance):
    async with instance(size=2, modules=["content-cache", "content-sqlite", "kvs"]) as broker:
        await broker.rpc("kvs.getroot", ROOT, nodeid=1)
    async with instance(hook="check") as broker:
        assert broker.instance.hook == "check"

def test_instances_sync(instance):
    with instance(size=2) as broker:
        broker.rpc("kvs.getroot", ROOT, nodeid=1)

async def test_events(broker):
    await broker.subscribe("news")
    await broker.publish("news.today", {"a": 1})
    event = await broker.wait_event("news") if not broker.events else broker.events[0]
    assert event.payload == {"a": 1}

async def test_kept(broker):
    with broker.deltas("kvs", "content-cache") as d:
        await broker.rpc("kvs.getroot", ROOT)
    assert d == broker.snapshot()
"""
)
KEPT = """\
# Counters that the tests of test_it.py expect. Rewritten by: pytest --brokersim-update

[test_kept.counters]
"kvs.0.request_rx" = 1
"kvs.0.response_tx" = 1
"""
ALONE = ("-p", "no:trio")
TRIO = ("-o", "trio_mode=true")


@pytest.fixture
def run(pytester):
    """Run pytest on `test_it.py`, inside this one: a process of its own would cost a second."""

    def run(text, *args, kept=KEPT):
        pytester.makepyfile(test_it=text)
        if kept is not None:
            pytester.mkdir("counters").joinpath("test_it.toml").write_text(kept)
        others = () if "asyncio_mode=auto" in args else ("-p", "no:asyncio")
        if "inline_snapshot" not in text:  # it looks for files of its own as each run begins and ends
            others += ("-p", "no:inline_snapshot")
        return pytester.runpytest_inprocess("-p", "no:cacheprovider", "-p", "no:pytester", *others, *args)

    return run


@pytest.mark.parametrize(
    "args",
    [
        ALONE,
        TRIO,
        (*TRIO, "--brokersim-transport=socket"),
        (*ALONE, "--brokersim-transport=socket"),
        (*TRIO, "-n", "1"),  # in a worker; a second takes two seconds to start and is told the same
    ],
    ids=" ".join,
)
def test_the_same_tests_pass_with_and_without_pytest_trio_in_process_and_over_the_socket(run, args):
    run(GOOD, *args).assert_outcomes(passed=12)


def test_every_hook_runs_the_tests_that_name_none(run):
    some = ("-k", "test_async or test_given_sync or test_marked or test_instances")
    run(GOOD, *TRIO, "--brokersim-hook=all", *some).assert_outcomes(passed=1 + 4 * 4)


def test_update_writes_the_kept_counters_and_only_them(run, pytester):
    missing = run(GOOD, *TRIO, "-k", "kept", kept=None)
    missing.assert_outcomes(failed=1)
    missing.stdout.fnmatch_lines(
        ["*has no counters 'counters' of test_kept; write them with: pytest --brokersim-update"]
    )
    run(GOOD, *TRIO, "-k", "kept", "--brokersim-update", kept=None).assert_outcomes(passed=1)
    assert (pytester.path / "counters" / "test_it.toml").read_text() == KEPT


def test_a_difference_is_shown_with_module_rank_type_and_topics(run):
    found = run(
        HEAD
        + """
async def test_wrong(broker):
    with broker.deltas("kvs", "cron") as d:
        await broker.rpc("kvs.getroot", ROOT)
        await broker.advance(2)
    assert d == {"kvs.0.request_rx": 2, "cron.0.event_rx": at_most(0)}
""",
        *TRIO,
    )
    found.assert_outcomes(failed=1)
    found.stdout.fnmatch_lines(
        [
            "E * counter deltas differ:",
            "E *module  rank  type         got    expected  diff",
            "E *cron       0  event_rx       1  at_most(0)    +1",
            "E *+1 heartbeat.pulse",
            "E *kvs        0  request_rx     1           2    -1",
            "E *+1 kvs.getroot",
            "*- brokersim -*",
            "seed 0, hook prepare, clock virtual",
            "last * messages of kvs, cron:",
            "* kvs.0 rx > kvs.getroot [[]1]",
        ]
    )


@pytest.mark.parametrize("args", [ALONE, TRIO], ids=" ".join)
def test_a_broken_law_and_an_idle_fault_fail_the_test_that_has_them(run, args):
    found = run(
        HEAD
        + """
async def test_doubling(broker):
    await broker.load(modules.DOUBLING)
    await broker.rpc("doubling.ask")

def test_doubling_sync(broker):
    broker.load(modules.DOUBLING)
    broker.rpc("doubling.ask")

@pytest.mark.brokersim(laws={"answered": "it is doubling", "responses": "it is doubling"})
async def test_relaxed(broker):
    await broker.load(modules.DOUBLING)
    await broker.rpc("doubling.ask")

async def test_idle_fault(broker):
    broker.fault("drop", topic="nothing")

async def test_in_a_block(instance):
    async with instance() as broker:
        await broker.load(modules.LEAKING)
        await broker.rpc("leaking.ask")
""",
        *args,
    )
    found.assert_outcomes(failed=4, passed=1)
    found.stdout.fnmatch_lines_random(
        [
            "E *law answered (L3): every request is answered exactly once [[]1]",
            "E *doubling.0 answered doubling.ask (matchtag 1) once more than it was asked",
            "E *fault drop topic=nothing: hit nothing; it tested nothing",
            "E *law pending: no matchtag is left pending [[]1]",
        ]
    )


def test_a_users_own_fixture_may_open_modules_in_the_broker(run):
    run(
        HEAD
        + """
@pytest.fixture
async def slow(broker):
    await broker.load(modules.SLOW, "seconds=5")
    yield broker
    await broker.unload("slow")

async def test_slow(slow):
    assert await slow.rpc("slow.ask", {"a": 1}) == {"a": 1}
    assert slow.instance.reactor.now == 5_000_000_000
""",
        *TRIO,
    ).assert_outcomes(passed=1)


def test_fixtures_of_the_same_name_and_other_tests_are_left_alone(run):
    run(
        """
import pytest

@pytest.fixture
def broker():
    return "mine"

def test_mine(broker):
    assert broker == "mine"

def test_other():
    pass
""",
        *ALONE,
    ).assert_outcomes(passed=2)


@pytest.mark.parametrize(
    ("marker", "text"),
    [
        ("speed=3", "brokersim: no setting 'speed'; there are size, fanout, modules"),
        ("hook='never'", "brokersim: not a hook: 'never'; give prepare, check"),
        ("laws=False", "brokersim: laws=False needs a reason"),
        ("size=0", "'size' must be >= 1"),
        ("laws={'L9': 'x'}", "brokersim: no law 'L9'"),
    ],
)
def test_a_wrong_setting_is_named(run, marker, text):
    found = run(f"{HEAD}\n@pytest.mark.brokersim({marker})\nasync def test_it(broker):\n    pass\n", *ALONE)
    assert found.ret != 0
    found.stdout.fnmatch_lines([f"*{text.replace('[', '[[]')}*"])


def test_what_cannot_come_any_more_fails_at_once_or_after_a_minute_that_costs_nothing(run):
    found = run(
        HEAD
        + """
@pytest.mark.brokersim(laws={"all": "the module is silent"})
@pytest.mark.parametrize("names", [[], ["heartbeat"]])
async def test_silent(broker, names):
    for name in broker.instance.modules(0):
        await broker.unload(name.name)
    for name in names:
        await broker.load(name)
    await broker.load(modules.SILENT)
    await broker.rpc("silent.ask")
""",
        *TRIO,
    )
    found.assert_outcomes(failed=2)
    found.stdout.fnmatch_lines_random(
        [
            "*no answer to silent.ask within 60 s: nothing is under way or due any more",
            "*no answer to silent.ask within 60 s",
        ]
    )


# -- statistics


@pytest.mark.parametrize("args", [ALONE, TRIO, (*TRIO, "--brokersim-transport=unix")], ids=" ".join)
def test_metrics_are_waited_for_in_memory_and_over_a_real_udp_socket(run, args):
    run(
        HEAD
        + """
import socket
pytestmark = pytest.mark.brokersim(mask={"kvs": 0x1000})

async def test_sink(broker, stats_sink):
    assert await stats_sink.wait("flux.kvs.0.event_rx", ge=3) == 3
    assert broker.instance.reactor.now == 6_000_000_000

async def test_udp(broker, stats_udp, stats_sink):
    assert stats_sink is stats_udp and stats_udp.address.startswith("127.0.0.1:")
    assert await stats_udp.wait("flux.kvs.0.event_rx", ge=3) == 3
    host, port = stats_udp.address.split(":")
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as other:
        other.sendto(b"somebody.else:7|g", (host, int(port)))
    assert await stats_udp.wait("somebody.else", ge=7) == 7

def test_sync(broker, stats_udp):
    assert broker.wait_metric("flux.kvs.0.event_rx", ge=3) == 3
    with broker.expect_metrics({"flux.kvs.0.event_rx": 5}):
        broker.advance(4)

@settings(max_examples=3)
@given(beats=st.integers(1, 3))
async def test_given(broker, stats_sink, beats):
    assert stats_sink.value("flux.kvs.0.event_rx") is None, "nothing of the example before"
    await broker.advance(2 * beats)
    assert stats_sink.value("flux.kvs.0.event_rx") == beats

async def test_several(instance, stats_udp):
    for size in (1, 2):
        async with instance(size=size) as broker:
            await broker.rpc("kvs.getroot", ROOT)
            await broker.advance(2)
    assert len(stats_udp.packets) > 3
""",
        *args,
    ).assert_outcomes(passed=5)


def test_a_metric_that_cannot_come_fails_at_once(run):
    found = run(
        HEAD
        + """
@pytest.mark.brokersim(modules=["content-cache", "content-sqlite", "kvs"])
async def test_it(broker, stats_sink):
    await stats_sink.wait("flux.kvs.0.event_rx", ge=3)
""",
        *TRIO,
    )
    found.assert_outcomes(failed=1)
    found.stdout.fnmatch_lines(
        ["*Impatient: flux.kvs.0.event_rx is None, waited for 3 within 60 s: nothing is under way or due*"]
    )


# -- options


@pytest.mark.parametrize(
    ("option", "text"),
    [
        ("--brokersim-hook=never", "ERROR: --brokersim-hook: not a hook: 'never'; give prepare, check, idle or timer*"),
        ("--brokersim-transport=zmq", "ERROR: --brokersim-transport: no transport 'zmq': *are memory, unix, socket"),
        ("--brokersim-clock=slow", "ERROR: --brokersim-clock: not a clock: 'slow'; give real, virtual or real[*]N*"),
    ],
)  # fmt: skip
def test_a_wrong_option_is_told_once_before_anything_runs(run, option, text):
    found = run(GOOD, *ALONE, option)
    assert found.ret == pytest.ExitCode.USAGE_ERROR
    found.stderr.fnmatch_lines([text])


def test_the_seed_and_the_clock_of_the_command_line_are_the_instances(run):
    found = run(
        HEAD
        + """
async def test_it(broker):
    assert (broker.instance.seed, str(broker.instance.settings.clock)) == (11, "real*4")
    await broker.rpc("kvs.getroot", ROOT)
""",
        *TRIO,
        "--brokersim-seed=11",
        "--brokersim-clock=real*4",
    )
    found.assert_outcomes(passed=1)
    found.stdout.fnmatch_lines(["brokersim: clock=real[*]4 seed=11"])


# -- what a failure shows


def test_a_failure_shows_the_seed_the_messages_of_those_asked_what_is_open_and_the_log(run):
    found = run(
        HEAD
        + """
@pytest.mark.brokersim(seed=5)
async def test_it(broker):
    await broker.load(modules.SILENT)
    broker.instance.log_error("something is odd")
    for _ in range(60):
        await broker.rpc("kvs.getroot", ROOT)
    await broker.rpc("silent.ask", timeout=1)
""",
        *TRIO,
    )
    found.assert_outcomes(failed=1)
    found.stdout.fnmatch_lines(
        [
            "*- brokersim -*",
            "seed 5, hook prepare, clock virtual",
            "last 50 messages of silent, kvs:",
            "*silent.0 rx > silent.ask [[]61]",
            "unanswered requests:",
            "  silent.ask from client.0 (matchtag 61, sent at 0.000000 s)",
            "dmesg:",
            "*something is odd*",
        ]
    )


def test_a_handler_that_never_returns_costs_its_module_and_not_the_suite(run):
    run(
        HEAD
        + """
from brokersim.brokermod import RequestError

@pytest.mark.brokersim(handler_timeout=0.1)
async def test_it(broker):
    await broker.load(modules.HANGING)
    with pytest.raises(RequestError) as caught:
        await broker.rpc("hanging.ask")
    assert caught.value.errno == 113
    await broker.rpc("kvs.getroot", ROOT)
""",
        *TRIO,
    ).assert_outcomes(passed=1)


def test_inline_snapshots_keep_and_compare_counts(run, pytester, monkeypatch):
    # It writes nothing where it sees that somebody else runs the tests, or several at once.
    for name in [name for name in os.environ if name.startswith(("CI", "GITHUB_", "PYTEST_XDIST_"))]:
        monkeypatch.delenv(name)
    text = """
from inline_snapshot import snapshot

async def test_it(broker):
    with broker.deltas("kvs") as d:
        await broker.rpc("kvs.getroot", {"namespace": "primary", "flags": 0})
    assert d == snapshot(%s)
"""
    good = '{"request_rx": 1, "response_tx": 1}'
    run(text % good, *TRIO, kept=None).assert_outcomes(passed=1)
    assert run(text % '{"request_rx": 2}', *TRIO, kept=None).parseoutcomes()["failed"] == 1
    run(text % "", *TRIO, "--inline-snapshot=create", kept=None)
    assert f"snapshot({good})" in (pytester.path / "test_it.py").read_text().replace("'", '"')


# -- a real Flux

#: Stands in for Flux's command: what the plugin asks of it, brokersim can do, and the protocol is the same.
FLUX = """#!{python}
import os, sys
words = sys.argv[1:]
if words[0] == "start":
    words = ["start", "-s", words[1].partition("=")[2], *words[2:]]
os.execv(sys.executable, [sys.executable, "-m", "brokersim", *words])
"""
MARKED = (
    HEAD
    + """
import os

def hello(folder):
    path = folder / "hello.py"
    path.write_text('''
from flux.brokermod import BrokerModule, request_handler

class Hello(BrokerModule):
    @request_handler("info")
    def info(self, msg):
        self.handle.respond(msg, {"text": "hello"})
''')
    return path

@pytest.mark.brokersim(flux=True, size=2)
async def test_both(broker, tmp_path):
    await broker.load(hello(tmp_path))
    await broker.subscribe("news")
    with broker.deltas("hello") as d:
        for _ in range(3):
            assert await broker.rpc("hello.info") == {"text": "hello"}
    assert d == {"request_rx": 3, "response_tx": 3}
    await broker.wait_counter("hello.0.request_rx", ge=3)
    await broker.publish("news.today", {"a": 1})
    await broker.settle()
    assert [event.topic for event in broker.events] == ["news.today"]
    await broker.unload("hello")

@pytest.mark.brokersim(flux=True)
async def test_too_much(broker):
    assert broker.ledger.moves > 0

async def test_unmarked(broker):
    pass
"""
)


@pytest.mark.parametrize("args", [ALONE, TRIO], ids=" ".join)
def test_marked_tests_run_against_a_real_flux_as_well(run, pytester, monkeypatch, args):
    folder = pytester.mkdir("bin")
    (folder / "flux").write_text(FLUX.format(python=sys.executable))
    (folder / "flux").chmod(0o755)
    monkeypatch.setenv("PATH", f"{folder}{os.pathsep}{os.environ['PATH']}")
    found = run(MARKED, *args, "--brokersim-flux", "-v")
    found.stdout.fnmatch_lines_random(
        [
            "*test_both[[]brokersim[]] PASSED*",
            "*test_both[[]flux[]] PASSED*",
            "*test_too_much[[]flux[]] FAILED*",
            "*AttributeError: under --brokersim-flux there is no broker.ledger: a real Flux cannot do that*",
            "*test_unmarked PASSED*",
        ]
    )


def test_without_a_flux_that_is_said_loudly(run, monkeypatch):
    monkeypatch.setenv("PATH", "/nowhere")
    found = run(MARKED, *TRIO, "--brokersim-flux", "-k", "both or unmarked")
    found.assert_outcomes(passed=2, skipped=1)
    found.stdout.fnmatch_lines(
        [
            "*= NOT TESTED AGAINST FLUX =*",
            "--brokersim-flux: no `flux` command on PATH; tests marked flux=True ran against brokersim only",
        ]
    )


# -- plain functions


def test_every_fault_works_in_a_plain_function_too(run):
    """It is begun and ended in the instance's own thread, where alone its database and its tasks may be touched."""
    run(
        HEAD
        + """
from brokersim.brokermod import RequestError

def test_kill(broker):
    fault = broker.fault("kill", to="kvs")
    with pytest.raises(RequestError):
        broker.rpc("kvs.getroot", ROOT)
    assert [hit.where for hit in fault.hits] == ["kvs.0"]

@pytest.mark.brokersim(size=3)
def test_disconnect(broker):
    with broker.fault("disconnect", rank=1), pytest.raises(RequestError):
        broker.rpc("kvs.getroot", ROOT, nodeid=1)
    broker.rpc("kvs.getroot", ROOT, nodeid=1)

def test_fill_disk(broker):
    with broker.fault("fill-disk") as fault:
        for letter in b"abcdefgh":
            broker.rpc("content.store", bytes([letter]) * 2000)
            broker.advance(0.1)
        with pytest.raises(RequestError):
            broker.rpc("content.flush")
    assert fault.hits and "write for" in fault.report()
    broker.advance(3)
    broker.rpc("content.flush")

@pytest.mark.brokersim(mask={"kvs": 0x1000})
def test_lose_packets(broker, stats_sink):
    with broker.fault("lose-packets", topic="flux.kvs"):
        broker.rpc("kvs.getroot", ROOT)
    broker.debug("cron", 0x1000)
    broker.advance(2)
    assert stats_sink.value("flux.cron.0.event_rx") == 1
""",
        *TRIO,
    ).assert_outcomes(passed=4)


def test_an_instance_on_another_clock_than_the_test_says_how_to_get_one(run):
    found = run(
        HEAD
        + """
async def test_wrong(instance):
    async with instance(clock="real"):
        pass

@pytest.mark.brokersim(clock="real")
async def test_right(instance):
    async with instance() as broker:
        await broker.rpc("kvs.getroot", ROOT)

def test_plain(instance):
    with instance(clock="real*8") as broker:
        broker.rpc("kvs.getroot", ROOT)
""",
        *TRIO,
    )
    found.assert_outcomes(passed=2, failed=1)
    found.stdout.fnmatch_lines(
        ['*the clock of this test is virtual, not real: mark it with @pytest.mark.brokersim(clock="real")']
    )


BESIDE_ASYNCIO = (
    HEAD
    + """
import asyncio

async def test_ours(broker):
    with broker.deltas("kvs") as d:
        await broker.rpc("kvs.getroot", ROOT)
    assert d == {"request_rx": 1, "response_tx": 1}

@settings(max_examples=2)
@given(number=st.integers(1, 3))
async def test_ours_given(broker, number):
    await broker.rpc("kvs.getroot", ROOT)

async def test_ours_fails(broker):
    await broker.rpc("kvs.nosuch", {})

async def test_theirs():
    await asyncio.sleep(0)
    assert asyncio.get_running_loop()
"""
)


@pytest.mark.parametrize("args", [ALONE, ()], ids=["no:trio", "trio"])
def test_beside_pytest_asyncio_in_auto_mode_each_runs_its_own(run, args):
    found = run(
        BESIDE_ASYNCIO, *args, "-o", "asyncio_mode=auto", "-o", "asyncio_default_fixture_loop_scope=function"
    )
    found.assert_outcomes(passed=3, failed=1)
    found.stdout.fnmatch_lines(["*RequestError*"])
    assert "was never awaited" not in found.stdout.str()
