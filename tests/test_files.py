"""Tests of how named files are read and written: nothing without an end, whole or not at all, no pipe for a broker."""

from __future__ import annotations

import errno
import os
import stat
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from brokersim import files


def refused(call: Callable[..., Any], *args: Any, **named: Any) -> OSError:
    with pytest.raises(OSError) as caught:
        call(*args, **named)
    return caught.value


def test_a_file_is_read_up_to_the_bound_and_not_one_byte_beyond(tmp_path: Path) -> None:
    path = tmp_path / "a"
    path.write_bytes(b"x" * 100)
    assert files.read_bytes(path, 100) == b"x" * 100
    error = refused(files.read_bytes, path, 99)
    assert (error.errno, error.filename) == (errno.EFBIG, str(path))


def test_what_has_no_size_is_left_at_the_bound(tmp_path: Path) -> None:
    """As /dev/zero is; that itself is read in tests/cli/test_paths.py, where memory has a bound."""
    path = tmp_path / "large"
    path.write_bytes(b"x" * (5 << 20))
    with path.open("rb") as file:
        error = refused(files.read_all, file, path, 3 << 20)
        assert str(error.strerror) == "more than 3 MiB, which is the most that is read"
        assert len(file.read()) == 1 << 20


def test_a_hole_is_refused_by_its_size_and_not_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(files, "read_all", None)
    path = tmp_path / "hole"
    path.touch()
    os.truncate(path, 1 << 40)
    assert refused(files.read_bytes, path).errno == errno.EFBIG


def test_a_line_without_an_end_and_lines_without_end_are_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(files, "LINE_MAX", 1 << 20)
    path = tmp_path / "lines"
    path.write_bytes(b"one\n" + b"x" * (2 << 20))
    with path.open("rb") as file:
        lines = files.lines_of(file, path)
        assert next(lines) == b"one\n"
        assert refused(next, lines).strerror == "line 2 has no end within 1 MiB"


def test_lines_are_read_up_to_the_bound_and_no_further(tmp_path: Path) -> None:
    path = tmp_path / "lines"
    path.write_bytes(b"one\ntwo\n")
    with path.open("rb") as file:
        assert list(files.lines_of(file, path, 8)) == [b"one\n", b"two\n"]
    with path.open("rb") as file:
        lines = files.lines_of(file, path, 7)
        assert next(lines) == b"one\n"
        assert refused(next, lines).errno == errno.EFBIG


def test_a_pipe_gives_what_it_has_once_and_a_database_is_not_read_at_all(tmp_path: Path) -> None:
    path = tmp_path / "pipe"
    os.mkfifo(path)
    writer = threading.Thread(target=path.write_bytes, args=(b"magic and more",))
    writer.start()
    assert files.read_unless(path, b"other") == b"magic and more"
    writer.join()
    database = tmp_path / "db"
    database.write_bytes(b"magic and more")
    assert files.read_unless(database, b"magic") is None


def test_text_is_utf8_with_or_without_its_mark_and_with_any_line_end(tmp_path: Path) -> None:
    path = tmp_path / "t"
    path.write_bytes(b"\xef\xbb\xbfa\r\nb\rc\n")
    assert files.read_text(path) == "a\nb\nc\n"


def test_what_is_no_text_is_told_with_the_place(tmp_path: Path) -> None:
    path = tmp_path / "t"
    path.write_bytes(b"text\xff")
    error = refused(files.read_text, path)
    assert (error.strerror, error.filename) == ("not UTF-8 text, at byte 4", str(path))


@pytest.mark.parametrize("where", ["out", "new/folder/out", "link"])
def test_what_can_be_written_is_not_refused_and_nothing_is_made(tmp_path: Path, where: str) -> None:
    (tmp_path / "link").symlink_to(tmp_path / "none")
    files.check_folder(tmp_path / where)
    if where != "new/folder/out":
        files.check_output(tmp_path / where)
    files.check_output(os.devnull)
    assert os.listdir(tmp_path) == ["link"]


def test_a_folder_that_takes_no_files_is_refused_before_the_work(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(os, "access", lambda path, mode: False)  # root may write everywhere
    for check in (files.check_output, files.check_folder):
        error = refused(check, tmp_path / "out")
        assert (error.errno, error.filename) == (errno.EACCES, str(tmp_path / "out"))
    (tmp_path / "file").touch()
    for check in (files.check_output, files.check_folder):
        assert refused(check, tmp_path / "file" / "out").errno == errno.ENOTDIR
    assert refused(files.check_output, tmp_path).errno == errno.EISDIR


def test_a_write_that_fails_leaves_what_was_there_and_nothing_beside_it(tmp_path: Path) -> None:
    path = tmp_path / "a"
    path.write_text("before")

    def half(file: Any) -> None:
        file.write(b"half")
        file.flush()
        raise OSError(errno.ENOSPC, "No space left on device")

    error = refused(files.replace_file, path, half)
    assert (error.errno, error.filename) == (errno.ENOSPC, str(path))
    assert path.read_text() == "before"
    assert os.listdir(tmp_path) == ["a"]


def test_what_is_written_is_on_the_disk_before_it_has_its_name(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    done: list[object] = []
    monkeypatch.setattr("brokersim.files.os.fsync", lambda number: done.append(os.fstat(number).st_size))
    monkeypatch.setattr("brokersim.files.os.replace", lambda _, name: done.append(name))
    files.write_file(tmp_path / "a", "four")
    assert done == [4, tmp_path / "a"]


def test_a_written_file_keeps_its_rights_and_a_link_stays_a_link(tmp_path: Path) -> None:
    path, link = tmp_path / "a", tmp_path / "link"
    path.write_text("before")
    path.chmod(0o640)
    link.symlink_to(path)
    files.write_file(link, "after")
    assert link.is_symlink()
    assert path.read_text() == "after"
    assert stat.S_IMODE(path.stat().st_mode) == 0o640


def test_what_is_no_file_is_written_into_and_never_replaced(tmp_path: Path) -> None:
    """A pipe of our own: of a device of the machine's, which root could replace, nothing may be tried here."""
    path, link = tmp_path / "pipe", tmp_path / "link"
    os.mkfifo(path)
    link.symlink_to(path)
    reader = os.open(path, os.O_RDONLY | os.O_NONBLOCK)
    try:
        files.write_file(link, b"through")
        assert os.read(reader, 100) == b"through"
    finally:
        os.close(reader)
    assert stat.S_ISFIFO(link.stat().st_mode)
    assert sorted(os.listdir(tmp_path)) == ["link", "pipe"]


@pytest.mark.parametrize("kind", ["folder", "loop", "no folder", "below a file", "name too long"])
def test_what_cannot_be_written_is_told_by_the_name_that_was_given(tmp_path: Path, kind: str) -> None:
    (tmp_path / "file").touch()
    (tmp_path / "folder").mkdir()
    (tmp_path / "loop").symlink_to(tmp_path / "loop")
    path, number = {
        "folder": (tmp_path / "folder", errno.EISDIR),
        "loop": (tmp_path / "loop", errno.ELOOP),
        "no folder": (tmp_path / "none" / "a", errno.ENOENT),
        "below a file": (tmp_path / "file" / "a", errno.ENOTDIR),
        "name too long": (tmp_path / ("n" * 256), errno.ENAMETOOLONG),
    }[kind]
    before = set(os.listdir(tmp_path))
    error = refused(files.write_file, path, "x")
    assert (error.errno, error.filename) == (number, str(path))
    assert set(os.listdir(tmp_path)) == before


def test_the_longest_name_that_there_is_can_be_written(tmp_path: Path) -> None:
    path = tmp_path / ("n" * 255)
    files.write_file(path, "x")
    assert path.read_text() == "x"


@pytest.mark.parametrize("opened", ["read", "written"])
def test_the_broker_opens_no_pipe_and_so_waits_for_nobody(tmp_path: Path, opened: str) -> None:
    path = tmp_path / "pipe"
    os.mkfifo(path)
    if opened == "read":
        error = refused(files.open_input, path)
    else:
        error = refused(files.open_output, path, append=True)
    assert error.filename == str(path)
    assert error.strerror == "a pipe, whose other end could hold the broker; give a file"


def test_an_output_is_emptied_or_gone_on_with(tmp_path: Path) -> None:
    path = tmp_path / "out"
    for append, left in ((False, b"1"), (True, b"11"), (False, b"1")):
        number = files.open_output(path, append=append)
        os.write(number, b"1")
        os.close(number)
        assert path.read_bytes() == left


def test_a_pipe_by_its_descriptor_is_written_into() -> None:
    read, write = os.pipe()
    files.check_output(f"/dev/fd/{write}")
    files.write_file(f"/dev/fd/{write}", "told")
    os.close(write)
    with open(read, "rb") as file:
        assert file.read() == b"told"


def test_a_name_with_a_nul_is_no_name(tmp_path: Path) -> None:
    path = f"{tmp_path}/a\0b"
    for call in (files.check_output, files.open_input, lambda name: files.write_file(name, b"x")):
        error = refused(call, path)
        assert (error.errno, error.filename) == (errno.EINVAL, path)


def test_what_is_secret_is_secret_while_it_is_written(tmp_path: Path) -> None:
    path = tmp_path / "secret"
    path.write_bytes(b"old")
    path.chmod(0o600)
    seen: list[int] = []

    def write(file: Any) -> None:
        file.write(b"new")
        (beside,) = (one for one in tmp_path.iterdir() if one != path)
        seen.append(stat.S_IMODE(beside.stat().st_mode))

    files.replace_file(path, write)
    assert (seen, stat.S_IMODE(path.stat().st_mode), path.read_bytes()) == ([0o600], 0o600, b"new")


def test_who_write_one_name_at_once_each_write_it_whole(tmp_path: Path) -> None:
    path = tmp_path / "out"
    errors: list[BaseException] = []

    def write(text: bytes) -> None:
        try:
            for _ in range(20):
                files.write_file(path, text * 1000)
        except BaseException as error:
            errors.append(error)

    threads = [threading.Thread(target=write, args=(text,)) for text in (b"a", b"b", b"c")]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert errors == [] and path.read_bytes() in (b"a" * 1000, b"b" * 1000, b"c" * 1000)
    assert list(tmp_path.iterdir()) == [path]


def test_somebodys_link_beside_it_is_not_followed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("brokersim.files.secrets.token_hex", lambda _: "0")
    (tmp_path / "victim").write_bytes(b"mine")
    (tmp_path / ".out.0").symlink_to(tmp_path / "victim")
    assert refused(files.write_file, tmp_path / "out", b"x").errno == errno.EEXIST
    assert (tmp_path / "victim").read_bytes() == b"mine"


def test_a_file_that_one_may_not_write_is_not_replaced(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "out"
    path.write_bytes(b"old")
    monkeypatch.setattr("brokersim.files.os.access", lambda one, _: Path(one) != path)
    for call in (files.check_output, lambda name: files.write_file(name, b"new")):
        assert refused(call, path).errno == errno.EACCES
    assert path.read_bytes() == b"old"


@pytest.mark.parametrize("refuses", ["open", "fchmod"])
def test_a_file_that_cannot_be_replaced_is_written_into(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, refuses: str
) -> None:
    """In a folder that takes no other file; or somebody else's, who stays its owner."""
    path = tmp_path / "out"
    path.write_bytes(b"old and long")
    number = path.stat().st_ino

    def refuse(*_: object) -> None:
        raise PermissionError(errno.EPERM, "Operation not permitted")

    monkeypatch.setattr(f"brokersim.files.os.{refuses}", refuse)
    files.write_file(path, b"new")
    monkeypatch.undo()
    assert (path.read_bytes(), path.stat().st_ino) == (b"new", number)
    assert list(tmp_path.iterdir()) == [path]


def test_files_of_a_folder_are_by_name_without_somebodys_own(tmp_path: Path) -> None:
    for name in ("b.toml", "a.toml", ".#a.toml", "c.txt"):
        (tmp_path / name).touch()
    assert files.files_of(tmp_path, ".toml") == [tmp_path / "a.toml", tmp_path / "b.toml"]
    assert refused(files.files_of, tmp_path / "none", ".toml").errno == errno.ENOENT
