"""`kvs watch` against a canned broker: what it asks, what it prints, how it ends."""

from __future__ import annotations

from typing import Any

import pytest

from brokersim.protocol import treeobj
from brokersim.protocol.errnums import ENOENT, RequestError
from tests.cli.conftest import Run
from tests.cli.fake_broker import FakeBroker

VALUES: list[Any] = [{"val": treeobj.val(text)} for text in (b"1", b"2", b"3")]


@pytest.mark.parametrize(
    ("options", "flags"),
    [((), 4), (("--full",), 68), (("-u", "-W"), 140), (("--append",), 260), (("-t",), 20)],
)
def test_kvs_watch_asks_with_fluxs_flags(
    run: Run, fake: FakeBroker, options: tuple[str, ...], flags: int
) -> None:
    fake.answers["kvs-watch.lookup"] = VALUES
    run("kvs", "watch", *options, "a.b")
    assert fake.asked("kvs-watch.lookup") == [{"key": "a.b", "namespace": "primary", "flags": flags}]


def test_kvs_watch_prints_values_until_the_count_and_then_cancels(run: Run, fake: FakeBroker) -> None:
    fake.answers["kvs-watch.lookup"] = VALUES
    assert run("kvs", "watch", "a").out == "1\n2\n3\n"
    assert fake.asked("kvs-watch.cancel") == []
    assert run("kvs", "watch", "-r", "-c", "2", "a").out == "12"
    assert run("kvs", "watch", "--json", "a").lines[0] == {"key": "a", "value": "1"}


def test_kvs_watch_says_which_key_is_missing(run: Run, fake: FakeBroker) -> None:
    fake.answers["kvs-watch.lookup"] = [RequestError(ENOENT)]
    result = run("kvs", "watch", "a.b")
    assert (result.code, result.out) == (4, "")
    assert "no key 'a.b'" in result.err
