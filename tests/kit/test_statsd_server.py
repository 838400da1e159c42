"""The statsd server of a test's own: any program's packets, read as the server of its name reads them."""

from __future__ import annotations

import re
import socket
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from brokersim.testing import Statsd

pytest_plugins = ["pytester"]
ROOT = Path(__file__).resolve().parents[2]
Maker = Callable[..., Statsd]


def send(statsd: Statsd, *packets: bytes) -> None:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sender:
        for packet in packets:
            sender.sendto(packet, (statsd.host, statsd.port))


@pytest.mark.parametrize(
    ("dialect", "shown", "bad"),
    [
        ("etsy", {"counters.n.count": 2, "timers.t.upper": 3}, ["no_type", "no_type"]),
        ("statsd", {"counters.n.count": 2, "timers.t.upper": 3}, ["no_type", "no_type"]),
        ("brubeck", {"n": 2}, ["bad_number"]),
        ("collectd", {"count-n": 2, "gauge-t_1_2-count": 1}, []),
        ("dogstatsd", {"counters.n.count": 2, "timers.t.count": 3}, []),
    ],
)
def test_the_same_packets_are_read_as_each_server_reads_them(
    statsd_server: Maker, dialect: str, shown: dict[str, float], bad: list[str]
):
    statsd = statsd_server(dialect)
    send(statsd, b"t:1:2:3|ms", b"n:1|c", b"n:1|c")
    statsd.wait(lambda it: it.value("n") == 2)
    values = statsd.flush().values
    assert {name: values[name] for name in shown} == shown
    assert [each.reason for each in statsd.bad_lines] == bad
    assert statsd.lines == ["t:1:2:3|ms", "n:1|c", "n:1|c"]


def test_a_program_of_its_own_finds_it_by_its_environment(statsd_server: Maker):
    statsd = statsd_server("dogstatsd")
    program = (
        "import os, socket; s = socket.socket(socket.AF_INET, socket.SOCK_DGRAM);"
        "s.sendto(b'k:4|g|#env:x', (os.environ['DD_AGENT_HOST'], int(os.environ['DD_DOGSTATSD_PORT'])))"
    )
    subprocess.run([sys.executable, "-c", program], env=dict(statsd.environment), check=True)
    statsd.wait_for("k;env=x")
    assert statsd.flush().gauges == {"k;env=x": 4}


def test_it_listens_on_a_unix_socket_too_and_leaves_no_file(tmp_path: Path):
    path = tmp_path / "statsd.sock"
    with Statsd("strict", unix=path, percentiles=(99,)) as statsd:
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as sender:
            sender.sendto(b"t:1|ms", str(path))
        statsd.wait_for("t")
        assert statsd.flush().values["timers.t.upper_99"] == 1
        assert (statsd.address, statsd.environment) == (
            f"unix://{path}",
            {"DD_DOGSTATSD_URL": f"unix://{path}"},
        )
    assert not path.exists()


def test_what_never_comes_fails_with_what_came(statsd_server: Maker):
    statsd = statsd_server()
    send(statsd, b"other:1|c")
    statsd.wait_for("other")
    with pytest.raises(
        AssertionError, match=r"the etsy server waited 0.01 s; the last lines that came:\n  other:1\|c"
    ):
        statsd.wait_for("k", seconds=0.01)


def test_none_of_many_packets_is_lost(statsd_server: Maker):
    statsd = statsd_server()
    for start in range(0, 20_000, 500):
        send(statsd, *[b"n:1|c"] * 500)
        statsd.wait(lambda it, wanted=start + 500: it.value("n") == wanted)  # type: ignore[misc]
    assert statsd.flush().counters == {"n": 20_000}


def test_a_wrong_dialect_is_told(statsd_server: Maker):
    with pytest.raises(ValueError, match="no statsd dialect 'klingon'"):
        statsd_server("klingon")


def test_the_page_s_example_runs(pytester: pytest.Pytester):
    page = (
        (ROOT / "docs/testing.md")
        .read_text(encoding="utf-8")
        .partition("## A statsd server for any program")[2]
    )
    code = re.findall(r"```python\n(.*?)```", page, re.DOTALL)[0]
    pytester.makepyfile(code)
    pytester.runpytest_inprocess("-p", "no:cacheprovider", "-p", "no:trio").assert_outcomes(passed=1)
