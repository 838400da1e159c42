"""Knows statsd's TCP management commands and what they reply; not how the tables come about.

Source: statsd 0.10.2 as run. Differences: commands are lines and not segments, tables are JSON, `sets` and `delsets`
work, and what never happened is "never".
"""

from __future__ import annotations

import json
import socket
from collections.abc import Callable, Iterator

import attrs
import trio

from brokersim.net.doorway import Doorway, Seat, Seats
from brokersim.statsd_server.browsers import is_browsers
from brokersim.statsd_server.health import OutputStatistics, to_plain
from brokersim.statsd_server.ports import Running

MAX_COMMAND = 4096
MAX_CLIENTS = 32
#: Seconds without a command after which a client is let go, and in which it must take a reply.
IDLE_S, REPLY_S = 600.0, 10.0
_END = "END\n\n"
_FULL = b"ERROR: too many clients\n"


class Management:
    """Answers commands about one server."""

    def __init__(self, server: Running) -> None:
        self._server = server
        self._doorway = Doorway("management", server.note_fault, _FULL)
        self._seats = Seats(MAX_CLIENTS)

    async def serve(self, sock: socket.socket) -> None:
        """Accepts clients on a listening socket until cancelled."""
        await self._doorway.serve(sock, self._client)

    async def _client(self, stream: trio.SocketStream) -> None:
        with self._seats.seat() as seat:
            if seat is not None:
                await self._converse(stream, seat)
            else:
                await stream.send_all(_FULL)

    async def _converse(self, stream: trio.SocketStream, seat: Seat) -> None:
        rest = b""
        while True:
            with seat.idle(), trio.move_on_after(IDLE_S) as scope:
                data = bytes(await stream.receive_some(MAX_COMMAND))
            if scope.cancelled_caught or not data or len(rest) + len(data) > 2 * MAX_COMMAND:
                return
            *lines, rest = (rest + data).split(b"\n")
            for line in lines:
                if is_browsers(line):
                    return  # a page that somebody reads wrote this, not they
                reply = self.reply(line.decode("utf-8", "backslashreplace"))
                if reply is None:
                    return
                with trio.move_on_after(REPLY_S) as scope:
                    await stream.send_all(reply.encode())
                if scope.cancelled_caught:
                    return

    def reply(self, line: str) -> str | None:
        """The answer to one command, None to `quit`."""
        words = line.split()
        if not words:
            return ""
        command = _COMMANDS.get(words[0])
        return command(self._server, words[1:]) if command else "ERROR\n"


def _help(server: Running, words: list[str]) -> str:
    return f"Commands: {', '.join(_COMMANDS)}\n\n"


def _stats(server: Running, words: list[str]) -> str:
    statistics = server.statistics()
    now = server.now()
    facts: dict[str, object] = {
        "uptime": round(statistics.uptime_s),
        "messages.last_msg_seen": _age(now, statistics.health.last_packet_t),
        "messages.bad_lines_seen": statistics.bad_lines,
        "messages.kernel_drops": statistics.kernel_drops,
        "flush.count": statistics.flush.count,
        "flush.lag": statistics.flush.lag_s,
    }
    for output in statistics.outputs:
        for field in ("state", "queued", "sent", "dropped", "retries", "last_error"):
            facts[f"{output.name}.{field}"] = getattr(output, field)
        facts |= {f"{output.name}.{name}": value for name, value in _last_flush(output)}
    return "".join(f"{name}: {value}\n" for name, value in facts.items()) + _END


def _last_flush(output: OutputStatistics) -> Iterator[tuple[str, object]]:
    """statsd's own words: ages in s, `flush_time` in ms, `flush_length` in bytes."""
    if output.unit != "lines":
        return
    now, sent = trio.current_time(), output.last_sent
    yield "last_flush", _age(now, None if sent is None else sent.at)
    yield "last_exception", _age(now, output.failed_at)
    if sent is not None:
        yield "flush_time", round(sent.seconds * 1000)
        yield "flush_length", sent.bytes


def _age(now: float, then: float | None) -> str:
    return "never" if then is None else str(max(0, round(now - then)))


def _table(kind: str) -> Callable[[Running, list[str]], str]:
    def reply(server: Running, words: list[str]) -> str:
        return json.dumps(to_plain(server.aggregator.table(kind)), indent=2) + "\n" + _END

    return reply


def _delete(kind: str) -> Callable[[Running, list[str]], str]:
    def reply(server: Running, words: list[str]) -> str:
        if not words:
            return f"ERROR: name the {kind} to delete, such as a.b or a.*\n"
        lines: list[str] = []
        for pattern in words:
            gone = server.aggregator.delete(kind, pattern)
            lines += [f"deleted: {name}\n" for name in gone] or [f"metric {pattern} not found\n"]
        return "".join(lines) + _END

    return reply


def _health(server: Running, words: list[str]) -> str:
    if words and words[0] in ("up", "down"):
        server.is_up = words[0] == "up"
    return f"health: {'up' if server.is_up else 'down'}\n"


def _config(server: Running, words: list[str]) -> str:
    settings = attrs.asdict(server.settings)
    return "\n" + "".join(f"{name}: {value}\n" for name, value in _flat(settings))


def _flat(settings: dict[str, object], prefix: str = "") -> Iterator[tuple[str, object]]:
    for name, value in settings.items():
        if isinstance(value, dict):
            yield from _flat(value, f"{prefix}{name} > ")
        else:
            yield prefix + name, value


def _quit(server: Running, words: list[str]) -> None:
    return None


_COMMANDS: dict[str, Callable[[Running, list[str]], str | None]] = {
    "help": _help,
    "stats": _stats,
    "counters": _table("counters"),
    "timers": _table("timers"),
    "gauges": _table("gauges"),
    "sets": _table("sets"),
    "delcounters": _delete("counters"),
    "deltimers": _delete("timers"),
    "delgauges": _delete("gauges"),
    "delsets": _delete("sets"),
    "health": _health,
    "config": _config,
    "quit": _quit,
}
