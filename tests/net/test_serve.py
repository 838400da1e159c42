"""`start`: the command inside and its exit code, folders and what is left in them, signals, and every refusal."""

from __future__ import annotations

import os
import re
import select
import signal
import socket
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

import pytest

from brokersim.net import run_folder, serve
from brokersim.net.client import Client
from brokersim.net.last_resort import HELD
from brokersim.net.options import StartError, StartOptions
from brokersim.net.serve import run_instance

SOURCE = Path(__file__).parents[2] / "src"


@pytest.fixture(autouse=True)
def runtime(tmp_path, monkeypatch) -> Path:
    """Where this user's instances leave their sockets: a short folder of the test's own."""
    folder = tmp_path / "run"
    folder.mkdir()
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(folder))
    monkeypatch.setenv("PYTHONPATH", str(SOURCE))
    monkeypatch.delenv("BROKERSIM_URI", raising=False)
    monkeypatch.delenv("FLUX_URI", raising=False)
    return folder


def start(*command: str, **options: Any) -> int:
    return run_instance(StartOptions(command=command, **{"modules": (), **options}))


def shell(text: str, **options: Any) -> int:
    return start("sh", "-c", text, **options)


# -- the command inside


@pytest.mark.parametrize(
    ("text", "code"), [("exit 0", 0), ("exit 7", 7), ("kill -9 $$", 137), ("kill -TERM $$", 143)]
)
def test_the_exit_code_is_the_commands(text, code):
    assert shell(text) == code


@pytest.mark.parametrize("clock", ["real", "virtual", "real*8"])
def test_the_command_finds_the_instance_in_its_environment(tmp_path, clock):
    out = tmp_path / "out"
    text = '[ "$BROKERSIM_URI" = "$FLUX_URI" ] && [ -S "${BROKERSIM_URI#local://}" ]'
    assert shell(f"{text} && echo ok >{out}", clock=clock) == 0
    assert out.read_text() == "ok\n"


def test_the_socket_lies_in_a_folder_only_this_user_may_enter_and_both_go_at_the_end(tmp_path, runtime):
    out = tmp_path / "out"
    assert (
        shell(f'echo "$BROKERSIM_URI" >{out}; stat -c %a "$(dirname "${{BROKERSIM_URI#local://}}")" >>{out}')
        == 0
    )
    uri, mode = out.read_text().split()
    folder = Path(uri.removeprefix("local://")).parent
    assert folder.parent == runtime / "brokersim"
    assert mode == "700"
    assert list((runtime / "brokersim").iterdir()) == []


@pytest.mark.parametrize(
    ("is_there", "cleanup", "stays"),
    [(True, None, True), (False, None, False), (True, "1", False), (False, "0", True)],
)
def test_a_chosen_run_directory_goes_if_it_was_made_for_the_instance_or_the_attribute_says_so(
    tmp_path, is_there, cleanup, stays
):
    chosen, out = tmp_path / "mine", tmp_path / "out"
    if is_there:
        chosen.mkdir(mode=0o700)
    attributes = {} if cleanup is None else {"rundir-cleanup": cleanup}
    text = f"stat -c %a {chosen} >{out}; brokersim getattr rundir-cleanup >>{out}"
    assert shell(text, run_dir=chosen, size=3, attrs=attributes) == 0
    assert out.read_text() == ("700\n0\n" if stays else "700\n1\n")
    assert chosen.exists() == stays
    assert not stays or list(chosen.iterdir()) == []


def test_in_a_run_directory_where_all_may_write_the_instance_has_one_of_its_own(tmp_path):
    chosen, out = tmp_path / "tmp", tmp_path / "out"
    chosen.mkdir()
    chosen.chmod(0o1777)
    assert shell(f"brokersim getattr rundir >{out}", run_dir=chosen) == 0
    assert Path(out.read_text().strip()).parent == chosen
    assert list(chosen.iterdir()) == []


@pytest.mark.parametrize("cleanup", [None, "1"])
def test_a_state_directory_that_was_named_stays_unless_the_attribute_says_otherwise(tmp_path, cleanup):
    chosen = tmp_path / "state"
    attributes = {} if cleanup is None else {"statedir-cleanup": cleanup}
    assert shell(f"touch {chosen}/kept", state_dir=chosen, attrs=attributes) == 0
    assert (chosen / "kept").exists() == (cleanup is None)


def test_state_that_nobody_asked_to_be_kept_lies_beside_the_sockets_and_goes_with_them(tmp_path, runtime):
    out = tmp_path / "out"
    assert (
        shell(
            f"brokersim getattr statedir >{out}; touch $(cat {out})/x",
            modules=("content-cache", "content-sqlite"),
        )
        == 0
    )
    state = Path(out.read_text().strip())
    assert (state.name, state.parent.parent) == ("state", runtime / "brokersim")
    assert list((runtime / "brokersim").iterdir()) == []


def test_a_folder_called_state_that_was_in_the_run_directory_is_nobodys_to_remove(tmp_path):
    (tmp_path / "state").mkdir()
    (tmp_path / "state" / "thesis.txt").write_text("years of work")
    assert shell("exit 0", run_dir=tmp_path) == 0
    assert (tmp_path / "state" / "thesis.txt").exists()
    (tmp_path / "state" / "thesis.txt").unlink()
    (tmp_path / "state").rmdir()
    (tmp_path / "state").write_text("a file")
    with pytest.raises(StartError, match=r"state directory .*/state: File exists"):
        shell("exit 0", run_dir=tmp_path)


def test_a_state_directory_that_was_named_stays_in_a_run_directory_that_would_go(tmp_path):
    chosen = tmp_path / "mine"
    assert shell(f"touch {chosen}/kept/here", run_dir=chosen, state_dir=chosen / "kept") == 0
    assert [path.name for path in chosen.rglob("*")] == ["kept", "here"]


def test_a_run_directory_its_owner_may_not_use_is_refused(tmp_path):
    chosen = tmp_path / "mine"
    chosen.mkdir(mode=0o500)
    with pytest.raises(StartError, match="does not have owner=rwx permissions"):
        shell("exit 0", run_dir=chosen)


def test_a_module_of_the_users_own_is_loaded(tmp_path):
    fixtures = Path(__file__).parents[1] / "host" / "fixture_modules"
    assert shell("exit 0", modules=("kinds",), module_path=(fixtures,)) == 0


# -- refusals


REFUSALS: dict[str, tuple[dict[str, Any], str]] = {
    "unknown command": ({"command": ("/nosuch/command",)}, "cannot run '/nosuch/command': No such file or directory"),
    "a folder as command": ({"command": ("/",)}, "cannot run '/': Permission denied"),
    "unknown module": ({"modules": ("nosuch",)}, "module 'nosuch' on rank 0: no module 'nosuch'"),
    "run directory under a file": ({"run_dir": Path("/dev/null/x")}, "run directory /dev/null/x: Not a directory"),
    "run directory in none": ({"run_dir": Path("none/x")}, "/none/x: No such file or directory"),
    "run directory not writable": ({"run_dir": Path("/proc/x")}, "run directory /proc/x: "),
    "run directory not its owner's": ({"run_dir": Path("/proc")}, "run directory /proc does not have owner=rwx"),
    "state directory under a file": (
        {"state_dir": Path("/dev/null/x")}, "state directory /dev/null/x: Not a directory"
    ),
    "state directory not writable": (
        {"state_dir": Path("/proc"), "modules": ("content-sqlite",)}, "module 'content-sqlite' on rank 0: "
    ),
    "unknown statsd host": ({"stats": "no.such.host.invalid:8125"}, "statsd address 'no.such.host.invalid:8125'"),
}  # fmt: skip


@pytest.mark.parametrize("what", REFUSALS)
def test_what_cannot_start_says_why_and_leaves_nothing(runtime, what):
    options, text = REFUSALS[what]
    with pytest.raises(StartError) as caught:
        run_instance(StartOptions(**{"modules": (), "command": ("true",), **options}))
    assert text in str(caught.value)
    left = runtime / "brokersim"
    assert not left.exists() or list(left.iterdir()) == []


@pytest.mark.parametrize(
    ("mode", "code", "hint"),
    [
        (0o755, 126, "its first line names no program to read it, such as #!/bin/sh"),
        (0o644, 126, ""),
        (None, 127, ""),
    ],
    ids=["no first line", "no program", "not there"],
)
def test_a_command_that_cannot_be_run_ends_as_in_a_shell(tmp_path, mode, code, hint):
    script = tmp_path / "test.sh"
    if mode is not None:
        script.write_text("exit 0\n")
        script.chmod(mode)
    with pytest.raises(StartError) as caught:
        start(str(script))
    assert (caught.value.code, caught.value.hint) == (code, hint)


class Failing:
    """Watches an instance, and has it fail when its command has begun."""

    def begin(self, instance: Any) -> None:
        self.instance = instance

    def ready(self) -> None:
        self.instance.fail("module runtime failure: one")

    async def end(self) -> None:
        """The command is ended with the instance."""


def test_an_instance_that_fails_ends_its_command_and_says_why():
    with pytest.raises(StartError, match=r"^module runtime failure: one$"):
        run_instance(StartOptions(command=("sleep", "100"), modules=()), Failing())


def test_a_path_too_long_for_a_socket_says_the_limit(tmp_path):
    with pytest.raises(StartError, match=r"longer than a Unix socket allows \(107 bytes\)"):
        shell("exit 0", run_dir=tmp_path / ("x" * 100))
    assert not list(tmp_path.glob("xxx*"))


@pytest.mark.parametrize("is_there", [False, True])
def test_a_start_that_fails_leaves_no_run_directory_that_it_made(tmp_path, is_there):
    chosen = tmp_path / "mine"
    if is_there:
        chosen.mkdir()
    with pytest.raises(StartError, match="such-module"):
        shell("exit 0", run_dir=chosen, modules=("such-module",))
    assert chosen.exists() == is_there


@pytest.mark.parametrize("attrs", [{}, {"rundir-cleanup": "1"}])
def test_a_run_directory_of_a_live_instance_is_refused_and_the_instance_unharmed(tmp_path, attrs):
    chosen = tmp_path / "mine"
    (chosen / "state").mkdir(parents=True)
    (chosen / "state" / "kept").write_text("by a module of it")
    with socket.socket(socket.AF_UNIX) as alive:
        alive.bind(str(chosen / "local-0"))
        alive.listen()
        with pytest.raises(StartError, match="a live instance listens there already"):
            shell("exit 0", run_dir=chosen, attrs=attrs)
        assert (chosen / "local-0").is_socket()
        assert (chosen / "state" / "kept").exists()


def test_a_state_directory_a_start_was_refused_with_stays_whatever_was_to_become_of_it(tmp_path):
    (tmp_path / "kept").write_text("by another instance")
    with pytest.raises(StartError, match="such-module"):
        shell("exit 0", state_dir=tmp_path, attrs={"statedir-cleanup": "1"}, modules=("such-module",))
    assert (tmp_path / "kept").exists()


def test_a_run_directory_of_a_killed_instance_is_taken_over(tmp_path):
    chosen = tmp_path / "mine"
    chosen.mkdir()
    with socket.socket(socket.AF_UNIX) as dead:
        dead.bind(str(chosen / "local-0"))
    assert shell("exit 0", run_dir=chosen) == 0


def test_what_killed_instances_left_is_swept_and_what_lives_is_not(runtime):
    parent = runtime / "brokersim"
    for name in ("dead", "alive"):
        (parent / name / "state").mkdir(parents=True)
        (parent / name / "jobtmp-0-ƒA").mkdir()
    with socket.socket(socket.AF_UNIX) as dead:
        dead.bind(str(parent / "dead" / "local-0"))
    with socket.socket(socket.AF_UNIX) as alive:
        alive.bind(str(parent / "alive" / "local-0"))
        alive.listen()
        assert shell("exit 0") == 0
        assert [folder.name for folder in parent.iterdir()] == ["alive"]
        assert (parent / "alive" / "state").exists()
        assert (parent / "alive" / "jobtmp-0-ƒA").exists()


@pytest.mark.parametrize("folder", ["state", "jobtmp-0-ƒA"])
def test_what_modules_or_jobs_of_a_killed_instance_kept_is_not_swept(runtime, folder):
    state = runtime / "brokersim" / "dead" / folder
    state.mkdir(parents=True)
    (state / "kept").write_text("by a module")
    with socket.socket(socket.AF_UNIX) as dead:
        dead.bind(str(state.parent / "local-0"))
    assert shell("exit 0") == 0
    assert (state / "kept").exists()


def test_the_sweep_deletes_nothing_that_is_no_dead_socket_of_ours(runtime, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    parent = runtime / "brokersim"
    for name in ("with-file", "of-links", "empty", "of-another-name", "alive"):
        (parent / name).mkdir(parents=True)
    (parent / "open").mkdir(mode=0o777)
    (parent / "open").chmod(0o777)
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    (parent / "link").symlink_to(elsewhere)
    dead_ones = ("with-file/local-0", "open/local-0", "of-another-name/mine", "alive/local-1")
    for path in (elsewhere / "local-0", *(parent / name for name in dead_ones)):
        with socket.socket(socket.AF_UNIX) as dead:
            dead.bind(str(path.relative_to(tmp_path)))  # a whole path may be longer than a socket's address
    (parent / "with-file" / "thesis.txt").write_text("years of work")
    (parent / "of-links" / "local-0").symlink_to(elsewhere / "local-0")
    with socket.socket(socket.AF_UNIX) as alive:
        alive.bind(str(parent / "alive" / "local-0"))
        alive.listen()
        before = sorted(runtime.rglob("*")) + sorted(elsewhere.iterdir())
        assert shell("exit 0") == 0
        assert sorted(runtime.rglob("*")) + sorted(elsewhere.iterdir()) == before


def test_a_pre_made_folder_for_the_sockets_is_refused_with_a_way_out(runtime, tmp_path, monkeypatch):
    """A link of somebody else's in /tmp was followed, and what lay behind it was swept."""
    theirs = tmp_path / "theirs"
    theirs.mkdir()
    (theirs / "dead").mkdir()
    with socket.socket(socket.AF_UNIX) as dead:
        dead.bind(str(theirs / "dead" / "local-0"))
    monkeypatch.delenv("XDG_RUNTIME_DIR")
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    made = tmp_path / f"brokersim-{os.getuid()}"
    made.symlink_to(theirs)
    with pytest.raises(StartError, match=f"{made} is a link; give one of your own with --rundir or XDG_RUN"):
        shell("exit 0")
    assert (theirs / "dead" / "local-0").is_socket()
    made.unlink()
    made.mkdir()
    made.chmod(0o777)
    with pytest.raises(StartError, match="can be written by everybody"):
        shell("exit 0")
    assert shell("exit 0", run_dir=tmp_path / "mine") == 0
    made.chmod(0o700)
    assert shell("exit 0") == 0
    another = os.getuid() + 1
    monkeypatch.setattr(os, "getuid", lambda: another)
    made.rename(tmp_path / f"brokersim-{os.getuid()}")
    with pytest.raises(StartError, match=f"brokersim-{os.getuid()} belongs to "):
        shell("exit 0")


# -- what will not end

HOLDING = """
import signal, time
from brokersim.brokermod import BrokerModule, request_handler

class Holding(BrokerModule):
    @request_handler("catches")
    def catches(self, msg):
        while True:
            try:
                while True:
                    time.sleep(0.001)
            except BaseException:
                pass

    @request_handler("ignores")
    def ignores(self, msg):
        signal.signal(signal.SIGALRM, signal.SIG_IGN)
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
        while True:
            time.sleep(0.001)
"""


IDLE = """
from brokersim.brokermod import BrokerModule, request_handler


class Signalling(BrokerModule):
    @request_handler("idle")
    def idle(self, msg):
        pass
"""


@pytest.mark.parametrize("method", ["catches", "ignores"])
@pytest.mark.parametrize("clock", ["real", "virtual"])
def test_a_handler_that_lets_go_of_nothing_is_named_and_TERM_ends_the_process(
    tmp_path, runtime, method, clock
):
    path = tmp_path / "holding.py"
    path.write_text(HOLDING)
    text = f"import sys; from brokersim.cli.main import main; sys.exit(main(['rpc', 'holding.{method}']))"
    command = [sys.executable, "-c", text]
    program = (
        "import sys; from pathlib import Path; from brokersim.net.options import StartOptions;"
        "from brokersim.net.serve import run_instance; run_instance(StartOptions(command=tuple(sys.argv[3:]),"
        "modules=(sys.argv[1],), clock=sys.argv[2], attrs={'broker.handler-timeout': '0.2s'}))"
    )
    with subprocess.Popen(
        [sys.executable, "-c", program, str(path), clock, *command], stderr=subprocess.PIPE, text=True
    ) as process:
        assert process.stderr is not None
        told = process.stderr.readline()
        assert told.startswith("brokersim: module 'holding' has held the loop for")
        assert "(holding.py:" in told and "TERM ends this process" in told
        process.terminate()
        assert "\nbrokersim: ended by force: module 'holding' has held" in f"\n{process.stderr.read()}"
        assert process.wait(20) == HELD
    assert list((runtime / "brokersim").iterdir()) == [], "its name may be given again"


def test_TERM_stops_an_instance_in_good_order_while_the_last_resort_listens(detached, runtime):
    _, pid = detached()
    os.kill(pid, signal.SIGTERM)
    assert gone(pid)
    assert list((runtime / "brokersim").iterdir()) == []


@pytest.mark.parametrize("clock", ["real", "virtual"])
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_a_signal_while_modules_are_loaded_ends_the_start_and_leaves_nothing(
    tmp_path, runtime, number, clock
):
    path = tmp_path / "signalling.py"
    path.write_text(f"import signal\nsignal.raise_signal({int(number)})\n{IDLE}")
    words = ["start", "--clock", clock, "-m", f"heartbeat,{path},cron", "--", "echo", "it ran"]
    done = subprocess.run(
        [sys.executable, "-m", "brokersim", *words], capture_output=True, text=True, timeout=60, check=False
    )
    assert (done.returncode, done.stdout, done.stderr) == (128 + number, "", "")
    assert list((runtime / "brokersim").iterdir()) == []


def test_a_command_that_ignores_TERM_is_waited_for_with_a_word(capfd, monkeypatch):
    monkeypatch.setattr(serve, "_GRACE", 1.5)
    program = (
        "import signal, time; [signal.signal(n, signal.SIG_IGN) for n in (1, 15)]; print(1, flush=True); "
    )
    stop = "import os; os.kill(os.getppid(), 15); "
    assert start(sys.executable, "-c", f"{program}{stop}time.sleep(60)") == 128 + 9
    err = capfd.readouterr().err
    assert re.search(
        r"^brokersim: waiting for '.*' \(process \d+\), which ignores TERM and HUP", err, re.MULTILINE
    )


# -- detached


@pytest.fixture
def detached(tmp_path):
    """Starts detached instances in processes of their own, and ends them."""
    pids: list[int] = []

    def launch(**options: Any) -> tuple[str, int]:
        arguments = ", ".join(f"{key}={value!r}" for key, value in {"modules": (), **options}.items())
        text = (
            "from pathlib import Path, PosixPath\n"
            "from brokersim.net.options import StartOptions\n"
            "from brokersim.net.options import StartError\nfrom brokersim.net.serve import detach\n"
            f"try: made = detach(StartOptions(detach=True, {arguments}))\n"
            "except StartError as error: raise SystemExit(f'StartError: {error}')\n"
            "print(made.uri, made.pid)\n"
        )
        done = subprocess.run([sys.executable, "-c", text], capture_output=True, text=True, timeout=120)
        if done.returncode:
            raise StartError(done.stderr)
        uri, pid = done.stdout.split()
        pids.append(int(pid))
        return uri, int(pid)

    yield launch
    for pid in pids:
        try:
            os.kill(pid, signal.SIGKILL)
        except ProcessLookupError:
            pass


def gone(pid: int) -> bool:
    """The process has ended within ten seconds: its own pid file descriptor says so."""
    try:
        fd = os.pidfd_open(pid)
    except ProcessLookupError:
        return True
    try:
        return bool(select.select([fd], [], [], 10)[0])
    finally:
        os.close(fd)


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP, None])
def test_a_detached_instance_answers_and_ends_by_signal_or_request(detached, runtime, number):
    uri, pid = detached(size=2)
    client = Client.connect(uri)
    assert client.rpc("attr.get", {"name": "size"})["value"] == "2"
    if number is None:
        client.rpc("broker.stop")
    client.close()
    if number is not None:
        os.kill(pid, number)
    assert gone(pid)
    assert list((runtime / "brokersim").iterdir()) == []


def test_two_detached_instances_live_side_by_side(detached):
    (one, _), (other, _) = detached(size=1), detached(size=2)
    assert one != other
    sizes = []
    for uri in (one, other):
        client = Client.connect(uri)
        sizes.append(client.rpc("attr.get", {"name": "size"})["value"])
        client.close()
    assert sizes == ["1", "2"]


def test_a_detached_instance_that_cannot_start_tells_who_started_it(detached):
    with pytest.raises(StartError, match="StartError: module 'nosuch' on rank 0"):
        detached(modules=("nosuch",))


def test_a_killed_instance_is_recognised_as_dead_and_its_folder_swept(detached, runtime):
    _, pid = detached()
    os.kill(pid, signal.SIGKILL)
    assert gone(pid)
    assert len(list((runtime / "brokersim").iterdir())) == 1
    assert shell("exit 0") == 0
    assert list((runtime / "brokersim").iterdir()) == []


@pytest.mark.parametrize(
    ("options", "shown"),
    [
        ({"command": ("sh", "-c", "exit 3")}, "sh -c 'exit 3'"),
        ({}, "/bin/our-shell"),
        ({"detach": True, "command": ("x",)}, ""),
    ],
)
def test_what_an_instance_is_there_for_is_its_command_or_a_shell(options, shown, monkeypatch):
    monkeypatch.setenv("SHELL", "/bin/our-shell")
    assert serve._command_line(StartOptions(**options)) == shown


def test_a_name_in_use_is_told_apart_from_what_a_killed_start_left(tmp_path, monkeypatch):
    for is_there, words in ((True, "is running already"), (False, "is in the way")):
        monkeypatch.setattr(run_folder, "is_alive", lambda path, is_there=is_there: is_there)
        assert words in run_folder._taken("x", tmp_path)
