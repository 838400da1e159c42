"""How far an experiment is: rows that are done stay, the bar has the time that is left."""

from __future__ import annotations

from brokersim.lab.experiments.progress import WIDTH, Progress


def test_the_time_left_is_as_long_as_the_runs_took_so_far_and_rows_that_are_done_stay() -> None:
    told: list[str] = []
    now = [100.0]
    progress = Progress(4, told.append, lambda: now[0])
    progress.begin("none")
    assert told[-1] == f"[{'':<{WIDTH}}]  none"
    now[0] = 103.0
    progress.done("none  1 s")
    progress.begin("idle")
    progress.step("idle: 3 of 9 jobs")
    assert told[-1] == f"none  1 s\n[{'#' * (WIDTH // 4):<{WIDTH}}]  9 s left  idle: 3 of 9 jobs"
