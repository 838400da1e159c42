"""Knows the commands about content-addressed blobs and the cache before them."""

from __future__ import annotations

from typing import Any, BinaryIO

import click
import msgspec

from brokersim import files
from brokersim.cli.command import Group, examples, pass_session
from brokersim.cli.errors import CommandError, answered
from brokersim.cli.session import Explain, Session
from brokersim.cli.types import BLOBREF
from brokersim.protocol.blobref import digest, from_digest
from brokersim.protocol.decoded import JsonObject
from brokersim.protocol.errnums import ENOENT, RequestError

_CACHE = "content-cache"
_LATENCY = ("load", "store")
#: The cache's names of its latency figures, and ours, which carry the unit.
_FIGURES = (
    ("count", "count"), ("mean", "mean_ms"), ("p50", "p50_ms"), ("p99", "p99_ms"), ("max", "max_ms"),
    ("in-flight-max", "in_flight_max"),
)  # fmt: skip


@click.group("content", cls=Group)
def content() -> None:
    """Load and store blobs by their hash."""


def _explain(blobref: str) -> Explain:
    def told(error: RequestError) -> CommandError | None:
        return answered(error, f"no blob {blobref}") if error.errno == ENOENT else None

    return told


@content.command("load", **examples(("brokersim content load sha1-f572… >FILE", "")))
@click.argument("blobref", type=BLOBREF)
@pass_session
def load(session: Session, blobref: str) -> None:
    """Write a blob to stdout."""
    data = session.rpc("content.load", digest(blobref), raw=True, explain=_explain(blobref))
    if not session.json:
        session.write(data)
        return
    from base64 import b64encode

    session.emit({"blobref": blobref, "size_bytes": len(data), "data_base64": b64encode(data).decode()})


@content.command(
    "store",
    **examples(
        ("brokersim content store FILE", "prints its blobref"), ("echo hello | brokersim content store", "")
    ),
)
@click.argument("file", type=click.File("rb"), default="-")
@pass_session
def store(session: Session, file: BinaryIO) -> None:
    """Store a file, or stdin, as one blob."""
    data = files.read_all(file, getattr(file, "name", "standard input"))
    blobref = from_digest(session.rpc("content.store", data, raw=True))
    if session.json:
        session.emit({"blobref": blobref, "size_bytes": len(data)})
    else:
        session.out(blobref)


@content.command("flush", **examples(("brokersim content flush", "returns when nothing is dirty")))
@pass_session
def flush(session: Session) -> None:
    """Write everything dirty to the backing store."""
    session.rpc("content.flush")
    if session.json:
        session.emit({"flushed": True})


@content.command("dropcache", **examples(("brokersim content dropcache", "")))
@pass_session
def dropcache(session: Session) -> None:
    """Forget everything that can be loaded again."""
    session.rpc("content.dropcache")
    if session.json:
        session.emit({"dropped": True})


@content.command(
    "stats",
    **examples(
        ("brokersim content stats", "entries, sizes, counters"),
        ("brokersim content stats --latency", "load and store"),
    ),
)
@click.option("--latency", is_flag=True, help="how long loads and stores took")
@pass_session
def stats(session: Session, latency: bool) -> None:
    """Print what the cache counts."""
    answer: JsonObject = session.rpc(f"{_CACHE}.stats-get")
    if latency:
        _show_latency(session, answer)
    elif session.json:
        session.emit(answer)
    else:
        session.out(msgspec.json.format(msgspec.json.encode(answer), indent=1).decode())


def _show_latency(session: Session, answer: JsonObject) -> None:
    found = {name: _with_units(answer[name]) for name in _LATENCY if isinstance(answer.get(name), dict)}
    if not found:
        session.fail("this cache tells no latencies", hint="a real Flux instance keeps none")
    if session.json:
        session.emit(found)
        return
    titles = ("", "Count", "Mean ms", "p50 ms", "p99 ms", "Max ms", "Most in flight")
    session.table(titles, [(name, *map(_rounded, figures.values())) for name, figures in found.items()])


def _with_units(figures: JsonObject) -> JsonObject:
    return {ours: figures.get(theirs) for theirs, ours in _FIGURES}


def _rounded(figure: object) -> Any:
    return f"{figure:.3f}" if isinstance(figure, float) else figure
