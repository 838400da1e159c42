"""Names the tests of what changed against the main branch: for `make quick`. Prints nothing if there are none.

A changed file of src or modules means the tests called like it, or the whole room if none is; a changed test itself.
"""

from __future__ import annotations

import subprocess
from collections.abc import Iterable, Iterator
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent


def changed() -> list[str]:
    """Paths of files that differ from where this branch left main, those not yet added included."""
    base = _git("merge-base", "HEAD", "main") or ["HEAD"]
    return _git("diff", "--name-only", base[0]) + _git("ls-files", "--others", "--exclude-standard")


def _git(*words: str) -> list[str]:
    found = subprocess.run(["git", *words], cwd=ROOT, capture_output=True, text=True, check=False)
    return found.stdout.split("\n")[:-1] if found.returncode == 0 else []


def which_tests(paths: Iterable[str], root: Path = ROOT) -> list[str]:
    """Test files and folders, each once, in order."""
    found = dict.fromkeys(test for path in paths for test in _tests_of(Path(path), root))
    return [str(test) for test in found if not any(parent in found for parent in test.parents)]


def _tests_of(path: Path, root: Path) -> Iterator[Path]:
    if path.parent == Path("src/brokersim/native") and path.suffix in (".c", ".h"):
        yield Path("tests/native")
    if path.suffix != ".py":
        return
    if path.parts[0] == "tests":
        if path.name.startswith("test_") and (root / path).is_file():
            yield path
        return
    if path.parts[:2] == ("src", "brokersim"):
        room, name = Path("tests", *path.parts[2:-1]), path.stem
    elif path.parts[0] == "modules":
        room, name = Path("tests/modules"), path.parts[1].removesuffix(".py")
    else:
        return
    named = sorted((root / room).glob(f"test_{name.strip('_')}*.py"))
    if named:
        yield from (test.relative_to(root) for test in named)
        return
    # instance.py has a room of its own in tests; a room of a few files may have its tests in the room around it.
    around = (place for place in (room / name, room, *room.parents) if (root / place).is_dir())
    nearest = next(around, Path("tests"))
    if nearest not in (Path("tests"), Path()):
        yield nearest


if __name__ == "__main__":
    print("\n".join(which_tests(changed())))
