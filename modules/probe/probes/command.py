"""Knows probes that run something: any command whose output has metrics in it, and Nagios plugins."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from importlib import import_module
from typing import Any, ClassVar

from brokersim.brokermod import RequestError

from .. import parse
from ..answers import FIELDS, RESERVED
from ..contract import COUNTER, GAUGE, STATE, Context, Field, Probe
from ..execution import Ended, Wish, words
from ..perfdata import Item, parse_output, state_of
from .expand import expand


class Failed(Exception):
    """A command ended in a way that is none of its good ones."""


def to_wish(config: Mapping[str, Any]) -> Wish:
    """What to run, said in one of four ways. Raises ValueError."""
    given = [key for key in ("command", "argv", "pipeline", "shell") if config.get(key)]
    if len(given) != 1:
        raise ValueError(f"give one of command, argv, pipeline, shell, not {' and '.join(given) or 'none'}")
    cwd = config.get("cwd") or None
    if config.get("shell"):
        return Wish(programs=(("/bin/sh", "-c", config["shell"]),), cwd=cwd)
    if config.get("pipeline"):
        programs = tuple(words(one, "a part of pipeline") for one in config["pipeline"])
        return Wish(programs=programs, cwd=cwd)
    argv = config.get("argv") or expand(config["command"], config.get("args") or {})
    return Wish(programs=(words(argv, "argv"),), cwd=cwd)


class Command(Probe):
    """Metrics in the output of a command, by ``regex`` (named groups) or ``parse: json`` and ``metrics``.

    A command that ends otherwise than ``ok_exit`` says is a failed run; output without a match is none.
    """

    summary = "metrics in a command's output, by regular expressions or JSON pointers"
    options: ClassVar[dict[str, Any]] = {
        "command": "", "argv": [], "pipeline": [], "shell": "", "args": {}, "cwd": "", "ok_exit": [0], "regex": None,
        "flags": "M", "match": "first", "parse": "regex", "metrics": {}, "convert": {}, "transform": "",
    }  # fmt: skip

    @classmethod
    def inline_only(cls, config: Mapping[str, Any]) -> str:
        return "it runs in a process of its own already"

    @classmethod
    def check(cls, config: Mapping[str, Any]) -> None:
        to_wish(config)
        if config.get("match", "first") not in ("first", "all"):
            raise ValueError(f"match must be first or all, not {config['match']!r:.40}")
        parse.check_conversions(config.get("convert") or {})
        kind = config.get("parse", "regex")
        if kind == "json":
            parse.check_pointers(config.get("metrics") or {})
        elif kind == "regex" and config.get("regex"):
            parse.compiled(config["regex"], config.get("flags", "M"))
        else:
            raise ValueError("give a regex with named groups, or parse: json with metrics")

    def open(self, context: Context) -> None:
        super().open(context)
        self._wish = to_wish(self.config)
        is_json = self.config["parse"] == "json"
        self._patterns = [] if is_json else parse.compiled(self.config["regex"], self.config["flags"])
        self._transform = to_function(self.config["transform"])

    async def read(self) -> Any:
        """Run it and read what it printed."""
        ended: Ended = await self.context.ask.run(self._wish)
        if ended.trouble or ended.code not in self.config["ok_exit"]:
            raise Failed(ended.trouble or f"exit code {ended.code}: {ended.last_words()}".rstrip(": "))
        answer = self._parse(ended.stdout)
        return answer if self._transform is None else self._transform(answer)

    def _parse(self, data: bytes) -> Any:
        if self.config["parse"] == "json":
            return parse.as_json(data, self.config["metrics"])
        text, every = data.decode(errors="replace"), self.config["match"] == "all"
        found = parse.matched(text, self._patterns, self.config["convert"], every)
        answers = [{one.pop(parse.SUBJECT): one} if parse.SUBJECT in one else one for one in found]
        return answers if every else answers[0] if answers else None


def to_function(name: str) -> Callable[[Any], Any] | None:
    """``module:function``, None for none. Raises ValueError that says what is missing."""
    if not name:
        return None
    module, _, attribute = name.partition(":")
    try:
        found = getattr(import_module(module), attribute)
    except (ImportError, AttributeError, ValueError) as error:
        raise ValueError(f"transform {name!r:.60}: {error}") from None
    if not callable(found):
        raise ValueError(f"transform {name!r:.60} is no function")
    return found  # type: ignore[no-any-return]


class Nagios(Probe):
    """A Nagios plugin: its state by exit code, its text, each item of its performance data as a metric."""

    summary = "state and performance data of a Nagios plugin"
    fields: ClassVar[dict[str, Field]] = {
        "state": Field(unit="", kind=STATE),
        "bad_items": Field(unit="{item}"),
    }
    options: ClassVar[dict[str, Any]] = {"command": "", "argv": [], "args": {}, "cwd": ""}
    inline_only = Command.inline_only

    @classmethod
    def check(cls, config: Mapping[str, Any]) -> None:
        to_wish(config)

    def open(self, context: Context) -> None:
        super().open(context)
        self._wish = to_wish(self.config)
        self._has_bad = False

    async def read(self) -> Any:
        """Run it; whatever becomes of it, it has a state."""
        try:
            ended: Ended = await self.context.ask.run(self._wish)
        except RequestError as error:
            state, reason = state_of(None, error.text or str(error))
            return {"state": state, "text": reason}
        state, reason = state_of(ended.code, ended.trouble)
        output = parse_output(ended.stdout)
        answer: dict[str, Any] = {"state": state, "text": reason or output.text}
        # Once there were some it is said that there are none: a gauge that is not sent keeps what it was.
        self._has_bad = self._has_bad or bool(output.bad)
        if self._has_bad:
            answer["bad_items"] = output.bad
        there = {metric_of(item): item for item in output.items if item.value is not None}
        answer[FIELDS] = {name: said_of(item) for name, item in there.items()}
        return answer | {name: item.value for name, item in there.items()}


def metric_of(item: Item) -> str:
    """The label of an item; one that means something else here gets an underscore."""
    return f"{item.label}_" if item.label in RESERVED or item.label in Nagios.fields else item.label


def said_of(item: Item) -> dict[str, str]:
    """Its unit is the plugin's, word for word; ``c`` makes it a counter."""
    return {"unit": item.unit or "1", "kind": COUNTER if item.is_counter else GAUGE}
