"""Knows how definitions outlive the module: one value in the KVS. Without a KVS they live as long as rank 0's."""

from __future__ import annotations

from typing import Any

import msgspec

from brokersim.brokermod import Handle, RequestError, treeobj

KEY = "metrics.stats"


async def load(handle: Handle) -> list[dict[str, Any]]:
    """The definitions kept; none where there is no KVS or nothing in it."""
    try:
        answer = await handle.call("kvs.lookup", {"key": KEY, "namespace": "primary", "flags": 0})
        found: list[dict[str, Any]] = msgspec.json.decode(treeobj.val_bytes(answer["val"]))
    except (RequestError, ValueError, KeyError, TypeError):
        return []
    return found


def save(handle: Handle, definitions: list[dict[str, Any]]) -> None:
    """Keep them; nobody waits for it."""
    put = {"key": KEY, "flags": 0, "dirent": treeobj.val(msgspec.json.encode(definitions))}
    handle.request("kvs.commit", {"namespace": "primary", "flags": 0, "ops": [put]})
