"""A recorded tree reads as this machine did; what cannot be recorded is told."""

from __future__ import annotations

import os

import pytest


def test_a_recorded_tree_reads_as_the_machine_did_whatever_happens_to_it(run, tmp_path):
    tree = str(tmp_path / "tree")
    found = run("--json", "probe", "record", "-o", tree, "mem", "process", f"pid={os.getpid()}")
    assert found.code == 0 and found.json["files"]["mem"] == 1 and found.json["files"]["process"] >= 3
    first, second = (run("--json", "probe", "read", "mem", "--root", tree).json for _ in range(2))
    assert first == second and first["readings"][0]["metrics"]["free"] > 0
    read = run("--json", "probe", "read", "process", f"pid={os.getpid()}", "--root", tree)
    assert read.json["readings"][0]["metrics"]["fds"] > 2


def test_without_a_probe_those_that_read_the_machine_are_recorded(run, tmp_path):
    result = run("probe", "record", "-o", str(tmp_path / "tree"))
    assert result.code == 0 and " files of cpu, mem, net" in result.out
    assert (tmp_path / "tree/proc/stat").stat().st_size > 100


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (["a=b"], "a=b belongs behind a probe"), (["cpux"], "no probe 'cpux'; is cpu meant?"),
        (["cpu", "core=1"], "no key 'core'"), (["ping"], "it has read no file"),
        (["process", "pidfile=/nowhere"], "/nowhere"),
    ],
)  # fmt: skip
def test_what_cannot_be_recorded(run, tmp_path, words, says):
    result = run("probe", "record", "-o", str(tmp_path / "tree"), *words)
    assert result.code in (1, 2) and says in result.err, result.err


def test_a_tree_is_not_written_over(run, tmp_path):
    result = run("probe", "record", "-o", str(tmp_path), "cpu")
    assert result.code == 2 and "is there already" in result.err
