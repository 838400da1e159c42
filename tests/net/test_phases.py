"""The life of an instance that `start` leads: rc1, the quorum, the program, cleanup, rc3; its states, its exit code."""

from __future__ import annotations

import os
import re
import signal
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from brokersim.net.last_resort import LastResort
from brokersim.net.options import StartError, StartOptions
from brokersim.net.serve import run_instance

#: Sends a request to the instance; prints what is answered, a line a response.
ASK = f"{sys.executable} -m brokersim rpc"


@pytest.fixture(autouse=True)
def place(tmp_path, monkeypatch) -> Path:
    """A short folder for sockets, and the one commands run in."""
    (tmp_path / "run").mkdir()
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(tmp_path / "run"))
    monkeypatch.setenv("PYTHONPATH", str(Path(__file__).parents[2] / "src"))
    monkeypatch.setenv("SHELL", "/bin/sh")
    monkeypatch.chdir(tmp_path)
    return tmp_path


def start(text: str, **options: Any) -> int:
    attributes = {"log-filename": "log", **options.pop("attrs", {})}
    return run_instance(
        StartOptions(command=("/bin/sh", "-c", text), modules=(), attrs=attributes, **options)
    )


def log() -> list[str]:
    """What the instance's log said, without times and durations."""
    lines = [line.split(" ", 5)[5] for line in Path("log").read_text().splitlines()]
    return [re.sub(r" [0-9.e-]+m?s$", "", line) for line in lines]


def test_a_life_without_scripts_goes_through_fluxs_states():
    assert start("true") == 0
    assert log() == [
        "broker.info[0]: builtins-success: load-builtins->join",
        "broker.info[0]: parent-none: join->config-sync",
        "broker.info[0]: sync-none: config-sync->init",
        "broker.info[0]: rc1-none: init->quorum",
        "broker.info[0]: quorum-full: quorum->run",
        "broker.info[0]: rc2.0: true Exited (rc=0)",
        "broker.info[0]: rc2-success: run->cleanup",
        "broker.info[0]: cleanup-none: cleanup->shutdown",
        "broker.info[0]: children-none: shutdown->finalize",
        "broker.info[0]: rc3-none: finalize->goodbye",
        "broker.info[0]: goodbye: goodbye->unload-builtins",
        "broker.info[0]: builtins-done: unload-builtins->exit",
    ]


def test_scripts_run_before_and_behind_the_program_and_what_they_say_is_logged():
    scripts = {"broker.rc1_path": "echo one; echo two >&2", "broker.rc3_path": "echo last"}
    assert start("exit 3", attrs=scripts) == 3
    said = [line for line in log() if "rc" in line]
    assert sorted(said[:2]) == ["broker.err[0]: rc1.0: two", "broker.info[0]: rc1.0: one"]
    assert said[2:] == [
        "broker.info[0]: rc1.0: echo one; echo two >&2 Exited (rc=0)",
        "broker.info[0]: rc1-success: init->quorum",
        "broker.info[0]: rc2.0: exit 3 Exited (rc=3)",
        "broker.info[0]: rc2-fail: run->cleanup",
        "broker.info[0]: rc3.0: last",
        "broker.info[0]: rc3.0: echo last Exited (rc=0)",
        "broker.info[0]: rc3-success: finalize->goodbye",
    ]


@pytest.mark.parametrize(
    ("attributes", "text", "code", "is_run"),
    [
        ({"broker.rc1_path": "exit 4"}, "touch ran", 4, False),
        ({"broker.rc1_path": "nosuch-command"}, "touch ran", 127, False),
        ({"broker.rc1_path": "exit 4", "broker.exit-norestart": "99"}, "touch ran", 99, False),
        ({"broker.rc1_path": "exit 4", "broker.recovery-mode": "1"}, "touch ran", 0, True),
        ({"broker.rc3_path": "exit 5"}, "touch ran", 5, True),
        ({"broker.rc3_path": "exit 5"}, "touch ran; exit 6", 6, True),
        ({"broker.rc3_path": "kill $$"}, "touch ran", 143, True),
    ],
)
def test_the_first_part_that_fails_gives_the_exit_code_and_nothing_runs_behind_a_failed_rc1(
    attributes, text, code, is_run
):
    assert start(text, attrs=attributes) == code
    assert Path("ran").exists() == is_run


def test_what_is_pushed_to_cleanup_runs_behind_the_program_last_pushed_first():
    push = 'echo \'{"name": "cleanup", "commands": ["echo %s >>out"]}\' | ' + ASK + " runat.push -"
    text = f"{push % 'a'} && {push % 'b'} && echo program >>out"
    assert start(text, attrs={"broker.rc3_path": "echo rc3 >>out"}) == 0
    assert Path("out").read_text().split() == ["program", "b", "a", "rc3"]


@pytest.mark.parametrize(
    ("payload", "says"),
    [
        ('{"name": "cleanup", "commands": []}', "commands array is empty"),
        ('{"name": "cleanup", "commands": [""]}', "cannot push an empty command line"),
        ('{"name": "cleanup", "commands": [1]}', "Protocol error"),
    ],
)
def test_commands_that_are_none_are_refused(payload, says):
    assert start(f"echo '{payload}' | {ASK} runat.push - 2>out") != 0
    assert says in Path("out").read_text()


def test_each_script_sees_the_state_it_runs_in_and_who_follows_sees_all():
    see = f"{ASK} state-machine.monitor >>states"
    scripts = {"broker.rc1_path": see, "broker.rc3_path": see}
    push = f'{{"name": "cleanup", "commands": ["{see}"]}}'
    assert start(f"{see}; echo '{push}' | {ASK} runat.push -", attrs=scripts) == 0
    assert re.findall(r"\d+", Path("states").read_text()) == ["3", "5", "6", "8"]


def test_what_runs_in_an_instance_is_told_where_it_is_and_nothing_of_a_job_around_it_but_its_id(monkeypatch):
    for name in ("FLUX_JOB_ID", "FLUX_TASK_RANK", "SLURM_FOO", "PMI_RANK", "MINE"):
        monkeypatch.setenv(name, "42")
    assert start("printenv >rc2", attrs={"broker.rc1_path": "printenv >rc1"}) == 0
    for script in ("rc1", "rc2"):
        found = dict(line.split("=", 1) for line in Path(script).read_text().splitlines() if "=" in line)
        assert {"FLUX_URI", "BROKERSIM_URI", "MINE"} <= found.keys()
        assert not {"FLUX_JOB_ID", "FLUX_TASK_RANK", "PMI_RANK"} & found.keys()
        assert found["FLUX_ENCLOSING_ID"] == "42"
        # The program may be one of several that Slurm starts, and know which by that.
        assert ("SLURM_FOO" in found) == (script == "rc2")


def test_ranks_run_their_scripts_behind_those_above_them_and_the_leaves_end_first():
    script = "echo %s $(" + f"{sys.executable} -m brokersim getattr rank) >>out"
    attributes = {"broker.rc1_path": script % "up", "broker.rc3_path": script % "down"}
    assert start("echo run >>out", size=4, attrs=attributes) == 0
    lines = Path("out").read_text().splitlines()
    assert lines[0] == "up 0" and lines[4] == "run" and lines[8] == "down 0"
    assert lines.index("up 1") < lines.index("up 3") < 4 < lines.index("down 3") < lines.index("down 1")
    assert len(set(lines)) == 9


def test_a_quorum_of_less_lets_the_program_begin_without_those_that_are_late():
    rank = f"$({sys.executable} -m brokersim getattr rank)"
    attributes = {
        "broker.rc1_path": f"mkfifo gate 2>/dev/null; [ {rank} = 0 ] || cat gate",
        "broker.quorum": "1",
    }
    online = ASK + ' groups.get \'{"name":"broker.online"}\''
    assert start(f"{online} >out; echo go >gate", size=2, attrs=attributes) == 0
    assert '"0"' in Path("out").read_text()


@pytest.mark.parametrize("quorum", ["9-10", "99", "-1", "x", "", "9" * 5000])
def test_a_quorum_that_is_none_is_refused(quorum):
    with pytest.raises(StartError, match="Error parsing broker\\.quorum attribute"):
        start("true", attrs={"broker.quorum": quorum})


@pytest.mark.parametrize(("quorum", "size", "means"), [("0", 1, 1), ("0-1", 2, 2)])
def test_a_quorum_in_the_old_way_is_taken_with_a_word(quorum, size, means, capfd):
    assert start("true", size=size, attrs={"broker.quorum": quorum}) == 0
    assert f"broker.quorum is now a size - assuming {means}" in capfd.readouterr().err


def test_a_quorum_that_is_never_reached_is_waited_for_until_somebody_stops_the_instance(capfd):
    # What a rank says is on its way for a while: it is stopped when rank 0 has heard of the failure, by somebody who
    # has a session of its own by the time the script ends: what is left of a script's goes with it.
    stop = f"grep -q rc=7 log && {{ kill -TERM {os.getpid()}; break; }}"
    later = f"touch up; for i in $(seq 3000); do {stop}; sleep 0.01; done"
    behind = f"setsid -f sh -c '{later}' >/dev/null 2>&1; until [ -e up ]; do sleep 0.01; done"
    failing = f"case $FLUX_URI in *local-1) echo oops >&2; {behind}; exit 7;; esac"
    assert start("touch ran", size=2, attrs={"broker.rc1_path": failing}) == 1
    assert not Path("ran").exists()
    assert "broker.info[0]: quorum-fail: quorum->shutdown" in log()
    assert "broker.err[1]: rc1.0: oops" in capfd.readouterr().err


def test_a_warning_after_no_time_is_none():
    attributes = {
        "broker.quorum-warn": "0", "broker.shutdown-warn": "0", "broker.rc1_path": "true", "broker.rc3_path": "true",
    }  # fmt: skip
    assert start("true", size=2, attrs=attributes) == 0
    assert not [line for line in log() if "delayed" in line]


@pytest.mark.parametrize(("program", "code"), [("true", 1), ("exit 3", 3)])
def test_ranks_that_do_not_end_in_time_are_left_and_the_exit_code_tells_if_nothing_else_does(program, code):
    hanging = "case $FLUX_URI in *local-1) exec sleep 100;; esac"
    attributes = {"broker.rc3_path": hanging, "broker.shutdown-timeout": "10ms"}
    assert start(program, size=2, attrs=attributes) == code
    assert "broker.err[0]: shutdown timeout" in log()


def test_a_signal_ends_the_program_then_its_cleanup_in_the_time_it_has():
    push = 'echo \'{"name": "cleanup", "commands": ["sleep 100"]}\' | ' + ASK + " runat.push -"
    text = f"{push}; kill -TERM {os.getpid()}; exec sleep 100"
    assert start(text, attrs={"broker.cleanup-timeout": "10ms"}) == 128 + signal.SIGHUP
    assert "broker.err[0]: cleanup.0: sleep 100 Hangup (rc=129)" in log()


@pytest.mark.parametrize("which", ["broker.rc1_path", "broker.rc3_path"])
def test_a_ctrl_c_means_the_script_that_runs_and_the_second_kills_one_that_ignores_it(which):
    # Two and no more, each when the one before was acted on: one too many would be the next test's.
    again = f"kill -INT {os.getpid()}"
    stubborn = f"trap 'heard=1' HUP; {again}; until [ $heard ]; do sleep 0.01; done; {again}; sleep 100"
    assert start("true", attrs={which: stubborn}) == 128 + signal.SIGKILL
    assert any(line.endswith("Killed (rc=137)") for line in log())


def test_a_script_that_is_ended_has_failed_also_if_it_says_it_has_not():
    polite = f"trap 'exit 0' HUP; kill -INT {os.getpid()}; while true; do sleep 0.01; done"
    assert start("touch ran", attrs={"broker.rc1_path": polite}) == 1
    assert not Path("ran").exists()
    assert any(line.endswith("aborted after exit with rc=0 (rc=1)") for line in log())


def test_an_instance_without_a_program_runs_until_it_is_stopped():
    attributes = {"broker.rc2_none": "1", "broker.rc1_path": f"{ASK} broker.stop"}
    assert start("touch ran", attrs=attributes) == 0
    assert not Path("ran").exists()
    assert "broker.info[0]: shutdown: run->cleanup" in log()


@pytest.mark.parametrize("script", ["rc1", "rc3"])
def test_a_ctrl_c_ends_a_script_that_hangs(script):
    """The terminal's goes to brokersim and the program in it; a script hears of none by itself."""
    hanging = f"kill -INT {os.getpid()}; sleep 100"
    assert start("true", attrs={f"broker.{script}_path": hanging}) == 128 + signal.SIGHUP


def test_a_ctrl_c_while_the_program_runs_is_the_programs_and_ends_nothing_behind_it():
    text = f"kill -INT {os.getpid()}; {ASK} state-machine.get; exit 7"
    assert start(text, attrs={"broker.rc3_path": "touch over"}) == 7
    assert Path("over").exists()


def test_a_ctrl_c_ends_an_instance_that_runs_nothing():
    later = f"touch up; {ASK} state-machine.wait; kill -INT {os.getpid()}"
    # In a session of its own by the time the script ends: what is left of a script's goes with it.
    waiting = f"setsid -f sh -c '{later}' >/dev/null 2>&1; until [ -e up ]; do sleep 0.01; done"
    assert start("true", attrs={"broker.rc2_none": "1", "broker.rc1_path": waiting}) == 0


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_a_signal_that_comes_as_the_instance_ends_asks_for_what_is_there_already(number, monkeypatch):
    heard: list[int] = []

    @contextmanager
    def listening(_: LastResort, *__: int) -> Iterator[None]:
        yield
        signal.raise_signal(number)  # nobody takes it any more, and the receiver is still there

    monkeypatch.setattr(LastResort, "listening", listening)
    before = signal.signal(number, lambda *_: heard.append(number))
    try:
        assert start("exit 3") == 3
        assert heard == []
        signal.raise_signal(number)
        assert heard == [number]
    finally:
        signal.signal(number, before)
