"""Cost over counters: from a run database that a probe wrote, on one axis of time, and not where half is missing."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from brokersim import open_instance, run
from brokersim.lab.result import Result
from brokersim.lab.show.chart import Chart
from brokersim.lab.show.charts import charts
from brokersim.lab.show.charts_cost import rate
from brokersim.lab.show.plots import draw
from brokersim.lab.show.report import read_result

EVERY = {"type": "every", "params": {"every": 1}}
SHARES = [0.25, 0.5, 0.125]


def recorded(path: Path, counters: str = "raw") -> Result:
    """What was replayed of a process, and what the heartbeat counted meanwhile, in virtual time."""
    told = {"schedule": EVERY, "reporting": {"sinks": ["db"], "counters": counters}}
    cost = {"probe": "replay", "config": {"readings": [{"cpu": one} for one in SHARES]}, **told}
    kvs = {"probe": "module", "config": {"service": "heartbeat"}, **told}
    config = {
        "sinks": {"db": {"type": "rundb", "path": str(path)}},
        "probes": {"self": cost, "messages": kvs},
    }

    async def main() -> None:
        async with open_instance(modules=["heartbeat", "probe"]) as instance:
            await instance.client().call("probe.reload", {"config": config})
            await instance.sleep(20)

    run(main)
    return read_result(path)


def cost_of(found: Result) -> Chart:
    (chart,) = [one for one in charts(found) if one.name == "run-cost"]
    return chart


def test_the_share_of_a_core_stands_over_the_messages_a_second_at_the_same_times(tmp_path: Path) -> None:
    chart = cost_of(recorded(tmp_path / "run.db"))
    cost, messages = chart.curve_panels
    assert (cost.y, cost.labels) == ("share of a core", ("broker, rank 0",))
    assert [v for _, v in cost.curves[0].points][:6] == SHARES * 2
    assert (messages.y, messages.labels) == ("messages/s", ("heartbeat, rank 0",))
    times = [t for t, _ in messages.curves[0].points]
    assert times == [t for t, _ in cost.curves[0].points][1 : len(times) + 1]
    # A beat every 2 s is an event; each reading is a request and its response.
    values = [v for _, v in messages.curves[0].points]
    assert min(values) >= 2 and max(values) > min(values)


@pytest.mark.parametrize("form", ["delta", "rate"])
def test_counters_that_are_no_longer_raw_have_the_same_rates(form: str, tmp_path: Path) -> None:
    _, raw = cost_of(recorded(tmp_path / "raw.db")).curve_panels
    _, other = cost_of(recorded(tmp_path / "other.db", form)).curve_panels
    told = [[v for _, v in panel.curves[0].points] for panel in (other, raw)]
    assert told[0][-8:] == told[1][-8:] and len(set(told[1][-8:])) > 1


def run_of(**series: Any) -> Result:
    return Result(meta={"experiment": "run"}, parts={"series": series})


def test_an_instances_own_counters_serve_where_no_probe_read_them() -> None:
    found = run_of(
        **{
            "flux.probe.0.self.cpu": [(0.0, 0.5), (2.0, 0.25)],
            "flux.probe.1.self.module.kvs.cpu": [(0.0, 0.75)],
            "flux.kvs.0.request_rx": [(0.0, 10), (2.0, 14)],
            "flux.kvs.0.response_tx": [(0.0, 9), (2.0, 13)],
        }
    )
    cost, messages = cost_of(found).curve_panels
    assert cost.labels == ("kvs, rank 1", "broker, rank 0")
    assert [(one.label, one.points) for one in messages.curves] == [("kvs, rank 0", [(2.0, 4.0)])]


@pytest.mark.parametrize("name", ["flux.probe.0.self.cpu", "flux.kvs.0.request_rx"])
def test_there_is_no_such_chart_of_one_half(name: str) -> None:
    assert [one.name for one in charts(run_of(**{name: [(0.0, 1), (1.0, 2)]}))] == ["run-series"]


def test_curves_that_cannot_be_told_apart_are_left_out_and_counted() -> None:
    many = {f"flux.probe.{rank}.self.cpu": [(0.0, rank / 20)] for rank in range(11)}
    cost, _ = cost_of(run_of(**many, **{"flux.kvs.0.request_rx": [(0.0, 1), (1.0, 2)]})).curve_panels
    assert cost.labels[0] == "broker, rank 10" and len(cost.labels) == 8
    assert cost.note == "3 lower ones left out"
    few = {name: points for name, points in many.items() if name.split(".")[2] not in "012"}
    cost, _ = cost_of(run_of(**few, **{"flux.kvs.0.request_rx": [(0.0, 1), (1.0, 2)]})).curve_panels
    assert (len(cost.labels), cost.note) == (8, "")


def test_the_rate_of_a_counter_that_was_reset_is_unknown_up_to_there() -> None:
    assert rate([(0, 10), (1, 14), (3, 2), (5, 8)]) == [(1, 4), (5, 3)]
    assert rate([(0, 4), (2, 4), (3, 1)], "delta") == [(2, 2), (3, 1)]


def test_a_picture_has_one_axis_of_time_for_both(tmp_path: Path) -> None:
    pytest.importorskip("matplotlib")
    found = run_of(
        **{
            "flux.probe.0.self.cpu": [(5.0, 0.5), (6.0, 0.25)],
            "flux.kvs.0.request_rx": [(0.0, 10), (2.0, 14), (9.0, 20)],
        }
    )
    figures = dict(draw(found))
    above, below = figures["run-cost"].axes
    assert above.get_xlim() == below.get_xlim()
