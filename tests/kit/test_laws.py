"""Each law: kept by the shipped modules, broken by a module that breaks it, and relaxed only with a reason."""

from __future__ import annotations

from pathlib import Path

import pytest

from brokersim.kit.laws import LAWS, find_law, parse_relaxations
from brokersim.testing import Impatient, LawViolation, modules
from tests.kit.broken import broken
from tests.modules.job_harness import envelope, jobspec

ROOT = {"namespace": "primary", "flags": 0}


async def broken_laws(broker):
    """Names of the laws a run broke, and the whole text; the test ends innocent."""
    with pytest.raises(LawViolation) as caught:
        await broker.verify()
    for violation in caught.value.violations:
        broker.relax(violation.law.name, "this test breaks it on purpose")
    return [violation.law.name for violation in caught.value.violations], str(caught.value)


@pytest.mark.brokersim(size=4, mask={"kvs": 0x1000, "job-manager": 0x1000})
async def test_the_shipped_modules_keep_every_law(broker):
    await broker.rpc("kvs.commit", {"namespace": "primary", "flags": 0, "ops": []})
    answer = await broker.rpc("job-ingest.submit", {"J": envelope(jobspec())})
    await broker.wait_job(answer["id"])
    await broker.advance(10)
    assert broker.witness.violations() == []


async def test_a_request_that_is_never_answered_breaks_answered(broker):
    await broker.load(modules.SILENT)
    for _ in range(2):
        with pytest.raises(Impatient, match=r"no answer to silent\.ask within 1 s"):
            await broker.rpc("silent.ask", timeout=1)
    laws, text = await broken_laws(broker)
    assert laws == ["answered"]
    assert "law answered (L3)" in text and "silent.ask: 2 unanswered" in text and "matchtags 1, 2" in text


async def test_a_second_answer_breaks_answered_and_responses(broker):
    await broker.load(modules.DOUBLING)
    await broker.rpc("doubling.ask")
    laws, text = await broken_laws(broker)
    assert laws == ["answered", "responses"]
    assert "doubling.0 answered doubling.ask (matchtag 1) once more than it was asked" in text


async def test_a_stream_that_is_never_ended_breaks_pending(broker):
    await broker.load(modules.LEAKING)
    await broker.rpc("leaking.ask")
    laws, text = await broken_laws(broker)
    assert laws == ["pending"]
    assert "leaking.follow from leaking.0" in text and "the stream is open" in text


@pytest.mark.brokersim(size=2)
async def test_a_message_lost_on_a_link_breaks_links(broker, tmp_path):
    await broker.load(broken(tmp_path, "loser"))
    await broker.rpc("loser.ask")
    laws, text = await broken_laws(broker)
    assert "links" in laws
    assert "link 0→1: " in text and "kvs.ping +1" in text


async def test_an_event_given_twice_breaks_events(broker, tmp_path):
    await broker.load(broken(tmp_path, "echo"))
    await broker.publish("echo.news")
    laws, text = await broken_laws(broker)
    assert laws == ["events"]
    assert "echo.0 was given event 1 (echo.news) once too often" in text


async def test_an_event_that_does_not_arrive_breaks_events(broker, tmp_path):
    await broker.load(broken(tmp_path, "thief"))
    await broker.load(broken(tmp_path, "listener"))
    await broker.publish("news")
    laws, text = await broken_laws(broker)
    assert laws == ["events"]
    assert "listener.0 was never given event 1 (news)" in text


@pytest.mark.brokersim(modules=["heartbeat"])
async def test_a_kvs_that_misses_heartbeats_breaks_kvs_events(broker, tmp_path):
    await broker.load(broken(tmp_path, "deaf_kvs"), name="kvs")
    await broker.advance(5)
    laws, text = await broken_laws(broker)
    assert laws == ["kvs-events"]
    assert "kvs.0: event_rx 0, but event_tx 0 + 2 heartbeats" in text


async def test_a_packet_of_seven_counters_breaks_packets(broker, tmp_path):
    await broker.load(broken(tmp_path, "seven"))
    await broker.rpc("seven.ask")
    laws, text = await broken_laws(broker)
    assert laws == ["packets"]
    assert "seven.0 at 0.000000 s: 7 metrics" in text


async def test_a_packet_of_eight_gauges_of_which_one_is_no_counter_breaks_packets(broker, tmp_path):
    await broker.load(broken(tmp_path, "stranger"))
    await broker.rpc("stranger.ask")
    laws, text = await broken_laws(broker)
    assert laws == ["packets"]
    assert "stranger.0 at 0.000000 s: 8 metrics" in text


async def test_a_gauge_that_is_no_counter_breaks_gauges(broker, tmp_path):
    await broker.load(broken(tmp_path, "liar"))
    broker.debug("liar")
    await broker.rpc("liar.ask")
    await broker.advance(1)
    laws, text = await broken_laws(broker)
    assert laws == ["gauges"]
    assert "liar.0: the sink has event_tx 4711, the module sent 0" in text


async def test_a_job_lost_between_two_states_breaks_job_states_though_it_comes_back(broker, tmp_path):
    await broker.load(broken(tmp_path, "juggler"))
    await broker.rpc("juggler.ask")
    laws, text = await broken_laws(broker)
    assert laws == ["job-states"]
    assert "juggler.0 at 0.000000 s: 3 jobs submitted, but 2 in the states" in text


@pytest.mark.parametrize("stolen", [0, 3])
@pytest.mark.brokersim(size=3, modules=["metrics"])
async def test_an_observation_that_vanishes_breaks_metrics_conserved(broker, stolen):
    source = {"stream": "s", "apply": ["sum"]}
    await broker.rpc("metrics.create", {"definition": {"name": "t", "epoch": 2.0, "reducers": [source]}})
    for at in range(43):
        await broker.rpc("metrics.observe", {"stream": "s", "key": f"k{at}"}, at % 3)
        await broker.advance(0.1 if at < 39 else 0.0)
    held = broker.module("metrics", 2)._member.stats["t"].table
    for text in list(held.taps[0].cells)[:stolen]:
        held._taken += held.taps[0].cells.pop(text).n
    await broker.advance(3)
    if not stolen:
        await broker.verify()
        return
    laws, text = await broken_laws(broker)
    assert laws == ["metrics-conserved"]
    assert "stat t: 43 observations, but" in text


@pytest.mark.parametrize("rank", [0, 1, 2])
@pytest.mark.brokersim(size=3, fanout=1, modules=["content-cache", "content-sqlite", "kvs", "metrics"])
async def test_what_was_told_before_metrics_was_loaded_again_stays_told(broker, rank):
    source = {"stream": "s", "apply": ["sum"]}
    await broker.rpc("metrics.create", {"definition": {"name": "t", "epoch": 0, "reducers": [source]}})
    for _ in range(2):
        for at in range(9):
            await broker.rpc("metrics.observe", {"stream": "s", "key": f"k{at}"}, at % 3)
        await broker.rpc("metrics.next-epoch", {"name": "t"})
        await broker.advance(1)
    for at in range(6):
        await broker.rpc("metrics.observe", {"stream": "s", "key": f"k{at}"}, at % 3)
    await broker.instance.remove("metrics", rank)
    await broker.instance.load("metrics", rank=rank)
    await broker.advance(1)
    await broker.verify()
    broker.module("metrics", 2)._member.stats["t"].table._taken += 1
    laws, _ = await broken_laws(broker)
    assert laws == ["metrics-conserved"]


def test_every_law_is_broken_by_a_test_here():
    text = Path(__file__).read_text(encoding="utf-8")
    assert [law for law in LAWS if f'"{law}"' not in text] == []


async def test_a_law_relaxed_for_some_violations_counts_them(broker):
    await broker.load(modules.LEAKING)
    await broker.rpc("leaking.ask")
    broker.relax("pending", "the stream is to stay open", allow=1)
    await broker.verify()
    await broker.rpc("leaking.ask")
    with pytest.raises(LawViolation, match=r"\[2; 1 allowed\]"):
        await broker.verify()
    broker.relax("pending", "the stream is to stay open", allow=2)


@pytest.mark.brokersim(laws={"L3": "nobody answers here", "pending": {"reason": "open", "allow": 3}})
async def test_the_marker_relaxes_laws_by_name_and_by_number(broker):
    await broker.load(modules.SILENT)
    with pytest.raises(Impatient):
        await broker.rpc("silent.ask", timeout=1)
    assert broker.relaxed["answered"].reason == "nobody answers here"


@pytest.mark.parametrize("given", [{"answered": ""}, {"answered": None}, {"answered": {"allow": 1}}])
def test_a_law_is_not_relaxed_without_a_reason(given):
    with pytest.raises(ValueError, match="law answered is relaxed without a reason"):
        parse_relaxations(given)


def test_an_unknown_law_is_answered_with_those_there_are():
    with pytest.raises(ValueError, match=r"no law 'L9'; the laws are answered \(L3\), responses"):
        find_law("L9")


async def test_what_a_client_still_streams_is_its_own_affair(broker):
    broker.instance.client().stream("log.dmesg", {"follow": True}, lambda *_: None)
    await broker.settle()
    opened = [asked for asked in broker.ledger.conversations.open.values() if asked.who == "client"]
    assert [asked.topic for asked in opened] == ["log.dmesg"]
