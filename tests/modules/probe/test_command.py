"""Commands as probes: what they print, how they end, and what those do that misbehave."""

from __future__ import annotations

import os
import sys
import time

import pytest

from brokersim import open_instance, run
from brokersim.brokermod import RequestError
from modules.probe.execution import STDERR_MAX, STDOUT_MAX, Ended
from modules.probe.parse import compiled, matched
from modules.probe.probes import checked
from tests.modules.probe.harness import documents, every, lined

PING = "64 bytes ttl=57 time=9.81 ms\n64 bytes ttl=58 time=10.2 ms\n64 bytes ttl=59 time=9.9 ms\n"
SAMPLE = r"ttl=(?P<ttl>\d+).*time=(?P<rtt>\d+\.\d+) "


def test_a_dot_ends_at_the_line_so_that_the_first_ttl_has_its_own_time():
    assert matched(PING, compiled(SAMPLE), {}) == [{"ttl": 57, "rtt": 9.81}]
    assert matched(PING, compiled(SAMPLE), {}, every=True) == [
        {"ttl": 57, "rtt": 9.81}, {"ttl": 58, "rtt": 10.2}, {"ttl": 59, "rtt": 9.9}
    ]  # fmt: skip
    # What BLiPP did: the first ttl with the last time.
    assert matched(PING, compiled(SAMPLE, "MS"), {}) == [{"ttl": 57, "rtt": 9.9}]


def test_several_expressions_make_one_reading_or_one_a_match_in_order_of_place():
    patterns = compiled([r"b=(?P<b>\d+)", r"a=(?P<a>\S+)"])
    assert matched("a=x b=1 a=y", patterns, {}) == [{"b": 1, "a": "x"}]
    assert matched("a=x b=1 a=y", patterns, {}, every=True) == [{"a": "x"}, {"b": 1}, {"a": "y"}]
    assert matched("b=007", patterns, {"b": "text"}) == [{"b": "007"}]
    assert matched("a= b=", patterns, {}) == []
    assert matched("c=1", compiled(r"(?P<c>\d)|(?P<d>x)"), {}) == [{"c": 1}]


def command(**config):
    return checked("command", config)


@pytest.mark.parametrize(
    ("config", "says"),
    [
        ({"regex": "(?P<a>x)"}, "give one of command, argv, pipeline, shell, not none"),
        ({"command": "a", "argv": ["a"], "regex": "(?P<a>x)"}, "not command and argv"),
        ({"command": "a"}, "give a regex with named groups, or parse: json"),
        ({"command": "a", "regex": "(x"}, "regex '(x'"),
        ({"command": "a", "regex": "x"}, "names no group"),
        ({"command": "a", "regex": ["(?P<a>x)", "(?P<a>y)"]}, "the group 'a' is in another one, too"),
        ({"command": "a", "regex": "(?P<a>x)", "flags": "Q"}, "no 'Q'"),
        ({"command": "a", "regex": "(?P<a>x)", "match": "last"}, "match must be first or all"),
        ({"command": "a", "regex": "(?P<a>x)", "convert": {"a": "date"}}, "convert/a must be int, float"),
        ({"command": "a ${b}", "regex": "(?P<a>x)"}, "there is no 'b' to put in"),
        ({"argv": "a b", "regex": "(?P<a>x)"}, None),
        ({"pipeline": [["a"], []], "regex": "(?P<a>x)"}, "a part of pipeline must be a list of words"),
        ({"command": "a", "parse": "json", "metrics": {"a": "b"}}, "a JSON pointer such as /tx/request"),
    ],
)
def test_a_command_that_cannot_be_is_refused_before_it_runs(config, says):
    if says is None:
        assert command(**config)["argv"] == ["a b"]
        return
    with pytest.raises(ValueError) as refused:
        command(**config)
    assert says in str(refused.value)


def measured(tmp_path, records, enough, seconds=20.0):
    """Measurements in real time until ``enough(statuses)`` holds; statuses by name, documents, the log."""
    path = tmp_path / "lines.jsonl"

    async def main():
        async with open_instance(modules=["probe"], clock="real") as instance:
            client = instance.client()
            await client.call("probe.reload", {"config": {"sinks": {"lines": {"path": str(path)}}}})
            for name, record in records.items():
                await client.call("probe.add", {"name": name, "record": record})
            until = time.monotonic() + seconds
            while time.monotonic() < until:
                await instance.sleep(0.02)
                found = {one["name"]: one for one in (await client.call("probe.status"))["measurements"]}
                if enough(found):
                    return found
            raise AssertionError(f"not in {seconds} s: {found}")

    return run(main, clock="real"), documents(path)


def runs(found, name):
    return found[name]["counts"].get("runs", 0)


def values(lines):
    names = {one["series"]["mid"]: one["series"]["name"] for one in lines if "series" in one}
    return {names[one["mid"]]: one["value"] for one in lines if "value" in one}


def test_output_becomes_metrics_through_rexec(tmp_path):
    once = {"type": "onetime"}
    regex = {"regex": r"n=(?P<n>\d+)"}
    records = {
        "plain": lined("command", once, {"command": "printf n=$v", "args": {"v": 0}, **regex}),
        "word": lined("command", once, {"command": "printf 'n=${v}'", "args": {"v": 5}, **regex}),
        "pipe": lined("command", once, {"pipeline": [["printf", "x\nn=7\n"], ["grep", "n"]], **regex}),
        "shell": lined("command", once, {"shell": "echo n=$((3*3))", **regex}),
        "stdin": lined("command", once, {"shell": "cat; echo n=11", **regex}),
        "json": lined(
            "command", once, {"argv": ["echo", '{"a": [4]}'], "parse": "json", "metrics": {"n": "/a/0"}}
        ),
        "none": lined("command", once, {"argv": ["echo", "nothing"], **regex}),
        "func": lined(
            "command", once, {"argv": ["echo", "n=4"], "transform": "collections:Counter", **regex}
        ),
        "bad": lined("command", once, {"shell": "echo why >&2; exit 3", **regex}),
        "absent": lined("command", once, {"argv": ["/nowhere/x"], **regex}),
        "pipe-bad": lined("command", once, {"pipeline": [["sh", "-c", "exit 4"], ["cat"]], **regex}),
    }
    found, lines = measured(
        tmp_path, records, lambda found: all(one["state"] == "DONE" for one in found.values())
    )
    got = values(lines)
    assert {name: value for name, value in got.items() if name.endswith(".n")} == {
        "word.n": 5, "pipe.n": 7, "shell.n": 9, "stdin.n": 11, "json.n": 4, "func.n": 4
    }  # fmt: skip
    assert found["none"]["counts"].get("nomatch") == 1 and "fail" not in found["none"]["counts"]
    assert found["bad"]["last_failure"] == "Failed: exit code 3: why"
    assert "nowhere" in found["absent"]["last_failure"] or "No such file" in found["absent"]["last_failure"]
    assert found["pipe-bad"]["last_failure"].startswith("Failed: exit code 4")


def test_those_that_misbehave_are_contained_and_their_siblings_never_notice(tmp_path):
    regex = {"regex": r"n=(?P<n>\d+)"}
    quick = {"timeout": 0.3, "restart": "never"}
    records = {
        "hangs": lined(
            "command", every(0.5), {"shell": "trap '' TERM; sleep 60; sleep 60", **regex}, **quick
        ),
        "floods": lined("command", every(1), {"shell": "yes n=1", **regex}, timeout=5, restart="never"),
        "forks": lined("command", every(0.5), {"shell": "sleep 61 & sleep 61", **regex}, **quick),
        "deaf": lined("command", every(0.5), {"shell": "exec <&- ; echo n=1", **regex}),
        "good": lined("dummy", every(0.05)),
    }
    found, lines = measured(
        tmp_path,
        records,
        lambda found: (
            found["hangs"]["state"] == found["floods"]["state"] == found["forks"]["state"] == "FAILED"
        ),
        60.0,
    )
    assert "no answer within 0.3 s" in found["hangs"]["reason"]
    assert found["hangs"]["counts"]["timeout"] == 3
    assert "printed more than 1048576 bytes and was killed" in found["floods"]["reason"]
    assert runs(found, "good") > 10 and "fail" not in found["good"]["counts"]
    assert values(lines)["deaf.n"] == 1


def test_a_plugin_has_a_state_whatever_it_does(tmp_path):
    once = {"type": "onetime"}
    records = {
        "ok": lined("nagios", once, {"argv": ["echo", "DISK OK | '/var log'=1.5GB;~:8 time=0.01s n=x"]}),
        "crit": lined("nagios", once, {"argv": ["sh", "-c", "echo down; exit 2"]}),
        "other": lined("nagios", once, {"argv": ["sh", "-c", "exit 42"]}),
        "killed": lined("nagios", once, {"argv": ["sh", "-c", "kill -9 $$"]}),
        "absent": lined("nagios", once, {"argv": ["/nowhere/x"]}),
        "slow": lined("nagios", once, {"argv": ["sleep", "60"]}, timeout=0.2),
    }
    _, lines = measured(
        tmp_path, records, lambda found: all(one["state"] == "DONE" for one in found.values())
    )
    got = values(lines)
    assert (got["ok._var_log"], got["ok.time"], got["ok.bad_items"], got["ok.state"]) == (1.5, 0.01, 1, "OK")
    assert got["crit.state"] == "CRITICAL"
    assert got["other.state"] == got["killed.state"] == got["absent.state"] == got["slow.state"] == "UNKNOWN"


def test_one_reading_of_a_command_by_message(tmp_path):
    async def main():
        async with open_instance(modules=["probe"], clock="real") as instance:
            client = instance.client()
            config = {"argv": ["echo", "n=3"], "regex": r"n=(?P<n>\d)"}
            answer = await client.call("probe.read", {"probe": "command", "config": config})
            with pytest.raises(RequestError) as refused:
                await client.call("probe.read", {"probe": "command", "config": {**config, "argv": ["false"]}})
            return answer, refused.value

    answer, error = run(main, clock="real")
    assert answer == {"readings": [{"subject": "node/0", "metrics": {"n": 3}}]}
    assert (error.errno, "exit code 1" in error.text) == (5, True)


def test_one_that_will_not_end_is_killed_with_its_children_after_its_grace(tmp_path, monkeypatch):
    pids = tmp_path / "pids"

    def are_gone():
        found = pids.read_text().split()
        return len(found) == 2 and not any(os.path.exists(f"/proc/{pid}") for pid in found)

    async def main():
        async with open_instance(modules=["probe"], clock="real") as instance:
            body = type(instance.module(0, "probe").handle.body).__module__
            monkeypatch.setattr(sys.modules[f"{body}.execution"], "GRACE", 0.1)
            shell = f"trap '' TERM; sleep 1000 & echo $$ $! > {pids}; while :; do wait; done"
            record = {"probe": "command", "config": {"shell": shell, "regex": "(?P<x>.)"}, "timeout": 0.5}
            record |= {"schedule": {"type": "onetime"}, "reporting": {"sinks": []}}
            await instance.client().call("probe.add", {"name": "m", "record": record})
            until = time.monotonic() + 20
            while not (pids.exists() and are_gone()) and time.monotonic() < until:
                await instance.sleep(0.05)

    run(main, clock="real")
    assert are_gone()


def test_what_was_too_much_is_told_of_the_stream_that_it_was():
    text = Ended(code=None, stderr=b"x" * STDERR_MAX, is_truncated=True).trouble
    assert text == "printed more than 65536 bytes of errors and was killed"
    text = Ended(code=None, stdout=b"x" * STDOUT_MAX, is_truncated=True).trouble
    assert text == "printed more than 1048576 bytes and was killed"
