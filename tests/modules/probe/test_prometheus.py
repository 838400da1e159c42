"""The page for Prometheus: one number a series, the newest, in a file that is whole at any moment."""

from __future__ import annotations

import os
import shutil
import subprocess

import pytest
from prometheus_client.parser import text_string_to_metric_families

from brokersim.net.data_pages import to_text
from modules.probe.contract import Field, Reading
from modules.probe.probes import PROBES
from modules.probe.sending.series import Sample, to_series
from modules.probe.sinks.base import Down
from modules.probe.sinks.prometheus import Prometheus, page
from tests.modules.probe.harness import lined, probing, run


def sampled(metric, field, value, form="raw", subject="node/0"):
    one = to_series("m", Reading(subject=subject, metrics={metric: 1}), metric, field, "node/0", form)
    return Sample(one, 10**9, 1, value, False)


def read(text):
    return {
        (one.name, tuple(sorted(one.labels.items()))): one.value
        for family in text_string_to_metric_families(text)
        for one in family.samples
    }


def test_what_prometheus_reads_on_it():
    counter = Field(kind="counter", unit="By", otel="disk.io", attributes={"io.direction": "read"})
    found = [
        sampled("r", counter, 2**60), sampled("r", counter, 5.5, "rate", "node/0/x"),
        sampled("1 odd.name", Field(), 0.25, subject='node/0/a"b\\\n'),
    ]  # fmt: skip
    text = page({one.series.mid: one for one in found}).decode()
    own = {"subject": "node/0", "measurement": "m", "unit": "By", "io_direction": "read"}
    rate = {**own, "subject": "node/0/x", "form": "rate"}
    odd = {"subject": 'node/0/a"b\\\n', "measurement": "m"}
    assert read(text) == {
        ("probe_disk_io_total", tuple(sorted(own.items()))): 2**60,
        ("probe_disk_io", tuple(sorted(rate.items()))): 5.5,
        ("probe_1_odd_name", tuple(sorted(odd.items()))): 0.25,
    }
    assert "# TYPE probe_disk_io_total counter\n" in text and "# TYPE probe_disk_io gauge\n" in text


def every_series():
    """Of each probe each metric in each form, and what a probe of somebody else may call his."""
    own = [
        ("m", "runs_total", Field()),
        ("m", "a.sum", Field()),
        ("m", "a_sum", Field()),
        ("m", "t_ms", Field(unit="ms")),
    ]
    there = [(name, metric, field) for name, one in PROBES.items() for metric, field in one.fields.items()]
    for name, metric, field in own + there:
        for form in ("raw", "delta"):
            yield to_series(
                name, Reading(subject="node/0", metrics={metric: 1}), metric, field, "node/0", form
            )


def registered(one):
    """A series as the registry hands its newest number to its page."""
    return {
        "value": 1, "kind": one.kind, "form": one.form, "metric": one.metric, "ts": 1.0, "subject": one.subject,
        "measurement": one.measurement, "unit": one.field.unit, "attributes": one.attributes,
    }  # fmt: skip


@pytest.mark.parametrize("of", ["the sink", "the registry"])
def test_promtool_finds_nothing_wrong(of):
    if (promtool := shutil.which("promtool")) is None:
        pytest.skip("no promtool: run `make peers` (it needs apt-get and root)")
    if of == "the sink":
        text = page({one.mid: Sample(one, 10**9, 1, 1, False) for one in every_series()})
    else:
        text = to_text(map(registered, every_series()))
    done = subprocess.run([promtool, "check", "metrics"], input=text, capture_output=True)
    assert (done.returncode, done.stdout, done.stderr.decode()) == (0, b"", "")


def test_gauges_that_differ_by_what_a_gauge_may_not_end_in_are_two_series():
    found = [sampled(metric, Field(), at) for at, metric in enumerate(("wait", "wait_sum", "wait.count"))]
    text = page({one.series.mid: one for one in found}).decode()
    own = {"subject": "node/0", "measurement": "m"}
    assert read(text) == {
        ("probe_wait", tuple(sorted(own.items()))): 0,
        ("probe_wait", tuple(sorted({**own, "of": "sum"}.items()))): 1,
        ("probe_wait", tuple(sorted({**own, "of": "count"}.items()))): 2,
    }


@pytest.mark.parametrize("of", ["the sink", "the registry"])
def test_each_series_is_one_on_the_page_in_whatever_order_they_come(of):
    series = list(every_series())
    pages = {
        page({str(at): Sample(one, 10**9, 1, 1, False) for at, one in enumerate(found)})
        if of == "the sink"
        else b"".join(sorted(to_text(map(registered, found)).splitlines(keepends=True)))
        for found in (series, series[::-1])
    }
    (text,) = pages
    samples = [line.rpartition("}")[0] for line in text.decode().splitlines() if not line.startswith("#")]
    assert len(set(samples)) == len(samples) == len(series)
    alike = [line for line in samples if line.startswith("probe_a{") and 'form="' not in line]
    assert sorted('metric="a_sum"' in line for line in alike) == [False, True]


def test_milliseconds_are_told_in_seconds():
    field = Field(kind="counter", unit="ms")
    text = page({"a": sampled("io_ms", field, 1500)}).decode()
    assert 'probe_io_seconds_total{measurement="m",subject="node/0",unit="s"} 1.5\n' in text
    assert text.startswith("# HELP probe_io_seconds_total io_ms, counted by its source\n")


def test_the_page_is_written_once_a_second_and_has_what_is_read_still(tmp_path):
    path = tmp_path / "0.prom"

    async def main():
        async with probing() as (instance, client):
            ends = {"type": "every", "params": {"every": 0.1, "end": None}}
            fast = {**lined("replay", ends, {"readings": [{"n": n} for n in range(100)]})}
            once = lined("dummy", {"type": "onetime", "params": {}}, {"value": 3.0})
            probes = {
                name: {**one, "reporting": {"sinks": ["p"]}} for name, one in (("fast", fast), ("once", once))
            }
            sinks = {"p": {"type": "prometheus", "path": str(tmp_path / "{rank}.prom")}}
            await client.call("probe.reload", {"config": {"sinks": sinks, "probes": probes}})
            pages = set()
            for _ in range(30):
                await instance.sleep(0.1)
                pages.add(path.read_text())
            await instance.sleep(310)
            return pages, (await client.call("probe.status"))["sinks"][0]

    pages, sink = run(main)
    assert 3 <= len(pages) <= 5
    assert any('probe_value{measurement="once",subject="node/0"} 3.0' in one for one in pages)
    last = path.read_text()
    assert "once" not in last and 'probe_n{measurement="fast"' in last
    assert sink["delivered"] > 3000 and sink["dropped"] == {}
    assert os.listdir(tmp_path) == ["0.prom"]


def test_a_folder_that_is_not_there_is_told_at_once(tmp_path):
    async def main():
        async with probing() as (_, client):
            try:
                sinks = {"prometheus": {"path": str(tmp_path / "no" / "x.prom")}}
                await client.call("probe.reload", {"config": {"sinks": sinks}})
            except OSError as error:
                return error.text

    assert "/sinks/prometheus: " in run(main) and "No such file" in run(main)


def test_a_configuration_that_is_refused_writes_no_page(tmp_path):
    path = tmp_path / "x.prom"
    path.write_text("probe_n 1\n")
    sinks = {"prometheus": {"path": str(path)}, "lines": {"path": str(tmp_path / "no" / "x.jsonl")}}

    async def main():
        async with probing() as (_, client):
            with pytest.raises(OSError):
                await client.call("probe.reload", {"config": {"sinks": sinks}})

    run(main)
    assert path.read_text() == "probe_n 1\n"


def test_a_folder_in_the_pages_place_leaves_nothing_beside_it(tmp_path):
    (tmp_path / "x.prom").mkdir()
    sink = Prometheus.__new__(Prometheus)
    sink._path = str(tmp_path / "x.prom")
    with pytest.raises(Down):
        sink._write(b"")
    assert os.listdir(tmp_path) == ["x.prom"]
