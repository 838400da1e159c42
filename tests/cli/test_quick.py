"""The short way of a command and the whole command line: one output, one exit code, the same requests."""

from __future__ import annotations

import os
import shlex
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from brokersim.cli import main as door
from brokersim.cli.mask import parse_mask
from brokersim.cli.quick import Aside
from brokersim.cli.table import _is_number
from brokersim.protocol.errnums import EINVAL, ENOENT, EPERM, RequestError
from tests.cli.conftest import Result, Run
from tests.cli.fake_broker import SILENCE, FakeBroker, InTurn

VALUE = {"ver": 1, "type": "val", "data": "NDI="}
BINARY = {"ver": 1, "type": "val", "data": "/wA="}
ASKED = [
    "kvs get a", "kvs get a b", "--json kvs get a", "kvs get --json a bin", "kvs get -r a", "kvs get -l a b",
    "kvs get -t a", "kvs get -N other a", "kvs get --namespace=other a", "kvs get bin", "kvs get --json -t a",
    "kvs put a=1", "kvs put a=1 b=x=y c=", "kvs put -N other a=é", "kvs put --json a=1",
    "module list", "module list --json", "module list --tsv", "module list -n", "--json module list",
    "module debug kvs", "module debug -s 0x1000 kvs", "module debug -s msgcount+timing -c 4096 kvs",
    "module debug -S 010000 kvs", "module debug --setbit=1 --json kvs",
    "status", "status --json", "getattr size", "getattr --json size", "ping -c 1 kvs", "ping -u -c 1 2!kvs",
    "ping -i 0 -c 3 kvs",
    "kvs mkdir d e.f", "kvs mkdir -N other --json d",
    "module stats kvs", "module stats --json kvs", "module stats -p rx.request kvs", "module stats --parse=tx kvs",
    "module stats -p ratio kvs", "module stats -p word kvs", "module stats -p none kvs", "module remove kvs",
    "module remove --cancel --json kvs", "lsattr", "lsattr -l", "lsattr --json", "lsattr --long --json",
    "lsattr -l --tsv -n", "setattr size 9", "--json setattr size 9",
    "uptime", "uptime --json", "", "-h", "--help", "--version", "ping --count=1 1", "ping -c 1 any!kvs",
]  # fmt: skip
LEFT = [
    "kvs", "uptime x", "uptime -h", "--version -h", "-h --version", "ps x",
    "kvs get", "kvs get -h", "kvs get a --help", "kvs get -- a", "kvs get -rl a", "kvs get -Nx a",
    "kvs get missing", "kvs get a missing", "kvs get dir", "kvs get odd", "kvs get -W a -N", "kvs get --bad a",
    "kvs put a", "kvs put =1", "kvs put -r a=-", "kvs put full=1", "kvs gett a",
    "module list x", "module list -r 9", "module debug", "module debug -s kvs", "module debug -s 1x kvs",
    "module debug -S 1 -s 2 kvs", "module debug kvs cron", "module debug -s 1 nobody", "module debug -C kvs",
    "status x", "status -v", "-q getattr nothing", "getattr", "getattr a b", "getattr strange", "ping", "ping -c 0 kvs",
    "ping -c x kvs", "ping -c 1 nobody", "ping -c 1 a!b!c", "ping -i soon kvs", "ping -c 1 'a b'",
    "ping -c 2 -b kvs",
    "-u nowhere kvs get a", "-u local:///nowhere kvs get a", "--uri=kvs status", "--timeout 5s getattr size",
    "--color=always getattr size", "modul list", "-- getattr size", "getattr -x", "kvs mkdir", "kvs mkdir full",
    "kvs get -N '' a", "kvs get -N -x a",
    "kvs get --namespace= a", "ping -c 1 ٣!kvs", "ping -c ٣ kvs", "ping -c 1 9999999999!kvs", "ping -c '' kvs",
    "module stats", "module stats nobody", "module stats -p rx.gone kvs", "module stats -p word.x kvs",
    "module stats -c kvs", "module stats -s 2 -p rx.request kvs", "module remove", "module remove nobody",
    "module remove -f nobody", "setattr size", "setattr fixed 1", "lsattr x",
]  # fmt: skip


@pytest.fixture
def peer(fake: FakeBroker, monkeypatch: pytest.MonkeyPatch) -> FakeBroker:
    monkeypatch.setenv("FLUX_LOCAL_CONNECTOR_RETRY_COUNT", "0")
    monkeypatch.setattr("brokersim.cli.ping_text.now", lambda: 1_500_000)
    monkeypatch.setattr("brokersim.cli.ping.now", lambda: 2_500_000)
    monkeypatch.setattr("brokersim.cli.quick.ping.now", lambda: 2_500_000)
    values = {"a": VALUE, "b": VALUE, "bin": BINARY, "dir": {"ver": 1, "type": "dir", "data": {}}, "odd": 7}

    def lookup(request: Any) -> Any:
        if request.payload["flags"] & 1:
            return {"val": {"ver": 1, "type": "dir", "data": {"missed": VALUE}}}
        found = values.get(request.payload["key"])
        return RequestError(ENOENT) if found is None else {"val": found}

    def commit(request: Any) -> Any:
        if request.payload["ops"][0]["key"] == "full":
            return RequestError(EINVAL, "no room")
        return {"rootref": "sha1-0", "rootseq": 3}

    attributes = fake.answers["attr.get"]

    def attribute(request: Any) -> Any:
        return {"value": "\x1b[2Jü"} if request.payload["name"] == "strange" else attributes(request)

    def ping(request: Any) -> Any:
        return {**request.payload, "route": "0!kvs", "userid": 0, "rolemask": 5}

    fake.answers |= {
        "state-machine.get": {"state": "run", "duration": 7384.0},
        "kvs.lookup": lookup,
        "kvs.commit": commit,
        "attr.get": attribute,
        "kvs.stats-get": {
            "tx": {"request": 3}, "rx": {"request": 12345678}, "ratio": 0.1, "word": "a", "none": None, "e": [],
            "d": {}, "list": [1, "b", {"c": [True]}],
        },
        "module.remove": lambda request: None if request.payload["name"] == "kvs" else RequestError(ENOENT),
        "attr.list": {"names": ["size", "rank"]},
        "attr.set": lambda request: None if request.payload["name"] == "size" else RequestError(EPERM),
        "kvs.debug": lambda request: {"flags": request.payload["flags"]},
        "kvs.ping": ping,
        "broker.ping": ping,
        "broker.status": {
            "size": 1024, "online": 2, "uptime": 75.5, "modules": 3, "messages": 4711, "clock": "real", "seed": 0,
            "stats": {"target": "127.0.0.1:8125", "sent": 10, "refused": 0}, "masks": {"kvs": 0x1000, "cron": 0},
        },
    }  # fmt: skip
    return fake


def both(line: str, peer: FakeBroker, run: Run, monkeypatch: pytest.MonkeyPatch) -> tuple[Any, Any]:
    """What a command line prints, returns and asks: as it is run, and by the whole command line alone."""
    words = shlex.split(line)

    def told() -> tuple[Result, list[Any], int]:
        clients = len(peer._clients)
        result = run(*words)
        asked = [(one.topic, one.data, one.nodeid, one.matchtag) for one in peer.requests]
        peer.requests.clear()
        return result, asked, len(peer._clients) - clients

    short = told()
    with monkeypatch.context() as whole:
        whole.setattr(door, "run", _aside)
        return short, told()


def _aside(_words: list[str]) -> int:
    raise Aside


@pytest.mark.parametrize("line", ASKED + LEFT)
def test_both_ways_say_and_ask_the_same(
    line: str, peer: FakeBroker, run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    short, whole = both(line, peer, run, monkeypatch)
    assert short == whole


@pytest.mark.parametrize("line", ASKED)
def test_what_scripts_ask_goes_the_short_way(
    line: str, peer: FakeBroker, run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    def never(*_: Any) -> int:
        raise AssertionError("the whole command line was asked")

    monkeypatch.setattr("brokersim.cli.surface.run_whole", never)
    result = run(*line.split())
    assert (result.code, result.err) == (0, result.err if "-c 3" in line else "")


@pytest.mark.parametrize(
    "failing", [RequestError(ENOENT, "gone"), [RequestError(EINVAL)], "no json", {"seq": 1}]
)
def test_a_ping_that_fails_after_others_is_told_once(
    failing: Any, peer: FakeBroker, run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    answer = peer.answers["kvs.ping"]

    def set_up() -> None:
        peer.answers["kvs.ping"] = InTurn(answer, answer, failing)
        answers = peer.answers["kvs.ping"]
        peer.answers["kvs.ping"] = lambda request: (
            found(request) if callable(found := answers(request)) else found
        )

    words = ("ping", "-i", "0", "-c", "9", "kvs")
    set_up()
    short, asked = run(*words), len(peer.requests)
    peer.requests.clear()
    set_up()
    monkeypatch.setattr(door, "run", _aside)
    assert (run(*words), len(peer.requests)) == (short, asked)
    assert short.code != 0
    assert short.out.count("\n") == 2
    assert "3 sent, 2 received" in short.err


def test_an_instance_that_goes_before_it_answers_is_told_alike(
    peer: FakeBroker, run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    def gone(_request: Any) -> Any:
        peer.drop_clients()
        raise OSError

    peer.answers["attr.get"] = gone
    short, whole = both("getattr size", peer, run, monkeypatch)
    assert short == whole
    assert "the instance closed the connection" in short[0].err
    assert [topic for topic, *_ in short[1]] == ["attr.get"]


def test_garbage_is_told_alike(peer: FakeBroker, run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    peer.garbage_after = b"not a frame"
    peer.answers["attr.get"] = RequestError(ENOENT)
    short, whole = both("getattr size", peer, run, monkeypatch)
    # Whether the next question is out before the garbage is in, is a matter of who is quicker.
    assert (short[0], short[1][:1], short[2]) == (whole[0], whole[1][:1], whole[2])


def test_a_process_that_goes_the_short_way_imports_none_of_what_makes_it_slow(fake: FakeBroker) -> None:
    # Rather than a time, which depends on the machine. cli.table is what `module list` adds.
    code = (
        "import sys\nbefore = set(sys.modules)\nfrom brokersim.cli.main import main\n"
        "main(['module', 'list'])\nmain(['getattr', 'size'])\n"
        "slow = {'click', 'msgspec', 're', 'enum', 'typing', 'collections', 'socket', 'json', 'pathlib', 'functools'}\n"
        "print('SLOW', sorted(slow & (set(sys.modules) - before)), len(set(sys.modules) - before) < 30)"
    )
    done = subprocess.run(
        [sys.executable, "-S", "-c", code],
        capture_output=True, text=True, env={**os.environ, "PYTHONPATH": str(Path(door.__file__).parents[2])},
    )  # fmt: skip
    assert done.stderr == ""
    assert done.stdout.splitlines()[-1] == "SLOW [] True"


def test_a_locale_that_lacks_a_letter_goes_the_whole_way(peer: FakeBroker) -> None:
    peer.answers["attr.get"] = {"value": "ƒ×2"}
    done = subprocess.run(
        [sys.executable, "-m", "brokersim.cli.main", "getattr", "size"],
        capture_output=True,
        env={**os.environ, "PYTHONIOENCODING": "ascii"},
    )
    assert done.stdout == b"fx2\n"


def test_a_full_disk_is_told_and_nothing_is_asked_again(peer: FakeBroker) -> None:
    with open("/dev/full", "wb") as full:
        done = subprocess.run(
            [sys.executable, "-m", "brokersim.cli.main", "kvs", "get", "a"],
            stdout=full,
            stderr=subprocess.PIPE,
        )
    assert done.returncode == 1
    assert done.stderr == b"error: cannot write or read: No space left on device\n"
    assert peer.topics == ["kvs.lookup"]


def test_nobody_reads_and_nothing_is_said(peer: FakeBroker) -> None:
    read, write = os.pipe()
    os.close(read)
    done = subprocess.run(
        [sys.executable, "-m", "brokersim.cli.main", "getattr", "size"], stdout=write, stderr=subprocess.PIPE
    )
    os.close(write)
    assert (done.returncode, done.stderr) == (1, b"")


@pytest.mark.parametrize("line", ["ps", "ps --json", "ps --tsv", "-q ps -n"])
@pytest.mark.parametrize("size", [4, "4ü", 1e300])
def test_instances_are_listed_the_same_both_ways(
    line: str, size: Any, peer: FakeBroker, run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A size of another form has to be told by the whole command line, which asks anew."""
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(tmp_path))
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    monkeypatch.setattr("tempfile.tempdir", None)
    status = peer.answers["broker.status"] | {"size": size}
    values = {"broker.pid": "77", "brokersim.command": "true x"}
    attributes = {"attr.get": lambda request: {"value": values[request.payload["name"]]}}
    brokers = []
    for name in ("one", "two"):
        (tmp_path / "brokersim" / name).mkdir(parents=True, mode=0o700)
        brokers.append(
            FakeBroker(tmp_path / "brokersim" / name / "local-0", {"broker.status": status, **attributes})
        )
    short = run(*line.split())
    monkeypatch.setattr(door, "run", _aside)
    assert short == run(*line.split())
    assert "two" in short.out
    for broker in brokers:
        asked = len(broker.requests)
        broker.close()
        assert asked == (6 if size == 4 and "-q" not in line else asked)


@pytest.mark.parametrize("silent", ["broker.status", "attr.get"])
def test_a_stuck_instance_is_asked_once_and_listed_without_an_answer(
    silent: str, peer: FakeBroker, run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(tmp_path))
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    monkeypatch.setattr("tempfile.tempdir", None)
    for file in ("ps", "quick.commands"):
        monkeypatch.setattr(f"brokersim.cli.{file}._PATIENCE", 0.05)
    (tmp_path / "brokersim" / "one").mkdir(parents=True, mode=0o700)
    answers = {"broker.status": peer.answers["broker.status"], silent: SILENCE}
    stuck = FakeBroker(tmp_path / "brokersim" / "one" / "local-0", answers)
    short, asked = run("ps"), len(stuck.requests)
    monkeypatch.setattr(door, "run", _aside)
    assert (run("ps"), len(stuck.requests)) == (short, 2 * asked)
    stuck.close()
    assert ("no answer" in short.out) == (silent == "broker.status")
    assert short.code == 0


def test_help_that_a_locale_cannot_spell_is_left_to_the_whole_command_line() -> None:
    done = subprocess.run(
        [sys.executable, "-m", "brokersim.cli.main", "-h"],
        env={**os.environ, "PYTHONIOENCODING": "ascii"}, capture_output=True, text=True,
    )  # fmt: skip
    assert (done.returncode, done.stderr) == (0, "")
    assert "run broker modules" in done.stdout


def test_a_shell_that_asks_what_may_come_next_runs_no_command(
    fake: FakeBroker, run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("_BROKERSIM_COMPLETE", "bash_complete")
    monkeypatch.setenv("COMP_WORDS", "brokersim getattr size")
    monkeypatch.setenv("COMP_CWORD", "2")
    assert run("getattr", "size") == (0, "\n", "")
    assert fake.topics == []


@pytest.mark.parametrize(
    "text", ["0o17", "0x", "0x0x1", "0b1", "1_000", "-1", "+1", " 1", "٣", "08", "0x" + "0" * 19]
)
def test_masks_are_not_what_else_python_takes_for_numbers(text: str) -> None:
    with pytest.raises(ValueError, match="is no mask"):
        parse_mask(text)


def test_a_mask_has_32_bits_at_most() -> None:
    assert parse_mask("0xffffffff") == 2**32 - 1
    with pytest.raises(ValueError, match="has more than 32 bits"):
        parse_mask("0x100000000")


def test_masks_in_each_base() -> None:
    assert [parse_mask(text) for text in ("0", "010", "10", "0x10", "0XfF", "0x1000+timing")] == [
        0, 8, 10, 16, 255, 0x3000,
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("text", "is_number"),
    [
        ("1", True), ("-1,024.5", True), ("12 %", True), ("12%", True), ("0x1f", True), ("0x", False), ("1.", False),
        (".5", False), ("1.2.3", False), ("--1", False), ("a", False), ("", False), ("%", False), ("1e5", False),
        ("1  %", False), ("0xg", False),
    ],
)  # fmt: skip
def test_what_a_table_takes_for_a_number(text: str, is_number: bool) -> None:
    assert _is_number(text) is is_number
