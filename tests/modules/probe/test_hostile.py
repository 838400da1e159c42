"""Whatever a configuration or an answer is made of, it is taken or refused in a line; the module stays."""

from __future__ import annotations

import sys
from collections.abc import Callable

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from brokersim.protocol.errnums import EINVAL, RequestError
from modules.probe.answers import readings
from modules.probe.config import read_file, to_config
from modules.probe.contract import Junk
from modules.probe.plan import DEFAULTS, to_measurement
from modules.probe.probes import PROBES, replay
from modules.probe.probes.isolated import Lasting
from modules.probe.sinks import otlp
from tests.effort import examples
from tests.modules.probe.harness import every, lined, probing, run, samples

PLAIN = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(),
    st.floats(allow_nan=False, allow_infinity=False),
    st.text(max_size=8),
)
JSON = st.recursive(
    PLAIN,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=4), inner, max_size=3),
    max_leaves=8,
)
OPTIONS = sorted({key for probe in PROBES.values() for key in probe.options})
CONFIGS = st.dictionaries(st.sampled_from(OPTIONS), JSON, max_size=3)
SCHEDULES = st.fixed_dictionaries(
    {"type": st.sampled_from(["every", "windows", "nested", "cron", "random", "adaptive", "onetime"]) | JSON},
    optional={
        "params": JSON
        | st.dictionaries(
            st.sampled_from(["every", "start", "end", "windows", "daily", "spec", "expr", "child", "base", "low"]),
            JSON, max_size=4,
        )
    },
)  # fmt: skip
REPORTING = st.dictionaries(
    st.sampled_from(["sinks", "every_n", "max_age", "on_change", "on_stop", "counters"]), JSON, max_size=3
)
RECORDS = st.fixed_dictionaries(
    {"probe": st.sampled_from(sorted(PROBES)) | JSON},
    optional={
        **{key: JSON for key in DEFAULTS if key != "probe"},
        "config": CONFIGS | JSON,
        "schedule": SCHEDULES | JSON,
        "reporting": REPORTING | JSON,
    },
)


def nested(levels: int, leaf: object = 1) -> object:
    for _ in range(levels):
        leaf = [leaf]
    return leaf


def refusal(make: Callable[..., object], *args: object) -> str:
    """What a ValueError says, empty without one; anything else it raises fails the test."""
    try:
        make(*args)
    except ValueError as error:
        return str(error)
    return ""


@given(record=RECORDS)
@settings(max_examples=examples(150), deadline=None)
def test_a_record_is_a_measurement_or_a_ValueError(record):
    told = refusal(to_measurement, "m", record)
    assert not told or (told.startswith("/probes/m") and len(told) < 2000)


@given(document=st.fixed_dictionaries({}, optional={
    "probes": st.dictionaries(st.text(max_size=4), RECORDS | JSON, max_size=2) | JSON, "probe_defaults": RECORDS | JSON,
    "sinks": JSON | st.dictionaries(st.sampled_from(["statsd", "lines", "x"]), JSON, max_size=2), "labels": JSON,
    "status": JSON,
}))  # fmt: skip
@settings(max_examples=examples(60), deadline=None)
def test_a_configuration_is_one_or_a_ValueError(document):
    told = refusal(to_config, document)
    assert not told or told.startswith("/")


ANSWERS = st.recursive(
    PLAIN | st.integers(-(10**400), 10**400) | st.floats() | st.binary(max_size=3) | st.just(object()),
    lambda inner: st.lists(inner, max_size=3)
    | st.dictionaries(
        st.text(max_size=4) | st.sampled_from(["ts", "partial", "text", "identity"]) | st.integers(), inner, max_size=4
    ),
    max_leaves=10,
)  # fmt: skip


@given(answer=ANSWERS)
@settings(max_examples=examples(150), deadline=None)
def test_an_answer_is_readings_or_junk(answer):
    try:
        found = readings(answer, "node/0")
    except Junk:
        return
    for one in found:
        assert all(type(name) is str for name in one.metrics)
        for value in one.metrics.values():
            assert type(value) in (int, float, str)
            if type(value) is int:
                assert abs(value) < 2**64


def test_an_answer_nested_without_end_is_junk():
    with pytest.raises(Junk, match="at most 4 lists"):
        readings(nested(900, {"v": 1}), "node/0")
    assert readings(nested(4, {"v": 1}), "node/0")[0].metrics == {"v": 1}


#: Deeper than a decoder goes down: it raises RecursionError, which is no error of decoding.
BOTTOMLESS = b"[" * 100_000


def test_a_file_that_nests_without_end_is_refused_with_its_name_and_line(tmp_path):
    lines, config = tmp_path / "lines.jsonl", tmp_path / "probes.json"
    lines.write_bytes(b'{"n": 1}\n' + BOTTOMLESS)
    config.write_bytes(BOTTOMLESS)
    assert refusal(replay._lines, lines).startswith(f"{lines}:2: maximum recursion depth")
    assert refusal(read_file, config).startswith(f"{config}: maximum recursion depth")
    config.with_suffix(".toml").write_bytes(b"a = " + BOTTOMLESS)
    assert refusal(read_file, config.with_suffix(".toml")).startswith(f"{config.with_suffix('.toml')}: ")


def test_a_program_whose_answer_nests_without_end_answers_junk():
    with pytest.raises(Junk, match="is no JSON: maximum recursion depth"):
        Lasting.answer(object.__new__(Lasting), BOTTOMLESS)


def test_a_receiver_whose_answer_nests_without_end_says_nothing():
    assert otlp._json(BOTTOMLESS.decode()) == {}


@pytest.mark.parametrize("levels", [70, 900])
def test_what_nests_too_deep_is_refused_and_the_module_stays(levels):
    deep = nested(levels)
    record = {"probe": "dummy", "schedule": every(1)}

    async def main():
        async with probing() as (_, client):
            await client.call("probe.add", {"name": "m", "record": record})
            for topic, payload in (
                ("add", {"name": "n", "record": {**record, "labels": {"a": deep}}}),
                ("set", {"name": "m", "record": {"config": {"value": deep}}}),
                ("reload", {"config": {"probes": {"n": {"config": deep}}}}),
                ("reload", {"config": {"probe_defaults": deep}}),
                ("read", {"probe": "command", "config": {"argv": deep}}),
                ("read", {"probe": "replay", "config": {"readings": [deep]}}),
            ):
                with pytest.raises(RequestError) as caught:
                    await client.call(f"probe.{topic}", payload)
                assert len(str(caught.value)) < 300
                if topic != "read":
                    assert caught.value.errno == EINVAL and "at most 64 deep" in str(caught.value)
            [one] = (await client.call("probe.status"))["measurements"]
            assert one["state"] == "WAIT"

    run(main)


@pytest.mark.parametrize(
    ("sink", "says"),
    [
        ({"type": []}, "no sink"),
        ({"type": "lines", "path": ["a"]}, "/sinks/s/path must be a str"),
        ({"type": "statsd", "now": 1}, "/sinks/s/now must be a bool"),
        ({"type": "lines", "path": "x\0y"}, "null byte"),
        ({"type": "lines", "path": "/dev/null/x"}, "Not a directory"),
        ({"type": "statsd", "queue": {"max_samples": True}}, "/sinks/s/queue/max_samples"),
        ([1], "/sinks/s must be an object"),
    ],
)
def test_a_sink_that_cannot_be_is_refused_and_nothing_has_changed(sink, says):
    async def main():
        async with probing() as (_, client):
            with pytest.raises(RequestError, match=says) as caught:
                await client.call("probe.reload", {"config": {"sinks": {"s": sink}}})
            assert caught.value.errno == EINVAL
            return (await client.call("probe.status"))["sinks"]

    assert run(main) == []


HUGE = {"v": 2**63 + 5, "w": 2**64 - 6, "x": -(2**63) - 7}


def test_counters_of_64_bits_reach_every_sink(tmp_path):
    lines, database = tmp_path / "lines", tmp_path / "run.db"
    sinks = {"lines": {"path": str(lines)}, "db": {"type": "rundb", "path": str(database)}}

    async def main():
        async with probing() as (instance, client):
            record = lined(
                "replay", every(1), {"readings": [HUGE]}, reporting={"sinks": ["lines", "db", "statsd"]}
            )
            await client.call("probe.reload", {"config": {"sinks": sinks, "probes": {"m": record}}})
            await instance.sleep(2.5)
            return (await client.call("probe.status"))["sinks"]

    for sink in run(main):
        assert sink["dropped"] == {} and sink["trouble"] == "", sink
    assert {one["value"] for one in samples(lines)} == set(HUGE.values())


def test_a_sink_that_raises_loses_the_batch_counted_and_nothing_else(tmp_path, monkeypatch):
    def broken(*_):
        raise OverflowError("cannot be said")

    async def main():
        async with probing(tmp_path / "lines") as (instance, client):
            # The module's own import of it: each load of a module file is fresh code.
            own = type(instance.module(0, "probe").handle.body).__module__
            monkeypatch.setattr(sys.modules[f"{own}.sinks"].LineFile, "send", broken)
            await client.call("probe.add", {"name": "m", "record": lined("dummy", every(1))})
            await instance.sleep(3.5)
            monkeypatch.undo()
            await instance.sleep(3)
            return await client.call("probe.status", {"name": "m"})

    status = run(main)
    [sink] = status["sinks"]
    assert status["measurements"][0]["state"] == "WAIT"
    assert sink["dropped"] == {"encode": 4} and sink["delivered"] == 3
