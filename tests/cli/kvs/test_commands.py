"""The kvs commands: what they ask, as Flux's do, and what they print."""

from __future__ import annotations

from base64 import b64encode
from typing import Any

import msgspec
import pytest

from brokersim.protocol import treeobj
from brokersim.protocol.errnums import (
    EEXIST,
    EINVAL,
    EISDIR,
    ENOENT,
    ENOTDIR,
    ENOTSUP,
    RequestError,
)
from tests.cli.conftest import Run
from tests.cli.fake_broker import FakeBroker

BIG = "sha1-" + "1" * 40
TREE: dict[str, dict[str, Any]] = {
    ".": treeobj.directory({
        "a": treeobj.val(b"1"), "b": treeobj.dirref(BIG), "l": treeobj.symlink("b.c"),
        "big": treeobj.valref([BIG]), "empty": treeobj.directory(),
    }),
    "b": treeobj.directory({"c": treeobj.val(b"hello\nworld"), "d": treeobj.val(b"\xff\x00")}),
    "b.c": treeobj.val(b"hello\nworld"), "b.d": treeobj.val(b"\xff\x00"), "a": treeobj.val(b"1"),
    "big": treeobj.val(b"x" * 100), "l": treeobj.symlink("b.c"), "empty": treeobj.directory(),
    "log": treeobj.val(b'{"timestamp":1.5,"name":"start","context":{"n":1}}\n{"timestamp":2,"name":"end"}\nhalf'),
    "far": treeobj.symlink("k", "other"),
}  # fmt: skip


def lookup(request: Any) -> Any:
    """A small store with the errors of flux-core's kvs."""
    key, flags = request.payload["key"], request.payload["flags"]
    if request.payload["namespace"] != "primary":
        return RequestError(ENOTSUP)
    found = TREE.get(key)
    if found is None:
        return RequestError(ENOENT)
    is_dir = found["type"] == "dir"
    if flags == 2:
        return {"val": found} if found["type"] == "symlink" else RequestError(EINVAL)
    if flags == 1:
        return {"val": found} if is_dir else RequestError(ENOTDIR)
    return {"val": found} if flags == 16 or not is_dir else RequestError(EISDIR)


@pytest.fixture
def store(fake: FakeBroker) -> FakeBroker:
    fake.answers |= {
        "kvs.lookup": lookup,
        "kvs.commit": {"rootref": BIG, "rootseq": 7},
        "kvs.getroot": lambda request: (
            {"owner": 0, "rootseq": 7, "rootref": BIG, "flags": 0, "namespace": "primary"}
            if request.payload["namespace"] == "primary"
            else RequestError(ENOTSUP)
        ),
    }
    return fake


def test_get_prints_values_a_line_each(store: FakeBroker, run: Run) -> None:
    assert run("kvs", "get", "a", "b.c").out == "1\nhello\nworld\n"
    assert run("kvs", "get", "-l", "a").out == "a=1\n"
    assert store.asked("kvs.lookup")[0] == {"key": "a", "namespace": "primary", "flags": 0}


def test_get_raw_adds_nothing_and_treeobj_shows_the_object(store: FakeBroker, run: Run) -> None:
    assert run("kvs", "get", "-r", "b.d").out == "\udcff\x00"
    assert msgspec.json.decode(run("kvs", "get", "-t", "b").out) == TREE["b"]
    assert store.asked("kvs.lookup")[1]["flags"] == 16


def test_get_json_gives_text_or_base64(store: FakeBroker, run: Run) -> None:
    assert run("kvs", "get", "a", "b.d", "--json").json == {
        "namespace": "primary",
        "values": [
            {"key": "a", "value": "1"},
            {"key": "b.d", "value_base64": b64encode(b"\xff\x00").decode()},
        ],
    }


@pytest.mark.parametrize(
    ("words", "err"),
    [
        (("get", "b.cc"), "error: no key 'b.cc' in namespace 'primary' (ENOENT)\n"
         "  hint: a similar one exists: b.c\n  try:  brokersim kvs dir b\n"),
        (("get", "zzz"), "error: no key 'zzz' in namespace 'primary' (ENOENT)\n  try:  brokersim kvs dir\n"),
        (("get", "b"), "error: key 'b' is a directory (EISDIR)\n  try:  brokersim kvs dir b\n"),
        (("dir", "a"), "error: key 'a' is no directory (ENOTDIR)\n  try:  brokersim kvs get a\n"),
        (("get", "-N", "x", "a"), "error: no namespace 'x' (ENOTSUP)\n  try:  brokersim kvs namespace list\n"),
        (("version", "-N", "x"), "error: no namespace 'x' (ENOTSUP)\n  try:  brokersim kvs namespace list\n"),
        (("readlink", "a"), "error: key 'a' is no symbolic link (EINVAL)\n  try:  brokersim kvs get a\n"),
    ],
)  # fmt: skip
def test_what_is_wrong_with_a_key(words: tuple[str, ...], err: str, store: FakeBroker, run: Run) -> None:
    assert run("kvs", *words) == (4, "", err)


def test_a_lookup_that_is_not_supported_is_no_missing_namespace(store: FakeBroker, run: Run) -> None:
    store.answers["kvs.lookup"] = RequestError(ENOTSUP, "not while it sleeps")
    refused = run("kvs", "get", "a")
    assert "not while it sleeps" in refused.err and "namespace" not in refused.err


def test_put_is_one_commit(store: FakeBroker, run: Run) -> None:
    assert run("kvs", "put", "q=1", "e=", "x=a=b") == (0, "", "")
    assert store.asked("kvs.commit") == [{
        "namespace": "primary",
        "flags": 0,
        "ops": [
            {"key": "q", "flags": 0, "dirent": {"ver": 1, "type": "val", "data": "MQ=="}},
            {"key": "e", "flags": 0, "dirent": {"ver": 1, "type": "val", "data": ""}},
            {"key": "x", "flags": 0, "dirent": {"ver": 1, "type": "val", "data": "YT1i"}},
        ],
    }]  # fmt: skip


def test_put_is_the_frame_flux_sends(store: FakeBroker, run: Run) -> None:
    run("kvs", "put", "-N", "ns1", "q=1")
    assert store.requests[0].raw == (
        b'{"namespace":"ns1","flags":0,"ops":[{"key":"q","flags":0,'
        b'"dirent":{"ver":1,"type":"val","data":"MQ=="}}]}\0'
    )


def test_put_options(store: FakeBroker, run: Run) -> None:
    run("kvs", "put", "-A", "-S", "-n", "lg=abc")
    run("kvs", "put", "-r", "in=-", stdin=b"\x00raw")
    run("kvs", "put", "-t", 'd={"ver":1,"type":"dir","data":{}}')
    run("kvs", "put", "dash=-")
    commits = store.asked("kvs.commit")
    assert (commits[0]["flags"], commits[0]["ops"][0]["flags"]) == (5, 32)
    assert treeobj.val_bytes(commits[1]["ops"][0]["dirent"]) == b"\x00raw"
    assert commits[2]["ops"][0]["dirent"] == treeobj.directory()
    assert treeobj.val_bytes(commits[3]["ops"][0]["dirent"]) == b"-"


@pytest.mark.parametrize(
    ("option", "out"), [("-b", BIG), ("-s", "7"), ("-O", f'{{"ver":1,"type":"dirref","data":["{BIG}"]}}')]
)
def test_put_prints_the_new_root_in_three_forms(option: str, out: str, store: FakeBroker, run: Run) -> None:
    assert run("kvs", "put", option, "a=1").out == f"{out}\n"


def test_put_json_is_the_answer(store: FakeBroker, run: Run) -> None:
    assert run("kvs", "put", "a=1", "--json").json == {"rootref": BIG, "rootseq": 7}


def test_mkdir_link_and_readlink(store: FakeBroker, run: Run) -> None:
    run("kvs", "mkdir", "d.e")
    run("kvs", "link", "a.b", "here")
    run("kvs", "link", "-T", "other", "a.b", "there")
    dirents = [commit["ops"][0]["dirent"] for commit in store.asked("kvs.commit")]
    assert dirents == [
        treeobj.directory(), treeobj.symlink("a.b"), treeobj.symlink("a.b", "other"),
    ]  # fmt: skip
    assert run("kvs", "readlink", "l", "far").out == "b.c\nother::k\n"
    assert run("kvs", "readlink", "far", "--json").json == {
        "links": [{"key": "far", "target": "k", "namespace": "other"}]
    }


def test_dir_shows_values_links_and_directories(store: FakeBroker, run: Run) -> None:
    assert run("kvs", "dir").out == f"a = 1\nb.\nbig = {'x' * 100}\nempty.\nl -> b.c\n"
    assert store.topics == ["kvs.lookup", "kvs.lookup"], "only a reference is worth a question"
    assert run("kvs", "dir", "-d").out == "a\nb.\nbig\nempty.\nl -> b.c\n"
    assert run("kvs", "dir", "-w", "8").out == "a = 1\nb.\nbig = xx\nempty.\nl -> b.c\n"


def test_dir_recursive_lists_what_is_below(store: FakeBroker, run: Run) -> None:
    assert run("kvs", "dir", "-R", "-d").out == "a\nb.c\nb.d\nbig\nl -> b.c\n"
    assert run("kvs", "dir", "b").out == "b.c = hello\\nworld\nb.d = �\x00\n"


def test_dir_json(store: FakeBroker, run: Run) -> None:
    assert run("kvs", "dir", "--json").json["entries"] == [
        {"key": "a", "type": "val", "value": "1"}, {"key": "b", "type": "dir"},
        {"key": "big", "type": "val", "value": "x" * 100}, {"key": "empty", "type": "dir"},
        {"key": "l", "type": "symlink", "target": "b.c"},
    ]  # fmt: skip


def test_ls(store: FakeBroker, run: Run) -> None:
    assert run("kvs", "ls").out == "a\nb\nbig\nempty\nl\n"
    assert [one["flags"] for one in store.asked("kvs.lookup")] == [16, 1]
    assert run("kvs", "ls", "-F").out == "a\nb.\nbig\nempty.\nl@\n"
    assert run("kvs", "ls", "-R").out == "a\nb\nb.c\nb.d\nbig\nempty\nl\n"
    assert run("kvs", "ls", "b", "a").out == "c\nd\na\n"
    assert run("kvs", "ls", "-d", "b").out == "b\n"
    assert run("kvs", "ls", "b", "--json").json == {
        "namespace": "primary", "entries": [{"key": "c", "type": "val"}, {"key": "d", "type": "val"}],
    }  # fmt: skip


def test_unlink_looks_first_and_commits_once(store: FakeBroker, run: Run) -> None:
    assert run("kvs", "unlink", "a", "b.c") == (0, "", "")
    assert store.asked("kvs.commit") == [{
        "namespace": "primary", "flags": 0,
        "ops": [{"key": "a", "flags": 0, "dirent": None}, {"key": "b.c", "flags": 0, "dirent": None}],
    }]  # fmt: skip


def test_unlink_of_a_directory_needs_R_unless_it_is_empty(store: FakeBroker, run: Run) -> None:
    assert run("kvs", "unlink", "b") == (
        1, "", "error: key 'b' is a directory with 2 entries\n  try:  brokersim kvs unlink -R b\n",
    )  # fmt: skip
    assert "kvs.commit" not in store.topics
    assert run("kvs", "unlink", "empty").code == 0
    assert run("kvs", "unlink", "-R", "b").code == 0


def test_unlink_of_a_missing_key_is_an_error_unless_forced(store: FakeBroker, run: Run) -> None:
    assert run("kvs", "unlink", "nope").code == 4
    assert run("kvs", "unlink", "-f", "nope").code == 0


def test_getroot_in_four_forms(store: FakeBroker, run: Run) -> None:
    assert run("kvs", "getroot").out == f'{{"ver":1,"type":"dirref","data":["{BIG}"]}}\n'
    assert run("kvs", "getroot", "-b").out == f"{BIG}\n"
    assert run("kvs", "getroot", "-s").out == "7\n"
    assert run("kvs", "getroot", "-o").out == "0\n"
    assert run("kvs", "getroot", "--json").json["rootref"] == BIG
    assert store.asked("kvs.getroot")[0] == {"namespace": "primary", "flags": 0}


def test_version_and_wait(store: FakeBroker, run: Run) -> None:
    store.answers["kvs.wait-version"] = {"rootseq": 9, "rootref": BIG}
    assert run("kvs", "version").out == "7\n"
    assert run("kvs", "version", "--json").json == {"namespace": "primary", "rootseq": 7}
    assert run("kvs", "wait", "9").out == "9\n"
    assert store.asked("kvs.wait-version") == [{"rootseq": 9, "namespace": "primary"}]


def test_namespaces(store: FakeBroker, run: Run) -> None:
    spaces = {"namespaces": [{"namespace": "primary", "owner": 0, "flags": 0}]}
    store.answers |= {
        "kvs.namespace-create": None, "kvs.namespace-remove": None, "kvs.namespace-list": spaces,
    }  # fmt: skip
    assert run("kvs", "namespace", "create", "x", "y") == (0, "", "")
    assert store.asked("kvs.namespace-create")[0] == {
        "namespace": "x", "rootref": "sha1-c0a9faf907dda6216fd73bf81d0b3b21a1a8cb91", "owner": -1, "flags": 0,
    }  # fmt: skip
    assert store.nodeids("kvs.namespace-create") == [0, 0]
    assert run("kvs", "namespace", "remove", "x", "--json").json == {"removed": ["x"]}
    assert run("kvs", "namespace", "list").out == (
        "Namespace  Owner  Flags\nprimary        0  0x00000000\n".replace("  Flags", "       Flags")
    )
    assert run("kvs", "namespace", "list", "--json").json == spaces
    store.answers["kvs.namespace-create"] = RequestError(EEXIST)
    assert run("kvs", "namespace", "create", "x").err.startswith(
        "error: namespace 'x' exists already (EEXIST)\n"
    )


def test_eventlog_append_appends_one_json_line(store: FakeBroker, run: Run) -> None:
    assert run("kvs", "eventlog", "append", "-t", "1.5", "log", "start", '{"n":1}') == (0, "", "")
    (commit,) = store.asked("kvs.commit")
    assert commit["ops"][0]["flags"] == 32
    assert (
        treeobj.val_bytes(commit["ops"][0]["dirent"])
        == b'{"timestamp":1.5,"name":"start","context":{"n":1}}\n'
    )


def test_eventlog_get_prints_events_and_skips_a_half_written_line(store: FakeBroker, run: Run) -> None:
    assert run("kvs", "eventlog", "get", "log").out == '1.500000 start {"n":1}\n2.000000 end\n'
    assert run("kvs", "eventlog", "get", "log", "--json").lines[1] == {"timestamp": 2, "name": "end"}
    assert run("kvs", "eventlog", "get", "-u", "log").out.endswith("\nhalf")
