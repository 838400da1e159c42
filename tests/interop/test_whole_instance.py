"""A whole instance into each real server: every gauge, counter and timing it sent is there, and nothing else.

The instance rests while the test looks: what does not come to be the truth is lost or bent.
"""

from __future__ import annotations

import csv
import getpass
import json
import re
import shlex
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from urllib.error import URLError
from urllib.parse import quote
from urllib.request import urlopen

import pytest

from brokersim.statsd_server.aggregator_process import is_bound
from tests.interop import whole
from tests.interop.peers import (
    GraphiteSink,
    brubeck,
    debian,
    free_port,
    graphite_sink,
    node_statsd,
    process,
    until,
)

__all__ = ["graphite_sink"]
pytestmark = pytest.mark.xdist_group("peers")
#: Seconds until a server has flushed and stored what it was sent; a busy machine takes its time.
PATIENCE = 60.0
#: Sent at each heartbeat only; when the last was nobody knows.
_UNTOLD = re.compile(
    r"flux[._](heartbeat[._]|content[-_]cache[._]\d+[._](count|valid|dirty|size|flush[-_]batch[-_]count)$)"
)


def check(truth: whole.Truth, shown: Callable[[], whole.Truth]) -> None:
    """What is shown comes to be the truth, whole."""

    def told() -> tuple[dict[str, float], dict[str, float], dict[str, int]]:
        now = shown()
        gauges = {name: value for name, value in now.gauges.items() if not _UNTOLD.match(name)}
        return gauges, now.counters, now.timings

    expected = truth.gauges, truth.counters, truth.timings
    end = time.monotonic() + PATIENCE
    while told() != expected and time.monotonic() < end:
        time.sleep(0.05)
    assert told() == expected


@pytest.mark.parametrize("words", ["", "dialect=statsd"])
def test_node_statsd(words: str, graphite_sink: GraphiteSink, tmp_path: Path):
    config = tmp_path / "config.js"
    config.write_text(
        "{ port: +process.env.STATSD_PORT, address: process.env.STATSD_HOST, mgmt_address: '127.0.0.1',"
        f" mgmt_port: {free_port()}, flushInterval: 500, backends: ['./backends/graphite'],"
        f" graphiteHost: '127.0.0.1', graphitePort: {graphite_sink.port}, graphite: {{ legacyNamespace: false }} }}"
    )
    server = shlex.join([*node_statsd(), str(config)])

    def shown() -> whole.Truth:
        truth, counters, timings = whole.Truth(), Counter[str](), Counter[str]()
        for name, value, _ in map(str.split, list(graphite_sink.lines)):
            kind, _, rest = name.removeprefix("stats.").partition(".")
            key, _, field = rest.rpartition(".")
            if kind == "gauges" and rest.startswith("flux."):
                truth.gauges[rest] = float(value)
            elif field == "count" and rest.startswith("flux."):
                {"counters": counters, "timers": timings}[kind][key] += float(value)
        truth.counters, truth.timings = dict(counters), dict(timings)
        return truth

    with whole.instance(
        tmp_path, "--with-aggregator", server, *(["--stats", words] if words else [])
    ) as truth:
        check(truth, shown)


@pytest.mark.parametrize("words", ["", ",dialect=brubeck"])
def test_brubeck(words: str, graphite_sink: GraphiteSink, tmp_path: Path):
    port = free_port()
    config = {
        "sharding": False, "server_name": "brubeck", "capacity": 15, "expire": 3600, "dumpfile": str(tmp_path / "dump"),
        "backends": [{"type": "carbon", "address": "127.0.0.1", "port": graphite_sink.port, "frequency": 1}],
        "samplers": [{"type": "statsd", "address": "127.0.0.1", "port": port, "workers": 1}],
    }  # fmt: skip
    (tmp_path / "config.json").write_text(json.dumps(config))

    def shown() -> whole.Truth:
        truth, counters, timings = whole.Truth(), Counter[str](), Counter[str]()
        for name, value, _ in map(str.split, list(graphite_sink.lines)):
            key, _, field = name.rpartition(".")
            if re.search(r"\.(load|store)\.", name):
                timings.update({key: float(value)} if field == "count" else {})
            elif field in ("hits", "total"):
                counters[name] += float(value)
            elif name.startswith("flux."):
                truth.gauges[name] = float(value)
        truth.counters, truth.timings = dict(counters), dict(timings)
        return truth

    with process([brubeck(), "--config", str(tmp_path / "config.json")], tmp_path / "talk"):
        until(lambda: is_bound("127.0.0.1", port), "brubeck")
        with whole.instance(tmp_path, "--stats", f"127.0.0.1:{port}{words}") as truth:
            check(truth, shown)


COLLECTD = """
Hostname "here"
FQDNLookup false
Interval 0.5
BaseDir "{folder}"
PIDFile "{folder}/pid"
LoadPlugin csv
LoadPlugin statsd
<Plugin csv>
  DataDir "{folder}/csv"
  StoreRates false
</Plugin>
<Plugin statsd>
  Host "127.0.0.1"
  Port "{port}"
  TimerCount true
</Plugin>
"""


def test_collectd(tmp_path: Path):
    port = free_port()
    config = tmp_path / "collectd.conf"
    config.write_text(COLLECTD.format(folder=tmp_path, port=port))

    def shown() -> whole.Truth:
        truth = whole.Truth()
        series: dict[str, list[float]] = {}
        for path in sorted((tmp_path / "csv/here/statsd").glob("*-20*")):
            name = re.sub(r"-\d{4}-\d\d-\d\d$", "", path.name)
            rows = csv.reader(path.read_text().splitlines())
            series.setdefault(name, []).extend(
                float(row[1]) for row in rows if row[0] != "epoch" and len(row) > 1
            )
        for name, values in series.items():
            if not values:  # the file was made, its first row is not written yet
                continue
            kind, _, key = name.partition("-")
            if kind == "derive":
                truth.counters[key] = values[-1]
            elif kind == "gauge" and key.endswith(".load-count"):
                truth.timings[key.removesuffix("-count")] = int(sum(values))
            elif kind == "gauge" and not key.endswith("-count"):
                truth.gauges[key] = values[-1]
        return truth

    with process([debian("collectd"), "-f", "-C", str(config)], tmp_path / "talk"):
        until(lambda: is_bound("127.0.0.1", port), "collectd")
        with whole.instance(tmp_path, "--stats", f"127.0.0.1:{port}") as truth:
            # It cuts times to whole milliseconds and drops those of none, whoever sends them.
            truth.timings = {
                name: count for name, count in truth.timings.items() if "teller" in name or "far" in name
            }
            check(truth, shown)


NETDATA = """
[global]
  run as user = {user}
[directories]
  config = {folder}
  cache = {folder}
  lib = {folder}
  log = {folder}
[db]
  mode = ram
  retention = 600
[web]
  bind to = 127.0.0.1:{http}
[ml]
  enabled = no
[health]
  enabled = no
[cloud]
  enabled = no
[plugins]
{plugins}
  statsd = yes
[statsd]
  enabled = yes
  bind to = udp:127.0.0.1:{port}
  max private charts hard limit = 1000
"""
_OTHER_PLUGINS = (
    "enable running new plugins", "proc", "diskspace", "cgroups", "tc", "idlejitter", "timex", "checks", "apps",
    "charts.d", "python.d", "go.d", "perf", "slabinfo", "ioping", "nfacct", "netdata monitoring",
)  # fmt: skip


def fetched(url: str) -> dict[str, object]:
    """A JSON document; nothing while nobody answers."""
    try:
        with urlopen(url, timeout=60) as answer:
            document: dict[str, object] = json.load(answer)
    except (URLError, ConnectionError):
        return {}
    return document


def test_netdata(tmp_path: Path):
    """It shows a counter as a rate, spread over the seconds, and of timings no count: the sum, and the longest."""
    daemon = debian("netdata")
    port, http = free_port(), free_port()
    (tmp_path / "netdata.conf").write_text(
        NETDATA.format(folder=tmp_path, http=http, port=port, user=getpass.getuser(),
                       plugins="\n".join(f"  {name} = no" for name in _OTHER_PLUGINS))
    )  # fmt: skip
    api = f"http://127.0.0.1:{http}/api/v1"

    def stored(chart: str, dimension: str) -> list[float]:
        """Its values, a second each."""
        query = f"{api}/data?chart={quote(chart)}&after=-300&points=300&format=json&dimensions={dimension}"
        told = fetched(query)
        return [row[1] for row in told.get("data", []) if row[1] is not None]  # type: ignore[attr-defined]

    def shown(truth: whole.Truth) -> whole.Truth:
        now = whole.Truth()
        for chart, told in fetched(f"{api}/allmetrics?format=json").items():
            name, _, kind = chart.removeprefix("statsd_").rpartition("_")
            if not name.startswith("flux."):
                continue
            if kind == "gauge":
                now.gauges[name] = told["dimensions"]["gauge"]["value"]  # type: ignore[index]
            elif kind == "counter":
                rate = sum(stored(chart, "counter"))
                # Spread over two seconds it is right to a thousandth.
                near = round(rate)
                now.counters[name] = near if abs(rate - near) < 0.01 else rate
            elif kind == "timer":
                now.timings[name] = truth.timings[name] if max(stored(chart, "max"), default=0) > 0 else 0
        return now

    command = [daemon, "-D", "-c", str(tmp_path / "netdata.conf")]
    with process(command, tmp_path / "talk"):
        until(lambda: is_bound("127.0.0.1", port), "netdata")
        with whole.instance(tmp_path, "--stats", f"127.0.0.1:{port},dialect=netdata") as truth:
            check(truth, lambda: shown(truth))


def test_carbon_behind_the_server_inside(tmp_path: Path):
    """Gauges as whisper keeps them: the embedded server's output is one more hop on the way."""
    from tests.interop.test_into_carbon import carbon_cache, kept_in

    with carbon_cache(tmp_path, "1s:1h") as (_, port):
        serve = f"serve:forward=graphite://127.0.0.1:{port}"

        def shown() -> whole.Truth:
            now = whole.Truth()
            root = tmp_path / "whisper/stats"
            for path in root.rglob("*.wsp"):
                kind, *parts = path.relative_to(root).with_suffix("").parts
                if parts[0] != "flux":
                    continue
                points = kept_in(path)
                values = [points[second] for second in sorted(points)]
                if kind == "gauges" and values:
                    now.gauges[".".join(parts)] = values[-1]
                elif parts[-1] == "count" and kind in ("counters", "timers"):
                    sums = now.counters if kind == "counters" else now.timings
                    sums[".".join(parts[:-1])] = sum(values)  # type: ignore[assignment]
            return now

        with whole.instance(tmp_path, "--stats", serve) as truth:
            check(truth, shown)


def test_prometheus_scrapes_the_server_inside(tmp_path: Path):
    """Scraped each second, flushed ten times as often: counts lose nothing, for they never start again."""
    daemon = debian("prometheus")
    page, http = free_port(), free_port()
    (tmp_path / "prometheus.yml").write_text(
        "global: {scrape_interval: 1s}\nscrape_configs:\n- job_name: it\n"
        f"  static_configs: [{{targets: ['127.0.0.1:{page}']}}]\n"
    )
    command = [daemon, f"--config.file={tmp_path}/prometheus.yml", f"--storage.tsdb.path={tmp_path}/tsdb",
               f"--web.listen-address=127.0.0.1:{http}"]  # fmt: skip

    def shown() -> whole.Truth:
        now = whole.Truth()
        query = quote('{__name__=~"flux_.*"}')
        answer = fetched(f"http://127.0.0.1:{http}/api/v1/query?query={query}")
        for each in answer.get("data", {}).get("result", []):  # type: ignore[attr-defined]
            name, value = each["metric"]["__name__"], float(each["value"][1])
            if "_distribution" in name:
                continue  # the same timings once more, as a histogram
            if name.endswith("_total"):
                now.counters[name.removesuffix("_total")] = value
            elif name.endswith("_count") and "_load" in name + "_load" * ("_store" in name):
                now.timings[name.removesuffix("_count")] = value  # type: ignore[assignment]
            elif not each["metric"].keys() & {"quantile", "le"} and not name.endswith(("_sum", "_bucket")):
                now.gauges[name] = value
        return now

    def escaped(table: dict[str, float]) -> dict[str, float]:
        return {re.sub(r"[^A-Za-z0-9_]", "_", name): value for name, value in table.items()}

    with process(command, tmp_path / "talk"):
        until(lambda: fetched(f"http://127.0.0.1:{http}/api/v1/query?query=1"), "prometheus")
        serve = f"serve:flush=0.1s,http=127.0.0.1:{page}"
        with whole.instance(tmp_path, "--stats", serve) as truth:
            truth.gauges, truth.counters = escaped(truth.gauges), escaped(truth.counters)
            truth.counters = {name.removesuffix("_total"): value for name, value in truth.counters.items()}
            truth.timings = {name: int(value) for name, value in escaped(dict(truth.timings)).items()}
            check(truth, shown)
