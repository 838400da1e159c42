"""Samples as OpenTelemetry has them: what a request says, and what becomes of one that is not taken."""

from __future__ import annotations

import json
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

from brokersim import open_instance
from modules.probe.contract import Field, Reading
from modules.probe.programs.poster import retry_after
from modules.probe.sending.gaps import Gap
from modules.probe.sending.series import Sample, to_series
from modules.probe.sinks.otlp import request
from tests.modules.probe.harness import documents, every, lined, probing, run


def series(metric, field, form="raw"):
    return to_series("m", Reading(subject="node/3", metrics={metric: 1}), metric, field, "node/3", form)


def metrics_of(document):
    (resource,) = document["resourceMetrics"]
    (scope,) = resource["scopeMetrics"]
    return {one["name"]: one for one in scope["metrics"]}


def text_of(attributes):
    return {one["key"]: one["value"].get("stringValue", one["value"].get("intValue")) for one in attributes}


def test_a_gauge_a_sum_a_growth_a_rate_and_a_gap():
    share = series("user", Field(otel="cpu.utilization", attributes={"cpu.mode": "user"}))
    total, grown, rate = (
        series(form, Field(kind="counter", unit="By"), form) for form in ("raw", "delta", "rate")
    )
    samples = [
        Sample(share, 1_000, 1, 0.25, False), Sample(total, 2_000, 1, 7, False), Sample(grown, 3_000, 4, 5, False),
        Sample(grown, 4_000, 5, 6.5, False), Sample(rate, 5_000, 1, 2**64 - 1, False),
    ]  # fmt: skip
    document = request(samples, [Gap("sha1-x", 3, 5)], 3, {grown.mid: 500})
    assert text_of(document["resourceMetrics"][0]["resource"]["attributes"])["brokersim.rank"] == "3"
    found = metrics_of(document)
    (point,) = found["cpu.utilization"]["gauge"]["dataPoints"]
    assert (point["timeUnixNano"], point["asDouble"]) == ("1000", 0.25)
    assert text_of(point["attributes"]) == {"subject": "node/3", "measurement": "m", "cpu.mode": "user"}
    assert (found["raw"]["unit"], found["raw"]["sum"]["aggregationTemporality"]) == ("By", 2)
    assert found["raw"]["sum"]["isMonotonic"] and found["raw"]["sum"]["dataPoints"][0]["asInt"] == "7"
    assert found["delta"]["sum"]["aggregationTemporality"] == 1
    assert [one["startTimeUnixNano"] for one in found["delta"]["sum"]["dataPoints"]] == ["500", "3000"]
    assert found["rate"]["unit"] == "By/s" and found["rate"]["gauge"]["dataPoints"][0]["asDouble"] == 2.0**64
    assert found["brokersim.probe.dropped"]["sum"]["dataPoints"][0]["asInt"] == "3"


def test_a_file_has_a_request_a_line_and_texts_are_counted_as_suppressed(tmp_path):
    async def main():
        async with probing() as (instance, client):
            record = lined("replay", every(1), {"readings": [{"n": 1, "how": "well"}]})
            record["reporting"] = {"sinks": ["otlp"]}
            config = {"sinks": {"otlp": {"path": str(tmp_path / "{rank}.json")}}, "probes": {"m": record}}
            await client.call("probe.reload", {"config": config})
            await instance.sleep(2.5)
            return (await client.call("probe.status"))["sinks"][0]

    sink = run(main)
    assert (sink["delivered"], sink["suppressed"], sink["dropped"]) == (3, 3, {})
    assert [list(metrics_of(one)) for one in documents(tmp_path / "0.json")] == [["n"]] * 3


class Receiver:
    """Answers requests as it was told, then well; keeps those it took."""

    def __init__(self, *answers):
        self.answers, self.taken, self.asked = list(answers), [], 0
        receiver = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self):
                body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
                receiver.asked += 1
                status, text, headers = receiver.answers.pop(0) if receiver.answers else (200, "{}", {})
                if status == 200:
                    receiver.taken.append(body)
                self.send_response(status)
                for key, value in {**headers, "Content-Length": str(len(text))}.items():
                    self.send_header(key, value)
                self.end_headers()
                self.wfile.write(text.encode())

            def log_message(self, *_):
                pass

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        threading.Thread(target=self.server.serve_forever, daemon=True).start()
        self.url = f"http://127.0.0.1:{self.server.server_address[1]}/v1/metrics"


def sent(receiver, count, until):
    """The sink's queue once ``until`` holds of it, after so many samples in one batch."""

    async def main():
        async with open_instance(modules=["probe"], clock="real") as instance:
            client = instance.client()
            readings = [{f"n{number}": number for number in range(count)}]
            record = lined("replay", {"type": "onetime", "params": {}}, {"readings": readings})
            record["reporting"] = {"sinks": ["otlp"]}
            config = {"sinks": {"otlp": {"url": receiver.url}}, "probes": {"m": record}}
            await client.call("probe.reload", {"config": config})
            for _ in range(1000):
                await instance.sleep(0.02)
                (sink,) = (await client.call("probe.status"))["sinks"]
                if sink["inserted"] == count and until(sink):
                    return sink
            raise AssertionError(sink)

    try:
        return run(main, clock="real")
    finally:
        receiver.server.shutdown()
        receiver.server.server_close()


def test_a_receiver_that_is_full_for_now_is_tried_again_whatever_it_calls_that():
    again = {"Retry-After": "0.05"}
    receiver = Receiver(
        (503, "", again), (429, "slow", again), (400, "over my memory limit", again), (400, '{"code": 8}', again),
        (500, "", {}),
    )  # fmt: skip
    sink = sent(receiver, 3, lambda sink: sink["delivered"] == 3)
    assert (sink["dropped"], sink["trouble"], receiver.asked) == ({}, "", 6)
    (taken,) = receiver.taken
    assert sorted(metrics_of(taken)) == ["n0", "n1", "n2"]


@pytest.mark.parametrize(
    ("answer", "delivered", "dropped", "says"),
    [
        ((400, "no such field", {}), 0, {"encode": 4}, "status 400: no such field"),
        ((404, "", {}), 0, {"encode": 4}, "status 404"),
        ((200, '{"partialSuccess": {"rejectedDataPoints": "3"}}', {}), 1, {"refused": 3}, "it rejected 3"),
    ],
)
def test_what_is_never_taken_is_counted_and_told(answer, delivered, dropped, says):
    sink = sent(Receiver(answer), 4, lambda sink: sink["dropped"])
    assert (sink["delivered"], sink["dropped"], sink["in_flight"]) == (delivered, dropped, 0)
    assert says in sink["trouble"]


def test_nobody_there_is_told_and_what_waits_is_kept():
    receiver = Receiver()
    receiver.url = "http://127.0.0.1:1/v1/metrics"
    sink = sent(receiver, 2, lambda sink: sink["trouble"])
    assert sink["queued"] == 2 and "127.0.0.1:1" in sink["trouble"] and "refused" in sink["trouble"]


@pytest.mark.parametrize(
    ("text", "seconds"), [("5", 5.0), ("0", 0.0), ("soon", None), (None, None), ("-3", 0.0)]
)
def test_when_to_come_again(text, seconds):
    assert retry_after(text) == seconds


def test_a_date_to_come_again_at():
    assert retry_after("Wed, 21 Oct 2015 07:28:00 GMT") == 0.0


@pytest.mark.parametrize(
    ("record", "says"),
    [
        ({}, "needs a path or a url"), ({"path": "a", "url": "http://b"}, "needs a path or a url"),
        ({"url": "ftp://b"}, "must begin with http"), ({"url": "http://b"}, "has no virtual time"),
    ],
)  # fmt: skip
def test_what_is_no_sink(record, says):
    async def main():
        async with probing() as (_, client):
            with pytest.raises(Exception, match=f"/sinks/otlp: .*{says}"):
                await client.call("probe.reload", {"config": {"sinks": {"otlp": record}}})

    run(main)
