"""Knows how a module file written for Flux is run: its entry point, `reactor_run`, and how both end."""

from __future__ import annotations

from collections.abc import Callable
from types import ModuleType

from greenlet import getcurrent

from brokersim.fluxapi.brokermod import resolve_entry_point
from brokersim.fluxapi.clib import functions_named, is_function
from brokersim.fluxapi.core.handle import Flux
from brokersim.fluxapi.endpoint import FluxEndpoint
from brokersim.fluxapi.times import follow_instance
from brokersim.host.blocking import Worker
from brokersim.host.handle import Handle, Living
from brokersim.host.ports import Home
from brokersim.protocol.errnums import EDEADLK, RequestError
from brokersim.reactor.actor import FAILURES
from brokersim.reactor.step import ModuleUnloaded

Entry = Callable[..., object]


class Run:
    """One run of ``mod_main(h, *args)``. It is parked in ``reactor_run`` for most of its life."""

    def __init__(self, endpoint: FluxEndpoint, entry: Entry, args: tuple[str, ...]) -> None:
        self._endpoint = endpoint
        self._entry = entry
        self._args = args
        self._waiting: Worker | None = None
        self._is_stopping = False
        self._ended: Callable[[object], None] | None = None
        self.is_over = False

    def start(self) -> None:
        """Begin the entry point, up to where it first waits."""
        endpoint = self._endpoint
        assert endpoint.workers is not None
        endpoint.workers.call(endpoint, None, self._main)

    def _main(self) -> None:
        endpoint = self._endpoint
        module = endpoint.module
        assert module is not None
        try:
            self._entry(Flux(handle=endpoint), *self._args)
        except ModuleUnloaded:
            raise
        except FAILURES as error:
            self.is_over = True
            module.crashed(error, None)
        else:
            self.is_over = True
            if self._ended is None:
                module.stop()
        finally:
            if self._ended is not None:
                self._ended(None)

    def reactor_run(self) -> int:
        """Wait until the reactor is stopped: 0, or -1 if with an error. Raises what a callback raised."""
        worker = getcurrent()
        endpoint = self._endpoint
        if not isinstance(worker, Worker) or self._waiting is not None:
            raise RequestError(EDEADLK, "reactor_run: the reactor of this module runs already")
        if endpoint.module is not None:
            endpoint.module.set_running()
        if self._ended is not None:
            return 0  # the module is being removed: nothing more will come
        self._waiting = worker
        self._is_stopping = False
        code: int = worker.park()
        return code

    def stop(self, error: BaseException | None = None, code: int = 0) -> bool:
        """Let ``reactor_run`` return, or raise, once the callback that runs now has ended; False if none runs."""
        if self._waiting is None or self._is_stopping:
            return self._is_stopping
        self._is_stopping = True
        self._endpoint.reactor.call_later(0, self._return, code, error)
        return True

    def _return(self, code: int, error: BaseException | None) -> None:
        worker, self._waiting = self._waiting, None
        if worker is not None and self._endpoint.workers is not None:
            self._endpoint.workers.resume(worker, code, error)

    async def teardown(self) -> None:
        """The module is to end: ``reactor_run`` returns, and what stands behind it is waited for."""
        if not self.is_over:
            await self._endpoint.occurrence(self._end)

    def _end(self, done: Callable[[object], None]) -> None:
        self._ended = done
        self.stop()

    def abandon(self) -> None:
        """Throw the entry point out where it waits."""
        worker, self._waiting = self._waiting, None
        if worker is not None and self._endpoint.workers is not None:
            self._endpoint.workers.resume(worker, None, ModuleUnloaded())


class FluxProgram:
    """A loaded file and its entry point; it keeps nothing of the modules made from it."""

    def __init__(self, entry: Entry) -> None:
        self._entry = entry

    def make_handle(self, broker: Home, name: str, uuid: str | int, module: Living) -> Handle:
        return FluxEndpoint(broker, name, uuid, module)

    def start(self, handle: Handle, args: tuple[str, ...]) -> None:
        assert isinstance(handle, FluxEndpoint)
        handle.run = handle.body = run = Run(handle, self._entry, args)
        run.start()


def program_of(module: ModuleType) -> FluxProgram:
    """The file's program, in whose names ``time`` is its instance's from now on.

    Raises ValueError if it has neither ``mod_main`` nor exactly one BrokerModule subclass, ImportError if it uses a C
    function that is not here.
    """
    lacking = sorted(name for name in functions_named(module) if not is_function(name))
    if lacking:
        raise ImportError(f"{lacking[0]}: brokersim has no such C function", name="_flux._core")
    follow_instance(module)
    return FluxProgram(resolve_entry_point(module))
