"""Where module files are found, by ours and by Flux's names; which of them only Flux can run."""

from __future__ import annotations

from pathlib import Path

import pytest

from brokersim.host.loader import Loader, NeedsFlux, is_shared_object, shipped_folder
from brokersim.protocol.errnums import ENOENT, RequestError


def test_flux_s_names_of_shipped_modules_find_them():
    loader = Loader()
    assert (
        loader.find("content")
        == loader.find("content-cache")
        == shipped_folder() / "content_cache/__init__.py"
    )
    assert loader.find("sched-simple") == loader.find("sched") == shipped_folder() / "sched/__init__.py"


def test_folders_before_the_shipped_one_win_and_those_behind_it_do_not(tmp_path: Path):
    first, last = tmp_path / "first", tmp_path / "last"
    for folder in (first, last):
        folder.mkdir()
        (folder / "kvs.py").touch()
    (last / "my-own.py").touch()
    loader = Loader([first], [last])
    assert loader.find("kvs") == first / "kvs.py"
    assert Loader([], [last]).find("kvs") == shipped_folder() / "kvs/__init__.py"
    assert loader.find("my-own") == last / "my-own.py"
    with pytest.raises(
        RequestError, match=r"no module 'mine' \(module not found in search path\); looked in "
    ) as caught:
        loader.find("mine")
    assert caught.value.errno == ENOENT


def test_the_error_for_a_name_that_is_none_names_a_similar_module(tmp_path: Path):
    (tmp_path / "packed").mkdir()
    for name in ("hello.py", "packed/__init__.py", "shared.so.1", "notes.txt", "__init__.py"):
        (tmp_path / name).touch()
    loader = Loader([tmp_path, tmp_path / "absent"])
    for name, near in {
        "kvz": "kvs",
        "conten": "content",
        "helo": "hello",
        "paked": "packed",
        "share": "shared",
    }.items():
        with pytest.raises(RequestError, match=f"; a similar one is there: {near}$"):
            loader.find(name)
    for name in ("notes", "__init_", "zzz"):
        with pytest.raises(RequestError, match=r"; give a path with a / for your file$"):
            loader.find(name)


def test_shared_objects_are_found_by_name_with_or_without_a_version(tmp_path: Path):
    for name in ("plain.so", "versioned.so.0.0.0", "versioned.so.txt", "star.so"):
        (tmp_path / name).touch()
    loader = Loader([tmp_path])
    assert loader.find("plain") == tmp_path / "plain.so"
    assert loader.find("versioned") == tmp_path / "versioned.so.0.0.0"
    assert [is_shared_object(Path(name)) for name in ("a.so", "a.so.1", "a.so.1.2", "a.so.txt", "a.py")] == [
        True, True, True, False, False,
    ]  # fmt: skip
    with pytest.raises(RequestError, match="no module 's\\*'"):
        loader.find("s*")


@pytest.mark.parametrize(
    "text",
    ["from _flux._core import ffi", "import flux.core.inner", "from flux.brokermod import nosuchname"],
)
def test_a_file_that_needs_more_of_flux_than_is_here_says_so(tmp_path: Path, text: str):
    path = tmp_path / "one.py"
    path.write_text(f"{text}\ndef mod_main(h): pass\n")
    with pytest.raises(NeedsFlux, match=f"{path} raises at import: (ImportError|ModuleNotFoundError): "):
        Loader().load(path)


def test_a_file_that_misses_something_else_does_not_need_flux(tmp_path: Path):
    path = tmp_path / "one.py"
    path.write_text("import nosuchlibrary\n")
    with pytest.raises(RequestError, match="No module named 'nosuchlibrary'") as caught:
        Loader().load(path)
    assert not isinstance(caught.value, NeedsFlux)


def test_a_module_in_c_needs_flux(tmp_path: Path):
    path = tmp_path / "one.so"
    path.touch()
    with pytest.raises(NeedsFlux, match=f"{path} is a module in C"):
        Loader().load(path)


MODULE = "from brokersim.brokermod import BrokerModule, request_handler\n"
MODULE += "class M(BrokerModule):\n    @request_handler('a')\n    def a(self, msg): pass\n"


def test_a_module_may_wait_if_a_file_of_its_own_says_rpc_and_no_other_does(tmp_path: Path):
    (tmp_path / "beside.py").write_text("x.rpc(1)\n")
    (tmp_path / "single.py").write_text(MODULE)
    assert not Loader().load(tmp_path / "single.py").may_block
    folder = tmp_path / "whole"
    folder.mkdir()
    (folder / "__init__.py").write_text(MODULE)
    assert not Loader().load(folder / "__init__.py").may_block
    (tmp_path / "two").mkdir()
    (tmp_path / "two/__init__.py").write_text(MODULE)
    (tmp_path / "two/part.py").write_text("x.rpc(1)\n")
    assert Loader().load(tmp_path / "two/__init__.py").may_block
