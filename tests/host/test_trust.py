"""Whose files may decide what we run."""

from __future__ import annotations

import grp
import os
import pwd
from pathlib import Path

import pytest

from brokersim.host import trust
from brokersim.host.trust import distrust, distrust_code, distrust_folder


@pytest.fixture
def strangers(monkeypatch: pytest.MonkeyPatch) -> None:
    """All that is on this disk belongs to somebody else."""
    monkeypatch.setattr(trust, "_ROOT", -1)
    monkeypatch.setattr(os, "getuid", lambda: 987_654_321)


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "x.toml"
    path.write_text("")
    path.chmod(0o644)
    return path


def test_ones_own_files_roots_and_those_not_there_are_trusted(file: Path):
    assert distrust(file) == ""
    assert distrust(Path("/etc/passwd")) == ""
    assert distrust(file.with_name("none")) == ""


def test_a_strangers_file_is_named_with_its_owner(file: Path, strangers: None):
    owner = pwd.getpwuid(file.stat().st_uid).pw_name
    assert distrust(file) == f"{file} belongs to {owner}"


def test_a_strangers_link_to_a_file_of_ones_own_is_distrusted(file: Path, monkeypatch: pytest.MonkeyPatch):
    link = file.with_name("link")
    link.symlink_to(file)
    assert distrust(link) == ""
    found = os.lstat(link)
    made_by_another = os.stat_result((*found[:4], 987_654_321, *found[5:]))
    monkeypatch.setattr(Path, "lstat", lambda self: made_by_another)
    assert distrust(link) == f"{link} belongs to user 987654321"


def test_what_everybody_or_a_shared_group_can_write_is_named(file: Path, monkeypatch: pytest.MonkeyPatch):
    file.chmod(0o646)
    assert distrust(file) == f"{file} can be written by everybody"
    file.chmod(0o664)
    monkeypatch.setattr(trust, "_is_private", lambda gid: False)
    assert distrust(file) == f"{file} can be written by group {grp.getgrgid(file.stat().st_gid).gr_name}"
    monkeypatch.setattr(trust, "_is_private", lambda gid: True)
    assert distrust(file) == ""


@pytest.mark.parametrize(
    ("name", "members", "is_private"),
    [("ann", [], True), ("ann", ["ann"], True), ("ann", ["bob"], False), ("staff", [], False)],
)
def test_a_private_group_bears_the_users_name_and_has_nobody_else(monkeypatch, name, members, is_private):
    monkeypatch.setattr(pwd, "getpwuid", lambda uid: pwd.struct_passwd(("ann", "", 7, 70, "", "", "")))
    monkeypatch.setattr(grp, "getgrgid", lambda gid: grp.struct_group((name, "", 70, members)))
    assert trust._is_private(70) is is_private


def test_a_folder_above_in_which_others_can_exchange_it_is_named_unless_it_is_sticky(tmp_path: Path):
    folder = tmp_path / "a" / "b"
    folder.mkdir(parents=True)
    folder.parent.chmod(0o777)
    assert distrust(folder) == f"{folder} lies in {folder.parent}, which can be written by everybody"
    folder.parent.chmod(0o1777)
    assert distrust(folder) == ""


def test_a_folder_of_modules_is_distrusted_for_any_module_file_in_it(tmp_path: Path):
    (tmp_path / "package").mkdir()
    (tmp_path / "plain").mkdir()
    for name in ("a.py", "package/__init__.py", "package/b.py", "plain/c.py", "data.txt"):
        (tmp_path / name).write_text("")
    for name, is_code in (("a.py", True), ("package/b.py", True), ("package", True), ("data.txt", False)):
        path = tmp_path / name
        mode = path.stat().st_mode
        path.chmod(mode | 0o002)
        assert distrust_code(tmp_path) == (f"{path} can be written by everybody" if is_code else "")
        path.chmod(mode)
    assert distrust_code(tmp_path / "none") == ""


def test_a_folder_of_our_making_is_no_link_no_file_and_nobody_elses(tmp_path: Path, file: Path, request):
    mine = tmp_path / "mine"
    mine.mkdir(mode=0o700)
    link = tmp_path / "link"
    link.symlink_to(mine)
    assert distrust_folder(mine) == ""
    assert distrust_folder(link) == f"{link} is a link"
    assert distrust_folder(file) == f"{file} is no folder"
    assert distrust_folder(tmp_path / "none") == f"{tmp_path / 'none'}: No such file or directory"
    mine.chmod(0o703)
    assert distrust_folder(mine) == f"{mine} can be written by everybody"
    mine.chmod(0o700)
    request.getfixturevalue("strangers")
    assert distrust_folder(mine).startswith(f"{mine} belongs to ")
