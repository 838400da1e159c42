"""Knows the file beside a test file that keeps its counters, and how it is rewritten. Not what the counters mean."""

from __future__ import annotations

import fcntl
import os
import tomllib
from pathlib import Path

import attrs

from brokersim.kit.toml import dump
from brokersim.protocol.decoded import JsonObject, JsonView

_HEADING = "Counters that the tests of {} expect. Rewritten by: pytest --brokersim-update"


def snapshot_file(test_file: Path) -> Path:
    """``counters/test_x.toml`` beside ``test_x.py``."""
    return test_file.parent / "counters" / f"{test_file.stem}.toml"


@attrs.define(kw_only=True, eq=False)
class FileSnapshot:
    """The counters one test keeps under one name; with ``update`` the file takes what it is compared with."""

    file: Path
    test_file: Path
    test: str
    name: str
    update: bool

    def expected_for(self, counts: dict[str, int]) -> JsonView:
        """What the file has, or with ``update`` just these counts. Raises AssertionError if it has nothing yet."""
        if self.update:
            self._write(counts)
            return counts
        found = self._read().get(self.test, {}).get(self.name)
        if found is None:
            raise AssertionError(
                f"{self.file} has no counters {self.name!r} of {self.test}; write them with: pytest --brokersim-update"
            )
        return found  # type: ignore[no-any-return]

    def _read(self) -> JsonObject:
        try:
            return tomllib.loads(self.file.read_text(encoding="utf-8"))
        except FileNotFoundError:
            return {}
        except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
            raise AssertionError(f"{self.file} cannot be read: {error}") from None

    def _write(self, counts: dict[str, int]) -> None:
        self.file.parent.mkdir(parents=True, exist_ok=True)
        # Test processes run side by side (xdist) and share the file: one at a time reads, changes and replaces it.
        folder = os.open(self.file.parent, os.O_RDONLY | os.O_DIRECTORY)
        try:
            fcntl.flock(folder, fcntl.LOCK_EX)
            self._replace(counts)
        finally:
            os.close(folder)

    def _replace(self, counts: dict[str, int]) -> None:
        tables = self._read()
        tables.setdefault(self.test, {})[self.name] = dict(counts)
        ordered = {test: tables[test] for test in sorted(tables)}
        replacement = self.file.with_suffix(".toml.new")
        replacement.write_text(dump(ordered, _HEADING.format(self.test_file.name)), encoding="utf-8")
        os.replace(replacement, self.file)
