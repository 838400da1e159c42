"""Knows Flux's Future as modules use it: the end of something asked for, awaited by callback or by blocking."""

from __future__ import annotations

import errno
from collections.abc import Callable
from typing import Any, Self

from brokersim.fluxapi.endpoint import FluxHandle
from brokersim.host.future import Future as Inner
from brokersim.protocol.decoded import Json


class Future:
    """One thing to come. ``future_handle`` is what brings it."""

    def __init__(self, future_handle: Any, prefixes: Any = None, pimpl_t: Any = None) -> None:
        self.inner: Inner = future_handle
        self.flux_handle: FluxHandle | None = getattr(future_handle, "flux_handle", None)
        self.then_cb: Callable[..., object] | None = None
        self.stopped = False

    def stop(self) -> None:
        """Call back no more."""
        self.stopped = True

    def error_string(self) -> str | None:
        """The text of the error it ended with, None without one."""
        response = self.inner.latest
        if response is None or not response.errnum:
            return None
        return response.error().strerror

    def get_flux(self) -> FluxHandle | None:
        return self.flux_handle

    def set_flux(self, flux_handle: FluxHandle) -> None:
        self.flux_handle = flux_handle

    def get_reactor(self) -> Any:
        return None if self.flux_handle is None else self.flux_handle.get_reactor()

    def then(
        self, callback: Callable[..., object], *args: object, timeout: float = -1.0, **kwargs: object
    ) -> Self:
        """Call ``callback(future, *args, **kwargs)`` for each answer, or, without one in ``timeout`` s, once.

        Raises OSError(EEXIST) if it has a callback already, ValueError if that is None.
        """
        if self.then_cb is not None:
            raise OSError(errno.EEXIST, "then callback already exists for this future")
        if callback is None:
            raise ValueError("Callback cannot be None")
        self.then_cb = callback
        if timeout >= 0:
            self.inner.expire_after(timeout)
        self.inner.then(self._call, *args, **kwargs)
        return self

    def _call(self, _: Inner, *args: object, **kwargs: object) -> None:
        if not self.stopped and self.then_cb is not None:
            self.then_cb(self, *args, **kwargs)

    def reset(self) -> None:
        """Drop the answer in hand: what comes next is about the next one of a stream."""
        self.inner.reset()

    def is_ready(self) -> bool:
        return self.inner.is_ready()

    def wait_for(self, timeout: float = -1.0) -> Self:
        """Block until it is there. Raises OSError(ETIMEDOUT), and what ``get`` raises."""
        self.inner.wait_for(timeout)
        self.inner.check()
        return self

    def get(self) -> Json:
        """Block until it is there. Raises OSError if it failed."""
        self.inner.wait_for()
        self.inner.check()

    def incref(self) -> None:
        """Futures live as long as they are referred to."""
