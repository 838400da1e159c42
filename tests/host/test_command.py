"""A job's task under its shell: it is there when it is said to have started, so that no signal is lost."""

from __future__ import annotations

import os
import signal
from pathlib import Path

import pytest
import trio

from brokersim.host import command as command_module
from brokersim.host.command import Command


def run(words: list[str], *signals: int, seen: Path | None = None) -> tuple[int, bytes, list[int]]:
    """(status, standard output, how many children the shell had each time it said it had started).

    ``seen`` is made when they have been counted.
    """
    output: list[bytes] = []
    children: list[int] = []

    def started(pid: int) -> None:
        there = Path(f"/proc/{pid}/task/{pid}/children")
        children.append(len(there.read_text().split()) if there.exists() else 0)
        if seen is not None:
            seen.touch()
        for number in signals:
            command.kill(number)

    async def room() -> None:
        pass

    def take(stream: str, data: bytes) -> None:
        if stream == "stdout":
            output.append(data)

    command = Command(words, None, None, under_shell=True, on_start=started)

    async def main() -> int:
        with trio.fail_after(20):
            return await command.run(take, room)

    return trio.run(main), b"".join(output), children


def test_a_task_is_there_when_it_is_said_to_have_started_and_its_output_is_its_own(tmp_path: Path) -> None:
    seen = tmp_path / "seen"
    waits = 'until [ -e "$0" ]; do sleep 0.01; done; printf .x.'
    status, output, children = run(["sh", "-c", waits, str(seen)], seen=seen)
    assert (status, output) == (0, b".x.")
    assert children == [1]


@pytest.mark.parametrize(
    ("number", "code"), [(signal.SIGTERM, 143), (signal.SIGKILL, 137), (signal.SIGALRM, 142)]
)
def test_a_signal_at_the_very_start_ends_the_task(number: int, code: int) -> None:
    assert run(["sleep", "60"], number) == (code << 8, b"", [1])


def test_a_shell_that_dies_before_its_task_is_there_has_started_all_the_same(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(command_module, "_SHELL", ("/bin/sh", "-c", "exit 3", "sh"))
    status, output, children = run(["true"], signal.SIGTERM)
    assert (status, output, len(children)) == (3 << 8, b"", 1)


def test_who_has_left_the_group_and_holds_the_pipes_is_not_waited_for_once_force_is_used(
    tmp_path: Path,
) -> None:
    output: list[tuple[str, bytes]] = []

    async def room() -> None:
        pass

    async def main() -> int:
        def ended(_status: int) -> None:
            command.kill(signal.SIGKILL)

        script = "mkfifo p; setsid sh -c 'echo $$; echo >p; exec sleep 60' & read x <p; echo last"
        words = ["sh", "-c", script]
        command = Command(words, str(tmp_path), None, under_shell=True, on_exit=ended)
        with trio.fail_after(30):
            return await command.run(lambda stream, data: output.append((stream, data)), room)

    assert trio.run(main) == 0
    said = b"".join(data for stream, data in output if stream == "stdout")
    pid, last = said.split()
    os.kill(int(pid), signal.SIGKILL)
    assert last == b"last"
    assert sorted(stream for stream, data in output if not data) == ["stderr", "stdout"]
