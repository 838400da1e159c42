"""The three lines and the exit codes: one test a row of the table."""

from __future__ import annotations

import errno
import os
import subprocess
import sys
from pathlib import Path

import click
import pytest
import trio

from brokersim import program
from brokersim.cli import main as main_module
from brokersim.cli.errors import explain, text_of
from brokersim.net.client import Unreachable
from brokersim.protocol.errnums import EHOSTUNREACH, ENOENT, ENOSYS, EPERM, RequestError
from tests.cli.conftest import Run
from tests.cli.fake_broker import SILENCE, FakeBroker


def test_0_when_fine(fake: FakeBroker, run: Run) -> None:
    assert run("getattr", "size") == (0, "4\n", "")


def test_1_when_the_thing_asked_for_failed(fake: FakeBroker, run: Run) -> None:
    fake.answers["kvs.stats-get"] = {"tx": {"request": 1}, "cache": {}}
    assert run("module", "stats", "-p", "tx.reqest", "kvs") == (
        1, "", "error: `tx.reqest' not found in response\n  hint: there is: request\n",
    )  # fmt: skip


@pytest.mark.parametrize(
    ("words", "first"),
    [
        (("module", "debug", "-s", "0xzz", "kvs"), "'0xzz' is no mask; give 0x1000, 4096, 010000 or names of"),
        (("module", "debug"), "missing argument 'NAME...'"),
        (("module", "trace", "-t", "reply"), "'reply' is no message type; give request, response, event, control"),
        (("ping", "-i", "soon", "kvs"), "not a duration: 'soon'; give a number and ms, s, m, h or d"),
        (("ping", "a!b!c"), "not a target: 'a!b!c'; give SERVICE, RANK!SERVICE or RANK"),
        (("ping", "-b", "kvs"), "--batch needs --count"),
        (("rpc", "a.b", "{"), "'{' is not JSON"),
        (("rpc", "a.b", "[1]"), "'[1]' is no JSON object; give something like '{\"key\":1}'"),
        (("event", "pub", "a", "1"), "'1' is no JSON object"),
        (("kvs", "put", "a"), "'a' is no KEY=VALUE"),
        (("kvs", "put", "=1"), "'=1' is no KEY=VALUE"),
        (("kvs", "put", "-t", "a={}"), "a: treeobj: lacks ver, type, data"),
        (("content", "load", "sha1-12"), "sha1-12"),
        (("job", "cancel", "l0l"), "not a job id: 'l0l'; give F58"),
        (("job", "submit"), "missing argument 'CMD...'"),
        (("job", "submit", "--cc", "3-1", "true"), "not a set of numbers: '3-1'; give 1-100 or 0,4"),
        (("job", "submit", "--cc", "x", "true"), "not a set of numbers: 'x'; give 1-100 or 0,4"),
        (("probe", "read", "cpu", "--over", "0"), "0 is no time between two readings; give more than 0, such as 1s"),
        (("flux", "instrument", "--", "flux", "start"), "nowhere to send to: give --stats HOST:PORT"),
        (("job", "submit", "--dependency", "x", "true"), "not a dependency: 'x'; give SCHEME:VALUE"),
        (("job", "wait"), "give job ids, or --all"),
        (("job", "list", "-f", "rum"), "'rum' is no state; give new, depend"),
        (("cron", "at", "noon", "date"), "not a time: 'noon'; give +5m, 14:30, 2026-11-22T14:30"),
        (("module", "load", "./nothing.py"), "no module file './nothing.py'"),
        (("--nonsense",), "no such option"),
        (("-c", "nofile.toml", "status"), "invalid value for '-c' / '--config': File 'nofile.toml' does not exist"),
        (("-c", ".", "ps"), "invalid value for '-c' / '--config': File '.' is a directory"),
        (("module", "load", "--check", "./no file.py"), "cannot check ./no file.py: No such file or directory"),
        (("ping", "-c", "x", "kvs"), "invalid value for '-c' / '--count': 'x' is no whole number of 1 or more"),
        (("ping", "-c", "0", "kvs"), "invalid value for '-c' / '--count': 0 is no whole number of 1 or more"),
        (("job", "submit", "--urgency", "32", "true"), "32 is no whole number from 0 to 31"),
        (("start", "-s", "a is not b"), "invalid value for '-s' / '--test-size': 'a is not b' is no whole number"),
        (("stats", "lint", "--max-creates", "few"), "'few' is no number of 1 or more"),
        (("bench", "watchers", "--jobs", "x"), "invalid value for '--jobs': 'x' is no whole number of 1 or more"),
        (("-u", "ssh://x", "status"), "not a socket address: 'ssh://x'; give local:///absolute/path/local-0"),
    ],
)  # fmt: skip
def test_2_for_wrong_use_and_nothing_is_sent(
    words: tuple[str, ...], first: str, fake: FakeBroker, run: Run
) -> None:
    result = run(*words)
    assert (result.code, result.out) == (2, "")
    what = result.err.splitlines()[0]
    assert what.startswith("error: ")
    assert first in what
    assert len(result.err.splitlines()) <= 3
    assert fake.topics == []


@pytest.mark.parametrize(
    ("words", "hint"),
    [
        (("registry", "get", "nodes"), "brokersim registry list nodes shows what there is"),
        (("module", "remove"), "brokersim module list shows what there is"),
        (("module", "debug"), "brokersim module list shows what there is"),
        (("kvs", "get"), "brokersim kvs ls shows what there is"),
        (("runs", "show"), "brokersim runs list shows what there is"),
        (("getattr",), "brokersim lsattr shows what there is"),
    ],
)
def test_a_missing_name_is_told_with_what_lists_the_names(
    words: tuple[str, ...], hint: str, fake: FakeBroker, run: Run
) -> None:
    result = run(*words)
    assert (result.code, result.err.splitlines()[1]) == (2, f"  hint: {hint}")


@pytest.mark.parametrize("words", [("registry", "put", "nodes"), ("probe", "add"), ("kvs", "mkdir")])
def test_no_list_is_named_for_what_is_not_there_yet(
    words: tuple[str, ...], fake: FakeBroker, run: Run
) -> None:
    result = run(*words)
    assert (result.code, "hint:" in result.err) == (2, False)


@pytest.mark.parametrize(
    ("line", "attempt"),
    [
        ("k:1", "quote the |, or add --force to send it all the same"),
        ("k:1|q", "add --force to send it all the same"),
    ],
)
def test_a_bar_that_is_there_needs_no_quotes(line: str, attempt: str, run: Run) -> None:
    assert run("stats", "send", line).err.splitlines()[2] == f"  try:  {attempt}"


def test_choices_that_are_missing_are_told_in_one_line(fake: FakeBroker, run: Run) -> None:
    lines = run("registry", "list").err.splitlines()
    assert lines[0].endswith("Choose from: nodes, services, measurements, metadata")
    assert len(lines) == 2


def test_3_without_an_instance(run: Run, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    for name in ("BROKERSIM_URI", "FLUX_URI"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(tmp_path))
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    assert run("module", "stats", "kvs") == (
        3,
        "",
        "error: no instance to talk to: BROKERSIM_URI and FLUX_URI are unset and no instance of yours is running\n"
        "  try:  brokersim start        (in another terminal), or:  brokersim start -- brokersim module stats kvs\n",
    )


def test_3_when_the_socket_is_dead(fake: FakeBroker, run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FLUX_LOCAL_CONNECTOR_RETRY_COUNT", "0")
    fake.close()
    result = run("status")
    assert result.code == 3
    assert result.err.startswith(
        f"error: {fake.uri}: Connection refused\n  hint: nobody listens there any more: the instance has ended"
    )


@pytest.mark.parametrize(
    ("number", "hint"),
    [
        (errno.EACCES, "the socket is another user's"),
        (errno.ENOENT, "there is no such socket"),
        (errno.EAGAIN, "it is stuck, or very busy"),
        (errno.ENOTSOCK, None),
    ],
)
def test_a_hint_says_what_the_errno_says_or_nothing(number: int, hint: str | None) -> None:
    told = explain(Unreachable("local:///x", number))
    assert told is not None
    assert (hint in told.hint) if hint else told.hint == ""


def test_3_when_the_instance_refuses_this_user(
    tmp_path: Path, run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    fake = FakeBroker(tmp_path / "local-0", handshake=bytes([EPERM]))
    result = run("-u", fake.uri, "status")
    assert result.code == 3
    assert "the instance refuses this user: Operation not permitted (EPERM)" in result.err


def test_3_when_the_connection_is_lost(fake: FakeBroker, run: Run) -> None:
    fake.answers["broker.status"] = lambda _request: fake.drop_clients() or SILENCE
    result = run("--timeout", "5s", "status")
    assert result.code == 3
    assert "closed the connection" in result.err


def test_3_when_the_peer_talks_something_else(fake: FakeBroker, run: Run) -> None:
    fake.garbage_after = b"HTTP/1.1 400 Bad Request\r\n"
    fake.answers["broker.status"] = SILENCE
    result = run("status")
    assert result.code == 3
    assert "not a broker's protocol: frame starts with 48545450" in result.err


def test_4_when_an_rpc_is_answered_with_an_error(fake: FakeBroker, run: Run) -> None:
    fake.answers["attr.set"] = RequestError(EPERM)
    assert run("setattr", "size", "3") == (
        4, "", "error: attribute 'size' cannot be changed (EPERM)\n  hint: it is fixed at start\n",
    )  # fmt: skip


def test_4_names_the_nearest_module(fake: FakeBroker, run: Run) -> None:
    assert run("module", "debug", "-s", "0x1000", "kv") == (
        4,
        "",
        "error: no module 'kv' on rank 0 (ENOSYS)\n"
        "  hint: a similar one is loaded: kvs\n"
        "  try:  brokersim module list\n",
    )


def test_4_names_the_nearest_attribute(fake: FakeBroker, run: Run) -> None:
    assert run("getattr", "siz").err == (
        "error: no attribute 'siz' (ENOENT)\n  hint: a similar one is set: size\n  try:  brokersim lsattr\n"
    )


def test_4_for_an_unreachable_rank_tells_the_size(fake: FakeBroker, run: Run) -> None:
    fake.answers["a.b"] = RequestError(EHOSTUNREACH)
    result = run("rpc", "-r", "9", "a.b")
    assert result.code == 4
    assert result.err == (
        "error: a.b: No route to host (EHOSTUNREACH)\n  hint: rank 9 was asked; the instance has size 4\n"
    )


def test_4_for_a_rank_beyond_the_size(fake: FakeBroker, run: Run) -> None:
    result = run("module", "list", "-r", "2-7")
    assert (result.code, result.out) == (4, "")
    assert result.err == "error: no rank 4: the instance has ranks 0-3 (EHOSTUNREACH)\n"


def test_an_answers_own_text_is_kept(fake: FakeBroker, run: Run) -> None:
    fake.answers["a.b"] = RequestError(ENOENT, "the shelf is empty")
    assert run("rpc", "a.b").err == "error: a.b: the shelf is empty (ENOENT)\n"
    assert run("rpc", "nosuch.b").err.splitlines()[0] == (
        "error: No service matching nosuch.b is registered (ENOSYS)"
    )
    fake.answers["kvs.pong"] = RequestError(ENOSYS, "Unknown service method 'kvs.pong'")
    assert run("rpc", "kvs.pong").err.splitlines()[0] == "error: Unknown service method 'kvs.pong' (ENOSYS)"


def test_124_when_the_timeout_runs_out(fake: FakeBroker, run: Run) -> None:
    fake.answers["broker.status"] = SILENCE
    for words in (("--timeout", "50ms", "status"), ("status", "--timeout", "50ms")):
        assert run(*words) == (124, "", "error: --timeout ran out before the answer came\n")


def test_124_while_a_command_sleeps(fake: FakeBroker, run: Run) -> None:
    fake.answers["kvs.stats-get"] = {"tx": {}, "rx": {}}
    assert run("--timeout", "50ms", "module", "stats", "--delta", "1h", "kvs").code == 124


def test_130_on_interrupt(fake: FakeBroker, run: Run) -> None:
    def interrupt(_request: object) -> object:
        os.kill(os.getpid(), 2)
        return SILENCE

    fake.answers["broker.status"] = interrupt
    result = run("--timeout", "5s", "status")
    assert (result.code, result.out) == (130, "")
    assert "Traceback" not in result.err


def test_130_on_interrupt_in_nurseries_and_a_fault_beside_it_is_not_hidden(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    raised: list[BaseException] = []

    def run_words(_words: list[str]) -> int:
        raise BaseExceptionGroup("nursery", [BaseExceptionGroup("inner", raised)])

    monkeypatch.setattr(main_module, "_run", run_words)
    raised.append(KeyboardInterrupt())
    assert main_module.main(["status"]) == 130
    raised.append(ValueError("ours"))
    with pytest.raises(BaseExceptionGroup):
        main_module.main(["status"])


def test_a_program_of_ones_own_gets_an_interrupt_as_one() -> None:
    async def interrupted(*others: Exception) -> None:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(trio.sleep, 1)
            raise BaseExceptionGroup("", [KeyboardInterrupt(), *others]) if others else KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        program.run(interrupted)
    with pytest.raises(BaseExceptionGroup):
        program.run(interrupted, ValueError("ours"))


def test_our_own_fault_is_called_so_and_shows_no_traceback(fake: FakeBroker, run: Run) -> None:
    fake.answers["broker.status"] = {"not": "what we need"}
    assert run("status") == (
        1,
        "",
        "error: KeyError: 'size'\n"
        "  hint: brokersim itself is at fault, or the peer's answer has another form\n"
        "  try:  brokersim --debug status\n",
    )


def test_debug_shows_the_traceback_of_a_foreseen_failure_too(fake: FakeBroker, run: Run) -> None:
    assert "Traceback" not in run("getattr", "nope").err
    fake.answers["broker.status"] = {}
    for words in (("--debug", "getattr", "nope"), ("getattr", "nope", "--debug"), ("--debug", "status")):
        assert "Traceback" in run(*words).err


def test_colour_is_for_terminals_unless_forced(
    fake: FakeBroker, run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    plain, red = "error: no attribute", "\x1b[31merror:\x1b[0m no attribute"
    assert run("getattr", "nope").err.startswith(plain)
    assert run("--color=always", "getattr", "nope").err.startswith(red)
    assert run("--color", "getattr", "nope").err.startswith(red), "a bare --color means always"
    assert run("getattr", "--color=always", "nope").err.startswith(red)
    monkeypatch.setenv("FORCE_COLOR", "1")
    assert run("getattr", "nope").err.startswith(red)
    monkeypatch.setenv("NO_COLOR", "1")
    assert run("getattr", "nope").err.startswith(plain)
    assert run("--color=always", "getattr", "nope").err.startswith(red)


def test_a_reader_that_went_away_is_no_error_message(fake: FakeBroker) -> None:
    fake.answers["log.dmesg"] = [f"<48>1 2026-11-22T00:00:00Z 0 kvs - - - line {n}\0" for n in range(5000)]
    probe = [sys.executable, "-m", "brokersim.cli.main", "dmesg"]
    reader = subprocess.Popen(["head", "-n1"], stdin=subprocess.PIPE, stdout=subprocess.DEVNULL)
    done = subprocess.run(probe, stdout=reader.stdin, stderr=subprocess.PIPE, text=True, timeout=60)
    assert reader.stdin is not None
    reader.stdin.close()
    reader.wait()
    assert (done.returncode, done.stderr) == (1, "")


def test_a_full_disk_behind_stdout_is_told(fake: FakeBroker) -> None:
    with open("/dev/full", "wb") as full:
        done = subprocess.run(
            [sys.executable, "-m", "brokersim.cli.main", "lsattr"],
            stdout=full,
            stderr=subprocess.PIPE,
            text=True,
        )
    assert (done.returncode, done.stderr) == (1, "error: cannot write or read: No space left on device\n")


def test_a_locale_without_our_characters_gets_others(fake: FakeBroker) -> None:
    fake.answers["job-ingest.submit"] = {"id": 5272022024192}
    done = subprocess.run(
        [sys.executable, "-m", "brokersim.cli.main", "job", "submit", "true"],
        env={**os.environ, "PYTHONIOENCODING": "ascii"}, capture_output=True,
    )  # fmt: skip
    assert (done.returncode, done.stdout, done.stderr) == (0, b"f3PVFXvJb\n", b"")


def test_a_group_without_a_command_is_wrong_use(run: Run) -> None:
    assert run("kvs") == (2, "", "error: missing command\n  try:  brokersim kvs --help\n")


def test_no_words_at_all_print_the_help(run: Run) -> None:
    assert run() == run("--help")


def test_verbose_shows_requests_and_quiet_silences_talk(fake: FakeBroker, run: Run) -> None:
    assert run("-v", "getattr", "size").err == '> attr.get {"name":"size"}\n'
    fake.answers["kvs.ping"] = lambda request: request.payload
    assert "received" in run("ping", "-i", "0", "-c", "2", "kvs").err
    assert run("-q", "ping", "-i", "0", "-c", "2", "kvs").err == ""


def test_main_is_what_the_console_script_calls() -> None:
    assert main_module.main(["--version"]) == 0


@pytest.mark.parametrize(
    ("error", "text"),
    [
        (
            OSError(errno.ENOSPC, "No space left on device", "out/index.html"),
            "out/index.html: No space left on device",
        ),
        (
            OSError(errno.ENOSPC, "No space left on device", b"out/\xff"),
            "out/\udcff: No space left on device",
        ),
        (OSError(errno.ENOSPC, "No space left on device"), "No space left on device"),
        (OSError("no reason"), "no reason"),
        (RequestError(errno.ENOENT, "no such key"), str(RequestError(errno.ENOENT, "no such key"))),
        (ValueError("not a number"), "not a number"),
    ],
)
def test_an_error_of_the_system_is_its_path_and_what_is_wrong(error: Exception, text: str) -> None:
    assert text_of(error) == text


def test_a_wrong_use_is_told_with_the_help_of_the_command_it_was_of() -> None:
    context = click.Context(click.Command("ping"), info_name="brokersim ping")
    for error, attempt in (
        (click.UsageError("No such thing.", ctx=context), "brokersim ping --help"),
        (click.UsageError("No such thing."), "brokersim job --help"),
    ):
        told = explain(error, "brokersim job")
        assert told is not None
        assert (told.what, told.attempt, told.hint) == ("no such thing", attempt, "")


@pytest.mark.parametrize("command", ["kvs get", "kvs put"])
def test_what_is_missing_is_told_with_what_lists_it_unless_it_is_made(command: str) -> None:
    noun, verb = command.split()
    keys = click.Argument(["keys"])
    outer = click.Context(click.Group("brokersim"), info_name="brokersim")
    context = click.Context(click.Command(verb), info_name=command, parent=outer)
    for one, param, hint in (
        (context, keys, "brokersim kvs ls shows what there is"), (None, keys, ""), (context, None, ""),
    ):  # fmt: skip
        told = explain(click.MissingParameter("x", one, param, param_hint="KEYS", param_type="argument"))
        assert told is not None
        assert told.hint == (hint if verb == "get" else ""), noun
