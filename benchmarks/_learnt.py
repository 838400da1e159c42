"""Knows what tests called when they last ran, and keeps it while it stands. Runs none.

Of each file of tests: by test how long it took and which functions of the package and the modules it called. That
stands as long as the file, the code and what tests share are the same, byte for byte; a test that is written anew costs
a run of its file, no other.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Iterator
from pathlib import Path

import attrs

#: A function by its file and the line where it begins, decorators included.
Place = tuple[str, int]


@attrs.frozen
class Told:
    """One test as it ran: CPU seconds, what it called, and whether it started processes."""

    seconds: float
    called: frozenset[Place]
    starts: bool


#: By the test's name; None of one that failed or took too long.
File = dict[str, "Told | None"]


@attrs.frozen
class Learnt:
    """What is known in a folder of one tree of files."""

    root: Path
    folder: Path
    _of: bytes

    @classmethod
    def about(cls, root: Path) -> Learnt:
        """Of the tree as it is now: who changes it meanwhile is told of another one."""
        of = hashlib.blake2b(digest_size=16)
        shared = [root / "pyproject.toml", Path(__file__), Path(__file__).with_name("_warm.py")]
        for folder in ("src", "modules", "tests"):
            shared += (path for path in (root / folder).rglob("*") if path.suffix not in (".pyc", ".so"))
        for path in sorted(shared):
            if path.is_file() and not path.name.startswith("test_"):
                of.update(f"{path}\0".encode() + path.read_bytes())
        return cls(root, root / "build/learnt", of.digest())

    def find(self, tests: Path) -> File | None:
        """What is known of a file of tests, None if that is nothing, or of another state."""
        try:
            kept = json.loads(self._place(tests).read_bytes())
        except (OSError, ValueError):
            return None
        if kept["of"] != self._state(tests):
            return None
        functions = [(str(self.root / name), line) for name, line in kept["functions"]]
        return {
            name: one and Told(one[0], frozenset(functions[at] for at in one[1]), one[2])
            for name, one in kept["tests"].items()
        }

    def keep(self, tests: Path, told: File) -> None:
        every = sorted({place for one in told.values() if one for place in one.called})
        number = {place: at for at, place in enumerate(every)}
        document = {
            "of": self._state(tests),
            "functions": [(str(Path(name).relative_to(self.root)), line) for name, line in every],
            "tests": {
                name: one and (round(one.seconds, 4), sorted(number[at] for at in one.called), one.starts)
                for name, one in told.items()
            },
        }
        place = self._place(tests)
        place.parent.mkdir(parents=True, exist_ok=True)
        whole = place.with_suffix(f".{id(told)}")  # rooms side by side may share a file of tests
        whole.write_text(json.dumps(document, separators=(",", ":")), encoding="utf-8")
        whole.replace(place)

    def every(self) -> Iterator[tuple[Path, File]]:
        """All files of tests of which something is known."""
        for path in sorted((self.root / "tests").rglob("test_*.py")):
            if told := self.find(path):
                yield path, told

    def _place(self, tests: Path) -> Path:
        return self.folder / (".".join(tests.relative_to(self.root).with_suffix("").parts) + ".json")

    def _state(self, tests: Path) -> str:
        return hashlib.blake2b(self._of + tests.read_bytes(), digest_size=16).hexdigest()


def in_time(tests: Iterable[tuple[str, float]], stem: str, enough: float) -> Iterator[str]:
    """Those called like a changed file first, then the quickest, as many as fit into so many seconds."""
    spent = 0.0
    for name, seconds in sorted(tests, key=lambda test: (f"test_{stem}" not in test[0], test[1])):
        # A long one is passed over, not the quick ones behind it: they are often the sharpest.
        if spent + seconds <= enough:
            spent += seconds
            yield name
