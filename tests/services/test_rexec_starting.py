"""What is asked of a process between its request and its start, which no client can time."""

from __future__ import annotations

from errno import EBUSY
from types import SimpleNamespace
from typing import Any

import pytest

from brokersim.protocol.errnums import RequestError
from brokersim.protocol.message import FLAG_STREAMING, REQUEST, Message
from brokersim.services import rexec


@pytest.mark.parametrize(
    ("serve", "flags"), [(rexec.wait, 0), (rexec.attach, FLAG_STREAMING)], ids=("wait", "attach")
)
def test_a_process_that_is_being_started_is_neither_waited_for_nor_attached_to(
    serve: Any, flags: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    process = SimpleNamespace(pid=0, is_background=True, is_waitable=True, attached=None, waiter=None)
    monkeypatch.setattr(rexec, "_find", lambda *_: process)
    request = Message(REQUEST, "rexec.x", {"pid": -1, "label": "a", "flags": 1}, flags)
    with pytest.raises(RequestError, match="subprocess is being started") as caught:
        serve(SimpleNamespace(), request)
    assert caught.value.errno == EBUSY
