"""Knows the folders of an instance that serves: where its sockets lie, where its state; who makes and removes them."""

from __future__ import annotations

import os
import secrets
import shutil
import stat
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path

import attrs

from brokersim.host.trust import distrust_folder
from brokersim.net.address import MAX_PATH
from brokersim.net.discovery import STATE, instance_folders, is_alive, sweep
from brokersim.net.options import StartError, StartOptions
from brokersim.protocol.settings import ClockKind


@attrs.frozen
class Folder:
    """A folder, whether it was made for this instance, and whether it goes with it."""

    path: Path
    is_new: bool
    goes: bool

    @property
    def cleanup(self) -> str:
        """As the attribute ``…-cleanup`` has it."""
        return "1" if self.goes else "0"

    def remove(self) -> None:
        """With all that is in it, if it goes with the instance."""
        if self.goes:
            shutil.rmtree(self.path, ignore_errors=True)


@attrs.frozen
class Folders:
    """Where the sockets lie, and where state does: nowhere under a virtual clock, unless asked for."""

    run: Folder
    state: Folder | None

    def attributes(self) -> dict[str, str]:
        """As the ranks' attributes tell of them."""
        told = {"rundir": str(self.run.path), "rundir-cleanup": self.run.cleanup}
        if self.state is not None:
            told |= {"statedir": str(self.state.path), "statedir-cleanup": self.state.cleanup}
        return told

    def remove(self) -> None:
        """What goes with the instance, when there is no time for its end in good order."""
        for folder in (self.state, self.run):
            if folder is not None:
                folder.remove()


@contextmanager
def folders(options: StartOptions) -> Iterator[Folders]:
    """The folders of an instance, mode 0700; those made here are removed at the end, unless it was told otherwise."""
    made: list[Folder] = []
    try:
        run = _run(options)
        made.append(run)
        _check_length(run.path, options.size)
        state = _state(options, run.path)
        if state is not None:
            made.append(state)
            if (
                options.state_dir is not None
                and not state.goes
                and state.path.is_relative_to(run.path.resolve())
            ):
                run = made[0] = attrs.evolve(run, goes=False)  # what was to be kept is in it
        yield Folders(run, state)
    except StartError:
        # What was there before may be a live instance's, which is why this one was refused.
        made = [folder for folder in made if folder.is_new]
        for folder in reversed(made):
            with suppress(OSError):  # it is used by somebody else by now
                folder.path.rmdir()
        raise
    finally:
        for folder in reversed(made):
            folder.remove()


def _run(options: StartOptions) -> Folder:
    """The one that was named: made, and removed in the end, if it is not there; if all may write in it, one in it."""
    path = options.run_dir
    if path is None:
        return _made(options, "rundir", _new_folder(options.name))
    path = path.resolve()
    try:
        if path.is_dir() and path.stat().st_mode & stat.S_ISVTX:
            return _made(options, "rundir", Path(tempfile.mkdtemp(prefix="flux-", dir=path)))
        is_new = _make(path, parents=False)  # folders above it would outlive it
    except OSError as error:
        raise StartError(f"run directory {path}: {error.strerror}") from None
    if path.stat().st_mode & stat.S_IRWXU != stat.S_IRWXU:
        raise StartError(f"run directory {path} does not have owner=rwx permissions")
    return Folder(path, is_new=is_new, goes=_is_wanted(options.attrs, "rundir-cleanup", is_new))


def _state(options: StartOptions, run: Path) -> Folder | None:
    """The one that was named stays, whoever made it: what was to be kept is there. Else one for this life only."""
    path, is_kept = options.state_dir, True
    if path is None:
        if ClockKind.parse(options.clock).is_virtual:
            return None
        path, is_kept = run / STATE, False
    try:
        is_new = _make(path, parents=True)
    except OSError as error:
        raise StartError(f"state directory {path}: {error.strerror}") from None
    # One that is there in a run directory may be anybody's: it is used, and stays.
    goes = _is_wanted(options.attrs, "statedir-cleanup", is_new and not is_kept)
    return Folder(path.resolve(), is_new=is_new, goes=goes)


def _make(path: Path, *, parents: bool) -> bool:
    """Make it unless it is there; whether it had to be made. Raises OSError."""
    is_new = not path.exists()
    path.mkdir(mode=0o700, parents=parents, exist_ok=True)
    return is_new


def _made(options: StartOptions, name: str, path: Path) -> Folder:
    return Folder(path, is_new=True, goes=_is_wanted(options.attrs, f"{name}-cleanup", True))


def _is_wanted(attributes: Mapping[str, str], name: str, default: bool) -> bool:
    return attributes[name] != "0" if name in attributes else default


def _check_length(folder: Path, size: int) -> None:
    longest = folder / f"local-{size - 1}"
    if len(os.fsencode(longest)) > MAX_PATH:
        raise StartError(f"socket path {longest} is longer than a Unix socket allows ({MAX_PATH} bytes)")


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
        f"{folder} is in the way: instance {name!r} is starting, or was killed and left something in it;"
        " remove it then"
    )
