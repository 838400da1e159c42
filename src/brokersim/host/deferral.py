"""Knows how a module's requests are kept from it for a while (module.debug), and given to it later, in order."""

from __future__ import annotations

from brokersim.protocol.message import Message
from brokersim.routing.endpoint import Endpoint, Method
from brokersim.routing.rank import Rank


class Deferral(Endpoint):
    """Stands where a module served; it counts what it was handed, the module counts it when it gets it."""

    __slots__ = ("_held", "_module", "_rank")

    def __init__(self, rank: Rank, module: Endpoint) -> None:
        super().__init__(
            rank, module.name, rank.instance.identities.uuid(rank.rank, f"{module.name}/deferral")
        )
        self._rank = rank
        self._module = module
        self._held: list[Message] = []
        rank.replace_server(module, self)

    def method(self, topic: str) -> Method | None:
        """Whatever it is, and whoever may ask: the module says so later."""
        return self._held.append, True

    def end(self) -> None:
        """The module serves again, what was held first."""
        self._rank.replace_server(self, self._module)
        held, self._held = self._held, []
        for request in held:
            self._rank.route_request(request)
