"""Knows the command that prints a shell's completion script."""

from __future__ import annotations

import click
from click.shell_completion import get_completion_class

from brokersim.cli.command import Command, examples, pass_session
from brokersim.cli.session import Session

_VARIABLE = "_BROKERSIM_COMPLETE"


@click.command(
    "completion",
    cls=Command,
    **examples(
        ('eval "$(brokersim completion bash)"', "in ~/.bashrc"),
        ('eval "$(brokersim completion zsh)"', "in ~/.zshrc"),
        ("brokersim completion fish | source", "in config.fish"),
    ),
)
@click.argument("shell", type=click.Choice(["bash", "zsh", "fish"]))
@pass_session
def completion(session: Session, shell: str) -> None:
    """Print a completion script; modules, services and keys come from the live instance."""
    source = _script(click.get_current_context().find_root(), shell)
    if session.json:
        session.emit({"shell": shell, "script": source})
    else:
        session.out(source)


def _script(root: click.Context, shell: str) -> str:
    kind = get_completion_class(shell)
    assert kind is not None, shell
    made = kind(root.command, {}, "brokersim", _VARIABLE)
    # click's bash class runs bash to learn its version; the text itself needs none of that.
    return made.source_template % made.source_vars()
