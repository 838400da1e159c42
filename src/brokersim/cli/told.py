"""Knows how answers about instances and their modules are told in lines; not who asked, nor how they are printed.

Free of click and msgspec: both ways of a command, the short and the whole one, tell by it.
"""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

MODULE_TITLES = ("Module", "Idle", "S", "Sendq", "Recvq", "Service", "Mask", "Hooks p/c/i")
#: Columns a narrow terminal does without, first named first.
MODULE_DROP = ("Hooks p/c/i", "Sendq", "Recvq", "Idle")
_STATES = "IRFX"


def elapsed(seconds: float) -> str:
    """A duration for people: three digits, the largest unit that keeps it above one."""
    for unit, size in (("d", 86400.0), ("h", 3600.0), ("m", 60.0)):
        if seconds >= size:
            return f"{seconds / size:.3g}{unit}"
    return f"{seconds:.3g}s"


def status_line(answer: dict[str, Any]) -> str:
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


def module_row(mod: dict[str, Any]) -> list[object]:
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


def _hooks(mod: dict[str, Any]) -> str | None:
    """Calls of prepare, check and idle watchers; prepare and check run once in each iteration of a loop."""
    if not mod.get("mask"):
        return None
    iterations = mod.get("iterations", 0)
    return f"{iterations}/{iterations}/{mod.get('idle_calls', 0)}"
