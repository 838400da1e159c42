"""The real commands against real instances, by their sockets: `brokersim start` in a process of its own."""

from __future__ import annotations

import json
import os
import re
import select
import signal
import socket
import stat
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import pytest

from brokersim.net.client import Client, Lost
from brokersim.protocol.treeobj import EMPTY_DIR_REF
from tests.cli.conftest import Run

Detached = Callable[..., tuple[str, int]]
BROKERSIM = [sys.executable, "-m", "brokersim.cli.main"]
TIMEOUT = 120
HELLO = """\
from brokersim.brokermod import BrokerModule, request_handler

class Hello(BrokerModule):
    @request_handler("info")
    def info(self, msg):
        self.handle.respond(msg, {"hello": self.name, "args": list(self.args)})

    @request_handler("crash")
    def crash(self, msg):
        raise KeyError("oops")
"""
#: A tool on PATH named brokersim, for scripts run inside an instance.
WRAPPER = f'#!/bin/sh\nexec {sys.executable} -m brokersim.cli.main "$@"\n'


def environment(tmp: Path) -> dict[str, str]:
    kept = {key: value for key, value in os.environ.items() if not key.startswith(("BROKERSIM_", "FLUX_"))}
    tools = tmp / "bin"
    tools.mkdir(exist_ok=True)
    (tools / "brokersim").write_text(WRAPPER)
    (tools / "brokersim").chmod(0o755)
    path = f"{tools}:{kept['PATH']}"
    source = str(Path(__file__).parents[2] / "src")
    # Both places where instances are looked for, so that no other one of this user is found.
    folders = {"XDG_RUNTIME_DIR": str(tmp), "TMPDIR": str(tmp)}
    return {**kept, **folders, "PATH": path, "SHELL": "/bin/sh", "PYTHONPATH": source}


def brokersim(tmp: Path, *words: str, stdin: str = "") -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [*BROKERSIM, *words],
        cwd=tmp,  # what a relative path makes is not left where the tests were started
        env=environment(tmp),
        input=stdin,
        capture_output=True,
        text=True,
        timeout=TIMEOUT,
    )


@contextmanager
def started(home: Path, *words: str) -> Iterator[str]:
    """The address of an instance that ends when its command's stdin does."""
    process = subprocess.Popen(
        [*BROKERSIM, *words, "--", "sh", "-c", "echo $BROKERSIM_URI; read x"],
        env=environment(home),
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    assert process.stdin is not None
    assert process.stdout is not None
    yield process.stdout.readline().strip()
    process.stdin.close()
    assert process.wait(TIMEOUT) in (0, 1)


@pytest.fixture(scope="module")
def short_tmp(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder whose name leaves room for a socket's."""
    return tmp_path_factory.mktemp("s")


@pytest.fixture(scope="module")
def uri(short_tmp: Path) -> Iterator[str]:
    """An instance of three ranks with all shipped modules; it ends when its command's stdin does."""
    with started(short_tmp, "start", "-s", "3", "--seed", "7", "--stats", "mem:") as uri:
        yield uri


@pytest.fixture
def detached(tmp_path: Path) -> Iterator[Detached]:
    """Starts instances in the background; address and pid. Whatever is left of them is killed at the end."""
    pids: list[int] = []

    def start(*words: str) -> tuple[str, int]:
        done = brokersim(tmp_path, "start", "-d", "-m", "none", *words)
        match = re.fullmatch(r"(local://\S+/local-0)  pid (\d+)  size \d+\n", done.stdout)
        assert match is not None, done
        pids.append(int(match[2]))
        return match[1], pids[-1]

    yield start
    for pid in pids:
        with suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)


@pytest.fixture
def here(run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Run:
    """Runs commands in process where `detached` has its instances, and no other instance is found."""
    for name in [name for name in os.environ if name.startswith(("BROKERSIM_", "FLUX_"))]:
        monkeypatch.delenv(name)
    for name, value in environment(tmp_path).items():
        monkeypatch.setenv(name, value)
    monkeypatch.setattr(tempfile, "tempdir", None)  # it remembers TMPDIR
    monkeypatch.chdir(tmp_path)
    return run


@pytest.fixture
def live(uri: str, run: Run, monkeypatch: pytest.MonkeyPatch) -> Run:
    """Runs commands in process, talking to the live instance."""
    monkeypatch.setenv("BROKERSIM_URI", uri)
    monkeypatch.delenv("FLUX_URI", raising=False)
    return lambda *words, **options: run("--timeout", "20s", *words, **options)


@pytest.fixture
def hello(tmp_path: Path) -> Path:
    path = tmp_path / "hello.py"
    path.write_text(HELLO)
    return path


# --- one instance, all commands


def test_status_uptime_version(live: Run) -> None:
    status = live("status", "--json").json
    assert (status["size"], status["online"], status["clock"], status["seed"]) == (3, 3, "real", 7)
    assert live("status").out.startswith("size 3 (3 online)  uptime ")
    assert re.fullmatch(r"run [\d.]+s,  owner \S+,  depth 0,  size 3\n", live("uptime").out)
    assert "instance:" in live("version").out


def test_attributes(live: Run) -> None:
    assert live("getattr", "size") == (0, "3\n", "")
    assert live("setattr", "test.mine", "3").code == 0
    assert live("getattr", "test.mine").out == "3\n"
    assert {"rank", "size", "tbon.topo"} <= set(live("lsattr", "--json").json["names"])
    assert live("setattr", "rank", "3").err.startswith(
        "error: attr.set: attribute 'rank' may not be updated (EINVAL)"
    )
    assert live("getattr", "sise").err.splitlines()[1] == "  hint: a similar one is set: size"


def test_each_rank_has_a_socket_of_its_own(live: Run, uri: str) -> None:
    other = uri.replace("local-0", "local-2")
    assert live("-u", other, "getattr", "rank").out == "2\n"
    folder = Path(uri.removeprefix("local://")).parent
    assert stat.S_IMODE(folder.stat().st_mode) == 0o700


def test_kvs_values(live: Run) -> None:
    assert live("kvs", "put", "t.b=42", "t.c=x y").code == 0
    assert live("kvs", "get", "t.b", "t.c").out == "42\nx y\n"
    assert live("kvs", "link", "t.b", "t.l").code == live("kvs", "mkdir", "t.d").code == 0
    assert live("kvs", "dir", "t").out == "t.b = 42\nt.c = x y\nt.d.\nt.l -> t.b\n"
    assert live("kvs", "ls", "-F", "t").out == "b\nc\nd.\nl@\n"
    assert live("kvs", "get", "t.l").out == "42\n"
    assert live("kvs", "readlink", "t.l").out == "t.b\n"
    assert live("kvs", "unlink", "t").err.startswith("error: key 't' is a directory with 4 entries\n")
    assert live("kvs", "unlink", "-R", "t").code == 0
    assert live("kvs", "get", "t.b").code == 4


def test_kvs_roots_and_namespaces(live: Run) -> None:
    assert live("kvs", "namespace", "create", "ns1").code == 0
    assert live("kvs", "getroot", "-N", "ns1", "-b").out == f"{EMPTY_DIR_REF}\n"
    # the first commit in a fresh namespace, root hash as flux-core 0.88 has it
    answer = live("kvs", "put", "-N", "ns1", "q=1", "--json").json
    assert answer == {"rootref": "sha1-465513047ac02de9e99956de8ce6365189b4f329", "rootseq": 1}
    assert live("kvs", "version", "-N", "ns1").out == "1\n"
    assert live("kvs", "wait", "-N", "ns1", "1").out == "1\n"
    assert "ns1" in live("kvs", "namespace", "list", "--tsv", "-n").out
    assert live("kvs", "namespace", "create", "ns1").err.startswith("error: namespace 'ns1' exists already")
    assert live("kvs", "namespace", "remove", "ns1").code == 0
    assert live("kvs", "get", "-N", "ns1", "q").err.startswith("error: no namespace 'ns1' (ENOTSUP)")


def test_kvs_put_on_another_rank_is_read_there_and_here(live: Run, uri: str) -> None:
    other = uri.replace("local-0", "local-2")
    assert live("-u", other, "kvs", "put", "far=away").code == 0
    assert live("-u", other, "kvs", "get", "far").out == "away\n"
    assert live("kvs", "get", "far").out == "away\n"


def test_kvs_eventlogs(live: Run) -> None:
    for name in ("one", "two"):
        assert live("kvs", "eventlog", "append", "-t", "1.5", "events", name, '{"n":1}').code == 0
    assert live("kvs", "eventlog", "get", "events").out == '1.500000 one {"n":1}\n1.500000 two {"n":1}\n'


def test_large_values_and_binary_ones(live: Run) -> None:
    blob = bytes(range(256)) * 4000
    assert live("kvs", "put", "-r", "bin=-", stdin=blob).code == 0
    assert live("kvs", "get", "-r", "bin").out.encode(errors="surrogateescape") == blob


def test_content(live: Run) -> None:
    ref = live("content", "store", stdin=b"hello\n").out.strip()
    assert ref == "sha1-f572d396fae9206628714fb2ce00f72e94f2258f"
    assert live("content", "flush").code == live("content", "dropcache").code == 0
    assert live("content", "load", ref).out == "hello\n"
    assert live("content", "load", f"sha1-{'0' * 40}").code == 4
    assert live("content", "stats", "--latency", "--json").json["load"]["count"] >= 1


def test_module_list_shows_what_runs(live: Run) -> None:
    mods = live("module", "list", "--json").json["mods"]
    assert [mod["name"] for mod in mods] == [
        "heartbeat", "content-cache", "content-sqlite", "kvs", "kvs-watch", "cron", "resource", "job-manager",
        "job-ingest", "job-list", "job-info", "sched", "job-exec",
    ]  # fmt: skip
    assert all(mod["status"] == 1 for mod in mods)
    rows = [
        line.split("\t")[:2] for line in live("module", "list", "-r", "2", "--tsv", "-n").out.splitlines()
    ]
    assert dict(rows)["kvs"].isdecimal(), "seconds it has been idle, however busy the machine is"


def test_module_life(live: Run, hello: Path) -> None:
    assert live("module", "load", str(hello), "a=1") == (0, "", "")
    assert live("rpc", "hello.info", "--json").json == {"hello": "hello", "args": ["a=1"]}
    twice = live("module", "load", str(hello))
    assert (twice.code, "already loaded" in twice.err) == (4, True)
    assert live("module", "load", "-n", "hello2", str(hello)).code == 0
    assert live("rpc", "hello2.info", "--json").json["hello"] == "hello2"
    hello.write_text(HELLO.replace('"hello":', '"bye":'))
    assert live("module", "reload", "hello").code == 0
    assert "bye" in live("rpc", "hello.info").out
    assert live("module", "remove", "hello").code == live("module", "remove", "hello2").code == 0
    assert live("rpc", "hello.info").err.startswith(
        "error: No service matching hello.info is registered (ENOSYS)"
    )


@pytest.mark.parametrize(
    ("code", "text"),
    [
        ("x = 1\n", "subclass of BrokerModule"),
        ("1/0\n", "ZeroDivisionError"),
        ("def f(:\n", "SyntaxError"),
        ("import nothing_of_this_name\n", "nothing_of_this_name"),
    ],
    ids=["no handlers", "raises", "syntax", "import"],
)
def test_a_bad_module_file_is_told_in_one_line(code: str, text: str, live: Run, tmp_path: Path) -> None:
    path = tmp_path / "bad.py"
    path.write_text(code)
    result = live("module", "load", str(path))
    assert result.code == 4
    assert text in result.err.splitlines()[0]
    assert "Traceback" not in result.err
    assert "bad" not in live("module", "list").out


def test_a_module_that_crashes_leaves_the_rest_running(live: Run, hello: Path) -> None:
    live("module", "load", str(hello))
    crash = live("rpc", "hello.crash")
    assert (crash.code, "EHOSTUNREACH" in crash.err) == (4, True)
    assert "KeyError" in live("dmesg").out
    live("module", "remove", "-f", "hello")
    assert live("ping", "-c", "1", "kvs").code == 0


def test_module_debug_and_hook(live: Run) -> None:
    masks = [live("module", "debug", *words, "kvs").out for words in (
        (), ("-s", "0x1000"), ("-c", "msgcount"), ("-S", "0x1003"), ("-C",),
    )]  # fmt: skip
    assert masks == ["0x0\n", "0x1000\n", "0x0\n", "0x1003\n", "0x0\n"], "flux-protocol 15.3"
    assert live("module", "debug", "-s", "0x1000", "--hook", "check", "cron").out == "0x1000\n"
    (mod,) = [one for one in live("module", "list", "--json").json["mods"] if one["name"] == "cron"]
    assert (mod["mask"], mod["hook"]) == (0x1000, "check")
    live("module", "debug", "-C", "cron")
    assert (
        live("module", "debug", "--all", "kvs", "--tsv", "-n").out
        == "0\tkvs\t0x0\n1\tkvs\t0x0\n2\tkvs\t0x0\n"
    )


def let_leave(uri: str) -> None:
    """Returns when the instance has noticed the end of every client that has left: twice round its loop."""
    with Client.connect(uri) as client:
        for _ in range(2):
            client.rpc("broker.ping", {})


def test_module_stats_count_a_put_and_not_themselves(uri: str, live: Run) -> None:
    let_leave(uri)
    live("module", "stats", "-c", "kvs")
    live("kvs", "put", "q=1")
    let_leave(uri)
    stats = live("module", "stats", "kvs", "--json").json
    let_leave(uri)
    # rx request: the put, its disconnect, the disconnect of the clear, and this one; tx response: clear and put
    assert stats["rx"]["request"] == 4
    assert (stats["tx"]["response"], stats["tx"]["event"]) == (2, 1)
    assert live("module", "stats", "-p", "rx.request", "kvs").out == "6\n", "each call is two requests"
    assert float(live("module", "stats", "-R", "-p", "utime", "kvs").out) > 0


def test_module_stats_delta_of_an_idle_module_is_nothing(live: Run) -> None:
    (moved,) = live("module", "stats", "--delta", "50ms", "sched", "--json").json["deltas"]
    assert moved["tx"]["request"] == moved["tx"]["response"] == moved["rx"]["request"] == 0


def test_module_trace_shows_a_ping(uri: str, live: Run, short_tmp: Path) -> None:
    words = [
        *BROKERSIM,
        "-u",
        uri,
        "module",
        "trace",
        "--json",
        "--latency",
        "-T",
        "kvs.ping",
        "-c",
        "2",
        "kvs",
    ]
    with subprocess.Popen(words, stdout=subprocess.PIPE, text=True, env=environment(short_tmp)) as trace:
        assert trace.stdout is not None
        with Client.connect(uri, timeout=TIMEOUT) as client:
            # ping until the trace has begun; every ping is traced as a request and a response
            while not select.select([trace.stdout], [], [], 0.02)[0]:
                client.rpc("kvs.ping", {"seq": 1})
        lines = trace.stdout.read().splitlines()
    assert len(lines) == 2
    assert '"type":1' in lines[0]
    assert '"latency_ms"' in lines[1]


def test_ping_rpc_and_unknown_ranks(live: Run) -> None:
    assert live("ping", "-i", "0", "-c", "5", "2!kvs").out.count("\n") == 5
    assert live("rpc", "-r", "9", "kvs.getroot", '{"namespace":"primary"}').code == 4
    assert live("ping", "-c", "1", "9!kvs").err.startswith(
        "error: 9!kvs.ping: No route to host (EHOSTUNREACH)"
    )
    assert live("rpc", "kvs.nosuch").err.startswith("error: Unknown service method 'kvs.nosuch' (ENOSYS)")
    assert live("rpc", "kvs.lookup", '{"key":1}').code == 4
    assert live("rpc", "kvs.lookup").code == 4


def test_events_reach_a_subscriber(live: Run, uri: str) -> None:
    with Client.connect(uri, timeout=TIMEOUT) as client:
        client.subscribe("news")
        assert live("event", "pub", "news.a", '{"n":1}').code == 0
        seq = int(live("event", "pub", "-s", "news.b").out)
        first, second = client.recv_event(), client.recv_event()
    assert [(first.topic, first.payload), (second.topic, second.data)] == [
        ("news.a", {"n": 1}),
        ("news.b", None),
    ]
    assert (second.seq, first.seq) == (seq, seq - 1)


def test_jobs_to_their_end(live: Run) -> None:
    result = live("job", "submit", "--cc=1-20", "-t", "1ms", "--wait", "--json", "a")
    assert (result.code, len(result.json["jobs"])) == (0, 20)
    (identity,) = live("job", "submit", "-t", "1h", "long").out.split()
    assert "long" in live("job", "list").out
    assert live("job", "cancel", identity).code == 0
    waited = live("job", "wait", identity)
    assert waited.code == 1
    assert waited.err.startswith(identity)
    names = [one["name"] for one in live("job", "eventlog", "-w", identity, "--json").lines]
    assert names[:2] == ["submit", "validate"]
    assert names[-1] == "clean"
    assert [one["name"] for one in live("job", "eventlog", identity, "--json").lines] == names
    assert "CANCELED" in live("job", "list", "-a", "-o", "{id} {status}").out
    assert live("job", "cancel", "ƒ1").err.startswith("error: no job ƒ1 (ENOENT)")


def test_a_real_job_gives_its_output_and_exit_code(live: Run) -> None:
    result = live("job", "run", "-x", "sh", "-c", "echo out; echo err >&2; exit 3")
    assert result.code == 3
    assert result.out == "out\n"
    assert "err\n" in result.err


def test_a_real_job_reads_what_job_run_is_given(tmp_path: Path) -> None:
    script = r"printf 'b\na\n' | brokersim job run -x sort; brokersim job submit -x --wait cat > /dev/null; echo $?"
    done = brokersim(tmp_path, "start", "--", "sh", "-c", script, stdin="not for it")
    assert done.stdout == "a\nb\n0\n", done.stderr


def test_kvs_get_watches_and_waits_as_fluxs_does(live: Run) -> None:
    live("kvs", "put", "watched.k=1")
    assert live("kvs", "get", "-w", "-c", "1", "watched.k").out == "1\n"
    assert live("kvs", "get", "-W", "-l", "watched.k").out == "watched.k=1\n"
    assert live("kvs", "get", "-w", "-u", "-c", "1", "--json", "watched.k").lines == [
        {"key": "watched.k", "value": "1"}
    ]
    assert live("kvs", "get", "-u", "watched.k").code == 2
    assert live("kvs", "get", "-w", "a", "b").code == 2
    assert live("kvs", "stats", "--json").json["namespace"]["primary"]["store revision"] >= 1


def test_a_job_that_cannot_run_is_told(live: Run) -> None:
    result = live("job", "run", "-n", "1000", "a")
    assert result.code == 1
    assert "unsatisfiable" in result.err or "alloc" in result.err


def test_cron_entries(live: Run) -> None:
    assert live("cron", "interval", "-N", "mine", "1h", "true").out.startswith("interval: cron-")
    (entry,) = live("cron", "list", "--json").json["entries"]
    identity = str(entry["id"])
    assert (entry["name"], entry["type"], entry["typedata"]["interval"]) == ("mine", "interval", 3600.0)
    assert live("cron", "stop", identity).code == 0
    assert "stopped" in live("cron", "list").out
    assert live("cron", "start", identity).code == 0
    assert live("cron", "event", "-n", "2", "tick", "true").code == 0
    assert live("cron", "at", "+1h", "true").code == 0
    assert len(live("cron", "list", "-n", "--tsv").out.splitlines()) == 3
    for one in live("cron", "list", "--json").json["entries"]:
        assert live("cron", "delete", str(one["id"])).code == 0
    assert live("cron", "delete", identity).err.startswith(f"error: no cron entry {identity} (ENOENT)")
    assert live("cron", "sync").out.startswith("heartbeat.pulse")


def test_dmesg(live: Run) -> None:
    assert live("dmesg", "--json").code == 0
    assert live("dmesg", "-C").code == 0


def test_a_client_that_sends_garbage_harms_only_itself(live: Run, uri: str) -> None:
    path = uri.removeprefix("local://")
    for garbage in (b"GET / HTTP/1.0\r\n\r\n", bytes.fromhex("1200eeff40000000"), b"\x12\x00", b""):
        with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as raw:
            raw.settimeout(TIMEOUT)
            raw.connect(path)
            assert raw.recv(1) == b"\0"
            raw.sendall(garbage)
            if len(garbage) > 4:
                assert raw.recv(1) == b"", "a wrong frame ends the connection"
    assert live("ping", "-c", "1", "kvs").code == 0


# --- instances of their own


def test_a_shell_inside_and_the_first_minutes(short_tmp: Path) -> None:
    script = "brokersim kvs put a.b=42 && brokersim kvs get a.b\necho $FLUX_URI $BROKERSIM_URI\nexit 5\n"
    done = brokersim(short_tmp, "start", "-m", "content-cache,kvs", "--seed", "7", stdin=script)
    assert done.returncode == 5
    first, uris = done.stdout.splitlines()
    assert first == "42"
    assert len(set(uris.split())) == 1
    assert done.stderr == "brokersim 0.1.0 · size 1 · 2 modules · seed 7 · 'exit' stops it\n"


def test_detached_found_without_a_name_and_stopped(here: Run, detached: Detached) -> None:
    uri, _ = detached("-s", "2")
    assert here("getattr", "size").out == "2\n"
    assert here("stop").code == 0
    assert not Path(uri.removeprefix("local://")).exists()
    gone = here("status")
    assert gone.code == 3
    assert "no instance of yours is running" in gone.err


def test_a_killed_instance_leaves_a_socket_that_is_taken_for_dead(
    tmp_path: Path, here: Run, detached: Detached
) -> None:
    uri, pid = detached()
    with Client.connect(uri, timeout=TIMEOUT) as client:
        os.kill(pid, signal.SIGKILL)
        with pytest.raises(Lost):
            client.recv()
    folder = Path(uri.removeprefix("local://")).parent
    assert folder.exists()
    assert here("status").code == 3
    assert brokersim(tmp_path, "start", "-m", "none", "--", "true").returncode == 0
    assert not folder.exists(), "the next start removes it"


def test_two_instances_must_be_told_apart(here: Run, detached: Detached) -> None:
    uris = [detached()[0], detached()[0]]
    unsure = here("status")
    assert (unsure.code, "2 instances of yours are running" in unsure.err) == (3, True)
    for uri in uris:
        assert here("-u", uri, "stop").code == 0


def test_a_command_that_cannot_be_run(tmp_path: Path) -> None:
    done = brokersim(tmp_path, "start", "-m", "none", "--", "./no-such-command")
    assert done.returncode == 127
    assert done.stderr.startswith("error: cannot run './no-such-command': No such file or directory")
    assert "Traceback" not in done.stderr


@pytest.mark.parametrize(
    ("words", "text"),
    [
        (("-m", "kvs,nothing"), "nothing"),
        (("--statedir", "/proc/none"), "state directory /proc/none"),
        (("--rundir", "x" * 120), "socket path"),
    ],
)
def test_what_cannot_start_says_so(words: tuple[str, ...], text: str, tmp_path: Path) -> None:
    done = brokersim(tmp_path, "start", *words, "--", "true")
    assert done.returncode in (1, 2)
    errors = [line for line in done.stderr.splitlines() if line.startswith("error: ")]
    assert len(errors) == 1 and text in errors[0]
    assert "Traceback" not in done.stderr
    assert not list(tmp_path.glob("xxx*"))


def test_a_state_directory_keeps_keys_between_runs(tmp_path: Path) -> None:
    for command, out in (("brokersim kvs put keep=1", ""), ("brokersim kvs get keep", "1\n")):
        done = brokersim(tmp_path, "start", "--statedir", str(tmp_path / "state"), "--", "sh", "-c", command)
        assert (done.returncode, done.stdout) == (0, out), done.stderr


def test_the_virtual_clock_runs_hours_of_jobs_in_no_time(tmp_path: Path) -> None:
    script = (
        "brokersim job submit --cc=1-3 -t 2h a >/dev/null; brokersim job wait --all; brokersim job list -a"
    )
    done = brokersim(tmp_path, "start", "--clock", "virtual", "--", "sh", "-c", script)
    assert done.returncode == 0, done.stderr
    assert done.stdout.count("CD") == 3


def test_an_instance_that_ends_under_a_client_is_exit_3(tmp_path: Path, detached: Detached) -> None:
    uri, _ = detached()
    words = [*BROKERSIM, "-u", uri, "event", "sub", "x"]
    pipes: Any = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
    with subprocess.Popen(words, env=environment(tmp_path), **pipes) as sub:
        with Client.connect(uri, timeout=TIMEOUT) as client:
            while not select.select([sub.stdout], [], [], 0.02)[0]:  # until it has subscribed and seen one
                client.publish("x")
            client.rpc("broker.stop")
        _, err = sub.communicate(timeout=TIMEOUT)
    assert sub.returncode == 3
    assert err.splitlines()[0] == f"error: {uri}: the instance closed the connection"


# --- several instances


def test_ps_lists_what_runs_by_name_and_a_name_stands_for_the_address(
    detached: Detached, here: Run, tmp_path: Path
) -> None:
    first, pid = detached("--name", "dev")
    second, _ = detached("-s", "2", "--clock", "virtual")
    rows = {row["name"]: row for row in here("ps", "--json").json}
    assert rows["dev"] == {
        "name": "dev",
        "uri": first,
        "pid": pid,
        "size": 1,
        "clock": "real",
        "command": None,
        "uptime": rows["dev"]["uptime"],
    }
    (other,) = set(rows) - {"dev"}
    assert (rows[other]["uri"], rows[other]["size"], rows[other]["clock"]) == (second, 2, "virtual")
    assert here("-u", "dev", "getattr", "local-uri").out == f"{first}\n"
    unnamed = here("status")
    assert (unnamed.code, "2 instances of yours are running" in unnamed.err) == (3, True)
    assert "brokersim ps" in unnamed.err
    wrong = here("-u", "nobody", "status")
    assert (wrong.code, "no instance of yours is called 'nobody'" in wrong.err) == (3, True)
    taken = brokersim(tmp_path, "start", "-d", "--name", "dev")
    assert (taken.returncode, "'dev' is running already" in taken.stderr) == (1, True)
    assert here("-u", "dev", "stop").code == 0
    assert [row["name"] for row in here("ps", "--json").json] == [other]


def test_ps_names_an_instance_that_does_not_answer_and_is_not_held_up(here: Run, tmp_path: Path) -> None:
    folder = tmp_path / "brokersim" / "stuck"
    folder.mkdir(parents=True)
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(folder / "local-0"))
        listener.listen()
        done = here("ps")
    assert done.out.splitlines()[1].split() == [
        *("stuck", "-", "-", "no", "answer", "-", "-"),
        f"local://{folder}/local-0",
    ]


def test_ps_shows_the_command_inside(short_tmp: Path, uri: str) -> None:
    rows = json.loads(brokersim(short_tmp, "ps", "--json").stdout)
    assert [row["command"] for row in rows if row["uri"] == uri] == ["sh -c 'echo $BROKERSIM_URI; read x'"]


def test_a_detached_start_tells_in_json(detached: Detached, here: Run, tmp_path: Path) -> None:
    done = brokersim(tmp_path, "start", "-d", "-m", "none", "--name", "one", "--json")
    told = json.loads(done.stdout)
    assert (told["name"], told["size"], told["uri"].endswith("/one/local-0")) == ("one", 1, True)
    assert here("-u", told["uri"], "stop").code == 0


def test_stop_ends_an_instance_whose_time_stands_still(detached: Detached, here: Run) -> None:
    """Under the virtual clock what a client's request put off "until this turn is over" needs no time to pass."""
    uri, _ = detached("--clock", "virtual")
    assert here("-u", uri, "--timeout", "10s", "stop").code == 0
