"""When clients of a socket have come to rest: all read, nothing sent, their processes asleep."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
import time

import pytest

from brokersim.net import repose as repose_module
from brokersim.net.repose import LONGEST, UNREAD_PATIENCE, Repose, _processor_time

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


def test_a_process_that_runs_is_not_at_rest_but_is_not_waited_for_for_ever(pair, monkeypatch):
    monkeypatch.setattr(repose_module, "PATIENCE", 0.05)
    with subprocess.Popen([sys.executable, "-c", "while True: pass"]) as busy:
        try:
            repose = Repose()
            repose.add(pair[0], busy.pid)
            assert not repose.is_settled()
            before = _processor_time(busy.pid)
            while not repose.is_settled():
                time.sleep(0.001)
            assert 0.04 < _processor_time(busy.pid) - before < 2
        finally:
            busy.kill()


def test_a_process_that_has_ended_is_at_rest(pair):
    with subprocess.Popen(["true"]) as gone:
        gone.wait()
        repose = Repose()
        repose.add(pair[0], gone.pid)
        assert repose.is_settled()


def test_a_client_that_wants_to_run_and_is_not_let_is_waited_for(pair, monkeypatch):
    """An overloaded machine: runnable for long, and hardly any processor time."""
    spent = {4711: 5.0}
    now = [0.0]
    monkeypatch.setattr(repose_module, "_is_busy", lambda pid: True)
    monkeypatch.setattr(repose_module, "_processor_time", lambda pid: spent[pid])
    monkeypatch.setattr(repose_module.time, "monotonic", lambda: now[0])
    repose = Repose()
    repose.add(pair[0], 4711)
    for _ in range(10):
        assert not repose.is_settled()
        now[0] += 5.0
        spent[4711] += 0.09
    spent[4711] += 0.2
    assert repose.is_settled(), "it has had its second and still runs: it polls"
    repose.stirred()
    assert not repose.is_settled()
    now[0] += LONGEST + 1
    assert repose.is_settled(), "neither runs nor sleeps: given up"


def test_a_client_that_sleeps_on_unread_input_is_given_a_second(pair, monkeypatch):
    now = [0.0]
    monkeypatch.setattr(repose_module.time, "monotonic", lambda: now[0])
    repose = Repose()
    repose.add(pair[0], os.getpid())
    pair[0].send(b"an event nobody wants")
    assert not repose.is_settled()
    now[0] += UNREAD_PATIENCE
    assert not repose.is_settled()
    now[0] += 0.1
    assert repose.is_settled()


def test_processor_time_is_that_of_all_threads_of_a_process():
    before = _processor_time(os.getpid())
    while time.process_time() < 0.05 or _processor_time(os.getpid()) - before < 0.02:
        pass
    assert abs(_processor_time(os.getpid()) - time.process_time()) < 0.1
    assert _processor_time(2**22 + 1) == 0.0
