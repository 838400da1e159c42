"""Calibration: what is measured becomes a profile that --cost reads; the measuring itself, where there is a Flux."""

from __future__ import annotations

from itertools import cycle
from pathlib import Path
from typing import cast

import pytest

from brokersim.cli.main import main
from brokersim.lab.measure import calibrate as module
from brokersim.lab.measure.calibrate import FIELDS, Calibration, calibrate, turn_times
from brokersim.lab.measure.profiles import read_profile
from brokersim.net.client import Client
from brokersim.realflux.place import find_flux
from tests.realflux.peer import needs_flux

ROUNDS = {
    "iteration_s": (0.5e-6, 0.7e-6, 0.6e-6),
    "message_s": (25e-6,),
    "packet_s": (-1e-6, 3e-6, -2e-6),
    "slice_s": (1e-3, 2e-3, 3e-3),
    "wake_s": (30e-6, 40e-6),
}
FOUND = Calibration(version="flux-core 0.88.0", cores=2, rounds=ROUNDS)


def test_a_profile_file_has_the_medians_and_says_where_they_come_from_and_how_they_spread(
    tmp_path: Path,
) -> None:
    file = tmp_path / "here.toml"
    file.write_text(FOUND.to_toml())
    profile = read_profile(str(file))
    # What is lost in the noise is no gain: a packet that came out cheaper than nothing costs nothing.
    assert profile.times == {
        "iteration_s": 0.6e-6, "message_s": 25e-6, "packet_s": 0.0, "slice_s": 2e-3, "wake_s": 35e-6
    }  # fmt: skip
    assert profile.origin.startswith(
        "brokersim bench calibrate: flux-core 0.88.0, C modules, 2 cores, 3 rounds: "
    )
    assert "slice_s 1e+03 to 3e+03 µs" in profile.origin


def test_a_turns_price_is_a_modules_cpu_by_its_turns() -> None:
    spun = [("a", 0.3), ("b", 0.2), ("a", 0.1), ("never", 0.1)]
    assert turn_times(spun, {"a": 400_000, "b": 100_000, "never": 0}) == (
        pytest.approx(1e-6),
        pytest.approx(2e-6),
    )


def test_a_wait_is_the_mean_of_those_that_found_the_module_running_and_those_that_waited_a_slice(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    now = 0.0
    # Two thirds of the requests wait for nothing: a median would say that nobody does.
    waits = cycle([0.0, 0.0, 0.03])

    class Clock:
        @staticmethod
        def perf_counter() -> float:
            return now

    class Spinner:
        def rpc(self, _topic: str, _payload: object) -> None:
            nonlocal now
            now += 2e-4 + next(waits)

    monkeypatch.setattr(module, "time", Clock)
    monkeypatch.setattr(module, "WAITING", 60)
    assert module._round_trip(cast(Client, Spinner()), "heartbeat") == pytest.approx(0.0102)


def test_without_a_flux_there_is_one_line(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    assert main(["bench", "calibrate", "--flux", str(tmp_path / "flux")]) == 1
    assert (
        capsys.readouterr().err == f"error: no Flux at {tmp_path}/flux; name one with --flux /path/to/flux\n"
    )
    (tmp_path / "here.toml").touch()
    assert main(["bench", "calibrate", "--out", str(tmp_path / "here.toml")]) == 2
    assert "here.toml exists" in capsys.readouterr().err


@pytest.mark.slow
def test_a_real_flux_is_measured_and_its_figures_lie_where_figures_of_a_flux_do() -> None:
    found = calibrate(find_flux(needs_flux()), rounds=2)
    assert set(found.rounds) == set(FIELDS)
    # A tenth to ten times what was measured on 0.88, whatever else the machine does; a wait has no upper bound.
    assert 0.06e-6 < found.value("iteration_s") < 6e-6
    assert 2.5e-6 < found.value("message_s") < 250e-6
    assert found.value("packet_s") < 33e-6
    assert found.value("slice_s") > 0
