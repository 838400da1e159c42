"""Knows jobspec version 1 (RFC 25) and the signed envelope J (RFC 15); not where jobs run or how they are kept."""

from __future__ import annotations

import binascii
import sys
from collections.abc import Mapping, Sequence
from typing import Final, TypeGuard

import attrs
import msgspec

from brokersim.protocol.brackets import NESTING_MAX, check_nesting
from brokersim.protocol.decoded import Json, JsonObject, JsonView
from brokersim.protocol.remembered import Remembered

#: A command of a megabyte is a mistake; the KVS would store it for each job.
SIZE_MAX: Final = 1 << 20
_KINDS: Final = ("node", "slot", "core", "gpu")
_SCHEMES: Final = (
    "after", "afterstart", "afterany", "afterok", "afternotok", "afterexcept", "begin-time", "singleton",
)  # fmt: skip


@attrs.frozen(kw_only=True)
class JobFacts:
    """What lists and the job machine want to know of a jobspec."""

    name: str
    ntasks: int
    nnodes: int
    ncores: int
    duration: float
    ngpus: int = 0
    queue: str | None = None
    project: str | None = None
    bank: str | None = None
    cwd: str | None = None
    dependencies: tuple[tuple[str, str], ...] = ()
    #: So many tasks on each node or core that the job gets, instead of ``ntasks`` (shell option per-resource).
    per_resource: tuple[str, int] | None = None
    #: It gets whole nodes: how many cores is known when it has them.
    exclusive: bool = False
    #: The name is its own, not its command's.
    is_named: bool = False


def unwrap(envelope: str) -> tuple[int, bytes]:
    """The user id and the payload of J, ``HEADER.PAYLOAD.SIGNATURE``.

    Only mechanism ``none`` is known: the signature is not checked, the socket's credentials are.
    Raises ValueError that says what is wrong.
    """
    parts = envelope.split(".")
    if len(parts) != 3 or len(envelope) > 2 * SIZE_MAX:
        raise ValueError("J must be HEADER.PAYLOAD.SIGNATURE and at most 2 MiB")
    header = _header(_base64(parts[0], "HEADER"))
    mechanism = header.get("mechanism")
    if header.get("version") != 1 or mechanism != "none" or type(header.get("userid")) is not int:
        raise ValueError(f"J: header must have version 1, a userid and mechanism none, not {mechanism!r:.40}")
    return int(str(header["userid"])), _base64(parts[1], "PAYLOAD")


def decode_jobspec(payload: bytes) -> JsonObject:
    """The jobspec in a payload. Raises ValueError unless it is a JSON object."""
    try:
        jobspec = msgspec.json.decode(payload)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise ValueError(f"jobspec is not JSON: {error}") from None
    if not isinstance(jobspec, dict):
        raise ValueError("jobspec must be a JSON object")
    if payload.count(b"{") + payload.count(b"[") > NESTING_MAX:
        check_nesting(jobspec, "jobspec")  # others read it deeper in their stacks, as a restart does
    return jobspec


_FACTS: Final[Remembered[JobFacts]] = Remembered()


def check_jobspec(jobspec: JsonView) -> JobFacts:
    """The facts of a sound version 1 jobspec. Raises ValueError naming the part that isn't."""
    return _FACTS.of(jobspec, lambda: _checked(jobspec))


def _checked(jobspec: JsonView) -> JobFacts:
    for key in ("resources", "tasks", "attributes", "version"):
        if key not in jobspec:
            raise ValueError(f"jobspec: {key} is missing")
    if jobspec["version"] != 1:
        raise ValueError(f"jobspec: version must be 1, not {jobspec['version']!r:.40}")
    task = _task(jobspec["tasks"])
    counts = {"node": 0, "slot": 0, "core": 0, "gpu": 0, "exclusive": 0}
    _vertices(jobspec["resources"], counts, depth=0)
    if not counts["slot"]:
        raise ValueError("jobspec: resources hold no slot")
    if not counts["core"]:
        raise ValueError("jobspec: a slot holds no core")
    slots = counts["slot"] * max(1, counts["node"])
    system = _system(jobspec["attributes"])
    return JobFacts(
        name=_name(task["command"], system),
        ntasks=_ntasks(task["count"], slots),
        nnodes=counts["node"],
        ncores=slots * counts["core"],
        duration=_duration(system),
        ngpus=slots * counts["gpu"],
        queue=_text(system, "queue"),
        project=_text(system, "project"),
        bank=_text(system, "bank"),
        cwd=_text(system, "cwd"),
        dependencies=_dependencies(system),
        per_resource=per_resource(jobspec),
        exclusive=bool(counts["exclusive"]),
        is_named=_own_name(system) is not None,
    )


def per_resource(jobspec: JsonView) -> tuple[str, int] | None:
    """Tasks by resource (``type`` node or core, ``count``), if a jobspec asks for its tasks so. Raises ValueError."""
    found: Json = jobspec
    for key in ("attributes", "system", "shell", "options", "per-resource"):
        found = found.get(key)
        if not _is_object(found):
            return None
    kind, count = found.get("type"), found.get("count", 1)
    sound = kind in ("node", "core") and type(count) is int and count > 0
    _require(sound, "shell option per-resource has a type, node or core, and a count of 1 or more")
    return str(kind), int(count)


def counts_in(r: JsonView) -> dict[str, int]:
    """How many nodes and cores R (RFC 20) has."""
    nodes = cores = 0
    for entry in r["execution"]["R_lite"]:
        here = members(entry["rank"])
        nodes += here
        cores += here * members(entry["children"].get("core", ""))
    return {"node": nodes, "core": cores}


def members(ids: str) -> int:
    """How many ids are in a set (``0-3,7``); of ``""`` none."""
    spans = [part.partition("-") for part in ids.split(",") if part]
    return sum(int(last or first) - int(first) + 1 for first, _, last in spans)


def _is_object(value: Json) -> TypeGuard[JsonView]:
    """What JSON decodes to, first: asking the abstract class takes ten times as long, and each job is asked."""
    return type(value) is dict or isinstance(value, Mapping)


def _is_list(value: Json) -> bool:
    return type(value) is list or (isinstance(value, Sequence) and not isinstance(value, str))


def _require(holds: bool, what: str) -> None:
    if not holds:
        raise ValueError(f"jobspec: {what}")


def _base64(text: str, part: str) -> bytes:
    try:
        return binascii.a2b_base64(text.encode("ascii"), strict_mode=True)
    except (binascii.Error, UnicodeEncodeError):
        raise ValueError(f"J: {part} is not base64") from None


def _header(raw: bytes) -> dict[str, str | int]:
    """Pairs ``key NUL type-letter value NUL``; the letter is i for integers and s for strings."""
    fields = raw.split(b"\0")[:-1]
    header: dict[str, str | int] = {}
    for key, value in zip(fields[::2], fields[1::2], strict=False):
        text = value[1:].decode(errors="replace")
        is_int = value[:1] == b"i" and text.isascii() and text.isdigit() and len(text) < 20
        header[key.decode(errors="replace")] = int(text) if is_int else text
    return header


def _task(tasks: Json) -> JsonView:
    if not _is_list(tasks) or len(tasks) != 1:
        raise ValueError("jobspec: tasks must be a list of one task")
    task = tasks[0]
    if not _is_object(task):
        raise ValueError("jobspec: tasks[0] must be an object")
    command = task.get("command")
    if not _is_list(command) or not command or not all(isinstance(word, str) for word in command):
        raise ValueError("jobspec: command must be a list of strings")
    if not isinstance(task.get("slot"), str):
        raise ValueError("jobspec: tasks[0].slot must be a string")
    if not _is_object(task.get("count")):
        raise ValueError("jobspec: tasks[0].count must be {per_slot: n} or {total: n}")
    return dict(task)


def _ntasks(count: JsonView, slots: int) -> int:
    per_slot, total = count.get("per_slot"), count.get("total")
    number = total if per_slot is None else per_slot
    if type(number) is not int or number < 1:
        raise ValueError("jobspec: tasks[0].count must be {per_slot: n} or {total: n}, n > 0")
    return number * (slots if per_slot is not None else 1)


def _vertices(vertices: Json, counts: dict[str, int], depth: int) -> None:
    if not _is_list(vertices) or not vertices or depth > 4:
        raise ValueError("jobspec: resources must be a list of node, slot, core or gpu")
    for vertex in vertices:
        kind = vertex.get("type") if _is_object(vertex) else None
        if kind not in _KINDS:
            raise ValueError(f"jobspec: resource type must be one of {', '.join(_KINDS)}, not {kind!r:.40}")
        count = vertex.get("count")
        count = count.get("min") if _is_object(count) else count
        if type(count) is not int or count < (0 if kind == "gpu" else 1):
            raise ValueError(f"jobspec: count of {kind} must be a positive integer, not {count!r:.40}")
        if counts[kind]:
            raise ValueError(f"jobspec: more than one {kind}; version 1 has one chain of resources")
        counts[kind] = count
        counts["exclusive"] |= bool(vertex.get("exclusive"))
        if "with" in vertex or kind in ("node", "slot"):
            _vertices(vertex.get("with"), counts, depth + 1)


def _system(attributes: Json) -> JsonView:
    if attributes is None:
        return {}
    _require(_is_object(attributes), "attributes must be an object")
    system = attributes.get("system", {})
    _require(_is_object(system), "attributes.system must be an object")
    return system  # type: ignore[no-any-return]  # checked one line above


def _name(command: Sequence[str], system: JsonView) -> str:
    return _own_name(system) or command[0].rsplit("/", 1)[-1] or command[0]


def _own_name(system: JsonView) -> str | None:
    job = system.get("job")
    name = job.get("name") if _is_object(job) else None
    return name if isinstance(name, str) and name else None


def _duration(system: JsonView) -> float:
    duration = system.get("duration", 0)
    if type(duration) not in (int, float) or not 0 <= duration <= sys.float_info.max:
        what = f"must be a number of seconds, 0 or more, not {duration!r:.40}"
        raise ValueError(f"jobspec: attributes.system.duration {what}")
    return float(duration)


def _text(system: JsonView, key: str) -> str | None:
    value = system.get(key)
    if value is not None and not isinstance(value, str):
        raise ValueError(f"jobspec: attributes.system.{key} must be a string")
    return value


def _dependencies(system: JsonView) -> tuple[tuple[str, str], ...]:
    given = system.get("dependencies", [])
    _require(_is_list(given), "dependencies must be a list")
    found = tuple(_dependency(one) for one in given)
    _require(("singleton", "") not in found or bool(_own_name(system)), "singleton jobs require a job name")
    return found


def _dependency(one: Json) -> tuple[str, str]:
    scheme, value = (one.get("scheme"), one.get("value")) if _is_object(one) else (None, None)
    if not isinstance(scheme, str) or scheme not in _SCHEMES:
        raise ValueError(f'dependency scheme "{scheme!s:.40}" not supported; there are {", ".join(_SCHEMES)}')
    if scheme == "singleton":
        return scheme, ""
    _require(isinstance(value, (str, int, float)), f"dependency {scheme}: value is missing")
    return scheme, str(value)
