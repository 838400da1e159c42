"""Runs spread over processes: order, progress, and what happens if one of them fails."""

from __future__ import annotations

import multiprocessing
import os
import time
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


def wait_or_end(item: int, done: Done) -> int:
    if item:
        time.sleep(600)
    return item


def test_each_result_is_handed_on_as_soon_as_it_is_there_and_an_interrupt_ends_the_others() -> None:
    """What ends this process alone, such as SIGTERM, does not reach its children."""

    def found(at: int, result: int) -> None:
        assert (at, result) == (0, 0)
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        spread(wait_or_end, [0, 1], workers=2, found=found)
    assert not multiprocessing.active_children()
