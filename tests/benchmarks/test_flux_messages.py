"""The table of messages an operation costs: what is compared, and how a difference is said."""

from __future__ import annotations

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[2] / "benchmarks"))

import flux_messages


def test_rows_say_what_is_equal_and_what_is_apart() -> None:
    here = {"a": {"kvs": 3}, "b": {"kvs": 5, "content": 2}, "c": {}}
    flux = {"a": {"kvs": 3}, "b": {"kvs": 4}}
    assert list(flux_messages.rows(here, flux)) == [
        ("a", "kvs 3", "kvs 3", "yes"),
        ("b", "kvs 5, content 2", "kvs 4", "kvs +1, content +2"),
        ("c", "–", "", ""),
    ]
