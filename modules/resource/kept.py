"""Knows how the KVS is read and written as the module starts, where a store or a backing store may not be there."""

from __future__ import annotations

from typing import Any, Final

from brokersim.brokermod import BrokerLogger, Handle, RequestError, errnums, treeobj

#: Flag of a commit: with a checkpoint.
SYNC: Final = 4


async def commit(handle: Handle, log: BrokerLogger, ops: list[dict[str, Any]]) -> None:
    """Put these into the KVS, and into a checkpoint; what keeps them from it is said."""
    for flags in (SYNC, 0):  # without a backing store there is no checkpoint
        try:
            await handle.call("kvs.commit", {"namespace": "primary", "flags": flags, "ops": ops})
            return
        except RequestError as error:
            if error.errno != errnums.ENOSYS:
                log.error(f"resource.R is not in the KVS: {error}")
                return


async def stored(handle: Handle, log: BrokerLogger, key: str) -> bytes | None:
    """What the KVS has, ``b""`` for nothing; None, and it is said, for what is no value."""
    try:
        answer = await handle.call("kvs.lookup", {"key": key, "namespace": "primary", "flags": 0})
    except RequestError as error:
        if error.errno in (errnums.ENOENT, errnums.ENOSYS):
            return b""
        log.error(f"{key} in the KVS is not used: {error}")
        return None
    return treeobj.val_bytes(answer["val"])
