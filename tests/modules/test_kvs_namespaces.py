"""Namespaces of a rank: which transactions become one commit, who waits for a version, what overtakes what."""

from __future__ import annotations

from collections import deque
from itertools import groupby

import hypothesis.strategies as st
import pytest
from hypothesis import given

from brokersim.protocol.errnums import EINVAL, RequestError
from brokersim.protocol.message import REQUEST, Message
from modules.kvs.messages import Root
from modules.kvs.namespaces import (
    NO_MERGE,
    SYNC,
    Namespace,
    Namespaces,
    new_transaction,
    next_batch,
    unknown_namespace,
)
from modules.kvs.transaction import TXN_COMPACT
from tests.modules.test_kvs_steps import append, put


def request() -> Message:
    return Message(REQUEST, "kvs.commit", routes=("client",))


def namespace(name: str = "ns") -> Namespace:
    return Namespace(name=name, owner=7, flags=0, rootref="sha1-old", rootseq=3)


FLAGS = st.lists(st.sampled_from([0, NO_MERGE, SYNC, NO_MERGE | SYNC, TXN_COMPACT]), max_size=12)


@given(FLAGS)
def test_every_transaction_is_committed_once_in_order_and_neighbours_alike_are_merged(flags):
    queue = deque(new_transaction(f"t{at}", [], flag, request()) for at, flag in enumerate(flags))
    everything = list(queue)
    batches = []
    while queue:
        batches.append(next_batch(queue))

    assert [part for batch in batches for part in batch] == everything
    alike = groupby(
        enumerate(flags), lambda item: (item[1] & NO_MERGE and item[0], item[1] & (NO_MERGE | SYNC))
    )
    assert [len(batch) for batch in batches] == [len(list(group)) for _key, group in alike]


def test_transactions_of_a_failed_merge_come_back_first_in_line_and_alone():
    home = namespace()
    for name in ("t1", "t2", "t3"):
        home.push(new_transaction(name, [], 0, request()))
    assert home.queue is not None
    failed = next_batch(home.queue)
    home.push(new_transaction("later", [], 0, request()))

    home.put_back(failed)

    batches = []
    while home.queue:
        batches.append([part.name for part in next_batch(home.queue)])
    assert batches == [["t1"], ["t2"], ["t3"], ["later"]]


def test_unknown_commit_flags_are_refused():
    with pytest.raises(RequestError) as caught:
        new_transaction("t", [put("a", b"1")], 8, request())

    assert caught.value.errno == EINVAL


def test_a_compact_transaction_is_compacted_and_others_are_not():
    ops = [append("log", b"1"), append("log", b"2")]

    assert len(new_transaction("t", ops, TXN_COMPACT, request()).ops) == 1
    assert len(new_transaction("t", ops, 0, request()).ops) == 2


def test_who_waits_for_a_version_is_released_when_it_is_reached():
    home = namespace()
    early, late = request(), request()
    home.waiting = [(4, early), (6, late)]

    assert home.advance("sha1-4", 4) == [early]
    assert home.advance("sha1-7", 7) == [late]
    assert home.root()["rootseq"] == 7


def test_an_older_root_changes_nothing():
    home = namespace()

    assert home.advance("sha1-older", 2) == []
    assert home.advance("sha1-same", 3) == []
    assert home.rootref == "sha1-old"


def test_a_namespace_is_ready_while_something_waits_and_nothing_is_on_its_way():
    home = namespace()
    assert not home.ready
    home.push(new_transaction("t", [], 0, request()))
    assert home.ready
    home.busy = True
    assert not home.ready


def test_removal_gives_back_every_request_that_waits():
    home = namespace()
    waits, commits = request(), request()
    home.waiting = [(9, waits)]
    home.push(new_transaction("t", [], 0, commits))

    assert home.dismiss() == [waits, commits]
    assert home.is_removed


def test_a_client_that_is_gone_does_not_wait_any_more():
    home = namespace()
    stays, gone = request(), Message(REQUEST, "kvs.wait-version", routes=("other",))
    home.waiting = [(9, stays), (9, gone)]

    home.forget("other")

    assert home.waiting == [(9, stays)]


def test_who_asked_for_an_expected_namespace_goes_on_in_order_when_it_comes():
    known = Namespaces()
    known.expect("ns")
    seen: list[str] = []
    known.wait("ns", lambda found: seen.append(f"one {found.rootseq}"), lambda error: seen.append("refused"))
    known.wait("ns", lambda found: seen.append(f"two {found.rootseq}"), lambda error: seen.append("refused"))
    assert known.waiting == 2

    known.add(namespace())

    assert seen == ["one 3", "two 3"]
    assert not known.is_expected("ns")
    assert known.waiting == 0


def test_who_asked_for_a_namespace_that_is_none_is_refused():
    known = Namespaces()
    known.expect("ns")
    errors: list[RequestError] = []
    known.wait("ns", lambda found: pytest.fail("known"), errors.append)

    known.refuse("ns", unknown_namespace("ns"))

    assert [str(error) for error in errors] == ["namespace 'ns' does not exist"]


def test_news_of_a_namespace_that_overtake_the_answer_are_kept_for_it():
    known = Namespaces()
    assert not known.foresee("ns", Root(rootref="sha1-1", rootseq=1))
    known.expect("ns")

    assert known.foresee("ns", Root(rootref="sha1-9", rootseq=9))

    foreseen = known.foreseen("ns")
    assert foreseen is not None
    assert foreseen.rootseq == 9
    assert known.foreseen("ns") is None
