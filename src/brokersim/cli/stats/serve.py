"""Knows the options of `stats serve` and what it says; not how a statsd server works (net.statsd_server)."""

from __future__ import annotations

import os
import signal
import socket
import sys
from typing import TYPE_CHECKING, Any, Final, cast

import click
from click.core import ParameterSource

from brokersim.cli.command import Command, examples, pass_session
from brokersim.cli.errors import FAILED, INTERRUPTED, CommandError, usage_error
from brokersim.cli.session import Session
from brokersim.cli.stats.live import DEFAULT_HTTP
from brokersim.cli.stats.options import dialect_option, flush_option, wrong_use
from brokersim.cli.stats.wire import DEFAULT_TARGET
from brokersim.cli.types import Output, Parsed
from brokersim.protocol.decoded import JsonObject
from brokersim.statsd.config import AggregatorConfig
from brokersim.statsd_server.option import parse_creates
from brokersim.statsd_server.settings import ServeError, ServeSettings

if TYPE_CHECKING:  # the server brings in trio, which is not to be paid for by `stats -h`
    import trio

    from brokersim.statsd_server.server import StatsdServer

_KINDS: Final = ("counters", "timers", "gauges", "sets")


def parse_expiry(text: str) -> dict[str, int]:
    """``N`` flushes for every kind of metric, or ``KIND=N``. Raises ValueError."""
    kind, _, number = text.rpartition("=")
    if not (number.isascii() and number.isdecimal()) or (kind and kind not in _KINDS):
        raise ValueError(
            f"not an expiry: {text!r}; give flushes, such as 5 or gauges=5 ({', '.join(_KINDS)})"
        )
    return {f"{one.removesuffix('s')}_ttl": int(number) for one in ([kind] if kind else _KINDS)}


@click.command(
    "serve",
    cls=Command,
    **examples(
        ("brokersim stats serve", "on port 8125, page on 8127"),
        ("brokersim stats serve --dialect brubeck --forward graphite://g:2003", "relay"),
        ("brokersim stats serve --flush 0.1s --db run.db --console", "kept and shown"),
    ),
)
@click.option("-l", "--listen", multiple=True, metavar="ADDR",
              help="HOST:PORT, udp://, tcp://, unix://PATH  [127.0.0.1:8125]")  # fmt: skip
@dialect_option
@flush_option
@click.option("--align", is_flag=True, hidden=True, help="flush right before slots end")
@click.option("--retention", metavar="STEP:LENGTH", help="thin what --db and Graphite keep: 1s:1d,60s:30d")
@click.option("--http", default=DEFAULT_HTTP, metavar="HOST:PORT|none", help="page, figures [127.0.0.1:8127]")
@click.option("--allow-host", "allow_hosts", multiple=True, metavar="NAME", hidden=True)
@click.option("--management", metavar="HOST:PORT", help="statsd's TCP commands")
@click.option("--forward", multiple=True, metavar="URL", help="graphite://HOST:PORT or statsd://HOST:PORT")
@click.option("--db", type=Output(path_type=str), metavar="RUN.db", help="keep every flush in a run database")
@click.option("--console", is_flag=True, help="print every flush")
@click.option("--percentile", "percentiles", multiple=True, type=float, metavar="P", help="[90]")
@click.option("--weighted", is_flag=True, hidden=True, help="percentiles heed sample rates")
@click.option("--expire", "expiries", multiple=True, type=Parsed("expiry", parse_expiry), metavar="[KIND=]N",
              help="drop what was not sent for N flushes")  # fmt: skip
@click.option("--max-creates", type=Parsed("creates", parse_creates), metavar="N/min", help="new series")
@click.option("--no-health", is_flag=True, hidden=True, help="no series of the server's own")
@pass_session
@click.pass_context
def serve(context: click.Context, session: Session, /, **given: Any) -> int | None:
    """Run a statsd server until ^C or SIGTERM, with a last flush."""
    if session.json and given["console"]:
        raise usage_error("--json and --console both write every flush to stdout; give one")
    chosen = context.get_parameter_source("http") != ParameterSource.DEFAULT
    given["http"] = _http(session, given["http"], chosen)
    settings = _settings(**given)
    # Late: this brings in trio.
    import trio

    _tell_retention(session, settings)
    sys.stdout.flush()
    try:
        return trio.run(_serve, session, settings)
    except ServeError as error:
        raise CommandError(str(error), code=FAILED) from None


def _settings(
    *, listen: tuple[str, ...], dialect: str, flush: float, http: str | None, management: str | None,
    forward: tuple[str, ...], db: str | None, console: bool, percentiles: tuple[float, ...],
    expiries: tuple[dict[str, int], ...], max_creates: float | None, retention: str | None,
    no_health: bool, align: bool, weighted: bool,
    allow_hosts: tuple[str, ...],
) -> ServeSettings:  # fmt: skip
    for url in forward:
        if not url.startswith(("graphite://", "statsd://")):
            raise usage_error(
                f"cannot forward to {url!r}; give graphite://HOST:PORT or statsd://HOST:PORT",
                attempt=f"--forward graphite://{url}" if ":" in url and "/" not in url else "",
            )
    outputs = [*forward, *([f"db:{db}"] if db else []), *(["console:"] if console else [])]
    values: JsonObject = {"percentiles": percentiles or (90,), "max_creates_per_minute": max_creates}
    values["weighted_timers"] = weighted
    for each in expiries:
        values |= each
    addresses: Any = listen or (os.environ.get("BROKERSIM_STATS") or DEFAULT_TARGET,)
    with wrong_use():
        return ServeSettings(
            listen=addresses,
            dialect=dialect,
            flush_s=flush,
            is_aligned=align,
            aggregator=AggregatorConfig(**values),
            outputs=cast("Any", outputs),
            retention=retention,
            http=http,
            management=management,
            allow_hosts=allow_hosts,
            own_metrics=not no_health,
            goes_on=True,
        )


def _http(session: Session, address: str, chosen: bool) -> str | None:
    """None for ``none``, and where the default address is taken: a second server is no mistake."""
    if address == "none":
        return None
    if chosen or _is_free(address):
        return address
    session.say(f"note: no HTTP, {address} is taken; choose another with --http")
    return None


def _is_free(address: str) -> bool:
    host, _, port = address.rpartition(":")
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((host, int(port)))
        except OSError:
            return False
    return True


def _tell_retention(session: Session, settings: ServeSettings) -> None:
    """What will be kept. A run database keeps what whisper cannot."""
    retention = settings.retention
    if retention is None:
        return
    from brokersim.statsd.retention import explain_retention

    has_db = any(url.startswith("db:") for url in settings.outputs)
    has_graphite = any(url.startswith("graphite:") for url in settings.outputs)
    report = explain_retention(retention, settings.flush_s)
    if not report.ok and not has_db:
        raise usage_error(
            f"{report.text}; a run database can", attempt=f"--retention {retention} --db RUN.db"
        )
    if not (has_db or has_graphite):
        session.say("note: --retention thins a store; give one with --db or --forward graphite://HOST:PORT")
        return
    step = max(settings.keeps[0].step / 1e6, settings.flush_s)
    kept = "the run database gets a point" if has_db else "Graphite gets a line"
    session.say(f"retention {retention}: {kept} every {step:g} s")
    if has_graphite and not report.ok:
        session.say(f"warning: Graphite gets whole seconds: {report.text}")


async def _serve(session: Session, settings: ServeSettings) -> int | None:
    import trio

    from brokersim.cli.stats.report import FlushLines, tell_end
    from brokersim.statsd_server.server import StatsdServer

    outputs = [FlushLines(session.write)] if session.json else []
    server = StatsdServer(settings, outputs=outputs, log=session.say)
    signals: list[int] = []
    async with trio.open_nursery() as nursery:
        nursery.start_soon(_stop_on_signal, server, signals, nursery.cancel_scope)
        failure = await _run(session, server)
        nursery.cancel_scope.cancel()
    if failure is not None:
        raise failure
    tell_end(session, server.statistics())
    return INTERRUPTED if signal.SIGINT in signals else None


async def _run(session: Session, server: StatsdServer) -> ServeError | None:
    """Until the server is stopped; why it could not be started. Raised in a nursery, it would be a group."""
    import trio

    from brokersim.cli.stats.report import tell_start

    failure: ServeError | None = None
    async with trio.open_nursery() as nursery:
        try:
            await nursery.start(server.run)
        except ServeError as error:
            failure = error
        else:
            tell_start(session, server)
    return failure


async def _stop_on_signal(server: StatsdServer, received: list[int], scope: trio.CancelScope) -> None:
    import trio

    with trio.open_signal_receiver(signal.SIGINT, signal.SIGTERM, signal.SIGHUP) as signals:
        async for number in signals:
            if received:  # asked twice: do not wait for outputs any longer
                scope.cancel()
            received.append(number)
            server.stop()
