"""What a configuration may be, as JSON Schema: whatever it refuses is refused by the module, and what runs fits."""

from __future__ import annotations

import tomllib
from pathlib import Path

import pytest

from modules.probe.config import to_config
from modules.probe.faults import FAULTS_MAX, Faults
from modules.probe.plan import DEFAULTS
from modules.probe.probes import PROBES
from modules.probe.schema import schema
from modules.probe.sending.reporting import DEFAULTS as REPORTING
from modules.probe.sinks import SINKS

jsonschema = pytest.importorskip("jsonschema")
ROOT = Path(__file__).parents[3]


def fits(config):
    return jsonschema.Draft202012Validator(schema()).is_valid(config)


def is_taken(config):
    try:
        to_config(config)
    except ValueError:
        return False
    return True


def one(**record):
    return {"probes": {"m": {"probe": "dummy", **record}}}


@pytest.mark.parametrize(
    "config",
    [
        one(every=1), one(schedule=[]), one(reporting=5), one(reporting=[]), one(reporting={"every_n": 0}),
        one(reporting=[{"every_n": "x"}]), one(config={"valu": 1}), one(config={"value": "x"}), one(status="on"),
        one(overlap="wait"), one(restart="always"), one(isolation="thread"), one(labels=3),
        {"probes": {"m": {"probe": "cpux"}}}, {"probes": []}, {"prob": {}}, {"status": "MAYBE"}, {"sinks": []},
        {"probes": {"m": {"probe": "cpu", "config": {"per_core": 1}}}},
    ],
)  # fmt: skip
def test_what_the_schema_refuses_is_refused(config):
    assert not fits(config)
    assert not is_taken(config)


@pytest.mark.parametrize(
    "config",
    [
        {}, one(), one(schedule="10s for 1m every 1h"), one(reporting=[{"sinks": "statsd"}, {"sinks": ["metrics"]}]),
        one(timeout="5s", jitter=1, labels={"a": "b"}, status="OFF"), one(config={"value": 3}),
        {"sinks": {"a": {"type": "lines", "path": "/x", "queue": {"drop": "newest"}}}},
        {"probe_defaults": {"schedule": 5}, "probes": {"m": {"probe": "nagios", "config": {"argv": "a,b"}}}},
        tomllib.loads((ROOT / "examples/probes.toml").read_text()),
    ],
)  # fmt: skip
def test_what_runs_fits(config):
    assert is_taken(config)
    jsonschema.Draft202012Validator(schema()).validate(config)


def test_the_schema_is_one_and_has_each_probe_sink_and_default():
    jsonschema.Draft202012Validator.check_schema(schema())
    made = schema()["$defs"]
    assert {part["if"]["properties"]["probe"]["const"] for part in made["configs"]["allOf"]} == set(PROBES)
    assert {part["if"]["properties"]["type"]["const"] for part in made["sink"]["allOf"]} == set(SINKS)
    assert made["measurement"]["properties"]["overlap"]["default"] == DEFAULTS["overlap"]
    assert made["reporting"]["properties"]["every_n"] == {"type": "integer", "minimum": 1, "default": 1}


def test_the_page_names_each_key():
    page = (ROOT / "docs/probes.md").read_text()
    assert [
        key for key in (*DEFAULTS, *REPORTING, *PROBES, *SINKS) if f"`{key}`" not in page and key not in page
    ] == []


def test_all_that_is_wrong_is_told_at_once_each_by_its_pointer():
    bad = {
        "a": {"probe": "cpux"},
        "b": {"probe": "cpu", "jitter": -1},
        "c": {"probe": "cpu", "schedule": {"type": "x"}},
    }
    bad |= {
        "d": 5,
        "e": {"probe": "cpu", "config": {"cor": 1}},
        "f": {"probe": "cpu", "reporting": [{"every_n": 0}]},
    }
    with pytest.raises(Faults) as caught:
        to_config({"probes": bad})
    assert [fault.split(" ")[0] for fault in caught.value.faults] == [
        "/probes/a/probe:", "/probes/b/jitter", "/probes/c/schedule:", "/probes/d", "/probes/e/config:",
        "/probes/f/reporting/0/every_n",
    ]  # fmt: skip


def test_a_wrong_key_hides_no_other_fault():
    given = {
        "probs": {}, "status": "MAYBE", "labels": [],
        "sinks": {"l": {"type": "lines", "pth": "x", "queue": {"drop": "all"}}, "p": {"type": "prometheus"}, "s": 3},
        "probe_defaults": {"overlap": "never"},
        "probes": {
            "a": {"prob": "cpu", "probe": "cpu", "config": {"cor": 1, "per_core": "x"}, "jitter": "soon"},
            "b": {"probe": "dummy", "schedule": {"type": "x"}, "overlap": "skip",
                  "reporting": {"every": 1, "every_n": 0, "max_age": -1}},
            "c": {"probe": "mem", "overlap": "skip", "reporting": {"sinks": ["nowhere"]}},
        },
    }  # fmt: skip
    with pytest.raises(Faults) as caught:
        to_config(given)
    assert [" ".join(fault.split(" ")[:3]) for fault in caught.value.faults] == [
        "/probs is no", "/status must be", "/labels must be", "/sinks/l/queue/drop must be", "/sinks/l: pth is",
        "/sinks/p: prometheus needs", "/sinks/s must be", "/probes/a/prob is no", "/probes/a/config: probe cpu:",
        "/probes/a/config: probe cpu:", "/probes/a/overlap must be", "/probes/a/jitter must be",
        "/probes/b/schedule: no schedule", "/probes/b/reporting/every is no", "/probes/b/reporting/every_n must be",
        "/probes/b/reporting/max_age must be", "/probes/c/reporting/sinks: no sink",
    ]  # fmt: skip


def test_of_very_many_faults_a_sentence_has_some_and_says_how_many_more():
    with pytest.raises(Faults) as caught:
        to_config({"probes": {f"m{n}": {"probe": "nosuch"} for n in range(FAULTS_MAX + 5)}})
    assert len(caught.value.faults) == FAULTS_MAX + 5
    assert str(caught.value).endswith("; and 5 more")
    assert str(caught.value).count("no probe 'nosuch'") == FAULTS_MAX
