"""The worked example of docs/explore.md: the race is found, its mending passes, and the page tells what is there."""

from __future__ import annotations

import re
import runpy
import shutil
from pathlib import Path

import pytest

from brokersim.explore.families import FAMILIES
from brokersim.explore.faults import KINDS
from brokersim.testing.explore import Explored, explore

ROOT = Path(__file__).resolve().parent.parent.parent
PAGE = (ROOT / "docs" / "explore.md").read_text()


@pytest.fixture
def example(tmp_path):
    """The example's test, where what it finds may be kept."""
    folder = tmp_path / "explore"
    shutil.copytree(ROOT / "examples" / "explore", folder)
    return runpy.run_path(str(folder / "tickets_test.py"))


def test_the_race_is_found_kept_and_found_again_and_its_mending_passes(example, tmp_path):
    with pytest.raises(Explored, match=r"-1 tickets are left") as first:
        example["find_the_race"]()
    assert str(first.value).count("'tickets.buy'") == 4
    [kept] = (tmp_path / "explore" / "explore-plans" / "find_the_race").iterdir()
    assert str(kept) in str(first.value)
    with pytest.raises(Explored, match="found by example 1, "):
        example["find_the_race"]()
    example["test_no_more_is_sold_than_there_is"]()


def test_the_page_shows_the_example_and_names_what_there_is():
    text = (ROOT / "examples" / "explore" / "tickets.py").read_text()
    lines = [line.strip() for line in text.splitlines()]
    for code in re.findall(r"```python\n(.*?)```", PAGE, re.DOTALL):
        assert [line for line in code.splitlines() if line.strip() not in lines] == []
    assert [name for name in FAMILIES if f"| `{name}` |" not in PAGE] == []
    assert [kind for kind in KINDS if f"`{kind}`" not in PAGE] == []
    for name, family in FAMILIES.items():
        assert f"| `{name}` | {', '.join(family.draws)} |" in PAGE


def test_a_test_that_lets_clients_ask_nothing_is_refused():
    with pytest.raises(ValueError, match="lets clients ask nothing"):
        explore(examples=1)(lambda world: None)()
    with pytest.raises(ValueError, match="no model 'flat'; there are none, flux, hostile"):
        explore(model="flat")
