"""Knows the commands that read and change single keys of the KVS; trees, namespaces and event logs lie beside it."""

from __future__ import annotations

import sys
from base64 import b64encode
from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING, Any, Final

import click
import msgspec

from brokersim import files
from brokersim.cli.command import Group, examples, pass_session
from brokersim.cli.errors import CommandError, answered, nearest, usage_error
from brokersim.cli.quick.offers import key_offers
from brokersim.cli.session import Explain, Session
from brokersim.cli.types import ASSIGNMENT, items
from brokersim.protocol import treeobj
from brokersim.protocol.decoded import JsonObject
from brokersim.protocol.errnums import EINVAL, EISDIR, ENOENT, ENOTDIR, ENOTSUP, RequestError

if TYPE_CHECKING:
    from click.shell_completion import CompletionItem

READDIR: Final = 1
READLINK: Final = 2
TREEOBJ: Final = 16
APPEND: Final = 32
NO_MERGE: Final = 1
SYNC: Final = 4
PRIMARY: Final = "primary"

_LAZY = {
    "get": "brokersim.cli.kvs.get:get",
    "stats": "brokersim.cli.kvs.root:stats",
    "dir": "brokersim.cli.kvs.tree:dir_",
    "ls": "brokersim.cli.kvs.tree:ls",
    "unlink": "brokersim.cli.kvs.tree:unlink",
    "watch": "brokersim.cli.kvs.watch:watch",
    "getroot": "brokersim.cli.kvs.root:getroot",
    "version": "brokersim.cli.kvs.root:version",
    "wait": "brokersim.cli.kvs.root:wait",
    "namespace": "brokersim.cli.kvs.root:namespace",
    "eventlog": "brokersim.cli.kvs.eventlog:eventlog",
}


@click.group(
    "kvs",
    cls=Group,
    lazy=_LAZY,
    **examples(
        ("brokersim kvs put a.b=42 a.c=x", "two keys, one commit"),
        ("brokersim kvs get a.b", "its value"),
        ("brokersim kvs watch a.b", "and again when it changes"),
    ),
)
def kvs() -> None:
    """Read and change the key-value store."""


# --- shared by all kvs commands


def namespace_option(command: Any) -> Any:
    """``-N``: another namespace than primary."""
    return click.option(
        "-N", "--namespace", "namespace_", default=PRIMARY, metavar="NS", help="in this namespace  [primary]"
    )(command)


def complete_key(context: click.Context, _param: click.Parameter, incomplete: str) -> list[CompletionItem]:
    """Keys of the live instance, a directory at a time; none rather than an error or a wait."""
    session = context.ensure_object(Session)
    session.timeout = 0.5
    folder = incomplete.rpartition(".")[0] or "."
    try:
        entries = read_dir(session, folder, context.params.get("namespace_") or PRIMARY)
    except Exception:  # whatever is wrong, a completion is no place to say so
        return []
    return items(key_offers(incomplete, entries))


def look_up(session: Session, key: str, namespace: str, flags: int = 0) -> JsonObject:
    """The tree object of a key. Raises CommandError that names the key."""
    request = {"key": key, "namespace": namespace, "flags": flags}
    answer = session.rpc("kvs.lookup", request, explain=explain_key(session, key, namespace))
    found: JsonObject = answer["val"]
    return found


def read_dir(session: Session, key: str, namespace: str) -> dict[str, JsonObject]:
    """A directory's entries, in name order."""
    data = look_up(session, key, namespace, READDIR)["data"]
    return dict(sorted(data.items()))


def is_dir(entry: JsonObject) -> bool:
    return entry["type"] in ("dir", "dirref")


def commit(session: Session, namespace: str, ops: Iterable[JsonObject], flags: int = 0) -> JsonObject:
    """Commits operations; the new rootref and rootseq. Raises CommandError."""
    changes = list(ops)
    request = {"namespace": namespace, "flags": flags, "ops": changes}
    explain = explain_key(session, changes[0]["key"], namespace)
    answer: JsonObject = session.rpc("kvs.commit", request, explain=explain)
    return answer


def operation(key: str, entry: JsonObject | None, flags: int = 0) -> JsonObject:
    """One operation of a commit; no entry unlinks the key."""
    return {"key": key, "flags": flags, "dirent": entry}


def show_commit(session: Session, answer: JsonObject) -> None:
    """With ``--json`` the new root."""
    if session.json:
        session.emit(answer)


_WORDS: Final[dict[int, str]] = {
    EISDIR: "key {key!r} is a directory",
    ENOTDIR: "key {key!r} is no directory",
    ENOTSUP: "no namespace {namespace!r}",
}
_ATTEMPTS: Final[dict[int, str]] = {
    EISDIR: "brokersim kvs dir {key}",
    ENOTDIR: "brokersim kvs get {key}",
    ENOTSUP: "brokersim kvs namespace list",
}


def explain_key(session: Session, key: str, namespace: str) -> Explain:
    """The words for a key that is missing or of the wrong kind."""

    def told(error: RequestError) -> CommandError | None:
        errnum = error.errno or 0
        if errnum == ENOENT:
            return _no_key(session, error, key, namespace)
        if errnum == ENOTSUP and session.try_rpc("kvs.getroot", {"namespace": namespace}) is not None:
            return None
        words = _WORDS.get(errnum)
        if words is None:
            return None
        names = {"key": key, "namespace": namespace}
        return answered(error, words.format(**names), attempt=_ATTEMPTS[errnum].format(**names))

    return told


def _no_key(session: Session, error: RequestError, key: str, namespace: str) -> CommandError:
    folder, dot, name = key.rpartition(".")
    request = {"key": folder or ".", "namespace": namespace, "flags": READDIR}
    beside = session.try_rpc("kvs.lookup", request)
    near = nearest(name, beside["val"]["data"]) if beside is not None else ""
    hint = f"a similar one exists: {folder}{dot}{near}" if near else ""
    where = "" if namespace == PRIMARY else f" -N {namespace}"
    attempt = (
        f"brokersim kvs dir{where} {folder}" if beside is not None and folder else f"brokersim kvs dir{where}"
    )
    return answered(error, f"no key {key!r} in namespace {namespace!r}", hint=hint, attempt=attempt)


# --- commands


def as_json(obj: JsonObject) -> dict[str, str]:
    """A value for JSON output: its text, or base64 if it is none."""
    data = treeobj.val_bytes(obj)
    try:
        return {"value": data.decode()}
    except UnicodeDecodeError:
        return {"value_base64": b64encode(data).decode()}


@kvs.command(
    "put",
    **examples(
        ("brokersim kvs put a.b=42 a.c=x", "two keys, one commit"),
        ("brokersim kvs put --raw log=- <FILE", "a value from stdin"),
    ),
)
@namespace_option
@click.option("-r", "--raw", is_flag=True, help="a value of - is read from stdin")
@click.option("-t", "--treeobj", "tree", is_flag=True, help="values are RFC 11 objects")
@click.option("-A", "--append", is_flag=True, help="append to what is there")
@click.option("-S", "--sync", is_flag=True, help="return when it is on disk")
@click.option("-n", "--no-merge", is_flag=True, help="a commit of its own")
@click.option("-b", "--blobref", is_flag=True, help="print the new root's blobref")
@click.option("-s", "--sequence", is_flag=True, help="print the new root's sequence number")
@click.option("-O", "--treeobj-root", is_flag=True, help="print the new root as an object")
@click.argument("pairs", metavar="KEY=VALUE...", nargs=-1, required=True, type=ASSIGNMENT)
@pass_session
def put(
    session: Session, /, namespace_: str, raw: bool, tree: bool, append: bool, sync: bool, no_merge: bool,
    blobref: bool, sequence: bool, treeobj_root: bool, pairs: tuple[tuple[str, str], ...],
) -> None:  # fmt: skip
    """Store values under keys, all in one commit."""
    flags = (SYNC if sync else 0) | (NO_MERGE if no_merge else 0)
    ops = [operation(key, _entry(key, text, raw, tree), APPEND if append else 0) for key, text in pairs]
    answer = commit(session, namespace_, ops, flags)
    if session.json:
        session.emit(answer)
        return
    forms: tuple[tuple[bool, Callable[[], str]], ...] = (
        (blobref, lambda: answer["rootref"]),
        (sequence, lambda: str(answer["rootseq"])),
        (treeobj_root, lambda: msgspec.json.encode(treeobj.dirref(answer["rootref"])).decode()),
    )
    for wanted, text in forms:
        if wanted:
            session.out(text())


def _entry(key: str, text: str, raw: bool, tree: bool) -> JsonObject:
    if raw and text == "-":
        return treeobj.val(files.read_all(sys.stdin.buffer, "stdin"))
    if not tree:
        return treeobj.val(text.encode(errors="surrogateescape"))
    try:
        return treeobj.decode(text.encode())
    except RequestError as error:
        raise usage_error(f"{key}: {error}", attempt="brokersim kvs get --treeobj KEY") from None


@kvs.command("mkdir", **examples(("brokersim kvs mkdir a.b", "")))
@namespace_option
@click.argument("keys", metavar="KEY...", nargs=-1, required=True)
@pass_session
def mkdir(session: Session, namespace_: str, keys: tuple[str, ...]) -> None:
    """Make empty directories; what was under a key is replaced."""
    show_commit(session, commit(session, namespace_, [operation(key, treeobj.directory()) for key in keys]))


@kvs.command("link", **examples(("brokersim kvs link a.b here", "here -> a.b")))
@namespace_option
@click.option("-T", "--target-namespace", metavar="NS", help="the target is in this namespace")
@click.argument("target")
@click.argument("key")
@pass_session
def link(session: Session, namespace_: str, target_namespace: str | None, target: str, key: str) -> None:
    """Make KEY a symbolic link to TARGET, which need not exist."""
    entry = treeobj.symlink(target, target_namespace)
    show_commit(session, commit(session, namespace_, [operation(key, entry)]))


@kvs.command("readlink", **examples(("brokersim kvs readlink here", "a.b")))
@namespace_option
@click.argument("keys", metavar="KEY...", nargs=-1, required=True, shell_complete=complete_key)
@pass_session
def readlink(session: Session, namespace_: str, keys: tuple[str, ...]) -> None:
    """Print where symbolic links point: TARGET, or NS::TARGET."""
    found = [(key, _read_link(session, key, namespace_)) for key in keys]
    if session.json:
        session.emit({"links": [{"key": key, **data} for key, data in found]})
        return
    for _, data in found:
        session.out(link_text(data))


def link_text(data: dict[str, str]) -> str:
    """A symlink's target as people write it."""
    return f"{data['namespace']}::{data['target']}" if "namespace" in data else data["target"]


def _read_link(session: Session, key: str, namespace: str) -> dict[str, str]:
    otherwise = explain_key(session, key, namespace)

    def told(error: RequestError) -> CommandError | None:
        if error.errno == EINVAL:
            return answered(error, f"key {key!r} is no symbolic link", attempt=f"brokersim kvs get {key}")
        return otherwise(error)

    request = {"key": key, "namespace": namespace, "flags": READLINK}
    data: dict[str, str] = session.rpc("kvs.lookup", request, explain=told)["val"]["data"]
    return data
