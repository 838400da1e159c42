"""Fixtures for the command line: a canned broker, and one command in process with its streams and exit code."""

from __future__ import annotations

import io
import os
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import msgspec
import pytest

from brokersim.cli.main import main
from brokersim.lab.sweep import arrays
from brokersim.lab.sweep.launchers import Limits
from tests.cli.engines import Engine
from tests.cli.fake_broker import FakeBroker

_VARIABLES = (
    "FLUX_URI", "BROKERSIM_CONFIG", "BROKERSIM_SEED", "BROKERSIM_MODULE_PATH", "FLUX_FRIPP_STATSD",
    "NO_COLOR", "FORCE_COLOR", "XDG_CONFIG_HOME", "FLUX_LOCAL_CONNECTOR_RETRY_COUNT",
)  # fmt: skip


class Result(NamedTuple):
    code: int
    out: str
    err: str

    @property
    def json(self) -> Any:
        """The one document on stdout."""
        return msgspec.json.decode(self.out)

    @property
    def lines(self) -> list[Any]:
        """The JSON lines on stdout."""
        return [msgspec.json.decode(line) for line in self.out.splitlines()]


Run = Callable[..., Result]


@pytest.fixture
def fake(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[FakeBroker]:
    """A broker that knows three modules and no more; BROKERSIM_URI names it."""
    for name in _VARIABLES:
        monkeypatch.delenv(name, raising=False)
    mods = [
        {"name": "kvs", "path": "/m/kvs", "idle": 0.4, "status": 1, "services": ["kvs"], "sendqueue": 0,
         "recvqueue": 2, "mask": 0x1000, "hook": "prepare", "iterations": 4211, "idle_calls": 0},
        {"name": "content-cache", "path": "/m/content_cache", "idle": 12.0, "status": 1,
         "services": ["content-cache", "content"], "sendqueue": 0, "recvqueue": 0, "mask": 0},
        {"name": "cron", "path": "/m/cron", "idle": 100.0, "status": 2, "services": ["cron"], "sendqueue": 0,
         "recvqueue": 0},
    ]  # fmt: skip
    attributes = {"size": "4", "rank": "0", "security.owner": "0", "instance-level": "0", "version": "9.9"}

    def attribute(request: Any) -> Any:
        from brokersim.protocol.errnums import ENOENT, RequestError

        value = attributes.get(request.payload["name"])
        return RequestError(ENOENT) if value is None else {"value": value, "flags": 1}

    answers = {
        "module.list": {"mods": mods},
        "attr.get": attribute,
        "attr.list": {"names": ["size", "rank", "version"]},
    }
    broker = FakeBroker(tmp_path / "local-0", answers)
    monkeypatch.setenv("BROKERSIM_URI", broker.uri)
    yield broker
    broker.close()


@pytest.fixture
def run(capfdbinary: Any, monkeypatch: pytest.MonkeyPatch) -> Run:
    """Runs one command line in process."""

    def run_main(*words: str, stdin: bytes = b"") -> Result:
        monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(stdin)))
        code = main(words)
        out, err = capfdbinary.readouterr()
        return Result(code, out.decode(errors="surrogateescape"), err.decode())

    return run_main


@pytest.fixture
def engine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Engine:
    found = Engine(tmp_path / "bin")
    monkeypatch.setenv("PATH", f"{found.folder}{os.pathsep}/usr/bin{os.pathsep}/bin")
    monkeypatch.setattr(arrays, "LOOK", 0.0)
    return found


@pytest.fixture
def measured(monkeypatch: pytest.MonkeyPatch) -> list[tuple[int, int]]:
    """Nothing is measured: what would have been asked for, of how many points in how many elements."""
    asked: list[tuple[int, int]] = []

    def limits(words: object, total: int, count: int) -> Limits:
        asked.append((total, count))
        return Limits(seconds=90, bytes=100 << 20)

    monkeypatch.setattr(arrays, "measured", limits)
    return asked
