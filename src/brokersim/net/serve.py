"""Knows how `brokersim start` runs: folders, sockets, signals, the command or shell inside, and the end."""

from __future__ import annotations

import errno
import os
import secrets
import shlex
import shutil
import signal
import sys
import threading
from collections.abc import AsyncIterator, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Protocol

import attrs
import trio

from brokersim.host.trust import distrust_folder
from brokersim.instance import Instance
from brokersim.net.address import MAX_PATH, SCHEME, socket_path
from brokersim.net.connector import Connector
from brokersim.net.discovery import instance_folders, is_alive, name_of, sweep
from brokersim.net.last_resort import LastResort, note_slow_end
from brokersim.net.module_process import ModuleProcesses
from brokersim.net.options import StartOptions
from brokersim.program import name_attributes, run
from brokersim.protocol.duration import parse_duration
from brokersim.protocol.errnums import RequestError
from brokersim.protocol.plurals import counted
from brokersim.protocol.resources import Resources
from brokersim.protocol.settings import ClockKind
from brokersim.reactor.cost import CostModel
from brokersim.reactor.watchdog import HANDLER_TIMEOUT
from brokersim.services.composition import Settings
from brokersim.statsd_server.target import TargetError, statistics_target, stats_attributes, stats_environment

_SIGNALS = (signal.SIGTERM, signal.SIGHUP, signal.SIGINT)


#: Seconds a command has to end once its instance was stopped.
_GRACE = 5.0


def _tell(text: str) -> None:
    print(f"brokersim: {text}", file=sys.stderr, flush=True)


class StartError(Exception):
    """The instance cannot start, for a reason a person can mend; ``code`` is what its process ends with."""

    def __init__(self, what: str, *, hint: str = "", code: int = 1) -> None:
        super().__init__(what)
        self.hint = hint
        self.code = code


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
    with _run_folder(options) as folder:
        return run(_serve, options, folder, None, watch, clock=options.clock)


def settings_of(options: StartOptions) -> Settings:
    """The instance's settings. Raises StartError for a state directory that cannot be used."""
    kind = ClockKind.parse(options.clock)
    state = options.state_dir
    if state is not None:
        try:
            state.mkdir(mode=0o700, parents=True, exist_ok=True)
        except OSError as error:
            raise StartError(f"state directory {state}: {error.strerror}") from None
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
        state_dir=None if state is None else state.resolve(),
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


async def _serve(options: StartOptions, folder: Path, ready: int | None, watch: Watch | None = None) -> int:
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
            return await _serve_instance(options, instances[0], folder, ready, watch)
    except TargetError as error:
        raise StartError(str(error)) from None


async def _serve_instance(
    options: StartOptions, instance: Instance, folder: Path, ready: int | None, watch: Watch | None
) -> int:
    connector = Connector(instance, folder)
    last = LastResort(instance.reactor, instance.settings.watchdog or HANDLER_TIMEOUT, _tell)
    served = _Served(options, instance, connector, ready, watch, last)
    fixed = {
        "rundir": str(folder),
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
    try:
        with last.watching():
            return await _run_with_signals(served)
    except RequestError as error:
        raise StartError(error.text) from None
    finally:
        connector.close()


@attrs.frozen
class _Served:
    """One instance and all that belongs to its run. ``ready``: a pipe for its address, by who waits for that."""

    options: StartOptions
    instance: Instance
    connector: Connector
    ready: int | None
    watch: Watch | None
    last: LastResort


@attrs.define
class _Boot:
    """Modules are being loaded; ``by`` is the signal that ended it."""

    scope: trio.CancelScope = attrs.field(factory=trio.CancelScope)
    is_over: bool = False
    by: int = 0

    def end(self, by: int) -> None:
        self.by = by
        self.scope.cancel()


async def _run_with_signals(served: _Served) -> int:
    """Signals are heard before the first module is loaded: one that comes meanwhile leaves nothing behind either."""
    code = 0
    failure: Exception | None = None
    boot = _Boot()
    with (
        trio.open_signal_receiver(*_SIGNALS) as signals,
        served.last.listening(signal.SIGTERM, signal.SIGHUP),
    ):
        async with trio.open_nursery() as nursery:
            nursery.start_soon(_stop_on_signal, signals, served.instance, boot)
            try:
                with boot.scope:
                    code = await _run_until_end(served, boot)
            except (StartError, RequestError) as error:
                failure = error  # raised outside the nursery, which would wrap it in a group
            nursery.cancel_scope.cancel()
    if failure is not None:
        raise failure
    return 128 + boot.by if boot.by else code


def _command_line(options: StartOptions) -> str:
    """What the instance is there for, as one types it; of one in the background there is nothing to say."""
    return "" if options.detach else shlex.join(options.command or (_shell(),))


def _shell() -> str:
    return os.environ.get("SHELL") or "/bin/sh"


async def _run_until_end(served: _Served, boot: _Boot) -> int:
    instance, connector, watch = served.instance, served.connector, served.watch
    code = 0
    failure: StartError | None = None
    async with instance.running(), trio.open_nursery() as nursery:
        await _signals_heard()
        boot.is_over = True
        nursery.start_soon(connector.serve)
        if served.ready is not None:
            os.write(served.ready, f"{connector.uri}\n".encode())
            os.close(served.ready)
        elif served.options.command is not None or not served.options.detach:
            try:
                if watch is not None:
                    watch.ready()
                code = await _run_command(served)
                if watch is not None:
                    await watch.end()
            except StartError as error:
                failure = error  # raised outside the nursery, which would wrap it in a group
            instance.stop()
        await instance.stopped.wait()
        nursery.cancel_scope.cancel()
    if failure is not None:
        raise failure
    if instance.failure is not None:
        raise StartError(instance.failure)
    return code


async def _signals_heard() -> None:
    """Whoever listens for signals has been given those that came so far, the last of them while a module was loaded."""
    heard = trio.Event()
    trio.lowlevel.current_trio_token().run_sync_soon(heard.set)  # the same way as a signal, and behind it
    await heard.wait()
    await trio.lowlevel.checkpoint()


async def _run_command(served: _Served) -> int:
    """Run the command, or a shell, and return its exit code; it is ended when the instance is."""
    instance, uri = served.instance, served.connector.uri
    environment = {
        **os.environ,
        "BROKERSIM_URI": uri,
        "FLUX_URI": uri,
        "PATH": _path_with_us(),
        **stats_environment(instance.sink),
    }
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
    try:
        process = await trio.lowlevel.open_process(list(command), env=environment, stdout=stdout)
    except OSError as error:
        raise _not_run(command[0], error) from None
    served.last.before_end(process.kill)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(_end_with_instance, instance, process, command[0])
        code = await process.wait()
        nursery.cancel_scope.cancel()
    return code if code >= 0 else 128 - code


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
    # A shell ignores SIGTERM; what ignores both is killed, by a clock that runs in virtual time too.
    process.terminate()
    process.send_signal(signal.SIGHUP)
    timers = [threading.Timer(_GRACE, process.kill), note_slow_end(process.pid, name, _GRACE, _tell)]
    for timer in timers:
        timer.start()
    try:
        await process.wait()
    finally:
        for timer in timers:
            timer.cancel()


async def _stop_on_signal(signals: AsyncIterator[int], instance: Instance, boot: _Boot) -> None:
    async for number in signals:
        if not boot.is_over:
            boot.end(number)
        # The terminal sends ^C to the command inside as well; it decides whether that ends it.
        elif number != signal.SIGINT or instance.stopped.is_set():
            instance.stop()


@contextmanager
def _run_folder(options: StartOptions) -> Iterator[Path]:
    """The folder of the sockets, mode 0700; one made here is removed at the end."""
    chosen = options.run_dir
    if chosen is not None:
        with _chosen_folder(chosen.resolve(), options.size) as folder:
            yield folder
        return
    folder = _new_folder(options.name)
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)


@contextmanager
def _chosen_folder(folder: Path, size: int) -> Iterator[Path]:
    """The folder that was asked for; one made here stays, but for an instance that could not start."""
    longest = folder / f"local-{size - 1}"
    if len(os.fsencode(longest)) > MAX_PATH:
        raise StartError(f"socket path {longest} is longer than a Unix socket allows ({MAX_PATH} bytes)")
    is_new = not folder.exists()
    try:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    except OSError as error:
        raise StartError(f"run directory {folder}: {error.strerror}") from None
    try:
        yield folder
    except StartError:
        if is_new:
            with suppress(OSError):  # it is used by somebody else by now
                folder.rmdir()
        raise


def _new_folder(name: str | None) -> Path:
    """A new folder for one instance, called ``name`` or drawn. Raises StartError, also for a name that is taken."""
    failures: list[str] = []
    for parent in instance_folders():
        try:
            parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            reason = distrust_folder(parent)
            if not reason:
                return _folder_in(parent, name)
        except OSError as error:
            reason = f"{parent}: {error.strerror}"
        failures.append(reason)
    raise StartError(
        f"no folder for the sockets: {'; '.join(failures)}; give one of your own with --rundir or XDG_RUNTIME_DIR"
    )


def _folder_in(parent: Path, name: str | None) -> Path:
    sweep(parent)
    folder = parent / (name or f"i{secrets.token_hex(3)}")
    try:
        folder.mkdir(mode=0o700)
    except FileExistsError:
        if name is not None:
            raise StartError(_taken(name, folder)) from None
        raise
    return folder


def _taken(name: str, folder: Path) -> str:
    if is_alive(folder / "local-0"):
        return f"an instance called {name!r} is running already; brokersim ps lists yours"
    return (
        f"{folder} is in the way: instance {name!r} is starting, or was killed while it did; remove it then"
    )


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
        with _run_folder(options) as folder:
            code = run(_serve, attrs.evolve(options, command=None), folder, writer, clock=options.clock)
    except StartError as error:
        os.write(writer, f"\n{error}".encode())
    except Exception as error:
        os.write(writer, f"\nthe instance ended by {type(error).__name__}: {error}".encode())
    finally:
        os._exit(code)
