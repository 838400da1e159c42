"""The words of --stats serve."""

from __future__ import annotations

import pytest

from brokersim.statsd_server.option import is_serve, parse_serve, parse_stats


def test_serve_alone_listens_on_free_loopback_ports():
    settings = parse_serve("serve")
    assert (settings.listen, settings.http) == (("127.0.0.1:0",), "127.0.0.1:0")
    assert (settings.dialect, settings.flush_s, settings.outputs) == ("strict", 1.0, ())


def test_in_simulated_time_it_has_no_sockets_unless_told():
    settings = parse_serve("serve", sockets=False)
    assert (settings.listen, settings.http, settings.gather_s) == ((), None, 0.0)
    assert parse_serve("serve:http=127.0.0.1:8127", sockets=False).http == "127.0.0.1:8127"


def test_every_word():
    text = (
        "serve:listen=udp://127.0.0.1:8125,dialect=brubeck,flush=0.1s,http=none,management=127.0.0.1:8126,"
        "db=run.db,retention=0.1s:1h,forward=graphite://127.0.0.1:2003,forward=statsd://127.0.0.1:9125"
    )
    settings = parse_serve(text)
    assert settings.listen == ("udp://127.0.0.1:8125",)
    assert (settings.dialect, settings.flush_s, settings.http) == ("brubeck", 0.1, None)
    assert (settings.management, settings.retention) == ("127.0.0.1:8126", "0.1s:1h")
    assert settings.outputs == ("db:run.db", "graphite://127.0.0.1:2003", "statsd://127.0.0.1:9125")
    assert parse_serve("serve:listen=none").listen == ()
    spread = parse_serve("serve:health=off,creates=50/min")
    assert (spread.own_metrics, spread.config.max_creates_per_minute) == (False, 50)


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("serve:colour=red", "'colour=red' is none of listen="),
        ("serve:flush", "'flush' is none of"),
        ("serve:retention=soon", "is no retention"),
        ("serve:health=maybe", "give health=on or health=off"),
        ("serve:creates=0", "give N/min"),
        ("serve:flush=", "is none of"),
        ("serve:flush=soon", "soon"),
        ("serve:flush=1ms", "at least 0.01 s"),
        ("serve:dialect=klingon", "no statsd dialect 'klingon'"),
        ("serve:http=x", "is no address"),
        ("server", "give serve or"),
    ],
)
def test_what_cannot_be_meant_is_told(text: str, told: str):
    with pytest.raises(ValueError, match=told):
        parse_serve(text)


def test_which_destinations_ask_for_a_server():
    assert [is_serve(text) for text in ("serve", "serve:flush=1s", "server:8125", "mem:", "127.0.0.1:8125")] == [
        True, True, False, False, False,
    ]  # fmt: skip


def test_a_target_and_the_words_behind_it():
    plain = parse_stats("127.0.0.1:8125")
    assert (plain.address, plain.dialect, plain.prefix, plain.server) == ("127.0.0.1:8125", "any", None, None)
    told = parse_stats("[::1]:8125,dialect=statsd,names=journal")
    assert (told.address, told.dialect, told.prefix) == ("[::1]:8125", "etsy", "flux.{module}")
    assert parse_stats("mem:,names=rank").prefix == "flux.{module}.{rank}"
    assert parse_stats("dialect=brubeck").address == ""
    inside = parse_stats("serve:flush=0.1s,prefix=site.{module},dialect=etsy")
    assert inside.server is not None
    assert (inside.server.flush_s, inside.server.dialect, inside.prefix) == (0.1, "etsy", "site.{module}")


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("localhost", "not a statsd target: 'localhost'; give HOST:PORT"),
        ("h:70000", "not a statsd target"),
        ("h:1,dialect=klingon", "no statsd dialect 'klingon'; there are any, strict"),
        ("h:1,colour=red", "'colour' is none of dialect="),
        ("h:1,brubeck", "'brubeck' is none of dialect="),
        ("h:1,names=week7", "give names=rank or names=journal"),
        ("h:1,names=rank,prefix=a", "say two things"),
        ("serve:prefix=a b", "would be mangled"),
        ("serve:names=x", "give names=rank"),
    ],
)
def test_what_a_target_cannot_be_is_told(text: str, told: str):
    with pytest.raises(ValueError, match=told):
        parse_stats(text)
