"""Flux and Slurm, played by scripts on PATH that keep what they were given and say what they were told."""

from __future__ import annotations

import stat
from pathlib import Path

#: Keeps what it was given; says what stands in said.NAME, exits with what stands in exit.NAME.
STUB = """#!/bin/sh
name=$(basename "$0"); here=$(dirname "$0")
printf '%s\\n' "$@" > "$here/seen.$name"
env | grep BROKERSIM_ELEMENT >> "$here/seen.$name"
cat "$here/said.$name" 2>/dev/null
cat "$here/errors.$name" >&2 2>/dev/null
exit $(cat "$here/exit.$name" 2>/dev/null || echo 0)
"""


class Engine:
    """Scripts in the place of an engine's commands."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        folder.mkdir()
        for name in ("sbatch", "squeue", "sacct", "scontrol", "flux"):
            path = folder / name
            path.write_text(STUB)
            path.chmod(path.stat().st_mode | stat.S_IXUSR)

    def says(self, name: str, text: str, code: int = 0, errors: str = "") -> None:
        (self.folder / f"said.{name}").write_text(text)
        (self.folder / f"exit.{name}").write_text(str(code))
        (self.folder / f"errors.{name}").write_text(errors)

    def seen(self, name: str) -> list[str]:
        return (self.folder / f"seen.{name}").read_text().splitlines()
