"""Asks a real Flux what `test_recorded_answers.py` asks brokersim, and writes down what it says.

    flux start python tests/fluxcompat/record_answers.py

Of each answer the errnum is kept, and the keys of its object: values are times, ids and names of the machine.
"""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

from tests.fluxcompat.minimal_client import STREAMING, MinimalClient

ANSWERS = Path(__file__).parent.parent / "data" / "flux_answers.json"
PRIMARY = {"namespace": "primary", "flags": 0}
VAL = {"ver": 1, "type": "val", "data": "MQ=="}


def put(key: str, dirent: Any = VAL, flags: int = 0) -> dict[str, Any]:
    return {**PRIMARY, "ops": [{"key": key, "flags": flags, "dirent": dirent}]}


#: Topic, payload, whether a stream is asked for (its first answer counts). Order matters: later ones find what
#: earlier ones left.
REQUESTS: list[tuple[str, Any, bool]] = [
    ("", None, False),
    ("nosuch.thing", {}, False),
    ("kvs.nosuch", {}, False),
    ("attr.get", {"name": "rank"}, False),
    ("attr.get", {"name": "nosuch"}, False),
    ("attr.get", {}, False),
    ("attr.get", None, False),
    ("attr.list", None, False),
    ("attr.set", {"name": "test.x", "value": "1"}, False),
    ("attr.set", {"name": "unknown-x", "value": "1"}, False),
    ("attr.set", {"name": "rank", "value": "1"}, False),
    ("attr.set", {"name": "test-nr.x", "value": "1"}, False),
    ("attr.set", {"name": "test-nr.x", "value": "2"}, False),
    ("attr.set", {"name": "test-nr.x", "value": "2", "force": True}, False),
    ("attr.set", {"name": "log-stderr-level", "value": "8"}, False),
    ("attr.set", {"name": "test.x"}, False),
    ("attr.rm", {"name": "nosuch"}, False),
    ("kvs.ping", {"seq": 1}, False),
    ("kvs.debug", {"op": "setbit", "flags": 4}, False),
    ("kvs.debug", {"op": "nosuch", "flags": 4}, False),
    ("kvs.debug", {}, False),
    ("kvs.rusage", {}, False),
    ("kvs.rusage", {"who": "nobody"}, False),
    ("kvs.getroot", PRIMARY, False),
    ("kvs.getroot", {"namespace": "nosuch", "flags": 0}, False),
    ("kvs.commit", put("a"), False),
    ("kvs.commit", put("a.b"), False),
    ("kvs.commit", put("."), False),
    ("kvs.commit", put("log", flags=32), False),
    ("kvs.commit", put("x", {"ver": 1, "type": "what", "data": ""}), False),
    ("kvs.commit", put(".".join("k" * 300)), False),
    ("kvs.commit", {**PRIMARY, "namespace": "nosuch", "ops": []}, False),
    ("kvs.commit", {"ops": "x"}, False),
    ("kvs.commit", None, False),
    ("kvs.lookup", {**PRIMARY, "key": "a.b"}, False),
    ("kvs.lookup", {**PRIMARY, "key": "nosuch"}, False),
    ("kvs.lookup", {**PRIMARY, "key": "a", "flags": 1}, False),
    ("kvs.lookup", {**PRIMARY, "key": "a", "flags": 2}, False),
    ("kvs.lookup", {**PRIMARY, "key": ".".join("k" * 300)}, False),
    ("kvs.lookup", {**PRIMARY, "key": ""}, False),
    ("kvs.lookup", {"key": "a", "flags": 0}, False),
    ("kvs.lookup", {"flags": 0}, False),
    ("kvs.wait-version", {"rootseq": 0, "namespace": "primary"}, False),
    ("kvs.wait-version", {}, False),
    ("kvs.namespace-create", {"namespace": "a.b", "rootref": None, "owner": os.getuid(), "flags": 0}, False),
    ("kvs.namespace-remove", {"namespace": "nosuch"}, False),
    ("kvs.namespace-remove", {"namespace": "primary"}, False),
    ("kvs.namespace-list", None, False),
    ("kvs.setroot-pause", PRIMARY, False),
    ("kvs.setroot-unpause", PRIMARY, False),
    ("kvs-watch.lookup", {**PRIMARY, "key": "a.b", "flags": 4}, True),
    ("kvs-watch.lookup", {**PRIMARY, "key": "nosuch", "flags": 4}, True),
    ("kvs-watch.lookup", {**PRIMARY, "key": "a", "flags": 4}, False),
    ("kvs-watch.lookup", {**PRIMARY, "key": "a", "flags": 4 | 1024}, True),
    ("content.checkpoint-get", {}, False),
    ("content.load", b"xxx", False),
    ("content.load", b"x" * 20, False),
    ("content-backing.load", b"xxx", False),
    ("content-backing.validate", b"x" * 20, False),
    ("content.register-backing", {}, False),
    ("content.register-backing", {"name": "other"}, False),
    ("config.get", None, False),
    ("config.load", {"test": {"a": 1}}, False),
    ("config.load", None, False),
    ("config.reload", None, False),
    ("groups.get", {"name": "broker.online"}, True),
    ("event.publish", {"topic": "a.b", "flags": 0}, False),
    ("event.publish", {"flags": 0}, False),
    ("log.dmesg", None, True),
    ("log.stats-get", None, False),
    ("module.list", None, False),
    ("module.load", {"path": "/nosuch.so", "args": []}, False),
    ("module.load", {}, False),
    ("module.remove", {"name": "nosuch"}, False),
    ("module.status", None, False),
    ("module.status", {"status": 0}, False),
    ("module.debug", {"name": "kvs", "defer": False}, False),
    ("module.debug", {"name": "nosuch", "defer": True}, False),
    ("rexec.list", None, False),
    ("rexec.kill", {"pid": 1, "signum": 15}, False),
    ("rexec.wait", {"pid": 1}, False),
    ("rexec.attach", {"pid": 1, "flags": 3}, True),
    ("rexec.attach", {"pid": 1, "flags": 3}, False),
    ("rexec.exec", {"cmd": {}}, True),
    ("cron.list", {}, False),
    ("cron.sync", None, False),
    ("cron.sync", {}, False),
    ("cron.delete", {"id": 99}, False),
    ("cron.create", {}, False),
    ("connector-local.stats-get", None, False),
]


def shape(frame: Any) -> dict[str, Any]:
    """What is kept of an answer."""
    if frame.errnum or not frame.payload:
        return {"errnum": frame.errnum}
    try:
        value = frame.json
    except ValueError:
        return {"errnum": 0, "raw": True}
    return {"errnum": 0, "keys": sorted(value) if isinstance(value, dict) else None}


def ask(client: MinimalClient, empty: str) -> list[dict[str, Any]]:
    """The shapes of all answers, in order."""
    shapes = []
    for topic, payload, is_stream in REQUESTS:
        if isinstance(payload, dict) and "rootref" in payload:
            payload = {**payload, "rootref": empty}
        tag = client.send(topic, payload, flags=STREAMING if is_stream else 0)
        shapes.append(shape(client.answer(tag)))
    return shapes


def empty_root(client: MinimalClient) -> str:
    """A root that is there: the primary namespace's own."""
    root: str = client.rpc("kvs.getroot", PRIMARY)["rootref"]
    return root


if __name__ == "__main__":
    client = MinimalClient(os.environ["FLUX_URI"])
    version = client.rpc("attr.get", {"name": "version"})["value"]
    answers = ask(client, empty_root(client))
    ANSWERS.write_text(json.dumps({"version": version, "answers": answers}, indent=0) + "\n")
    print(f"{len(answers)} answers of Flux {version} in {ANSWERS}")
