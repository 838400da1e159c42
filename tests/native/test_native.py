"""Knows when a C twin is used and when Python does the work. Not what the twins do."""

from __future__ import annotations

import importlib
import os
import shutil
import subprocess
import sys
import sysconfig
from pathlib import Path

import pytest

from brokersim import native
from brokersim.native import engine

CAN_COMPILE = (
    shutil.which((sysconfig.get_config_var("CC") or "none").split()[0]) is not None
    and Path(sysconfig.get_path("include"), "Python.h").exists()
)


@pytest.mark.skipif(not CAN_COMPILE, reason="no compiler or no headers of this Python")
@pytest.mark.skipif(native.PURE in os.environ, reason=f"{native.PURE} is set")
def test_where_there_is_a_compiler_the_tests_run_on_the_compiled_engine():
    importlib.import_module("brokersim.host.handle")  # every class that has a twin
    assert engine.engine() == "compiled"


def test_fields_that_are_kept_otherwise_mean_python(monkeypatch):
    def refuse(it):
        raise TypeError(f"'topic' of {it.__name__} is no slot")

    monkeypatch.setattr(engine, "_take_over", refuse)
    monkeypatch.setattr(engine, "_why", "")
    assert engine.twin(Path) is Path
    assert engine.engine() == "Python ('topic' of Path is no slot)"
    assert engine.twin(Path) is Path


def test_PURE_in_the_environment_means_python():
    environment = os.environ | {native.PURE: "1"}
    told = subprocess.run(
        [sys.executable, "-m", "brokersim", "version"],
        env=environment,
        capture_output=True,
        text=True,
        check=True,
    )
    assert f"engine:     Python ({native.PURE} is set)\n" in told.stdout


@pytest.fixture
def twin_of_nothing(monkeypatch, tmp_path):
    """A folder of twins with an extension `_nothing`, compiled just now as far as its time tells."""
    monkeypatch.delenv(native.PURE, raising=False)
    monkeypatch.setattr(native, "__path__", [str(tmp_path)])
    monkeypatch.setattr(native, "_FOLDER", tmp_path)
    made = tmp_path / f"_nothing{sysconfig.get_config_var('EXT_SUFFIX')}"
    made.touch()
    os.utime(made, (1000, 1000))
    return tmp_path


def test_a_twin_without_its_source_is_used(twin_of_nothing):
    native.look("_nothing")


def test_a_twin_that_was_not_compiled_is_not_there(twin_of_nothing):
    with pytest.raises(native.NotCompiled, match=r"no compiler or no Python headers"):
        native.look("_other")


@pytest.mark.parametrize("name", ["_nothing.c", "shared.h"])
def test_a_twin_older_than_its_source_or_a_header_is_not_used(twin_of_nothing, name):
    for file in {"_nothing.c", name}:
        (twin_of_nothing / file).touch()
        os.utime(twin_of_nothing / file, (999, 999))
    native.look("_nothing")
    os.utime(twin_of_nothing / name, (1001, 1001))
    with pytest.raises(
        native.NotCompiled, match=f"{name} is newer than what was compiled of it: install anew"
    ):
        native.look("_nothing")
