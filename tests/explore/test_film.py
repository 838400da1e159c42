"""The page of a find: who sent what is paired, and in a real browser it opens, steps, plays and marks what broke."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from brokersim.explore.film import page, senders
from brokersim.explore.modules import author_of
from brokersim.explore.plan import Plan, PlannedFault, Step
from brokersim.explore.run import Outcome, run_plan
from brokersim.kit.ledger import Line
from tests.lab.show.browser import PROGRAM, WHY_NOT, Browser

RACING = str(Path(__file__).with_name("racing.py"))
REQUEST_TX, REQUEST_RX, RESPONSE_TX, RESPONSE_RX, EVENT_TX, EVENT_RX = range(6)
ADD = {"topic": "racing.add", "payload": {"</script>": 1}}
PLAN = Plan(
    size=2, own=(RACING,), families=("own",),
    steps=tuple(Step(id=number, op="own.0", at=0.0, args=ADD) for number in (3, 5)),
    faults=(PlannedFault(kind="crash", rank=1, at=0.001, seconds=0.5),),
)  # fmt: skip


def line(name: str, counter: int, topic: str, number: int, rank: int = 0) -> Line:
    return Line(0.0, rank, name, counter, topic, 0, number)


def test_what_was_handed_out_is_paired_with_what_was_sent():
    lines = (
        line("a", REQUEST_TX, "k.x", 1), line("b", REQUEST_TX, "k.x", 1), line("k", REQUEST_RX, "k.x", 1),
        line("k", REQUEST_RX, "k.x", 1), line("k", RESPONSE_TX, "k.x", 1), line("a", RESPONSE_RX, "k.x", 1),
        line("k", EVENT_TX, "e", 7), line("a", EVENT_RX, "e", 7), line("b", EVENT_RX, "e", 7),
        line("k", REQUEST_RX, "lost", 9),
    )  # fmt: skip
    assert senders(lines) == [-1, -1, 0, 1, -1, 4, -1, 6, 6, -1]


@pytest.fixture(scope="module")
def outcome() -> Outcome:
    return run_plan(PLAN, author_of((RACING,)), keeps_trace=True)


def test_moments_stand_between_the_messages_they_were_between(outcome):
    kinds = [moment.kind for moment in outcome.moments]
    assert kinds[:3] == ["boot", "step", "step"] and {"fault", "end", "rest", "broken"} <= set(kinds)
    steps = [moment for moment in outcome.moments if moment.kind == "step"]
    assert [outcome.trace[moment.place + at].topic for at, moment in enumerate(steps[:1])] == ["racing.add"]
    [broken] = [moment for moment in outcome.moments if moment.kind == "broken"]
    assert "2 were added, and the total is 1" in broken.text
    places = [moment.place for moment in outcome.moments]
    assert places == sorted(places) and places[-1] <= len(outcome.trace)


def test_equal_runs_make_equal_pages_and_no_payload_ends_the_script(outcome):
    text = page(PLAN, outcome)
    assert text == page(PLAN, run_plan(PLAN, author_of((RACING,)), keeps_trace=True))
    assert text.count("</script>") == 2


@pytest.fixture(scope="module")
def browser(tmp_path_factory) -> Iterator[Browser]:
    with Browser(tmp_path_factory.mktemp("profile")) as found:
        yield found


@pytest.mark.skipif(PROGRAM is None, reason=WHY_NOT)
@pytest.mark.xdist_group("browser")
@pytest.mark.parametrize("width", [1280, 390])
def test_in_a_browser_it_steps_plays_and_marks_what_broke(browser, outcome, tmp_path, width):
    path = tmp_path / "film.html"
    path.write_text(page(PLAN, outcome), encoding="utf-8")
    browser.open(path, width)
    run = browser.run
    assert browser.errors == [] and browser.fetched == [path.as_uri()]
    assert run("document.documentElement.scrollWidth") == width
    assert run("document.querySelectorAll('#tree .rank').length") == 2
    # One rank beside the other or not: nothing is drawn larger than a page's text.
    assert run("document.querySelector('#tree .rank').getBoundingClientRect().width") <= 1.25 * 190
    assert run("getComputedStyle(document.querySelector('h1')).color") == "rgb(176, 58, 0)"
    # It begins with the first step, and clicks show its request leave.
    at = outcome.moments[1].place + 2
    assert run("document.getElementById('slider').value") == str(at)
    assert "own.0" in run("document.querySelector('#log .step.now').textContent")
    while not run("document.querySelectorAll('#tree .party.tx').length"):
        run("document.getElementById('next').click()")
    assert run("document.querySelector('#log .now').textContent").endswith("→ request racing.add [1]")
    # A message that arrives is drawn from who sent it.
    while not run("document.querySelectorAll('#tree .flight').length"):
        run("document.getElementById('next').click()")
    assert run("document.querySelectorAll('#tree .party.rx').length") == 1
    run("document.dispatchEvent(new KeyboardEvent('keydown', {key: 'ArrowLeft'}))")
    # From mark to mark, the crash greys its rank and what broke is marked.
    down = "document.querySelectorAll('#tree .rank.down').length"
    seen = set()
    for _ in range(12):
        run("document.getElementById('mark').click()")
        seen.add(run(down))
    assert seen == {0, 1}
    assert run("document.querySelectorAll('#tree .rank.broken').length") >= 1
    assert "the total is 1" in run("document.querySelector('h1').textContent")
    # Playing moves by itself, and pauses.
    run("document.getElementById('first').click()")
    run("document.getElementById('speed').value = '30'")
    moved = "new Promise(done => setTimeout(() => done(document.getElementById('slider').value), 400))"
    run("document.getElementById('play').click()")
    assert int(run(moved)) > at
    run("document.getElementById('play').click()")
    assert run(moved) == run("document.getElementById('slider').value")
    assert browser.errors == []
