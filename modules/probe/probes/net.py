"""Knows traffic of network interfaces, TCP and UDP; from /proc/net and /sys/class/net."""

from __future__ import annotations

from functools import lru_cache
from typing import Any, ClassVar, Final

from ..contract import COUNTER, Context, Field, Probe

_OLD: Final = "ps:tools:blipp:linux:network:"
#: Fields of a line of /proc/net/dev; errors and drops are both directions together.
_PACKETS_IN, _PACKETS_OUT = 1, 9
#: By the beginning of its lines what is wanted of a protocol.
_SNMP: Final = {
    b"Tcp: ": {
        b"InSegs": "tcp_segments_in",
        b"OutSegs": "tcp_segments_out",
        b"RetransSegs": "tcp_retransmits",
    },
    b"Udp: ": {b"InDatagrams": "udp_datagrams_in", b"OutDatagrams": "udp_datagrams_out"},
}
#: Readings between looks at an interface's speed, which hardly ever changes and costs an open file each.
_LOOK_EVERY: Final = 60


def parse_dev(data: bytes) -> dict[str, dict[str, Any]]:
    """Counters by interface. The name ends at the last colon, behind which a number may stand at once."""
    found: dict[str, dict[str, Any]] = {}
    for line in data.split(b"\n"):
        name, colon, rest = line.rpartition(b":")
        if not colon:
            continue  # a heading
        n = rest.split()
        if len(n) < 12:
            continue
        found[name.strip().decode()] = {
            "bytes_in": int(n[0]),
            "packets_in": int(n[1]),
            "bytes_out": int(n[8]),
            "packets_out": int(n[9]),
            "errors": int(n[2]) + int(n[10]),
            "drops": int(n[3]) + int(n[11]),
        }
    return found


def parse_snmp(data: bytes) -> dict[str, int]:
    """TCP segments and UDP datagrams of the node: pairs of lines, names and then numbers."""
    found: dict[str, int] = {}
    for protocol, wanted in _SNMP.items():
        start = data.find(protocol)
        if start < 0:
            continue
        names, numbers = data[start:].split(b"\n", 2)[:2]
        values = numbers.split()
        for metric, at in _places(names, tuple(wanted.items())):
            if at < len(values):
                found[metric] = int(values[at])
    return found


@lru_cache(maxsize=8)
def _places(heading: bytes, wanted: tuple[tuple[bytes, str], ...]) -> tuple[tuple[str, int], ...]:
    """Where in a line each wanted number stands: headings are another only in another kernel."""
    names = heading.split()
    return tuple((metric, names.index(name)) for name, metric in wanted if name in names)


def parse_speed(data: bytes) -> int | None:
    """Bits a second from Mbit/s; None where the driver does not know (0, -1)."""
    try:
        speed = int(data)
    except ValueError:
        return None
    return speed * 1_000_000 if speed > 0 else None


def _counter(unit: str, otel: str, direction: str = "", old: str = "") -> Field:
    attributes = {"network.io.direction": direction} if direction else {}
    return Field(unit=unit, kind=COUNTER, otel=otel, attributes=attributes, event_type=_OLD + old)


class Net(Probe):
    """Counters of each interface as subject ``node/<rank>/net/<name>``, TCP and UDP on the node."""

    summary = "bytes, packets, errors, drops by interface; TCP, UDP"
    fields: ClassVar[dict[str, Field]] = {
        "packets_in": _counter("{packet}", "system.network.packet.count", "receive", "ip:utilization:packets:in"),
        "packets_out": _counter("{packet}", "system.network.packet.count", "transmit", "ip:utilization:packets:out"),
        "bytes_in": _counter("By", "system.network.io", "receive", "ip:utilization:bytes:in"),
        "bytes_out": _counter("By", "system.network.io", "transmit", "ip:utilization:bytes:out"),
        "errors": _counter("{error}", "system.network.errors", "", "ip:utilization:errors"),
        "drops": _counter("{packet}", "system.network.packet.dropped", "", "ip:utilization:drops"),
        "tcp_segments_in": _counter("{segment}", "net.tcp.segments", "receive", "tcp:utilization:segments:in"),
        "tcp_segments_out": _counter("{segment}", "net.tcp.segments", "transmit", "tcp:utilization:segments:out"),
        "tcp_retransmits": _counter("{segment}", "net.tcp.retransmits", "", "tcp:utilization:retransmits"),
        "udp_datagrams_in": _counter("{datagram}", "net.udp.datagrams", "receive", "udp:utilization:datagrams:in"),
        "udp_datagrams_out": _counter("{datagram}", "net.udp.datagrams", "transmit", "udp:utilization:datagrams:out"),
        "capacity": Field(unit="bit/s", otel="hw.network.bandwidth.limit"),
    }  # fmt: skip
    options: ClassVar[dict[str, Any]] = {"interfaces": []}

    def open(self, context: Context) -> None:
        super().open(context)
        self._count = 0
        self._seen: dict[str, dict[str, Any]] = {}

    def read(self) -> Any:
        files, subject = self.context.procfs, self.context.subject
        found = parse_dev(files.read_again("proc/net/dev"))
        wanted = self.config["interfaces"]
        if self._count % _LOOK_EVERY == 0:
            self._seen.clear()
        self._count += 1
        answer: dict[str, Any] = {subject: parse_snmp(files.read_again("proc/net/snmp"))}
        for name, counters in found.items():
            if not wanted or name in wanted:
                counters.update(self._about(name))
                answer[f"{subject}/net/{name}"] = counters
        return answer

    def _about(self, name: str) -> dict[str, Any]:
        """What stands beside the counters: the capacity, and who counts; an index of its own is a new interface."""
        seen = self._seen.get(name)
        if seen is None:
            seen = self._seen[name] = {
                "capacity": parse_speed(self._file(name, "speed")),
                "identity": self._file(name, "ifindex").decode(errors="replace").strip(),
            }
        return seen

    def _file(self, name: str, which: str) -> bytes:
        try:
            return self.context.procfs.read(f"sys/class/net/{name}/{which}")
        except OSError:
            return b""  # EINVAL for what has no speed, such as lo
