"""Knows how ranks end without a word and are started anew, as brokers are that crashed or lost their parent.

It doesn't know when. Source: a broker of Flux that loses its parent ends, and with it all below; whoever started it
starts it again, with a new identity, no memory and the modules of its start-up script.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from typing import TYPE_CHECKING, Any, cast

from brokersim.host.handle import Handle
from brokersim.host.life import Module
from brokersim.instance_life import boot_rank
from brokersim.protocol.errnums import ECONNRESET, RequestError
from brokersim.protocol.message import RESPONSE, Message
from brokersim.protocol.topology import parent, subtree
from brokersim.routing import logring
from brokersim.routing.cut import cut_off
from brokersim.routing.endpoint import Endpoint

if TYPE_CHECKING:
    from brokersim.instance import Instance
    from brokersim.kit.ledger import Ledger
    from brokersim.services.broker import Broker

_KILLED = RuntimeError("its rank was killed on purpose")


def ranks_below(instance: Instance, rank: int) -> Sequence[int]:
    """What ends with a rank: itself and all below, the deepest first."""
    return subtree(rank, instance.fanout, instance.size)[::-1]


def crash(ledger: Ledger, rank: int, tell: Callable[[Message], object]) -> None:
    """End a rank (not 0) and all below at once: no teardown runs, nobody is told but who waits across its links.

    ``tell(request)`` of each of those; they get EHOSTUNREACH. What was under way on the links never arrives.
    """
    instance = ledger.instance
    ranks = ranks_below(instance, rank)
    ledger.deliveries.cut_off(ranks)
    for one in reversed(ranks):  # from above, so that who asks from there is told by who is left
        cut_off(instance, one, tell)
    for one in ranks:
        _end(instance, instance.broker(one))


def restart(ledger: Ledger, rank: int) -> None:
    """Start a rank that crashed, or was cut off, and all below: new brokers, which then load their modules."""
    instance = ledger.instance
    ranks = ranks_below(instance, rank)[::-1]
    for one in ranks:
        _end(instance, instance.broker(one))
    instance.renew(ranks)
    above = parent(rank, instance.fanout)
    assert above is not None
    ledger.deliveries.joined(ranks, above)
    for one in ranks:
        ledger.attach(instance.broker(one))
        instance.background.start(partial(_boot, instance, instance.broker(one)))


def end_all(instance: Instance, *, is_told: bool = True) -> None:
    """All that is on any rank is gone, the deepest first; not ``is_told``: no log has to say so."""
    for rank in ranks_below(instance, 0):
        _end(instance, instance.broker(rank), is_told=is_told)


def _end(instance: Instance, broker: Broker, *, is_told: bool = True) -> None:
    """All that is on a rank is gone; harmless when it is."""
    for module in instance.modules(broker.rank):
        if is_told:
            module.crashed(_KILLED, None)
        else:
            cast(Module, module).end(ECONNRESET, "")  # one in this process, as all under a virtual clock
    for endpoint in list(broker.endpoints):
        gone = list(endpoint.pending.items())
        endpoint.pending.clear()
        if endpoint is not broker.endpoint and isinstance(endpoint, Handle):
            endpoint.close()
        for tag, (then, arg, request) in gone:
            _connection_lost(endpoint, tag, then, arg, request)
    for endpoint in list(broker.endpoints):
        broker.reactor.purge(endpoint)


def _connection_lost(endpoint: Endpoint, tag: int, then: Any, arg: Any, request: Message) -> None:
    """A client whose broker ended hears so from its socket; what the broker asked itself needs no answer."""
    if endpoint.name == "client":
        text = f"the broker of rank {endpoint.broker.rank} has ended"
        then(Message(RESPONSE, request.topic, text, 0, tag, dst=endpoint, errnum=ECONNRESET), arg)


async def _boot(instance: Instance, broker: Broker) -> None:
    try:
        await boot_rank(instance, instance.settings, broker.rank)
    except RequestError as error:
        if instance.broker(broker.rank) is broker:  # else it crashed again meanwhile
            broker.write_log(logring.ERR, "broker", f"start of rank {broker.rank}: {error.text}")
