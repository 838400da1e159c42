"""A client's clock is its instance's: real and scaled by the machine's, virtual by asking for time to pass."""

from __future__ import annotations

from typing import Any

import pytest

from brokersim.net import bounded_socket, instance_clock
from brokersim.net.bounded_socket import Limits
from brokersim.net.instance_clock import InstanceClock
from brokersim.protocol.errnums import ENOENT, RequestError
from brokersim.protocol.message import RESPONSE, Message


class Machine:
    """A machine whose time passes when somebody sleeps."""

    def __init__(self) -> None:
        self.at = 50.0

    def monotonic(self) -> float:
        return self.at

    def sleep(self, seconds: float) -> None:
        self.at += seconds


class Peer:
    """As much of a client as the clock asks for; an instance that is ``uptime`` seconds old."""

    def __init__(self, machine: Machine, clock: str | None, uptime: float = 7.0) -> None:
        self.machine, self.clock, self.uptime = machine, clock, uptime
        self.limits = Limits()
        self.waits: list[float] = []
        self.abandoned: list[int] = []
        self.coming: list[Message] = []

    def rpc(self, topic: str, payload: Any) -> Any:
        if topic == "attr.get":
            if self.clock is None:
                raise RequestError(ENOENT)
            return {"value": self.clock}
        assert topic == "broker.wait"
        self.waits.append(payload["until"])
        self.uptime = max(self.uptime, payload["until"])
        return {"now": self.uptime}

    def send_request(self, topic: str, payload: Any) -> int:
        self.coming.append(Message(RESPONSE, topic, self.rpc(topic, payload), matchtag=9))
        return 9

    def recv(self) -> Message:
        if self.coming:
            return self.coming.pop(0)
        assert self.limits.deadline is not None
        self.machine.at = self.limits.deadline
        raise TimeoutError

    def abandon(self, matchtag: int) -> None:
        self.abandoned.append(matchtag)


@pytest.fixture
def machine(monkeypatch: pytest.MonkeyPatch) -> Machine:
    made = Machine()
    for module in (instance_clock, bounded_socket):
        monkeypatch.setattr(module, "time", made)
    return made


def clock_of(peer: Peer) -> InstanceClock:
    client: Any = peer
    return InstanceClock(client)


@pytest.mark.parametrize(("kind", "slept"), [("real", 12.0), ("real*8", 1.5), (None, 12.0)])
def test_real_time_is_slept_by_the_machines_clock_as_fast_as_the_instance_runs(
    machine: Machine, kind: str | None, slept: float
) -> None:
    clock = clock_of(Peer(machine, kind))
    clock.sleep_until(12.0)
    assert (machine.at, clock.now()) == (50.0 + slept, 12.0)
    clock.sleep_until(3.0)
    assert clock.now() == 12.0


def test_a_sleep_ends_at_the_deadline(machine: Machine) -> None:
    peer = Peer(machine, "real")
    clock = clock_of(peer)
    peer.limits.deadline = 55.0
    clock.sleep_until(5.0)
    with pytest.raises(TimeoutError):
        clock.sleep_until(20.0)
    assert machine.at == 55.0


def test_virtual_time_is_asked_to_pass_and_costs_none_of_the_machines(machine: Machine) -> None:
    peer = Peer(machine, "virtual")
    clock = clock_of(peer)
    clock.sleep_until(3600.0)
    clock.sleep_until(1800.0)
    assert (peer.waits, clock.now(), machine.at) == ([0.0, 3607.0], 3600.0, 50.0)


def message(topic: str) -> Message:
    return Message(RESPONSE, topic, None, matchtag=1)


@pytest.mark.parametrize("kind", ["real", "virtual"])
def test_what_comes_before_the_time_is_taken_in(machine: Machine, kind: str) -> None:
    peer = Peer(machine, kind)
    clock = clock_of(peer)
    peer.coming = [message("a"), message("b")]
    taken: list[str] = []
    clock.receive_until(10.0, lambda one: taken.append(one.topic))
    assert (taken, clock.now(), peer.limits.deadline) == (["a", "b"], 10.0, None)


@pytest.mark.parametrize("kind", ["real", "virtual"])
def test_it_is_enough_when_it_is(machine: Machine, kind: str) -> None:
    peer = Peer(machine, kind)
    clock = clock_of(peer)
    peer.coming = [message("a"), message("b")]
    taken: list[str] = []
    clock.receive_until(10.0, lambda one: taken.append(one.topic), lambda: len(taken) == 1)
    assert taken == ["a"]
    clock.receive_until(10.0, lambda one: taken.append(one.topic), lambda: True)
    assert taken == ["a"]
    assert peer.abandoned == ([9] if kind == "virtual" else [])


def test_the_deadline_of_all_ends_listening(machine: Machine) -> None:
    peer = Peer(machine, "real")
    clock = clock_of(peer)
    peer.limits.deadline = 53.0
    with pytest.raises(TimeoutError):
        clock.receive_until(10.0, lambda one: None)
    assert peer.limits.deadline == 53.0
