"""How the scenarios of this folder ask: what a client does, without saying what it should get."""

from __future__ import annotations

from typing import Any

from brokersim.brokermod import RequestError, treeobj
from brokersim.testing import Broker, Impatient

PRIMARY = {"namespace": "primary", "flags": 0}
#: Chain of three ranks: a request that skips one is seen.
CHAIN = {"size": 3, "fanout": 1}


async def ask(broker: Broker, topic: str, payload: Any = None, **more: Any) -> Any:
    """An answer, or None: an error or silence is for the counters and laws to judge.

    Who is refused asks once more, as many clients do: so a refusal where there was none costs a message.
    """
    for _ in range(2):
        try:
            return await broker.rpc(topic, payload, timeout=20, **more)
        except RequestError:
            pass
        except Impatient:
            break
    return None


async def follow(broker: Broker, topic: str, payload: Any) -> list[Any]:
    """A stream to its end, whatever that is."""
    try:
        return await broker.stream(topic, payload, timeout=20)
    except (RequestError, Impatient):
        return []


def put(key: str, data: bytes | None, flags: int = 0) -> dict[str, Any]:
    return {"key": key, "flags": flags, "dirent": None if data is None else treeobj.val(data)}


async def commit(broker: Broker, *ops: dict[str, Any], **more: Any) -> Any:
    nodeid = {"nodeid": more.pop("nodeid")} if "nodeid" in more else {}
    return await ask(broker, "kvs.commit", {**PRIMARY, "ops": list(ops), **more}, **nodeid)


async def look(broker: Broker, key: str, **more: Any) -> Any:
    nodeid = {"nodeid": more.pop("nodeid")} if "nodeid" in more else {}
    return await ask(broker, "kvs.lookup", {**PRIMARY, "key": key, **more}, **nodeid)


async def leave(broker: Broker, topic: str, payload: Any, *, nodeid: int = 0, stream: bool = False) -> None:
    """A client that asks, waits a moment for what comes, and goes: its streams and waits end with it."""
    client = broker.instance.client()
    send = client.stream if stream else client.request
    send(topic, payload, lambda *_: None, None, nodeid)
    await broker.advance(0.1)
    client.close()
    await broker.advance(0.1)
