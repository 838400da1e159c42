"""The tables policy and queues of a configuration: limits at their bounds, defaults, constraints put together."""

from __future__ import annotations

import re
from typing import Any

import pytest

from brokersim.protocol.job_facts import JobFacts
from brokersim.protocol.policy import to_rules


def facts(**given: Any) -> JobFacts:
    return JobFacts(**{"name": "x", "ntasks": 1, "nnodes": 2, "ncores": 4, "duration": 60.0, **given})


def limits(**given: Any) -> dict[str, Any]:
    return {"policy": {"limits": given}}


@pytest.mark.parametrize(
    ("limit", "at", "beyond", "says"),
    [
        ({"duration": "60s"}, 60.0, 60.1, r"requested duration \(.*\) exceeds policy limit of 1m"),
        ({"duration": "60s"}, 1.0, 0.0, r"requested duration \(unlimited\) exceeds policy limit of 1m"),
        ({"job-size": {"max": {"nnodes": 3}}}, 3, 4, r"requested nnodes \(4\) exceeds policy limit of 3"),
        ({"job-size": {"min": {"nnodes": 3}}}, 3, 2, r"requested nnodes \(2\) is under policy limit of 3"),
        ({"job-size": {"max": {"nnodes": 0}}}, 0, 1, r"requested nnodes \(1\) exceeds policy limit of 0"),
    ],
)
def test_a_limit_lets_pass_what_is_at_it_and_says_what_is_beyond(limit, at, beyond, says):
    what = "duration" if "duration" in limit else "nnodes"
    rules = to_rules(limits(**limit))
    assert rules.refusal(facts(**{what: at})) == ""
    assert re.fullmatch(says, rules.refusal(facts(**{what: beyond})))


@pytest.mark.parametrize("limit", [{"duration": "0"}, {"job-size": {"max": {"nnodes": -1}}}])
def test_a_limit_can_say_that_there_is_none_and_one_of_a_queue_stands_before_the_general_one(limit):
    strict = {"duration": "1s", "job-size": {"max": {"nnodes": 1}}}
    job = facts(
        queue="q", nnodes=5 if "job-size" in limit else 1, duration=1.0 if "job-size" in limit else 0.0
    )
    own = {"queues": {"q": {"policy": {"limits": limit}}}}
    assert to_rules(limits(**strict)).refusal(job).endswith(" for queue q")
    assert to_rules({**limits(**strict), **own}).refusal(job) == ""


def completed(system: dict[str, Any], **queues: Any) -> dict[str, Any]:
    jobspec = {"attributes": {"system": system}}
    to_rules({"queues": queues}).complete(jobspec)
    return jobspec["attributes"]["system"]


@pytest.mark.parametrize(
    ("own", "both"),
    [
        (None, {"properties": ["a", "b"]}),
        ({"properties": ["b", "c"]}, {"properties": ["b", "c", "a"]}),
        ({"hostlist": ["n1"]}, {"and": [{"hostlist": ["n1"]}, {"properties": ["a", "b"]}]}),
    ],
)
def test_a_jobs_own_constraint_and_its_queues_hold_together(own, both):
    system = {"queue": "q"} if own is None else {"queue": "q", "constraints": own}
    assert completed(system, q={"requires": ["a", "b"]})["constraints"] == both


@pytest.mark.parametrize("queue", ["other", 5, ["q"]])
def test_a_queue_that_is_not_configured_is_an_error_and_so_is_what_can_be_no_name(queue):
    with pytest.raises(ValueError, match=r"Invalid queue .* specified"):
        completed({"queue": queue}, q={})


def test_a_job_gets_the_defaults_it_does_not_say_itself():
    given = {"policy": {"jobspec": {"defaults": {"system": {"duration": "1m"}}}}}
    assert completed({"queue": "q"}, q=given) == {"queue": "q", "duration": 60.0}
    assert completed({"queue": "q", "duration": 5}, q=given) == {"queue": "q", "duration": 5}
