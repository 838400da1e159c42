"""Knows which files a result becomes in a folder: its JSON, and the page or the pictures beside it."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import msgspec

from brokersim.files import write_file
from brokersim.lab.result import Result
from brokersim.lab.show.plots import write_plots
from brokersim.lab.show.report import write_report


def write_files(results: Sequence[Result], folder: Path, pictures: str) -> list[Path]:
    """result.json (of several, NAME.json each) and html, svg, png or none beside it. Raises PlotError, OSError."""
    names = ["result"] if len(results) == 1 else [found.experiment for found in results]
    folder.mkdir(parents=True, exist_ok=True)
    written: list[Path] = []
    for name, found in zip(names, results, strict=True):
        path = folder / f"{name}.json"
        write_file(path, msgspec.json.encode(found.to_json()) + b"\n")
        written.append(path)
    if pictures == "html":
        written.append(write_report(results, folder / "index.html"))
    elif pictures != "none":
        written += [path for found in results for path in write_plots(found, folder, pictures)]
    return written
