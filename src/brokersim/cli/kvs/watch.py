"""Knows the command that follows a key of the KVS (service kvs-watch)."""

from __future__ import annotations

from itertools import islice

import click
import msgspec

from brokersim.cli.command import Command, examples, pass_session
from brokersim.cli.kvs import TREEOBJ, as_json, complete_key, explain_key, namespace_option
from brokersim.cli.session import Session
from brokersim.protocol import treeobj
from brokersim.protocol.decoded import JsonObject

WATCH, WAITCREATE, FULL, UNIQ, APPEND = 4, 8, 64, 128, 256


@click.command(
    "watch",
    cls=Command,
    **examples(
        ("brokersim kvs watch a.b", "its value now, and after each commit that names it"),
        ("brokersim kvs watch --append -c 10 log", "what is appended, ten times"),
    ),
)
@namespace_option
@click.option("-c", "--count", type=click.IntRange(1), help="end after so many values  [never]")
@click.option("-W", "--waitcreate", is_flag=True, help="wait for the key, and for its namespace, to be made")
@click.option(
    "-f",
    "--full",
    "kind",
    flag_value=FULL,
    type=int,
    help="see changes by any commit, not only those that name it",
)
@click.option("-u", "--uniq", "kind", flag_value=UNIQ, type=int, help="only values that differ from the last")
@click.option("-A", "--append", "kind", flag_value=APPEND, type=int, help="only what is appended")
@click.option("-r", "--raw", is_flag=True, help="bytes as they are, no newline")
@click.option("-t", "--treeobj", "tree", is_flag=True, help="print the RFC 11 object")
@click.argument("key", shell_complete=complete_key)
@pass_session
def watch(
    session: Session, namespace_: str, count: int | None, waitcreate: bool, kind: int | None, raw: bool, tree: bool,
    key: str,
) -> None:  # fmt: skip
    """Print the value of a key, and again when it changes."""
    flags = WATCH | (kind or 0) | (WAITCREATE if waitcreate else 0) | (TREEOBJ if tree else 0)
    follow(session, key, namespace_, flags, count, raw, tree)


def follow(
    session: Session, key: str, namespace: str, flags: int, count: int | None, raw: bool, tree: bool,
    label: bool = False,
) -> None:  # fmt: skip
    """Print the values of a watch as they come, at most ``count``."""
    request = {"key": key, "namespace": namespace, "flags": flags}
    explain = explain_key(session, key, namespace)
    values = session.stream("kvs-watch.lookup", request, cancel="kvs-watch.cancel", explain=explain)
    for answer in islice(values, count):
        if label and not session.json:
            session.write(f"{key}=".encode())
        _show(session, key, answer["val"], raw, tree)


def _show(session: Session, key: str, obj: JsonObject, raw: bool, tree: bool) -> None:
    if session.json:
        session.emit({"key": key, **({"treeobj": obj} if tree else as_json(obj))})
        return
    data = msgspec.json.encode(obj) if tree else treeobj.val_bytes(obj)
    session.write(data + (b"" if raw else b"\n"))
