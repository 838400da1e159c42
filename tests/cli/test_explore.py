"""`brokersim explore`: exit codes, what is printed, replay."""

from __future__ import annotations

import errno
import re
import shutil
from pathlib import Path

import pytest

from brokersim.explore import search
from tests.explore.planted import PLANTED, plant

RACING = str(Path(__file__).parent.parent / "explore" / "racing.py")
ROOT = Path(__file__).parent.parent.parent


@pytest.fixture(autouse=True)
def elsewhere(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)


def test_a_find_is_told_in_fifteen_lines_kept_and_replayed(run):
    found = run("explore", RACING, "--size", "1", "--model", "none")
    lines = found.out.splitlines()
    assert found.code == 1 and len(lines) <= 17
    assert lines[0].startswith("✗ always: adds_up (line ")
    assert sum("step " in line for line in lines) == 2
    replay = next(line for line in lines if line.startswith("replay: "))
    path = replay.split()[4]
    assert Path(path).parent.name == "explore-plans"
    again = run("explore", RACING, "--replay", path, "--trace")
    assert again.code == 1 and lines[0] in again.out and "racing.add" in again.out
    assert run("explore", RACING, "--replay", path, "--trace").out == again.out
    assert run("explore", RACING, "--json", "--examples", "1").json["find"]["seed"] is None


def test_a_find_is_replayed_by_itself_and_stands_in_nobody_elses_way(run, tmp_path):
    path = tmp_path / "mine.py"
    path.write_text(Path(RACING).read_text())
    words = ("--size", "1", "--model", "none")
    found = run("explore", str(path), *words)
    replay = next(line for line in found.out.splitlines() if line.startswith("replay: ")).split()[2:]
    again = run(*(word for word in replay if word != str(path)))
    assert again.code == 1 and found.out.splitlines()[0] in again.out
    other = run("explore", "--only", "events", "--examples", "3", *words)
    assert (other.code, "plans of other modules, passed over: 1 of 1" in other.err) == (0, True)
    hello = str(Path(__file__).parents[2] / "examples" / "hello.py")
    another = run("explore", hello, "--examples", "3", *words)
    assert (another.code, "plans of other modules, passed over: 1 of 1" in another.err) == (0, True)
    path.unlink()
    assert run("explore", "--only", "events", "--examples", "3", *words).code == 0
    gone = run(*(word for word in replay if word != str(path)))
    assert (gone.code, "itself is at fault" in gone.err) == (2, False)


def test_a_find_that_cannot_be_kept_is_told_all_the_same(run, monkeypatch):
    def refuse(*_):
        raise OSError(errno.ENOSPC, "No space left on device", "explore-plans")

    monkeypatch.setattr("brokersim.explore.search.keep", refuse)
    found = run("explore", RACING, "--size", "1", "--model", "none")
    assert found.code == 1 and "✗ always: adds_up" in found.out
    assert "the plan is not kept: explore-plans: No space left on device" in found.err


def test_a_clean_run_says_how_much_was_seen(run):
    done = run("explore", "--only", "events,modules", "--examples", "10", "--size", "1-2")
    assert done.code == 0
    assert done.out.startswith("10 examples, ")
    document = run("explore", "--only", "events", "--examples", "5", "--json").json
    assert (document["ok"], document["examples"], document["find"]) == (True, 5, None)


def interrupted_at(monkeypatch, number: int) -> None:
    """The ``number``-th plan (from 1) is broken off by a ^C."""
    runs = []

    def run_plan(*args, **more):
        runs.append(args)
        if len(runs) == number:
            raise BaseExceptionGroup("nursery", [KeyboardInterrupt()])
        return run_one(*args, **more)

    run_one = search.run_plan
    monkeypatch.setattr(search, "run_plan", run_plan)


def test_a_search_that_is_broken_off_tells_what_it_has_searched(run, monkeypatch):
    interrupted_at(monkeypatch, 4)
    done = run("explore", "--only", "events", "--size", "1")
    first, second = done.out.splitlines()[:2]
    assert (done.code, first) == (130, "broken off, all clean; until then:")
    assert second.startswith("3 examples, ") and "warning" not in done.out
    interrupted_at(monkeypatch, 1)
    done = run("explore", "--only", "events", "--json")
    assert (done.code, done.json["examples"], done.json["broken_off"]) == (130, 0, True)


def test_a_find_whose_shrinking_is_broken_off_is_told_and_kept(run, monkeypatch):
    interrupted_at(monkeypatch, 6)
    done = run("explore", RACING, "--size", "1", "--model", "none", "--film", "x.html")
    lines = done.out.splitlines()
    assert done.code == 130 and lines[0].startswith("✗ always: adds_up (line ")
    # Below all that broke of it: unshrunk it may be more than one thing.
    assert any("; not shrunk, as it was broken off: " in line for line in lines[1:])
    assert "broken off; until then:" in lines and Path("x.html").exists()
    [path] = Path("explore-plans").iterdir()
    assert run("explore", RACING, "--replay", str(path)).code == 1


def test_what_is_not_an_interrupt_is_not_taken_for_one(run, monkeypatch):
    def run_plan(*_args, **_more):
        raise BaseExceptionGroup("nursery", [KeyboardInterrupt(), ValueError("ours")])

    monkeypatch.setattr(search, "run_plan", run_plan)
    with pytest.raises(BaseExceptionGroup, match="nursery"):
        run("explore", "--only", "events", "--size", "1")


def test_where_the_film_is_is_said(run):
    done = run("explore", "--only", "events", "--replay", "3", "--film", "x.html")
    assert (done.code, done.err) == (0, "x.html: a page that plays this plan\n")
    assert '<h1 class="held">✓ nothing broke</h1>' in Path("x.html").read_text()


def test_a_seed_is_replayed(run):
    done = run("explore", "--only", "events", "--replay", "3", "--json")
    assert done.code == 0 and done.json["plan"]["families"] == ["events"]
    assert run("explore", "--only", "events", "--replay", "3", "--json").out == done.out


@pytest.mark.parametrize(
    ("args", "says"),
    [
        (["--only", "kv"], "--only: no family 'kv'; there are kvs, watch"),
        (["--size", "3-1"], "--size '3-1': give a number of ranks"),
        (["--size", "many"], "--size 'many'"),
        (["--seconds", "0"], "give more than 0, such as 90s or 2m, not '0'"),
        (["--seconds", "2x"], "not a duration: '2x'"),
        (["--replay", "nowhere.json"], "no plan 'nowhere.json': No such file or directory"),
        (["./nowhere.py"], "nowhere.py"),
        (["--replay", RACING], "is no plan: "),
    ],
)
def test_what_cannot_be_meant_is_exit_code_2(run, args, says):
    done = run("explore", *args)
    assert done.code == 2 and says in done.err, done.err


def test_how_long_may_be_said_in_any_unit(run):
    done = run("explore", "--only", "events", "--seconds", "1ms", "--json")
    assert done.code == 0 and done.json["examples"] == 1


def test_families_are_meant_by_their_modules_too(run):
    for name, family in (("sched", "jobs"), ("content-cache", "content"), ("heartbeat", "cron")):
        done = run("explore", "--only", name, "--replay", "3", "--json")
        assert done.code == 0 and done.json["plan"]["families"] == [family]


def test_a_changed_copy_of_a_shipped_module_is_explored(run, tmp_path):
    bug = next(bug for bug in PLANTED if bug.name == "a namespace removed under who waits in it")
    done = run("explore", "-M", str(plant(bug, tmp_path)), "--only", "kvs", "--size", "1")
    assert done.code == 1 and "where there is none any more" in done.out


def test_what_the_page_says_one_can_type_says_what_the_page_says(tmp_path, monkeypatch, run):
    page = (ROOT / "docs" / "explore.md").read_text()
    command, *shown = re.findall(r"```\n\$ brokersim (.*?)```", page, re.DOTALL)[0].splitlines()
    shutil.copytree(ROOT / "examples" / "explore", tmp_path / "examples" / "explore")
    monkeypatch.chdir(tmp_path)
    told = run(*command.split())
    assert told.code == 1
    assert [_timeless(line) for line in told.out.splitlines()] == [_timeless(line) for line in shown]
    replay = next(line for line in shown if line.startswith("replay: brokersim "))
    again = run(*replay.split()[2:])
    assert again.code == 1 and shown[0] in again.out.splitlines()


def _timeless(line: str) -> str:
    return re.sub(r"\d+ a second", "some a second", line)
