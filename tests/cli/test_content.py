"""The content commands."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from brokersim.protocol.blobref import blobref, digest
from brokersim.protocol.errnums import ENOENT, RequestError
from tests.cli.conftest import Run
from tests.cli.fake_broker import FakeBroker

#: content.store "hello\n" as captured from flux-core 0.88
REF = "sha1-f572d396fae9206628714fb2ce00f72e94f2258f"


def test_store_prints_the_blobref_of_stdin_or_a_file(fake: FakeBroker, run: Run, tmp_path: Path) -> None:
    fake.answers["content.store"] = lambda request: digest(blobref(request.raw))
    assert run("content", "store", stdin=b"hello\n").out == f"{REF}\n"
    (tmp_path / "f").write_bytes(b"hello\n")
    assert run("content", "store", str(tmp_path / "f"), "--json").json == {"blobref": REF, "size_bytes": 6}
    assert [one.raw for one in fake.requests] == [b"hello\n", b"hello\n"]
    assert run("content", "store", str(tmp_path / "none")).code == 2


def test_load_writes_the_bytes(fake: FakeBroker, run: Run) -> None:
    def load(request: Any) -> Any:
        return b"a\x00\xff" if request.raw == digest(REF) else RequestError(ENOENT)

    fake.answers["content.load"] = load
    assert run("content", "load", REF).out == "a\x00\udcff"
    assert run("content", "load", REF, "--json").json == {
        "blobref": REF,
        "size_bytes": 3,
        "data_base64": "YQD/",
    }
    other = f"sha1-{'0' * 40}"
    assert run("content", "load", other) == (4, "", f"error: no blob {other} (ENOENT)\n")


def test_flush_and_dropcache(fake: FakeBroker, run: Run) -> None:
    fake.answers |= {"content.flush": None, "content.dropcache": None}
    assert run("content", "flush") == (0, "", "")
    assert run("content", "dropcache", "--json").json == {"dropped": True}
    assert fake.topics == ["content.flush", "content.dropcache"]


def test_stats_and_latency(fake: FakeBroker, run: Run) -> None:
    figures = {"count": 3, "mean": 0.5, "p50": 0.25, "p99": 2.0, "max": 2.5, "in-flight-max": 2}
    fake.answers["content-cache.stats-get"] = {"load": figures, "store": {**figures, "count": 40}}
    assert run("content", "stats", "--json").json["load"] == figures
    assert run("content", "stats", "--latency").out == (
        "       Count  Mean ms  p50 ms  p99 ms  Max ms  Most in flight\n"
        "load       3    0.500   0.250   2.000   2.500               2\n"
        "store     40    0.500   0.250   2.000   2.500               2\n"
    )
    assert run("content", "stats", "--latency", "--json").json["load"] == {
        "count": 3, "mean_ms": 0.5, "p50_ms": 0.25, "p99_ms": 2.0, "max_ms": 2.5, "in_flight_max": 2,
    }  # fmt: skip
    fake.answers["content-cache.stats-get"] = {"count": 1}
    assert run("content", "stats", "--latency").code == 1
