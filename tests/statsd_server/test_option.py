"""The words of --stats serve."""

from __future__ import annotations

import pytest

from brokersim.statsd_server.option import is_serve, parse_serve


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


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("serve:colour=red", "'colour=red' is none of listen="),
        ("serve:flush", "'flush' is none of"),
        ("serve:retention=soon", "is no retention"),
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
