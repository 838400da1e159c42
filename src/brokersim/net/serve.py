"""Knows how `brokersim start` runs: folders, sockets, signals, the command or shell inside, and the end."""

from __future__ import annotations

import errno
import os
import shlex
import signal
import sys
import threading
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Protocol

import attrs
import trio

from brokersim.instance import Instance
from brokersim.net.address import SCHEME, socket_path
from brokersim.net.connector import Connector
from brokersim.net.discovery import name_of
from brokersim.net.last_resort import LastResort, note_slow_end
from brokersim.net.log_outlets import log_outlets
from brokersim.net.module_process import ModuleProcesses
from brokersim.net.options import StartError, StartOptions
from brokersim.net.phases import NO_PROGRAM, BadQuorum, Phases
from brokersim.net.run_folder import Folders, folders
from brokersim.program import name_attributes, run
from brokersim.protocol.duration import parse_duration
from brokersim.protocol.errnums import RequestError
from brokersim.protocol.plurals import counted
from brokersim.protocol.resources import Resources
from brokersim.protocol.settings import ClockKind
from brokersim.reactor.cost import CostModel
from brokersim.reactor.watchdog import HANDLER_TIMEOUT
from brokersim.services.access import Access
from brokersim.services.composition import Settings
from brokersim.services.scripts import PROGRAM, environment_of, how_it_ended, log_end, without
from brokersim.statsd_server.target import TargetError, statistics_target, stats_attributes, stats_environment

_SIGNALS = (signal.SIGTERM, signal.SIGHUP, signal.SIGINT)


#: Seconds a command has to end once its instance was stopped.
_GRACE = 5.0


def _tell(text: str) -> None:
    print(f"brokersim: {text}", file=sys.stderr, flush=True)


class Watch(Protocol):
    """Somebody who looks at an instance with a command in it. That command's stdout goes to stderr."""

    def begin(self, instance: Instance) -> None:
        """The instance is made; nothing is loaded yet."""

    def ready(self) -> None:
        """Everything is loaded; the command begins."""

    async def end(self) -> None:
        """The command has ended; the instance still runs."""


def run_instance(options: StartOptions, watch: Watch | None = None) -> int:
    """Start an instance, run what it is for, end it. Returns the exit code; raises StartError.

    With a command, that is the command's. One in the background is `detach`'s.
    """
    with _handlers_as_before(), folders(options) as places:
        return run(_serve, options, places, None, watch, clock=options.clock)


@contextmanager
def _handlers_as_before() -> Iterator[None]:
    before = {number: signal.getsignal(number) for number in _SIGNALS}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def settings_of(options: StartOptions) -> Settings:
    """The instance's settings. Raises StartError for a handler timeout, or a table of access, that is none."""
    kind = ClockKind.parse(options.clock)
    try:
        Access.of(options.conf)
    except ValueError as error:
        raise StartError(str(error)) from None
    return Settings(
        size=options.size,
        fanout=options.fanout,
        clock=kind,
        seed=options.seed,
        modules=options.modules,
        module_path=(*options.module_path, *_folders_in("FLUX_MODULE_PATH_PREPEND")),
        last_module_path=_folders_in("FLUX_MODULE_PATH"),
        hook=options.hook,
        cost=CostModel() if kind.is_virtual else None,
        watchdog=_handler_timeout(options.attrs),
        resources=Resources.parse(options.resources),
        jobs=options.jobs,
        state_dir=None if options.state_dir is None else options.state_dir.resolve(),
        attributes={**name_attributes(options.stats), **options.attrs},
        conf=options.conf,
    )


def _folders_in(variable: str) -> tuple[Path, ...]:
    """The folders of a search path in the environment; what is no folder is passed over, as Flux does."""
    folders = (Path(part) for part in os.environ.get(variable, "").split(":") if part)
    return tuple(folder for folder in folders if folder.is_dir())


def _handler_timeout(attributes: dict[str, str]) -> float:
    text = attributes.get("broker.handler-timeout")
    try:
        return HANDLER_TIMEOUT if text is None else parse_duration(text)
    except ValueError as error:
        raise StartError(f"attribute broker.handler-timeout: {error}") from None


async def _serve(
    options: StartOptions, places: Folders, ready: int | None, watch: Watch | None = None
) -> int:
    instances: list[Instance] = []

    def log(text: str) -> None:
        print(text, file=sys.stderr, flush=True)
        for instance in instances:
            instance.log_error(text)

    try:
        async with statistics_target(
            options.stats, aggregator=options.aggregator, clock=options.clock, log=log
        ) as sink:
            processes = ModuleProcesses(stats_environment(sink))
            try:
                instances.append(Instance(settings_of(options), sink, processes))
            except RequestError as error:
                raise StartError(error.text) from None
            return await _serve_instance(options, instances[0], places, ready, watch)
    except TargetError as error:
        raise StartError(str(error)) from None


async def _serve_instance(
    options: StartOptions, instance: Instance, places: Folders, ready: int | None, watch: Watch | None
) -> int:
    connector = Connector(instance, places.run.path)
    last = LastResort(instance.reactor, instance.settings.watchdog or HANDLER_TIMEOUT, _tell)
    try:
        phases = Phases(instance, lambda broker: {**environment_of(broker), **_ours(instance)})
    except BadQuorum as error:
        raise StartError(str(error)) from None
    served = _Served(options, instance, connector, ready, watch, last, phases)
    fixed = {
        **places.attributes(),
        "brokersim.command": _command_line(options),
        **stats_attributes(instance.sink),
    }
    for broker in (instance.broker(rank) for rank in range(options.size)):
        for name, value in fixed.items():
            broker.attributes.fix(name, value)
    if watch is not None:
        watch.begin(instance)
    try:
        connector.listen()
    except OSError as error:
        raise StartError(str(error.strerror)) from None
    last.before_end(connector.close)
    last.before_end(places.remove)
    try:
        with last.watching(), _outlets(instance):
            return await _run_with_signals(served)
    except RequestError as error:
        raise StartError(error.text) from None
    finally:
        connector.close()


@contextmanager
def _outlets(instance: Instance) -> Iterator[None]:
    with ExitStack() as stack:
        try:
            stack.enter_context(log_outlets(instance))
        except OSError as error:
            raise StartError(f"attribute log-filename: {error.filename}: {error.strerror}") from None
        yield


@attrs.frozen
class _Served:
    """One instance and all that belongs to its run. ``ready``: a pipe for its address, by who waits for that."""

    options: StartOptions
    instance: Instance
    connector: Connector
    ready: int | None
    watch: Watch | None
    last: LastResort
    phases: Phases


@attrs.define
class _Boot:
    """Modules are being loaded; ``by`` is the signal that ended it. Later, whether the program inside runs."""

    scope: trio.CancelScope = attrs.field(factory=trio.CancelScope)
    is_over: bool = False
    by: int = 0
    has_program: bool = False

    def end(self, by: int) -> None:
        self.by = by
        self.scope.cancel()


async def _run_with_signals(served: _Served) -> int:
    """Signals are heard before the first module is loaded: one that comes meanwhile leaves nothing behind either."""
    code = 0
    failure: Exception | None = None
    boot = _Boot()
    for number in _SIGNALS:
        signal.signal(number, _is_spent)  # until the receiver is there, and behind it
    with (
        trio.open_signal_receiver(*_SIGNALS) as signals,
        served.last.listening(signal.SIGTERM, signal.SIGHUP),
    ):
        async with trio.open_nursery() as nursery:
            nursery.start_soon(_stop_on_signal, signals, served, boot)
            try:
                with boot.scope:
                    code = await _run_until_end(served, boot)
            except (StartError, RequestError) as error:
                failure = error  # raised outside the nursery, which would wrap it in a group
            nursery.cancel_scope.cancel()
    if failure is not None:
        raise failure
    return 128 + boot.by if boot.by else code


def _is_spent(*_: object) -> None:
    """Nobody hears a signal that comes as the receiver is left: it asks for an end that is there already.

    trio raises it once more: a third ^C would interrupt whoever called, a second TERM leave the folders behind.
    """


def _command_line(options: StartOptions) -> str:
    """What the instance is there for, as one types it; of one in the background there is nothing to say."""
    return "" if options.detach else shlex.join(options.command or (_shell(),))


def _shell() -> str:
    return os.environ.get("SHELL") or "/bin/sh"


async def _run_until_end(served: _Served, boot: _Boot) -> int:
    instance, connector, phases = served.instance, served.connector, served.phases
    code = 0
    failure: StartError | None = None
    async with instance.running(), trio.open_nursery() as nursery:
        await _signals_heard()
        boot.is_over = True
        nursery.start_soon(connector.serve)
        event = "rc1-fail"
        if await phases.rise(nursery):
            try:
                event, code = await _run_program(served, boot)
            except StartError as error:
                failure, event = (
                    error,
                    "rc2-fail",
                )  # raised outside the nursery, which would wrap it in a group
        failed = await phases.fall(event)
        instance.stop()
        nursery.cancel_scope.cancel()
    if failure is not None:
        raise failure
    if instance.failure is not None:
        raise StartError(instance.failure)
    if served.ready is not None and event == "rc1-fail":
        raise StartError(f"rc1 ended with exit code {failed}; the log of a start in the foreground says why")
    return code or failed


async def _run_program(served: _Served, boot: _Boot) -> tuple[str, int]:
    """Run what the instance is there for, or wait until it is stopped; why it ends, and the exit code."""
    watch, instance = served.watch, served.instance
    if served.ready is not None:
        os.write(served.ready, f"{served.connector.uri}\n".encode())
        os.close(served.ready)
    if served.ready is not None or instance.broker(0).attributes.get(NO_PROGRAM) is not None:
        await instance.stopped.wait()
        return "shutdown", 0
    if watch is not None:
        watch.ready()
    boot.has_program = True
    code = await _run_command(served)
    await _signals_heard()  # a ^C that ended it is not one for what follows
    boot.has_program = False
    if watch is not None:
        await watch.end()
    return "rc2-fail" if code else "rc2-success", code


async def _signals_heard() -> None:
    """Whoever listens for signals has been given those that came so far, the last of them while a module was loaded."""
    heard = trio.Event()
    trio.lowlevel.current_trio_token().run_sync_soon(heard.set)  # the same way as a signal, and behind it
    await heard.wait()
    await trio.lowlevel.checkpoint()


async def _run_command(served: _Served) -> int:
    """Run the command, or a shell, and return its exit code; it is ended when the instance is."""
    instance, uri = served.instance, served.connector.uri
    environment = {**without(os.environ), "BROKERSIM_URI": uri, "FLUX_URI": uri, **_ours(instance)}
    command = served.options.command
    if command is None:
        command = (_shell(),)
        modules = len(instance.modules(0))
        print(
            f"brokersim {instance.broker(0).attributes.get('version')} · size {instance.size} · "
            f"{counted(modules, 'module')}"
            f" · seed {instance.seed} · 'exit' stops it",
            file=sys.stderr,
        )
    stdout = None if served.watch is None else 2
    began = time.monotonic()
    try:
        process = await trio.lowlevel.open_process(list(command), env=environment, stdout=stdout)
    except OSError as error:
        raise _not_run(command[0], error) from None
    served.last.before_end(process.kill)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(_end_with_instance, instance, process, command[0])
        code = await process.wait()
        nursery.cancel_scope.cancel()
    words, code = how_it_ended(-code if code < 0 else code << 8)
    log_end(instance.broker(0), PROGRAM, _shown(command), words, code, time.monotonic() - began)
    return code


def _shown(command: tuple[str, ...]) -> str:
    """A command as the log has it: without the shell that reads it."""
    return " ".join(command[2:] if len(command) > 2 and command[:2] == (_shell(), "-c") else command)


def _ours(instance: Instance) -> dict[str, str]:
    """What every process of an instance finds in its environment."""
    return {"PATH": _path_with_us(), **stats_environment(instance.sink)}


def _not_run(name: str, error: OSError) -> StartError:
    """It ends as a shell and Flux do: 127 for what is not there, 126 for what is there and is no program."""
    # A shell would go on and read the file itself; nobody else does.
    hint = (
        "its first line names no program to read it, such as #!/bin/sh"
        if error.errno == errno.ENOEXEC
        else ""
    )
    code = 127 if isinstance(error, FileNotFoundError) else 126
    return StartError(f"cannot run {name!r}: {error.strerror}", hint=hint, code=code)


def _path_with_us() -> str:
    """PATH, with the folder of this very command behind it: inside the instance ``brokersim`` is always found."""
    path = os.environ.get("PATH", os.defpath)
    ours = str(Path(sys.executable).parent)
    return path if ours in path.split(os.pathsep) else f"{path}{os.pathsep}{ours}"


async def _end_with_instance(instance: Instance, process: trio.Process, name: str) -> None:
    await instance.stopped.wait()
    # SIGHUP is Flux's, and what a shell heeds; what ignores both is killed, by a clock that runs in virtual time too.
    process.send_signal(signal.SIGHUP)
    process.terminate()
    timers = [threading.Timer(_GRACE, process.kill), note_slow_end(process.pid, name, _GRACE, _tell)]
    for timer in timers:
        timer.start()
    try:
        await process.wait()
    finally:
        for timer in timers:
            timer.cancel()


async def _stop_on_signal(signals: AsyncIterator[int], served: _Served, boot: _Boot) -> None:
    instance = served.instance
    async for number in signals:
        if not boot.is_over:
            boot.end(number)
        # The terminal sends ^C to the command inside as well; it decides whether that ends it. Scripts get none.
        elif number != signal.SIGINT or not boot.has_program or instance.stopped.is_set():
            instance.stop()
            served.phases.interrupt()


@attrs.frozen(kw_only=True)
class Detached:
    """An instance that runs in the background: how it is called and reached, its process, its brokers."""

    name: str
    uri: str
    pid: int
    size: int


def detach(options: StartOptions) -> Detached:
    """Start the instance in a process of its own, in its own session; return once it can be talked to.

    Raises StartError with what kept it from that.
    """
    reader, writer = os.pipe()
    pid = os.fork()
    if pid:
        os.close(writer)
        with os.fdopen(reader) as pipe:
            uri = pipe.readline().strip()
            rest = pipe.read().strip()
        if not uri.startswith(SCHEME):
            os.waitpid(pid, 0)
            raise StartError(rest or uri or "the instance ended before it was ready")
        return Detached(name=name_of(Path(socket_path(uri))), uri=uri, pid=pid, size=options.size)
    os.close(reader)
    os.setsid()
    code = 1
    try:
        null = os.open(os.devnull, os.O_RDWR)
        for fd in (0, 1, 2):
            os.dup2(null, fd)
        with folders(options) as places:
            code = run(_serve, attrs.evolve(options, command=None), places, writer, clock=options.clock)
    except StartError as error:
        os.write(writer, f"\n{error}".encode())
    except Exception as error:
        os.write(writer, f"\nthe instance ended by {type(error).__name__}: {error}".encode())
    finally:
        os._exit(code)
