"""Knows the commands that walk the KVS: dir, ls, unlink."""

from __future__ import annotations

from collections.abc import Iterator

import click

from brokersim.cli.command import Command, examples, pass_session
from brokersim.cli.errors import CommandError
from brokersim.cli.kvs import (
    TREEOBJ,
    as_json,
    commit,
    complete_key,
    is_dir,
    link_text,
    look_up,
    namespace_option,
    operation,
    read_dir,
    show_commit,
)
from brokersim.cli.session import Session
from brokersim.protocol import treeobj
from brokersim.protocol.decoded import JsonObject
from brokersim.protocol.plurals import counted

Entry = JsonObject


def _join(key: str, name: str) -> str:
    return name if key == "." else f"{key}.{name}"


def _walk(session: Session, key: str, namespace: str, recursive: bool) -> Iterator[tuple[str, Entry]]:
    """Keys and their entries below a directory, in order; directories before what is in them."""
    for name, entry in read_dir(session, key, namespace).items():
        path = _join(key, name)
        yield path, entry
        if recursive and is_dir(entry):
            yield from _walk(session, path, namespace, recursive)


@click.command(
    "dir",
    cls=Command,
    **examples(
        ("brokersim kvs dir", "keys and values of the root"), ("brokersim kvs dir -R job", "and all below")
    ),
)
@namespace_option
@click.option("-R", "--recursive", is_flag=True, help="and all below")
@click.option("-d", "--directory", "keys_only", is_flag=True, help="keys, no values")
@click.option("-w", "--width", type=click.IntRange(min=0), default=0, help="cut lines to this width")
@click.argument("key", default=".", shell_complete=complete_key)
@pass_session
def dir_(session: Session, namespace_: str, recursive: bool, keys_only: bool, width: int, key: str) -> None:
    """List a directory with its values; a. is one, a -> b a link."""
    shown = []
    for path, entry in _walk(session, key, namespace_, recursive):
        if recursive and is_dir(entry) and not session.json:
            continue
        if session.json:
            shown.append({"key": path, **_described(session, path, entry, namespace_, keys_only)})
        else:
            line = _line(session, path, entry, namespace_, keys_only)
            session.out(line[:width] if width else line)
    if session.json:
        session.emit({"namespace": namespace_, "entries": shown})


def _value(session: Session, path: str, entry: Entry, namespace: str) -> Entry:
    # Small values are in the directory itself; only references are worth a question.
    return entry if entry["type"] == "val" else look_up(session, path, namespace)


def _line(session: Session, path: str, entry: Entry, namespace: str, keys_only: bool) -> str:
    if is_dir(entry):
        return f"{path}."
    if entry["type"] == "symlink":
        return f"{path} -> {link_text(entry['data'])}"
    if keys_only:
        return path
    text = treeobj.val_bytes(_value(session, path, entry, namespace)).decode(errors="replace")
    return f"{path} = {text}".rstrip("\n").replace("\n", "\\n")


def _described(session: Session, path: str, entry: Entry, namespace: str, keys_only: bool) -> Entry:
    if is_dir(entry):
        return {"type": "dir"}
    if entry["type"] == "symlink":
        return {"type": "symlink", **entry["data"]}
    return {"type": "val", **({} if keys_only else as_json(_value(session, path, entry, namespace)))}


@click.command(
    "ls",
    cls=Command,
    **examples(
        ("brokersim kvs ls", "names in the root"), ("brokersim kvs ls -RF job", "all below, kinds marked")
    ),
)
@namespace_option
@click.option("-R", "--recursive", is_flag=True, help="and all below")
@click.option("-F", "--classify", is_flag=True, help="mark directories with . and links with @")
@click.option("-d", "--directory", "itself", is_flag=True, help="the directory itself, not what is in it")
@click.argument("keys", metavar="[KEY]...", nargs=-1, shell_complete=complete_key)
@pass_session
def ls(
    session: Session, namespace_: str, recursive: bool, classify: bool, itself: bool, keys: tuple[str, ...]
) -> None:
    """List names, one a line."""
    found: list[tuple[str, Entry]] = []
    for key in keys or (".",):
        top = look_up(session, key, namespace_, TREEOBJ)
        if itself or not is_dir(top):
            found.append((key, top))
        else:
            found += _below(session, key, namespace_, recursive)
    if session.json:
        entries = [{"key": key, "type": "dir" if is_dir(entry) else entry["type"]} for key, entry in found]
        session.emit({"namespace": namespace_, "entries": entries})
        return
    for key, entry in found:
        session.out(key + (_mark(entry) if classify else ""))


def _below(session: Session, key: str, namespace: str, recursive: bool) -> Iterator[tuple[str, Entry]]:
    prefix = "" if key == "." else f"{key}."
    for path, entry in _walk(session, key, namespace, recursive):
        yield path.removeprefix(prefix), entry


def _mark(entry: Entry) -> str:
    return "." if is_dir(entry) else "@" if entry["type"] == "symlink" else ""


@click.command(
    "unlink",
    cls=Command,
    **examples(("brokersim kvs unlink a.b", ""), ("brokersim kvs unlink -R a", "a directory and all in it")),
)
@namespace_option
@click.option("-R", "--recursive", is_flag=True, help="directories that are not empty, too")
@click.option("-f", "--force", is_flag=True, help="no error for a missing key")
@click.argument("keys", metavar="KEY...", nargs=-1, required=True, shell_complete=complete_key)
@pass_session
def unlink(session: Session, namespace_: str, recursive: bool, force: bool, keys: tuple[str, ...]) -> None:
    """Remove keys, all in one commit."""
    for key in keys:
        _check_unlink(session, key, namespace_, recursive, force)
    show_commit(session, commit(session, namespace_, [operation(key, None) for key in keys]))


def _check_unlink(session: Session, key: str, namespace: str, recursive: bool, force: bool) -> None:
    try:
        entry = look_up(session, key, namespace, TREEOBJ)
    except CommandError:
        if force:
            return
        raise
    if recursive or not is_dir(entry):
        return
    count = len(read_dir(session, key, namespace))
    if count:
        things = counted(count, "entry")
        session.fail(f"key {key!r} is a directory with {things}", attempt=f"brokersim kvs unlink -R {key}")
