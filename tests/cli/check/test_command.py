"""`brokersim check`: a baseline of a command, the same command again, what differs, and how that is told."""

from __future__ import annotations

import json
import subprocess
import sys
import tomllib
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from xml.etree import ElementTree

import pytest

from brokersim.cli.check.output import to_nagios
from brokersim.kit.verdict import Compared
from brokersim.testing import modules
from tests.cli.conftest import Run

WORK = (sys.executable, "-m", "brokersim")
#: Asks a module four things over one connection, and once more if told to.
CLIENT = """
import sys
from brokersim.net.client import Client
from brokersim.net.discovery import find_uri
with Client.connect(find_uri()) as client:
    for number in range(int(sys.argv[1])):
        client.rpc("kvs.ping", {"seq": number})
    client.rpc("content.store", b"blob", raw=True)
sys.exit(int(sys.argv[2]))
"""
MODULES = "heartbeat,content-cache,content-sqlite,kvs"


Check = Callable[..., tuple[int, str, str]]


@pytest.fixture
def check(run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Check:
    """Run `check` in process, in an empty folder; (exit code, stdout, stderr)."""
    (tmp_path / "client.py").write_text(CLIENT)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("COLUMNS", "200")

    def in_process(*args: str) -> tuple[int, str, str]:
        done = run("check", *args)
        assert "Traceback" not in done.err
        return done.code, done.out, done.err

    return in_process


def client(rounds: int, code: int = 0) -> tuple[str, ...]:
    return "--", sys.executable, "client.py", str(rounds), str(code)


@pytest.fixture(scope="module")
def baseline(tmp_path_factory: pytest.TempPathFactory) -> str:
    """What the command, in a process of its own, keeps of four pings and a store."""
    folder = tmp_path_factory.mktemp("recorded")
    (folder / "client.py").write_text(CLIENT)
    words = [*WORK, "check", "-m", MODULES, "--record", "base.toml", *client(4)]
    done = subprocess.run(words, cwd=folder, capture_output=True, text=True, timeout=60)
    assert (done.returncode, done.stdout, done.stderr) == (
        0,
        "✓ 10 laws kept\n",
        "baseline written: base.toml\n",
    )
    return (folder / "base.toml").read_text()


@pytest.fixture
def recorded(check: Check, baseline: str, tmp_path: Path) -> Path:
    """A baseline of four pings and a store."""
    (tmp_path / "base.toml").write_text(baseline)
    return tmp_path / "base.toml"


def test_a_baseline_is_toml_with_the_command_the_settings_and_the_counters(recorded):
    found = tomllib.loads(recorded.read_text())
    assert found["run"]["command"][1:] == ["client.py", "4", "0"]
    assert {**found["run"], "command": ()} == {
        "command": (),
        "size": 1,
        "clock": "virtual",
        "seed": 0,
        "hook": "prepare",
        "resources": "1x4",
        "jobs": "simulated",
        "modules": MODULES.split(","),
    }
    assert found["operations"] == {"rpc": 5}
    assert found["topics"]["kvs.0"]["request_rx kvs.ping"] == 4
    assert found["counters"]["kvs.0"]["request_rx"] == sum(
        count for name, count in found["topics"]["kvs.0"].items() if name.startswith("request_rx ")
    )
    assert max(len(line) for line in recorded.read_text().splitlines()) < 160


def test_the_same_run_again_is_well_and_needs_no_command(check, recorded):
    code, out, err = check("--against", "base.toml")
    assert (code, err) == (0, "")
    assert out.endswith(" counters within tolerance\n✓ 10 laws kept\n")


def test_a_run_that_talks_more_is_told_with_its_topics(check, recorded):
    code, out, _ = check("--against", "base.toml", *client(6))
    assert code == 1
    assert "✗ kvs.0.request_rx   expected " in out and "\n    +2 kvs.ping\n" in out
    assert out.endswith("\n2 failures\n")
    assert "note: operations: 5 × rpc in the baseline, 7 here" in out


def test_a_tolerance_lets_it_pass_and_stays_in_the_file(check, recorded):
    more = ("--tolerance", "kvs.*.re*=60%")
    assert check("--against", "base.toml", *more, *client(6))[0] == 0
    recorded.write_text(recorded.read_text() + '\n[tolerances]\n"kvs.0.*" = "±60%"\n')
    assert check("--against", "base.toml", *client(6))[0] == 0
    assert check("--record", "base.toml", *client(5))[0] == 0
    assert check("--record", "base.toml")[0] == 0, "again: the same modules, the same command"
    found = tomllib.loads(recorded.read_text())
    assert (found["run"]["modules"], found["operations"]) == (MODULES.split(","), {"rpc": 6})
    assert tomllib.loads(recorded.read_text())["tolerances"] == {"kvs.0.*": "60%"}


def test_averages_per_operation_do_not_mind_how_many_there_are(check, tmp_path):
    loop = (
        "from brokersim.net.client import Client\nfrom brokersim.net.discovery import find_uri\nimport sys\n"
    )
    loop += (
        "with Client.connect(find_uri()) as c:\n    for n in range(int(sys.argv[1])): c.rpc('kvs.ping', {})\n"
    )
    (tmp_path / "loop.py").write_text(loop)
    ping = ("-m", "kvs,content-cache", "--", sys.executable, "loop.py")
    assert check("--record", "base.toml", *ping, "1000")[0] == 0
    tolerance = ("--tolerance", "*=1%")
    assert (
        check("--against", "base.toml", "--per", "rpc", *tolerance, "--", sys.executable, "loop.py", "1001")[
            0
        ]
        == 0
    )
    assert (
        check("--against", "base.toml", "--per", "rpc", *tolerance, "--", sys.executable, "loop.py", "500")[0]
        == 1
    )


def test_json_is_one_document_and_the_commands_output_is_not_in_it(check, recorded):
    shell = ("--", "sh", "-c", f"echo hello; {sys.executable} client.py 6 0")
    code, out, err = check("--json", "--against", "base.toml", *shell)
    document = json.loads(out)
    assert (code, document["ok"], "hello" in err) == (1, False, True)
    names = [one["name"] for one in document["differing"]]
    assert names == ["kvs.0.request_rx", "kvs.0.response_tx"]
    assert document["differing"][0]["topics"] == {"kvs.ping": 2}
    assert document["differing"][0]["per_operation"].endswith("/rpc")


def test_junit_has_a_case_a_counter_and_a_law(check, recorded, tmp_path):
    check("--against", "base.toml", "--junit", "out.xml", *client(6))
    suite = ElementTree.parse(tmp_path / "out.xml").getroot()
    failed = [case.get("name") for case in suite if case.find("failure") is not None]
    assert failed == ["kvs.0.request_rx", "kvs.0.response_tx"]
    assert int(suite.get("tests")) == len(suite) and int(suite.get("failures")) == 2
    check("--against", "base.toml", "--junit", "out.xml", *client(4, 3))
    suite = ElementTree.parse(tmp_path / "out.xml").getroot()
    assert [case.get("name") for case in suite if case.find("failure") is not None] == ["exit code"]
    assert any(case.get("name") == "answered (L3)" for case in suite)


@pytest.mark.parametrize(
    ("args", "code", "text"),
    [
        (client(4), 0, "BROKERSIM OK - "),
        (client(3), 1, "BROKERSIM WARNING - "),
        (client(6), 2, "BROKERSIM CRITICAL - "),
        (client(4, 5), 3, "BROKERSIM UNKNOWN - the command ended with 5, "),
        (("--", "no-such-command"), 3, "BROKERSIM UNKNOWN - cannot run 'no-such-command'"),
        (("--runs", "0", *client(4)), 3, "BROKERSIM UNKNOWN - Invalid value for '--runs'"),
        (("--laws", "L99", *client(4)), 3, "BROKERSIM UNKNOWN - --laws: no law 'L99'"),
    ],
)
def test_nagios_gets_one_line_and_its_own_codes(check, recorded, args, code, text):
    got, out, _ = check("--against", "base.toml", "--nagios", *args)
    assert (got, out.startswith(text), out.count("\n")) == (code, True, 1)


def test_a_broken_law_is_told_and_can_be_relaxed_with_a_reason(check, tmp_path):
    module = "from brokersim.brokermod import BrokerModule, request_handler\nclass M(BrokerModule):\n"
    module += "    @request_handler('ask')\n    def ask(self, msg):\n"
    module += "        for _ in range(2): self.handle.respond(msg)\n"
    (tmp_path / "double.py").write_text(module)
    run = ("-m", "double", "-M", ".", "--", sys.executable, "-m", "brokersim", "rpc", "double.ask")
    code, out, _ = check(*run)
    assert code == 1
    assert "✗ law answered (L3): every request is answered exactly once [1]" in out
    assert "double.0 answered double.ask" in out and out.endswith("✓ 8 laws kept\n2 failures\n")
    laws = json.loads(check("--json", *run)[1])["laws"]
    assert [(law["name"], law["number"]) for law in laws] == [("answered", "L3"), ("responses", None)]
    assert check("--laws", "links,L8", *run)[0] == 0
    assert check("--relax", "answered=it is double", "--relax", "responses=it is double", *run)[0] == 0
    assert check("--record", "base.toml", *run)[0] == 1 and not (tmp_path / "base.toml").exists()


def test_the_commands_exit_code_is_ours_and_then_nothing_is_recorded(check, tmp_path):
    assert check("-m", MODULES, *client(1, 7))[0] == 7
    code, _, err = check("-m", MODULES, "--record", "base.toml", *client(1, 7))
    assert (code, "the command ended with 7: no baseline is written" in err) == (7, True)
    assert not (tmp_path / "base.toml").exists()


def test_real_time_lists_what_varies_and_compares_the_rest(check, tmp_path):
    real = ("-m", MODULES, "--clock", "real", "--runs", "2")
    assert check(*real, "--record", "base.toml", *client(4))[0] == 0
    found = tomllib.loads((tmp_path / "base.toml").read_text())
    assert found["counters"]["kvs.0"]["request_rx"] and "heartbeat.pulse" not in str(found)
    assert check("--against", "base.toml")[0] == 0
    assert check("--against", "base.toml", *client(5))[0] == 1


@pytest.mark.parametrize(
    ("args", "text"),
    [
        ((), "error: check runs a command"),
        (("--against", "none.toml"), "error: none.toml: No such file or directory"),
        (("--against", "bad.toml"), "error: bad.toml: Invalid statement (at line 1, column 1)"),
        (
            ("--against", "other.toml"),
            "error: other.toml:1: a is no table of a baseline; there are format, run",
        ),
        (("--record", "other.toml", "--", "true"), "error: other.toml:1: a is no table of a baseline"),
        (("--against", "."), "error: .: Is a directory"),
        (("--against", "latin.toml"), "error: latin.toml: not UTF-8 text"),
        (
            ("--tolerance", "2%", "--", "true"),
            "error: invalid value for '--tolerance': '2%' has no counter; give",
        ),
        (
            ("-m", "none", "--", "no-such-command"),
            "error: cannot run 'no-such-command': No such file or directory",
        ),
        (("-m", "none", "--", "./bad.toml"), "error: cannot run './bad.toml': Permission denied"),
        (("-m", "nosuch", "--", "true"), "error: module 'nosuch' on rank 0: no module 'nosuch'"),
        (("--tolerance", "x=2%", "--", "true"), "error: --tolerance and --per compare with a baseline"),
        (("--tolerance", "x=lots", "--", "true"), "error: --tolerance: not a tolerance: 'lots'"),
        (("--laws", "L99", "--", "true"), "error: --laws: no law 'L99'"),
        (("--relax", "answered=", "--", "true"), "error: --relax: law answered is relaxed without a reason"),
        (("--clock", "never", "--", "true"), "error: not a clock: 'never'"),
        (
            ("--record", "no/such/base.toml", "-m", "none", "--", "true"),
            "error: invalid value for '--record': no/such/base.toml: No such file or directory",
        ),
    ],
)
def test_wrong_use_is_told_in_three_lines_and_exits_2(check, tmp_path, args, text):
    (tmp_path / "bad.toml").write_text("= 1")
    (tmp_path / "other.toml").write_text("a = 1")
    (tmp_path / "latin.toml").write_bytes(b"\xff")
    code, out, err = check(*args)
    assert (code, err.startswith(text), len(err.splitlines()) <= 3) == (2, True, True), err
    assert "✗" not in out


def test_what_does_not_start_is_told_with_the_start_that_shows_it(check):
    err = check("-m", "nosuch", "--", "echo", "well")[2]
    assert "brokersim start -- echo well " in err


def test_only_an_option_of_checks_own_asks_for_nagios_words(check):
    code, out, err = check("--runs", "0", "--", "true", "--nagios")
    assert (code, out) == (2, "") and "invalid value for '--runs'" in err
    code, out, _ = check("--nagios", "--runs", "0")
    assert (code, out.startswith("BROKERSIM UNKNOWN - ")) == (3, True)


def test_three_counters_that_differ_are_named_to_nagios_and_the_others_counted():
    def told(count: int) -> str:
        differing = [Compared(name=f"kvs.0.c{at}", expected=4, got=6, percent=0.0) for at in range(count)]
        verdict = SimpleNamespace(
            compared=[*differing, object()], differing=differing, violations=(), cost=None, is_costly=False
        )
        one = SimpleNamespace(verdict=verdict, run=SimpleNamespace(code=0))
        checked = SimpleNamespace(
            shown=one, judged=(one,), bad=(one,), plan=SimpleNamespace(laws=("a",)), state="CRITICAL"
        )
        return to_nagios(checked)

    named = "BROKERSIM CRITICAL - 1 counter and 1 law well" + "".join(
        f", kvs.0.c{at} 6 instead of 4" for at in range(3)
    )
    assert told(3) == named
    assert told(5) == f"{named}, and 2 counters more"


def test_a_new_baseline_is_written_from_an_old_one_only_if_all_is_well(check, recorded, tmp_path):
    recorded.write_text(recorded.read_text() + '\n[tolerances]\n"kvs.0.*" = "1%"\n"nobody.*" = "5%"\n')
    code, out, err = check("--against", "base.toml", "--record", "new.toml", *client(6))
    assert (code, "no baseline is written: something differs" in err) == (1, True)
    assert not (tmp_path / "new.toml").exists()
    code, out, _ = check("--against", "base.toml", "--record", "new.toml")
    assert (code, "note: tolerance 'nobody.*' is for no counter there is\n" in out) == (0, True)
    assert tomllib.loads((tmp_path / "new.toml").read_text())["tolerances"]["kvs.0.*"] == "1%"


def test_a_command_that_takes_too_long_is_ended_and_what_it_waited_for_is_told(check, tmp_path):
    (tmp_path / "silent.py").write_text(Path(modules.SILENT).read_text())
    silent = ("-m", "silent", "-M", ".", "--", sys.executable, "-m", "brokersim", "rpc", "silent.ask")
    code, out, err = check("--timeout", "3", *silent)
    assert (code, out) == (124, "")
    assert err.startswith(
        "error: the command did not end within 3 s\n  hint: open were: silent.ask from connector.0"
    )


def test_a_bound_on_cost_holds_or_is_told_with_what_was_used(check, tmp_path):
    real = ("-m", MODULES, "--clock", "real")
    # Five requests of which each may take a minute, and none may take anything.
    code, out, _ = check(*real, "--max-cost", "1m/rpc", "--json", *client(4))
    found = json.loads(out)["cost"]
    assert (code, found["ok"], found["most"], found["per_operation"]) == (0, True, 60, "rpc")
    assert 0 < found["got"] < 60
    code, out, _ = check(*real, "--max-cost", "0ms/rpc", "--junit", "cost.xml", *client(4))
    assert code == 1
    assert "✗ cost: the broker used " in out and "ms/rpc; at most 0ms/rpc\n" in out and "1 failure\n" in out
    (case,) = ElementTree.parse(tmp_path / "cost.xml").findall("testcase[@classname='brokersim.cost']")
    assert case.find("failure") is not None
    code, out, _ = check(*real, "--max-cost", "0%", "--nagios", *client(4))
    assert code == 2 and "cost: the broker used" in out


def test_a_bound_on_cost_is_refused_in_virtual_time(check):
    code, _, err = check("--max-cost", "5%", *client(4))
    assert code == 2
    assert err.splitlines()[0] == (
        "error: --max-cost bounds processor time, which the virtual clock does not know"
    )
