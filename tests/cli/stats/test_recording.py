"""Recordings: every packet comes back byte for byte; what cannot be read is named with file and line."""

from __future__ import annotations

import gzip
import json
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from brokersim.cli.errors import CommandError
from brokersim.cli.stats.recording import Writer, read, rewrite, shown, to_json

PACKETS = st.lists(st.tuples(st.floats(0, 1e9), st.binary(max_size=80)), max_size=10)


@given(PACKETS, st.sampled_from(["r.jsonl", "r.jsonl.gz"]))
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_any_packet_comes_back_byte_for_byte(tmp_path: Path, packets: list[tuple[float, bytes]], name: str):
    path = str(tmp_path / name)
    writer = Writer(path)
    for t, packet in packets:
        writer.write(t, packet)
    writer.close()
    recording = read(path)
    assert recording.records == packets
    assert recording.lines == list(range(1, len(packets) + 1))
    assert not recording.is_cut


def test_a_line_is_plain_JSON_and_what_is_no_utf8_is_escaped():
    line = to_json(0.25, b"k:1|c\n\xff\x80:\xc3\xa9")
    assert line == '{"t":0.25,"data":"k:1|c\\n\\udcff\\udc80:\\u00e9"}'
    assert json.loads(line)["t"] == 0.25


def test_the_same_packets_give_the_same_gzip(tmp_path: Path):
    for name in ("a.gz", "b.gz"):
        writer = Writer(str(tmp_path / name))
        writer.write(1.0, b"k:1|c")
        writer.close()
    assert (tmp_path / "a.gz").read_bytes() == (tmp_path / "b.gz").read_bytes()


def test_gzip_is_known_by_its_content_and_one_that_breaks_off_gives_its_whole_lines(tmp_path: Path):
    rows = "".join(f"{to_json(n / 7, b'key%d:1|c' % n)}\n" for n in range(2000)).encode()
    path = tmp_path / "odd.name"
    path.write_bytes(gzip.compress(rows))
    assert len(read(str(path)).records) == 2000
    path.write_bytes(gzip.compress(rows)[:-2000])
    recording = read(str(path))
    assert recording.is_cut
    assert 0 < len(recording.records) < 2000
    assert recording.records[-1][1] == b"key%d:1|c" % (len(recording.records) - 1)


def test_numbers_of_lines_are_the_files_own(tmp_path: Path):
    path = tmp_path / "r.jsonl"
    path.write_bytes(b'\n{"t":1,"data":"a:1|c"}\r\n\n{"t":2,"data":"b:1|c"}')
    assert read(str(path))[1:3] == ([(1.0, b"a:1|c"), (2.0, b"b:1|c")], [2, 4])


def test_raw_bytes_of_another_recorder_are_kept(tmp_path: Path):
    path = tmp_path / "r.jsonl"
    path.write_bytes(b'{"t":1,"data":"\xff:1|c"}\n')
    assert read(str(path)).records == [(1.0, b"\xff:1|c")]


@pytest.mark.parametrize(
    ("content", "told"),
    [
        (b'{"t":1,"data":"a"}\n{"t":', "r.jsonl: line 2: "),
        (b'{"t":1}', "write one object a line"),
        (b'{"t":1,"data":"\\ud800"}', "line 1: half a surrogate pair"),
        (b"\x1f\x8b\x08garbage", None),
        (b"k:1|c", "is no record"),
        (b'\n\n{"t":1e999,"data":""}', "record 3: t is inf"),
    ],
)
def test_what_cannot_be_read_is_named(tmp_path: Path, content: bytes, told: str | None):
    path = tmp_path / "r.jsonl"
    path.write_bytes(content)
    if told is None:
        assert read(str(path)) == (str(path), [], [], True, False)
        return
    with pytest.raises(CommandError) as caught:
        read(str(path))
    assert caught.value.code == 2
    assert str(path) in caught.value.what
    assert told in caught.value.what


def test_a_file_that_is_not_there_or_a_folder_is_named(tmp_path: Path):
    for name, told in (("none", "No such file or directory"), (".", "Is a directory")):
        with pytest.raises(CommandError) as caught:
            read(str(tmp_path / name))
        assert (caught.value.code, told in caught.value.what) == (2, True)


def test_rewriting_keeps_mode_and_form_and_leaves_nothing_beside(tmp_path: Path):
    for name in ("r.jsonl", "r.jsonl.gz"):
        path = tmp_path / name
        Writer(str(path)).close()
        path.chmod(0o640)
        rewrite(str(path), [(1.0, b"k:1|c")])
        assert path.stat().st_mode & 0o777 == 0o640
        assert path.read_bytes().startswith(b"\x1f\x8b") == (path.suffix == ".gz")
        assert read(str(path)).records == [(1.0, b"k:1|c")]
    assert sorted(each.name for each in tmp_path.iterdir()) == ["r.jsonl", "r.jsonl.gz"]


def test_text_for_people_has_no_control_characters():
    assert shown(b"a\x1b[31m\xff\n\xc3\xa9") == "a\\x1b[31m\\xff\\n\u00e9"


def test_what_was_synced_can_be_read_while_the_recorder_goes_on(tmp_path: Path):
    for name in ("r.jsonl", "r.jsonl.gz"):
        path = str(tmp_path / name)
        writer = Writer(path)
        writer.write(0.5, b"k:1|c")
        writer.sync()
        assert read(path).records == [(0.5, b"k:1|c")]
        writer.close()


def test_a_packed_recording_can_be_read_up_to_a_second_ago(tmp_path: Path):
    path = str(tmp_path / "r.jsonl.gz")
    writer = Writer(path)
    for t in (0.5, 1.0, 1.5, 1.999):
        writer.write(t, b"k:1|c")
        writer.flush()
    assert [t for t, _ in read(path).records] == [0.5, 1.0]
    writer.write(2.0, b"k:1|c")
    assert [t for t, _ in read(path).records] == [0.5, 1.0, 1.5, 1.999, 2.0]
    writer.close()
