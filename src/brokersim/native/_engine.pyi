"""What the compiled reactor offers: see engine.py."""

from typing import TypeVar

It = TypeVar("It")

def take_over(it: It, /) -> It:
    """Exchange a class's methods that are compiled, or return what does a function's work.

    Raises LookupError for what has no twin, and TypeError where a class lacks a slot that C reads.
    """
