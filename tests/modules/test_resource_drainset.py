"""Drained nodes: flux-core's modes and texts, and any sequence of drains against a plain model."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from brokersim.protocol.errnums import EEXIST, EINVAL, RequestError
from modules.resource.drainset import DrainSet

NODES = 6
HOSTS = [f"sim{node}" for node in range(NODES)]


def test_nodes_are_named_by_rank_or_by_name():
    drained = DrainSet(HOSTS[:4])
    assert drained.targets("1-3") == [1, 2, 3]
    assert drained.targets("sim0") == [0]
    assert drained.targets("sim[0-1],sim3") == [0, 1, 3]
    assert (drained.nodelist([0]), drained.nodelist([0, 2, 3])) == ("sim0", "sim[0,2-3]")


@pytest.mark.parametrize("text", ["", "4", "sim4", "node1", "sim[", "sim0;sim1", "3-1", "simulator"])
def test_what_names_no_node_is_refused(text):
    with pytest.raises(RequestError) as caught:
        DrainSet(HOSTS[:4]).targets(text)
    assert caught.value.errno == EINVAL


def test_nodes_drained_together_are_one_entry():
    drained = DrainSet(HOSTS[:4])
    assert drained.drain([0, 1, 3], 5.0, "fans") == [0, 1, 3]
    drained.drain([2], 6.0, None)
    assert drained.to_dict() == {
        "0-1,3": {"timestamp": 5.0, "reason": "fans"},
        "2": {"timestamp": 6.0, "reason": ""},
    }


def test_a_node_drained_for_a_reason_is_drained_again_only_if_that_is_meant():
    drained = DrainSet(HOSTS[:4])
    drained.drain([1, 2], 5.0, "fans")
    with pytest.raises(RequestError, match=r"^ranks 1-2 already drained$") as caught:
        drained.drain([0, 1, 2], 6.0, "disk")
    assert caught.value.errno == EEXIST and drained.nodes() == [1, 2]
    assert drained.drain([0, 1], 6.0, "disk", "update") == [0]
    assert drained.to_dict()["1-2"]["reason"] == "fans"
    drained.drain([1], 7.0, "disk", "overwrite")
    assert drained.to_dict()["1"] == {"timestamp": 5.0, "reason": "disk"}
    drained.drain([1], 8.0, "disk", "force-overwrite")
    assert drained.to_dict()["1"] == {"timestamp": 8.0, "reason": "disk"}
    with pytest.raises(RequestError, match=r"^Invalid mode specified$"):
        drained.drain([1], 8.0, None, "nosuch")


def test_only_drained_nodes_are_undrained_unless_that_is_meant():
    drained = DrainSet(HOSTS[:4])
    drained.drain([1], 5.0, None)
    with pytest.raises(RequestError, match=r"^ranks 0,2 not drained$"):
        drained.undrain([0, 1, 2])
    assert drained.undrain([0, 1, 2], "update") == [1]
    assert drained.nodes() == []
    with pytest.raises(RequestError, match=r"^invalid undrain mode 'x' specified$"):
        drained.undrain([1], "x")


sets = st.sets(st.integers(0, NODES - 1), min_size=1)
steps = st.lists(
    st.one_of(
        st.tuples(st.just("drain"), sets, st.sampled_from(["", "update", "overwrite", "force-overwrite"])),
        st.tuples(st.just("undrain"), sets, st.sampled_from(["", "update", "overwrite"])),
    )
)


@given(steps)
def test_any_sequence_leaves_what_a_dictionary_would_have(sequence):
    drained, model = DrainSet(HOSTS), {}
    for now, (verb, nodes, mode) in enumerate(sequence):
        if verb == "drain":
            if not mode and nodes & set(model):
                with pytest.raises(RequestError):
                    drained.drain(nodes, now, f"r{now}", mode)
                continue
            fresh = drained.drain(nodes, now, f"r{now}", mode)
            assert set(fresh) == nodes - set(model)
            for node in nodes:
                since, reason = model.get(node, (now, f"r{now}"))
                model[node] = (
                    now if mode == "force-overwrite" else since,
                    reason if mode == "update" else f"r{now}",
                )
        elif not mode and nodes - set(model):
            with pytest.raises(RequestError):
                drained.undrain(nodes, mode)
        else:
            assert set(drained.undrain(nodes, mode)) == nodes & set(model)
            for node in nodes:
                model.pop(node, None)
    shown = {
        node: (entry["timestamp"], entry["reason"])
        for ids, entry in drained.to_dict().items()
        for node in drained.targets(ids)
    }
    assert shown == model
