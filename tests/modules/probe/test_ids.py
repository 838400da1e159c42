"""Ids by the specification's words: a series is the SHA-1 of canonical JSON of subject, metric and attributes.

The same for whoever says the same, in any order, over any reload; two things never have one id.
"""

from __future__ import annotations

import hashlib
import json
import re

from hypothesis import given, settings
from hypothesis import strategies as st

from modules.probe.plan import to_measurement
from modules.probe.probes import PROBES
from modules.probe.registered.node import records
from tests.modules.probe.harness import documents, every, lined, probing, run

NAMES = st.text(st.characters(codec="utf-8", exclude_characters="/"), min_size=1, max_size=80)
TEXTS = st.dictionaries(st.text(min_size=1, max_size=8), st.text(max_size=8), max_size=4)


def by_hand(subject, metric, attributes):
    """Written out, by another encoder."""
    identity = {"subject": subject, "metric": metric, "attributes": attributes}
    text = json.dumps(identity, sort_keys=True, separators=(",", ":"), ensure_ascii=False)
    return "sha1-" + hashlib.sha1(text.encode()).hexdigest()


@given(st.lists(NAMES, min_size=1, max_size=5, unique=True), NAMES, st.integers(0, 10**6))
def test_what_a_rank_registers_has_ids_that_may_be_and_no_two_are_one(names, service, rank):
    measurements = [to_measurement(name, {"probe": "mem"}) for name in names]
    told = records(service, rank, measurements)
    for found in told.values():
        ids = [one["id"] for one in found]
        assert len(set(ids)) == len(ids)
        assert all(re.fullmatch(r"[A-Za-z0-9_-]{1,128}", one) for one in ids)
    assert len(told["measurements"]) == len(names)
    backwards = records(service, rank, measurements[::-1])
    assert {one["id"] for one in told["measurements"]} == {one["id"] for one in backwards["measurements"]}
    elsewhere = records(service, rank + 1, measurements)
    assert not {one["id"] for one in told["measurements"]} & {one["id"] for one in elsewhere["measurements"]}


def test_a_series_is_registered_under_the_id_that_its_samples_have(tmp_path):
    told = records("s", 0, [to_measurement("m", {"probe": "mem"})])["metadata"]
    assert len(told) == len(PROBES["mem"].fields)
    for one in told:
        assert one["id"] == by_hand(one["subject"], one["metric"], one["attributes"])


@settings(max_examples=6, deadline=None)
@given(st.permutations(["a", "b", "c"]), st.integers(0, 2))
def test_ids_and_numbers_go_on_in_any_order_over_any_reload(tmp_path_factory, order, reloads):
    path = tmp_path_factory.getbasetemp() / "ids.jsonl"
    path.unlink(missing_ok=True)
    config = {name: lined("dummy", every(1), {"value": float(ord(name))}) for name in order}

    async def main():
        async with probing() as (instance, client):
            for _ in range(reloads + 1):
                wanted = {"sinks": {"lines": {"path": str(path)}}, "probes": config}
                await client.call("probe.reload", {"config": wanted})
                await instance.sleep(2.5)
                config[order[0]] = dict(config.pop(order[0]))  # the same, but the last one now

    run(main)
    series = {one["series"]["mid"]: one["series"] for one in documents(path) if "series" in one}
    assert set(series) == {by_hand("node/0", "value", {"measurement": name}) for name in "abc"}
    for mid in series:
        seqs = [one["seq"] for one in documents(path) if one.get("mid") == mid and "seq" in one]
        assert seqs == list(range(1, len(seqs) + 1)) and len(seqs) >= 3
