"""broker.conf-builtin: what the `flux` on the broker's PATH says, asked once a key; without one no key is known."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

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
    put_flux(tmp_path)
    assert asked({"keys": ["confdir", "nosuch", "x"]}) == [(EINVAL, "nosuch: invalid key")]


def test_keys_are_a_list(asked):
    assert [errno for errno, _ in asked({}, {"keys": 42}, {"keys": "confdir"})] == [EPROTO] * 3
