"""Knows what a statsd server's web addresses answer; not how HTTP carries it.

Source of `/ping`, `/stats` and `/metric/K`: brubeck's, with what it lacks.
"""

from __future__ import annotations

import json
import os
from collections.abc import AsyncGenerator, Callable, Iterator, Mapping
from importlib.resources import files
from itertools import islice

import msgspec
import trio

from brokersim.protocol.decoded import JsonObject
from brokersim.protocol.topic import check_glob
from brokersim.statsd.flushed import Flush
from brokersim.statsd_server.chosen import BadQueryError, Choice
from brokersim.statsd_server.health import ServerStatistics, to_plain
from brokersim.statsd_server.http import JSON, Request, Response, json_response, text_response
from brokersim.statsd_server.outputs.openmetrics import CLASSIC_TYPE, CONTENT_TYPE, SLICE_KEYS
from brokersim.statsd_server.ports import Running
from brokersim.statsd_server.wiretap import TapFlush, TapItem, TapLine, chosen_rows, flush_rows
from brokersim.version import VERSION

#: Seconds of silence after which a stream says that it is still there.
STREAM_IDLE_S = 15.0
_OFF = ("0", "false", "no")


class StatsdPages:
    """The routes of one server."""

    def __init__(self, server: Running) -> None:
        self._server = server

    def routes(self) -> dict[str, Callable[[Request], Response]]:
        return {
            "/": self.live,
            "/ping": self.ping,
            "/_ping": self.ping,
            "/stats": self.brubeck_stats,
            "/stats.json": self.stats,
            "/metrics": self.metrics,
            "/metric/": self.metric,
            "/bad": self.bad,
            "/tail": self.tail,
            "/-/healthy": lambda _: text_response("healthy\n"),
            "/-/ready": self.ready,
        }

    def live(self, _: Request) -> Response:
        page = files("brokersim.statsd_server").joinpath("live.html").read_bytes()
        return Response(body=page, content_type="text/html; charset=utf-8")

    def ping(self, _: Request) -> Response:
        statistics = self._server.statistics()
        return json_response(
            {
                "version": VERSION,
                "pid": os.getpid(),
                "status": self._status(),
                "metrics_per_second": statistics.metrics_per_s,
                "errors_per_second": statistics.bad_lines_per_s,
                "unique_keys": sum(statistics.health.keys.values()),
            }
        )

    def _status(self) -> str:
        away = [each for each in self._server.statistics().outputs if each.state in ("retrying", "failed")]
        return "ERROR (backend disconnected)" if away else "OK"

    def ready(self, _: Request) -> Response:
        is_up = self._server.is_up
        return text_response("ready\n" if is_up else "down, by the management port\n", 200 if is_up else 503)

    def brubeck_stats(self, _: Request) -> Response:
        statistics = self._server.statistics()
        flush_s = self._server.settings.flush_s
        return json_response(
            {
                "version": VERSION,
                "metrics": statistics.health.metrics,
                "errors": statistics.bad_lines,
                "unique_keys": sum(statistics.health.keys.values()),
                "secure": {"failed": 0, "from_future": 0, "delayed": 0, "replayed": 0},
                "backends": [
                    {
                        "type": each.name,
                        "sample_freq": flush_s,
                        "connected": each.state == "connected",
                        "address": each.target,
                        "sent": each.sent,
                    }
                    for each in statistics.outputs
                ],
                "samplers": [
                    {"type": "statsd", "sample_freq": statistics.metrics_per_s, "address": each.address}
                    for each in statistics.sockets
                ],
            }
        )

    def stats(self, request: Request) -> Response:
        """`?limit=200&match=kvs`: of each kind so many keys that match, and how many there are; without, all."""
        server = self._server
        try:
            choice = Choice.of_query(request.query)
        except BadQueryError as error:
            return text_response(f"400 {error}", 400)
        statistics = server.statistics()
        head = {
            "version": VERSION,
            "pid": os.getpid(),
            "dialect": server.settings.dialect,
            "uptime_s": statistics.uptime_s,
        }
        return Response(body=self._stats(head, statistics, choice), content_type=JSON)

    def _stats(
        self, head: JsonObject, statistics: ServerStatistics, choice: Choice | None
    ) -> Iterator[bytes]:
        flush = self._server.last_flush
        yield b"{" + members(head) + b", "
        if flush is None:
            nothing = {"t": None, "interval": self._server.settings.flush_s}
            yield members(nothing | {kind: {} for kind in ("counters", "gauges", "timers", "sets")})
        elif choice is not None:
            yield from chosen_members(flush, choice)
        else:
            yield from flush_members(flush)
        yield b", " + members({"health": statistics, "cardinality": self._server.cardinality()}) + b"}"

    def metrics(self, request: Request) -> Response:
        """OpenMetrics; to who asks for something else, as promtool's feeders do, the format before it."""
        classic = bool(request.accept) and "openmetrics" not in request.accept
        slices = self._server.openmetrics.slices(self._server.statistics(), classic=classic)
        kind = CLASSIC_TYPE if classic else CONTENT_TYPE
        return Response(body=(piece.encode() for piece in slices), content_type=kind)

    def metric(self, request: Request) -> Response:
        """What is known of one key: `/metric/flux.kvs.0.request_rx`."""
        found = self._server.aggregator.lookup(request.path.removeprefix("/metric/"))
        if found is None:
            return text_response("404 not found", 404)
        plain = {
            "key": found.key,
            "type": found.kinds[0].removesuffix("s"),
            "types": found.kinds,
            "values": found.values,
            "first_sender": found.first_sender,
            "expire": "disabled" if found.is_disabled else "active",
        }
        return json_response(to_plain(plain))

    def bad(self, _: Request) -> Response:
        """The last bad lines, newest first, and how many there were of each kind."""
        lines = sorted(self._server.bad_lines(), key=lambda line: line.t, reverse=True)
        by_reason = self._server.statistics().bad_by_reason
        return json_response(to_plain({"by_reason": by_reason, "last": lines}))

    def tail(self, request: Request) -> Response:
        """Server-sent events: `?glob=flux.*&lines=1&flushes=1`."""
        query = request.query
        try:
            glob = check_glob(query.get("glob", "*"))
        except ValueError as error:
            return text_response(f"400 {error}", 400)
        body = self._events(
            glob,
            lines=query.get("lines", "1") not in _OFF,
            flushes=query.get("flushes", "1") not in _OFF,
        )
        return Response(body=body, content_type="text/event-stream")

    async def _events(self, pattern: str, *, lines: bool, flushes: bool) -> AsyncGenerator[bytes]:
        with self._server.wiretap.open(pattern=pattern, lines=lines, flushes=flushes) as tap:
            yield b": brokersim\n\n"
            while True:
                item: TapItem | None = None
                with trio.move_on_after(STREAM_IDLE_S) as scope:
                    try:
                        item = await anext(tap)
                    except StopAsyncIteration:
                        return
                if scope.cancelled_caught or item is None:
                    yield b": idle\n\n"
                    continue
                pieces = []
                for piece in event_pieces(item, tap.wants):
                    pieces.append(piece)
                    await trio.lowlevel.checkpoint()
                yield b"".join(pieces)


def event_pieces(item: TapItem, wants: Callable[[str], bool]) -> Iterator[bytes]:
    """One server-sent event in pieces, each made quickly; bytes of a line that are no UTF-8 appear as ``\\xNN``."""
    if isinstance(item, TapFlush):
        yield b"event: flush\ndata: {"
        yield from flush_members(item.flush, wants)
        yield b"}\n\n"
    elif isinstance(item, TapLine):
        line = {"t": item.t, "line": item.line, "sender": item.sender}
        yield b"event: line\ndata: {%b}\n\n" % members(line)
    else:
        yield b"event: gap\ndata: {%b}\n\n" % members({"dropped": item.dropped})


def flush_members(flush: Flush, wants: Callable[[str], bool] = lambda key: True) -> Iterator[bytes]:
    """The members of a `flush_table` as JSON, in pieces of so many keys."""
    yield members({"t": flush.t, "interval": flush.interval})
    for kind, rows in flush_rows(flush, wants):
        yield b', "%b": {' % kind.encode()
        separator = b""
        while some := dict(islice(rows, SLICE_KEYS)):
            yield separator + rows_text(some)
            separator = b", "
        yield b"}"


def chosen_members(flush: Flush, choice: Choice) -> Iterator[bytes]:
    """The same of what is chosen of it, and `matching`: how many keys of each kind there were to choose from."""
    yield members({"t": flush.t, "interval": flush.interval})
    matching = {}
    for found in chosen_rows(flush, choice):
        if found is None:
            yield b""
            continue
        kind, rows, matching[kind] = found
        yield b', "%b": {%b}' % (kind.encode(), rows_text(rows))
    yield b", " + members({"matching": matching})


def rows_text(rows: Mapping[str, object]) -> bytes:
    """Rows of numbers as `members`, ten times as quick."""
    try:
        return msgspec.json.encode(rows)[1:-1]
    except UnicodeEncodeError:  # bytes of a name that are no UTF-8
        return members(rows)


def members(table: Mapping[str, object]) -> bytes:
    """The inside of a JSON object."""
    return json.dumps(to_plain(table))[1:-1].encode()
