"""Knows the group of experiments; not what they are or how they are run (lab)."""

from __future__ import annotations

import click

from brokersim.cli.command import Group

_LAZY = {
    "intervals": "brokersim.cli.bench.intervals:intervals",
    "journal": "brokersim.cli.bench.journal:journal",
}


class Experiments(Group):
    """Its commands are made from the experiments there are, each when it is asked for."""

    def list_commands(self, context: click.Context) -> list[str]:
        from brokersim.lab.experiments.registry import NAMES

        return [*NAMES, *super().list_commands(context)]

    def get_command(self, context: click.Context, name: str) -> click.Command | None:
        # Late: an experiment brings in an instance, and trio with it.
        from brokersim.lab.experiments.registry import NAMES, experiment

        if name not in NAMES:
            return super().get_command(context, name)
        from brokersim.cli.bench.made import command_of

        return command_of(experiment(name))


@click.group("bench", cls=Experiments, lazy=_LAZY)
def bench() -> None:
    """Experiments: what instrumentation costs and how far it is from the truth."""
