"""The commands about records against a canned broker, and the shell's lines with a file and a record."""

from __future__ import annotations

import errno
import json

import pytest

from brokersim.cli.registry.places import File
from brokersim.cli.registry.shell import Shell
from brokersim.cli.session import Session
from brokersim.protocol.errnums import ENOENT, ENOSYS, RequestError

RECORD = {
    "id": "s0",
    "version": 3,
    "ts": 1.0,
    "hash": "sha1-x",
    "name": "s0",
    "status": "ON",
    "state": "alive",
}


@pytest.fixture
def kept(fake):
    fake.answers["registry.list"] = {"records": [RECORD], "total": 1}
    fake.answers["registry.get"] = {"record": RECORD}
    fake.answers["registry.put"] = fake.answers["registry.delete"] = {"records": [{**RECORD, "version": 4}]}
    return fake


def test_list_shows_the_columns_that_records_have_and_asks_for_what_was_said(kept, run):
    result = run(
        "registry", "list", "services", "--filter", '{"state":"alive"}', "--sort", "-ts", "--limit", "5"
    )
    assert (result.code, result.err) == (0, "")
    assert result.out.split() == ["ID", "Version", "Name", "State", "s0", "3", "s0", "alive"]
    assert kept.asked("registry.list") == [
        {"collection": "services", "filter": {"state": "alive"}, "sort": "-ts", "limit": 5}
    ]
    assert run("--json", "registry", "list", "services").json["total"] == 1


def test_get_put_and_rm(kept, run):
    assert json.loads(run("registry", "get", "services", "s0", "--version", "3").out)["version"] == 3
    assert run("registry", "put", "services", "s0", '{"name":"s0"}', "--if-version", "3").out == ""
    assert kept.asked("registry.put")[0]["if_version"] == 3
    assert run("--json", "registry", "rm", "services", "s0").json["version"] == 4


@pytest.mark.parametrize(
    ("number", "text", "says"),
    [
        (ENOSYS, "", "try:  brokersim module load registry"),
        (ENOENT, "no record 's1' in services", "no record 's1'"),
    ],
)
def test_what_is_wrong_is_told_with_what_to_type_next(kept, run, number, text, says):
    kept.answers["registry.get"] = RequestError(number, text)
    result = run("registry", "get", "services", "s1")
    assert result.code == 4 and says in result.err and len(result.err.splitlines()) <= 3


def test_a_record_that_is_not_there_is_told_with_the_list_of_its_own_collection(kept, run):
    kept.answers["registry.get"] = kept.answers["registry.delete"] = RequestError(
        ENOENT, "no record 'n1' in nodes"
    )
    for words in (("get", "nodes", "n1"), ("rm", "nodes", "n1"), ("shell", "nodes", "n1")):
        assert run("registry", *words).err.endswith("  try:  brokersim registry list nodes\n"), words


def typed(run, lines, *args):
    return run("registry", "shell", *args, stdin=lines.encode())


def test_a_script_edits_a_record_and_puts_it_with_the_version_it_read(kept, run):
    lines = 'cd /\nset status "OFF"\nmkdir -p probes/load\nset probes/load/probe cpu\npwd\nls\nput\n'
    result = typed(run, lines, "services", "s0")
    assert (result.code, result.err) == (0, "")
    assert result.out.splitlines() == ["/", "name  probes/  status"]
    [put] = kept.asked("registry.put")
    assert put["if_version"] == 3
    assert put["record"] == {"name": "s0", "status": "OFF", "probes": {"load": {"probe": "cpu"}}}


def test_a_script_ends_at_the_first_line_that_cannot_be(kept, run):
    result = typed(run, "cd nowhere\nset status OFF\nput\n", "services", "s0")
    assert result.code == 1 and "there is no /nowhere" in result.err
    assert kept.asked("registry.put") == []


def test_a_lost_update_is_told_and_the_edits_stay(kept, run):
    kept.answers["registry.put"] = RequestError(
        errno.ESTALE, "record 's0' of services is at version 5, not 3"
    )
    result = typed(run, "set status OFF\nput\n", "services", "s0")
    assert result.code == 1 and "is at version 5, not 3: somebody else has written it" in result.err


def test_a_file_is_written_whole_and_not_over_what_somebody_else_wrote(run, tmp_path):
    path = tmp_path / "probes.json"
    path.write_text('{"probes": {}}')
    assert typed(run, "set /status OFF\nput\nundo\nput\n", "--file", str(path)).code == 0
    assert json.loads(path.read_text()) == {"probes": {}}
    place = File(path)
    place.read()
    path.write_text('{"probes": {"other": {}}}')
    with pytest.raises(Exception, match="changed by somebody else"):
        place.write({})
    assert list(tmp_path.iterdir()) == [path]


def test_interrupting_drops_the_line_and_twice_leaves(monkeypatch, tmp_path):
    path = tmp_path / "probes.json"
    path.write_text('{"a": 1}')
    session, said = Session(), []
    monkeypatch.setattr(session, "say", said.append)
    editor = Shell(session, File(path))
    editor.is_talking = True
    lines = iter(["set a 2", KeyboardInterrupt, "set b 3", KeyboardInterrupt, KeyboardInterrupt])

    def reads(_prompt):
        line = next(lines)
        if line is KeyboardInterrupt:
            raise line
        return line

    monkeypatch.setattr("builtins.input", reads)
    editor.run()
    assert said == ["^C again leaves"] * 2 and next(lines, None) is None
    assert editor.desk.document == {"a": 2, "b": 3} and json.loads(path.read_text()) == {"a": 1}


def test_a_quote_that_does_not_end_is_the_lines_fault(run, tmp_path):
    (tmp_path / "probes.json").write_text("{}")
    found = run("registry", "shell", "--file", str(tmp_path / "probes.json"), stdin=b'mkdir "a\n')
    assert (found.code, "itself is at fault" in found.err) == (1, False)
    assert 'mkdir "a: no closing quotation' in found.err


def test_neither_a_record_nor_a_file_is_a_usage_error(run):
    result = run("registry", "shell", "services")
    assert result.code == 2 and "COLLECTION and ID, or --file" in result.err


def test_help_says_what_each_word_does(run, tmp_path):
    path = tmp_path / "probes.json"
    path.write_text("{}")
    lines = typed(run, "help\n", "--file", str(path)).out.splitlines()
    assert [line.split()[0] for line in lines[:4]] == ["cd", "del", "diff", "exit"]
    assert all(" -- " in line and len(line) <= 110 for line in lines) and len(lines) > 12
    assert typed(run, "help run-now\n", "--file", str(path)).out.startswith("run-now NAME -- ")
    assert "no word 'x'" in typed(run, "help x\n", "--file", str(path)).err
