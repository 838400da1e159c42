"""Our client into collectd's statsd plugin: gauges, totals and timings arrive as they were."""

from __future__ import annotations

import csv
from pathlib import Path

import pytest

from brokersim.statsd_server.aggregator_process import is_bound
from tests.interop import traffic
from tests.interop.peers import debian, free_port, process, until

CONFIG = """
Hostname "here"
FQDNLookup false
Interval 0.2
BaseDir "{folder}"
PIDFile "{folder}/pid"
LoadPlugin logfile
LoadPlugin csv
LoadPlugin statsd
<Plugin logfile>
  File "{folder}/log"
</Plugin>
<Plugin csv>
  DataDir "{folder}/csv"
  StoreRates false
</Plugin>
<Plugin statsd>
  Host "127.0.0.1"
  Port "{port}"
  TimerLower true
  TimerUpper true
  TimerCount true
</Plugin>
"""
pytestmark = pytest.mark.xdist_group("peers")


def column(folder: Path, series: str) -> list[float]:
    """Every value collectd has stored of a series, oldest first."""
    files = sorted((folder / "csv/here/statsd").glob(f"{series}-20*"))
    rows = [row for path in files for row in csv.reader(path.read_text().splitlines())]
    return [float(row[1]) for row in rows if row[0] != "epoch" and row[1] != "nan"]


def test_collectd_shows_the_truth_of_our_client(tmp_path: Path):
    daemon = debian("collectd")
    port = free_port()
    config = tmp_path / "collectd.conf"
    config.write_text(CONFIG.format(folder=tmp_path, port=port))
    with process([daemon, "-f", "-C", str(config)], tmp_path / "talk"):
        until(lambda: is_bound("127.0.0.1", port), f"collectd: {(tmp_path / 'talk').read_text()}")
        tee = traffic.Tee(f"127.0.0.1:{port}")
        traffic.send(tee, "collectd")
        tee.send(b"done:1|g")
        tee.close()
        until(lambda: len(column(tmp_path, "gauge-done")) >= 3, "collectd's interval after the last packet")
    for name, value in traffic.GAUGES.items():
        assert column(tmp_path, f"gauge-{name}")[-1] == value, name
    for name, value in traffic.COUNTERS.items():
        # Whole numbers: what is rounded away is kept for the next interval.
        assert column(tmp_path, f"derive-{name}")[-1] == pytest.approx(value, abs=1), name
    assert sum(column(tmp_path, "gauge-flux.load-count")) == 40
    assert min(column(tmp_path, "latency-flux.load-lower")) == pytest.approx(0.001, rel=0.01)
    assert max(column(tmp_path, "latency-flux.load-upper")) == pytest.approx(0.040, rel=0.01)
    elements = [each for each in column(tmp_path, "objects-flux.user") if each]
    # An interval may have ended in the midst of the stream; then an element may count in both.
    assert elements == [4] or (len(elements) == 2 and max(elements) < 4 <= sum(elements))
