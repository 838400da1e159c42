"""Lays out what Sphinx reads: the documents where their links find each other, pages made from commands and doors.

`python docs/site/stage.py FOLDER`. Doesn't know how they are rendered (conf.py).
"""

from __future__ import annotations

import re
import shutil
import sys
from collections.abc import Iterator
from pathlib import Path

from commands import overview, pages

ROOT = Path(__file__).resolve().parents[2]
#: The doors for programs, each with a sentence.
DOORS = {
    "brokersim": "an instance in a program",
    "brokersim.brokermod": "a module of one's own",
    "brokersim.testing": "instances, deltas, laws and faults in a test",
    "brokersim.statsd": "a client and an aggregator without a broker",
}
#: Pages by what somebody wants, first things first; docs that are in none of these stand under "more".
PARTS = {
    "Use": ("modules", "testing", "top", "workloads", "experiments", "intervals", "reports"),
    "statsd": ("statsd-server", "statsd-client", "statsd-dialects", "metrics", "interop"),
    "Flux": ("flux-compat", "real-flux", "../examples/flux_modules/README"),
    "How it works": ("architecture", "reactor", "security", "first-change"),
}


def stage(folder: Path) -> None:
    """Fill ``folder`` anew."""
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    for name in ("docs", "benchmarks", "examples"):
        shutil.copytree(
            ROOT / name, folder / name, ignore=shutil.ignore_patterns("site", "__pycache__", "*.pyc")
        )
    for name in ("CONTRIBUTING.md", "SECURITY.md", "CHANGELOG.md", "LICENSE"):
        shutil.copy(ROOT / name, folder / name)
    shutil.copy(Path(__file__).with_name("conf.py"), folder)
    _write(folder / "changes.md", "\n".join(_changes()))
    made = [*_command_pages(folder / "commands"), *_door_pages(folder / "api")]
    decisions = sorted(path.stem for path in (folder / "docs/decisions").glob("*.md"))
    _write(folder / "docs/decisions/index.md", "# Decisions\n\n" + _tree("", decisions))
    readme = (ROOT / "README.md").read_text()
    _write(folder / "index.md", readme + "\n" + "\n".join(_trees(folder, made)))
    for path in folder.rglob("*.md"):
        if path.name != "index.md" or path.parent != folder:
            _point_at_pages(path)
    _point_at_pages(folder / "index.md")


def _point_at_pages(path: Path) -> None:
    """README is the front page here, and a folder of documents is its index."""
    text = path.read_text()
    if path.parent.name not in ("examples", "benchmarks", "flux_modules"):
        text = re.sub(r"\]\(((?:\.\./)*)README\.md", r"](\1index.md", text)
    text = re.sub(r"\]\(((?:\.\./)*)changelog\.d/(?:README\.md)?\)", r"](\1changes.md)", text)
    text = re.sub(r"\]\(((?:\.\./)*(?:docs/)?decisions)/?\)", r"](\1/index.md)", text)
    text = re.sub(r"\]\(((?:\.\./)*examples/regression)/?\)", r"](\1/test_greeter.py)", text)
    path.write_text(text)


def _changes() -> Iterator[str]:
    """The fragments, by kind: what a release is going to say."""
    yield "# Changes since the last release\n"
    for kind in ("added", "changed", "fixed"):
        yield f"## {kind.capitalize()}\n"
        for path in sorted((ROOT / "changelog.d").glob(f"*.{kind}.md")):
            yield "- " + path.read_text().strip().replace("\n", "\n  ")
        yield ""


def _command_pages(folder: Path) -> Iterator[str]:
    names = []
    for name, sentence, text in pages():
        _write(folder / f"brokersim-{name}.md", text)
        names.append((name, sentence.rstrip(".")))
    _write(
        folder / "index.md",
        f"# Commands\n\n{overview()}\n" + _tree("", [f"brokersim-{name}" for name, _ in names]),
    )
    lines = [f"commands/brokersim-{name}\tbrokersim-{name}\t{sentence}" for name, sentence in names]
    _write(folder.parent / "man_pages", "\n".join(lines))
    yield "commands/index"


def _door_pages(folder: Path) -> Iterator[str]:
    for name, what in DOORS.items():
        _write(
            folder / f"{name}.md",
            f"# {name}: {what}\n\n```{{eval-rst}}\n.. automodule:: {name}\n   :imported-members:\n```\n",
        )
    _write(folder / "index.md", "# Python\n\n" + _tree("", list(DOORS)))
    yield "api/index"


def _trees(folder: Path, made: list[str]) -> Iterator[str]:
    known = {name for names in PARTS.values() for name in names}
    others = sorted(path.stem for path in (folder / "docs").glob("*.md") if path.stem not in known)
    for title, names in PARTS.items():
        yield _tree(title, [f"docs/{name}" for name in names])
    rest = [*[f"docs/{name}" for name in others], "docs/decisions/index", "benchmarks/README"]
    yield _tree("Reference", [*made, *rest, "CONTRIBUTING", "SECURITY", "changes", "CHANGELOG"])


def _tree(title: str, names: list[str]) -> str:
    caption = f":caption: {title}\n:hidden:\n" if title else ":maxdepth: 1\n"
    return f"```{{toctree}}\n{caption}\n" + "\n".join(names) + "\n```\n"


def _write(path: Path, text: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)


if __name__ == "__main__":
    stage(Path(sys.argv[1]))
