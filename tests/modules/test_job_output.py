"""A job's output on its way to the log: bounded lines, a bounded log, and one line where it is cut."""

from __future__ import annotations

import os
from typing import Any

import pytest

from modules.job_exec.output import LIMIT, LIMIT_MAX, LINE_MAX, Names, Outputs, to_output
from tests.modules.job_harness import in_instance, log_of, outcome, real, submit

NAMES = Names(job=1, name="j", ntasks=1, nnodes=1)


def outputs(**options: Any) -> Outputs:
    return Outputs(to_output(options), NAMES)


def told(contexts: list[dict[str, Any]]) -> list[str]:
    return [one["data"] for one in contexts]


def test_a_line_without_an_end_is_passed_on_in_pieces_and_nothing_of_it_is_lost() -> None:
    taken = outputs()
    pieces: list[str] = []
    for _ in range(20):
        pieces += told(taken.take("stdout", 0, b"x" * 65536))
        assert sum(map(len, taken._parts.values())) < LINE_MAX
    pieces += told(taken.take("stdout", 0, b"end\n"))
    assert "".join(pieces) == "x" * 20 * 65536 + "end\n"
    assert min(map(len, pieces[:-1])) >= LINE_MAX


def test_a_stream_over_its_limit_is_cut_and_that_is_said_once_and_the_other_goes_on() -> None:
    taken = outputs(limit=10)
    assert told(taken.take("stdout", 0, b"12345\n123\n")) == ["12345\n", "123\n"]
    said = told(taken.take("stdout", 0, b"1\nmore\nand more\n"))
    assert said == ["flux-shell: WARN: stdout is truncated here: output.limit is 10 bytes\n"]
    assert taken.take("stdout", 0, b"again\n") == []
    assert told(taken.take("stderr", 0, b"other\n")) == ["other\n"]


def test_a_file_takes_all(tmp_path: Any) -> None:
    path = tmp_path / "out"
    taken = outputs(limit=1, stdout={"type": "file", "path": str(path)})
    assert taken.take("stdout", 0, b"a whole line\n") == []
    taken.close()
    assert path.read_bytes() == b"a whole line\n"


@pytest.mark.parametrize(
    ("option", "size"),
    [("5", 5), (5, 5), ("50M", 50 << 20), ("0.5k", 512), ("1G", LIMIT_MAX), (LIMIT_MAX, LIMIT_MAX)],
)
def test_a_limit_is_bytes_or_a_number_with_a_unit(option: Any, size: int) -> None:
    assert to_output({"limit": option}).limit == size
    assert to_output({}).limit == LIMIT


@pytest.mark.parametrize("option", ["foo", 0, "0", -1, 4_000_000_000, "4G", True, None, [], "1" * 50, "9T"])
def test_what_is_no_limit_is_refused_by_name(option: Any) -> None:
    with pytest.raises(ValueError, match=r"^shell option output\.limit="):
        to_output({"limit": option})


@pytest.mark.parametrize("stream", ["stdout", "stderr"])
@pytest.mark.parametrize("option", ["file", 5, ["kvs"]])
def test_where_a_stream_goes_is_an_object_or_is_refused_by_name(stream: str, option: Any) -> None:
    with pytest.raises(ValueError, match=rf"^shell option output\.{stream} must be an object$"):
        to_output({stream: option})


def test_a_job_that_writes_more_than_its_limit_ends_well_and_its_log_says_what_is_missing() -> None:
    async def test(_instance: Any, client: Any) -> Any:
        options = {"shell": {"options": {"output": {"limit": "1k"}}}}
        job = await submit(client, real("sh", "-c", "yes | head -n 100000", **options))
        return await outcome(client, job), await log_of(client, job, "guest.output")

    answer, events = in_instance(test)
    assert answer["success"]
    data = [one["context"].get("data", "") for one in events if one["name"] == "data"]
    assert sum(one == "y\n" for one in data) == 512
    assert sum("truncated" in one for one in data) == 1


@pytest.mark.parametrize("option", ["output", "input"])
def test_a_pipe_as_a_jobs_file_is_refused_and_holds_nobody(tmp_path: Any, option: str) -> None:
    path = tmp_path / "pipe"
    os.mkfifo(path)
    target = {"stdout" if option == "output" else "stdin": {"type": "file", "path": str(path)}}

    async def test(_instance: Any, client: Any) -> Any:
        job = await submit(client, real("true", shell={"options": {option: target}}))
        return await outcome(client, job)

    assert "a pipe, whose other end could hold the broker; give a file" in in_instance(test)["errstr"]


@pytest.mark.parametrize(
    ("output", "why"),
    [
        ({"stdout": {"type": "file", "path": "/nowhere/a\0b"}}, "embedded null byte"),
        ({"stdout": {"type": "kvs", "buffer": {"type": 5}}}, "buffer.type must be a text"),
    ],
)
def test_an_output_that_is_none_costs_its_job_and_no_other(output: Any, why: str) -> None:
    async def test(_instance: Any, client: Any) -> Any:
        spec = real("true", shell={"options": {"output": output}})
        ends = [await outcome(client, await submit(client, one)) for one in (spec, real("true"))]
        return [end["success"] for end in ends], ends[0]["errstr"]

    ends, told_ = in_instance(test, clock="real", jobs="real")
    assert ends == [False, True] and why in told_
