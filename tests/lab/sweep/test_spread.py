"""Runs spread over processes: order, progress, and what happens if one of them fails."""

from __future__ import annotations

import os
from concurrent.futures.process import BrokenProcessPool

import pytest

from brokersim.lab.sweep.spread import Done, spread


def square(item: int, done: Done) -> int:
    done(item)
    return item * item


def refuse(item: int, done: Done) -> int:
    raise ValueError(f"no {item}")


def die(item: int, done: Done) -> int:
    os._exit(3)


@pytest.mark.parametrize("workers", [1, 2])
def test_results_come_in_the_order_of_the_items_and_progress_with_them(workers: int) -> None:
    told: list[list[int]] = []
    assert spread(square, [3, 1, 2], workers=workers, say=lambda counts: told.append(list(counts))) == [
        9,
        1,
        4,
    ]
    assert told[-1] == [3, 1, 2]


@pytest.mark.parametrize("workers", [1, 2])
def test_what_a_run_raises_is_raised(workers: int) -> None:
    with pytest.raises(ValueError, match="no 1"):
        spread(refuse, [1, 1], workers=workers)


def test_a_run_whose_process_is_killed_is_no_endless_wait() -> None:
    with pytest.raises(BrokenProcessPool):
        spread(die, [1, 2], workers=2)
