"""replay, lint, explain, explain-retention: what they print, their JSON, their exit codes."""

from __future__ import annotations

import contextlib
import json
import sqlite3
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from brokersim.statsd.aggregator import Aggregator
from tests.cli.conftest import Run

CASES = json.loads((Path(__file__).parents[2] / "data" / "statsd_cases.json").read_text())


def write(path: Path, *records: tuple[float, str]) -> str:
    path.write_text("".join(json.dumps({"t": t, "data": data}) + "\n" for t, data in records))
    return str(path)


@pytest.fixture
def week7(tmp_path: Path) -> str:
    return write(
        tmp_path / "week7.jsonl",
        (0.5, "run:+30|g\nk:1|c"), (1.5, "run:0|g"), (2.5, "run:-15|g"), (3.5, "new:-10000|g\nbad"),
    )  # fmt: skip


# --- replay


def test_replay_prints_one_document_of_flushes_in_the_dialects_names(run: Run, week7: str):
    result = run("stats", "replay", "--dialect", "brubeck", "--flush", "2s", "--json", week7)
    assert (result.code, result.err) == (0, "")
    assert result.json == [
        {"t": 2.0, "values": {"run": 0, "k": 1}, "bad_lines": 0},
        {"t": 4.0, "values": {"run": -15, "k": 0, "new": -10000}, "bad_lines": 1},
    ]


def test_replay_reads_stdin_and_several_files_by_time(run: Run, tmp_path: Path):
    early = write(tmp_path / "a", (0.1, "g:1|g"), (2.1, "g:3|g"))
    late = b'{"t":1.1,"data":"g:2|g"}\n'
    result = run("stats", "replay", "--dialect", "brubeck", "--json", early, "-", stdin=late)
    assert [each["values"]["g"] for each in result.json] == [1, 2, 3]


def test_a_packet_at_the_flush_is_in_the_next_one_unless_inclusive(run: Run, tmp_path: Path):
    name = write(tmp_path / "a", (0.0, "k:1|c"), (1.0, "k:2|c"))
    for words, sums in (((), [1, 2]), (("--inclusive",), [3])):
        flushes = run("stats", "replay", "--dialect", "brubeck", "--json", *words, name).json
        assert [each["values"]["k"] for each in flushes] == sums


@pytest.mark.parametrize("case", [case for case in CASES if not case.get("phases") and not case["config"]][:12],
                         ids=lambda case: case["name"])  # fmt: skip
def test_replay_shows_what_the_aggregator_flushes(run: Run, tmp_path: Path, case: dict[str, Any]):
    name = write(tmp_path / "case", *((0.5, packet) for packet in case["lines"]))
    aggregator = Aggregator("etsy")
    for packet in case["lines"]:
        aggregator.feed(packet.encode())
    expected = dict(aggregator.flush(1.0).values)
    assert run("stats", "replay", "--dialect", "statsd", "--json", name).json[0]["values"] == expected


def test_replay_as_a_table_and_its_summary_apart(run: Run, week7: str):
    result = run("stats", "replay", "--dialect", "brubeck", "--flush", "10s", "--tsv", week7)
    assert result.out == "t_s\tName\tValue\n10\tk\t1\n10\trun\t-15\n10\tnew\t-10000\n"
    assert result.err == "1 flush of 4 packets, 1 bad line\n"


def test_two_dialects_that_differ_exit_1_and_say_where(run: Run, tmp_path: Path):
    name = write(tmp_path / "a", (0.5, "k:3|x\nj:1|c"))
    both = ("--dialect", "statsd", "--dialect", "strict")
    result = run("stats", "replay", *both, name)
    assert (result.code, result.out) == (1, "t_s  Key  etsy  strict\n  1  k|c     3  -\n")
    assert result.err == "etsy and strict: 1 difference in 1 packet\n"
    assert run("stats", "replay", *both, "--json", name).json == {
        "dialects": ["etsy", "strict"],
        "differences": [{"t": 1.0, "key": "k", "type": "c", "values": [3, None]}],
    }
    same = write(tmp_path / "b", (0.5, "j:1|c"))
    result = run("stats", "replay", *both, "--json", same)
    assert (result.code, result.json["differences"]) == (0, [])


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (("--dialect", "klingon", "F"), "no statsd dialect 'klingon'; there are strict"),
        (("--flush", "0", "F"), "a flush interval of 0.0 s; it must be"),
        (("--flush", "inf", "F"), "a flush interval of inf s"),
        (("-x", "2", "F"), "--speed needs a server to send to"),
        (("-x", "0", "--to", "127.0.0.1:1", "F"), "not a speed: '0'"),
        (("--to", "nowhere", "F"), "no statsd address 'nowhere'"),
        (("--to", "127.0.0.1:1", "--dialect", "etsy", "F"), "has its own dialect"),
        (("--dialect", "etsy", "--dialect", "strict", "--dialect", "brubeck", "F"), "at most two"),
        (("none.jsonl",), "none.jsonl: No such file or directory"),
        ((), "missing argument"),
    ],
)
def test_wrong_use_of_replay_is_told(run: Run, week7: str, words: tuple[str, ...], told: str):
    result = run("stats", "replay", *[week7 if word == "F" else word for word in words])
    assert (result.code, result.out) == (2, "")
    assert result.err.startswith("error: ")
    assert told in result.err


# --- lint


def test_lint_names_file_line_and_code_and_exits_1(run: Run, week7: str):
    result = run("stats", "lint", week7)
    assert result.code == 1
    assert result.out.splitlines()[:2] == [
        f"{week7}:2: S101 run:0|g  absolute 0 inside a series of increments: the running value is lost",
        "   hint: skip zero increments, or send totals",
    ]
    assert f"{week7}:4: S102 new:-10000|g  " in result.out
    assert f"{week7}:4: S107 bad  bad line: no_value" in result.out
    assert result.err == "3 findings in 6 lines\n"


def test_lint_of_a_sound_stream_is_silent_and_exits_0(run: Run, tmp_path: Path):
    result = run("stats", "lint", write(tmp_path / "a", (0.0, "k:1|c")))
    assert result == (0, "", "0 findings in 1 line\n")


def test_lint_as_JSON(run: Run, week7: str):
    result = run("stats", "lint", "--json", week7)
    assert result.code == 1
    assert (result.json["packets"], result.json["lines"]) == (4, 6)
    first = result.json["findings"][0]
    assert {key: first[key] for key in ("code", "t", "packet", "file_line", "line", "series", "times")} == {
        "code": "S101", "t": 1.5, "packet": 2, "file_line": 2, "line": "run:0|g", "series": "run", "times": 1,
    }  # fmt: skip
    assert first["text"]
    assert first["hint"]


def test_lint_takes_plain_lines_on_stdin(run: Run):
    result = run("stats", "lint", "--dialect", "collectd", stdin=b"k:1|c\n\nn:7|C\n")
    assert result.code == 1
    assert "-:3: S104 n:7|C  " in result.out


def test_lint_knows_the_store_and_what_should_be_there(run: Run, tmp_path: Path):
    name = write(tmp_path / "a", (0.0, "k:1|c"))
    result = run("stats", "lint", "--retention", "0.1s:1d", "--expect", "k", "--expect", "gone", name)
    assert result.code == 1
    assert (
        f"{name}: S111  retention that whisper cannot keep: 0.1s: whisper stores whole seconds" in result.out
    )
    assert "S108 gone  series that never arrived" in result.out
    assert "S108 k " not in result.out


def test_fix_rewrites_the_file_and_tells_what_is_left(run: Run, week7: str):
    result = run("stats", "lint", "--fix", week7)
    assert result.code == 1
    assert "S101" not in result.out
    assert "rewritten, 1 packet mended" in result.err
    assert json.loads(Path(week7).read_text().splitlines()[1]) == {"t": 1.5, "data": "run:+0|g"}
    before = Path(week7).read_bytes()
    assert "rewritten" not in run("stats", "lint", "--fix", week7).err
    assert Path(week7).read_bytes() == before


def test_fix_of_stdin_goes_to_stdout_and_the_findings_do_not(run: Run, week7: str):
    result = run("stats", "lint", "--fix", "-", stdin=Path(week7).read_bytes())
    assert result.code == 1
    assert [each["data"] for each in result.lines][1] == "run:+0|g"
    assert "S102" in result.err


def test_two_documents_cannot_both_go_to_stdout(run: Run, week7: str):
    result = run("stats", "lint", "--fix", "--json", "-", stdin=Path(week7).read_bytes())
    assert (result.code, result.out) == (2, "")
    assert "--json and --fix would both write to stdout" in result.err


@pytest.mark.parametrize("text", [b"# A page\n\nof: words, and more of them\n", b"\x89PNG\r\n\x1a\n:|\0\0"])
def test_lint_of_a_file_that_is_no_stream_stops_at_once_and_says_so(run: Run, tmp_path: Path, text: bytes):
    (tmp_path / "page.md").write_bytes(text)
    found = run("stats", "lint", str(tmp_path / "page.md"))
    assert (found.code, found.out) == (2, "")
    assert "page.md: no statsd stream: none of its first" in found.err


@pytest.mark.parametrize("command", ["lint", "replay", "explain"])
def test_a_database_is_told_from_a_stream_whatever_its_pages_hold(command: str, run: Run, tmp_path: Path):
    with contextlib.closing(sqlite3.connect(tmp_path / "a.db")) as database, database:
        database.execute("create table lines (line text)")
        database.executemany("insert into lines values (?)", [("\nflux.kvs.0.request_rx:5|g\n",)] * 50)
    found = run("stats", command, *(("run",) if command == "explain" else ()), str(tmp_path / "a.db"))
    assert (found.code, found.out) == (2, "")
    assert found.err.splitlines() == [
        f"error: {tmp_path}/a.db is a database, no recording of packets",
        f"  try:  brokersim runs show {tmp_path}/a.db, or a file of: brokersim stats record out.jsonl",
    ]


def test_lint_reads_a_stream_with_a_mark_of_its_editor_and_one_wrong_line_before_it(run: Run, tmp_path: Path):
    (tmp_path / "lines").write_bytes(b"\xef\xbb\xbfflux.kvs.0.request_rx:5|g\n")
    assert run("stats", "lint", str(tmp_path / "lines")).code == 0
    (tmp_path / "lines").write_bytes(b"odd\nflux.kvs.0.request_rx:5|g\n")
    found = run("stats", "lint", str(tmp_path / "lines"))
    assert (found.code, "S107" in found.out) == (1, True)


def test_fix_of_plain_lines_keeps_them_plain(run: Run, tmp_path: Path):
    path = tmp_path / "lines.txt"
    path.write_text("run:+5|g\nrun:0|g\n")
    assert run("stats", "lint", "--fix", str(path)).code == 0
    assert path.read_text() == "run:+5|g\nrun:+0|g\n"


# --- explain


def test_explain_names_the_packets_that_made_a_value(run: Run, week7: str):
    for series in ("run", "gauges.run", "stats.gauges.run"):
        result = run("stats", "explain", series, week7, "--tsv", "-n")
        assert result.out.splitlines() == [
            "1\t0.5\t1\trun:+30|g\tadd 30\t0\t30",
            "2\t1.5\t2\trun:0|g\tset 0\t30\t0",
            "3\t2.5\t3\trun:-15|g\tadd -15\t0\t-15",
        ]
    assert result.err == f"3 lines of 3 packets, of 4 packets in {week7}\n"


def test_explain_one_flush_as_JSON_from_stdin(run: Run, week7: str):
    result = run("stats", "explain", "run", "--at", "2s", "--json", stdin=Path(week7).read_bytes())
    assert result.json == [
        {
            "packet": 2,
            "t": 1.5,
            "flush_t": 2.0,
            "line": "run:0|g",
            "effect": "set 0",
            "before": 30,
            "after": 0,
        }
    ]


def test_explain_of_a_series_that_is_not_there_names_a_similar_one(run: Run, week7: str):
    result = run("stats", "explain", "gauges.rum", week7)
    assert (result.code, result.out) == (1, "")
    assert "went into 'gauges.rum'" in result.err
    assert "a similar one that is there: gauges.run" in result.err
    result = run("stats", "explain", "run", "--at", "9s", week7)
    assert (result.code, "there are some at 1 to 3" in result.err) == (1, True)


# --- explain-retention


def test_a_retention_whisper_cannot_keep_is_told_in_full(run: Run):
    result = run("stats", "explain-retention", "0.1s:1d")
    assert (result.code, result.out) == (1, "")
    assert result.err == (
        "error: 0.1s: whisper stores whole seconds (minimum 1s); carbon refuses to start with it; "
        "one already running keeps its old rule (60s:1d by default)\n"
        "  try:  1s:1d = 86,400 points, 1.04 MB a series; files that exist keep their old layout\n"
    )
    result = run("stats", "explain-retention", "--json", "0.1s:1d")
    assert (result.code, result.json["ok"], result.json["archives"]) == (1, False, [])


def test_a_good_retention_is_counted_and_a_faster_flush_warned_of(run: Run):
    assert run("stats", "explain-retention", "1s:1d") == (0, "1s:1d = 86,400 points, 1.04 MB a series\n", "")
    result = run("stats", "explain-retention", "--flush", "10s", "--json", "60s:1h,5m:1d")
    assert result.json["archives"] == [
        {"step_s": 60, "points": 60, "length_s": 3600}, {"step_s": 300, "points": 288, "length_s": 86400},
    ]  # fmt: skip
    assert "one gauge in 6 is kept" in result.json["hint"]
    assert run("stats", "explain-retention", "soon").code == 2


# --- all of them


def test_tools_on_recordings_import_no_trio(tmp_path: Path):
    name = write(tmp_path / "a", (0.0, "k:1|c"))
    commands = [
        ["replay", "--json", name], ["lint", name], ["explain", "k", name], ["explain-retention", "1s:1d"],
        ["send", "-t", "127.0.0.1:9", "k:1|c"], ["record", "--for", "0", "-l", "127.0.0.1:0", str(tmp_path / "out")],
        ["tail", "-l", "nowhere"], ["serve", "-h"], ["-h"],
    ]  # fmt: skip
    probe = (
        "import sys\nfrom brokersim.cli.main import main\n"
        f"for words in {commands!r}: main(['stats', *words])\n"
        "print('HEAVY', [name for name in ('trio', 'asyncio', 'rich') if name in sys.modules], file=sys.stderr)"
    )
    done = subprocess.run([sys.executable, "-c", probe], capture_output=True, text=True, check=True)
    assert done.stderr.splitlines()[-1] == "HEAVY []"


COMMANDS = ("serve", "tail", "send", "record", "replay", "lint", "explain", "explain-retention")


@pytest.mark.parametrize("name", COMMANDS)
def test_help_fits_a_screen_and_begins_with_examples(run: Run, name: str):
    result = run("stats", name, "-h")
    assert (result.code, result.err) == (0, "")
    assert result.out.startswith(f"  brokersim stats {name}")
    assert len(result.out.splitlines()) <= 24
    assert max(map(len, result.out.splitlines())) <= 100


def test_the_group_lists_its_commands(run: Run):
    out = run("stats", "-h").out
    assert all(f"\n  {name} " in out for name in COMMANDS)
    assert "a similar one is: lint" in run("stats", "lnt").err
