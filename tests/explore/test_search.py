"""A race is found, shrunk and replayed; what is well is not; the same seed gives the same in any process."""

from __future__ import annotations

import gc
import multiprocessing
import subprocess
import sys
from functools import partial
from pathlib import Path

import pytest

from brokersim.explore.author import Author, merged_families
from brokersim.explore.draw import Space, draw
from brokersim.explore.families import FAMILIES
from brokersim.explore.modules import author_of
from brokersim.explore.plan import Plan, PlannedFault, Step, from_json
from brokersim.explore.run import Outcome, _Example, run_plan
from brokersim.explore.search import Report, few_collections, keep, read_corpus, search
from brokersim.protocol.errnums import EIO, ENODATA, RequestError
from brokersim.testing import modules

RACING = str(Path(__file__).with_name("racing.py"))


def space_of(*paths, **more):
    author = author_of(paths)
    return Space(families=merged_families(author), wanted=("own",), own=paths, sizes=(1, 1), **more)


def found_in(*paths, seeds=range(300), **more):
    return search(space_of(*paths, **more), lambda: author_of(paths), seeds)


def test_a_lost_update_is_found_and_shrunk_to_two_steps(tmp_path):
    report = found_in(RACING, model="none")
    find = report.find
    assert find is not None and not find.is_flaky
    assert find.broken[0].startswith("always: adds_up (line ")
    assert find.broken[0].endswith("): 2 were added, and the total is 1")
    assert [step.args["topic"] for step in find.plan.steps] == ["racing.add", "racing.add"]
    assert find.plan.faults == ()
    path = keep(find, tmp_path / "corpus")
    [again] = read_corpus(tmp_path / "corpus")
    assert again == find.plan and path.name == f"always-{find.seed}.json"
    first = search(space_of(RACING), lambda: author_of((RACING,)), range(0), corpus=[again])
    assert first.examples == 1 and first.find is not None and first.find.seed is None


@pytest.mark.parametrize(
    ("path", "says"),
    [
        (modules.SILENT, "answered: silent.ask"),
        (modules.DOUBLING, "law answered: doubling.0 answered doubling.ask"),
        (modules.CRASHING, "crash: ended by ZeroDivisionError: crashed on purpose"),
        (modules.LEAKING, "law pending: "),
    ],
)
def test_modules_that_misbehave_are_found_without_a_word_of_their_author(path, says):
    find = found_in(path, seeds=range(20)).find
    assert find is not None and find.plan.weight == 1
    assert any(sentence.startswith(says) for sentence in find.broken), find.broken


def test_shipped_modules_pass_and_faults_hit():
    space = Space(families=FAMILIES, wanted=("kvs", "content", "events"), sizes=(1, 2))
    report = search(space, lambda: None, range(60))
    assert report.find is None, report.find.broken
    assert report.examples == 60 and len(report.hits) > 3
    assert report.known == sorted(report.known) and report.new_at_the_end < report.known[-1]


def test_a_search_tells_which_kinds_never_hit():
    report = search(Space(families=FAMILIES, wanted=("events",), sizes=(1, 1)), lambda: None, range(3))
    assert "fill-disk" in report.idle("flux") and "slow" in report.idle("flux")


def test_a_plan_runs_the_same_ten_times_in_fresh_processes():
    """Each forked from one that has imported all and run nothing, but for two that are started with other hashes."""
    plan = draw(Space(families=FAMILIES, wanted=("kvs", "watch", "cron"), sizes=(2, 2)), 11)
    code = (
        "import sys; from brokersim.explore.plan import from_json; from brokersim.explore.run import run_plan;"
        "print(run_plan(from_json(sys.stdin.buffer.read(), 'plan'), keeps_trace=True).digest)"
    )
    digests = [
        subprocess.run(
            [sys.executable, "-c", code], input=plan.to_json(), capture_output=True, check=True,
            env={"PYTHONHASHSEED": str(seed)},
        ).stdout.decode().strip()
        for seed in (1, 2)
    ]  # fmt: skip
    with multiprocessing.get_context("fork").Pool(1, maxtasksperchild=1) as pool:
        digests += pool.map(digest_of, [plan.to_json()] * 8, chunksize=1)
    assert len(digests) == 10 and set(digests) == {digest_of(plan.to_json())} != {""}


def digest_of(plan):
    return run_plan(from_json(plan, "plan"), keeps_trace=True).digest


def test_the_plan_that_found_a_commit_lost_by_a_reload_passes():
    """An acknowledged commit that was under way when kvs was unloaded was in no checkpoint."""
    put = {"key": "u1", "value": "<0>"}, {"key": "p1", "value": "<2>"}
    plan = Plan(
        families=("kvs",), order=1, spread=2e-6,
        steps=tuple(Step(id=n, op="kvs.put", at=0.1 - n * 1e-5, args=args) for n, args in enumerate(put)),
        faults=(PlannedFault(kind="reload", on=("content-backing.store", 0, 2), to="kvs"),),
    )  # fmt: skip
    assert run_plan(plan).broken == ()


def test_an_author_is_told_of_a_family_that_is_none():
    with pytest.raises(ValueError, match="no family 'kv'; there are kvs, watch"):
        Author().shipped("kv")


def test_several_processes_find_what_one_finds():
    one, two = (
        search(space_of(RACING), partial(author_of, (RACING,)), range(60), jobs=jobs) for jobs in (1, 2)
    )
    assert two.find is not None and one.find is not None
    assert (two.examples, two.find.seed, two.find.plan) == (one.examples, one.find.seed, one.find.plan)
    assert (two.hits, two.seen, two.known) == (one.hits, one.seen, one.known)


def test_garbage_is_looked_for_as_before_when_a_search_is_over():
    before = gc.get_threshold()
    with few_collections():
        assert gc.get_threshold()[0] > before[0] and gc.get_freeze_count() > 0
    assert gc.get_threshold() == before and gc.get_freeze_count() == 0


@pytest.mark.parametrize("name", FAMILIES)
def test_each_operation_of_each_family_is_done_and_not_only_refused(name):
    report = search(
        Space(families=FAMILIES, wanted=(name,), sizes=(1, 2)), lambda: None, range(_PLANS.get(name, 40))
    )
    assert report.find is None, report.find.broken
    done = {op for op, _, errnum in report.seen if op.startswith(f"{name}.") and errnum in (0, ENODATA)}
    assert report.refused() == []
    assert {op.partition(".")[2] for op in done} >= set(FAMILIES[name].draws) - _QUIET - set(
        FAMILIES[name].never
    )


#: Plans until each has been done, where that takes more than 40.
_PLANS = {"jobs": 100, "records": 60}
#: Operations that ask nothing under their own names, but let something happen; a queue is of submits.
_QUIET = {"cue", "cancel", "leave", "beat", "queue"}


def test_a_family_whose_module_is_not_there_is_told_of():
    modules = tuple(name for name in FAMILIES["jobs"].modules if name != "job-ingest")
    step = Step(id=0, op="jobs.submit", at=0.0, args={"cores": 1, "duration": 0.01, "urgency": 16})
    plan = Plan(families=("jobs",), steps=(step,))
    for one, told in ((plan, []), (plan.replace(modules=modules), ["jobs.submit"])):
        report = Report()
        report.add(run_plan(one))
        assert report.refused() == told


def test_what_ends_the_whole_instance_is_a_find_and_not_the_end_of_the_search(monkeypatch):
    def boom(_world: object, _step: Step) -> None:
        raise ValueError("boom")

    monkeypatch.setitem(FAMILIES["events"].does, "publish", boom)
    plan = Plan(families=("events",), steps=(Step(id=0, op="events.publish", at=0.0, args={"topic": "x"}),))
    assert run_plan(plan).broken == ("instance: ended by ValueError('boom')",)


def test_an_instance_that_cannot_be_started_anew_is_a_find_and_one_that_cannot_start_is_not(monkeypatch):
    live, lives = _Example._live, []

    async def once(example: _Example, keeps_trace: bool) -> Outcome | None:
        lives.append(example)
        if len(lives) != 1:
            raise RequestError(EIO, "no root")
        return await live(example, keeps_trace)

    monkeypatch.setattr(_Example, "_live", once)
    crash = PlannedFault(kind="crash", at=0.001)
    plan = Plan(families=("content",), has_disk=True, faults=(crash,))
    assert run_plan(plan).broken == ("start: the instance cannot be started anew: no root",)
    with pytest.raises(RequestError, match="no root"):
        run_plan(plan)


def test_a_fault_that_hit_once_counts_once_however_often_one_looks():
    step = Step(id=0, op="jobs.submit", at=0.0, args={"cores": 1, "duration": 0.2, "urgency": 16})
    fault = PlannedFault(
        kind="fail", to="kvs.commit", on=("job-manager.submit", 0, 1), seconds=0.02, errnum=EIO
    )
    # The commit is tried again a second later: until then nothing is at rest, and it is looked at four times.
    outcome = run_plan(Plan(families=("jobs",), steps=(step,), faults=(fault,)))
    assert outcome.hits == {"fail": 1} and outcome.broken == ()
