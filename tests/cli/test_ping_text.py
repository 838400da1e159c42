"""What several pings come to in a line."""

from __future__ import annotations

import pytest

from brokersim.cli.ping_text import summary_line


@pytest.mark.parametrize(
    ("times", "wanted"),
    [
        ([2.0, 1.0], "1.000/1.000/2.000/2.000"),
        ([3.0, 1.0, 2.0], "1.000/2.000/3.000/3.000"),
        ([float(n) for n in range(1, 101)], "1.000/50.000/99.000/100.000"),
        ([float(n) for n in range(1, 201)], "1.000/100.000/198.000/200.000"),
    ],
)
def test_a_percentile_is_what_so_many_do_not_exceed(times, wanted):
    assert (
        summary_line(len(times), times)
        == f"{len(times)} sent, {len(times)} received, min/p50/p99/max {wanted} ms"
    )


def test_one_ping_needs_no_summary():
    assert summary_line(1, [1.0]) == summary_line(0, []) == ""
