"""`bench watchers --engine flux`: the journal's experiment in a real Flux, where there is one."""

from __future__ import annotations

import pytest

from brokersim.lab.experiments.watchers import EXPERIMENT, Plan, watchers
from brokersim.lab.order import OrderError, order
from brokersim.realflux.place import NoFlux
from tests.realflux.peer import needs_flux


def test_where_there_is_no_flux_one_line_says_so() -> None:
    with pytest.raises(NoFlux, match="no Flux at /nowhere/flux; name one with --flux"):
        watchers(Plan(engine="flux", flux="/nowhere/flux"))


def test_a_real_flux_has_no_virtual_time() -> None:
    with pytest.raises(OrderError, match="a real Flux has no virtual time"):
        order(EXPERIMENT, {"engine": "flux", "clock": "virtual"})


@pytest.mark.slow
def test_in_a_real_flux_prepare_sends_more_packets_than_messages_and_check_fewer_than_prepare() -> None:
    found = watchers(
        Plan(engine="flux", flux=needs_flux(), hooks=("none", "prepare", "check"), jobs=4, reps=1)
    )
    rows = {row["hook"]: row for row in found.runs}
    assert str(found.meta["engine"]).startswith("flux-core 0.")
    assert rows["none"]["packets"] == 0 and rows["none"]["messages"] > 4 * 100
    # Measured on 0.88: 1.09 to 1.14 and 1.03 to 1.04.
    assert 1.0 < rows["prepare"]["packets_per_message"] < 1.3
    assert 0.9 < rows["check"]["packets_per_message"] < rows["prepare"]["packets_per_message"]
    assert 1.1 < rows["none"]["iterations"] / rows["none"]["messages"] < 1.6
    assert not [check for check in found.failed() if not check.startswith("L7")]
