"""Knows the group of experiments; not what they are or how they are run (lab)."""

from __future__ import annotations

import click

from brokersim.cli.command import Group

_LAZY = {
    "calibrate": "brokersim.cli.bench.calibrate:calibrate",
    "journal": "brokersim.cli.bench.journal:journal",
}


class Experiments(Group):
    """Its commands are made from the experiments there are, each when it is asked for."""

    def list_commands(self, context: click.Context) -> list[str]:
        from brokersim.lab.experiments.registry import ALL

        return [*ALL, *super().list_commands(context)]

    def get_command(self, context: click.Context, name: str) -> click.Command | None:
        # Late: an experiment brings in an instance, and trio with it.
        from brokersim.lab.experiments.registry import ALL, experiment

        if name not in ALL:
            return super().get_command(context, name)
        from brokersim.cli.bench.made import command_of

        return command_of(experiment(name))

    def format_commands(self, context: click.Context, formatter: click.HelpFormatter) -> None:
        """The list of all, without an import of any."""
        from brokersim.lab.experiments.registry import ALL

        others = {name: self.get_command(context, name) for name in _LAZY}
        rows = [*ALL.items(), *((name, one.get_short_help_str(70)) for name, one in others.items() if one)]
        with formatter.section("Commands"):
            formatter.write_dl(rows)


@click.group("bench", cls=Experiments, lazy=_LAZY)
def bench() -> None:
    """Experiments: what instrumentation costs and how far it is from the truth."""
