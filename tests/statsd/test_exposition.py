"""What a series is called on a page for Prometheus."""

from __future__ import annotations

import pytest

from brokersim.statsd.exposition import Family, family, heading


@pytest.mark.parametrize(
    ("metric", "unit", "is_counter", "name", "divisor"),
    [
        ("disk.io", "By", True, "probe_disk_io_total", 1),
        ("disk.io", "By", False, "probe_disk_io", 1),
        ("io_ms", "ms", True, "probe_io_seconds_total", 1000),
        ("io_ms", "1", False, "probe_io_ms", 1),
        ("runs_total", "1", True, "probe_runs_total", 1),
        ("runs_total", "1", False, "probe_runs", 1),
        ("thread.count", "1", False, "probe_thread", 1),
        ("thread.count", "1", True, "probe_thread_count_total", 1),
        ("1 odd.näme", "1", False, "probe_1_odd_n_me", 1),
    ],
)
def test_a_name_is_one_that_promtool_has_nothing_against(
    metric: str, unit: str, is_counter: bool, name: str, divisor: int
) -> None:
    found = family(metric, unit, is_counter)
    assert (found.name, found.divisor) == (name, divisor)
    assert found.unit == ("s" if divisor == 1000 else unit)


def test_a_metric_of_two_lines_is_told_in_one() -> None:
    one = Family("probe_a", "gauge", "1", 1)
    assert heading(one, "a\nb\\") == "# HELP probe_a a\\nb\\\\, as it was read last\n# TYPE probe_a gauge\n"
