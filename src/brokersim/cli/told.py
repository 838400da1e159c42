"""Knows how answers about instances and their modules are told in lines; not who asked, nor how they are printed.

Free of click and msgspec: both ways of a command, the short and the whole one, tell by it.
"""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from brokersim.protocol.decoded import JsonObject

#: Of the whole command line.
HELP = """\
brokersim — run broker modules, count their messages, test the counts

  brokersim start                          a shell inside a one-broker instance
  brokersim start -s 8 -- ./test.sh        eight brokers, run test.sh, return its exit code
  brokersim module debug -s 0x1000 kvs     emit flux.kvs.<rank>.<type> gauges
  brokersim top                            watch all of it: rates, queues, masks; ? shows keys

Instance    start  ps  status  stop  dmesg  uptime  version  getattr|setattr|lsattr  completion
Modules     module list|load|remove|reload|stats|debug|trace|replay     ping
Messages    rpc  event pub|sub  content load|store|flush|dropcache|stats
            kvs get|put|ls|dir|unlink|link|readlink|mkdir|getroot|version|wait|eventlog|namespace
Work        cron interval|event|at|list|stop|start|delete|sync
            job submit|run|swf|list|wait|cancel|eventlog   jobtap load|remove|list|query
Statistics  stats  top  metrics add|list|collect|show|log|rm|observe
Experiments bench  report  check  runs  explore
Overlay     overlay status|trace|fault
Probes      probe read|add|status|schedule   registry list|get|put|rm|watch|shell|serve

Options: -u URI|NAME  -c FILE  --json  --color[=WHEN]  -q  -v  --timeout FSD  --debug  --version  -h
Each command has its own: brokersim COMMAND -h"""

PS_TITLES = ("Name", "PID", "Size", "Age", "Clock", "Command", "Address")
PS_DROP = ("Address", "Clock", "Size")
MODULE_TITLES = ("Module", "Idle", "S", "Sendq", "Recvq", "Service", "Mask", "Hooks p/c/i")
#: Columns a narrow terminal does without, first named first.
MODULE_DROP = ("Hooks p/c/i", "Sendq", "Recvq", "Idle")
_STATES = "IRFX"


def version_line() -> str:
    from brokersim.version import VERSION

    return f"brokersim {VERSION}"


def ps_row(one: JsonObject) -> list[object]:
    """Of what an instance said of itself; None for all it didn't say in time."""
    age = "no answer" if one["uptime"] is None else elapsed(one["uptime"])
    return [one["name"], one["pid"], one["size"], age, one["clock"], one["command"], one["uri"]]


def uptime_line(state: JsonObject, owner: int, size: int, depth: int) -> str:
    """Of state-machine.get and three attributes."""
    parts = (elapsed(state["duration"]), f"owner {_user(owner)}", f"depth {depth}", f"size {size}")
    return f"{state['state']} " + ",  ".join(parts)


def _user(userid: int) -> str:
    import pwd

    try:
        return pwd.getpwuid(userid).pw_name
    except KeyError:
        return str(userid)


def elapsed(seconds: float) -> str:
    """A duration for people: three digits, the largest unit that keeps it above one."""
    for unit, size in (("d", 86400.0), ("h", 3600.0), ("m", 60.0)):
        if seconds >= size:
            return f"{seconds / size:.3g}{unit}"
    return f"{seconds:.3g}s"


def status_line(answer: JsonObject) -> str:
    """Of broker.status."""
    parts = [
        f"size {answer['size']:,} ({answer['online']:,} online)",
        f"uptime {elapsed(answer['uptime'])}",
        f"modules {answer['modules']:,}",
        f"messages {answer['messages']:,}",
        f"clock {answer['clock']}",
        f"seed {answer['seed']}",
    ]
    stats = answer.get("stats") or {}
    if stats.get("target"):
        target = (
            stats["target"]
            if stats["target"].startswith(("mem:", "serve", "http:"))
            else f"udp://{stats['target']}"
        )
        parts.append(f"stats {target} ({stats['sent']:,} sent, {stats['refused']:,} refused)")
    masks = [f"{name}={mask:#x}" for name, mask in answer.get("masks", {}).items() if mask]
    return "  ".join([*parts, f"mask {','.join(masks)}"] if masks else parts)


def module_row(mod: JsonObject) -> list[object]:
    """Of one module of module.list."""
    services = ",".join(name for name in mod["services"] if name != mod["name"])
    idle = mod["idle"]
    state = _STATES[mod["status"]] if 0 <= mod["status"] < len(_STATES) else "?"
    return [
        mod["name"],
        "idle" if idle >= 100 else int(idle),
        state,
        mod["sendqueue"],
        mod["recvqueue"],
        services,
        f"{mod['mask']:#x}" if "mask" in mod else None,
        _hooks(mod),
    ]


def _hooks(mod: JsonObject) -> str | None:
    """Calls of prepare, check and idle watchers; prepare and check run once in each iteration of a loop."""
    if not mod.get("mask"):
        return None
    iterations = mod.get("iterations", 0)
    return f"{iterations}/{iterations}/{mod.get('idle_calls', 0)}"
