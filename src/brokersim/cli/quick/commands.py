"""Knows the short ways of single commands: what each asks and prints when all is well; not how words are read.

Each does what the command of the same name in `cli/` does, and nothing else: tests run both.
"""

from __future__ import annotations

import time

from brokersim.cli.quick.asking import Asking
from brokersim.cli.quick.peer import Aside, Peer
from brokersim.net.address import SCHEME
from brokersim.protocol.lean import Unsure, indented, to_json

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

    from brokersim.cli.quick.line import Options
    from brokersim.protocol.decoded import JsonObject

_READ_TREEOBJ = 16
_PRIMARY = "primary"
#: Seconds that an instance has to tell `ps` what it is, as in `cli/ps.py`.
_PATIENCE = 1.0


class Command:
    """A short way and the options it knows: flags, and those with a value, each by its name."""

    def __init__(
        self, act: Callable[[Asking], None], flags: Options | None = None, values: Options | None = None
    ) -> None:
        self.act = act
        self.flags = flags or {}
        self.values = values or {}


# --- kvs


def _get(asking: Asking) -> None:
    keys = asking.arguments
    namespace = asking.options.get("namespace", _PRIMARY)
    flags = _READ_TREEOBJ if "treeobj" in asking.options else 0
    if not keys:
        raise Aside
    found = []
    for key in keys:
        request = {"key": key, "namespace": namespace, "flags": flags}
        entry = asking.rpc("kvs.lookup", request)["val"]
        found.append((key, entry, b"" if flags else _value(entry)))
    if asking.json:
        shown = [{"key": key, **({"treeobj": entry} if flags else _text(data))} for key, entry, data in found]
        asking.emit({"namespace": namespace, "values": shown})
        return
    end = b"" if "raw" in asking.options else b"\n"
    lines = [(to_json(entry) if flags else data) + end for _, entry, data in found]
    if "label" in asking.options:
        lines = [f"{key}=".encode() + line for key, line in zip(keys, lines, strict=True)]
    asking.write(b"".join(lines))


def _value(entry: object) -> bytes:
    if type(entry) is not dict or entry.get("type") != "val" or type(entry.get("data")) is not str:
        raise Aside
    from binascii import a2b_base64

    return a2b_base64(entry["data"], strict_mode=True)


def _text(data: bytes) -> dict[str, str]:
    try:
        return {"value": data.decode()}
    except UnicodeDecodeError:
        from binascii import b2a_base64

        return {"value_base64": b2a_base64(data, newline=False).decode()}


def _put(asking: Asking) -> None:
    from binascii import b2a_base64

    entries = []
    for word in asking.arguments:
        key, equals, value = word.partition("=")
        if not (key and equals):
            raise Aside
        data = b2a_base64(value.encode(errors="surrogateescape"), newline=False).decode()
        entries.append((key, {"ver": 1, "type": "val", "data": data}))
    _commit(asking, entries)


def _mkdir(asking: Asking) -> None:
    _commit(asking, [(key, {"ver": 1, "type": "dir", "data": {}}) for key in asking.arguments])


def _commit(asking: Asking, entries: list[tuple[str, JsonObject]]) -> None:
    ops = [{"key": key, "flags": 0, "dirent": entry} for key, entry in entries]
    if not ops:
        raise Aside
    namespace = asking.options.get("namespace", _PRIMARY)
    answer = asking.rpc("kvs.commit", {"namespace": namespace, "flags": 0, "ops": ops})
    if asking.json:
        asking.emit(answer)


# --- modules


def _list(asking: Asking) -> None:
    from brokersim.cli.told import MODULE_DROP, MODULE_TITLES, module_row

    if asking.arguments:
        raise Aside
    answer = asking.rpc("module.list")
    if asking.json:
        asking.emit({"mods": answer["mods"]})
    else:
        asking.table(MODULE_TITLES, map(module_row, answer["mods"]), MODULE_DROP)


def _remove(asking: Asking) -> None:
    name = asking.one()
    asking.rpc("module.remove", {"name": name, "cancel": "cancel" in asking.options})
    if asking.json:
        asking.emit({"removed": name})


def _stats(asking: Asking) -> None:
    answer = asking.rpc(f"{asking.one()}.stats-get")
    path = asking.options.get("parse")
    if path is not None:
        for key in path.split("."):
            answer = answer[key]
        asking.out(_figure(answer))
    elif asking.json:
        asking.emit(answer)
    else:
        asking.out(indented(answer))


def _figure(found: object) -> str:
    if type(found) is str:
        return found
    return f"{found:f}" if type(found) is float else to_json(found).decode()


#: How a mask is changed, by option, in the order in which it is asked for.
_MASK_CHANGES = (("set", "set"), ("setbit", "setbit"), ("clearbit", "clrbit"))


def _debug(asking: Asking) -> None:
    name = asking.one()
    operations = [
        (op, _mask(asking.options[option])) for option, op in _MASK_CHANGES if option in asking.options
    ]
    if len(operations) > 1 and operations[0][0] == "set":
        raise Aside
    flags = 0
    for op, bits in operations or [("setbit", 0)]:
        flags = asking.rpc(f"{name}.debug", {"op": op, "flags": bits})["flags"]
    if asking.json:
        asking.emit({"modules": [{"rank": None, "name": name, "flags": flags}]})
    else:
        asking.out(f"{flags:#x}")


def _mask(text: str) -> int:
    from brokersim.cli.mask import parse_mask

    try:
        return parse_mask(text)
    except ValueError:
        raise Aside from None


# --- instances


def _status(asking: Asking) -> None:
    from brokersim.cli.told import status_line

    if asking.arguments:
        raise Aside
    answer = asking.rpc("broker.status")
    if asking.json:
        asking.emit(answer)
    else:
        asking.out(status_line(answer))


def _uptime(asking: Asking) -> None:
    from brokersim.cli.told import uptime_line

    if asking.arguments:
        raise Aside
    state = asking.rpc("state-machine.get")
    owner, size, depth = (
        int(asking.rpc("attr.get", {"name": name})["value"])
        for name in ("security.owner", "size", "instance-level")
    )
    if asking.json:
        asking.emit({**state, "owner": owner, "size": size, "depth": depth})
    else:
        asking.out(uptime_line(state, owner, size, depth))


def _ps(asking: Asking) -> None:
    from brokersim.cli.told import PS_DROP, PS_TITLES, ps_row
    from brokersim.net.discovery import live_sockets, name_of

    if asking.arguments:
        raise Aside
    found = [_look(f"{SCHEME}{path}", name_of(path)) for path in live_sockets()]
    if not found:
        raise Aside
    if asking.json:
        asking.write(b"[" + b",".join(map(to_json, found)) + b"]\n")
    else:
        asking.table(PS_TITLES, map(ps_row, found), PS_DROP)


def _look(uri: str, name: str) -> JsonObject:
    """What an instance says of itself; None for all that it does not say in time."""
    until = time.monotonic() + _PATIENCE
    peer = Peer(uri, _PATIENCE)
    told: JsonObject = {"name": name, "uri": uri}
    for key in ("pid", "size", "uptime", "clock", "command"):
        told[key] = None
    try:
        status = peer.ask_until(until, "broker.status")
        told["size"], told["uptime"], told["clock"] = (status[key] for key in ("size", "uptime", "clock"))
        told["pid"] = int(peer.ask_until(until, "attr.get", {"name": "broker.pid"})["value"])
        told["command"] = peer.ask_until(until, "attr.get", {"name": "brokersim.command"})["value"] or None
    except Unsure:
        if time.monotonic() < until:
            raise  # it has answered, in another way
    finally:
        peer.close()
    return told


def _getattr(asking: Asking) -> None:
    name = asking.one()
    answer = asking.rpc("attr.get", {"name": name})
    if asking.json:
        asking.emit({"name": name, **answer})
    else:
        asking.out(answer["value"])


def _setattr(asking: Asking) -> None:
    name, value = asking.arguments
    asking.rpc("attr.set", {"name": name, "value": value})
    if asking.json:
        asking.emit({"name": name, "value": value})


def _lsattr(asking: Asking) -> None:
    if asking.arguments:
        raise Aside
    is_long = "long" in asking.options
    names = sorted(asking.rpc("attr.list")["names"])
    values = {name: asking.rpc("attr.get", {"name": name})["value"] for name in names} if is_long else {}
    if asking.json:
        asking.emit({"names": names, **({"attrs": values} if is_long else {})})
    elif is_long:
        asking.table(("Attribute", "Value"), list(values.items()), ())
    else:
        asking.out("\n".join(names))


def _ping(asking: Asking) -> None:
    from brokersim.cli.quick.ping import ping

    ping(asking)


_NAMESPACE = {"-N": "namespace", "--namespace": "namespace"}
_LIST = {"--tsv": "tsv", "-n": "no_header", "--no-header": "no_header"}
_GET = {
    "-r": "raw", "--raw": "raw", "-t": "treeobj", "--treeobj": "treeobj", "-l": "label", "--label": "label",
}  # fmt: skip
_DEBUG = {
    "-s": "setbit", "--setbit": "setbit", "-c": "clearbit", "--clearbit": "clearbit", "-S": "set", "--set": "set",
}  # fmt: skip
_PING = {"-c": "count", "--count": "count", "-i": "interval", "--interval": "interval"}
#: By a command's name; by the name of a group and of a command in it.
COMMANDS: dict[str, Command | dict[str, Command]] = {
    "kvs": {
        "get": Command(_get, _GET, _NAMESPACE),
        "put": Command(_put, None, _NAMESPACE),
        "mkdir": Command(_mkdir, None, _NAMESPACE),
    },
    "module": {
        "list": Command(_list, _LIST),
        "debug": Command(_debug, None, _DEBUG),
        "stats": Command(_stats, None, {"-p": "parse", "--parse": "parse"}),
        "remove": Command(_remove, {"--cancel": "cancel"}),
    },
    "ping": Command(_ping, {"-u": "userid", "--userid": "userid"}, _PING),
    "status": Command(_status),
    "getattr": Command(_getattr),
    "setattr": Command(_setattr),
    "lsattr": Command(_lsattr, {**_LIST, "-l": "long", "--long": "long"}),
    "uptime": Command(_uptime),
    "ps": Command(_ps, _LIST),
}
