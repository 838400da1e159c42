"""brokersim is asked what a real Flux was asked once, and answers in the same way. No Flux is needed for it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from tests.fluxcompat.conftest import instance_of_two
from tests.fluxcompat.minimal_client import MinimalClient
from tests.fluxcompat.record_answers import ANSWERS, REQUESTS, ask, empty_root

#: What is otherwise here, by topic and payload, and why.
OTHERWISE = {
    "kvs.lookup {'namespace': 'primary', 'flags': 0, 'key': ''}": "errnum 22 with a text, where Flux finds no key",
    "log.stats-get None": "no lines are counted by where they came from",
}


@pytest.fixture(scope="module")
def here(tmp_path_factory: pytest.TempPathFactory) -> list[dict[str, Any]]:
    folder: Path = tmp_path_factory.mktemp("r")
    with instance_of_two(folder) as uri, MinimalClient(uri) as client:
        return ask(client, empty_root(client))


RECORDED = json.loads(ANSWERS.read_text())["answers"]
CASES = [
    (at, f"{topic} {'(stream) ' if is_stream else ''}{payload}"[:80])
    for at, (topic, payload, is_stream) in enumerate(REQUESTS)
]


def test_what_was_recorded_is_what_is_asked() -> None:
    assert len(RECORDED) == len(REQUESTS)
    assert OTHERWISE.keys() <= {name for _, name in CASES}


@pytest.mark.parametrize(("at", "name"), CASES, ids=[name for _, name in CASES])
def test_an_answer_has_fluxs_errnum_and_at_least_its_keys(
    at: int, name: str, here: list[dict[str, Any]]
) -> None:
    flux, ours = RECORDED[at], here[at]
    differs = ours["errnum"] != flux["errnum"] or not set(flux.get("keys") or ()) <= set(
        ours.get("keys") or ()
    )
    assert differs == (name in OTHERWISE), f"here {ours}, in Flux {flux}"
