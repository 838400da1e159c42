"""Knows how a real Flux's modules get the journal's hook: the library is built, preloaded, and what it reached is read.

Doesn't know how a module is hooked (hooks.c), nor what is done with the packets.
"""

from __future__ import annotations

import shlex
import shutil
import subprocess
import threading
import time
from collections.abc import Iterable
from os import environ
from pathlib import Path

import attrs

from brokersim.net.client import Client, Unreachable
from brokersim.protocol.duration import parse_duration
from brokersim.protocol.errnums import RequestError
from brokersim.protocol.settings import check_hook
from brokersim.realflux.place import Flux, NoFlux

SOURCE = Path(__file__).with_name("hooks.c")
_FLAGS = ("-std=gnu11", "-O2", "-Wall", "-fPIC", "-shared", "-fvisibility=hidden")
_LIBRARIES = ("-ldl", "-lpthread")
#: A hook that only counts.
NONE = "none"
#: Seconds without a newly reached module after which an instance is taken to be up.
QUIET = 1.5
_LOOK, _PATIENCE = 0.25, 10.0


def build(flux: Flux, library: Path) -> Path:
    """Compile the library for this Flux. Raises NoFlux: no compiler, no headers, or what the compiler says."""
    compiler = shlex.split(environ.get("CC", "cc"))
    if shutil.which(compiler[0]) is None:
        raise NoFlux(f"no C compiler: {compiler[0]} is not on PATH; install one, or name it in CC")
    soname = _soname(flux)
    command = [
        *compiler,
        *_FLAGS,
        f'-DFLUX_LIBRARY="{soname}"',
        f"-I{flux.headers}",
        str(SOURCE),
        "-o",
        str(library),
    ]
    done = subprocess.run([*command, *_LIBRARIES], capture_output=True, text=True, check=False)
    if done.returncode:
        raise NoFlux(
            f"{compiler[0]} does not compile {SOURCE.name} for {flux.version}: {done.stderr.strip()}"
        )
    return library


def _soname(flux: Flux) -> str:
    """The library's name with its number, as programs ask for it; it has been 2 for ten years."""
    folder = flux.command.resolve().parent.parent / "lib"
    found = sorted(path.name for path in folder.glob("libflux-core.so.?"))
    return found[0] if found else "libflux-core.so.2"


def settings(library: Path, hook: str, statsd: str, reached: Path | None = None) -> dict[str, str]:
    """The variables a broker is started with. Raises ValueError for a hook that is none.

    ``none`` is a hook as well: it counts turns and messages while the bit is set, and sends nothing.
    """
    if hook != NONE:
        check_hook(hook)
    kind, _, period = hook.partition(":")
    preload = " ".join(filter(None, (str(library), environ.get("LD_PRELOAD"))))
    found = {
        "LD_PRELOAD": preload,
        "BROKERSIM_HOOK": f"{kind}:{parse_duration(period):.9g}" if period else kind,
        "FLUX_FRIPP_STATSD": statsd,
    }
    if reached is not None:
        found["BROKERSIM_REACHED"] = str(reached)
    return found


@attrs.frozen
class Turns:
    """What a module's hook counted while the bit was set; known once the module has ended.

    ``counts`` are the eight counters, in the order of COUNTER_NAMES, by how much they moved.
    """

    turns: int
    packets: int
    counts: tuple[int, ...] = ()


@attrs.frozen
class Reached:
    """What the library has told so far: modules by rank, addresses of brokers, turns by (rank, module)."""

    modules: dict[int, set[str]]
    uris: tuple[str, ...]
    ended: dict[tuple[int, str], Turns]

    @property
    def count(self) -> int:
        return sum(map(len, self.modules.values()))


def read_reached(report: Path) -> Reached:
    """What is in the file; nothing yet if there is none."""
    modules: dict[int, set[str]] = {}
    uris: dict[str, None] = {}
    ended: dict[tuple[int, str], Turns] = {}
    for line in report.read_text().splitlines() if report.exists() else ():
        what, *words = line.split()
        if what == "+":
            modules.setdefault(int(words[0]), set()).add(words[1])
        elif what == "-":
            ended[int(words[0]), words[1]] = Turns(int(words[2]), int(words[3]), tuple(map(int, words[4:])))
        elif what == "=":
            uris[words[0]] = None
    return Reached(modules, tuple(uris), ended)


def loaded(uris: Iterable[str]) -> dict[int, set[str]]:
    """The modules that brokers have, by rank; those that are gone are left out."""
    found: dict[int, set[str]] = {}
    for uri in uris:
        try:
            with Client.connect(uri, timeout=_PATIENCE) as client:
                rank = int(client.rpc("attr.get", {"name": "rank"})["value"])
                found[rank] = {module["name"] for module in client.rpc("module.list")["mods"]}
        except (Unreachable, TimeoutError, RequestError, ValueError):
            continue
    return found


@attrs.define(eq=False)
class Watch:
    """Waits beside a running Flux until its modules are loaded, then looks once which of them were not reached."""

    report: Path
    #: Loaded and not reached, by rank; None as long as nobody could look.
    missed: dict[int, set[str]] | None = None
    _end: threading.Event = attrs.field(factory=threading.Event)

    def run(self) -> None:
        """In a thread of its own, until it has looked or ``stop``."""
        count, since = 0, time.monotonic()
        while not self._end.wait(_LOOK):
            found = read_reached(self.report)
            if found.count != count:
                count, since = found.count, time.monotonic()
            elif found.uris and time.monotonic() - since >= QUIET:
                self.missed = {
                    rank: names - found.modules.get(rank, set()) for rank, names in loaded(found.uris).items()
                }
                return

    def stop(self) -> None:
        """Do not wait any longer."""
        self._end.set()


def told(hook: str, found: Reached, missed: dict[int, set[str]] | None) -> str:
    """One line on what was reached and what was not."""
    if not found.count:
        return "no module was instrumented: was a broker started? (a broker that runs takes it at its next start)"
    ranks = len(found.modules)
    names = sorted(set().union(*found.modules.values()))
    where = "rank 0" if ranks == 1 else f"{ranks} ranks"
    line = f"{hook} hook in {found.count} modules on {where} ({', '.join(names)})"
    if missed is None:
        return f"{line}; nobody could look which were not reached: it ended too soon"
    out = sorted(set().union(*missed.values())) if missed else []
    return f"{line}; not reached: {', '.join(out) or 'none'}"
