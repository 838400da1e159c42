"""The mutation bench: what it changes in a source, and that counters and laws see it."""

from __future__ import annotations

import ast
from collections import Counter

import pytest

from benchmarks import mutants as bench
from benchmarks._mutations import mutants

SOURCE = """
class M:
    @request_handler("ask")
    def ask(self, msg):
        if msg.data:
            self.handle.respond(msg)
        self.handle.request("a.b", None, self.done, nodeid=0)
        self.handle.publish("news")

    async def more(self):
        x = await self.handle.call("a.b")
"""


def test_each_mutant_changes_one_thing_of_the_source(tmp_path):
    (tmp_path / "m.py").write_text(SOURCE)
    found = mutants(tmp_path)
    assert Counter(mutant.what for mutant in found) == {
        "handler does nothing": 1, "condition negated": 1, "answered twice": 1, "answer lost": 1,
        "one request more": 2, "request not sent": 1, "answer not wanted": 1, "wrong rank": 1, "wrong topic": 3,
        "event published twice": 1, "event lost": 1,
    }  # fmt: skip
    original = ast.unparse(ast.parse(SOURCE))
    assert all(mutant.source != original and ast.parse(mutant.source) for mutant in found)
    assert len({mutant.source for mutant in found}) == len(found)


@pytest.mark.parametrize("what", ["one request more", "answered twice", "answer lost", "wrong topic"])
def test_a_mutated_heartbeat_is_caught_and_the_real_one_is_not(what):
    truth = {"heartbeat": bench.counted("heartbeat"), "cron": bench.counted("cron")}
    every = mutants(bench.MODULES / "heartbeat")
    mutant = next(one for one in every if one.what == what)
    assert bench.tried("heartbeat", mutant, truth)
    assert bench.judged("heartbeat", truth["heartbeat"], bench.MODULES) == ""
