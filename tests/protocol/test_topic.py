"""Topics split where upstream splits them, and globs match as in the shell."""

from __future__ import annotations

import pytest
from hypothesis import given

from brokersim.protocol.topic import (
    disconnect_service,
    method_of,
    service_of,
    topic_matcher,
)
from tests import strategies


@pytest.mark.parametrize(
    ("topic", "service", "method", "disconnect"),
    [
        ("kvs.commit", "kvs", "commit", "kvs"),
        ("job-info.eventlog-watch", "job-info", "eventlog-watch", "job-info"),
        ("a.b.c", "a", "b.c", "a.b"),
        ("welcome", "welcome", "", "welcome"),
        (".x", "", "x", ".x"),
        ("x.", "x", "", "x"),
    ],
)
def test_service_is_before_the_first_dot_and_disconnect_before_the_last(
    topic: str, service: str, method: str, disconnect: str
) -> None:
    assert (service_of(topic), method_of(topic), disconnect_service(topic)) == (service, method, disconnect)


@given(strategies.topics)
def test_service_and_method_make_up_the_topic(topic: str) -> None:
    service, method = service_of(topic), method_of(topic)
    assert "." not in service
    assert topic in (service, f"{service}.{method}")


@given(strategies.services, strategies.services)
def test_with_one_dot_both_ways_to_split_agree(service: str, method: str) -> None:
    topic = f"{service}.{method}"
    assert service_of(topic) == disconnect_service(topic) == service


@pytest.mark.parametrize(
    ("glob", "matching", "others"),
    [
        ("*", ["kvs.commit", "x", ""], []),
        ("", ["kvs.commit"], []),
        ("kvs.*", ["kvs.commit", "kvs.a.b", "kvs."], ["kvs", "kvs-watch.lookup", "my.kvs.commit"]),
        ("*.stats-get", ["kvs.stats-get"], ["kvs.stats-get.x", "kvsxstats-get-"]),
        ("kvs.?et", ["kvs.get", "kvs.set"], ["kvs.et", "kvs.KET.x"]),
        ("[a-k]*", ["kvs.x"], ["sched.x"]),
        ("[!k]*", ["sched.x"], ["kvs.x"]),
        ("kvs.commit", ["kvs.commit"], ["kvs-commit", "KVS.commit", "kvs.commit\n"]),
    ],
)
def test_globs_match_as_in_the_shell(glob: str, matching: list[str], others: list[str]) -> None:
    matches = topic_matcher(glob)
    assert [topic for topic in matching + others if matches(topic)] == matching


@given(strategies.topics)
def test_a_prefix_glob_matches_exactly_the_topics_with_that_prefix(topic: str) -> None:
    assert topic_matcher("kvs*")(topic) == topic.startswith("kvs")
    assert topic_matcher("*")(topic)


def test_a_glob_that_would_hold_who_reads_it_is_refused() -> None:
    assert not topic_matcher("[a" * 250)("kvs")
    with pytest.raises(ValueError, match="at most 500 characters, not 501"):
        topic_matcher("*" * 501)
