"""A database that was there and is gone is missed; a checkpoint is on disk when it is answered."""

from __future__ import annotations

from contextlib import closing
from pathlib import Path

import pytest

import brokersim
from brokersim.protocol.errnums import ENOENT, RequestError
from modules.content_sqlite.mark import Mark
from modules.content_sqlite.store import BlobStore

STORAGE = ("content-cache", "content-sqlite")


def start(state: Path) -> None:
    async def main() -> None:
        async with brokersim.open_instance(modules=STORAGE, state_dir=state) as instance:
            await instance.client().call("content.store", b"blob")

    brokersim.run(main)


@pytest.mark.parametrize("spoil", [Path.unlink, lambda path: path.write_bytes(b"")])
def test_a_database_that_is_gone_or_empty_fails_the_start_with_one_line_that_says_how_to_go_on(
    tmp_path, spoil
):
    """It began anew without a word: what was kept there was missed much later."""
    start(tmp_path)
    start(tmp_path)
    spoil(tmp_path / "content.sqlite")
    with pytest.raises(
        RequestError, match=r"content\.sqlite is missing or empty.*restore it .* or remove"
    ) as caught:
        start(tmp_path)
    assert caught.value.errno == ENOENT
    (tmp_path / "content.mark").unlink()
    start(tmp_path)


def test_the_log_of_one_that_was_killed_is_missed_and_of_one_that_was_closed_is_not(tmp_path):
    database = tmp_path / "content.sqlite"
    mark = Mark(database)
    mark.check()
    database.write_bytes(b"pages")
    mark.opened("WAL")
    with pytest.raises(
        RequestError, match=r"content\.sqlite-wal is missing, and with it what was written last"
    ):
        mark.check()
    (tmp_path / "content.sqlite-wal").write_bytes(b"")
    mark.check()
    (tmp_path / "content.sqlite-wal").unlink()
    for mode in ("DELETE", "OFF"):
        mark.opened(mode)
        mark.check()
    mark.closed()
    mark.check()


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
