"""The documents: each link leads somewhere, each command exists, and the site takes in new ones by itself."""

from __future__ import annotations

import re
import shlex
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import click
import pytest

from brokersim.cli.command import Group
from brokersim.cli.errors import CommandError
from brokersim.cli.session import Session
from brokersim.cli.surface import _LAZY, cli
from tests.cli.test_surface import walk

ROOT = Path(__file__).resolve().parent.parent
DOCUMENTS = sorted(
    [
        *ROOT.glob("*.md"),
        *(ROOT / "docs").rglob("*.md"),
        *(ROOT / "benchmarks").glob("*.md"),
        *(ROOT / "examples").rglob("*.md"),
    ]
)
#: What a reader puts something else in place of, or an option among others: no command line as it stands.
_PLACES = re.compile(r"[A-Z]{2,}|…|\.\.\.|[|\[\]<>]|\b[A-Z]\b|'$")
_FENCE = re.compile(r"^ *```.*?^ *```", re.MULTILINE | re.DOTALL)


def name(path: Path) -> str:
    return str(path.relative_to(ROOT))


def links(path: Path) -> Iterator[str]:
    text = re.sub(r"`[^`]*`", "", _FENCE.sub("", path.read_text()))
    yield from re.findall(r"\]\((?!https?:|mailto:)([^)\s]+)\)", text)


def anchors(path: Path) -> set[str]:
    """Of its headings, as GitHub makes them."""
    heads = re.findall(r"^#+ (.*)$", _FENCE.sub("", path.read_text()), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", head.lower()).replace(" ", "-") for head in heads}


@pytest.mark.parametrize("path", DOCUMENTS, ids=name)
def test_every_link_leads_to_a_file_and_a_heading(path: Path) -> None:
    for link in links(path):
        target, _, heading = link.partition("#")
        there = (path.parent / target).resolve() if target else path
        assert there.exists(), link
        if heading:
            assert heading in anchors(there), link


def mentions(path: Path) -> Iterator[list[str]]:
    """Words of each command that a line of text names, with or without what it needs."""
    for line in re.findall(r"`(brokersim [^`]+)`", _FENCE.sub("", path.read_text(encoding="utf-8"))):
        if not _PLACES.search(line):
            yield shlex.split(line)


def commands(path: Path) -> Iterator[list[str]]:
    """Words of each `$ brokersim ...` of its blocks, up to what the shell does with it."""
    text = path.read_text(encoding="utf-8")
    for block in re.findall(r"^ *```\w*\n(.*?)^ *```", text, re.MULTILINE | re.DOTALL):
        for line in block.replace("\\\n", " ").splitlines():
            if line.strip().startswith("$ "):
                for part in re.split(r"[|&;>]+", line.strip()[2:].split("  #")[0]):
                    words = shlex.split(part) if part.count("'") % 2 == 0 else []
                    if words[:1] == ["brokersim"] and "..." not in words and "…" not in words:
                        yield words


TYPED = [(name(path), words) for path in DOCUMENTS for words in commands(path)]


MENTIONED = [(name(path), words) for path in DOCUMENTS for words in mentions(path)]


@pytest.mark.parametrize(("where", "words"), MENTIONED, ids=[" ".join(words)[:80] for _, words in MENTIONED])
def test_every_command_that_is_named_has_the_options_it_is_named_with(
    where: str, words: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(ROOT)
    told = refused(words)
    assert told is None or "Missing" in told, f"{where}: {told}"


@pytest.mark.parametrize(("where", "words"), TYPED, ids=[" ".join(words)[:80] for _, words in TYPED])
def test_every_command_of_the_documents_is_one_that_exists(
    where: str, words: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(ROOT)
    told = refused(words)
    # A file of the reader's is not here.
    for reason in (told,) if told else ():
        assert any(one in reason for one in ("does not exist", "No such file", "cannot be read")), (
            f"{where}: {reason}"
        )


def refused(words: list[str]) -> str | None:
    """Why such a command is none; nothing is run."""
    rest = words[1:]
    if rest[-1:] in (["-h"], ["--help"], ["--version"]):
        return None
    context = click.Context(cli, info_name="brokersim", obj=Session())
    command: click.Command = cli
    while isinstance(command, Group):
        at = next((at for at, word in enumerate(rest) if word in command.list_commands(context)), None)
        if at is None:
            return "Missing command" if not rest else f"no command in {words}"
        found = command.get_command(context, rest[at])
        assert found is not None
        command, rest = found, rest[:at] + rest[at + 1 :] if command is not cli else rest[at + 1 :]
    try:
        command.make_context(command.name, list(rest), parent=context)
    except (click.UsageError, CommandError) as error:
        return str(error)
    return None


def test_the_site_has_a_page_a_command_and_all_documents(tmp_path: Path) -> None:
    staged = tmp_path / "source"
    done = subprocess.run(
        [sys.executable, str(ROOT / "docs/site/stage.py"), str(staged)],
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert done.returncode == 0, done.stderr
    manual = (tmp_path / "source/man_pages").read_text().splitlines()
    assert [line.split("\t")[1] for line in manual] == [
        f"brokersim-{one}" for one in cli.list_commands(click.Context(cli))
    ]
    for path, _ in walk(cli):
        page = (staged / f"commands/brokersim-{path[0]}.md").read_text()
        assert re.search(rf"^#+ brokersim {' '.join(path)}$", page, re.MULTILINE), path
    front = (staged / "index.md").read_text()
    for document in (ROOT / "docs").glob("*.md"):
        assert f"docs/{document.stem}\n" in front
    assert set(_LAZY) <= {path[0] for path, _ in walk(cli)}
    assert "**" not in (staged / "changes.md").read_text().partition("## Added")[0]
