"""Blobs in an SQLite file: batches against a dict, kills at any moment, damage, full and forbidden disks."""

from __future__ import annotations

import errno
import hashlib
import shutil
import sqlite3
import tempfile
from contextlib import closing
from pathlib import Path

import hypothesis.strategies as st
import pytest
from hypothesis.stateful import RuleBasedStateMachine, rule

from brokersim.protocol import blobref
from brokersim.protocol.errnums import EFBIG, EIO, ENOENT, ENOSPC, RequestError
from modules.content_sqlite.batches import BATCH_BYTES, BATCH_ROWS
from modules.content_sqlite.chains import STEPS_MAX
from modules.content_sqlite.store import BlobStore, fault


def digest_of(data: bytes) -> bytes:
    return hashlib.sha1(data).digest()


def errnum(action, *args) -> int | None:
    with pytest.raises(RequestError) as caught:
        action(*args)
    return caught.value.errno


def copy_of(store: BlobStore, to: Path) -> Path:
    """The files as a kill at this moment would leave them."""
    to.mkdir()
    for path in Path(store.path).parent.glob("content.sqlite*"):
        shutil.copy(path, to)
    return to / "content.sqlite"


class StoreAgainstDict(RuleBasedStateMachine):
    """``blobs`` is all that was acknowledged, ``safe`` what was so before the last flush that succeeded."""

    def __init__(self) -> None:
        super().__init__()
        self.folder = tempfile.TemporaryDirectory()
        self.copies = 0
        self.store = BlobStore(f"{self.folder.name}/content.sqlite", synchronous="OFF")
        self.blobs: set[bytes] = set()
        self.safe: set[bytes] = set()
        self.checkpoints: list[object] = []

    def teardown(self) -> None:
        self.store.close()
        self.folder.cleanup()

    @rule(data=st.binary(max_size=3))
    def store_blob(self, data):
        assert self.store.store(data) == digest_of(data)
        self.blobs.add(data)

    @rule(data=st.binary(max_size=3))
    def load_blob(self, data):
        if data in self.blobs:
            assert self.store.load(digest_of(data)) == data
        else:
            assert errnum(self.store.load, digest_of(data)) == ENOENT

    @rule()
    def flush(self):
        self.store.flush()
        assert self.store.pending == 0
        self.safe = set(self.blobs)

    @rule(
        value=st.one_of(st.integers(), st.text(), st.dictionaries(st.text(), st.none())),
    )
    def checkpoint(self, value):
        self.store.checkpoint_put(value)
        self.checkpoints.insert(0, value)
        self.safe = set(self.blobs)

    @rule()
    def close_and_open(self):
        self.store.close()
        self.store = BlobStore(self.store.path, synchronous="OFF")
        self.safe = set(self.blobs)

    @rule()
    def kill_and_open(self):
        self.copies += 1
        path = copy_of(self.store, Path(self.folder.name) / f"copy{self.copies}")
        after = BlobStore(str(path), synchronous="OFF")
        for data in self.blobs:
            if data in self.safe:
                assert after.load(digest_of(data)) == data
            else:
                assert errnum(after.load, digest_of(data)) == ENOENT
        assert [one["value"] for one in after.checkpoints()] == self.checkpoints[:5]
        after.close()


TestStoreAgainstDict = StoreAgainstDict.TestCase


@pytest.fixture
def store(tmp_path):
    store = BlobStore(str(tmp_path / "content.sqlite"))
    yield store
    store._db.close()


def test_nothing_is_written_before_a_flush_and_all_of_it_in_one_transaction_by_it(store):
    for n in range(10):
        store.store(b"%d" % n)
    assert (store.pending, store.writes) == (10, 0)

    store.flush()

    assert (store.pending, store.writes) == (0, 1)
    assert [store.load(digest_of(b"%d" % n)) for n in range(10)] == [b"%d" % n for n in range(10)]
    assert store.statistics()["dbfile_size"] > 0


def test_a_batch_is_full_by_rows_or_by_bytes(store):
    for n in range(BATCH_ROWS - 1):
        store.store(b"%d" % n)
    assert not store.is_batch_full
    store.store(b"one more")
    assert store.is_batch_full
    store.flush()
    assert not store.is_batch_full
    store.store(b"x" * BATCH_BYTES)
    assert store.is_batch_full


def test_blobs_of_any_length_are_bytes_when_they_are_read_back(store):
    blobs = [bytes(size) for size in (0, 1, 4095, 4096, 4097)]
    digests = [store.store(blob) for blob in blobs]
    store.flush()
    assert [store.load(digest) for digest in digests] == blobs
    kept = store._db.execute("SELECT hash, typeof(hash), object, typeof(object) FROM objects").fetchall()
    assert sorted(kept) == sorted((digest_of(blob), "blob", blob, "blob") for blob in blobs)


def test_a_blob_stored_twice_is_one_row(store):
    store.store(b"x")
    store.flush()
    store.store(b"x")
    store.store(b"x")
    store.flush()

    assert store._db.execute("SELECT count(*) FROM objects").fetchone() == (1,)


def test_a_full_disk_is_ENOSPC_and_loses_nothing(store):
    kept = [b"%d" % n + b"x" * 5000 for n in range(10)]
    (pages,) = store._db.execute("PRAGMA page_count").fetchone()
    store._db.execute(f"PRAGMA max_page_count={pages + 1}")
    for data in kept:
        store.store(data)

    assert errnum(store.flush) == ENOSPC
    assert errnum(store.store, b"refused while it fails") == ENOSPC
    assert errnum(store.checkpoint_put, {}) == ENOSPC
    assert store.pending == 10
    assert [store.load(digest_of(data)) for data in kept] == kept

    store._db.execute("PRAGMA max_page_count=1000000")
    store.flush()
    assert store.store(b"taken again") == digest_of(b"taken again")
    assert [store.load(digest_of(data)) for data in kept] == kept
    assert store.writes == 1


def test_a_batch_that_fails_half_way_is_rolled_back_and_written_whole_later(store):
    for data in (b"one", b"two", b"three"):
        store.store(data)
    stop = f"WHEN NEW.hash = x'{digest_of(b'two').hex()}' BEGIN SELECT RAISE(ABORT, 'stopped'); END"
    store._db.execute(f"CREATE TEMP TRIGGER stop BEFORE INSERT ON objects {stop}")
    assert errnum(store.flush) == EIO
    assert store._db.execute("SELECT count(*) FROM objects").fetchone() == (0,)

    store._db.execute("DROP TRIGGER stop")
    store.flush()
    assert store._db.execute("SELECT count(*) FROM objects").fetchone() == (3,)


def test_a_blob_too_long_for_sqlite_is_EFBIG_and_holds_up_nothing(tmp_path):
    store = BlobStore(":memory:")
    store._longest = 10
    store.store(b"0123456789")

    assert errnum(store.store, b"0123456789+") == EFBIG
    store.flush()
    assert store.pending == 0
    store.close()


def test_a_blob_damaged_in_the_file_is_EIO_and_named(store):
    digest = store.store(b"data")
    store.flush()
    store._db.execute("UPDATE objects SET object = x'00'")

    with pytest.raises(RequestError, match=rf"blob sha1-{digest.hex()} is damaged") as caught:
        store.load(digest)
    assert caught.value.errno == EIO


def test_a_row_of_another_type_is_damage_too(store):
    digest = store.store(b"data")
    store.flush()
    store._db.execute("UPDATE objects SET object = 17")

    assert errnum(store.load, digest) == EIO


def test_a_damaged_checkpoint_is_EIO(store):
    assert store.checkpoints() == []
    store.checkpoint_put({"rootseq": 1})
    store._db.execute("UPDATE checkpt_v2 SET value = '{'")

    assert errnum(store.checkpoints) == EIO


def test_the_last_checkpoints_are_kept_under_numbers_that_only_grow(store):
    store.checkpoints_max = 2
    for n in range(4):
        store.checkpoint_put({"n": n})

    assert store.checkpoints() == [{"id": 4, "value": {"n": 3}}, {"id": 3, "value": {"n": 2}}]


def test_the_one_checkpoint_of_an_older_file_is_the_first_of_several(tmp_path):
    path = tmp_path / "content.sqlite"
    with closing(sqlite3.connect(path)) as old, old:
        old.execute("CREATE TABLE checkpt(key TEXT, value TEXT)")
        old.execute("INSERT INTO checkpt VALUES('other', '[]'), ('kvs-primary', '{\"rootseq\": 7}')")

    for _ in range(2):
        store = BlobStore(str(path))
        assert store.checkpoints() == [{"id": 1, "value": {"rootseq": 7}}]
        store.close()


def test_a_checkpoint_brings_the_blobs_before_it_with_it(store, tmp_path):
    digest = store.store(b"before")
    store.checkpoint_put({"rootref": "r"})
    after = BlobStore(str(copy_of(store, tmp_path / "killed")))

    assert after.checkpoints() == [{"id": 1, "value": {"rootref": "r"}}]
    assert after.load(digest) == b"before"
    after.close()


def test_a_second_process_on_the_file_is_refused_at_once(store):
    with pytest.raises(RequestError, match="another instance uses this state directory") as caught:
        BlobStore(store.path)

    assert caught.value.errno == errno.EBUSY


def test_the_file_is_free_again_when_it_was_closed(store):
    store.store(b"x")
    store.close()
    again = BlobStore(store.path)

    assert again.load(digest_of(b"x")) == b"x"
    again.close()


def test_a_file_that_is_no_database_is_EIO_and_left_as_it_is(tmp_path):
    path = tmp_path / "content.sqlite"
    path.write_bytes(b"no database " * 100)

    with pytest.raises(
        RequestError, match=r"content\.sqlite: file is not a database; move it away"
    ) as caught:
        BlobStore(str(path))

    assert caught.value.errno == EIO
    assert path.read_bytes() == b"no database " * 100


def test_a_directory_that_is_none_is_EACCES(tmp_path):
    with pytest.raises(RequestError, match="must exist and be writable") as caught:
        BlobStore(str(tmp_path / "nowhere" / "content.sqlite"))

    assert caught.value.errno == errno.EACCES


def test_a_truncated_file_is_an_error_and_no_traceback(store, tmp_path):
    digests = [store.store(b"%d" % n + b"x" * 3000) for n in range(50)]
    store.close()
    path = tmp_path / "content.sqlite"
    path.write_bytes(path.read_bytes()[: 4096 * 3])

    def use() -> None:
        cut = BlobStore(str(path))
        try:
            for digest in digests:
                cut.load(digest)
        finally:
            cut._db.close()

    assert errnum(use) == EIO


@pytest.mark.parametrize(
    ("code", "errnum"),
    [
        (sqlite3.SQLITE_FULL, ENOSPC),
        (sqlite3.SQLITE_TOOBIG, EFBIG),
        (sqlite3.SQLITE_READONLY_DBMOVED, errno.EROFS),
        (sqlite3.SQLITE_CANTOPEN_ISDIR, errno.EACCES),
        (sqlite3.SQLITE_BUSY_RECOVERY, errno.EBUSY),
        (sqlite3.SQLITE_IOERR_WRITE, EIO),
        (sqlite3.SQLITE_CORRUPT, EIO),
        (None, EIO),
    ],
)
def test_errors_of_sqlite_become_errnums(code, errnum):
    error = sqlite3.OperationalError("what happened")
    if code is not None:
        error.sqlite_errorcode = code

    shown = fault("/state/content.sqlite", error)

    assert shown.errno == errnum
    assert shown.text.startswith("/state/content.sqlite: what happened")


def test_writing_to_a_read_only_file_is_EROFS(store):
    store._db.execute("PRAGMA query_only=ON")
    store.store(b"x")

    assert errnum(store.flush) == errno.EROFS
    assert store.pending == 1
    store._db.execute("PRAGMA query_only=OFF")
    store.flush()
    assert store.pending == 0


# -- blobs that come as what they differ in


def versions(count: int, start: bytes = b"x" * 5000) -> list[blobref.Blob]:
    """A blob and its successors, each with a line more in the middle; the first comes whole."""
    made: list[blobref.Blob] = []
    data = start
    for number in range(count):
        patch = None
        if made:
            patch = blobref.Patch(made[-1].digest, 2500, 1, b"line %d," % number)
            changed = bytearray(data)
            patch.apply(changed)
            data = bytes(changed)
        made.append(blobref.Blob(digest_of(data), len(data), data.__bytes__, patch))
    return made


def rows(store: BlobStore, table: str) -> int:
    return store._db.execute(f"SELECT count(*) FROM {table}").fetchone()[0]


@pytest.mark.parametrize("flushed_each", [False, True])
def test_blobs_that_differ_a_little_are_kept_as_that_and_read_whole_also_by_the_next_process(
    store, flushed_each
):
    blobs = versions(20)
    for blob in blobs:
        assert store.store(blob) == blob.digest
        assert store.load(blob.digest) == bytes(blob)
        if flushed_each:
            store.flush()
    store.close()
    after = BlobStore(store.path)
    assert [after.load(blob.digest) for blob in blobs] == [bytes(blob) for blob in blobs]
    assert (rows(after, "objects"), rows(after, "patches")) == (1, 19)
    after.close()


def test_several_differences_in_one_are_read_whole_by_the_next_process_and_found_out_if_damaged(store):
    first = versions(1)[0]
    patch = blobref.Patch.of(first.digest, [(10, 1, b"front"), (2500, 0, b"middle"), (4999, 1, b"end")])
    data = bytearray(bytes(first))
    patch.apply(data)
    other = blobref.Blob(digest_of(data), len(data), bytes(data).__bytes__, patch)
    for blob in (first, other):
        store.store(blob)
    store.close()
    after = BlobStore(store.path)
    assert (rows(after, "objects"), rows(after, "patches")) == (1, 1)
    assert after.load(other.digest) == bytes(data)
    after._db.execute("UPDATE patches SET inserted = substr(inserted, 1, 40)")
    assert errnum(after.load, other.digest) == EIO
    after.close()


def test_a_difference_to_what_is_not_known_to_be_here_is_kept_whole(store):
    first, second, third = versions(3)
    assert store.store(second) == second.digest
    assert store.store(third) == third.digest
    store.flush()
    assert (rows(store, "objects"), rows(store, "patches")) == (1, 1)
    assert store.load(third.digest) == bytes(third)
    assert errnum(store.load, first.digest) == ENOENT


def test_after_so_many_differences_one_is_kept_whole_again(store):
    blobs = versions(STEPS_MAX + 3)
    for blob in blobs:
        store.store(blob)
    store.flush()
    assert (rows(store, "objects"), rows(store, "patches")) == (2, STEPS_MAX + 1)
    assert store.load(blobs[-1].digest) == bytes(blobs[-1])
    assert store.load(blobs[STEPS_MAX].digest) == bytes(blobs[STEPS_MAX])


def test_a_difference_that_is_no_shorter_is_kept_whole(store):
    first = versions(1)[0]
    data = b"y" * 5000
    other = blobref.Blob(digest_of(data), 5000, data.__bytes__, blobref.Patch(first.digest, 0, 5000, data))
    for blob in (first, other):
        store.store(blob)
    store.flush()
    assert (rows(store, "objects"), rows(store, "patches")) == (2, 0)


def test_going_back_and_forth_between_two_versions_makes_no_circle(store):
    one, two = versions(2)
    back = blobref.Blob(one.digest, len(one), one.__bytes__, blobref.Patch(two.digest, 2500, 7, b"x"))
    for blob in (one, two, back, two, back):
        store.store(blob)
        store.flush()
    assert [store.load(blob.digest) for blob in (one, two)] == [bytes(one), bytes(two)]


@pytest.mark.parametrize("damage", ["DELETE FROM objects", "UPDATE patches SET inserted = x'00'"])
def test_a_difference_whose_ground_is_gone_or_changed_is_damaged(store, damage):
    blobs = versions(3)
    for blob in blobs:
        store.store(blob)
    store.flush()
    store._db.execute(damage)
    assert errnum(store.load, blobs[-1].digest) == EIO


def test_a_file_of_before_has_rows_as_old_as_can_be_and_takes_what_is_written_without_an_age(tmp_path):
    path = tmp_path / "content.sqlite"
    with closing(sqlite3.connect(path)) as db, db:
        db.execute("CREATE TABLE objects(hash BLOB PRIMARY KEY, size INT, object BLOB)")
        db.execute("INSERT INTO objects VALUES(?, 3, ?)", (digest_of(b"old"), b"old"))
    store = BlobStore(str(path))
    store.checkpoint_put({})
    store.store(b"new")
    assert (store.older(1), store.older(2)) == (1, 2)
    store.close()
    with closing(sqlite3.connect(path)) as db, db:
        db.execute("INSERT INTO objects(hash, size, object) VALUES(?, 3, ?)", (digest_of(b"odd"), b"odd"))
    store = BlobStore(str(path))
    assert (store.epoch, store.older(1)) == (1, 2)
    store.close()


def test_a_damaged_difference_stays_damaged_when_what_it_differs_from_goes(store):
    """It is not made whole as something else."""
    blobs = versions(3)
    for blob in blobs:
        store.store(blob)
    store.mark(1, [blobs[2].digest])
    store._db.execute("UPDATE patches SET inserted = x'00'")
    assert store.sweep(1, 0, store.high_water(), 100)[0] == 2
    assert errnum(store.load, blobs[2].digest) == EIO
    assert rows(store, "patches") == 1


def test_a_sweep_that_cannot_read_a_difference_changes_nothing_and_the_store_goes_on(store):
    blobs = versions(2)
    for blob in blobs:
        store.store(blob)
    store.mark(1, [blobs[1].digest])

    def deny(action, table, column, *_where):
        denied = (action, table, column) == (sqlite3.SQLITE_READ, "patches", "inserted")
        return sqlite3.SQLITE_DENY if denied else sqlite3.SQLITE_OK

    store._db.set_authorizer(deny)
    assert errnum(store.sweep, 1, 0, store.high_water(), 100) == EIO
    store._db.set_authorizer(None)
    store.store(b"next")
    store.flush()
    assert [store.load(blob.digest) for blob in blobs] == [bytes(blob) for blob in blobs]
