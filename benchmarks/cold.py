"""What is paid once: processes of the command line, connections, pauses, a start, the pytest plugin.

    python benchmarks/cold.py [--json] [--gate] [--flux FLUX] [--connections N] [--starts N] [--only TEXT ...]

Processes are CPU time, which a busy machine moves least; what they import was compiled before, as where it is
installed. Connections and pings are wall time, one client, pinned; of a connection the broker's CPU, too. Each row
stands beside its baseline of the same round: a bare interpreter, pytest without the plugin, or the same against a
real Flux, whose rows are left out where there is none.
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

from brokersim.realflux.place import Flux, environment

Parts = dict[str, Callable[[], float]]
#: Command lines of scripts, each of which has a short way.
WORDS = {
    "kvs get": "kvs get a.b",
    "module list": "module list",
    "module debug": "module debug -s 0x1000 kvs",
    "ping": "ping -c 1 kvs",
    "status": "status",
}
#: A command line without a short way, and a question of a shell's for what could be typed next.
LONG, COMPLETION = "version", "completion"
_COMPLETING = {
    "_BROKERSIM_COMPLETE": "bash_complete",
    "COMP_WORDS": "brokersim module stats k",
    "COMP_CWORD": "3",
}
#: A process of a short way takes no more than so many bare interpreters.
SHORT_LIMIT = 2.5
#: `start true` beside Flux's; the plugin beside pytest without it; the rest beside Flux's own.
START_LIMIT, PLUGIN_LIMIT, BESIDE_LIMIT = 0.4, 1.15, 1.0
KEYS = {
    "bare_ms": "bare",
    "kvs_get_ms": "kvs get",
    "connect_us": "connect, ping, close here",
    "start_cpu_ms": "start true here",
}
PAUSES = {"2 ms": 0.002, "10 ms": 0.01}


def commands(program: str, uri: str) -> Parts:
    """CPU ms of processes of ours against our instance."""
    env = _cold.variables(uri)
    _cold.spent([program, "kvs", "put", "a.b=42"], env)
    parts: Parts = {"bare": lambda: _cold.spent([sys.executable, "-c", "pass"])[0]}
    for name, line in {**WORDS, LONG: LONG}.items():
        parts[name] = partial(_cpu, [program, *line.split()], env)
    parts[COMPLETION] = partial(_cpu, [program], {**env, **_COMPLETING})
    return parts


def _cpu(command: list[str], env: dict[str, str]) -> float:
    return _cold.spent(command, env)[0]


def _wall(command: list[str], env: dict[str, str]) -> float:
    """Of so many that one late wake-up among them is not seen."""
    return statistics.median(_cold.spent(command, env)[1] for _ in range(21))


def plugin(folder: Path) -> Parts:
    """CPU ms of a run of pytest with one empty test, without and with our plugin, which nobody uses."""
    file = folder / "test_empty.py"
    file.write_text("def test_nothing():\n    pass\n")
    command = [
        sys.executable,
        "-m",
        "pytest",
        "-q",
        "-p",
        "no:cacheprovider",
        "--rootdir",
        str(folder),
        str(file),
    ]
    env = _cold.without_ours()
    ours = [*command, "-p", "brokersim.pytest_plugin"]
    return {"pytest": partial(_cpu, command, env), "pytest with the plugin": partial(_cpu, ours, env)}


def connections(uris: dict[str, str], count: int) -> Parts:
    """µs of a connection with one ping, wall and the broker's CPU, and wall µs of pings after pauses."""
    parts: Parts = {}
    for who, uri in uris.items():
        parts[f"connect, ping, close {who}"] = partial(_cold.short_connection, uri, count)
        parts[f"connect, CPU of the broker {who}"] = partial(_cold.broker_cpu, uri, count)
        for name, pause in PAUSES.items():
            parts[f"ping after {name} {who}"] = partial(_cold.ping_after, uri, pause, max(1, count // 10))
    return parts


def beside(flux: Flux, uris: dict[str, str]) -> Parts:
    """Wall ms of Flux's own ``flux kvs get``, against our instance and against its own."""
    for uri in uris.values():
        _cold.spent([str(flux.command), "kvs", "put", "a.b=42"], _cold.variables(uri))
    return {
        f"flux kvs get {who}": partial(_wall, [str(flux.command), "kvs", "get", "a.b"], _cold.variables(uri))
        for who, uri in uris.items()
    }


def starts(program: str, flux: Flux | None) -> Parts:
    """CPU ms of an instance that runs ``true``."""
    parts: Parts = {"start true here": partial(_cpu, [program, "start", "true"], environment())}
    if flux is not None:
        parts["start true flux"] = partial(_cpu, [str(flux.command), "start", "true"], environment())
    return parts


def chosen(parts: Parts, only: list[str] | None) -> Parts:
    """All of them, or those asked for and the interpreter they stand beside."""
    if only is None:
        return parts
    return {
        name: part for name, part in parts.items() if name == "bare" or any(text in name for text in only)
    }


def gates(taken: dict[str, list[float]]) -> list[_measure.Gate]:
    """Ratios of this run: to a bare interpreter, to pytest alone, to Flux."""
    limits = [(name, "bare", SHORT_LIMIT) for name in WORDS]
    limits += [("pytest with the plugin", "pytest", PLUGIN_LIMIT)]
    limits += [
        (
            name,
            f"{name.removesuffix(' here')} flux",
            START_LIMIT if name.startswith("start") else BESIDE_LIMIT,
        )
        for name in taken
        if name.endswith(" here")
    ]
    return [
        _measure.Gate(what=f"{name} / {other}", ratio=_measure.ratio(taken[name], taken[other]), limit=limit)
        for name, other, limit in limits
        if name in taken and other in taken
    ]


def unit_of(name: str) -> str:
    if name.startswith("connect, CPU"):
        return "µs CPU"
    return "µs" if name.startswith(("connect", "ping after")) else "ms" if "kvs get " in name else "ms CPU"


def main() -> int:
    parser = _measure.parser(__doc__)
    _cold.add_flux(parser)
    parser.add_argument("--connections", type=_measure.positive, default=400, help="connections a round")
    parser.add_argument("--starts", type=_measure.positive, default=3, help="rounds of `start true`")
    parser.add_argument("--only", nargs="+", metavar="TEXT", help="rows whose name has one of these in it")
    arguments = parser.parse_args()
    flux = _cold.flux_beside(arguments.flux)
    report = _measure.begin(
        "cold", arguments, connections=arguments.connections, flux=None if flux is None else flux.version
    )
    with tempfile.TemporaryDirectory() as folder, _cold.peers(flux) as uris:
        program = _cold.program(Path(folder))
        parts = (
            commands(program, uris["here"]) | plugin(Path(folder)) | connections(uris, arguments.connections)
        )
        parts |= {} if flux is None else beside(flux, uris)
        taken = _measure.rounds(chosen(parts, arguments.only), arguments.repeats)
        taken |= _measure.rounds(chosen(starts(program, flux), arguments.only), arguments.starts)
    report.figures = [
        _measure.Figure(name=name, unit=unit_of(name), values=values) for name, values in taken.items()
    ]
    report.gates = gates(taken)
    report.keys = {key: statistics.median(taken[name]) for key, name in KEYS.items() if name in taken}
    return report.finish(arguments)


if __name__ == "__main__":
    sys.exit(main())
