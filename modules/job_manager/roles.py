"""Knows what guests may do: to their own jobs some things, to others' nothing (flux-core's rules and texts)."""

from __future__ import annotations

from typing import Final

from brokersim.brokermod import Message, RequestError, errnums

ROLE_OWNER: Final = 1


def check_owner(msg: Message, userid: int, refusal: str) -> None:
    """Raises RequestError(EPERM, refusal) unless the sender is the instance owner or that user."""
    if not msg.rolemask & ROLE_OWNER and msg.userid != userid:
        raise RequestError(errnums.EPERM, refusal)
