"""When clients of a socket have come to rest: all read, nothing sent, their processes asleep."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
import time

import pytest

from brokersim.net.repose import PATIENCE, Repose

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="looks into /proc")


@pytest.fixture
def pair():
    ours, theirs = socket.socketpair()
    yield ours, theirs
    ours.close()
    theirs.close()


def test_unread_input_and_unheard_output_keep_a_client_from_rest(pair):
    ours, theirs = pair
    repose = Repose()
    repose.add(ours, os.getpid())
    ours.send(b"answer")
    assert not repose.is_settled()
    theirs.recv(10)
    theirs.send(b"request")
    assert not repose.is_settled()
    ours.recv(10)
    assert repose.is_settled()
    ours.send(b"more")
    assert repose.is_settled(), "not looked at again until something is said"
    repose.stirred()
    assert not repose.is_settled()
    repose.drop(ours)
    assert repose.is_settled()


def test_a_process_that_runs_is_not_at_rest_but_is_not_waited_for_for_ever(pair):
    with subprocess.Popen([sys.executable, "-c", "while True: pass"]) as busy:
        try:
            repose = Repose()
            repose.add(pair[0], busy.pid)
            assert not repose.is_settled()
            repose._since = time.monotonic() - PATIENCE - 1
            assert repose.is_settled()
        finally:
            busy.kill()


def test_a_process_that_has_ended_is_at_rest(pair):
    with subprocess.Popen(["true"]) as gone:
        gone.wait()
        repose = Repose()
        repose.add(pair[0], gone.pid)
        assert repose.is_settled()
