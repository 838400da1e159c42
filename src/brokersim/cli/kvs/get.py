"""Knows the command that prints values of the KVS, once or, as Flux's does, whenever they change."""

from __future__ import annotations

from typing import Any

import click
import msgspec

from brokersim.cli.command import Command, examples, pass_session
from brokersim.cli.kvs import TREEOBJ, as_json, complete_key, look_up, namespace_option
from brokersim.cli.kvs.watch import APPEND, FULL, UNIQ, WAITCREATE, WATCH, follow
from brokersim.cli.session import Session
from brokersim.protocol import treeobj


@click.command(
    "get",
    cls=Command,
    **examples(
        ("brokersim kvs get a.b", "42"),
        ("brokersim kvs get --treeobj a", "the object itself"),
        ("brokersim kvs get -w -c 2 a.b", "now, and after the next change"),
    ),
)
@namespace_option
@click.option("-r", "--raw", is_flag=True, help="bytes as they are, no newline")
@click.option("-t", "--treeobj", "tree", is_flag=True, help="print the RFC 11 object")
@click.option("-l", "--label", is_flag=True, help="print KEY= before each value")
@click.option("-W", "--waitcreate", is_flag=True, help="wait for the key to be made")
@click.option("-w", "--watch", is_flag=True, help="print it again when it changes")
@click.option("-u", "--uniq", "kind", flag_value=UNIQ, type=int, help="watch: only values that differ")
@click.option("-A", "--append", "kind", flag_value=APPEND, type=int, help="watch: only what is appended")
@click.option("-f", "--full", "kind", flag_value=FULL, type=int, help="watch: see changes by any commit")
@click.option("-c", "--count", type=click.IntRange(1), help="watch: end after so many values")
@click.argument("keys", metavar="KEY...", nargs=-1, required=True, shell_complete=complete_key)
@pass_session
def get(
    session: Session, namespace_: str, raw: bool, tree: bool, label: bool, waitcreate: bool, watch: bool,
    kind: int | None, count: int | None, keys: tuple[str, ...],
) -> None:  # fmt: skip
    """Print values."""
    if not watch and (kind or count):
        raise click.UsageError("--uniq, --append, --full and --count go with --watch")
    if watch and len(keys) > 1:
        raise click.UsageError("--watch follows one key")
    flags = TREEOBJ if tree else 0
    if watch:
        flags |= WATCH | (kind or 0) | (WAITCREATE if waitcreate else 0)
        follow(session, keys[0], namespace_, flags, count, raw, tree, label)
    elif waitcreate:
        for key in keys:
            follow(session, key, namespace_, flags | WATCH | WAITCREATE, 1, raw, tree, label)
    else:
        _print(session, keys, namespace_, flags, raw, label)


def _print(
    session: Session, keys: tuple[str, ...], namespace: str, flags: int, raw: bool, label: bool
) -> None:
    tree = bool(flags & TREEOBJ)
    found = [(key, look_up(session, key, namespace, flags)) for key in keys]
    if session.json:
        shown: list[Any] = [
            {"key": key, **({"treeobj": obj} if tree else as_json(obj))} for key, obj in found
        ]
        session.emit({"namespace": namespace, "values": shown})
        return
    for key, obj in found:
        if label:
            session.write(f"{key}=".encode())
        session.write(
            (msgspec.json.encode(obj) if tree else treeobj.val_bytes(obj)) + (b"" if raw else b"\n")
        )
