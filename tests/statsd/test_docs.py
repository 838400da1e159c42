"""The documents name what the code knows: every reason, every lint code, every field of the statistics."""

from __future__ import annotations

import re
from pathlib import Path

import attrs
import pytest

from brokersim import statsd
from brokersim.statsd.client import ClientStatistics
from brokersim.statsd.flushed import Health
from brokersim.statsd.recorded.lint import CODES

ROOT = Path(__file__).resolve().parents[2]
DIALECTS = (ROOT / "docs" / "statsd-dialects.md").read_text(encoding="utf-8")
METRICS = (ROOT / "docs" / "metrics.md").read_text(encoding="utf-8")
SOURCES = [path.read_text(encoding="utf-8") for path in Path(statsd.__file__).parent.rglob("*.py")]
REASON = re.compile(
    r'(?:BadLineError|bad)\(\s*"(\w+)"|"((?:peer_would|too_many|same|bad|no)_\w+)"|else "(service_check)"'
)


def reasons() -> set[str]:
    found = {name for source in SOURCES for match in REASON.findall(source) for name in match if name}
    return found - {"bad_lines", "bad_lines_seen"}


def test_every_reason_a_line_can_be_bad_for_is_documented_and_no_other():
    table = DIALECTS.partition("| reason | meaning |")[2].partition("\n\n")[0]
    documented = {name for row in table.splitlines() for name in re.findall(r"`(\w+)`", row.split(" | ")[0])}
    assert reasons() == documented


@pytest.mark.parametrize("code", sorted(CODES))
def test_a_lint_code_is_documented(code: str):
    assert f"| {code} |" in DIALECTS


@pytest.mark.parametrize(
    "name", [each.name for kind in (Health, ClientStatistics) for each in attrs.fields(kind)]
)
def test_a_field_of_the_statistics_is_documented(name: str):
    assert f"`{name}`" in METRICS
