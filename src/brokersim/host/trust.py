"""Knows whose files may decide what we run: this user's and root's that nobody else can write. It runs none.

What we find by ourselves has to pass; what a person names is theirs to judge, and they are told.
"""

from __future__ import annotations

import grp
import os
import pwd
import stat
from collections.abc import Iterator
from pathlib import Path

_ROOT = 0


def distrust(path: Path) -> str:
    """Why what lies at ``path`` may not decide what we run: ``/x/y belongs to bob``; ``""`` if it may.

    A link counts as well as what it leads to, and so does every folder above in which others could put something
    else in its place. What is not there is trusted: nobody can have made it.
    """
    try:
        found = path.lstat()
        target = path.stat() if stat.S_ISLNK(found.st_mode) else found
    except FileNotFoundError:
        return ""
    except OSError as error:
        return f"{path}: {error.strerror}"
    reason = _stranger(found) or _stranger(target) or _open_to(target)
    if reason:
        return f"{path} {reason}"
    for folder in path.resolve().parents:
        above = folder.stat()
        reason = "" if above.st_mode & stat.S_ISVTX else _open_to(above)
        if reason:
            return f"{path} lies in {folder}, which {reason}"
    return ""


def distrust_code(folder: Path) -> str:
    """Like ``distrust`` for a folder of module files: for it, for them and for the packages in it."""
    return next(filter(None, (distrust(path) for path in _code_in(folder))), "")


def distrust_folder(path: Path) -> str:
    """Like ``distrust`` for a folder of our own making: it must be one, no link, this user's, and closed to others."""
    try:
        found = path.lstat()
    except OSError as error:
        return f"{path}: {error.strerror}"
    if not stat.S_ISDIR(found.st_mode):
        return f"{path} is {'a link' if stat.S_ISLNK(found.st_mode) else 'no folder'}"
    if found.st_uid != os.getuid():
        return f"{path} belongs to {_user(found.st_uid)}"
    reason = _open_to(found)
    return f"{path} {reason}" if reason else ""


def _code_in(folder: Path) -> Iterator[Path]:
    yield folder
    for path in sorted(folder.iterdir()) if folder.is_dir() else ():
        if path.suffix == ".py":
            yield path
        elif (path / "__init__.py").is_file():
            yield path
            yield from sorted(path.glob("*.py"))


def _stranger(found: os.stat_result) -> str:
    return "" if found.st_uid in (_ROOT, os.getuid()) else f"belongs to {_user(found.st_uid)}"


def _open_to(found: os.stat_result) -> str:
    if found.st_mode & stat.S_IWOTH:
        return "can be written by everybody"
    if found.st_mode & stat.S_IWGRP and not _is_private(found.st_gid):
        return f"can be written by group {_group(found.st_gid)}"
    return ""


def _is_private(gid: int) -> bool:
    """A group of this user alone: root's, or one of their name that has no other members."""
    try:
        user, group = pwd.getpwuid(os.getuid()), grp.getgrgid(gid)
    except KeyError:
        return gid == _ROOT
    return gid == _ROOT or (group.gr_name == user.pw_name and set(group.gr_mem) <= {user.pw_name})


def _user(uid: int) -> str:
    try:
        return pwd.getpwuid(uid).pw_name
    except KeyError:
        return f"user {uid}"


def _group(gid: int) -> str:
    try:
        return grp.getgrgid(gid).gr_name
    except KeyError:
        return str(gid)
