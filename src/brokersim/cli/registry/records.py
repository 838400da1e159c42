"""Knows the commands that list, show, write, remove and watch records of the registry."""

from __future__ import annotations

from functools import partial

import click
import msgspec

from brokersim.cli.command import Command, examples, list_options, pass_session
from brokersim.cli.errors import CommandError, answered
from brokersim.cli.session import Session
from brokersim.cli.types import Parsed, parse_object
from brokersim.protocol.decoded import JsonObject
from brokersim.protocol.errnums import ENOENT, ENOSYS, RequestError

#: Shown of a record in a table, where it has them.
_TITLES = ("ID", "Version", "Name", "Probe", "Metric", "Subject", "State")
_KEYS = ("id", "version", "name", "probe", "metric", "subject", "state")
_collection = click.argument(
    "collection", type=click.Choice(("nodes", "services", "measurements", "metadata"))
)


def explain(error: RequestError, collection: str = "services") -> CommandError | None:
    """What to type next where the registry cannot answer."""
    if error.errno == ENOSYS:
        return answered(error, "the module registry is not loaded", attempt="brokersim module load registry")
    if error.errno == ENOENT:
        return answered(error, error.text, attempt=f"brokersim registry list {collection}")
    return None


@click.command(
    "list",
    cls=Command,
    **examples(
        ("brokersim registry list measurements --sort -ts", "the newest first"),
        ("""brokersim registry list services --filter '{"state":"expired"}'""", ""),
    ),
)
@list_options
@click.option("--filter", "filter_", type=Parsed("filter", parse_object), metavar="JSON", help="those alone")
@click.option("--sort", default="", metavar="KEYS", help="comma-separated, - before a key turns it round")
@click.option("--limit", type=click.IntRange(min=0), metavar="N", help="at most so many")
@_collection
@pass_session
def list_(
    session: Session, /, filter_: dict[str, object] | None, sort: str, limit: int | None, collection: str
) -> None:
    """List the records of a collection."""
    wish = {"collection": collection, "filter": filter_ or {}, "sort": sort, "limit": limit}
    answer = session.rpc("registry.list", wish, rank=0, explain=explain)
    if session.json:
        session.emit(answer)
        return
    used = [any(key in record for record in answer["records"]) or key in ("id", "version") for key in _KEYS]
    titles = tuple(title for title, is_used in zip(_TITLES, used, strict=True) if is_used)
    keys = [key for key, is_used in zip(_KEYS, used, strict=True) if is_used]
    session.table(
        titles, [[record.get(key) for key in keys] for record in answer["records"]], drop=("Subject",)
    )


def _emit(session: Session, record: object) -> None:
    if session.json:
        session.emit(record)
    else:
        session.out(msgspec.json.format(msgspec.json.encode(record, order="sorted"), indent=2).decode())


@click.command(
    "get",
    cls=Command,
    **examples(
        ("brokersim registry get services s0", ""),
        ("brokersim registry get services s0 --version 3", "as it was"),
    ),
)
@click.option("--version", "version", type=click.IntRange(min=1), metavar="N", help="one of the last 16")
@_collection
@click.argument("ident", metavar="ID")
@pass_session
def get(session: Session, /, version: int | None, collection: str, ident: str) -> None:
    """Print a record as JSON."""
    wish = {"collection": collection, "id": ident, "version": version}
    _emit(
        session,
        session.rpc("registry.get", wish, rank=0, explain=partial(explain, collection=collection))["record"],
    )


@click.command(
    "put",
    cls=Command,
    **examples(
        ("""brokersim registry put services s0 '{"name":"s0"}' --if-version 0""", "a new one"),
        ("""brokersim registry put nodes n1 '{"rack":7}'""", "whatever is there"),
    ),
)
@click.option("--if-version", type=click.IntRange(min=0), metavar="N", help="only if it is at this version")
@_collection
@click.argument("ident", metavar="ID")
@click.argument("record", type=Parsed("record", parse_object))
@pass_session
def put(session: Session, /, if_version: int | None, collection: str, ident: str, record: JsonObject) -> None:
    """Write a record as a whole."""
    wish = {"collection": collection, "id": ident, "record": record, "if_version": if_version}
    [written] = session.rpc("registry.put", wish, rank=0, explain=explain)["records"]
    if session.json:
        session.emit(written)


@click.command("rm", cls=Command, **examples(("brokersim registry rm nodes n1", "its versions are kept")))
@_collection
@click.argument("ident", metavar="ID")
@pass_session
def rm(session: Session, /, collection: str, ident: str) -> None:
    """Delete a record."""
    wish = {"collection": collection, "id": ident, "if_version": None}
    [gone] = session.rpc("registry.delete", wish, rank=0, explain=partial(explain, collection=collection))[
        "records"
    ]
    if session.json:
        session.emit(gone)


@click.command(
    "watch", cls=Command, **examples(("brokersim registry watch", ""), ("brokersim registry watch nodes", ""))
)
@click.argument("collection", required=False, default="")
@pass_session
def watch(session: Session, /, collection: str) -> None:
    """Print changes as they come, until ^C."""
    changes = session.stream(
        "registry.watch", {"collection": collection}, rank=0, cancel="registry.cancel", explain=explain
    )
    for change in changes:
        if session.json:
            session.emit(change)
        else:
            session.out("{collection}/{id} {action}, version {version}".format_map(change))
