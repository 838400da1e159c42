"""Knows what tasks outside the loop want called inside it, and in which order; not when they are let in."""

from __future__ import annotations

from collections.abc import Callable, Hashable

#: The number behind every task's.
LAST = 1 << 62


class Posts:
    """Posts are in order of (number of the task, order within it): trio runs the tasks of a batch in a random one."""

    __slots__ = ("_last", "_numbers", "_seq", "waiting")

    def __init__(self) -> None:
        #: Number of the task, order of the post, what is to be called.
        self.waiting: list[tuple[int, int, Callable[[], object]]] = []
        self._seq = 0
        self._numbers: dict[Hashable, int] = {}
        self._last = 0

    def add(self, number: int, fn: Callable[[], object]) -> None:
        self._seq += 1
        self.waiting.append((number, self._seq, fn))

    def take(self, *, in_order: bool) -> list[Callable[[], object]]:
        """All that wait, as they came or ``in_order`` of their tasks; from now on none does."""
        posts, self.waiting = self.waiting, []
        if in_order:
            posts.sort(key=lambda post: post[:2])
        return [fn for _, _, fn in posts]

    # -- tasks

    def number(self, task: Hashable) -> int:
        """A task's place in the order of posts: its place in the order of spawning."""
        number = self._numbers.get(task)
        if number is None:
            self._last += 1
            number = self._numbers[task] = self._last
        return number

    def forget(self, task: Hashable) -> None:
        """The task has ended."""
        self._numbers.pop(task, None)
