"""broker.conf-builtin: what the `flux` on the broker's PATH says, asked once a key; without one no key is known."""

from __future__ import annotations

from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
import trio

from brokersim import open_instance, run
from brokersim.protocol.errnums import EINVAL, EPROTO, RequestError

FLUX = """#!/bin/sh
echo "$4" >>{said}
[ "$1 $2 $3" = "config builtin --" ] && [ "$4" = confdir ] && echo /etc/flux && exit 0
exit 1
"""


@pytest.fixture(params=["real", "virtual"])
def asked(request, tmp_path, monkeypatch) -> Any:
    """Asks for keys, in turn, in one instance; answers and refusals."""
    monkeypatch.setenv("PATH", f"{tmp_path}:/usr/bin:/bin")

    async def main(*payloads: Any) -> Any:
        async with open_instance(modules=(), clock=request.param) as instance:
            client, said = instance.client(), []
            for payload in payloads:
                try:
                    said.append(await client.call("broker.conf-builtin", payload))
                except RequestError as error:
                    said.append((error.errno, error.text))
            return said

    return lambda *payloads: run(main, *payloads, clock=request.param)


def put_flux(folder: Path) -> Path:
    said = folder / "said"
    (folder / "flux").write_text(FLUX.format(said=said))
    (folder / "flux").chmod(0o755)
    return said


def test_the_installed_flux_is_asked_once_a_key(asked, tmp_path):
    said = put_flux(tmp_path)
    answers = asked({"keys": ["confdir", 42, None]}, {"keys": ["confdir"]}, {"keys": []})
    assert answers == [{"values": {"confdir": "/etc/flux"}}] * 2 + [{"values": {}}]
    assert said.read_text() == "confdir\n"


def test_a_key_that_is_none_is_named_and_so_is_any_where_there_is_no_flux(asked, tmp_path):
    assert asked({"keys": ["confdir"]}) == [(EINVAL, "confdir: invalid key")]
    said = put_flux(tmp_path)
    assert asked({"keys": ["confdir", "rundir"]}) == [(EINVAL, "rundir: invalid key")]
    said.unlink()
    assert asked({"keys": ["confdir", "nosuch"]}, {"keys": ["x" * 1000]}) == [
        (EINVAL, "nosuch: invalid key"),
        (EINVAL, f"{'x' * 60}: invalid key"),
    ]
    assert not said.exists()


@pytest.mark.parametrize("key", ["confdir", "rundir"])
def test_many_who_ask_at_once_cost_one_process_whatever_it_says(tmp_path, monkeypatch, key):
    said = put_flux(tmp_path)
    monkeypatch.setenv("PATH", f"{tmp_path}:/usr/bin:/bin")

    async def main() -> None:
        async with open_instance(modules=()) as instance, trio.open_nursery() as nursery:
            for _ in range(50):
                nursery.start_soon(ask, instance.client())

    async def ask(client: Any) -> None:
        with suppress(RequestError):
            await client.call("broker.conf-builtin", {"keys": [key]})

    run(main)
    assert said.read_text() == f"{key}\n"


def test_keys_are_a_list(asked):
    assert [errno for errno, _ in asked({}, {"keys": 42}, {"keys": "confdir"})] == [EPROTO] * 3
