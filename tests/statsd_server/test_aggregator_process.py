"""A statsd server as a child process: told its address, awaited, watched, stopped last; whatever it does."""

from __future__ import annotations

import os
import shlex
import signal
import socket
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import trio

from brokersim.reactor.clock import VirtualClock
from brokersim.statsd_server import aggregator_process
from brokersim.statsd_server.aggregator_process import AggregatorError, SupervisedAggregator, is_bound

#: Binds where it is told, writes what arrives to a file, says so when it is asked to end.
SERVER = """
import os, signal, socket, sys
out = open(sys.argv[1], "a", buffering=1)
def end(*_):
    print("SIGTERM", file=out)
    sys.exit(0)
signal.signal(signal.SIGTERM, end)
sock = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
sock.bind((os.environ["STATSD_HOST"], int(os.environ["STATSD_PORT"])))
assert os.environ["BROKERSIM_STATS"] == os.environ["STATSD_HOST"] + ":" + os.environ["STATSD_PORT"]
while True:
    packet = sock.recv(65536).decode()
    print(packet, file=out)
    if packet == "die":
        print("out of memory", file=sys.stderr)
        os._exit(3)
    if packet == "hang":
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
        print("hanging", file=out)
"""


@pytest.fixture
def command(tmp_path: Path) -> Callable[..., str]:
    """The command of a Python program, and behind it its arguments."""

    def make(source: str, *arguments: object) -> str:
        script = tmp_path / "server.py"
        script.write_text(source)
        return shlex.join([sys.executable, str(script), *map(str, arguments)])

    return make


def send(aggregator: SupervisedAggregator, packet: bytes) -> None:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
        sock.sendto(packet, (aggregator.host, aggregator.port))


async def until(condition: Callable[[], Any]) -> None:
    """Real time, five seconds of it at most."""
    for _ in range(500):
        if condition():
            return
        await trio.to_thread.run_sync(lambda: __import__("time").sleep(0.01))
    raise AssertionError("it never came to be")


def is_alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return True


async def test_it_is_told_its_address_answers_and_is_stopped_with_SIGTERM(command, tmp_path, capfd):
    seen = tmp_path / "seen"
    supervised = SupervisedAggregator(command(SERVER, seen))
    async with supervised.running():
        assert is_bound(supervised.host, supervised.port)
        send(supervised, b"k:1|c")
        await until(lambda: "k:1|c" in seen.read_text())
        assert supervised.pid is not None
        assert os.getpgid(supervised.pid) == supervised.pid != os.getpgrp()
    assert seen.read_text().split() == ["k:1|c", "SIGTERM"]
    assert (supervised.exit_code, supervised.died) == (0, False)
    assert not is_alive(supervised.pid)
    assert capfd.readouterr() == ("", "")


async def test_that_it_dies_is_said_with_its_last_words_and_the_instance_goes_on(command, tmp_path, capfd):
    logged: list[str] = []
    seen = tmp_path / "seen"
    supervised = SupervisedAggregator(command(SERVER, seen), log=logged.append)
    async with supervised.running():
        send(supervised, b"die")
        await until(lambda: logged)
        assert (supervised.exit_code, supervised.died) == (3, True)
    assert len(logged) == 1
    assert f"aggregator {supervised.command!r} ended with exit code 3 after 0." in logged[0]
    assert ": out of memory: statistics sent to" in logged[0]
    assert supervised.address in logged[0]
    assert capfd.readouterr().err == "aggregator: out of memory\n"


async def test_that_a_signal_ended_it_is_said_by_name(command, tmp_path):
    logged: list[str] = []
    supervised = SupervisedAggregator(command(SERVER, tmp_path / "seen"), log=logged.append)
    async with supervised.running():
        os.kill(supervised.pid or 0, signal.SIGKILL)
        await until(lambda: logged)
    assert "was ended by SIGKILL" in logged[0]
    assert supervised.exit_code == -signal.SIGKILL


async def test_one_that_ignores_SIGTERM_is_killed_after_its_grace(command, tmp_path):
    logged: list[str] = []
    seen = tmp_path / "seen"
    supervised = SupervisedAggregator(command(SERVER, seen), grace_s=0.1, log=logged.append)
    async with supervised.running():
        send(supervised, b"hang")
        await until(lambda: "hanging" in seen.read_text())
    assert supervised.exit_code == -signal.SIGKILL
    assert not is_alive(supervised.pid or 0)
    assert logged == [f"aggregator {supervised.command!r} did not end within 0.1 s of SIGTERM: killed"]


async def test_its_children_end_with_it(command, tmp_path):
    seen = tmp_path / "seen"
    shell = f"{command(SERVER, seen)} & echo $! > {tmp_path / 'pid'}; sleep 60"
    supervised = SupervisedAggregator(shlex.join(["sh", "-c", shell]))
    async with supervised.running():
        child = int((tmp_path / "pid").read_text())
        assert is_alive(child)
    await until(lambda: not is_alive(child) or Path(f"/proc/{child}/stat").read_text().split()[2] == "Z")


@pytest.mark.parametrize(
    ("source", "words"),
    [
        (
            "import sys; sys.exit('no configuration')",
            "ended with exit code 1 before it answered: no configuration",
        ),
        ("import time; time.sleep(60)", "does not listen on udp 127.0.0.1:"),
    ],
)
async def test_one_that_does_not_come_to_answer_is_an_error_and_gone(source, words, command):
    supervised = SupervisedAggregator(command(source), ready_s=0.3, grace_s=0.1)
    if "exit" in source:
        supervised._ready_s = 10
    with pytest.raises(AggregatorError) as caught:
        async with supervised.running():
            raise AssertionError("it must not be used")
    assert words in str(caught.value)
    assert repr(supervised.command) in str(caught.value)
    assert not is_alive(supervised.pid or 0)


def test_simulated_time_does_not_pass_while_it_is_awaited(command, tmp_path):
    async def main() -> float:
        async with SupervisedAggregator(command(SERVER, tmp_path / "seen")).running():
            return trio.current_time()

    assert trio.run(main, clock=VirtualClock()) == 0.0


async def test_an_error_in_the_block_comes_out_as_it_is(command, tmp_path):
    with pytest.raises(LookupError):
        async with SupervisedAggregator(command(SERVER, tmp_path / "seen")).running():
            raise LookupError


async def test_cancelled_while_it_is_awaited_it_is_gone(command):
    supervised = SupervisedAggregator(command("import time; time.sleep(60)"), grace_s=0.1)
    with trio.move_on_after(0.1) as scope:
        async with supervised.running():
            raise AssertionError("it must not be used")
    assert scope.cancelled_caught
    assert not is_alive(supervised.pid or 0)


async def test_a_port_that_another_program_has_is_refused_before_anything_runs(command, tmp_path):
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as other:
        other.bind(("127.0.0.1", 0))
        address = f"127.0.0.1:{other.getsockname()[1]}"
        supervised = SupervisedAggregator(command(SERVER, tmp_path / "seen"), address=address)
        with pytest.raises(AggregatorError, match=f"another program listens on udp {address} already"):
            async with supervised.running():
                raise AssertionError("it must not be used")
    assert supervised.pid is None


@pytest.mark.parametrize(
    ("words", "told"),
    [
        ("", "command is empty"),
        ("'x", "no closing quotation"),
        ("/nowhere/statsd -v", "No such file or directory"),
    ],
)
async def test_a_command_that_is_none_is_an_error(words, told):
    with pytest.raises(AggregatorError, match=told):
        async with SupervisedAggregator(words).running():
            raise AssertionError("it must not be used")


def test_a_wrong_address_is_an_error():
    with pytest.raises(AggregatorError, match="no statsd address"):
        SupervisedAggregator("x", address="127.0.0.1:0")


def test_the_command_may_name_the_address():
    supervised = SupervisedAggregator("serve -l {host}:{port} '{other}'", address="127.0.0.1:8125")
    assert supervised._words == ["serve", "-l", "127.0.0.1:8125", "{other}"]


def test_without_the_kernels_tables_a_packet_tells_whether_somebody_listens(monkeypatch):
    monkeypatch.setattr(aggregator_process, "_TABLES", ("/nowhere/udp",))
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as other:
        other.bind(("127.0.0.1", 0))
        port = other.getsockname()[1]
        assert is_bound("127.0.0.1", port)
    assert not is_bound("127.0.0.1", port)
