"""Knows the command that lists the probes there are."""

from __future__ import annotations

import click

from brokersim.cli.command import Command, examples, list_options, pass_session
from brokersim.cli.probe.read import probe_module
from brokersim.cli.session import Session


@click.command("list", cls=Command, **examples(("brokersim probe list", "and what each takes")))
@list_options
@pass_session
def list_(session: Session) -> None:
    """List the probes there are, what they read and what can be set."""
    probes = probe_module().PROBES
    rows = [[name, probe.summary, " ".join(probe.options)] for name, probe in sorted(probes.items())]
    if session.json:
        session.emit(
            {
                "probes": [
                    {
                        "name": name,
                        "summary": probe.summary,
                        "options": probe.options,
                        "metrics": sorted(probe.fields),
                    }
                    for name, probe in sorted(probes.items())
                ]
            }
        )
        return
    session.table(("Probe", "Reads", "Keys"), rows, drop=("Keys",))
