"""What an instance is started with is checked before anything has begun; the bounds are where they are said to be."""

from __future__ import annotations

import pytest

from brokersim.net.options import MAX_SIZE, StartOptions


@pytest.mark.parametrize("setting", [{"size": 1}, {"size": MAX_SIZE}, {"seed": 0}, {"seed": 2**64 - 1}])
def test_the_ends_of_a_range_are_in_it(setting: dict[str, int]) -> None:
    assert {name: getattr(StartOptions(**setting), name) for name in setting} == setting  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("setting", "said"),
    [
        ({"size": 0}, f"size must be 1 to {MAX_SIZE}, not 0"),
        ({"size": MAX_SIZE + 1}, f"size must be 1 to {MAX_SIZE}, not {MAX_SIZE + 1}"),
        ({"seed": -1}, "seed must be 0 to 18446744073709551615, not -1"),
        (
            {"modules": ("kvs", "cron", "kvs")},
            "module 'kvs' is listed twice; load the second with: module load -n NAME",
        ),
        ({"modules": ("kvs", "")}, "not a module list: 'kvs,' has an empty name; give a,b,c or none"),
        ({"modules": (" kvs",)}, "not a module list: ' kvs' has an empty name; give a,b,c or none"),
        ({"command": ()}, "the command after -- is empty; leave -- away for a shell"),
        ({"command": ("",)}, "the command after -- is empty; leave -- away for a shell"),
        ({"name": "x" * 33}, f"not a name: {'x' * 33!r}; give up to 32 of letters, digits, '_', '.', '-'"),
    ],
    ids=lambda value: next(iter(value)) if isinstance(value, dict) else "",
)
def test_what_is_outside_is_refused_by_its_name(setting: dict[str, object], said: str) -> None:
    with pytest.raises(ValueError) as caught:
        StartOptions(**setting)  # type: ignore[arg-type]
    assert str(caught.value) == said


@pytest.mark.parametrize(
    ("hook", "clock", "spins"), [("idle", "real", True), ("idle", "virtual", False), ("check", "real", False)]
)
def test_only_an_idle_watcher_in_time_that_passes_by_itself_spins(hook: str, clock: str, spins: bool) -> None:
    assert StartOptions(hook=hook, clock=clock).spins is spins
