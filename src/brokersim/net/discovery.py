"""Knows where instances of a user leave their sockets and which one is meant; not what is said there."""

from __future__ import annotations

import os
import re
import socket
import stat
from collections.abc import Iterator, Mapping
from contextlib import suppress
from pathlib import Path

from brokersim.host.trust import distrust_folder
from brokersim.net.address import ENVIRONMENT, SCHEME, socket_path

#: Rank 0's socket in an instance's folder.
_FIRST = "local-0"
#: Where an instance's modules keep what goes with it, in its folder.
STATE = "state"
#: How folders of its jobs begin, there as well.
JOB_FOLDER = "jobtmp-"
#: Sockets of ranks, and one that was being made (`connector.bind`).
_SOCKET = re.compile(r"(local-|\.)\d+")
#: What ``start --name`` takes: it becomes a folder's name, and stands where an address may.
NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,31}", re.ASCII)


class NoInstance(Exception):
    """There is nothing to talk to, or no telling which; ``hint`` and ``attempt`` say what would be right."""

    def __init__(self, text: str, hint: str = "", attempt: str = "") -> None:
        super().__init__(text)
        self.hint = hint
        self.attempt = attempt


def find_uri(explicit: str | None = None, environ: Mapping[str, str] = os.environ) -> str:
    """Whom to talk to: ``explicit``, else BROKERSIM_URI, else FLUX_URI, else this user's only live instance.

    ``explicit`` is an address, a name that `brokersim ps` shows, or the path of a socket or of an instance's folder.
    Raises NoInstance if none lives, several do, or none has that name; ValueError if what was given is none of these.
    """
    if explicit and NAME.fullmatch(explicit):
        return _named(explicit, environ)
    if explicit and "/" in explicit and "://" not in explicit:
        return _at(explicit)
    for uri in (explicit, *(environ.get(name) for name in ENVIRONMENT)):
        if uri:
            socket_path(uri)
            return uri
    alive = live_sockets(environ)
    if len(alive) == 1:
        return f"{SCHEME}{alive[0]}"
    raise _several(alive) if alive else _none()


def live_sockets(environ: Mapping[str, str] = os.environ) -> list[Path]:
    """Rank 0's sockets of this user's instances that somebody listens on, in name order."""
    return [path for path in candidate_sockets(environ) if is_alive(path)]


def name_of(path: Path) -> str:
    """What an instance is called whose rank 0 listens there: its folder's name, given (``--name``) or drawn."""
    return path.parent.name


def _named(name: str, environ: Mapping[str, str]) -> str:
    alive = live_sockets(environ)
    for path in alive:
        if name_of(path) == name:
            return f"{SCHEME}{path}"
    if not alive:
        raise _none()
    raise NoInstance(
        f"no instance of yours is called {name!r}",
        hint=f"these run: {' '.join(map(name_of, alive))}",
        attempt="brokersim ps",
    )


def _at(path: str) -> str:
    """The address of a socket, or of rank 0's socket in a folder, by path. Raises ValueError if it is too long."""
    whole = os.path.abspath(path)
    uri = f"{SCHEME}{os.path.join(whole, _FIRST) if os.path.isdir(whole) else whole}"
    socket_path(uri)
    return uri


def _none() -> NoInstance:
    return NoInstance(
        "no instance to talk to: BROKERSIM_URI and FLUX_URI are unset and no instance of yours is running",
        attempt="brokersim start        (in another terminal)",
    )


def _several(alive: list[Path]) -> NoInstance:
    names = [name_of(path) for path in alive]
    return NoInstance(
        f"{len(names)} instances of yours are running and none was named",
        hint=f"they are: {' '.join(names)}",
        attempt=f"brokersim ps, then -u {names[0]}; or export BROKERSIM_URI={SCHEME}{alive[0]}",
    )


def instance_folders(environ: Mapping[str, str] = os.environ) -> list[Path]:
    """Folders that hold one folder per instance, best first: in XDG_RUNTIME_DIR, in the temp folder."""
    import tempfile  # it brings random, shutil and every archive: what names its instance needs none of that

    runtime = environ.get("XDG_RUNTIME_DIR")
    temporary = Path(tempfile.gettempdir()) / f"brokersim-{os.getuid()}"
    return [Path(runtime) / "brokersim", temporary] if runtime else [temporary]


def candidate_sockets(environ: Mapping[str, str] = os.environ) -> Iterator[Path]:
    """Rank 0's sockets of this user's instances, in name order, dead ones included.

    A folder or socket of somebody else is passed over: whoever owns it could answer in the instance's place.
    """
    for folder in instance_folders(environ):
        try:
            instances = [] if distrust_folder(folder) else sorted(folder.iterdir())
        except OSError:
            continue
        for instance in instances:
            path = instance / _FIRST
            if is_own_socket(path):
                yield path


def is_own_socket(path: Path) -> bool:
    """A socket of this user's, not a link to one."""
    try:
        found = path.lstat()
    except OSError:
        return False
    return found.st_uid == os.getuid() and stat.S_ISSOCK(found.st_mode)


def sweep(parent: Path) -> None:
    """Removes what killed instances left: folders of this user with dead sockets of theirs and nothing else.

    Nothing in them is followed, and nothing that is no such socket is deleted: a folder with a file in it stays.
    """
    for folder in parent.iterdir():
        if distrust_folder(folder):
            continue
        found = list(folder.iterdir())
        inner = [path for path in found if path.name == STATE or path.name.startswith(JOB_FOLDER)]
        left = [path for path in found if path not in inner]
        is_ours = left and all(_SOCKET.fullmatch(path.name) and is_own_socket(path) for path in left)
        if is_ours and not any(is_alive(path) for path in left):
            for path in left:
                path.unlink(missing_ok=True)
            for path in (*inner, folder):
                with suppress(OSError):  # there is something in it
                    path.rmdir()


def is_alive(path: Path) -> bool:
    """Somebody listens; a socket file left by a killed instance refuses.

    One that is only too busy to take us (its backlog is full) lives: what is dead is removed by `start`.
    """
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as probe:
        probe.setblocking(False)
        try:
            probe.connect(os.fspath(path))
        except BlockingIOError:
            return True
        except OSError:
            return False
    return True
