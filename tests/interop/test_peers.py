"""What starts real servers tells why one did not start, and gives it a port nobody else is given meanwhile."""

from __future__ import annotations

import socket
import sys
from contextlib import ExitStack
from pathlib import Path

import pytest

from tests.interop import peers
from tests.interop.peers import free_port, process, until


def test_a_servers_port_is_none_that_others_are_given_by_chance() -> None:
    with ExitStack() as stack:
        given = []
        for _ in range(50):
            probe = stack.enter_context(socket.socket())
            probe.bind(("127.0.0.1", 0))
            given.append(probe.getsockname()[1])
    assert max(free_port() for _ in range(50)) < min(given)


def test_a_server_that_does_not_start_is_heard(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(peers, "PATIENCE", 0.0)
    broken = [sys.executable, "-c", "raise SystemExit('the address is taken')"]
    with process(broken, tmp_path / "talk") as child:
        child.wait()
        with pytest.raises(
            AssertionError, match=r"the server: not within 0 s\ntalk \(ended with 1\): the address"
        ):
            until(lambda: False, "the server")
