"""The table of messages an operation costs: what is compared, and how a difference is said."""

from __future__ import annotations

import importlib.util
from pathlib import Path
from typing import Any

# Not by sys.path: the benchmarks have a folder of modules, too, and it would hide the shipped ones from other tests.
_spec: Any = importlib.util.spec_from_file_location(
    "flux_messages", Path(__file__).parents[2] / "benchmarks" / "flux_messages.py"
)
flux_messages = importlib.util.module_from_spec(_spec)
_spec.loader.exec_module(flux_messages)


def test_rows_say_what_is_equal_and_what_is_apart() -> None:
    here = {"a": {"kvs": 3}, "b": {"kvs": 5, "content": 2}, "c": {}}
    flux = {"a": {"kvs": 3}, "b": {"kvs": 4}}
    assert list(flux_messages.rows(here, flux)) == [
        ("a", "kvs 3", "kvs 3", "yes"),
        ("b", "kvs 5, content 2", "kvs 4", "kvs +1, content +2"),
        ("c", "–", "", ""),
    ]
