"""docs/flux-compat.md: every cell that names a test names one there is; what is said to be the same has one."""

from __future__ import annotations

import ast
import re
from pathlib import Path

ROOT = Path(__file__).parents[2]
DOC = ROOT / "docs" / "flux-compat.md"
#: Sections of figures, which are made by a runner.
MEASURED = ("Flux's own tests", "Messages of an operation")
ROW = re.compile(r"^\| (?P<what>.+) \| (?P<here>.+) \| (?P<test>`[^`]+`|–) \|$")


def rows() -> list[re.Match[str]]:
    sections = re.split(r"^## ", DOC.read_text(), flags=re.MULTILINE)
    said = "\n".join(one for one in sections if not one.startswith(MEASURED))
    lines = [line for line in said.splitlines() if line.startswith("| ") and "shown by" not in line]
    found = [ROW.match(line) for line in lines]
    assert all(found), [line for line, match in zip(lines, found, strict=True) if match is None]
    return [match for match in found if match is not None]


def test_each_test_named_exists() -> None:
    missing = []
    for row in rows():
        if row["test"] == "–":
            continue
        file, _, name = row["test"].strip("`").partition("::")
        path = ROOT / "tests" / file
        tree = ast.parse(path.read_text()) if path.exists() else ast.Module(body=[], type_ignores=[])
        names = {node.name for node in tree.body if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef))}
        if not path.exists() or (name and name not in names):
            missing.append(row["test"])
    assert missing == []


def test_only_what_is_absent_or_limited_goes_without_a_test() -> None:
    for row in rows():
        if row["test"] == "–":
            assert row["here"].startswith("absent"), row[0]


def test_the_tables_cover_commands_rfcs_and_the_module_api() -> None:
    titles = re.findall(r"^## (.+)$", DOC.read_text(), re.MULTILINE)
    assert [title.partition(":")[0] for title in titles] == [
        "Commands", *MEASURED, "RFC 3", "RFC 5", "RFC 6", "RFC 11", "Python module API"
    ]  # fmt: skip
    assert len(rows()) > 70
