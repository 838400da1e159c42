"""Knows how to have an instance in a process of its own and to talk to it at full speed. Not what is asked."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from brokersim.net.client import Client
from brokersim.protocol import treeobj
from brokersim.protocol.message import FLAG_ROUTE, REQUEST, Message
from brokersim.protocol.wire import HEADER_SIZE, MAGIC, encode

_READY_S = 20.0
_READ = 1 << 18


@contextmanager
def instance(*options: str) -> Iterator[str]:
    """The address of a real-time instance with its modules, SQLite on; on this process's CPU if it is pinned."""
    with tempfile.TemporaryDirectory() as folder:
        run, state = Path(folder) / "run", Path(folder) / "state"
        command = [sys.executable, "-m", "brokersim", "start", "--rundir", str(run), "--statedir", str(state)]
        process = subprocess.Popen(
            [*command, *options, "--", "sleep", "3600"], start_new_session=True, stdin=subprocess.DEVNULL
        )
        try:
            yield _wait_for(run / "local-0", process)
        finally:
            if process.poll() is None:
                # The whole group: what runs inside would outlive a broker that is only told to stop.
                os.killpg(process.pid, signal.SIGTERM)
                process.wait()


def _wait_for(path: Path, process: subprocess.Popen[bytes]) -> str:
    uri = f"local://{path}"
    until = time.monotonic() + _READY_S
    while time.monotonic() < until:
        if process.poll() is not None:
            raise SystemExit(f"the instance ended at once with code {process.returncode}")
        if path.exists():
            with Client.connect(uri, timeout=_READY_S) as client:
                client.rpc("kvs.getroot", {"namespace": "primary"})
            return uri
        time.sleep(0.02)
    raise SystemExit(f"the instance did not open its socket within {_READY_S} s")


class Lean:
    """A client as one in C would be: frames encoded beforehand, answers counted by their bytes, nothing decoded.

    All answers to one request must have one length, which the first tells.
    """

    def __init__(self, uri: str) -> None:
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self._socket.connect(uri.removeprefix("local://"))
        if self._socket.recv(1) != b"\0":
            raise SystemExit(f"{uri} refuses this user")

    def close(self) -> None:
        self._socket.close()

    def answer_size(self, frame: bytes) -> int:
        """Bytes of the answer to a frame; it must be no error."""
        self._socket.sendall(frame)
        data = self._socket.recv(_READ)
        if data[:4] != MAGIC or len(data) != HEADER_SIZE + int.from_bytes(data[4:8], "big"):
            raise SystemExit(f"the answer is not one frame: {data[:80]!r}")
        if int.from_bytes(data[-8:-4], "big"):
            raise SystemExit(f"the answer is an error: {data!r}")
        return len(data)

    def round_trips(self, frame: bytes, count: int) -> list[float]:
        """Seconds of each of ``count`` round trips."""
        size = self.answer_size(frame)
        sendall, recv, clock = self._socket.sendall, self._socket.recv, time.perf_counter
        taken = []
        for _ in range(count):
            started = clock()
            sendall(frame)
            left = size
            while left > 0:
                left -= len(recv(_READ))
            taken.append(clock() - started)
        return taken

    def pipelined(self, frames: list[bytes], count: int) -> float:
        """Requests per second with ``len(frames)`` of one length outstanding; each answer is replaced by a request."""
        window, request = len(frames), len(frames[0])
        size = self.answer_size(frames[0])
        # Answers come in the order of the requests, so the next free matchtags are the next in the circle.
        circle = memoryview(b"".join(frames) * 2)
        sendall, recv = self._socket.sendall, self._socket.recv
        started = time.perf_counter()
        sendall(circle[: window * request])
        sent, at, bytes_in, answered = window, 0, 0, 0
        while answered < count:
            bytes_in += len(recv(_READ))
            fresh = bytes_in // size
            if not fresh:
                continue
            bytes_in -= fresh * size
            answered += fresh
            fresh = min(fresh, count - sent)
            if fresh > 0:
                sendall(circle[at * request : (at + fresh) * request])
                at = (at + fresh) % window
                sent += fresh
        return answered / (time.perf_counter() - started)


def request_frame(topic: str, payload: object, matchtag: int = 1) -> bytes:
    """A request as it goes over the socket."""
    return encode(Message(REQUEST, topic, payload, FLAG_ROUTE, matchtag))


def request_frames(topic: str, payload: object, window: int) -> list[bytes]:
    """The same request with matchtags 1 to ``window``."""
    return [request_frame(topic, payload, matchtag) for matchtag in range(1, window + 1)]


def put(uri: str, key: str, value: str) -> None:
    """Store a value under a key."""
    with Client.connect(uri, timeout=_READY_S) as client:
        client.rpc("kvs.commit", commit_of(key, value))


def commit_of(key: str, value: str) -> dict[str, object]:
    """The payload of a commit of one key."""
    return {
        "namespace": "primary",
        "flags": 0,
        "ops": [{"key": key, "flags": 0, "dirent": treeobj.val(value.encode())}],
    }
