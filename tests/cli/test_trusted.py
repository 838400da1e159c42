"""What a configuration that was found may name: files of ours; a name that is none is no path."""

from __future__ import annotations

from pathlib import Path

import pytest

from brokersim.cli.errors import CommandError
from brokersim.cli.trusted import check_found


@pytest.mark.parametrize(
    ("name", "is_path"), [("mine.py", True), ("./mine.py", True), ("folder/mine", True), ("mine", False)]
)
def test_modules_are_looked_at_where_they_are_named_by_their_files(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str, is_path: bool
) -> None:
    monkeypatch.chdir(tmp_path)
    config = tmp_path / "brokersim.toml"
    (tmp_path / "folder").mkdir(mode=0o700)
    for path in (config, tmp_path / "mine.py", tmp_path / "mine", tmp_path / "folder" / "mine"):
        path.touch()
        path.chmod(0o600)
    start = {"modules": ["kvs", name]}
    check_found(config, start)
    (tmp_path / name).chmod(0o666)
    if is_path:
        with pytest.raises(CommandError, match="mine"):
            check_found(config, start)
    else:
        check_found(config, start)
