"""Knows how the table that completions are answered from is made of the commands; not how it is read.

``make completions`` writes it anew; a test holds it to the commands. A line a command: its name, a tab, a JSON object.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import click
import msgspec

from brokersim.cli.kvs import complete_key
from brokersim.cli.module import complete_module
from brokersim.cli.quick.completing import TABLE
from brokersim.cli.surface import cli
from brokersim.cli.types import IntMask, Parsed, Words
from brokersim.protocol.decoded import JsonObject

_LIVE: dict[Any, str] = {complete_key: "key", complete_module: "module"}
_ASIDE = ["aside"]


def table() -> str:
    """Of all commands, as it lies beside `quick/completing.py`."""
    lines = (f"{path}\t{msgspec.json.encode(row).decode()}\n" for path, row in _rows(cli, None, ""))
    return "\n" + "".join(lines)


def _rows(
    command: click.Command, parent: click.Context | None, path: str
) -> Iterator[tuple[str, JsonObject]]:
    with click.Context(command, parent=parent, info_name=path, **command.context_settings) as context:
        params = command.get_params(context)
        options = [_option(command, one) for one in params if isinstance(one, click.Option)]
        if not isinstance(command, click.Group):
            arguments = [(one.nargs, _how(one)) for one in params if isinstance(one, click.Argument)]
            scattered = context.allow_interspersed_args
            yield path, {"options": options, "arguments": arguments, "scattered": scattered}
            return
        found = ((name, command.get_command(context, name)) for name in command.list_commands(context))
        shown = [(name, one) for name, one in found if one is not None]
        commands = [(name, one.get_short_help_str()) for name, one in shown]
        yield path, {"options": options, "commands": commands}
        for name, one in shown:
            yield from _rows(one, context, f"{path} {name}".strip())


def _option(command: click.Command, option: click.Option) -> list[Any]:
    names = [*option.opts, *option.secondary_opts]
    alone = getattr(command, "optional", {})
    how = _ASIDE if option.nargs != 1 or any(name in alone for name in names) else _how(option)
    flag = option.is_flag or option.count
    return [names, option.name, int(flag), int(option.multiple), int(option.hidden), option.help, how]


def _how(param: click.Parameter) -> list[str] | None:
    """What completes a value: nothing, words, files, the instance; ``aside`` for what only click can ask."""
    own = param._custom_shell_complete  # click has no other way to ask for it
    if own is not None:
        return ["words", *own.known] if isinstance(own, Words) else [_LIVE.get(own, *_ASIDE)]
    kind = param.type
    if isinstance(kind, IntMask):
        return ["mask"]
    if isinstance(kind, Parsed):
        return ["commas", *kind.words] if kind.words else None
    if isinstance(kind, click.Choice):
        return ["words", *map(str, kind.choices)] if kind.case_sensitive else _ASIDE
    if isinstance(kind, click.Path | click.File):
        return ["dir" if isinstance(kind, click.Path) and kind.dir_okay and not kind.file_okay else "file"]
    return None if type(kind).shell_complete is click.ParamType.shell_complete else _ASIDE


if __name__ == "__main__":
    with open(TABLE, "w", encoding="utf-8") as file:
        file.write(table())
