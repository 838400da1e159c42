"""Which instance a client talks to when it is told much, little or nothing."""

from __future__ import annotations

import os
import socket
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from brokersim.net.address import socket_path
from brokersim.net.discovery import NoInstance, find_uri, is_alive, is_own_socket


class Sockets:
    """Makes instance folders with a live or a dead socket in them."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self._open: list[socket.socket] = []

    def make(self, name: str, live: bool = True) -> str:
        path = self.root / name / "local-0"
        path.parent.mkdir(parents=True)
        listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        listener.bind(str(path))
        if live:
            listener.listen()
            self._open.append(listener)
        else:
            listener.close()
        return f"local://{path}"

    def close(self) -> None:
        for one in self._open:
            one.close()


@pytest.fixture
def sockets(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Sockets]:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "tmp"))
    made = Sockets(tmp_path / "run" / "brokersim")
    yield made
    made.close()


@pytest.fixture
def environ(tmp_path: Path) -> dict[str, str]:
    return {"XDG_RUNTIME_DIR": str(tmp_path / "run")}


def test_instances_behind_a_link_or_in_a_folder_open_to_others_are_not_found(
    sockets: Sockets, environ: dict[str, str], tmp_path: Path
) -> None:
    """Whoever made it could answer in the instance's place."""
    alive = sockets.make("alive")
    assert find_uri(None, environ) == alive
    sockets.root.chmod(0o777)
    with pytest.raises(NoInstance):
        find_uri(None, environ)
    sockets.root.chmod(0o755)
    (tmp_path / "linked").mkdir()
    (tmp_path / "linked" / "brokersim").symlink_to(sockets.root)
    with pytest.raises(NoInstance):
        find_uri(None, {"XDG_RUNTIME_DIR": str(tmp_path / "linked")})


def test_a_socket_that_is_a_link_or_anothers_is_not_found(
    sockets: Sockets, environ: dict[str, str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    theirs = Sockets(tmp_path / "theirs")
    behind = Path(theirs.make("theirs").removeprefix("local://"))
    try:
        (sockets.root / "forged").mkdir(parents=True)
        (sockets.root / "forged" / "local-0").symlink_to(behind)
        with pytest.raises(NoInstance):
            find_uri(None, environ)
        assert is_own_socket(behind)
        another = os.getuid() + 1
        monkeypatch.setattr(os, "getuid", lambda: another)
        assert not is_own_socket(behind)
    finally:
        theirs.close()


def test_the_option_wins_then_BROKERSIM_URI_then_FLUX_URI(sockets: Sockets, environ: dict[str, str]) -> None:
    sockets.make("alive")
    environ |= {"BROKERSIM_URI": "local:///b/local-0", "FLUX_URI": "local:///f/local-0"}
    assert find_uri("local:///o/local-0", environ) == "local:///o/local-0"
    assert find_uri(None, environ) == "local:///b/local-0"
    del environ["BROKERSIM_URI"]
    assert find_uri(None, environ) == "local:///f/local-0"


def test_a_path_is_of_a_socket_or_of_an_instances_folder(
    sockets: Sockets, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    alive = sockets.make("alive")
    path = alive.removeprefix("local://")
    monkeypatch.chdir(sockets.root)
    for given in (path, os.path.dirname(path), "./alive", "alive/local-0", f"{path}/../../alive/"):
        assert find_uri(given, {}) == alive
    assert find_uri(path.replace("local-0", "local-3"), {}) == alive.replace("local-0", "local-3")
    with pytest.raises(ValueError, match="a Unix socket allows 107"):
        find_uri(f"{tmp_path}/{'x' * 107}", {})


def test_an_empty_variable_counts_as_unset(sockets: Sockets, environ: dict[str, str]) -> None:
    uri = sockets.make("alive")
    assert find_uri(None, environ | {"BROKERSIM_URI": ""}) == uri


def test_the_only_live_instance_is_found_and_dead_sockets_are_ignored(
    sockets: Sockets, environ: dict[str, str]
) -> None:
    sockets.make("dead", live=False)
    uri = sockets.make("alive")
    assert find_uri(None, environ) == uri


def test_the_temp_folder_is_searched_as_well(tmp_path: Path, sockets: Sockets) -> None:
    sockets.root = tmp_path / "tmp" / f"brokersim-{os.getuid()}"
    uri = sockets.make("alive")
    assert find_uri(None, {}) == uri


def test_no_live_instance_says_how_to_start_one(sockets: Sockets, environ: dict[str, str]) -> None:
    sockets.make("dead", live=False)
    with pytest.raises(NoInstance, match="no instance of yours is running") as caught:
        find_uri(None, environ)
    assert caught.value.attempt.startswith("brokersim start")


def test_several_live_instances_must_be_told_apart(sockets: Sockets, environ: dict[str, str]) -> None:
    first, second = sockets.make("a"), sockets.make("b")
    with pytest.raises(NoInstance, match="2 instances of yours are running") as caught:
        find_uri(None, environ)
    assert caught.value.hint == "they are: a b"
    assert caught.value.attempt == f"brokersim ps, then -u a; or export BROKERSIM_URI={first}"
    assert (find_uri("a", environ), find_uri("b", environ)) == (first, second)
    with pytest.raises(NoInstance, match="no instance of yours is called 'c'") as caught:
        find_uri("c", environ)
    assert caught.value.hint == "these run: a b"


def test_a_folder_of_somebody_else_is_passed_over(
    sockets: Sockets, environ: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    sockets.make("alive")
    monkeypatch.setattr(os, "getuid", lambda: 4242)
    with pytest.raises(NoInstance):
        find_uri(None, environ)


def test_a_file_where_a_socket_should_be_is_passed_over(sockets: Sockets, environ: dict[str, str]) -> None:
    (sockets.root / "odd").mkdir(parents=True)
    (sockets.root / "odd" / "local-0").touch()
    (sockets.root / "file").touch()
    with pytest.raises(NoInstance):
        find_uri(None, environ)


@pytest.mark.parametrize("uri", ["ssh://host/x", "local://relative", "local://", "tcp://1.2.3.4"])
def test_what_is_no_local_address_is_refused(uri: str) -> None:
    with pytest.raises(ValueError, match="give local:///absolute/path"):
        find_uri(uri, {})


def test_a_path_of_107_bytes_fits_and_108_do_not() -> None:
    assert len(socket_path("local:///" + "x" * 106)) == 107
    with pytest.raises(ValueError, match="socket path of 108 bytes, a Unix socket allows 107"):
        socket_path("local:///" + "x" * 107)


def test_an_instance_too_busy_to_take_anybody_in_is_not_taken_for_dead(tmp_path: Path) -> None:
    path = tmp_path / "local-0"
    waiting: list[socket.socket] = []
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as listener:
        listener.bind(str(path))
        assert not is_alive(path), "bound and not listening: refuses"
        listener.listen(1)
        try:
            for _ in range(10):  # until nobody fits into its backlog any more
                waiting.append(socket.socket(socket.AF_UNIX, socket.SOCK_STREAM))
                waiting[-1].setblocking(False)
                waiting[-1].connect(str(path))
        except BlockingIOError:
            pass
        try:
            assert len(waiting) < 10
            assert is_alive(path)
        finally:
            for one in waiting:
                one.close()
    assert not is_alive(path)
