"""Jobspecs and their envelope: what is accepted, what is refused and in which words."""

from __future__ import annotations

import base64

import pytest
from hypothesis import given
from hypothesis import strategies as st

from brokersim.protocol.job_facts import check_jobspec, decode_jobspec, per_resource, unwrap
from modules.job_exec.plan import environment_of, to_plan
from tests.modules.job_harness import envelope, jobspec, real


def test_the_envelope_of_flux_is_read():
    header = "dmVyc2lvbgBpMQB1c2VyaWQAaTAAbWVjaGFuaXNtAHNub25lAA=="
    payload = base64.b64encode(b'{"version":1}').decode()
    assert unwrap(f"{header}.{payload}.none") == (0, b'{"version":1}')
    assert unwrap(envelope({"version": 1}, userid=1000)) == (1000, b'{"version":1}')


@pytest.mark.parametrize(
    ("envelope_", "says"),
    [
        ("", "HEADER.PAYLOAD.SIGNATURE"),
        ("a.b", "HEADER.PAYLOAD.SIGNATURE"),
        ("?.b.none", "HEADER is not base64"),
        (envelope({}).replace(".e30=.", ".~.", 1), "PAYLOAD is not base64"),
        (envelope({}, mechanism="munge"), "mechanism none, not 'munge'"),
        ("AAAA.e30=.none", "header must have version 1"),
    ],
)
def test_a_bad_envelope_is_refused_with_the_reason(envelope_, says):
    with pytest.raises(ValueError, match=says):
        unwrap(envelope_)


@given(st.text(max_size=60) | st.from_regex(r"[A-Za-z0-9+/=]{0,20}\.[A-Za-z0-9+/=]{0,20}\.none"))
def test_no_envelope_raises_anything_but_value_error(text):
    try:
        decode_jobspec(unwrap(text)[1])
    except ValueError:
        pass


def test_the_facts_of_a_jobspec_are_what_lists_show():
    spec = jobspec("/bin/echo", "hi", nodes=2, slots=3, cores=2, duration=7, queue="batch", cwd="/tmp")
    facts = check_jobspec(spec)
    assert (facts.name, facts.ntasks, facts.nnodes, facts.ncores) == ("echo", 6, 2, 12)
    assert (facts.duration, facts.queue, facts.cwd) == (7.0, "batch", "/tmp")
    assert check_jobspec(jobspec(job={"name": "mine"})).name == "mine"


def broken(**changes):
    spec = jobspec()
    spec.update(changes)
    return {key: value for key, value in spec.items() if value is not ...}


SLOT = {"type": "slot", "count": 1, "with": [{"type": "core", "count": 1}]}


def nested(more):
    """A slot, a core and so many gpus, each inside the one before; of none there may be several."""
    inner = []
    for _ in range(more):
        inner = [{"type": "gpu", "count": 0, **({"with": inner} if inner else {})}]
    return broken(resources=[{**SLOT, "with": [{"type": "core", "count": 1, "with": inner}]}])


def test_resources_stand_in_each_other_five_deep_at_most():
    assert check_jobspec(nested(3)).ncores == 1
    with pytest.raises(ValueError, match="resources must be a list of node, slot, core or gpu"):
        check_jobspec(nested(4))


@pytest.mark.parametrize(
    ("spec", "says"),
    [
        ({}, "resources is missing"),
        (broken(version=2), "version must be 1, not 2"),
        (broken(tasks=[]), "tasks must be a list of one task"),
        (broken(tasks=[{"command": "true", "slot": "t", "count": {}}]), "command must be a list of strings"),
        (broken(tasks=[{"command": [], "slot": "t", "count": {}}]), "command must be a list of strings"),
        (broken(tasks=[{"command": ["x"], "slot": "t", "count": {"total": 0}}]), "count must be .per_slot"),
        (broken(resources=[]), "resources must be a list"),
        (broken(resources=[{**SLOT, "count": 0}]), "count of slot must be a positive integer, not 0"),
        (broken(resources=[{**SLOT, "count": True}]), "count of slot must be a positive integer"),
        (broken(resources=[{"type": "rack", "count": 1}]), "resource type must be one of"),
        (broken(resources=[SLOT, SLOT]), "more than one slot"),
        (broken(attributes=[]), "attributes must be an object"),
        (broken(attributes={"system": {"duration": -1}}), "duration must be a number of seconds"),
        (broken(attributes={"system": {"duration": 10**400}}), "duration must be a number of seconds"),
        (broken(attributes={"system": {"duration": "1h"}}), "duration must be a number of seconds"),
        (
            broken(attributes={"system": {"dependencies": [{"scheme": "aftre"}]}}),
            'dependency scheme "aftre" not supported; there are after, afterstart',
        ),
        (
            broken(attributes={"system": {"dependencies": [{"scheme": "singleton"}]}}),
            "singleton jobs require a job name",
        ),
        (broken(attributes={"system": {"queue": 3}}), "queue must be a string"),
    ],
)
def test_a_bad_jobspec_is_refused_with_the_part_named(spec, says):
    with pytest.raises(ValueError, match=says):
        check_jobspec(spec)


JUNK = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=5),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.sampled_from(
                ["type", "count", "with", "command", "slot", "system", "min", "tasks", "per_slot"]
            ),
            inner,
            max_size=4,
        )
    ),
    max_leaves=12,
)


@given(st.dictionaries(st.sampled_from(["version", "resources", "tasks", "attributes"]), JUNK | st.just(1)))
def test_no_jobspec_raises_anything_but_value_error(changes):
    spec = {**jobspec(), **changes}
    try:
        check_jobspec(spec)
    except ValueError:
        return
    try:
        to_plan(spec)  # what passed the check can be planned, but for attributes only the plan reads
    except ValueError:
        pass


def test_the_run_time_is_the_duration_or_flux_test_key():
    assert to_plan(jobspec(duration=2.5)).run_time == 2.5
    tested = to_plan(jobspec(duration=60, exec={"test": {"run_duration": "20ms", "wait_status": 256}}))
    assert (tested.run_time, tested.limit, tested.wait_status, tested.is_real) == (0.02, 60, 256, False)


def test_a_real_command_is_run_where_and_as_asked_for():
    plan = to_plan(real("sleep", "1", duration=3, cwd="/", environment={"A": "b"}))
    assert (plan.is_real, plan.command, plan.limit) == (True, ("sleep", "1"), 3)
    assert plan.cwd == "/"
    assert environment_of(real("sleep", environment={"A": "b"})) == {"A": "b"}
    assert to_plan(real("sleep", shell={"options": {"exit-timeout": "inf"}})).exit_timeout is None
    assert not to_plan(real("sleep", exec={"test": {}})).is_real, "as in Flux an empty object is enough"


@pytest.mark.parametrize(
    ("system", "says"),
    [
        ({"exec": {"test": {"run_duration": "soon"}}}, "not a duration: 'soon'"),
        ({"exec": {"test": {"run_duration": 10**400}}}, "run_duration must be a duration"),
        ({"exec": {"test": {"wait_status": -1}}}, "wait_status must be 0 to 65535"),
        ({"exec": {"test": {"mock_exception": "later"}}}, "mock_exception must be init or run"),
        ({"brokersim": {"output_rate": 1e9}}, "output_rate must be 0 to 1000"),
        ({"shell": {"options": {"output": {"stdout": {"type": "file"}}}}}, "output.stdout must be"),
        ({"shell": {"options": {"output": {"mode": "both"}}}}, "give truncate or append"),
        ({"cwd": 3}, "cwd must be a string"),
        ({"cwd": "a\0b"}, "cwd must be a string without NUL"),
    ],
)
def test_attributes_that_cannot_be_used_are_named(system, says):
    with pytest.raises(ValueError, match=says):
        to_plan(jobspec(**system))
    with pytest.raises(ValueError, match="no NUL"):
        to_plan(jobspec("a\0b"))


def test_an_environment_that_cannot_be_given_is_named():
    with pytest.raises(ValueError, match="environment must be"):
        environment_of(real("x", environment={"A=B": "c"}))


def asking(found):
    return {"attributes": {"system": {"shell": {"options": {"per-resource": found}}}}}


def test_tasks_by_resource_are_a_type_and_a_count_or_not_asked_for():
    assert per_resource(asking({"type": "core"})) == ("core", 1)
    assert per_resource(asking({"type": "node", "count": 2})) == ("node", 2)
    for nothing in ({}, {"attributes": 3}, asking(None), asking(5), asking([])):
        assert per_resource(nothing) is None
    for wrong in ({}, {"type": "gpu"}, {"type": "core", "count": 0}, {"type": "core", "count": True}):
        with pytest.raises(ValueError, match="a type, node or core, and a count of 1 or more"):
            per_resource(asking(wrong))
