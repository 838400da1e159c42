"""`top` without keys: JSON lines, blocks of text, a screen redrawn; what it asks and costs; how it ends."""

from __future__ import annotations

import os
import pty
import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec
import pytest

from brokersim.cli.top import SORTS
from brokersim.cli.top import read as top_read
from brokersim.cli.top.plain import Pace
from brokersim.cli.top.rates import SORTS as ALL_SORTS
from brokersim.cli.top.rates import Module
from brokersim.cli.top.read import next_hook
from brokersim.protocol.errnums import ENOSYS, RequestError
from tests.cli.conftest import Run
from tests.cli.fake_broker import SILENCE, FakeBroker, InTurn
from tests.cli.test_live import brokersim

TOP = ("top", "-r", "0", "-i", "50ms")


def listed(time: float, *mods: dict[str, Any]) -> dict[str, Any]:
    return {"time": time, "mods": list(mods)}


def mod(name: str, rx: int, tx: int, **more: Any) -> dict[str, Any]:
    return {
        "name": name, "path": "/m", "idle": 0, "status": 1, "services": [name], "sendqueue": 1, "recvqueue": 2,
        "mask": 0x1000, "hook": "check", "packets": rx, "uuid": name, "open": 4, "rx": {"request": rx},
        "tx": {"response": tx}, **more,
    }  # fmt: skip


def status(uptime: float, messages: int) -> dict[str, Any]:
    return {"size": 4, "uptime": uptime, "messages": messages, "clock": "real*2"}


@pytest.fixture
def busy(fake: FakeBroker) -> FakeBroker:
    """Two seconds pass between looks, by its own clock; kvs has ten times cron's messages."""
    load = {"count": 3, "p50": 0.5, "p99": 2.0}
    first = [mod("cron", 10, 0), mod("kvs", 100, 50)]
    second = [
        mod("cron", 12, 0),
        mod("kvs", 120, 60, figures={"timings": {"load": load}, "jobs": {"RUN": 3}}),
    ]
    fake.answers |= {
        "broker.status": InTurn(status(10.0, 100), status(12.0, 124)),
        "module.list": InTurn(listed(10.0, *first), listed(12.0, *second)),
    }
    return fake


# --- what it prints


def test_rates_are_per_second_of_the_brokers_clock(busy: FakeBroker, run: Run) -> None:
    (told,) = run(*TOP, "-n", "1", "--json").lines
    assert {key: told[key] for key in ("t_s", "interval_s", "clock", "size", "own_messages")} == {
        "t_s": 12.0, "interval_s": 2.0, "clock": "real*2", "size": 4, "own_messages": 4,
    }  # fmt: skip
    assert (told["messages_per_s"], told["jobs"]) == (10.0, {"RUN": 3})
    cron, kvs = told["modules"]
    assert (cron["rx_per_s"], cron["tx_per_s"], kvs["rx_per_s"], kvs["tx_per_s"]) == (1.0, 0.0, 10.0, 5.0)
    assert kvs == {
        "rank": 0, "name": "kvs", "state": "R", "note": "", "rx_per_s": 10.0, "tx_per_s": 5.0, "rx": {"request": 120},
        "tx": {"response": 60}, "waiting": 3, "open": 4, "timings_ms": {"load": {"count": 3, "p50": 0.5, "p99": 2.0}},
        "mask": 0x1000, "hook": "check", "packets": 120, "packets_per_s": 10.0,
    }  # fmt: skip


def test_sort_and_filter_choose_what_is_printed_and_recorded(
    busy: FakeBroker, run: Run, tmp_path: Path
) -> None:
    file = tmp_path / "day.jsonl"
    result = run(*TOP, "-n", "3", "--json", "-s", "rx", "--record", str(file))
    assert [one["name"] for one in result.lines[0]["modules"]] == ["kvs", "cron"]
    assert file.read_text() == result.out
    assert len(result.lines) == 3
    text = run(*TOP, "-n", "1", "-f", "c*", "--record", str(file)).out
    assert "cron" in text and "kvs" not in text
    recorded = [msgspec.json.decode(line) for line in file.read_text().splitlines()]
    assert [one["name"] for one in recorded[0]["modules"]] == ["cron"], "the file is begun anew"


def test_a_block_of_lines_each_interval_where_no_terminal_reads(busy: FakeBroker, run: Run) -> None:
    result = run(*TOP, "-n", "2", "--plain")
    assert (result.code, result.err) == (0, "")
    first, second, rest = result.out.split("\n\n")
    assert rest == ""
    assert first.splitlines()[:3] == [
        "size 4  up 12s  clock real*2  rates per scaled second",
        "jobs depend 0  sched 0  run 3  cleanup 0  inactive 0",
        "messages/s 10.0     █  peak 10.0",
    ]
    assert [line.split()[1] for line in first.splitlines()[3:]] == ["Module", "cron", "kvs"]
    assert second.splitlines()[2].startswith("messages/s - "), "its clock stood still"


def test_a_module_that_is_loaded_again_is_shown_so_and_never_negative(busy: FakeBroker, run: Run) -> None:
    busy.answers["module.list"] = InTurn(
        listed(1.0, mod("kvs", 100, 50)),
        listed(2.0, mod("kvs", 7, 0, uuid="2")),
        listed(3.0, mod("kvs", 3, 0, uuid="2")),
    )
    notes = [one["modules"][0] for one in run(*TOP, "-n", "2", "--json").lines]
    assert [(one["note"], one["rx_per_s"]) for one in notes] == [("restarted", None), ("cleared", None)]


def test_a_real_flux_instance_is_shown_without_what_it_does_not_tell(fake: FakeBroker, run: Run) -> None:
    # As Flux answers: no broker.status, and a module.list without counters.
    result = run("top", "-i", "50ms", "-n", "1", "-r", "0")
    assert result.code == 0
    assert result.out.splitlines()[0] == "size 4  up -  clock real"
    assert re.search(r"0  cron +F +- +- ", result.out)


# --- what it asks


def test_a_look_is_one_request_to_each_rank_and_one_to_the_instance(busy: FakeBroker, run: Run) -> None:
    assert run("top", "-i", "50ms", "-n", "2", "--json", "-r", "0,2-3").code == 0
    assert busy.nodeids("module.list") == [0, 2, 3] * 3
    assert busy.topics.count("broker.status") == 3
    assert set(busy.topics) == {"attr.get", "module.list", "broker.status"}
    assert run("top", "-r", "9").code == 4


def test_jobs_are_those_of_rank_0_whichever_ranks_are_shown(busy: FakeBroker, run: Run) -> None:
    manager, other = (
        listed(1.0, mod("job-manager", 1, 1, figures={"jobs": {"RUN": 3}})),
        listed(1.0, mod("kvs", 1, 1)),
    )
    busy.answers["module.list"] = lambda request: manager if request.nodeid == 0 else other
    (told,) = run("top", "-i", "50ms", "-n", "1", "--json", "-r", "2").lines
    assert (told["jobs"], told["own_messages"]) == ({"RUN": 3}, 6)
    assert [(one["rank"], one["name"]) for one in told["modules"]] == [(2, "kvs")]


@pytest.mark.parametrize(("size", "clock"), [(1, "real"), (3, "virtual")])
def test_no_module_counts_a_look_and_the_instance_two_messages_a_request(
    size: int, clock: str, tmp_path_factory: pytest.TempPathFactory
) -> None:
    tmp = tmp_path_factory.mktemp("t")
    words = ("start", "-s", str(size), "--clock", clock, "-m", "content-cache", "--", "sh", "-c")
    done = brokersim(tmp, *words, "brokersim top --json -n 8 -i 50ms")
    assert done.returncode == 0, done.stderr
    # The last two: until then what the start itself sends has come to rest, also where only looks move time.
    *_, one, other = [msgspec.json.decode(line) for line in done.stdout.splitlines()]
    assert other["messages"] - one["messages"] == other["own_messages"] == 2 * (size + 1)
    assert other["messages_per_s"] in (0.0, None)
    assert [(mod["rx"], mod["tx"]) for mod in one["modules"]] == [
        (mod["rx"], mod["tx"]) for mod in other["modules"]
    ]
    assert {mod["rank"] for mod in one["modules"]} == set(range(size))


# --- how it ends


def test_an_instance_that_ends_is_one_line_and_exit_3(busy: FakeBroker, run: Run) -> None:
    looks = 0

    def third_time_gone(_request: Any) -> Any:
        nonlocal looks
        looks += 1
        if looks == 3:
            busy.drop_clients()
        return listed(float(looks), mod("kvs", looks, looks))

    busy.answers["module.list"] = third_time_gone
    result = run(*TOP, "--json")
    assert result.code == 3
    assert len(result.lines) == 1
    assert result.err.startswith(f"error: {busy.uri}: the instance has ended, or was started anew (")
    assert result.err.count("\n") == 1


def test_without_an_instance_it_is_the_usual_error(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("BROKERSIM_URI", "local:///nowhere/local-0")
    monkeypatch.setenv("FLUX_LOCAL_CONNECTOR_RETRY_COUNT", "0")
    result = run("top")
    assert result.code == 3
    assert result.err.startswith("error: local:///nowhere/local-0: No such file or directory\n")


def test_a_rank_that_does_not_answer_is_named_and_the_rest_is_shown(
    busy: FakeBroker, run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(top_read, "PATIENCE", 0.05)
    answer = listed(1.0, mod("kvs", 1, 1))
    refused = RequestError(113)
    busy.answers["module.list"] = lambda request: {0: answer, 1: SILENCE, 2: refused, 3: answer}[
        request.nodeid
    ]
    (told,) = run("top", "-i", "50ms", "-n", "1", "--json").lines
    assert told["missing"] == [1, 2]
    assert [one["rank"] for one in told["modules"]] == [0, 3]
    assert "no answer from 1,2" in run("top", "-i", "50ms", "-n", "1").out


def test_an_instance_that_does_not_answer_is_told_until_the_timeout(
    busy: FakeBroker, run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(top_read, "PATIENCE", 0.05)
    busy.answers |= {"module.list": SILENCE, "broker.status": SILENCE}
    result = run("--timeout", "300ms", *TOP, "--json")
    assert (result.code, result.out) == (124, "")
    assert result.err.startswith("no answer within 0.05 s\n")


@pytest.mark.parametrize("words", [("-i", "0"), ("-i", "inf"), ("-s", "colour"), ("-n", "0"), ("-r", "x")])
def test_what_cannot_be_meant_is_exit_2(words: tuple[str, ...], fake: FakeBroker, run: Run) -> None:
    assert run("top", *words).code == 2


def test_a_record_that_cannot_be_written_is_told(busy: FakeBroker, run: Run) -> None:
    result = run(*TOP, "--record", "/nowhere/day.jsonl")
    assert result.code == 2
    assert result.err.startswith(
        "error: invalid value for '--record': /nowhere/day.jsonl: No such file or directory\n"
    )
    full = run(*TOP, "-n", "1", "--record", "/dev/full")
    assert (full.code, full.err) == (1, "error: /dev/full: No space left on device\n")


# --- on a terminal


def on_terminal(program: str, words: tuple[str, ...], size: tuple[int, int] = (80, 24)) -> tuple[int, str]:
    """Exit code and output of a command line in a terminal of so many columns and lines; no key is pressed."""
    import fcntl
    import struct
    import termios

    ours, theirs = pty.openpty()
    fcntl.ioctl(theirs, termios.TIOCSWINSZ, struct.pack("HHHH", size[1], size[0], 0, 0))
    environment = {**os.environ, "TERM": "xterm-256color", "LANG": "C.UTF-8", "PYTHONUTF8": "1"}
    for name in ("COLUMNS", "LINES", "NO_COLOR", "CI"):
        environment.pop(name, None)
    command = [sys.executable, "-c", program, *words]
    with subprocess.Popen(command, stdin=theirs, stdout=theirs, stderr=theirs, env=environment) as process:
        os.close(theirs)
        out = b""
        while True:
            try:
                part = os.read(ours, 65536)
            except OSError:  # Linux's way to say that nobody holds the other end any more
                break
            if not part:
                break
            out += part
        os.close(ours)
    return process.returncode, out.decode()


MAIN = "import sys; from brokersim.cli.main import main; sys.exit(main())"
WITHOUT = "import sys; sys.modules['textual'] = None; from brokersim.cli.main import main; sys.exit(main())"


def test_plain_redraws_a_terminal_and_leaves_the_last_view(busy: FakeBroker) -> None:
    code, out = on_terminal(MAIN, (*TOP, "-n", "2", "--plain"), (60, 10))
    assert code == 0
    assert "\x1b[1A" in out, "it goes up to draw over what it drew"
    plain = re.sub(r"\x1b\[[0-9;?]*[a-zA-Z]", "", out)
    assert plain.count("messages/s") >= 3, "the first look, and two intervals"
    assert "messages/s 10.0" in plain
    assert max(map(len, plain.splitlines())) <= 60
    assert "no room for" in plain, "not every column fits, and that is said"


def test_without_textual_it_says_in_one_line_how_to_get_the_keys(busy: FakeBroker) -> None:
    code, out = on_terminal(WITHOUT, (*TOP, "-n", "1"))
    assert code == 0
    assert out.startswith("without textual there are no keys: pip install 'brokersim[tui]'\r\n")
    assert "messages/s" in out


@pytest.mark.parametrize("words", [("-n", "1"), ("--timeout", "1s")], ids=["count", "timeout"])
def test_the_screen_ends_by_itself(words: tuple[str, ...], busy: FakeBroker) -> None:
    pytest.importorskip("textual")
    code, out = on_terminal(MAIN, (*TOP, *words))
    assert code == (0 if words[0] == "-n" else 124), out
    assert "\x1b[?1049h" in out and "\x1b[?1049l" in out, "it had the whole screen, and gave it back"


def test_the_screen_ends_with_the_instance_in_one_line(busy: FakeBroker) -> None:
    pytest.importorskip("textual")
    looks: Callable[[Any], Any] = busy.answers["module.list"]
    count = 0

    def gone(request: Any) -> Any:
        nonlocal count
        count += 1
        if count == 2:
            busy.close()
        return looks(request)

    busy.answers["module.list"] = gone
    code, out = on_terminal(MAIN, TOP)
    assert code == 3
    assert "the instance has ended" in out.splitlines()[-1]


# --- small parts


def test_the_columns_of_the_option_are_those_of_the_table() -> None:
    assert SORTS == ALL_SORTS


def test_hooks_follow_each_other_round() -> None:
    hooks = ["prepare"]
    for _ in range(4):
        hooks.append(next_hook(hooks[-1]))
    assert hooks == ["prepare", "check", "idle", "timer:1s", "prepare"]
    assert (next_hook("timer:0.25s"), next_hook(None)) == ("prepare", "prepare")


def test_looks_that_come_late_are_not_made_up_for() -> None:
    now = 0.0
    pace = Pace(1.0, clock=lambda: now)
    assert pace.left() == 0.0
    pace.next()
    assert pace.left() == 1.0
    now = 3.5
    assert pace.left() == -2.5
    pace.next()
    assert pace.left() == 0.5


def test_a_state_that_is_not_known_is_a_question_mark() -> None:
    assert [Module(rank=0, name="x", status=status).state for status in (-1, 0, 1, 2, 3, 4)] == list("?IRFX?")


def test_looking_costs_other_commands_nothing() -> None:
    probe = (
        "import sys\nfrom brokersim.cli.main import main\nimport brokersim.cli.top\nmain(['module', '-h'])\n"
        "heavy = ('trio', 'asyncio', 'attrs', 'rich', 'textual')\n"
        "print('HEAVY', [name for name in heavy if name in sys.modules], file=sys.stderr)"
    )
    done = subprocess.run([sys.executable, "-c", probe], capture_output=True, text=True, check=True)
    assert done.stderr.splitlines()[-1] == "HEAVY []"


def test_an_error_answer_to_a_key_is_raised(fake: FakeBroker) -> None:
    from brokersim.cli.session import Session

    fake.answers["kvs.debug"] = RequestError(ENOSYS, "gone")
    session = Session()
    reader = top_read.Reader(session, [0], 1)
    with pytest.raises(RequestError, match="gone"):
        reader.set_bits(0, "kvs", 0x1000, True)
    session.close()
