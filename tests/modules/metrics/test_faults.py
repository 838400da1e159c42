"""What becomes of a collection when ranks fall silent, leave, die, answer late or twice: it ends and says who lacks."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest

from modules.metrics import keys
from modules.metrics.collection import Collection, Outside
from modules.metrics.limits import Limit
from modules.metrics.stat import Row
from modules.metrics.wire import Frame, Order, Tally
from tests.modules.metrics.rig import stat


class FakeOutside(Outside):
    """A clock that tests turn, children that answer when they are told to."""

    rank = 0

    def __init__(self, below: dict[int, list[int]]) -> None:
        self.time = 0.0
        self._below = {rank: list(children) for rank, children in below.items()}
        self.timers: list[tuple[float, Any]] = []
        self.heard: dict[int, Any] = {}
        self.orders: dict[int, Order] = {}
        self.forgotten: list[Any] = []
        self.granted: list[tuple[int, int]] = []
        self.limits: dict[int, Limit] = {}

    def now(self) -> float:
        return self.time

    def call_later(self, seconds: float, fn: Any, *args: Any) -> Any:
        timer = FakeTimer(self.time + seconds, lambda: fn(*args))
        self.timers.append(timer)  # type: ignore[arg-type]
        return timer

    def sleep(self, seconds: float) -> None:
        until = self.time + seconds
        while due := [one for one in self.timers if one.when <= until and not one.gone]:  # type: ignore[attr-defined]
            first = min(due, key=lambda one: one.when)  # type: ignore[attr-defined]
            self.timers.remove(first)
            self.time = first.when  # type: ignore[attr-defined]
            first.call()  # type: ignore[attr-defined]
        self.time = until

    def limit(self, name: str, rank: int) -> Limit:
        return self.limits.setdefault(rank, Limit())

    def below(self, rank: int) -> tuple[tuple[int, frozenset[int]], ...]:
        return tuple((child, frozenset(self._all(child))) for child in self._below.get(rank, ()))

    def _all(self, rank: int) -> list[int]:
        return [rank, *(one for child in self._below.get(rank, ()) for one in self._all(child))]

    def ask(self, rank: int, order: Order, heard: Any) -> Any:
        self.heard[rank], self.orders[rank] = heard, order
        return rank

    def forget(self, request: Any) -> None:
        self.forgotten.append(request)

    def grant(self, rank: int, uid: str, frames: int) -> None:
        self.granted.append((rank, frames))


class FakeTimer:
    def __init__(self, when: float, call: Any) -> None:
        self.when, self.call, self.gone = when, call, False

    def cancel(self) -> None:
        self.gone = True


class Sent:
    """The parent: keeps what it is sent."""

    is_wire = True

    def __init__(self, credit: int = 1000) -> None:
        self.credit = credit
        self.rows: list[Row] = []
        self.frames: list[int] = []
        self.tally: Tally | None = None

    def send(self, rows: list[Row], size: int, tally: Tally | None) -> None:
        self.credit -= 1
        self.rows += rows
        self.frames.append(len(rows))
        self.tally = tally


class Run:
    """One collection on rank 0, its children w1, w2, ... being ranks 1, 2, ..."""

    def __init__(
        self,
        below: dict[int, list[int]],
        own: dict[str, int] | None = None,
        credit: int = 1000,
        limits: dict[int, Limit] | None = None,
        **more: Any,
    ) -> None:
        self.outside = FakeOutside(below)
        self.outside.limits = limits or {}
        self.carried: list[Row] = []
        self.sent = Sent(credit)
        members = self.outside._all(0)
        order = Order(
            uid="t.1.x", name="t", hash="h", epoch=1, requested=0.0, budget=300.0, members=f"0-{max(members)}"
        )
        self.one = Collection(self.outside, stat(**more), order, self.sent, self.carried.extend)
        self.one.ask_below(frozenset(members))
        self.one.give_own(rows(own or {}), 0.0, False, True)
        self.seqs: dict[int, int] = {}

    def frame(
        self, rank: int, values: dict[str, int], done: bool = True, seq: int | None = None, ok: str = ""
    ) -> None:
        number = self.seqs.get(rank, 0) if seq is None else seq
        self.seqs[rank] = number + 1
        tally = {"ok": ok or str(rank)} if done else {}
        told = {
            "uid": "t.1.x",
            "rank": rank,
            "seq": number,
            "rows": rows(values),
            "done": done,
            "tally": tally,
        }
        self.outside.heard[rank](0, told)

    def error(self, rank: int, errnum: int) -> None:
        self.outside.heard[rank](errnum, None)

    @property
    def log(self) -> dict[str, int] | None:
        """What the epoch's log has; None while it goes on."""
        return None if self.sent.tally is None else {row[0]: row[1][0][3][0] for row in self.sent.rows}

    @property
    def tally(self) -> dict[str, Any]:
        assert self.sent.tally is not None
        return {name: value for name, value in self.sent.tally.to_dict().items() if name != "cut"}


def rows(values: dict[str, int]) -> list[Row]:
    return [[key, [[1, 0.0, 0.0, [value]]]] for key, value in sorted(values.items())]


THREE = {0: [1, 2, 3]}
EHOSTUNREACH, ENOSYS, ENODATA = 113, 38, 61


# -- the six scripts of the oracle's seed_completion


def test_all_answer():
    run = Run(THREE)
    run.frame(1, {"a": 1})
    run.frame(2, {"a": 2, "b": 1})
    assert run.log is None
    run.frame(3, {})
    assert run.log == {"a": 3, "b": 1}
    assert run.tally == {"ok": "0-3"}


def test_one_that_never_answers_is_missing_and_the_rest_is_told():
    run = Run(THREE)
    run.frame(1, {"a": 1}, done=False)
    run.frame(1, {"b": 1})
    run.frame(2, {"a": 1})
    run.outside.sleep(299.9)
    assert run.log is None
    run.outside.sleep(0.2)
    assert run.log == {"a": 2, "b": 1}
    assert run.tally == {"ok": "0-2", "missing": "3"}


def test_a_done_that_comes_twice_is_one():
    run = Run(THREE)
    run.frame(1, {"a": 1})
    run.frame(1, {"a": 1}, seq=0)
    run.frame(2, {})
    assert run.log is None
    run.frame(3, {})
    assert run.log == {"a": 1}
    assert run.tally == {"ok": "0-3", "dup": 1}


def test_one_that_leaves_before_its_done_is_departed_at_once():
    run = Run(THREE)
    run.frame(1, {"a": 1})
    run.error(2, EHOSTUNREACH)
    run.frame(3, {"a": 1})
    assert run.log == {"a": 2}
    assert run.tally == {"ok": "0-1,3", "departed": "2"}


def test_one_that_joins_is_not_waited_for():
    run = Run(THREE)
    run.frame(1, {})
    run.frame(2, {})
    run.outside._below[0].append(4)
    run.frame(3, {"a": 1})
    assert run.log == {"a": 1}
    assert run.tally == {"ok": "0-3"}


def test_those_that_leave_after_their_done_are_in():
    run = Run(THREE)
    run.frame(1, {"a": 1})
    run.frame(2, {})
    run.error(2, EHOSTUNREACH)
    run.error(1, EHOSTUNREACH)
    run.frame(3, {"a": 1})
    assert run.log == {"a": 2}
    assert run.tally == {"ok": "0-3"}


# -- more ways to fail


def test_one_that_dies_in_mid_stream_is_in_up_to_its_last_key():
    run = Run({0: [1, 2]}, own={"a": 1})
    run.frame(1, {"a": 3, "b": 1}, done=False)
    run.frame(2, {"b": 5, "d": 1})
    run.error(1, EHOSTUNREACH)
    assert run.log == {"a": 4, "b": 6, "d": 1}
    assert run.tally == {"ok": "0,2", "truncated": [["1", "b"]]}


def test_the_worked_example_of_the_design():
    """k = 2, five ranks; rank 4 dies after sending b. Rank 1's answer is made by a collection of its own."""
    inner = Run({0: [3, 4]}, own={"a": 2, "c": 1})
    inner.frame(3, {"a": 1})
    inner.frame(4, {"b": 1}, done=False)
    inner.error(4, EHOSTUNREACH)
    assert inner.log == {"a": 3, "b": 1, "c": 1}
    assert inner.tally == {"ok": "0,3", "truncated": [["4", "b"]]}
    run = Run({0: [1, 2], 1: [3, 4]}, own={"a": 1})
    run.frame(2, {"b": 5})
    told = {"ok": "1,3", "truncated": [["4", "b"]]}
    frame = Frame("t.1.x", 1, 0, rows({"a": 3, "b": 1, "c": 1}), True, tally=told)
    run.one.heard(run.one._links[1], 0, {name: getattr(frame, name) for name in frame.__struct_fields__})
    assert run.log == {"a": 4, "b": 6, "c": 1}
    assert run.tally == {"ok": "0-3", "truncated": [["4", "b"]]}


def test_below_a_rank_without_the_module_others_are_asked_directly():
    run = Run({0: [1, 2], 1: [3, 4]})
    run.error(1, ENOSYS)
    assert set(run.outside.orders) == {1, 2, 3, 4}
    for rank in (2, 3, 4):
        run.frame(rank, {"a": rank})
    assert run.log == {"a": 9}
    assert run.tally == {"ok": "0,2-4", "stale": "1"}


def test_a_rank_that_knows_another_stat_says_so_and_is_gone_round():
    run = Run({0: [1], 1: [2]})
    run.outside.heard[1](0, {"uid": "t.1.x", "rank": 1, "seq": 0, "refused": True})
    run.error(1, ENODATA)
    run.frame(2, {"a": 1})
    assert (run.log, run.tally) == ({"a": 1}, {"ok": "0,2", "stale": "1"})


def test_the_whole_subtree_of_a_silent_child_is_named():
    run = Run({0: [1, 2], 1: [3, 4]})
    run.frame(2, {"a": 1})
    run.outside.sleep(301)
    assert run.tally == {"ok": "0,2", "missing": "1,3-4"}


def test_what_comes_after_the_end_is_carried_into_the_next_epoch_once():
    run = Run({0: [1]}, own={"a": 1})
    run.outside.sleep(301)
    assert (run.log, run.tally["missing"]) == ({"a": 1}, "1")
    run.frame(1, {"a": 5, "b": 6}, done=False)
    run.frame(1, {"a": 5, "b": 6}, done=False, seq=0)
    run.frame(1, {"c": 7})
    assert run.carried == rows({"a": 5, "b": 6, "c": 7})
    assert (1, 1) in run.outside.granted  # it may go on, so that nothing of it is lost
    assert not run.one.awaits


@pytest.mark.parametrize("more", [{"late": "drop"}, {"retain": True}])
def test_what_is_dropped_or_comes_back_by_itself_is_not_carried(more):
    run = Run({0: [1]}, **more)
    run.outside.sleep(301)
    run.frame(1, {"a": 5})
    assert run.carried == []


def test_frames_of_another_collection_and_garbage_are_foreign():
    run = Run({0: [1]})
    heard = run.outside.heard[1]
    heard(0, {"uid": "t.0.x", "rank": 1, "seq": 0, "done": True, "tally": {"ok": "1"}})
    heard(0, {"uid": "t.1.x", "rank": 2, "seq": 0, "done": True, "tally": {"ok": "1"}})
    heard(0, {"uid": "t.1.x", "rank": 1})
    heard(0, None)
    run.frame(1, {"b": 1}, done=False)
    heard(0, {"uid": "t.1.x", "rank": 1, "seq": 1, "rows": rows({"a": 1})})  # behind what it sent
    run.frame(1, {"c": 1}, seq=2)
    assert (run.log, run.tally) == ({"b": 1, "c": 1}, {"ok": "0-1", "foreign": 5})


def test_frames_may_overtake_each_other():
    run = Run({0: [1]})
    run.frame(1, {"c": 3}, seq=2)
    run.frame(1, {"b": 2}, done=False, seq=1)
    assert run.log is None
    run.frame(1, {"a": 1}, done=False, seq=0)
    assert run.log == {"a": 1, "b": 2, "c": 3}


def test_a_sign_of_life_keeps_a_slow_child_in():
    known = Limit()
    known.sample(0.1)  # so that a second of silence is too much
    run = Run({0: [1]}, limits={1: known})
    run.frame(1, {"a": 1}, done=False)
    for _ in range(5):
        run.outside.sleep(0.8)
        run.outside.heard[1](0, {"uid": "t.1.x", "rank": 1, "seq": -1})
    assert run.log is None
    run.outside.sleep(5.0)
    assert run.log == {"a": 1}
    assert run.tally["truncated"] == [["1", "a"]]


def test_the_budget_shrinks_with_each_hop_and_half_a_limit_is_the_sign_of_life():
    run = Run({0: [1]})
    order = run.outside.orders[1]
    assert order.budget == pytest.approx(300.0 - 0.01)
    assert order.life == pytest.approx((300.0 - 0.01) / 2)
    assert order.members == "1"


def test_without_credit_nothing_is_sent_and_children_are_not_asked_for_more():
    run = Run({0: [1]}, credit=1, group=2)
    for at in range(4):
        run.frame(1, {f"k{2 * at}": 1, f"k{2 * at + 1}": 1}, done=at == 3)
    assert run.sent.frames == [2]
    assert sum(frames for _, frames in run.outside.granted) <= 2
    run.sent.credit += 10
    run.one.pump()
    assert run.sent.frames == [2, 2, 2, 2]
    assert run.tally == {"ok": "0-1"}


def test_what_nobody_wants_any_more_is_given_back():
    run = Run({0: [1, 2]}, own={"a": 1}, credit=0)
    run.frame(1, {"b": 2})
    left = run.one.abandon()
    assert {row[0]: row[1][0][3][0] for row in left} == {"a": 1, "b": 2}
    run.frame(2, {"c": 3})
    assert run.carried == rows({"c": 3})


def test_large_rows_close_a_frame_by_their_bytes():
    run = Run({}, own={})
    assert run.sent.frames == [0]
    big = Run({0: [1]}, apply=("topk",), params={"topk_size": 500})
    state = [[f"{at:0>200}", 1, 0] for at in range(100)]  # 20 kB a row
    frame = [[f"k{at}", [[1, 0.0, 0.0, [state]]]] for at in range(7)]
    big.outside.heard[1](
        0, {"uid": "t.1.x", "rank": 1, "seq": 0, "rows": frame, "done": True, "tally": {"ok": "1"}}
    )
    assert big.sent.frames == [3, 3, 1]


@pytest.mark.parametrize("letter", ["\\", '"', "\x01", "語"])
def test_a_frame_of_small_states_and_long_keys_is_no_larger_than_others(letter):
    """Keys of a thousand bytes that are twice as long where they are quoted once more."""
    long = [
        keys.canonical(f"{at:03}{letter * (980 // len(msgspec.json.encode(letter)))}") for at in range(80)
    ]
    run = Run({0: [1]}, own={})
    frame = [[key, [[1, 0, 0, [1]]]] for key in long]
    run.outside.heard[1](
        0, {"uid": "t.1.x", "rank": 1, "seq": 0, "rows": frame, "done": True, "tally": {"ok": "1"}}
    )
    assert len(run.sent.rows) == 80
    at = 0
    for count in run.sent.frames:
        assert len(msgspec.json.encode(run.sent.rows[at : at + count])) <= 1 << 16
        at += count
