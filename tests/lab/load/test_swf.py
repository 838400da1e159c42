"""Job logs in Standard Workload Format: what is a job, and what is told about a line that is none."""

from __future__ import annotations

import gzip
import re
from pathlib import Path
from typing import Any

import attrs
import pytest
from hypothesis import given
from hypothesis import strategies as st

from brokersim.lab.load.swf import FIELDS, SwfError, SwfJob, parse_job, parse_swf, read_swf

LINE = "1 0 5 10 4 -1 -1 4 20 -1 1 7 2 3 1 -1 -1 -1"
LOG = f"""; Version: 2.2
; Computer: a made-up machine
; Note: first
; Note: second
;
; words without a meaning
{LINE}

2 12 0 3.5 2 1.25 100 2 5 -1 0 8 2 3 1 -1 1 60
; a comment between jobs
3 12 0 3 2 -1 -1 2 5 -1 5 8 2 3 1 -1 -1 -1
"""
WHOLE = {0, 4, 7, 10, 11, 12, 13, 14, 15, 16}
#: The standard's own words for a field, as an independent list.
DECIMAL = re.compile(r"[+-]?(\d+(\.\d*)?|\.\d+)([eE][+-]?\d+)?", re.ASCII)


def test_a_log_has_a_header_and_a_job_a_line() -> None:
    log = parse_swf(LOG.splitlines())
    assert log.header == {"Version": "2.2", "Computer": "a made-up machine", "Note": "first\nsecond"}
    assert [job.number for job in log.jobs] == [1, 2, 3]
    assert log.jobs[1] == SwfJob(2, 12.0, 0.0, 3.5, 2, 1.25, 100.0, 2, 5.0, -1.0, 0, 8, 2, 3, 1, -1, 1, 60.0)


def test_a_mark_before_the_first_line_is_none_of_it(tmp_path: Path) -> None:
    (tmp_path / "log.swf").write_text(f"\ufeff{LINE}\n", encoding="utf-8")
    assert [job.number for job in read_swf(tmp_path / "log.swf").jobs] == [1]


def test_no_more_is_read_than_is_asked_for() -> None:
    def lines() -> Any:
        yield from LOG.splitlines()[:7]
        raise AssertionError("read too far")

    assert len(parse_swf(lines(), limit=1).jobs) == 1


@pytest.mark.parametrize("packed", [False, True])
def test_a_log_is_read_from_a_file_packed_or_not_whatever_its_comments_are_written_in(
    tmp_path: Path, packed: bool
) -> None:
    path = tmp_path / ("log.swf.gz" if packed else "log.swf")
    data = b"; Acknowledge: J\xf6rg\n" + LOG.encode()
    path.write_bytes(gzip.compress(data) if packed else data)
    assert len(read_swf(path).jobs) == 3


@pytest.mark.parametrize(
    ("line", "told"),
    [
        ("1 0 5", "log:7: 3 fields where a job has 18; the first missing is field 4, run time"),
        (f"{LINE} 9", "log:7: 19 fields where a job has 18; '9' is one too many"),
        (LINE.replace(" 10 ", " ten "), "log:7: field 4, run time: 'ten' is no number; give -1 if it is not known"),
        (LINE.replace(" 10 ", " 1_0 "), "log:7: field 4, run time: '1_0' is no number; give -1 if it is not known"),
        (LINE.replace(" 10 ", " nan "), "log:7: field 4, run time: 'nan' is no number; give -1 if it is not known"),
        (LINE.replace(" 10 ", " 1e999 "), "log:7: field 4, run time: '1e999' is no number; give -1 if it is not known"),
        (LINE.replace(" 10 ", " -2 "), "log:7: field 4, run time: '-2' is below 0; only -1 is, for unknown"),
        (LINE.replace(" 4 -1", " 4.5 -1", 1), "log:7: field 5, allocated processors: '4.5' is no whole number"),
        (f"-{LINE}", "log:7: field 1, job number: every job has one, '-1' says it is not known"),
    ],
)  # fmt: skip
def test_a_malformed_line_is_told_by_file_line_and_field(line: str, told: str) -> None:
    lines = [*LOG.splitlines()[:6], line]
    with pytest.raises(SwfError) as caught:
        parse_swf(lines, "log")
    assert str(caught.value) == told


NUMBER = (
    st.integers(-1, 10**9).map(str)
    | st.floats(0, 1e9).map(str)
    | st.sampled_from(["-1", "1e3", "٣", "inf", "x"])
)
WORDS = st.lists(NUMBER, min_size=16, max_size=20)
BLANKS = st.sampled_from([" ", "   ", "\t"])


def model(words: list[str]) -> list[float] | None:
    """By the definition alone: 18 decimal numbers, -1 or above, ten of them whole; number and submit time known."""
    if len(words) != 18 or not all(DECIMAL.fullmatch(word) for word in words):
        return None
    values = [float(word) for word in words]
    if any(value < 0 and value != -1 for value in values) or values[0] < 0 or values[1] < 0:
        return None
    return None if any(values[at] % 1 for at in WHOLE) else values


@given(WORDS | st.lists(st.integers(0, 9999).map(str), min_size=18, max_size=18), BLANKS)
def test_a_line_is_a_job_exactly_if_the_definition_says_so(words: list[str], blank: str) -> None:
    expected = model(words)
    if expected is None:
        with pytest.raises(SwfError, match=r"^here: "):
            parse_job(blank.join(words), "here")
    else:
        assert list(attrs.astuple(parse_job(blank.join(words), "here"))) == expected
    assert len(FIELDS) == 18


@given(st.text())
def test_any_text_is_a_log_or_is_refused_with_a_place(text: str) -> None:
    told = ""
    try:
        parse_swf(text.splitlines(), "log")
    except SwfError as error:
        told = str(error)
    assert re.match(r"$|log:\d+: ", told)
