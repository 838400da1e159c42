"""PMI: what the tasks of a job ask, and what they are answered; in a real job, too."""

from __future__ import annotations

import sys

import pytest
from hypothesis import given
from hypothesis import strategies as st

from modules.job_exec.pmi import KEY_MAX, LINE_MAX, VALUE_MAX, Aborted, Lines, Pmi, ProtocolError, to_pmi
from tests.modules.job_harness import in_instance, log_of, outcome, real, submit


def two(**given_from_the_start: str) -> Pmi:
    """A job of two tasks on two nodes."""
    return Pmi("f1", (0, 1), given_from_the_start)


@pytest.mark.parametrize(
    ("line", "answer"),
    [
        (
            "cmd=init pmi_version=1 pmi_subversion=1",
            "cmd=response_to_init rc=0 pmi_version=1 pmi_subversion=1",
        ),
        ("cmd=init pmi_version=2 pmi_subversion=0", "cmd=response_to_init rc=-1"),
        ("cmd=init pmi_version=1 pmi_subversion=0", "cmd=response_to_init rc=-1"),
        ("cmd=get_maxes", "cmd=maxes rc=0 kvsname_max=64 keylen_max=64 vallen_max=1024"),
        ("cmd=get_universe_size", "cmd=universe_size rc=0 size=2"),
        ("cmd=get_appnum", "cmd=appnum rc=0 appnum=0"),
        ("cmd=get_my_kvsname", "cmd=my_kvsname rc=0 kvsname=f1"),
        ("cmd=get kvsname=f1 key=there", "cmd=get_result rc=0 value=a b"),
        ("cmd=get kvsname=f1 key=not", "cmd=get_result rc=4"),
        (f"cmd=get kvsname=f1 key={'k' * KEY_MAX}", "cmd=get_result rc=5"),
        (f"cmd=put kvsname=f1 key={'k' * KEY_MAX} value=v", "cmd=put_result rc=5"),
        (f"cmd=put kvsname={'n' * 64} key=k value=v", "cmd=put_result rc=8"),
        (f"cmd=put kvsname=f1 key=k value={'v' * VALUE_MAX}", "cmd=put_result rc=7"),
        ("cmd=finalize", "cmd=finalize_ack rc=0"),
        ("cmd=publish_name service=x port=y", "cmd=publish_result rc=-1 msg=command not implemented"),
        ("cmd=lookup_name service=x", "cmd=lookup_result rc=-1 msg=command not implemented"),
    ],
)
def test_a_request_has_its_answer(line, answer):
    assert two(there="a b").ask(0, line) == [(0, answer)]


def test_what_one_task_puts_the_other_gets_but_for_what_is_its_nodes_own():
    pmi = two()
    for key, value in (("k", "v = w found=TRUE"), ("local::k", "mine")):
        assert pmi.ask(0, f"cmd=put kvsname=f1 key={key} value={value}") == [(0, "cmd=put_result rc=0")]
    assert pmi.ask(1, "cmd=get kvsname=f1 key=k") == [(1, "cmd=get_result rc=0 value=v = w")]
    assert pmi.ask(0, "cmd=get kvsname=f1 key=local::k") == [(0, "cmd=get_result rc=0 value=mine")]
    assert pmi.ask(1, "cmd=get kvsname=f1 key=local::k") == [(1, "cmd=get_result rc=4")]


def test_a_barrier_opens_for_all_when_the_last_has_come():
    pmi = two()
    for _ in range(2):
        assert pmi.ask(1, "cmd=barrier_in") == []
        assert pmi.ask(0, "cmd=barrier_in") == [(1, "cmd=barrier_out rc=0"), (0, "cmd=barrier_out rc=0")]


def test_a_spawn_is_read_to_its_end_and_refused():
    pmi = two()
    assert [pmi.ask(0, line) for line in ("mcmd=spawn", "nprocs=1", "cmd=init")] == [[], [], []]
    assert pmi.ask(0, "endcmd") == [(0, "cmd=spawn_result rc=-1")]


def test_more_than_a_job_may_put_is_refused(monkeypatch):
    monkeypatch.setattr("modules.job_exec.pmi.STORE_MAX", 10)
    pmi = two()
    assert pmi.ask(0, "cmd=put kvsname=f1 key=k value=12345678") == [(0, "cmd=put_result rc=0")]
    assert pmi.ask(0, "cmd=put kvsname=f1 key=l value=12345678") == [(0, "cmd=put_result rc=2")]


def test_an_abort_says_why_if_it_is_told():
    with pytest.raises(Aborted, match=r"^no more$"):
        two().ask(0, "cmd=abort exitcode=1 error_msg=no more")
    with pytest.raises(Aborted, match=r"^aborted$"):
        two().ask(0, "cmd=abort")


@pytest.mark.parametrize(
    "line",
    [
        "",
        "cmd=",
        "cmd=nonsense",
        "cmd=init pmi_version=x",
        f"cmd=init pmi_version={'1' * 5000} pmi_subversion=1",
        "cmd=put key=k value=v",
        "cmd=put kvsname=f1 key=k",
    ],
)
def test_what_is_no_request_is_told(line):
    with pytest.raises(ProtocolError):
        two().ask(0, line)


@given(st.lists(st.binary(max_size=30)), st.integers(1, 7))
def test_lines_are_put_together_from_any_pieces(lines, size):
    lines = [line.replace(b"\n", b" ") for line in lines]
    whole, taker, found = b"".join(line + b"\n" for line in lines), Lines(), []
    for at in range(0, len(whole), size):
        found += taker.take(whole[at : at + size])
    assert [line.encode(errors="surrogateescape") for line in found] == lines


def test_a_line_without_an_end_is_not_read_for_ever():
    taker = Lines()
    assert taker.take(b"x" * LINE_MAX) == []
    with pytest.raises(ProtocolError, match="longer than 8192 bytes"):
        taker.take(b"x")


@pytest.mark.parametrize(
    ("options", "is_on"),
    [
        ({}, True), ({"pmi": "off"}, False), ({"pmi": "unknown"}, False), ({"pmi": "unknown,simple"}, True),
        ({"pmi": "pmi2"}, True), ({"pmi": "pmi1"}, True),
    ],
)  # fmt: skip
def test_an_option_turns_it_off(options, is_on):
    assert to_pmi(options).is_on is is_on


@pytest.mark.parametrize(
    "options",
    [
        {"pmi": {"badopt": 1}}, {"pmi-simple": {"exchange": {"badopt": 1}}}, {"pmi-simple": {"kvs": "unknown"}},
        {"pmi-simple": {"exchange": {"k": "foo"}}}, {"pmi-simple": {"nomap": "foo"}}, {"pmi-simple": 3},
    ],
)  # fmt: skip
def test_an_option_that_is_none_is_refused(options):
    with pytest.raises(ValueError, match="shell option pmi"):
        to_pmi(options)


TALK = """
import os, sys
fd = int(os.environ["PMI_FD"])
pipe = os.fdopen(fd, "r+b", buffering=0)
def ask(line):
    pipe.write(line.encode() + b"\\n")
    answer = b""
    while not answer.endswith(b"\\n"):
        answer += pipe.read(1)
    return answer.decode().strip()
rank = os.environ["PMI_RANK"]
"""
EXCHANGE = (
    TALK
    + """
ask("cmd=init pmi_version=1 pmi_subversion=1")
ask(f"cmd=put kvsname=x key=card{rank} value=of-{rank}")
ask("cmd=barrier_in")
other = 1 - int(rank)
print(rank, os.environ["PMI_SIZE"], ask(f"cmd=get kvsname=x key=card{other}"))
print(rank, ask("cmd=get kvsname=x key=PMI_process_mapping"))
"""
)
ABORT = (
    TALK
    + """
if rank == "0":
    pipe.write(b"cmd=abort exitcode=3 error_msg=enough\\n")
import time
time.sleep(60)
"""
)
NONSENSE = (
    TALK
    + """
if rank == "0":
    pipe.write(b"hello\\n")
import time
time.sleep(60)
"""
)


def ended(program, slots=2, clock="virtual", **system):
    """(outcome with its exception's note, output, other lines of its log) of a job whose tasks run this program."""

    async def test(_instance, client):
        job = await submit(client, real(sys.executable, "-c", program, slots=slots, **system))
        answer = await outcome(client, job)
        raised = [event["context"] for event in await log_of(client, job) if event["name"] == "exception"]
        answer["note"] = raised[0]["note"] if raised else ""
        return answer, await log_of(client, job, "guest.output")

    answer, events = in_instance(test, clock=clock)
    text = "".join(event["context"].get("data", "") for event in events if event["name"] == "data")
    return answer, text, [event["context"]["message"] for event in events if event["name"] == "log"]


def test_the_tasks_of_a_job_exchange_their_cards():
    answer, text, notes = ended(EXCHANGE)
    assert (answer["success"], notes) == (True, [])
    assert sorted(text.splitlines()) == [
        "0 2 cmd=get_result rc=0 value=of-1",
        "0 cmd=get_result rc=0 value=(vector,(0,1,2))",
        "1 2 cmd=get_result rc=0 value=of-0",
        "1 cmd=get_result rc=0 value=(vector,(0,1,2))",
    ]


def test_a_task_that_aborts_ends_the_job():
    answer, _text, _notes = ended(ABORT, clock="real")
    assert answer["note"] == "PMI_Abort: enough"
    assert answer["status"] == 143 << 8


def test_a_task_that_speaks_another_language_ends_the_job():
    answer, _text, notes = ended(NONSENSE, clock="real")
    assert answer["note"] == notes[-1] == "PMI-1 wire protocol error: 'hello' is no request"


def test_bytes_that_are_no_text_are_replaced_where_a_log_has_them():
    abort = ABORT.replace("=enough", "=\\xff").replace('b"cmd=abort', 'b"cmd=abort')
    answer, _text, notes = ended(abort, clock="real", shell={"options": {"verbose": 2}})
    assert answer["note"] == "PMI_Abort: \ufffd"
    assert "pmi-simple: 0: C: cmd=abort exitcode=3 error_msg=\ufffd" in notes


def test_a_task_that_does_not_read_its_answers_ends_the_job():
    never = (
        TALK
        + """
while True:
    pipe.write(b"cmd=get_maxes\\n" * 100)
"""
    )
    answer, _text, _notes = ended(never, slots=1, clock="real")
    assert answer["note"] == "PMI-1 wire protocol error: a task does not read its answers"


def test_with_verbose_2_the_log_has_what_is_said():
    _answer, _text, notes = ended(EXCHANGE, shell={"options": {"verbose": 2}})
    assert "pmi-simple: 0: C: cmd=init pmi_version=1 pmi_subversion=1" in notes
    assert "pmi-simple: 1: S: cmd=barrier_out rc=0" in notes


def test_without_pmi_a_task_has_nothing_of_it():
    answer, text, _notes = ended(
        "import os; print([name for name in os.environ if name.startswith('PMI')])",
        slots=1,
        shell={"options": {"pmi": "off"}},
    )
    assert (answer["success"], text) == (True, "[]\n")


def test_a_process_that_keeps_the_channel_does_not_keep_the_job():
    program = (
        "import os, subprocess\n"
        "fd = int(os.environ['PMI_FD'])\n"
        "os.write(fd, b'cmd=get_appnum\\n')\n"
        "subprocess.Popen(['sleep', '60'], pass_fds=[fd], start_new_session=True, stdin=-3, stdout=-3, stderr=-3)\n"
    )
    answer, _text, _notes = ended(program, slots=1)
    assert answer["success"]
