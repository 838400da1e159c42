"""Knows where this machine's Flux is: its command, its version, its headers. Doesn't start it."""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path

import attrs

#: Seconds `flux version` may take; it starts nothing.
_PATIENCE = 30.0
#: What makes a folder one of Flux's headers.
_HEADER = Path("flux", "core.h")


class NoFlux(RuntimeError):
    """There is no Flux that would do, or something of it is missing: what, and what would be right."""


@attrs.frozen(kw_only=True)
class Flux:
    """A Flux: its command, and what that calls itself (``flux-core 0.88.0``)."""

    command: Path
    version: str

    @property
    def headers(self) -> Path:
        """The folder with ``flux/core.h``. Raises NoFlux."""
        looked = [
            self.command.resolve().parent.parent / "include",
            Path("/usr/include"),
            Path("/usr/local/include"),
        ]
        for folder in looked:
            if (folder / _HEADER).is_file():
                return folder
        raise NoFlux(
            f"the headers of {self.command} are not here: no flux/core.h in {', '.join(map(str, looked))}; "
            "install Flux's development package"
        )


def find_flux(given: str | None = None) -> Flux:
    """The Flux that was named, else the one on PATH. Raises NoFlux that says what is missing."""
    found = shutil.which(given or "flux")
    if found is None:
        where = f"no Flux at {given}" if given else "no `flux` on PATH"
        raise NoFlux(f"{where}; name one with --flux /path/to/flux")
    try:
        told = subprocess.run(
            [found, "version"],
            capture_output=True,
            text=True,
            timeout=_PATIENCE,
            env=environment(),
            check=False,
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        raise NoFlux(f"{found} version: {error}") from None
    versions = [line.split()[-1] for line in told.stdout.splitlines() if line.startswith("libflux-core")]
    if told.returncode or not versions:
        raise NoFlux(f"{found} is no Flux: `{found} version` names no libflux-core")
    return Flux(command=Path(found), version=f"flux-core {versions[0]}")


def environment() -> dict[str, str]:
    """Ours, without what would have a Flux command talk to another instance or our statistics go somewhere."""
    left_out = ("FLUX_URI", "BROKERSIM_URI", "FLUX_FRIPP_STATSD", "BROKERSIM_STATS")
    return {name: value for name, value in os.environ.items() if name not in left_out}
