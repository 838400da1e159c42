"""What was answered for is there after a power cut, of content-sqlite, of run databases and of parts of a run.

``BROKERSIM_CUTS`` cuts of each; a cut is a moment, and one of the disks that may be left.
"""

from __future__ import annotations

import os
import random
import sqlite3
from pathlib import Path

import pytest

from brokersim.lab.keep.kept import read_kept
from brokersim.lab.keep.parts import PartFile
from modules.content_sqlite.mark import Mark
from modules.content_sqlite.store import BlobStore
from tests.power.disk import Event, after_cut, cuts, events_of

CUTS = int(os.environ.get("BROKERSIM_CUTS", "40"))
CONTENT = """
from pathlib import Path
from modules.content_sqlite.mark import Mark
from modules.content_sqlite.store import BlobStore
folder, synchronous = Path(sys.argv[1]), sys.argv[2]
for life in range(3):
    mark = Mark(folder / "content.sqlite")
    assert not mark.gone()
    store = BlobStore(str(folder / "content.sqlite"), synchronous=synchronous)
    store._db.execute("PRAGMA wal_autocheckpoint=30")  # so that it merges in the middle
    mark.opened("WAL")
    for number in range(12):
        digests = [store.store(os.urandom(700)).hex() for _ in range(3)]
        if number % 2:
            store.flush()
            if synchronous == "FULL":
                answered(" ".join(digests))
        store.checkpoint_put({"life": life, "number": number})
        answered(" ".join(digests))
        answered(f"checkpoint {life} {number}")
    mark.closing()
    store.close()
    answered("")
"""


def laid_out(disk: dict[str, bytes], before: Path, folder: Path) -> Path:
    """The files of a disk in a folder of their own."""
    folder.mkdir()
    for path, content in disk.items():
        (folder / Path(path).relative_to(before)).write_bytes(content)
    return folder


@pytest.mark.parametrize("synchronous", ["NORMAL", "FULL"])
def test_content_that_was_synced_survives_a_power_cut_and_nobody_misses_a_file(
    tmp_path: Path, synchronous: str
) -> None:
    state = tmp_path / "state"
    state.mkdir()
    events = events_of(CONTENT, state, tmp_path, synchronous)
    assert sum(event.kind == "S" for event in events) > 30
    for number, (answered, disk) in enumerate(cuts(events, CUTS, seed=1)):
        folder = laid_out(disk, state, tmp_path / f"{number}")
        assert Mark(folder / "content.sqlite").gone() == "", answered[-1:]
        store = BlobStore(str(folder / "content.sqlite"))
        kept = [one["value"] for one in store.checkpoints()]
        last = [text.split()[1:] for text in answered if text.startswith("checkpoint")]
        if last:
            newest = (kept[0]["life"], kept[0]["number"])
            assert newest >= tuple(map(int, last[-1]))
        for text in answered:
            for digest in () if text.startswith("checkpoint") else text.split():
                store.load(bytes.fromhex(digest))
        assert "are there" in store.look_over()
        store.close()


def test_without_the_sync_of_a_checkpoint_it_would_not(tmp_path: Path) -> None:
    """The cuts find what they are for: SQLite's own NORMAL syncs no commit."""
    state = tmp_path / "state"
    state.mkdir()
    program = CONTENT.replace("mark.opened", "store._is_patient = False; mark.opened")
    events = events_of(program, state, tmp_path, "NORMAL")
    lost = 0
    for number, (answered, disk) in enumerate(cuts(events, CUTS, seed=1)):
        folder = laid_out(disk, state, tmp_path / f"{number}")
        store = BlobStore(str(folder / "content.sqlite"))
        kept = [(one["value"]["life"], one["value"]["number"]) for one in store.checkpoints()]
        last = [tuple(map(int, text.split()[1:])) for text in answered if text.startswith("checkpoint")]
        lost += bool(last) and (not kept or kept[0] < last[-1])
        store.close()
    assert lost


RUN = """
from pathlib import Path
from brokersim.lab.keep.kept import keep
from brokersim.lab.keep.parts import PartFile, Parts
from brokersim.lab.result import Result
database = Path(sys.argv[1]) / "run.db"
file = PartFile(database, "what", "command")
parts = Parts(file)
for number in range(6):
    parts.once(f"unit {number}", lambda: list(range(300 + number)))
    answered(f"unit {number}")
keep(Result(meta={"experiment": "x", "seed": 1}, parts={"series": {"a": [[0.5 * n, n] for n in range(500)]}}), database)
answered("kept")
file.remove()
file.close()
"""


def test_parts_of_a_run_and_its_database_survive_a_power_cut_whole(tmp_path: Path) -> None:
    runs = tmp_path / "runs"
    runs.mkdir()
    events = events_of(RUN, runs, tmp_path)
    seen = set()
    for number, (answered, disk) in enumerate(cuts(events, CUTS, seed=2)):
        folder = laid_out(disk, runs, tmp_path / f"{number}")
        database = folder / "run.db"
        seen.add(database.exists())
        if database.exists():
            assert len(read_kept(database).series["a"]) == 500
            continue
        assert "kept" not in answered
        file = PartFile(database, "what", "command")
        for text in answered:
            assert file.read(text) == (list(range(300 + int(text.split()[1]))),)
        file.close()
    assert seen == {True, False}


FLUSHES = """
from pathlib import Path
from brokersim.statsd_server.outputs.rundb import RunDatabase
database = RunDatabase(Path(sys.argv[1]) / "run.db", {"a": "b"})
for number in range(40):
    database.add("value", "x", [(float(number), number)])
database.close()
answered("closed")
"""


def test_a_servers_run_database_is_never_damaged_and_whole_once_it_was_closed(tmp_path: Path) -> None:
    """It may lack the last flushes: they are written, not synced."""
    runs = tmp_path / "runs"
    runs.mkdir()
    events = events_of(FLUSHES, runs, tmp_path)
    for number, (answered, disk) in enumerate(cuts(events, CUTS, seed=3)):
        database = laid_out(disk, runs, tmp_path / f"{number}") / "run.db"
        if not database.exists() or not database.stat().st_size:
            assert not answered
            continue
        with sqlite3.connect(database) as connection:
            assert connection.execute("PRAGMA integrity_check").fetchone() == ("ok",)
            tables = connection.execute("SELECT count(*) FROM sqlite_master WHERE name = 'sample'").fetchone()
            rows = connection.execute("SELECT v FROM sample ORDER BY t").fetchall() if tables[0] else []
        connection.close()
        assert rows == [(n,) for n in range(len(rows))]
        assert not answered or len(rows) == 40


def test_of_what_was_not_synced_anything_may_be_left_and_of_the_rest_all() -> None:
    events = [
        Event("W", "/d/a", b"1111"), Event("S", "/d/a"), Event("W", "/d/a", b"2", 1), Event("T", "/d/a", number=2),
        Event("W", "/d/b", b"b"), Event("R", "/d/a", other="/d/c"),
    ]  # fmt: skip
    left = {tuple(sorted(after_cut(events, random.Random(seed)).items())) for seed in range(300)}
    contents = {b"1111", b"1211", b"11", b"12"}
    assert {dict(one).get("/d/a") or dict(one)["/d/c"] for one in left} == contents
    assert {"/d/b" in dict(one) for one in left} == {True, False}
    assert {dict(one).get("/d/b") for one in left} == {None, b"", b"b"}
    synced = [*events, Event("S", "/d")]
    assert {tuple(sorted(after_cut(synced, random.Random(seed)))) for seed in range(50)} == {("/d/b", "/d/c")}
