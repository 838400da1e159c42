"""Where a job's tasks are: by turns, as a shell option says, and as RFC 34 writes it."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from modules.job_exec.taskmap import TaskMap, evenly, rearranged


def r(*cores: int) -> dict:
    """R of nodes with so many cores each."""
    lite = [{"rank": str(rank), "children": {"core": f"0-{count - 1}"}} for rank, count in enumerate(cores)]
    return {"version": 1, "execution": {"R_lite": lite, "nodelist": [f"n[0-{len(cores) - 1}]"]}}


FOUR = r(4, 4, 4, 4)
USUAL = evenly(FOUR, 16)


def as_wanted(scheme: str, value: str = "", usual: TaskMap = USUAL, cwd: str = "/") -> list[list[int]]:
    """Blocks of a job on four nodes."""
    return [list(block) for block in rearranged(usual, {"scheme": scheme, "value": value}, FOUR, cwd).blocks]


@pytest.mark.parametrize(
    ("cores", "ntasks", "blocks"),
    [
        ((4, 4, 4, 4), 16, [(0, 4, 4, 1)]),
        ((2, 2, 2, 2), 6, [(0, 2, 2, 1), (2, 2, 1, 1)]),
        ((1, 3), 4, [(0, 1, 1, 1), (1, 1, 3, 1)]),
        ((1, 1), 5, [(0, 1, 3, 1), (1, 1, 2, 1)]),
        ((8,), 3, [(0, 1, 3, 1)]),
    ],
)
def test_tasks_are_spread_by_turns_over_the_nodes_with_cores_left(cores, ntasks, blocks):
    assert evenly(r(*cores), ntasks).blocks == blocks


def test_tasks_per_resource_are_as_many_as_each_node_or_core_is_to_have():
    assert evenly(r(1, 3), 4, ("core", 1)).nodes == (0, 1, 1, 1)
    assert evenly(r(1, 3), 4, ("node", 2)).nodes == (0, 0, 1, 1)


@given(st.lists(st.integers(0, 5), min_size=1, max_size=40))
def test_blocks_written_out_are_the_tasks_again(nodes):
    written = [
        node
        for start, nnodes, count, times in TaskMap(tuple(nodes)).blocks
        for _ in range(times)
        for node in range(start, start + nnodes)
        for _ in range(count)
    ]
    assert written == nodes


@given(st.lists(st.integers(1, 6), min_size=1, max_size=6), st.integers(1, 40))
def test_every_task_has_a_node_and_its_place_among_the_nodes_tasks(cores, ntasks):
    where = evenly(r(*cores), ntasks)
    assert len(where.nodes) == ntasks and set(where.nodes) <= set(range(len(cores)))
    seen: dict[int, int] = {}
    for task, node in enumerate(where.nodes):
        assert where.place_of(task) == seen.get(node, 0)
        seen[node] = seen.get(node, 0) + 1


def test_an_option_deals_them_out_in_turns_or_by_hand(tmp_path):
    assert as_wanted("block") == [[0, 4, 4, 1]]
    assert as_wanted("cyclic") == [[0, 4, 1, 4]]
    assert as_wanted("cyclic", "2") == [[0, 4, 2, 2]]
    assert as_wanted("cyclic", "3") == [[0, 4, 3, 1], [0, 4, 1, 1]]
    for value in ("[[1,3,4,1],[0,1,4,1]]", '{"version":1,"map":[[1,3,4,1],[0,1,4,1]]}'):
        assert as_wanted("manual", value) == [[1, 3, 4, 1], [0, 1, 4, 1]]
    (tmp_path / "hosts").write_text("n[1,2]\nn[3,0]\n")
    usual = evenly(FOUR, 8)
    assert as_wanted("hostfile", "hosts", usual, str(tmp_path)) == [[1, 3, 1, 1], [0, 4, 1, 1], [0, 1, 1, 1]]


@pytest.mark.parametrize(
    ("scheme", "value", "why"),
    [
        ("cyclic", "0", "invalid cyclic stride: 0"),
        ("cyclic", "foo", "invalid cyclic stride: foo"),
        ("cyclic", "9" * 5000, "invalid cyclic stride: 99"),
        ("manual", "[]", "does not fit this job: it has 16 tasks on 4 nodes"),
        ("manual", "[[1,3,4,1]]", "does not fit"),
        ("manual", "[[0,1,1000000000,1000000000]]", "does not fit"),
        ("manual", "[[0,0,1,1000000000000]]", "does not fit"),
        ("manual", "[[0,4,4,1],[0,0,1,1000000000000],[0,1000000000000,0,1],[0,4,4,1]]", "does not fit"),
        ("manual", "[" + "[0,4,4,1]," * 99999 + "[0,4,4,1]]", "does not fit"),
        ("manual", "{}", "is no taskmap"),
        ("manual", "[[1]]", "is no taskmap"),
        ("block", "oops", "block:oops; there are block, cyclic"),
        ("hostfile", "nowhere", "hostfile /nowhere"),
    ],
)
def test_an_option_that_does_not_fit_is_refused_in_words(scheme, value, why):
    with pytest.raises(ValueError, match="shell option taskmap: ") as caught:
        as_wanted(scheme, value)
    assert why in str(caught.value)


def test_blocks_without_tasks_add_none_however_often_they_are_repeated():
    value = "[[0,0,1,1000000000000],[0,1000000000000,0,1000000000000],[0,4,4,1]]"
    assert as_wanted("manual", value) == [[0, 4, 4, 1]]


def test_hosts_that_are_not_the_jobs_are_named(tmp_path):
    (tmp_path / "hosts").write_text("n0 other\n")
    with pytest.raises(ValueError, match="host other not found in job nodelist"):
        as_wanted("hostfile", "hosts", cwd=str(tmp_path))


def test_it_is_written_as_two_others_read_it():
    where = TaskMap((0, 0, 1, 1))
    assert json.dumps(where.to_json()) == '{"version": 1, "map": [[0, 2, 2, 1]]}'
    assert where.to_pmi() == "(vector,(0,2,2))"
    assert TaskMap((0, 1, 0, 1)).to_pmi() == "(vector,(0,2,1),(0,2,1))"
