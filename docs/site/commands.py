"""Knows how a page on a command is made from the command itself, as Markdown; nothing of Sphinx.

A new command or group has its page without a line here.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from textwrap import dedent

import click

from brokersim.cli.command import Group
from brokersim.cli.surface import cli
from brokersim.cli.told import HELP


def pages() -> Iterator[tuple[str, str, str]]:
    """(file name, first sentence, text) of every command at the top; a group's page has all of its commands."""
    for name, command in _members(cli, click.Context(cli, info_name="brokersim")):
        yield name, command.get_short_help_str(limit=1000), "\n".join(_page(command, name))


def overview() -> str:
    """All commands on one page: the help of ``brokersim`` itself."""
    return f"```text\n{HELP}\n```\n"


def _page(command: click.Command, name: str) -> Iterator[str]:
    context = click.Context(cli, info_name="brokersim")
    yield from _section(command, click.Context(command, info_name=name, parent=context), 1)


def _section(command: click.Command, context: click.Context, depth: int) -> Iterator[str]:
    yield f"{'#' * depth} {context.command_path}\n"
    yield from _prose(command.help or "")
    if isinstance(command, Group):
        for name, member in _members(command, context):
            yield from _section(member, click.Context(member, info_name=name, parent=context), depth + 1)
        return
    examples = getattr(command, "examples", ())
    width = max((len(line) for line, _ in examples), default=0)
    yield "```console"
    for line, meaning in examples:
        yield f"$ {line:<{width}}  # {meaning}" if meaning else f"$ {line}"
    yield "```\n"
    yield f"Usage: `{command.get_usage(context).removeprefix('Usage: ')}`\n"
    for param in command.params:
        record = param.get_help_record(context)
        if record is not None:
            yield f"`{record[0]}`\n: {_plain(record[1]) or '(no words)'}\n"


def _members(group: Group, context: click.Context) -> Iterator[tuple[str, click.Command]]:
    for name in group.list_commands(context):
        command = group.get_command(context, name)
        if command is not None and not command.hidden:
            yield name, command


def _prose(text: str) -> Iterator[str]:
    """Paragraphs; what click is told not to fold (``\\b``) stands as it is."""
    for paragraph in dedent(text).strip().split("\n\n"):
        if paragraph.startswith("\b"):
            yield f"```text\n{paragraph[1:].strip(chr(10))}\n```\n"
        else:
            yield f"{_plain(paragraph)}\n"


def _plain(text: str) -> str:
    """The words as they are: Markdown would take some of their characters for its own."""
    return re.sub(r"([\\`*_{}\[\]<>#|$~])", r"\\\1", " ".join(text.split()))
