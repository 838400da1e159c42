"""Knows the commands about roots, versions and namespaces of the KVS."""

from __future__ import annotations

import click
import msgspec

from brokersim.cli.command import Command, Group, examples, list_options, pass_session
from brokersim.cli.errors import CommandError, answered
from brokersim.cli.kvs import explain_key, namespace_option
from brokersim.cli.session import Explain, Session
from brokersim.protocol import treeobj
from brokersim.protocol.decoded import JsonObject
from brokersim.protocol.errnums import EEXIST, RequestError


def _root(session: Session, namespace: str) -> JsonObject:
    explain = explain_key(session, ".", namespace)
    root: JsonObject = session.rpc("kvs.getroot", {"namespace": namespace, "flags": 0}, explain=explain)
    return root


@click.command(
    "stats", cls=Command, **examples(("brokersim kvs stats", "cache, namespaces, message counters"))
)
@pass_session
def stats(session: Session) -> None:
    """Print what kvs counts on this rank."""
    answer = session.rpc("kvs.stats-get")
    if session.json:
        session.emit(answer)
    else:
        session.out(msgspec.json.format(msgspec.json.encode(answer), indent=1).decode())


@click.command(
    "getroot",
    cls=Command,
    **examples(
        ("brokersim kvs getroot", "the root as an object"), ("brokersim kvs getroot -b", "its blobref")
    ),
)
@namespace_option
@click.option("-b", "--blobref", "form", flag_value="rootref", help="print the blobref")
@click.option("-s", "--sequence", "form", flag_value="rootseq", help="print the sequence number")
@click.option("-o", "--owner", "form", flag_value="owner", help="print the owner's userid")
@pass_session
def getroot(session: Session, namespace_: str, form: str | None) -> None:
    """Print the root of a namespace."""
    root = _root(session, namespace_)
    if session.json:
        session.emit(root)
    elif form is None:
        session.emit(treeobj.dirref(root["rootref"]))
    else:
        session.out(str(root[form]))


@click.command("version", cls=Command, **examples(("brokersim kvs version", "17")))
@namespace_option
@pass_session
def version(session: Session, namespace_: str) -> None:
    """Print the version of a namespace: its root's sequence number."""
    root = _root(session, namespace_)
    if session.json:
        session.emit({"namespace": namespace_, "rootseq": root["rootseq"]})
    else:
        session.out(str(root["rootseq"]))


@click.command(
    "wait", cls=Command, **examples(("brokersim kvs wait 18", "returns when the version is 18 or more"))
)
@namespace_option
@click.argument("wanted", metavar="VERSION", type=click.IntRange(min=0))
@pass_session
def wait(session: Session, namespace_: str, wanted: int) -> None:
    """Wait until a namespace has reached a version; print its own."""
    request = {"rootseq": wanted, "namespace": namespace_}
    answer = session.rpc("kvs.wait-version", request, explain=explain_key(session, ".", namespace_))
    if session.json:
        session.emit(answer)
    else:
        session.out(str(answer["rootseq"]))


@click.group("namespace", cls=Group)
def namespace() -> None:
    """Create, remove and list namespaces."""


def _explain(name: str, session: Session) -> Explain:
    otherwise = explain_key(session, ".", name)

    def told(error: RequestError) -> CommandError | None:
        if error.errno == EEXIST:
            return answered(
                error, f"namespace {name!r} exists already", attempt="brokersim kvs namespace list"
            )
        return otherwise(error)

    return told


@namespace.command("create", **examples(("brokersim kvs namespace create mine", "")))
@click.argument("names", metavar="NS...", nargs=-1, required=True)
@pass_session
def create(session: Session, names: tuple[str, ...]) -> None:
    """Create empty namespaces."""
    for name in names:
        request = {"namespace": name, "rootref": treeobj.EMPTY_DIR_REF, "owner": -1, "flags": 0}
        session.rpc("kvs.namespace-create", request, rank=0, explain=_explain(name, session))
    if session.json:
        session.emit({"created": names})


@namespace.command("remove", **examples(("brokersim kvs namespace remove mine", "")))
@click.argument("names", metavar="NS...", nargs=-1, required=True)
@pass_session
def remove(session: Session, names: tuple[str, ...]) -> None:
    """Remove namespaces and all their keys."""
    for name in names:
        session.rpc("kvs.namespace-remove", {"namespace": name}, rank=0, explain=_explain(name, session))
    if session.json:
        session.emit({"removed": names})


@namespace.command("list", **examples(("brokersim kvs namespace list", "names, owners, flags")))
@list_options
@pass_session
def list_(session: Session) -> None:
    """List the namespaces."""
    answer = session.rpc("kvs.namespace-list")
    if session.json:
        session.emit(answer)
        return
    rows = [(one["namespace"], one["owner"], f"{one['flags']:#010x}") for one in answer["namespaces"]]
    session.table(("Namespace", "Owner", "Flags"), rows)
