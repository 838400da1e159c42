"""Knows what a built wheel carries and that the requirement files agree with pyproject.toml and each other.

Doesn't know what any of it does when run. Works offline: the build backend is a test requirement.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import sysconfig
import tomllib
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
REQUIREMENTS = ROOT / "requirements"
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())
SOURCES = ("src", "modules", "pyproject.toml", "hatch_build.py", "README.md", "LICENSE", ".gitignore")


def build(what: str, out: Path, source: Path, **environment: str) -> str:
    """Builds one artefact (`wheel`, `wheel:editable`, `sdist`) of the tree `source` into `out`; what it told."""
    command = [sys.executable, "-m", "hatchling", "build", "-t", what, "-d", str(out)]
    # What is compiled here is looked at and never run: without optimising that takes a quarter of the time.
    environment = {
        **{name: value for name, value in os.environ.items() if name != "BROKERSIM_PURE"},
        "CFLAGS": "-O0 -g0",
        **environment,
    }
    done = subprocess.run(command, cwd=source, capture_output=True, text=True, timeout=60, env=environment)
    assert done.returncode == 0, done.stderr
    return done.stderr


def contents(wheel_folder: Path) -> dict[str, str]:
    """{name in the wheel: text} of the only wheel in a folder."""
    (wheel,) = wheel_folder.glob("*.whl")
    with zipfile.ZipFile(wheel) as archive:
        return {name: archive.read(name).decode(errors="replace") for name in archive.namelist()}


def pins(name: str) -> dict[str, str]:
    """{package: version and marker} of a pinned requirement file."""
    lines = re.findall(r"^([\w.-]+)==([^\\]+?) *\\$", (REQUIREMENTS / name).read_text(), re.MULTILINE)
    return dict(lines)


@pytest.fixture(scope="module")
def checkout(tmp_path_factory):
    """A copy of what is built from: the build never writes into the tree under test."""
    pytest.importorskip(
        "hatchling", reason="the build backend is not installed; run the tests with make test"
    )
    copy = tmp_path_factory.mktemp("checkout")
    for name in SOURCES:
        if (ROOT / name).is_dir():
            shutil.copytree(ROOT / name, copy / name)
        elif (ROOT / name).exists():
            shutil.copy(ROOT / name, copy / name)
    return copy


@pytest.fixture(scope="module")
def wheel(checkout, tmp_path_factory):
    out = tmp_path_factory.mktemp("wheel")
    build("wheel", out, checkout)
    return contents(out)


def python_files(folder: Path) -> set[str]:
    return {path.relative_to(folder).as_posix() for path in folder.rglob("*.py")}


def test_the_wheel_carries_every_module_and_every_source_file(wheel):
    expected = {f"brokersim/{name}" for name in python_files(ROOT / "src" / "brokersim")}
    expected |= {f"brokersim/modules/{name}" for name in python_files(ROOT / "modules")}
    assert {name for name in wheel if name.endswith(".py")} == expected


def test_the_wheel_carries_the_style_and_the_script_of_a_reports_page(wheel):
    for name in ("page.css", "curves.js"):
        source = ROOT / "src" / "brokersim" / "lab" / "show" / "page" / name
        assert wheel[f"brokersim/lab/show/page/{name}"] == source.read_text()


def test_the_wheel_says_it_is_typed_and_carries_the_licence(wheel):
    assert "brokersim/py.typed" in wheel
    assert wheel["brokersim-0.1.0.dist-info/licenses/LICENSE"] == (ROOT / "LICENSE").read_text()


def test_the_wheel_gives_the_brokersim_command(wheel):
    scripts = wheel["brokersim-0.1.0.dist-info/entry_points.txt"]
    assert "brokersim = brokersim.cli.main:main" in scripts
    assert "brokersim-module = brokersim.fluxapi.exec:main" in scripts


def test_a_wheel_without_a_compiler_is_pure_and_says_so(checkout, tmp_path):
    told = build("wheel", tmp_path, checkout, CC="no-such-compiler")
    assert "_engine.c is not compiled, Python will do its work" in told and "no-such-compiler" in told
    assert [path.name for path in tmp_path.glob("*.whl")] == ["brokersim-0.1.0-py3-none-any.whl"]
    assert compiled(contents(tmp_path)) == []


def test_a_wheel_that_shall_be_pure_is(checkout, tmp_path):
    assert "not compiled" not in build("wheel", tmp_path, checkout, BROKERSIM_PURE="1")
    assert [path.name for path in tmp_path.glob("*.whl")] == ["brokersim-0.1.0-py3-none-any.whl"]


def compiled(wheel: dict[str, str]) -> list[str]:
    return [name for name in wheel if name.endswith((".so", ".c", ".h")) and "/native/" in name]


def test_the_wheel_carries_the_twins_that_this_machine_compiles_for_this_python_alone(wheel):
    made = sorted((ROOT / "src/brokersim/native").glob(f"*{sysconfig.get_config_var('EXT_SUFFIX')}"))
    assert compiled(wheel) == [f"brokersim/native/{path.name}" for path in made]
    tag = wheel["brokersim-0.1.0.dist-info/WHEEL"]
    python = f"cp{sys.version_info.major}{sys.version_info.minor}"
    assert f"Tag: {python}-{python}-" in tag if made else "Tag: py3-none-any" in tag


def test_an_editable_install_points_at_the_checkout_and_copies_nothing(checkout, tmp_path):
    # A copy of modules/ would go stale in site-packages while the checkout moves on.
    build("wheel:editable", tmp_path, checkout)
    files = {name: text for name, text in contents(tmp_path).items() if ".dist-info/" not in name}
    assert files == {"_brokersim.pth": str(checkout / "src")}


def test_a_wheel_built_from_the_sdist_is_the_same(checkout, wheel, tmp_path):
    build("sdist", tmp_path, checkout)
    (sdist,) = tmp_path.glob("*.tar.gz")
    shutil.unpack_archive(sdist, tmp_path / "unpacked", filter="data")
    build("wheel", tmp_path / "wheel", tmp_path / "unpacked" / sdist.name.removesuffix(".tar.gz"))
    assert contents(tmp_path / "wheel").keys() == wheel.keys()


def names(requirements: list[str]) -> set[str]:
    return {re.split(r"[<>=!~\[; ]", line)[0] for line in requirements}


EXTRAS = PROJECT["project"]["optional-dependencies"]
PINNED = {
    "run.txt": PROJECT["project"]["dependencies"] + EXTRAS["tui"],
    "test.txt": PROJECT["project"]["dependencies"] + EXTRAS["test"] + EXTRAS["tui"],
    "docs.txt": PROJECT["project"]["dependencies"] + EXTRAS["docs"],
    "build.txt": PROJECT["build-system"]["requires"],
}


@pytest.mark.parametrize("name", PINNED)
def test_every_declared_dependency_is_pinned(name):
    assert names(PINNED[name]) <= pins(name).keys(), "run make pins"


@pytest.mark.parametrize("name", PINNED)
def test_every_pin_lies_in_the_declared_range(name):
    requirements = pytest.importorskip("packaging.requirements")
    declared = [requirements.Requirement(line) for line in PINNED[name]]
    outside = [
        str(wanted) for wanted in declared if pins(name)[wanted.name].split()[0] not in wanted.specifier
    ]
    assert outside == [], "run make pins"


@pytest.mark.parametrize("name", ["run.txt", "build.txt"])
def test_the_tests_run_with_the_versions_that_users_get(name):
    wanted = pins(name)
    assert {package: pins("test.txt").get(package) for package in wanted} == wanted


@pytest.mark.parametrize("path", sorted(REQUIREMENTS.glob("*.txt")), ids=lambda path: path.name)
def test_every_pinned_line_has_a_hash(path):
    without = re.findall(r"^[\w.-]+==(?:.*(?<!\\))$", path.read_text(), re.MULTILINE)
    assert without == []


def test_the_ranges_have_an_upper_end():
    project = PROJECT["project"]
    lines = project["dependencies"] + [
        line for lines in project["optional-dependencies"].values() for line in lines
    ]
    assert [line for line in lines if not re.search(r",<\d+$", line)] == []
