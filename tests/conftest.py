"""Knows how hard the suite looks: the hypothesis profiles. Knows nothing of brokersim."""

from __future__ import annotations

import os

from hypothesis import HealthCheck, settings

PROFILE_VARIABLE = "BROKERSIM_HYPOTHESIS_PROFILE"

# No deadline: two cores are shared by the workers, so one slow example says nothing about the code.
# On a CI machine the examples are the same in every run: a red build is then red for its own change.
settings.register_profile(
    "dev", max_examples=50, deadline=None, derandomize=bool(os.environ.get("CI")), print_blob=True
)
# 10,000: the number the wire codec's promise is stated with (no bytes raise anything but its one error).
settings.register_profile(
    "slow",
    max_examples=10_000,
    deadline=None,
    print_blob=True,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large],
)
settings.load_profile(os.environ.get(PROFILE_VARIABLE, "dev"))
