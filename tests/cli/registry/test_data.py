"""The latest samples from the command line: what series there are, and those of one."""

from __future__ import annotations

import pytest

from brokersim.protocol.errnums import ENOSYS, RequestError

ABOUT = {"subject": "node/0", "measurement": "m", "unit": "By", "kind": "gauge", "form": "raw", "seq": 7}
SERIES = [
    {
        "mid": "sha1-aaaa1111",
        "metric": "x",
        "attributes": {"measurement": "m"},
        "ts": 9.5,
        "value": 1.25,
        **ABOUT,
    },
    {
        "mid": "sha1-aaaa2222",
        "metric": "y",
        "attributes": {"mode": "user"},
        "ts": 9.5,
        "value": "gone",
        **ABOUT,
    },
]


@pytest.fixture
def kept(fake):
    fake.answers["registry.latest"] = {"series": SERIES}
    fake.answers["registry.data"] = {**SERIES[0], "samples": [{"ts": 1.5, "seq": 7, "value": 1.25}]}
    return fake


def test_what_series_there_are(kept, run):
    result = run("registry", "data")
    assert result.code == 0
    assert [line.split() for line in result.out.splitlines()] == [
        ["ID", "Measurement", "Subject", "Metric", "Value", "Unit"],
        ["sha1-aaaa1111", "m", "node/0", "x", "1.25", "By"],
        ["sha1-aaaa2222", "m", "node/0", "y", "user", "gone", "By"],
    ]
    assert run("--json", "registry", "data").json == {"series": SERIES}


def test_the_samples_of_one_by_the_begin_of_its_id(kept, run):
    result = run(
        "registry", "data", "sha1-aaaa1", "--from", "1970-01-01T00:00:01Z", "--to", "5", "--limit", "3"
    )
    assert [line.split() for line in result.out.splitlines()][1:] == [
        ["1970-01-01T00:00:01.500Z", "7", "1.25"]
    ]
    assert kept.asked("registry.data") == [{"mid": "sha1-aaaa1111", "from": 1.0, "to": 5.0, "limit": 3}]
    assert run("--json", "registry", "data", "sha1-aaaa1").json["samples"][0]["seq"] == 7


@pytest.mark.parametrize(
    ("args", "says"),
    [
        (["sha1-aaaa"], "2 series have an id that begins with sha1-aaaa"), (["x"], "no series has an id that begins"),
        (["--limit", "3"], "are about one series"), (["sha1-aaaa1", "--from", "2026-01-01T00:00:00"], "no offset"),
        (["sha1-aaaa1", "--from", "noon"], "noon"),
    ],
)  # fmt: skip
def test_what_is_wrong_is_told(kept, run, args, says):
    result = run("registry", "data", *args)
    assert result.code in (1, 2) and says in result.err


def test_without_a_registry_it_is_told_what_to_load(kept, run):
    kept.answers["registry.latest"] = RequestError(ENOSYS, "")
    assert "try:  brokersim module load registry" in run("registry", "data").err
