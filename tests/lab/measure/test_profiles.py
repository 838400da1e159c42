"""Cost profiles: named figures with their origin, over an experiment's own cores; files that are none are refused."""

from __future__ import annotations

from pathlib import Path

import pytest

from brokersim.lab.experiments.registry import NAMES, experiment
from brokersim.lab.measure.profiles import DEFAULT, PROFILES, ProfileError, read_profile
from brokersim.lab.order import OrderError, carry_out, order
from brokersim.reactor.cost import CostModel


def test_the_default_profile_is_what_the_model_has_without_one() -> None:
    assert PROFILES[DEFAULT].over(CostModel()) == CostModel()


@pytest.mark.parametrize("profile", PROFILES.values(), ids=PROFILES.keys())
def test_a_profile_says_where_it_was_measured_and_leaves_the_machine_to_the_experiment(
    profile: object,
) -> None:
    assert isinstance(profile, type(PROFILES[DEFAULT]))
    assert "flux-core 0." in profile.origin
    own = profile.over(CostModel(cores=12, topics={"a.b": 1.0}))
    assert (own.cores, own.topics) == (12, {"a.b": 1.0})
    assert own.message_s == profile.times["message_s"]


def test_a_file_is_a_profile_with_a_name_and_keeps_what_it_does_not_say(tmp_path: Path) -> None:
    (tmp_path / "mine.toml").write_text('origin = "here"\nmessage_s = 1e-6\n')
    found = read_profile(str(tmp_path / "mine.toml"))
    assert (found.name, found.origin) == ("mine", "here")
    assert found.over(CostModel()) == CostModel(message_s=1e-6)


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("message_s = 1e-6", "origin is missing: say where the figures were measured"),
        ('origin = " "', "origin is missing"),
        ('origin = "x"\ncores = 2', "cores is no time of the model; there are iteration_s, message_s"),
        ('origin = "x"\nmessage_s = -1', "message_s = -1; give seconds below 1"),
        ('origin = "x"\nmessage_s = 50', "message_s = 50; give seconds below 1"),
        ('origin = "x"\nmessage_s = true', "message_s = True; give seconds"),
        ("{", "is no TOML"),
    ],
)
def test_a_file_that_is_no_profile_is_refused_with_what_would_be_right(
    text: str, told: str, tmp_path: Path
) -> None:
    (tmp_path / "x.toml").write_text(text)
    with pytest.raises(ProfileError, match=told):
        read_profile(str(tmp_path / "x.toml"))


def test_an_unknown_name_lists_the_profiles_there_are() -> None:
    with pytest.raises(ProfileError, match="no cost profile 'never'; there are journal-2021"):
        read_profile("never")


def test_a_result_says_whose_costs_it_was_made_with() -> None:
    small = {"jobs": 4, "blocks": 2, "models": ("none",)}
    plain, other = (
        carry_out(order(experiment("decay"), small, cost=cost)).result for cost in (None, "flux-0.88-c")
    )
    assert (plain.meta["costs"], other.meta["costs"]) == (DEFAULT, "flux-0.88-c")
    assert other.meta["costs_from"] == PROFILES["flux-0.88-c"].origin
    assert other.runs[0]["wall_s"] < plain.runs[0]["wall_s"]


def test_in_real_time_there_are_no_costs_to_choose() -> None:
    with pytest.raises(
        OrderError, match="bench watchers has no --cost here: nothing is modelled in real time"
    ):
        order(experiment("watchers"), {"clock": "real"}, cost=DEFAULT)


def test_every_modelled_experiment_takes_a_profile() -> None:
    assert [name for name in NAMES if not experiment(name).has("cost")] == ["aggregator"]
