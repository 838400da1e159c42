"""A shell script of 200 commands: ours and Flux's on the same instance of ours, and Flux's on one of its own.

    python benchmarks/shell.py [--json] [--gate] [--flux FLUX] [--commands N]

Commands come in fives: put a key, get it, list the modules, ask an attribute, ping. The shell and its commands are
timed, pinned to one CPU with the instances. Without a real Flux only ours run, beside as many bare interpreters.
"""

from __future__ import annotations

import statistics
import sys
import tempfile
from collections.abc import Callable
from functools import partial
from pathlib import Path

import _cold
import _measure

from brokersim.realflux.place import Flux

#: Of either command line.
FIVE = ("kvs put k{n}=v{n}", "kvs get k{n}", "module list", "getattr size", "ping -c 1 kvs")
#: The script beside as many bare interpreters, and Flux's commands on our instance beside those on its own.
BARE_LIMIT, SAME_LIMIT = 2.5, 1.0
BARE, OURS, ON_OURS, ON_ITS = "bare interpreters", "brokersim here", "flux here", "flux on its own"


def script(path: Path, command: str, count: int) -> list[str]:
    """How to run a script of ``count`` commands, which ends at the first that fails."""
    lines = [f"{command} {FIVE[n % len(FIVE)].format(n=n // len(FIVE))} >/dev/null" for n in range(count)]
    return _written(path, lines)


def bare(path: Path, count: int) -> list[str]:
    """The same with interpreters that do nothing."""
    return _written(path, [f"{sys.executable} -c pass"] * count)


def _written(path: Path, lines: list[str]) -> list[str]:
    path.write_text("set -e\n" + "\n".join(lines) + "\n")
    return ["sh", str(path)]


def parts(
    folder: Path, uris: dict[str, str], flux: Flux | None, count: int
) -> dict[str, Callable[[], float]]:
    """By name, ms of a whole script: CPU, but wall time of Flux's."""
    here = _cold.variables(uris["here"])
    runs = {
        BARE: (bare(folder / "bare.sh", count), here),
        OURS: (script(folder / "ours.sh", _cold.program(folder), count), here),
    }
    if flux is not None:
        theirs = script(folder / "flux.sh", str(flux.command), count)
        runs |= {ON_OURS: (theirs, here), ON_ITS: (theirs, _cold.variables(uris["flux"]))}
    # Of ours CPU, beside an interpreter's; of Flux's commands the time, which is mostly the instance's.
    return {name: partial(_one, run, int(name.startswith("flux"))) for name, run in runs.items()}


def _one(run: tuple[list[str], dict[str, str]], which: int) -> float:
    return _cold.spent(*run)[which]


def main() -> int:
    parser = _measure.parser(__doc__, repeats=3)
    _cold.add_flux(parser)
    parser.add_argument("--commands", type=_measure.positive, default=200, help="commands of a script")
    arguments = parser.parse_args()
    flux = _cold.flux_beside(arguments.flux)
    version = None if flux is None else flux.version
    report = _measure.begin("shell", arguments, commands=arguments.commands, flux=version)
    with tempfile.TemporaryDirectory() as folder, _cold.peers(flux) as uris:
        taken = _measure.rounds(parts(Path(folder), uris, flux, arguments.commands), arguments.repeats)
    report.figures = [
        _measure.Figure(name=name, unit="ms" if name.startswith("flux") else "ms CPU", values=values)
        for name, values in taken.items()
    ]
    limits = [(OURS, BARE, BARE_LIMIT), (ON_OURS, ON_ITS, SAME_LIMIT)]
    report.gates = [
        _measure.Gate(what=f"{one} / {other}", ratio=_measure.ratio(taken[one], taken[other]), limit=limit)
        for one, other, limit in limits
        if one in taken
    ]
    report.keys = {"ours_ms": statistics.median(taken[OURS]), "bare_ms": statistics.median(taken[BARE])}
    return report.finish(arguments)


if __name__ == "__main__":
    sys.exit(main())
