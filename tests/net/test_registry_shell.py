"""The shell's record over HTTP, against a live registry: read, written at its version, or refused."""

from __future__ import annotations

import pytest
import trio

from brokersim.cli.errors import CommandError
from brokersim.cli.registry.desk import Wrong
from brokersim.cli.registry.places import Web
from tests.net.test_registry_pages import TOKEN, served


def at(web, token=TOKEN, ident="s0"):
    host, port = web._address
    return Web(f"http://{host}:{port}", token, "services", ident)


def refused(kind, act, *args):
    with pytest.raises(kind) as caught:
        act(*args)
    return str(caught.value)


def test_a_record_is_edited_over_http_and_a_lost_update_is_told(tmp_path):
    async def act(web, _):
        assert (await web("POST", "/v1/services", {"id": "s0", "name": "s0"}))[0] == 201
        await trio.to_thread.run_sync(edit, web)

    def edit(web):
        mine, theirs = at(web), at(web)
        assert mine.read() == theirs.read() == {"name": "s0"}
        assert mine.write({"name": "s0", "status": "OFF"}) == {"name": "s0", "status": "OFF"}
        assert mine.write({"name": "s0"}) == {"name": "s0"}, "it knows the version that it wrote"
        assert "somebody else has written it" in refused(Wrong, theirs.write, {"name": "x"})
        assert theirs.read() == {"name": "s0"}
        assert theirs.write({"name": "s0", "ttl": 5}) == {"name": "s0", "ttl": 5}
        assert "/nam" in refused(Wrong, theirs.write, {"nam": "x"})

    trio.run(served(act), tmp_path)


def test_who_may_not_or_finds_nothing_is_told_in_a_line(tmp_path):
    async def act(web, _):
        await web("POST", "/v1/services", {"id": "s0", "name": "s0"})
        await trio.to_thread.run_sync(tried, web)

    def tried(web):
        reader = at(web, token=None)
        reader.read()
        assert "Authorization" in refused(Wrong, reader.write, {"name": "s0"})
        assert "no record 's1'" in refused(CommandError, at(web, ident="s1").read)

    trio.run(served(act), tmp_path)


@pytest.mark.parametrize(
    ("url", "says"),
    [
        ("http://127.0.0.1:1", "http://127.0.0.1:1: "), ("unix:/nowhere", "unix:/nowhere: "),
        ("ftp://h", "is no address"), ("http://h:port", "is no address"), ("127.0.0.1:8128", "is no address"),
        ("http://h/v1", "is no address"),
    ],
)  # fmt: skip
def test_an_address_that_is_none(url, says):
    assert says in refused(CommandError, Web(url, None, "services", "s0").read)
