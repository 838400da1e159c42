"""Knows the command that prints, clears and subtracts a module's counters."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final

import click
import msgspec

from brokersim.cli.command import Command, examples, pass_session
from brokersim.cli.module import complete_module, explain_module
from brokersim.cli.session import Session
from brokersim.cli.types import DURATION, RANKS
from brokersim.protocol.decoded import Json, JsonObject
from brokersim.protocol.message import EVENT, FLAG_ROUTE, Message

_TYPES: Final = ("request", "response", "event", "control")
#: What one stats-get over an open connection adds between two snapshots: the answer to the first, which is
#: sent after its own snapshot was taken, and the second request, counted before its handler runs.
_OWN: Final = {("tx", "response"): 1, ("rx", "request"): 1}
#: The eight names of 2021, when control messages were keepalives.
_LEGACY: Final = tuple(
    (f"#{'keepalive' if kind == 'control' else kind} ({way})", way, kind)
    for way in ("tx", "rx")
    for kind in _TYPES
)
_WHO: Final = ("self", "children", "thread")


@click.command(
    "stats",
    cls=Command,
    optional={"-R": "self", "--rusage": "self"},
    **examples(
        ("brokersim module stats kvs", "all it tells"),
        ("brokersim module stats --delta 10s kvs", "messages and rates of ten seconds"),
        ("brokersim module stats -p rx.request kvs", "one figure"),
    ),
)
@click.option("-p", "--parse", "path", metavar="a.b", help="print this key only")
@click.option("-t", "--type", "kind", type=click.Choice(["int", "double"]), help="convert it")
@click.option("-s", "--scale", type=float, metavar="SCALE", help="multiply it")
@click.option(
    "-R", "--rusage", type=click.Choice(_WHO), metavar="[WHO]", help="resource usage: self, children, thread"
)
@click.option("-c", "--clear", is_flag=True, help="zero the counters")
@click.option("-C", "--clear-all", is_flag=True, help="of every module on every rank")
@click.option("-r", "--ranks", type=RANKS, metavar="RANKS", help="of these ranks  [this one]")
@click.option("--all", "everywhere", is_flag=True, help="of every rank")
@click.option("-d", "--delta", type=DURATION, metavar="FSD", help="what moved in this time, without our own")
@click.option("--legacy", is_flag=True, help="the eight names of 2021")
@click.argument("name", shell_complete=complete_module)
@pass_session
def stats(session: Session, /, name: str, **options: Any) -> None:
    """Print what a module counts; tx is sent, rx received."""
    if options["clear_all"]:
        session.client.send(Message(EVENT, topic=f"{name}.stats-clear", flags=FLAG_ROUTE))
        return
    work = Work(session, name, **{key: value for key, value in options.items() if key != "clear_all"})
    work.run()


class Work:
    """One call of the command: which ranks, which figures, in which form."""

    def __init__(
        self,
        session: Session,
        name: str,
        *,
        path: str | None,
        kind: str | None,
        scale: float | None,
        rusage: str | None,
        clear: bool,
        ranks: str | None,
        everywhere: bool,
        delta: float | None,
        legacy: bool,
    ) -> None:
        self._session = session
        self._name = name
        self._path = path
        self._kind = kind
        self._scale = scale
        self._who = rusage
        self._delta = delta
        self._legacy = legacy
        self._clear = clear
        self._ranks: list[int | None] = [None]
        if everywhere or ranks is not None:
            self._ranks = list(session.ranks("all" if ranks is None else ranks))

    def run(self) -> None:
        if self._clear:
            self._each(lambda rank: self._rpc("stats-clear", rank))
        elif self._who is not None:
            self._print(self._each(lambda rank: self._rpc("rusage", rank, {"who": self._who})))
        elif self._delta is not None:
            self._print_deltas(self._delta)
        else:
            self._print(self._each(lambda rank: self._rpc("stats-get", rank)))

    def _each(self, ask: Callable[[int | None], Any]) -> list[tuple[int | None, Any]]:
        return [(rank, ask(rank)) for rank in self._ranks]

    def _rpc(self, method: str, rank: int | None, payload: object = None) -> Json:
        explain = explain_module(self._session, self._name, rank)
        return self._session.rpc(f"{self._name}.{method}", payload, rank=rank, explain=explain)

    # --- whole answers

    def _print(self, answers: list[tuple[int | None, Any]]) -> None:
        if self._path is not None:
            for _, answer in answers:
                self._session.out(self._figure(answer, self._path))
            return
        shown = [(rank, self._named(answer)) for rank, answer in answers]
        document = shown[0][1] if len(shown) == 1 else {str(rank): answer for rank, answer in shown}
        if self._session.json:
            self._session.emit(document)
        else:
            self._session.out(msgspec.json.format(msgspec.json.encode(document), indent=1).decode())

    def _named(self, answer: JsonObject) -> JsonObject:
        if not self._legacy:
            return answer
        self._check_counters(answer)
        return {name: answer[way].get(kind, 0) for name, way, kind in _LEGACY}

    def _figure(self, answer: JsonObject, path: str) -> str:
        found: Json = answer
        for key in path.split("."):
            if not isinstance(found, dict) or key not in found:
                keys = ", ".join(found) if isinstance(found, dict) else ""
                hint = f"there is: {keys}" if keys else "that key holds a single figure"
                self._session.fail(f"`{path}' not found in response", hint=hint)
            found = found[key]
        if isinstance(found, (dict, list, str)) or found is None:
            return found if isinstance(found, str) else msgspec.json.encode(found).decode()
        return self._converted(found)

    def _converted(self, figure: float) -> str:
        if self._scale is not None:
            figure = figure * self._scale
        if self._kind == "int":
            return str(int(figure))
        return f"{figure:f}" if self._kind == "double" or isinstance(figure, float) else str(figure)

    # --- what moved

    def _print_deltas(self, seconds: float) -> None:
        before = self._each(lambda rank: self._rpc("stats-get", rank))
        for _, answer in before:
            self._check_counters(answer)
        from brokersim.net.instance_clock import (
            InstanceClock,  # late: attrs comes with it, which no list needs
        )

        clock = InstanceClock(self._session.client)
        start = clock.now()
        clock.sleep_until(start + seconds)
        after = self._each(lambda rank: self._rpc("stats-get", rank))
        elapsed = clock.now() - start
        pairs = zip(before, after, strict=True)
        self._show_deltas([(rank, _moved(old, new)) for (rank, old), (_, new) in pairs], elapsed)

    def _check_counters(self, answer: JsonObject) -> None:
        if "tx" not in answer or "rx" not in answer:
            self._session.fail(
                f"module {self._name!r} answers without message counters",
                hint="several modules of a real Flux instance answer with figures of their own",
                attempt=f"brokersim module stats {self._name}",
            )

    def _show_deltas(self, moved: list[tuple[int | None, Any]], elapsed: float) -> None:
        if self._session.json:
            ranks = [{"rank": rank, **counts} for rank, counts in moved]
            self._session.emit({"name": self._name, "interval_s": elapsed, "deltas": ranks})
            return
        for rank, counts in moved:
            if len(moved) > 1:
                self._session.out(f"rank {rank}")
            rows = [_delta_row(kind, counts, elapsed) for kind in _TYPES]
            self._session.table(("", "rx", "tx", "rx/s", "tx/s"), rows)


def _moved(old: JsonObject, new: JsonObject) -> dict[str, dict[str, int]]:
    return {
        way: {kind: new[way][kind] - old[way][kind] - _OWN.get((way, kind), 0) for kind in _TYPES}
        for way in ("tx", "rx")
    }


def _delta_row(kind: str, counts: dict[str, dict[str, int]], elapsed: float) -> list[str]:
    rx, tx = counts["rx"][kind], counts["tx"][kind]
    rates = [f"{count / elapsed:,.1f}" if elapsed else "-" for count in (rx, tx)]
    return [kind, f"{rx:,}", f"{tx:,}", *rates]
