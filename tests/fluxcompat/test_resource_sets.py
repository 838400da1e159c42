"""`flux.resource`: counts, sets, constraints and pools that know how nodes are built. Models of their own."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from brokersim.fluxapi.resource import (
    InfeasibleRequest,
    InsufficientResources,
    ResourceCount,
    ResourcePool,
    ResourceSet,
    Rv1Pool,
)
from brokersim.fluxapi.resource.request import DEPTH_MAX, Shape
from brokersim.fluxapi.resource.ResourcePool import _pool_class_from_uri
from brokersim.fluxapi.resource.Rv1Pool import ResourceRequest
from brokersim.fluxapi.resource.TreePool import TreePool
from tests.modules.job_harness import jobspec


def R(nodes: int, cores: int, gpus: int = 0, **execution: Any) -> dict[str, Any]:
    children = {"core": f"0-{cores - 1}" if cores > 1 else "0"}
    if gpus:
        children["gpu"] = f"0-{gpus - 1}" if gpus > 1 else "0"
    lite = [{"rank": f"0-{nodes - 1}" if nodes > 1 else "0", "children": children}]
    names = {"R_lite": lite, "starttime": 0, "expiration": 0, "nodelist": [f"n[0-{nodes - 1}]"]}
    return {"version": 1, "execution": {**names, **execution}}


COUNTS: list[tuple[Any, tuple[int, int | None], list[int]]] = [
    (4, (4, 4), [4]),
    ({"min": 2, "max": 5}, (2, 5), [5, 4, 3, 2]),
    ({"min": 8}, (8, None), [9, 8]),
    ("2-8:2:*", (2, 8), [8, 4, 2]),
    ({"min": 2, "max": 9, "operator": "^", "operand": 2}, (2, 9), [4, 2]),
    ("1,7-9", (1, 9), [9, 8, 7, 1]),
    ("[3]", (3, 3), [3]),
    ("8+", (8, None), [9, 8]),
    (None, (1, 1), [1]),
]


@pytest.mark.parametrize(("said", "bounds", "counts"), COUNTS)
def test_a_count_is_a_number_a_range_or_some_numbers(
    said: Any, bounds: tuple[int, int | None], counts: list[int]
) -> None:
    found = ResourceCount.from_count_spec(said)
    assert (found.min, found.max) == bounds and list(found.valid_counts(9)) == counts
    assert list(found.valid_counts(0)) == []
    assert list(found.scaled(3).valid_counts(27))[-1] == 3 * counts[-1]


@pytest.mark.parametrize(
    "said",
    [
        *(0, {"min": 0}, {"min": 3, "max": 2}, {"min": 2, "operand": 2}),
        *("0,1", "2+:2", "2-8:1:*", "2-8:2:x", "x", "1-9:1:+1"),
    ],
)
def test_a_count_that_is_none_is_refused(said: Any) -> None:
    with pytest.raises(ValueError):  # of idsets, counts and int()
        ResourceCount.from_count_spec(said)


def test_a_count_of_too_many_numbers_is_refused() -> None:
    assert ResourceCount.from_count_spec("1-131071:2").min == 1  # 65,536 of them
    for said in ("1-131073:2", "1-999999:2"):
        with pytest.raises(ValueError, match="too large"):
            ResourceCount.from_count_spec(said)


@pytest.mark.parametrize(
    "said", ["2-8:1:*", "1-8:3:^", {"min": 2, "max": 8, "operand": 0}, {"min": 2, "max": 8, "operand": -1}]
)
def test_steps_that_lead_no_further_are_told_as_that(said: Any) -> None:
    with pytest.raises(ValueError, match="no further"):
        ResourceCount.from_count_spec(said)


def test_once_as_many_is_the_same() -> None:
    count = ResourceCount.from_count_spec("1,3")
    assert count.scaled(1) is count
    assert repr(count.scaled(2)).startswith("ResourceCount(2, 6, values=")
    assert repr(ResourceCount(1, None)) == "ResourceCount(1, None)"


def nested(depth: int) -> dict[str, Any]:
    """A jobspec whose core is so many vertices down."""
    resources: dict[str, Any] = {"type": "core", "count": 1}
    for _ in range(depth - 2):
        resources = {"type": "box", "count": 1, "with": [resources]}
    return {"version": 9999, "resources": [{"type": "slot", "count": 1, "label": "x", "with": [resources]}]}


def test_resources_are_nested_so_deep_and_no_deeper() -> None:
    assert Shape.of(nested(DEPTH_MAX)).core == 1
    with pytest.raises(ValueError, match=f"exceed the maximum depth of {DEPTH_MAX}"):
        Shape.of(nested(DEPTH_MAX + 1))


def test_a_jobspec_says_what_it_lacks_and_one_that_is_no_v1_needs_no_duration() -> None:
    assert Shape.of(nested(2)).duration == 0
    timed = nested(2) | {"attributes": {"system": {"duration": 5, "constraints": {"ranks": ["0"]}}}}
    assert (Shape.of(timed).duration, Shape.of(timed).constraint) == (5, {"ranks": ["0"]})
    assert Shape.of(timed | {"version": 1}).duration == 5
    for attributes, lacks in (({}, "system"), ({"system": {}}, "duration")):
        with pytest.raises(ValueError, match=f"getting duration: Object item not found: {lacks}"):
            Shape.of(nested(2) | {"version": 1, "attributes": attributes})
    no_core = nested(2)
    no_core["resources"][0]["with"] = [{"type": "gpu", "count": 2}]
    assert Shape.of(no_core).gpu == 2
    with pytest.raises(ValueError, match="Unable to determine slot size"):
        ResourceRequest.from_jobspec(no_core)


@pytest.mark.parametrize(
    ("exclusive", "inner", "container"),
    [(True, [], "socket"), (False, [], None), (True, [{"type": "core"}], None)],
)
def test_a_container_is_of_a_kind_of_its_own_exclusive_and_without_anything_in_it(
    exclusive: bool, inner: list[dict[str, Any]], container: str | None
) -> None:
    spec = nested(2)
    spec["resources"][0]["with"].append({"type": "socket", "exclusive": exclusive, "with": inner})
    assert Shape.of(spec).container == container


units = st.sets(st.tuples(st.integers(0, 3), st.integers(0, 3)), max_size=10)


def of(found: set[tuple[int, int]]) -> ResourceSet:
    lite = [
        {"rank": str(rank), "children": {"core": ",".join(str(c) for r, c in sorted(found) if r == rank)}}
        for rank in sorted({rank for rank, _ in found})
    ]
    return ResourceSet({"version": 1, "execution": {"R_lite": lite}})


def units_of(rset: ResourceSet) -> set[tuple[int, int]]:
    return {(rank, core) for rank, info in rset.impl._ranks.items() for core in info["cores"]}


@given(units, units)
def test_sets_of_resources_are_joined_and_parted_core_by_core(
    one: set[tuple[int, int]], two: set[tuple[int, int]]
) -> None:
    ours, theirs = of(one), of(two)
    assert units_of(ours | theirs) == units_of(ours.copy().append(theirs)) == one | two
    assert units_of(ours - theirs) == one - two
    there = {rank for rank, _ in two}
    assert units_of(ours & theirs) == {(rank, core) for rank, core in one if rank in there}
    assert units_of(ours) == one and ours.ncores == len(one) and set(ours.ranks) == {rank for rank, _ in one}
    assert units_of(ResourceSet(ours.encode())) == one


def test_times_of_a_set_can_be_set_and_what_it_has_cannot() -> None:
    found = ResourceSet(R(2, 2, 0))
    found.starttime, found.expiration = 1.0, 2.0
    assert (found.impl.get_starttime(), found.impl.get_expiration()) == (1.0, 2.0)
    with pytest.raises(AttributeError, match="'nnodes' of a ResourceSet cannot be set"):
        found.nnodes = 3


def test_a_set_tells_what_it_has_and_keeps_what_r_says() -> None:
    given_ = R(4, 2, 1, nslots=3, properties={"big": "0-1"}, expiration=9.0, starttime=2.0)
    found = ResourceSet({**given_, "scheduling": {"x": 1}}, keep_scheduling=True)
    assert str(found) == "rank[0-3]/core[0-1],gpu0" and (found.nnodes, found.ngpus) == (4, 4)
    written = found.to_dict()
    assert written["execution"]["nodelist"] == ["n[0-3]"] and written["scheduling"] == {"x": 1}
    assert written["execution"]["properties"] == {"big": "0-1"} and written["execution"]["nslots"] == 3
    assert (found.starttime, found.expiration, found.properties) == (2.0, 9.0, "big")
    found.state = "up"
    part = found.copy_ranks("1-2").set_property("small", "2").remove_ranks(1)
    assert (part.state, part.get_properties(), str(part.nodelist)) == ("up", json.dumps({"small": "2"}), "n2")
    assert found.host_ranks("n3,n0") == [3, 0]
    for name, ranks in (("a^", None), ("", None), ("x", "9"), ("x", "zz")):
        with pytest.raises(ValueError):
            found.set_property(name, ranks)


CONSTRAINTS: list[tuple[Any, set[int]]] = [
    ({"properties": ["big"]}, {0, 1}),
    ({"properties": ["^big", "^nosuch"]}, {2, 3}),
    ({"hostlist": ["n[1-2]"]}, {1, 2}),
    ({"hostlist": "n1"}, {1}),
    ({"ranks": ["0", "2-3"]}, {0, 2, 3}),
    ({"and": [{"properties": ["big"]}, {"ranks": ["1-2"]}]}, {1}),
    ({"or": [{"ranks": ["0"]}, {"ranks": ["3"]}]}, {0, 3}),
    ({"not": [{"ranks": ["0"]}]}, {1, 2, 3}),
    ('{"ranks": ["2"]}', {2}),
]


@pytest.mark.parametrize(("constraint", "ranks"), CONSTRAINTS)
def test_a_constraint_leaves_the_ranks_rfc_31_says(constraint: Any, ranks: set[int]) -> None:
    found = ResourceSet(R(4, 1, properties={"big": "0-1"}))
    assert set(found.copy_constraint(constraint).ranks) == ranks
    pool = ResourcePool(found.to_dict())
    request = pool.parse_resource_request(jobspec(nodes=len(ranks), constraints=constraint))
    assert set(pool.alloc(1, request).impl.ranks()) == ranks
    with pytest.raises(InfeasibleRequest):
        pool.check_feasibility(
            pool.parse_resource_request(jobspec(nodes=len(ranks) + 1, constraints=constraint))
        )


@pytest.mark.parametrize(
    "constraint", [{"x": []}, {"and": 5}, {"not": []}, {"properties": [1]}, {}, [], {"ranks": ["x"]}]
)
def test_a_constraint_that_is_none_is_refused(constraint: Any) -> None:
    with pytest.raises(ValueError):
        ResourceSet(R(2, 1)).copy_constraint(constraint)


def test_a_constraint_without_end_is_refused() -> None:
    constraint: Any = {"ranks": ["0"]}
    for _ in range(40):
        constraint = {"not": [constraint]}
    with pytest.raises(ValueError, match="constraint"):
        ResourceSet(R(2, 1)).copy_constraint(constraint)


# -- pools


def wish(nodes: int = 0, slots: int = 1, cores: int = 1, gpus: int = 0, **more: Any) -> ResourceRequest:
    count = ResourceCount(nodes, more.pop("nodes_max", nodes)) if nodes else None
    slot = ResourceCount(slots, more.pop("slots_max", slots))
    values = {"duration": 0.0, "constraint": None, "exclusive": False, **more}
    return ResourceRequest(count, slot, cores, gpus, **values)


def test_the_emptiest_node_comes_first_and_ranges_take_what_there_is() -> None:
    pool = Rv1Pool(R(3, 4))
    assert pool.alloc(1, wish(cores=2)).dumps() == "rank0/core[0-1]"
    assert pool.alloc(2, wish(cores=2)).dumps() == "rank1/core[0-1]"
    assert (
        pool.alloc(3, wish(nodes=1, nodes_max=None, cores=2)).dumps() == "rank[0-1]/core[2-3] rank2/core[0-1]"
    )
    assert pool.alloc(4, wish(slots=1, slots_max=None)).to_dict()["execution"]["nslots"] == 2
    with pytest.raises(InsufficientResources):
        pool.alloc(5, wish())


def test_a_node_of_ones_own_is_whole() -> None:
    pool = Rv1Pool(R(2, 4, 2))
    pool.alloc(1, wish())
    assert pool.alloc(2, wish(nodes=1, exclusive=True)).dumps() == "rank1/core[0-3],gpu[0-1]"
    with pytest.raises(InsufficientResources):
        pool.alloc(3, wish(nodes=1, exclusive=True))
    with pytest.raises(InfeasibleRequest):
        pool.alloc(3, wish(nodes=3, exclusive=True))


def test_nodes_of_ones_own_are_as_many_as_asked_for_or_one_a_slot() -> None:
    def shape(spec: dict[str, Any]) -> tuple[int, int, bool]:
        request = ResourceRequest.from_jobspec(spec)
        return request.nnodes, request.nslots, request.exclusive

    alone = jobspec(nodes=2, slots=3)
    alone["resources"][0]["exclusive"] = True
    assert shape(alone) == (2, 6, True)
    assert shape(jobspec(slots=3)) == (0, 3, False)
    alone = jobspec(slots=3)
    alone["resources"][0]["exclusive"] = True
    assert shape(alone) == (3, 3, True)


def test_part_of_a_pool_logs_where_the_pool_does() -> None:
    told: list[str] = []
    pool = Rv1Pool(R(2, 1), log=lambda _level, text: told.append(text))
    pool.copy_ranks("0").alloc(1, wish())
    assert [text.partition(":")[0] for text in told] == ["alloc"]


def test_a_job_gives_back_rank_by_rank_and_no_more_than_it_has() -> None:
    pool = Rv1Pool(R(3, 2))
    pool.alloc(1, wish(nodes=2, cores=2))
    before = pool.generation
    pool.free(1, Rv1Pool(pool.copy_ranks(0).to_dict()))
    assert pool.copy_allocated().dumps() == "rank1/core[0-1]" and pool.generation > before
    with pytest.raises(ValueError, match="not in job allocation"):
        pool.free(1, Rv1Pool(pool.copy_ranks(2).to_dict()))
    part = Rv1Pool({"version": 1, "execution": {"R_lite": [{"rank": "1", "children": {"core": "0"}}]}})
    with pytest.raises(ValueError, match="final R mismatch"):
        pool.free(1, part, final=True)
    pool.free(1, Rv1Pool(pool.copy_ranks(1).to_dict()), final=True)
    assert pool.copy_allocated().nnodes() == 0 and pool.job_end_times() == []
    with pytest.raises(ValueError, match="not in resource pool"):
        pool.register_alloc(2, Rv1Pool(R(4, 1)))


def test_ends_of_jobs_are_by_the_pools_clock_and_copies_have_their_own() -> None:
    pool = Rv1Pool(R(1, 2))
    pool.clock = lambda: 100.0  # type: ignore[method-assign]
    pool.alloc(1, wish(duration=5.0))
    other = pool.copy()
    other.alloc(2, wish(duration=7.0))
    other.update_expiration(1, 200.0)
    assert (pool.job_end_times(), other.job_end_times()) == ([(1, 105.0)], [(1, 200.0), (2, 107.0)])
    assert (pool.copy_allocated().count("core"), other.copy_allocated().count("core")) == (1, 2)


def test_counts_of_some_numbers_only_are_refused() -> None:
    some = ResourceCount.from_count_spec("1,3")
    request = ResourceRequest(None, some, 1, 0, 0.0, None, False)
    for refused in (Rv1Pool(R(3, 2)).check_feasibility, lambda one: Rv1Pool(R(3, 2)).alloc(1, one)):
        with pytest.raises(InfeasibleRequest, match="slot count specifies discrete"):
            refused(request)


def test_a_pool_that_overrides_how_nodes_are_taken() -> None:
    class Last(Rv1Pool):
        def _sort_candidates(self, candidates: list[Any]) -> list[Any]:
            return candidates[::-1]

        def _init_from_state(self, source: Any) -> None:
            self.copied = True

    pool = Last(R(3, 1))
    assert pool.alloc(1, wish()).dumps() == "rank2/core0" and pool.copy().copied


# -- pools that know how nodes are built

NUMA = {"socket": [{"numa": [{"cores": "0-1", "gpus": "0"}, {"cores": "2-3", "gpus": "1"}]},
                   {"numa": [{"cores": "4-5", "gpus": "2"}, {"cores": "6-7", "gpus": "3"}]}]}  # fmt: skip


def tree(nodes: int = 2, ranks: str = "0-1", topo: Any = NUMA, rank: str = "") -> TreePool:
    r = R(nodes, 8, 4)
    if rank:
        r["execution"]["R_lite"][0]["rank"] = rank
    scheduling = {"writer": "TreePool", "children": [{"ranks": ranks, "topo": topo}]}
    return TreePool({**r, "scheduling": scheduling})


def part_of(*, container: str = "", node: int = 0, count: int = 1, **slot: int) -> dict[str, Any]:
    inner: list[Any] = [{"type": kind, "count": number} for kind, number in slot.items()]
    if container:
        inner = [{"type": container, "count": 1, "exclusive": True}]
    slots = [{"type": "slot", "count": count, "with": inner}]
    resources = [{"type": "node", "count": node, "with": slots}] if node else slots
    return {"version": 1, "resources": resources, "attributes": {"system": {"duration": 0}}}


def taken(pool: TreePool, job: int, spec: dict[str, Any]) -> str:
    return pool.alloc(job, pool.parse_resource_request(spec)).dumps()


def test_cores_and_gpus_of_a_slot_lie_together_where_they_can() -> None:
    pool = tree(1, "0")
    assert taken(pool, 1, part_of(core=1)) == "rank0/core0"
    assert taken(pool, 2, part_of(core=2, gpu=1)) == "rank0/core[2-3],gpu1"
    assert taken(pool, 3, part_of(core=1)) == "rank0/core1"  # what is broken already, before what is whole
    assert taken(pool, 4, part_of(core=3, gpu=1)) == "rank0/core[4-6],gpu2"
    assert taken(pool, 5, part_of(core=1, gpu=2)) == "rank0/core7,gpu[0,3]"


def test_whole_parts_of_nodes_are_given() -> None:
    pool = tree()
    assert taken(pool, 1, part_of(container="numa")) == "rank0/core[0-1],gpu0"
    assert taken(pool, 2, part_of(container="socket")) == "rank0/core[4-7],gpu[2-3]"
    assert taken(pool, 3, part_of(container="numa", node=2)) == "rank0/core[2-3],gpu1 rank1/core[0-1],gpu0"
    with pytest.raises(InsufficientResources):
        taken(pool, 4, part_of(container="socket", count=2))
    with pytest.raises(InfeasibleRequest, match="5 of exclusive 'socket'"):
        taken(pool, 4, part_of(container="socket", count=5))
    with pytest.raises(InfeasibleRequest, match=r"2 node\(s\) with 3 each of exclusive 'socket'"):
        taken(pool, 4, part_of(container="socket", node=2, count=3))


def test_a_whole_node_need_not_name_its_cores() -> None:
    spec = {
        "version": 1,
        "resources": [
            {"type": "slot", "count": 2, "with": [{"type": "node", "count": 1, "exclusive": True}]}
        ],
        "attributes": {"system": {"duration": 0}},
    }
    pool = tree()
    request = pool.parse_resource_request(spec)
    assert (request.nnodes, request.nslots, request.slot_size) == (2, 2, 0)
    found = pool.alloc(1, request)
    assert found.dumps() == "rank[0-1]/core[0-7],gpu[0-3]"


def test_what_a_job_gets_says_how_its_own_nodes_are_built() -> None:
    pool = tree(2, "4,6")  # as the instance above calls them
    assert pool.to_dict()["scheduling"]["children"][0]["ranks"] == "0-1"
    found = pool.alloc(1, pool.parse_resource_request(part_of(core=8)))
    assert found.to_dict()["scheduling"]["children"] == [{"ranks": "0", "topo": NUMA}]
    assert (
        pool.copy()
        .alloc(2, pool.parse_resource_request(part_of(container="socket")))
        .dumps()
        .startswith("rank1")
    )


@pytest.mark.parametrize(
    ("make", "part"),
    [
        (lambda: TreePool(R(1, 1)), "requires R.scheduling"),
        (lambda: TreePool({**R(1, 1), "scheduling": {"writer": "x"}}), "requires scheduling.children"),
        (lambda: tree(topo={"x": 1}), "contains no groups"),
        (lambda: tree(3), "rank count mismatch"),
        (lambda: TreePool({"version": 7}), "R version 7"),
        (lambda: ResourceSet({"version": 2, "execution": {}}), "R version 2 not supported"),
        (lambda: tree(ranks="0,2", rank="0,2"), r"pool ranks \[0, 2\] are not 0 to 1"),
    ],
)
def test_a_pool_of_trees_needs_to_know_them(make: Callable[[], object], part: str) -> None:
    with pytest.raises(ValueError, match=part):
        make()


def test_a_pools_class_is_found_by_its_writer(tmp_path: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "my_site_pool.py").write_text(
        "from flux.resource.ResourcePool import ResourcePool\n\n\nclass Mine(ResourcePool):\n    pass\n"
    )
    monkeypatch.syspath_prepend(str(tmp_path))
    assert _pool_class_from_uri("TreePool") is TreePool
    assert issubclass(_pool_class_from_uri("my-site-pool:Mine"), ResourcePool)
    assert _pool_class_from_uri("my-site-pool") is None and _pool_class_from_uri("nosuch.pool") is None
