"""Job ids are upstream's 64 bits, written and read in every form RFC 19 gives that people use."""

from __future__ import annotations

import re

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from brokersim.protocol import jobid

ids = st.integers(0, 2**64 - 1)
DIGITS = "123456789ABCDEFGHJKLMNPQRSTUVWXYZabcdefghijkmnopqrstuvwxyz"


def test_ids_seen_upstream_and_in_RFC_19_are_written_alike() -> None:
    assert jobid.encode(5272022024192) == "ƒ3PVFXvJb"
    assert jobid.encode(0) == "ƒ1"
    assert jobid.encode(6731191091817518) == "ƒuZZybuNNy"
    assert jobid.dothex(6731191091817518) == "0017.e9fb.8df1.6c2e"
    assert jobid.job_kvspath(0x0123456789AB) == "job.0000.0123.4567.89ab"
    assert jobid.job_kvspath(0x0123456789AB, "guest.output") == "job.0000.0123.4567.89ab.guest.output"


@pytest.mark.parametrize(
    "text",
    [
        "ƒuZZybuNNy", "fuZZybuNNy", "6731191091817518", "0x17e9fb8df16c2e", "0X17E9FB8DF16C2E".replace("X", "x"),
        "0017.e9fb.8df1.6c2e", "job.0017.e9fb.8df1.6c2e", "  fuZZybuNNy\n", "006731191091817518",
    ],
)  # fmt: skip
def test_every_form_of_one_id_is_read(text: str) -> None:
    assert jobid.decode(text) == 6731191091817518


@given(ids)
@example(0)
@example(57)
@example(58)
@example(2**64 - 1)
def test_every_id_survives_every_form(number: int) -> None:
    written = jobid.encode(number)
    assert sum(DIGITS.index(digit) * 58**place for place, digit in enumerate(reversed(written[1:]))) == number
    forms = (
        written,
        "f" + written[1:],
        str(number),
        hex(number),
        jobid.dothex(number),
        jobid.job_kvspath(number),
    )
    assert [jobid.decode(form) for form in forms] == [number] * len(forms)


@given(st.integers(0, 2**40 - 1), st.integers(0, 2**14 - 1), st.integers(0, 2**10 - 1))
def test_an_id_holds_its_three_parts_with_time_first(
    milliseconds: int, generator: int, sequence: int
) -> None:
    number = jobid.make(milliseconds, generator, sequence)
    assert number == milliseconds * 2**24 + generator * 2**10 + sequence
    assert jobid.split(number) == (milliseconds, generator, sequence)


@pytest.mark.parametrize(
    ("parts", "fault"),
    [
        ((2**40, 0, 0), f"milliseconds must be 0 to {2**40 - 1}, not {2**40}"),
        ((-1, 0, 0), "milliseconds must be 0 to"),
        ((0, 16384, 0), "generator must be 0 to 16383, not 16384"),
        ((0, 0, 1024), "sequence must be 0 to 1023, not 1024"),
        ((0, 0, -1), "sequence must be 0 to 1023, not -1"),
    ],
)
def test_a_part_that_does_not_fit_is_named(parts: tuple[int, int, int], fault: str) -> None:
    with pytest.raises(ValueError, match=fault):
        jobid.make(*parts)


@pytest.mark.parametrize(
    "text",
    [
        "", " ", "x", "f", "ƒ", "f0", "fO", "fI", "fl", "ff-", "-1", "+1", "1.5", "1_000", "٣", "0x", "0xg",
        "0017.e9fb.8df1", "0017.e9fb.8df1.6c2e.eventlog", "job.1", "ƒ3PVFXvJb ƒ3PVFXvJb", "f" * 15, "1" * 5000,
    ],
)  # fmt: skip
def test_what_is_no_job_id_is_refused_with_what_would_be(text: str) -> None:
    shown = re.escape(repr(text[:60]))
    with pytest.raises(ValueError, match=f"^not a job id: {shown}…?; give F58 .ƒ3PVFXvJb. or decimal$"):
        jobid.decode(text)


@pytest.mark.parametrize("text", ["18446744073709551616", "fzzzzzzzzzzzzz"])
def test_ids_beyond_64_bits_are_refused(text: str) -> None:
    with pytest.raises(ValueError, match=f"^not a job id: '{text}' needs more than 64 bits$"):
        jobid.decode(text)


@pytest.mark.parametrize("number", [-1, 2**64])
def test_numbers_that_are_no_id_are_not_written(number: int) -> None:
    for write in (jobid.encode, jobid.dothex, jobid.job_kvspath, jobid.split):
        with pytest.raises(ValueError, match=f"^not a job id: {number}; it must be 0 to {2**64 - 1}$"):
            write(number)


@given(st.text())
def test_any_text_gives_an_id_or_ValueError(text: str) -> None:
    try:
        assert 0 <= jobid.decode(text) < 2**64
    except ValueError as error:
        assert str(error).startswith("not a job id: ")  # noqa: PT017  both ways out are right
