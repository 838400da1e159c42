"""A job's task under its shell: it is there when it is said to have started, so that no signal is lost."""

from __future__ import annotations

import os
import signal
import sys
from pathlib import Path

import pytest
import trio

from brokersim.host import command as command_module
from brokersim.host.command import Channel, Command, Terminal


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


def on_a_terminal(
    words: list[str], typed: bytes = b"", *, is_read: bool = True, signum: int = 0
) -> tuple[int, bytes]:
    """(status, what was shown) of a command with a terminal; who types or kills waits for the first thing shown."""
    shown: list[bytes] = []

    def take(data: bytes) -> None:
        if not shown and typed:
            terminal.send(typed)
        if not shown and signum:
            command.kill(signum)
        shown.append(data)

    async def room() -> None:
        pass

    terminal = Terminal(take, is_read=is_read)
    command = Command(words, None, None, under_shell=True, terminal=terminal)

    async def main() -> int:
        with trio.fail_after(20):
            async with trio.open_nursery() as nursery:
                if not is_read:
                    nursery.start_soon(look_later, terminal)
                return await command.run(lambda stream, data: None, room)

    return trio.run(main), b"".join(shown)


async def look_later(terminal: Terminal) -> None:
    """Somebody looks when the command is most likely over."""
    await trio.sleep(0.1)
    terminal.let_go()


def test_a_command_with_a_terminal_has_it_for_all_its_streams() -> None:
    assert on_a_terminal(["sh", "-c", "test -t 0 && test -t 1 && test -t 2 && stty size; exit 3"]) == (
        3 << 8,
        b"25 80\r\n",
    )


def test_what_was_shown_before_somebody_looks_is_not_lost_with_the_command() -> None:
    assert on_a_terminal(["echo", "out"], is_read=False) == (0, b"out\r\n")


def test_what_is_typed_is_read_and_an_interrupt_ends_the_command() -> None:
    assert on_a_terminal(["sh", "-c", "echo up; read -r word; exit $word"], b"7\n")[0] == 7 << 8
    assert on_a_terminal(["sh", "-c", "echo up; exec sleep 60"], b"\x03")[0] == 130 << 8


@pytest.mark.parametrize(("signum", "code"), [(signal.SIGTERM, 143), (signal.SIGKILL, 137)])
def test_a_signal_ends_a_command_with_a_terminal(signum: int, code: int) -> None:
    assert on_a_terminal(["sh", "-c", "echo up; exec sleep 60"], signum=signum)[0] == code << 8


def test_a_terminal_of_no_size_is_refused() -> None:
    with pytest.raises(ValueError, match="1 to 65535 rows and columns, not 0 and 80"):
        Terminal(lambda _: None).resize(0, 80)


def test_a_command_writes_to_its_channel_and_reads_from_it() -> None:
    def take(data: bytes) -> None:
        heard.append(data)
        if data == b"ask\n":
            channel.send(b"5\n")

    async def room() -> None:
        pass

    heard: list[bytes] = []
    channel = Channel("OWN_FD", take)
    program = "import os; fd = int(os.environ['OWN_FD']); os.write(fd, b'ask\\n'); exit(int(os.read(fd, 9)))"
    command = Command([sys.executable, "-c", program], None, None, under_shell=True, channel=channel)

    async def main() -> int:
        with trio.fail_after(20):
            return await command.run(lambda stream, data: None, room)

    assert trio.run(main) == 5 << 8
    assert heard[0] == b"ask\n"


def test_a_command_that_is_not_there_leaves_no_terminal_and_no_channel_open() -> None:
    def numbers() -> set[str]:
        return set(os.listdir("/proc/self/fd"))

    async def main() -> None:
        for more in ({"terminal": Terminal(lambda _: None)}, {"channel": Channel("FD", lambda _: None)}):
            with pytest.raises(OSError):
                await Command(["/bin/true"], "/nowhere", None, **more).run(lambda *_: None, None)  # type: ignore[arg-type]

    before = numbers()
    trio.run(main)
    assert numbers() <= before
