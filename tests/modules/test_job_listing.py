"""job-list's constraints against a model, its order, its attributes."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from brokersim.protocol.job_facts import JobFacts, check_jobspec
from brokersim.protocol.job_record import JobRecord as Job
from brokersim.protocol.job_states import State
from brokersim.protocol.job_table import JobTable
from modules.job_list.figures import Book
from modules.job_list.listing import ATTRIBUTES, columns, select, show, to_test
from tests.modules.job_harness import jobspec

JOBS = st.builds(
    lambda userid, name, state, priority, at, status: Job(
        id=0, facts=JobFacts(name=name, ntasks=1, nnodes=0, ncores=1, duration=0.0), jobspec=None, userid=userid,
        state=state, priority=priority, t_submit=at, t_run=at, t_inactive=at, status=status,
    ),
    st.integers(0, 2), st.sampled_from("abc"), st.sampled_from(list(State)), st.integers(0, 3), st.floats(1, 9),
    st.sampled_from([0, 256]),
)  # fmt: skip
LEAVES = st.one_of(
    st.builds(lambda v: {"userid": v}, st.lists(st.integers(0, 2), min_size=1, max_size=2)),
    st.builds(lambda v: {"name": v}, st.lists(st.sampled_from("abc"), min_size=1, max_size=2)),
    st.builds(
        lambda v: {"states": v}, st.lists(st.sampled_from([62, 64, "run", "pending"]), min_size=1, max_size=2)
    ),
    st.builds(lambda v: {"results": v}, st.lists(st.sampled_from([1, "failed"]), min_size=1, max_size=2)),
    st.builds(lambda v: {"t_submit": [f">={v}"]}, st.integers(1, 9)),
)
CONSTRAINTS = st.recursive(
    LEAVES,
    lambda inner: st.builds(
        lambda op, v: {op: v}, st.sampled_from(["and", "or", "not"]), st.lists(inner, min_size=1, max_size=3)
    ),
    max_leaves=6,
)
BITS = {"run": 16, "pending": 14}


def holds(constraint, job):
    """RFC 31, read plainly."""
    [(name, values)] = constraint.items()
    if name == "and":
        return all(holds(value, job) for value in values)
    if name == "or":
        return any(holds(value, job) for value in values)
    if name == "not":
        return not all(holds(value, job) for value in values)
    if name == "userid":
        return job.userid in values
    if name == "name":
        return job.facts.name in values
    if name == "states":
        return any(job.state & BITS.get(value, value if isinstance(value, int) else 0) for value in values)
    if name == "results":
        mine = {1, "completed"} if job.status == 0 else {2, "failed"}
        return job.state is State.INACTIVE and bool(mine & set(values))
    return job.t_submit >= float(values[0][2:])


def table_of(jobs):
    table = JobTable()
    for number, job in enumerate(jobs):
        job.id = number
        table.add(job)
    return table


@given(st.lists(JOBS, max_size=12), CONSTRAINTS)
def test_a_list_holds_exactly_the_jobs_its_constraint_means(jobs, constraint):
    found = {job.id for job in select(table_of(jobs), to_test(constraint))}
    assert found == {job.id for job in jobs if holds(constraint, job)}


@given(st.lists(JOBS, max_size=12), st.integers(0, 5), st.floats(0, 10))
def test_pending_jobs_come_first_then_running_then_inactive_newest_first(jobs, limit, since):
    ended = sorted((job for job in jobs if job.state is State.INACTIVE), key=lambda job: job.t_inactive)
    table = table_of([job for job in jobs if job.state is not State.INACTIVE] + ended)
    found = list(select(table, to_test(None), limit, since))
    everything = list(select(table, to_test(None)))
    wanted = [
        job for job in everything if job.state is not State.INACTIVE or since <= 0 or job.t_inactive > since
    ]
    assert found == wanted[: limit or None]
    kinds = [0 if job.state < State.RUN else 1 if job.state < State.INACTIVE else 2 for job in everything]
    assert kinds == sorted(kinds)
    pending = [job.priority for job in everything if job.state < State.RUN]
    assert pending == sorted(pending, reverse=True)


@given(st.lists(JOBS, max_size=12))
def test_the_statistics_count_every_job_once(jobs):
    book = Book()
    for job in jobs:
        book.entered(job)
    stats = book.to_dict([])
    states = stats["job_states"]
    new = sum(job.state is State.NEW for job in jobs)
    assert (
        sum(count for name, count in states.items() if name != "total") + new == states["total"] == len(jobs)
    )
    assert stats["successful"] + stats["failed"] + stats["canceled"] + stats["timeout"] == states["inactive"]


def test_only_attributes_the_job_has_are_shown():
    job = Job(id=5, facts=JobFacts(name="x", ntasks=2, nnodes=0, ncores=2, duration=1.0), jobspec=None)
    assert show(job, columns(["name", "t_run", "result"])) == {"id": 5, "name": "x"}
    job.R = {
        "execution": {
            "R_lite": [{"rank": "0-1,3", "children": {}}],
            "nodelist": ["sim[0-1,3]"],
            "expiration": 9.5,
        }
    }
    shown = show(job, columns(["all"]))
    assert (shown["nnodes"], shown["ranks"], shown["nodelist"], shown["expiration"]) == (
        3,
        "[0-1,3]",
        "sim[0-1,3]",
        9.5,
    )
    assert set(shown) <= {"id", *ATTRIBUTES}


@pytest.mark.parametrize(
    ("constraint", "says"),
    [
        ({"and": [], "or": []}, "constraint must only contain 1 element"),
        ("userid=0", "one operator"),
        ({"userid": 0}, "operator userid values not an array"),
        ({"color": ["red"]}, "unknown constraint operator: color"),
        ({"states": ["runing"]}, "one of new, depend"),
        ({"t_run": ["soon"]}, "give >, >=, < or <="),
        ({"t_run": [3]}, "t_run value must be a string"),
        ({"t_run": [">soon"]}, "Invalid timestamp value specified"),
        ({"ranks": [3]}, "ranks value must be a string"),
        ({"hostlist": ["n["]}, "host value not in valid Hostlist format"),
        ({"results": [{}]}, "results value invalid type"),
        ({"name": [3]}, "name value must be a string"),
    ],
)
def test_a_wrong_constraint_is_named_with_what_would_be_right(constraint, says):
    with pytest.raises(ValueError, match=says):
        to_test(constraint)


def test_a_constraint_nested_without_end_is_refused():
    constraint = {"userid": [0]}
    for _ in range(100):
        constraint = {"not": [constraint]}
    with pytest.raises(ValueError, match="one operator"):
        to_test(constraint)


def test_an_unknown_attribute_is_named_with_all_there_are():
    with pytest.raises(ValueError, match="colour is not a valid attribute; there are: id, all, userid"):
        columns(["id", "colour"])


@pytest.mark.parametrize(("per", "ntasks"), [(None, 2), (("node", 3), 9), (("core", 2), 24)])
def test_tasks_and_cores_are_those_of_what_the_job_got(per, ntasks):
    facts = JobFacts(name="x", ntasks=2, nnodes=1, ncores=2, duration=1.0, per_resource=per)
    job = Job(id=5, facts=facts, jobspec=None)
    assert show(job, columns(["ntasks", "ncores"])) == {"id": 5, "ntasks": 2, "ncores": 2}
    lite = [{"rank": "0-1,3", "children": {"core": "0-3"}}]
    job.R = {"execution": {"R_lite": lite, "nodelist": ["sim[0-1,3]"], "expiration": 0.0}}
    assert show(job, columns(["ntasks", "ncores"])) == {"id": 5, "ntasks": ntasks, "ncores": 12}


def test_cores_of_whole_nodes_are_not_told_before_the_job_has_them():
    spec = jobspec("x", nodes=1)
    spec["resources"][0]["exclusive"] = True
    job = Job(id=5, facts=check_jobspec(spec), jobspec=None)
    assert show(job, columns(["ncores"])) == {"id": 5}
    job.R = {"execution": {"R_lite": [{"rank": "0", "children": {"core": "0-3"}}]}}
    assert show(job, columns(["ncores"])) == {"id": 5, "ncores": 4}
