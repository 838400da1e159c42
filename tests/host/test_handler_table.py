"""Which events a method wants: what the pattern of its topic matches, letter by letter."""

from __future__ import annotations

from fnmatch import fnmatchcase

from hypothesis import given
from hypothesis import strategies as st

from brokersim.host.handler_table import Entry

LETTERS = st.text("ab.*?[]-", max_size=8)


@given(LETTERS, LETTERS, st.booleans(), st.sampled_from(["m", "m*"]))
def test_a_method_wants_what_its_pattern_matches(pattern: str, topic: str, prefix: bool, name: str) -> None:
    entry = Entry(attribute="it", topic=pattern, prefix=prefix, is_event=True)
    for one in (topic, f"{name}.{topic}", pattern, pattern.replace("*", topic)):
        assert entry.wants(name, one) == fnmatchcase(one, entry.full_topic(name))
