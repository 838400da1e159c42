"""Knows what all commands share: common options, help with examples first, lazy groups; no command itself."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from importlib import import_module
from typing import Any, TypeAlias, TypeVar

import click
from click.core import ParameterSource

from brokersim.cli.errors import nearest, usage_error
from brokersim.cli.session import Session
from brokersim.cli.types import DURATION
from brokersim.protocol.decoded import JsonObject

F = TypeVar("F", bound=Callable[..., Any])
#: What click hands a command of many options: each by its name, and as its own type has converted it.
Given: TypeAlias = Mapping[str, Any]
Examples = Sequence[tuple[str, str]]
pass_session = click.make_pass_decorator(Session)
HELP_NAMES = {"help_option_names": ["-h", "--help"]}
#: Characters of a line of help, however wide a terminal is.
LINE = 80
#: Examples of a group that has none of its own: with as many the longest list of commands fits 24 lines.
GROUP_EXAMPLES = 3
#: After the first argument everything belongs to the command that is to be run.
RUNS_COMMAND = {**HELP_NAMES, "allow_interspersed_args": False}


def setting(*names: str, field: str, **options: Any) -> Callable[[F], F]:
    """An option that ends up in the session, not in the command's arguments."""

    def store(context: click.Context, _param: click.Parameter, value: object) -> None:
        # Given before the command's name and not after it, a setting must not be undone by the default.
        if context.get_parameter_source(field) == ParameterSource.COMMANDLINE:
            setattr(context.ensure_object(Session), field, value)

    return click.option(*names, field, callback=store, expose_value=False, **options)


def list_options(command: F) -> F:
    """``--tsv`` and ``-n``: for every command that prints a list."""
    command = setting("-n", "--no-header", field="header", is_flag=True, flag_value=False, help="no titles")(
        command
    )
    return setting("--tsv", field="tsv", is_flag=True, help="tab-separated")(command)


def _nothing() -> None:
    """Carries the options below until they are taken off it."""


def _common() -> list[click.Parameter]:
    carrier: Any = _nothing
    options = (
        setting("--json", field="json", is_flag=True, help="JSON on stdout"),
        setting("-u", "--uri", field="uri", metavar="URI|NAME", hidden=True),
        setting("--timeout", field="timeout", type=DURATION, hidden=True),
        setting("--debug", field="debug", is_flag=True, hidden=True),
        setting("--quiet", field="quiet", is_flag=True, hidden=True),
        setting("--verbose", field="verbose", is_flag=True, hidden=True),
        setting("--color", field="color", type=COLOR, hidden=True),
    )
    for option in options:
        carrier = option(carrier)
    params: list[click.Parameter] = carrier.__dict__.pop("__click_params__")
    return params


COLOR = click.Choice(["auto", "always", "never"])


class Command(click.Command):
    """A command with the common options, examples first in its help, and getopt's optional values.

    ``optional`` maps an option that may stand alone to the value it then has: ``{"-R": "self"}``. Only
    ``-Rchildren`` and ``--rusage=children`` give another, as in getopt: ``-R kvs`` leaves ``kvs`` alone.
    """

    def __init__(
        self, *args: Any, examples: Examples = (), optional: Mapping[str, str] | None = None, **options: Any
    ) -> None:
        options["context_settings"] = {**HELP_NAMES, **options.get("context_settings", {})}
        super().__init__(*args, **options)
        self.examples = examples
        self.optional = {"--color": "always", **(optional or {})}
        taken = {name for param in self.params for name in param.opts}
        for param in _common():
            # ping has a -u of its own, and keeps --uri.
            param.opts = [name for name in param.opts if name not in taken]
            self.params += [param] if param.opts else []

    def parse_args(self, context: click.Context, args: list[str]) -> list[str]:
        end = args.index("--") if "--" in args else len(args)
        if not context.allow_interspersed_args:
            end = min(end, _first_argument(args))
        return super().parse_args(context, [*map(self._filled, args[:end]), *args[end:]])

    def _filled(self, word: str) -> str:
        value = self.optional.get(word)
        if value is None:
            return word
        return f"{word}={value}" if word.startswith("--") else f"{word}{value}"

    def format_help(self, context: click.Context, formatter: click.HelpFormatter) -> None:
        write_examples(formatter, self.examples)
        self.format_usage(context, formatter)
        self.format_help_text(context, formatter)
        self.format_options(context, formatter)


def _first_argument(args: Sequence[str]) -> int:
    return next((at for at, word in enumerate(args) if not word.startswith("-")), len(args))


class Group(click.Group):
    """A group whose commands may live in modules that are imported only when one is called.

    ``lazy`` maps a name to ``module:attribute``; an unknown name is answered with the nearest one. Its help shows
    ``examples`` first, or the first one of each of its first commands, and clips nothing.
    """

    command_class = Command

    def __init__(
        self, *args: Any, lazy: Mapping[str, str] | None = None, examples: Examples = (), **options: Any
    ) -> None:
        options["context_settings"] = {**HELP_NAMES, **options.get("context_settings", {})}
        options["no_args_is_help"] = False  # an error of three lines, not the whole help on stderr
        super().__init__(*args, **options)
        self._lazy = dict(lazy or {})
        self._examples = examples

    def list_commands(self, context: click.Context) -> list[str]:
        return [*self.commands, *self._lazy]  # as they were defined: the common ones first

    def get_command(self, context: click.Context, name: str) -> click.Command | None:
        where = self._lazy.get(name)
        if where is None:
            return super().get_command(context, name)
        module, _, attribute = where.partition(":")
        command: click.Command = getattr(import_module(module), attribute)
        return command

    def format_help(self, context: click.Context, formatter: click.HelpFormatter) -> None:
        commands = self._shown(context)
        firsts = [one.examples[0] for _, one in commands if isinstance(one, Command) and one.examples]
        write_examples(formatter, self._examples or firsts[:GROUP_EXAMPLES])
        self.format_usage(context, formatter)
        self.format_help_text(context, formatter)
        with formatter.section("Commands"):
            # The whole first sentence, folded: click would cut it.
            formatter.write_dl(
                [(name, command.get_short_help_str(limit=10_000)) for name, command in commands]
            )

    def _shown(self, context: click.Context) -> list[tuple[str, click.Command]]:
        found = ((name, self.get_command(context, name)) for name in self.list_commands(context))
        return [(name, command) for name, command in found if command is not None]

    def resolve_command(
        self, context: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        name = args[0]
        if self.get_command(context, name) is None and not name.startswith("-"):
            near = nearest(name, self.list_commands(context))
            raise usage_error(
                f"no command {name!r} in '{context.command_path}'",
                hint=f"a similar one is: {near}" if near else "",
                attempt=f"{context.command_path} --help",
            )
        return super().resolve_command(context, args)


def write_examples(formatter: click.HelpFormatter, lines: Examples) -> None:
    """Examples in two columns: they are to be copied, so they are not folded; a long one has its meaning below it."""
    width = max((len(command) for command, _ in lines), default=0)
    if not all(_fits(width, meaning) for _, meaning in lines):
        width = 0
    for command, meaning in lines:
        one = _fits(max(width, len(command)), meaning)
        between = "  " if one else "\n      "
        formatter.write(f"  {command:<{width}}{between}{meaning}".rstrip() + "\n")
    if lines:
        formatter.write("\n")


def _fits(width: int, meaning: str) -> bool:
    return 2 + width + 2 + len(meaning) <= LINE


def examples(*lines: tuple[str, str]) -> JsonObject:
    """Keyword arguments of a command for its examples: ``@group.command("x", **examples(("...", "...")))``."""
    return {"examples": lines}
