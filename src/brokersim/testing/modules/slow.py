"""Knows how to answer late: ``ask`` is answered with its own payload after ``seconds=N`` (1)."""

from __future__ import annotations

from brokersim.brokermod import BrokerModule, Handle, Message, RequestError, errnums, request_handler


class Slow(BrokerModule):
    """Answers ``ask`` late, by the instance's clock, in the order it was asked."""

    def __init__(self, h: Handle, *args: str) -> None:
        super().__init__(h, *args)
        self._seconds = number(self.name, args, "seconds", 1.0)

    @request_handler("ask")
    async def ask(self, msg: Message) -> None:
        await self.handle.sleep(self._seconds)
        self.handle.respond(msg, msg.data)


def number(module: str, args: tuple[str, ...], name: str, default: float) -> float:
    """The value of the one argument ``name=N``. Raises RequestError(EINVAL)."""
    for arg in args:
        key, _, value = arg.partition("=")
        try:
            if key == name and float(value) >= 0:
                return float(value)
        except ValueError:
            pass
        raise RequestError(
            errnums.EINVAL, f"module {module!r}: argument {arg!r}; the only one is {name}=N, 0 or more"
        )
    return default
