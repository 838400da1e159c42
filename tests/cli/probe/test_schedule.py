"""The command that prints when a schedule is due."""

from __future__ import annotations

import pytest

from tests.cli.conftest import Run


def test_ticks_are_printed_in_the_zone_of_the_schedule(run: Run) -> None:
    result = run(
        "probe", "schedule", "cron", "expr='30 2 * * *'", "tz=Europe/Berlin", "--now", "1774738800", "-n", "2"
    )
    assert (result.code, result.out) == (
        0, "1774746000  2026-03-29T03:00:00+02:00\n1774830600  2026-03-30T02:30:00+02:00\n"
    )  # fmt: skip


def test_levels_need_no_quotes_and_json_has_what_it_was_read_as(run: Run) -> None:
    result = run("--json", "probe", "schedule", "10s", "for", "20s", "every", "1h", "--now", "0", "-n", "3")
    spec = {"type": "nested", "params": {"spec": [["P", 10.0, 20.0], 3600.0, None]}}
    assert result.json == {"schedule": spec, "now": 0.0, "ticks": [0.0, 10.0, 3600.0]}


def test_chance_is_the_seeds(run: Run) -> None:
    words = ("probe", "schedule", "random", "low=1s", "high=2s", "--now", "0", "-n", "5")
    assert run(*words).out == run(*words, "--seed", "0").out != run(*words, "--seed", "1").out


def test_a_schedule_that_is_over_is_said_to_be(run: Run) -> None:
    result = run("probe", "schedule", "onetime", "start=5", "--now", "10")
    assert (result.code, result.out) == (1, "")
    assert "it is over" in result.err
    assert run("--json", "probe", "schedule", "onetime", "start=5", "--now", "10").json["ticks"] == []


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (("every", "evry=1"), "no parameter 'evry'; is every meant?"),
        (("10",  "seconds"), "is no schedule: say it as in 10s for 1m every 1h"),
        (("1s", "--now", "noon"), "not a time: 'noon'"),
        (("* * * * 9",), "Bad day-of-week"),
    ],
)  # fmt: skip
def test_what_cannot_be_meant_is_one_line_and_exit_code_2(
    words: tuple[str, ...], says: str, run: Run
) -> None:
    result = run("probe", "schedule", *words)
    assert (result.code, result.out) == (2, "")
    assert says in result.err
    assert "Traceback" not in result.err
