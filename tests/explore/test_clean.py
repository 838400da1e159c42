"""What ships breaks under none of 500 plans of everything; `make bench` runs 15,000."""

from __future__ import annotations

from pathlib import Path

import pytest

from brokersim.cli.explore.output import find_lines
from brokersim.explore.draw import Space
from brokersim.explore.families import FAMILIES
from brokersim.explore.search import search

#: All together take about 12 s of one core; in parts, so that two workers share them and a find says which seeds.
_PART = 100
_HIT = {"crash", "kill", "reload", "slow"}


@pytest.mark.slow
@pytest.mark.parametrize("first", range(0, 500, _PART))
def test_nothing_that_ships_breaks(first):
    space = Space(families=FAMILIES, wanted=tuple(FAMILIES))
    report = search(space, lambda: None, range(first, first + _PART))
    assert report.find is None, "\n".join(find_lines(report.find, Path("none")))
    assert report.examples == _PART
    assert report.hits.keys() >= _HIT, "a search in which nothing goes wrong says nothing"
