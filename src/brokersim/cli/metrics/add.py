"""Knows ``metrics add``: a definition from words and options, ready-made ones, the module where it is not loaded."""

from __future__ import annotations

from typing import Any

import click

from brokersim.cli.command import Command, examples, pass_session
from brokersim.cli.errors import CommandError, nearest, usage_error
from brokersim.cli.metrics import words
from brokersim.cli.session import Session
from brokersim.cli.types import DURATION, Parsed
from brokersim.protocol.decoded import JsonObject
from brokersim.protocol.errnums import EEXIST, EINVAL, ENOSYS, RequestError
from brokersim.protocol.ranks import check_ranks

#: Stats that need no more than their name.
READY: dict[str, tuple[str, ...]] = {
    "counters": ("sum",),
    "content.load": ("average", "max", "quantile"),
    "content.store": ("average", "max", "quantile"),
    "job.state": ("average", "max", "quantile"),
}


@click.command(
    "add",
    cls=Command,
    **examples(
        ("brokersim metrics add counters", "messages of every module, over all ranks"),
        ("brokersim metrics add lat stream=rpc.time apply=quantile --by host", ""),
        ("brokersim metrics add hot stream=keys apply=sum --at 'sum>=1000'", ""),
    ),
)
@click.argument("name")
@click.argument("pairs", metavar="[stream=S apply=R,R ...]", nargs=-1)
@click.option("--by", metavar="FIELD,...", help="keep only these fields of the keys")
@click.option("--where", metavar="FIELD=GLOB,...", help="count only such keys")
@click.option("--mask", type=click.IntRange(0, 128), help="host becomes its network of N bits")
@click.option(
    "--break", "epoch", type=DURATION, metavar="FSD", help="end an epoch this often; 0 by hand  [15m]"
)
@click.option(
    "--at", type=Parsed("threshold", words.threshold), metavar="EXPR", help="tell what reaches sum>=1000"
)
@click.option("--expire", type=DURATION, metavar="FSD", help="the longest a collection takes  [5m]")
@click.option("--group", type=click.IntRange(1, 10_000), help="rows a frame  [50]")
@click.option("-r", "--rank", "ranks", type=Parsed("ranks", check_ranks), help="count on these  [all]")
@click.option("--param", multiple=True, metavar="NAME=VALUE", help="of a reducer: topk_size, alpha, ...")
@click.option(
    "--sink",
    multiple=True,
    metavar="KIND=TO",
    help="file=, rundb=, event=, log= or statsd=",
)
@click.option("--retain", is_flag=True, help="keep what was sent until it is known to be in")
@click.option("--compat", type=click.Choice(["zeek-2011"]), help="messages as the script of 2011 sends them")
@pass_session
def add(session: Session, /, name: str, pairs: tuple[str, ...], **options: object) -> None:
    """Count a stat on all ranks from now on."""
    definition = _definition(name, pairs, options)
    answer = _create(session, definition)
    if session.json:
        session.emit(answer)
        return
    if answer.get("note"):
        session.say(f"{name}: {answer['note']}")
    if not answer["is_new"]:
        session.say(f"{name} is counted already")
    for stream in _silent_streams(session, definition):
        session.say(
            f"{name}: a Flux's content module does not observe {stream}: nothing will come of it here"
        )


def _silent_streams(session: Session, definition: JsonObject) -> list[str]:
    """The ready-made streams of this stat that nobody observes in the instance asked, a real Flux."""
    wanted = [one["stream"] for one in definition["reducers"] if one["stream"].startswith("content.")]
    if not wanted:
        return []
    mods = session.rpc("module.list", {}, rank=0)["mods"]
    # Its own counters are told of each of our modules, and of none of Flux's.
    is_flux = any(mod["name"] == "content" and "tx" not in mod for mod in mods)
    return wanted if is_flux else []


def _definition(name: str, given: tuple[str, ...], options: JsonObject) -> JsonObject:
    try:
        sources = _sources(name, words.pairs(given, "metrics add"))
        common = _of_each_stream(options)
        sinks = [{kind: to} for kind, to in words.pairs(options["sink"], "--sink")]
    except ValueError as error:
        raise usage_error(str(error), attempt="brokersim metrics add --help") from None
    definition: JsonObject = {"name": name, "reducers": [{**source, **common} for source in sources]}
    wishes = {
        "epoch": options["epoch"], "threshold": options["at"], "timeout": options["expire"], "group": options["group"],
        "ranks": options["ranks"], "retain": options["retain"] or None, "compat": options["compat"],
        "sinks": sinks or None,
    }  # fmt: skip
    return definition | {key: value for key, value in wishes.items() if value is not None}


def _sources(name: str, given: list[tuple[str, str]]) -> list[JsonObject]:
    """One source for each ``stream=``, with the ``apply=`` behind it."""
    sources: list[JsonObject] = []
    for word, value in given:
        if word == "stream":
            sources.append({"stream": value, "apply": list(READY.get(value, ("sum",)))})
        elif word == "apply":
            if not sources:
                sources.append({"stream": name, "apply": []})
            sources[-1]["apply"] = value.split(",")
        else:
            raise ValueError(f"{word}= is not known here; give stream= and apply=, the rest are options")
    if not sources and name not in READY:
        near = nearest(name, READY)
        hint = f"did you mean {near}?" if near else f"ready-made ones are {', '.join(READY)}"
        raise ValueError(
            f"{name} is no ready-made stat: name what it counts, such as stream=rpc.time; {hint}"
        )
    return sources or [{"stream": name, "apply": list(READY[name])}]


def _of_each_stream(options: JsonObject) -> JsonObject:
    common: JsonObject = {}
    if options["by"] and options["mask"] is not None:
        raise ValueError("--by and --mask both change keys: give one of the two")
    if options["by"]:
        common["normalize"] = {"keep": options["by"].split(",")}
    if options["mask"] is not None:
        common["normalize"] = {"mask": options["mask"]}
    if options["where"]:
        common["where"] = dict(words.pairs(options["where"].split(","), "--where"))
    if options["param"]:
        common["params"] = {name: _param(value) for name, value in words.pairs(options["param"], "--param")}
    return common


def _param(value: str) -> Any:
    return [words.number(one) for one in value.split(",")] if "," in value else words.number(value)


def _create(session: Session, definition: JsonObject) -> JsonObject:
    """Have rank 0 create it; where nobody serves metrics the module is loaded on every rank first."""
    payload = {"definition": definition}
    session.trace("metrics.create", payload)
    try:
        answer: JsonObject = session.client.rpc("metrics.create", payload, 0)
    except RequestError as error:
        if error.errno != ENOSYS:
            raise _told(error) from None
        _check(definition)
        _load(session)
        try:
            answer = session.client.rpc("metrics.create", payload, 0)
        except RequestError as again:
            raise _told(again) from None
    return answer


def _check(definition: JsonObject) -> None:
    """By the module's own rules, before it is loaded on rank after rank for nothing. Raises CommandError."""
    from brokersim.host.loader import shipped_package  # imports the module's own package

    try:
        shipped_package("metrics").stat.read(definition)
    except ValueError as error:
        raise usage_error(str(error), attempt="brokersim metrics add --help") from None


def _told(error: RequestError) -> CommandError:
    hint = "" if error.errno != EEXIST else "brokersim metrics list"
    if error.errno == EINVAL:
        return usage_error(error.text or str(error), attempt="brokersim metrics add --help")
    return CommandError(error.text or str(error), attempt=hint, code=4)


def _load(session: Session) -> None:
    size = int(session.attribute("size"))
    for rank in range(size):
        session.rpc("module.load", {"path": "metrics", "args": []}, rank=rank)
    session.say(f"loaded metrics on {'rank 0' if size == 1 else f'ranks 0-{size - 1}'}")
