"""A database that was there and is gone is missed; a checkpoint is on disk when it is answered."""

from __future__ import annotations

from contextlib import closing
from pathlib import Path

import pytest

import brokersim
from brokersim.protocol.errnums import EIO, ENOENT, RequestError
from modules.content_sqlite.mark import Mark
from modules.content_sqlite.store import BlobStore
from tests.modules.test_cron_service import lines_of

STORAGE = ("content-cache", "content-sqlite")


def start(state: Path, how: str = "") -> str:
    """A life of an instance on that folder; its log."""
    attrs = {"content.recover": "1"} if how else {}

    async def main() -> str:
        async with brokersim.open_instance(modules=STORAGE, state_dir=state, attrs=attrs) as instance:
            client = instance.client()
            await client.call("content.store", b"blob")
            return "\n".join(await lines_of(client))

    return brokersim.run(main)


@pytest.mark.parametrize("spoil", [Path.unlink, lambda path: path.write_bytes(b"")])
def test_a_database_that_is_gone_or_empty_fails_the_start_with_one_line_that_says_how_to_go_on(
    tmp_path, spoil
):
    """It began anew without a word: what was kept there was missed much later."""
    start(tmp_path)
    start(tmp_path)
    spoil(tmp_path / "content.sqlite")
    with pytest.raises(
        RequestError, match=r"content\.sqlite is missing or empty.*restore it .* brokersim start --recover"
    ) as caught:
        start(tmp_path)
    assert caught.value.errno == ENOENT
    told = start(tmp_path, "recover")
    assert (
        "is missing or empty, and this state directory had one; 0 blobs and 0 checkpoints are there" in told
    )
    start(tmp_path)
    assert "recovering: nothing is missing; 1 blobs and 0 checkpoints are there" in start(tmp_path, "recover")


def test_a_database_whose_log_is_gone_in_the_middle_of_a_merge_is_called_damaged(tmp_path):
    start(tmp_path)
    database = tmp_path / "content.sqlite"
    content = bytearray(database.read_bytes())
    content[4096:8192] = bytes(4096)
    database.write_bytes(content)
    with pytest.raises(
        RequestError, match="restore it from a copy or give another state directory"
    ) as caught:
        start(tmp_path, "recover")
    assert caught.value.errno == EIO


def test_killed_while_it_closes_nothing_is_missing(tmp_path):
    """SQLite removes its log at the end; a mark written behind that said that the log had gone."""
    database = tmp_path / "content.sqlite"
    database.write_bytes(b"pages")
    mark = Mark(database)
    mark.opened("WAL")
    mark.closing()
    assert mark.gone() == ""
    assert sorted(path.name for path in tmp_path.iterdir()) == ["content.mark", "content.sqlite"]


def test_the_log_of_one_that_was_killed_is_missed_and_of_one_that_was_closed_is_not(tmp_path):
    database = tmp_path / "content.sqlite"
    mark = Mark(database)
    assert mark.gone() == ""
    database.write_bytes(b"pages")
    mark.opened("WAL")
    assert mark.gone() == f"{database}-wal is missing, and with it what was written last"
    (tmp_path / "content.sqlite-wal").write_bytes(b"")
    assert mark.gone() == ""
    (tmp_path / "content.sqlite-wal").unlink()
    for mode in ("DELETE", "OFF"):
        mark.opened(mode)
        assert mark.gone() == ""


@pytest.mark.parametrize(
    ("synchronous", "is_synced"), [("NORMAL", True), ("FULL", False), ("EXTRA", False), ("OFF", False)]
)
def test_a_checkpoint_is_synced_though_blobs_before_it_need_not_be(tmp_path, synchronous, is_synced):
    """FULL and EXTRA sync every commit anyway; OFF is the user's own wish."""
    with closing(BlobStore(f"{tmp_path}/content.sqlite", synchronous=synchronous)) as store:
        said: list[str] = []
        store._db.set_trace_callback(said.append)
        store.store(b"blob")
        store.flush()
        assert not [text for text in said if text.startswith("PRAGMA")]
        store.checkpoint_put({"rootref": "x"})
        pragmas = [text for text in said if text.startswith("PRAGMA")]
        assert pragmas == (["PRAGMA synchronous=FULL", "PRAGMA synchronous=NORMAL"] if is_synced else [])
        if is_synced:
            insert = next(at for at, text in enumerate(said) if "checkpt" in text)
            commit = next(at for at, text in enumerate(said) if at > insert and text == "COMMIT")
            assert said.index(pragmas[0]) < insert < commit < said.index(pragmas[1])
