"""Knows how a module file of ours is loaded into a real Flux, and which of the shipped ones can serve there.

Flux starts any program as a module's loader (``flux module load --loader=``); ours is ``brokersim-module``, beside the
interpreter that runs this.
"""

from __future__ import annotations

import shutil
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

import attrs

from brokersim.host.loader import Loader, default_name, shipped_folder
from brokersim.realflux.place import Flux

#: Seconds one load or removal may take on all ranks.
_PATIENCE = 60.0
#: Shipped modules that serve in a Flux, with those of Flux that must go first (``--replace`` removes them).
SERVES = {
    "metrics": (), "probe": (), "sched": ("sched-simple",), "heartbeat": ("heartbeat",), "kvs-watch": ("kvs-watch",),
    "cron": ("cron",), "registry": (),
}  # fmt: skip
_OWN = "Flux's own module of that service is compiled, and faster; what ours adds is only seen in brokersim"
#: Shipped modules that do not, and why.
WHY_NOT = {
    "kvs": f"every other module needs it while it changes hands. {_OWN}",
    "content-cache": f"in Flux the cache is part of the broker. {_OWN}",
    "content-sqlite": "the content service of Flux holds blobs of the running store, which another would not have",
    "content-files": f"blobs are where Flux's backing store has put them. {_OWN}",
    "resource": "Flux's scheduler, job-exec and job-manager hold on to their own resource module",
    "job-manager": "jobs of Flux carry signed requests and run in its job shell, which ours does not start",
    "job-ingest": "jobs of Flux carry signed requests, which only its own ingest unwraps",
    "job-list": "it reads what brokersim's job-manager tells, not what Flux's does",
    "job-info": "it reads what brokersim's job-manager keeps, not what Flux's does",
    "job-exec": "jobs of Flux run in its job shell, which ours does not start",
}


class CannotLoad(RuntimeError):
    """A file that cannot be loaded there: which, why, what would be right."""


@attrs.frozen(kw_only=True)
class Plan:
    """A module to be loaded: its file, the name it gets, Flux's modules that stand in its way."""

    path: Path
    name: str
    replaces: tuple[str, ...] = ()


def plan(file: str, name: str | None = None) -> Plan:
    """What loading a file, or a shipped module by name, takes. Raises CannotLoad, RequestError(ENOENT)."""
    path = Loader().find(file)
    found = default_name(path)
    if path.parent.parent == shipped_folder():
        if found in WHY_NOT:
            raise CannotLoad(f"{found} does not serve in a Flux: {WHY_NOT[found]}")
        return Plan(path=path, name=name or found, replaces=SERVES.get(found, ()))
    return Plan(path=path, name=name or found)


def loader() -> Path:
    """``brokersim-module``. Raises CannotLoad if it is not installed beside this interpreter."""
    beside = Path(sys.executable).parent / "brokersim-module"
    found = str(beside) if beside.is_file() else shutil.which("brokersim-module")
    if found is None:
        raise CannotLoad(f"no brokersim-module in {beside.parent} or on PATH; install brokersim there")
    return Path(found)


def load(flux: Flux, wish: Plan, ranks: str, args: Sequence[str] = (), replace: bool = False) -> list[str]:
    """Load it on these ranks; returns the modules of Flux it has replaced. Raises CannotLoad with what Flux said."""
    gone = [other for other in wish.replaces if replace and _is_loaded(flux, other, ranks)]
    for other in gone:
        _run(flux, ranks, "module", "remove", "-f", other)
    named = ("module", "load", f"--loader={loader()}", f"--name={wish.name}", str(wish.path), *args)
    _run(flux, ranks, *named)
    return gone


def _is_loaded(flux: Flux, name: str, ranks: str) -> bool:
    listed = _run(flux, ranks, "module", "list")
    return any(line.split()[:1] == [name] for line in listed.splitlines())


def _run(flux: Flux, ranks: str, *words: str) -> str:
    """A Flux command on these ranks. Raises CannotLoad."""
    command = [str(flux.command), "exec", "-r", ranks, "flux", *words]
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=_PATIENCE, check=False)
    except (OSError, subprocess.TimeoutExpired) as error:
        raise CannotLoad(f"{' '.join(command)}: {error}") from None
    if done.returncode:
        said = [line for line in done.stderr.splitlines() if "Exit" not in line] or [
            f"exit code {done.returncode}"
        ]
        raise CannotLoad("; ".join(dict.fromkeys(line.partition("]: ")[2] or line for line in said[:4])))
    return done.stdout
