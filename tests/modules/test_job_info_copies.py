"""A log that grows no more is read whole, or object by object: every line once, one object on its way."""

from __future__ import annotations

from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from brokersim.protocol import blobref, treeobj
from brokersim.protocol.errnums import EFBIG, EIO, EISDIR, ENOENT
from modules.job_info import copies
from modules.job_info.copies import Copy
from tests.modules.job_harness import in_instance, log_of, outcome, real, submit


class Store:
    """A handle that has the kvs and the content behind it; answers when told to."""

    def __init__(self, entry: dict[str, Any], blobs: list[bytes]) -> None:
        self.entry = entry
        self.blobs = {blobref.digest(blobref.blobref(data)): data for data in blobs}
        self.asked: list[tuple[str, Any, Callable[[Any, None], None]]] = []

    def request(self, topic: str, payload: Any, answered: Callable[[Any, None], None]) -> None:
        self.asked.append((topic, payload, answered))

    def answer(self, errnum: int = 0) -> None:
        [(topic, payload, answered)] = self.asked  # never more than one
        self.asked = []
        if topic == "kvs.lookup":
            if payload["flags"] == 0 and not errnum and self.entry["type"] == "valref":
                errnum = EFBIG
            answered(SimpleNamespace(errnum=errnum, payload={"val": self.entry}), None)
        else:
            answered(SimpleNamespace(errnum=errnum, raw=None if errnum else self.blobs[payload]), None)


def copied(entry: dict[str, Any], blobs: list[bytes], known: int) -> tuple[list[str], list[int]]:
    store, lines, ends = Store(entry, blobs), [], []
    Copy(store, "job.1.guest.output", known, lines.append, ends.append)  # type: ignore[arg-type]
    while store.asked:
        store.answer()
    return lines, ends


@given(
    st.lists(st.binary(max_size=6).map(lambda data: data.replace(b"a", b"\n")), max_size=6), st.integers(0, 9)
)
def test_every_line_behind_those_that_are_known_is_told_once_however_the_log_is_cut(
    blobs: list[bytes], known: int
) -> None:
    refs = [blobref.blobref(data) for data in blobs]
    lines, ends = copied({"ver": 1, "type": "valref", "data": refs}, blobs, known)
    whole = b"".join(blobs).split(b"\n")[:-1]
    assert lines == [f"{line.decode(errors='replace')}\n" for line in whole[known:]]
    assert ends == [0]
    assert copied(treeobj.val(b"".join(blobs)), [], known) == (lines, [0])


def test_what_cannot_be_read_ends_it_with_what_is_wrong() -> None:
    blob = b"one\n"
    for where, errnum in ((0, ENOENT), (1, EIO), (2, EIO)):
        store, lines, ends = Store({"type": "valref", "data": [blobref.blobref(blob)] * 3}, [blob]), [], []
        Copy(store, "k", 0, lines.append, ends.append)  # type: ignore[arg-type]
        for _ in range(where):
            store.answer()
        store.answer(errnum)
        assert (lines, ends, store.asked) == ([], [errnum], [])
    assert copied({"type": "dir", "data": {}}, [], 0) == ([], [EISDIR])


def test_who_has_gone_is_told_nothing_and_nothing_more_is_asked() -> None:
    blob = b"one\ntwo\n"
    store, lines, ends = Store({"type": "valref", "data": [blobref.blobref(blob)] * 3}, [blob]), [], []
    copy = Copy(store, "k", 0, lambda line: (lines.append(line), copy.drop()), ends.append)  # type: ignore[arg-type]
    for _ in range(3):
        store.answer()
    assert (lines, ends, store.asked) == (["one\n"], [], [])

    store = Store({"type": "valref", "data": [blobref.blobref(blob)]}, [blob])
    Copy(store, "k", 0, lines.append, ends.append).drop()  # type: ignore[arg-type]
    store.answer()  # that it is too long
    assert (lines, ends, store.asked) == (["one\n"], [], [])


@pytest.mark.parametrize("lines", [3, 120_000])
def test_the_output_of_a_job_that_is_over_is_one_answer_or_if_it_is_long_an_object_each(lines: int) -> None:
    async def test(_instance: Any, client: Any) -> Any:
        job = await submit(client, real("sh", "-c", f"yes 123456789 | head -n {lines}"))
        await outcome(client, job)
        loads: list[Any] = []
        wish = {"names": ["job-info"], "typemask": 1, "topic_glob": "content.load", "full": False}
        client.stream("module.trace", wish, lambda response, _: loads.append(response))
        events = await log_of(client, job, "guest.output")
        return [one["context"].get("data", "") for one in events if one["name"] == "data"], len(loads)

    data, loads = in_instance(test)
    assert "".join(data) == "123456789\n" * lines
    assert bool(loads) == (lines * 10 > copies.WHOLE_MAX)
