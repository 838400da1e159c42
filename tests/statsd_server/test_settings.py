"""What a statsd server can be started with, and what it says of the rest."""

from __future__ import annotations

import math

import pytest

from brokersim.statsd import AggregatorConfig
from brokersim.statsd_server.outputs import open_output
from brokersim.statsd_server.settings import Endpoint, ServeError, ServeSettings, parse_listen

WRONG = [
    (dict(listen=("8125",)), "listen address '8125' is no address; give HOST:PORT, such as 127.0.0.1:8125"),
    (dict(listen=("127.0.0.1:99999",)), "'127.0.0.1:99999' is no address"),
    (dict(listen=("http://127.0.0.1:1",)), "give HOST:PORT, udp://H:P, tcp://H:P or unix://PATH"),
    (dict(listen=("unix://" + "x" * 108,)), "a socket path has 1 to 107 bytes"),
    (dict(listen=("unix://",)), "a socket path has 1 to 107 bytes"),
    (dict(dialect="statsite"), "no statsd dialect 'statsite'; there are strict, etsy, brubeck, collectd"),
    (dict(flush_s=0.001), "flush is 0.001 s; it must be at least 0.01 s"),
    (dict(flush_s=math.inf), "flush is inf s; it must be finite"),
    (dict(flush_s=math.nan), "flush is nan s"),
    (dict(http="nowhere"), "http address 'nowhere' is no address"),
    (dict(management="::1:8126"), "management address '::1:8126' is no address"),
    (dict(receive_buffer=0), "receive_buffer is 0 bytes; it must be at least 1 bytes"),
    (dict(gather_s=-1), "gather_s is -1 s; it must be at least 0 s"),
    (dict(grace_s=math.inf), "grace_s is inf s"),
]


@pytest.mark.parametrize(("settings", "sentence"), WRONG, ids=lambda each: str(each)[:40])
def test_a_wrong_setting_is_named_with_what_would_be_right(settings, sentence):
    with pytest.raises(ServeError) as caught:
        ServeSettings(**settings)
    assert sentence in str(caught.value)


OUTPUTS = [
    ("graphite://localhost", "is no address; give HOST:PORT"),
    ("graphite://h:0", "is no address; give HOST:PORT"),
    ("graphite://:2003", "names no host; give graphite://HOST:PORT"),
    ("graphite://h:1?buffer=none", "buffer is 'none'; give a number of lines, 1 to 100,000,000"),
    ("graphite://h:1?buffer=", "buffer is ''; give a number of lines"),
    ("graphite://h:1?size=5", "no option 'size'; there is buffer=LINES"),
    ("statsd://", "is no address; give HOST:PORT"),
    ("statsd://no.such.host.invalid:1", "cannot forward: statsd address"),
    ("db:", "names no file; give db:PATH"),
    ("console:red", "the console is console: and nothing behind it"),
    (
        "influx://h:1",
        "no output 'influx://h:1'; give graphite://HOST:PORT, statsd://HOST:PORT, db:PATH, console:",
    ),
    ("graphite", "no output 'graphite'"),
]


@pytest.mark.parametrize(("url", "sentence"), OUTPUTS, ids=lambda each: str(each)[:40])
def test_a_wrong_output_is_named_with_what_would_be_right(url, sentence):
    with pytest.raises(ServeError) as caught:
        open_output(url)
    assert sentence in str(caught.value)


def test_an_address_without_a_kind_is_udp_and_tcp():
    assert parse_listen("[::1]:8125") == Endpoint(kinds=("udp", "tcp"), host="::1", port=8125)
    assert parse_listen("*:0") == parse_listen(":0") == Endpoint(kinds=("udp", "tcp"))
    assert parse_listen("udp://h:1") == Endpoint(kinds=("udp",), host="h", port=1)
    assert parse_listen("unix:///run/s") == Endpoint(kinds=("unix",), path="/run/s")


def test_the_flush_interval_of_the_server_is_that_of_its_aggregator():
    settings = ServeSettings(flush_s=0.5, aggregator=AggregatorConfig(flush=10, percentiles=(50,)))
    assert (settings.config.flush, settings.config.percentiles) == (0.5, (50,))


def test_one_address_may_be_given_as_a_text():
    assert ServeSettings(listen="127.0.0.1:0", outputs="console:") == ServeSettings(
        listen=("127.0.0.1:0",), outputs=("console:",)
    )
