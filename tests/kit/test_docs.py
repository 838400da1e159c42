"""docs/testing.md as a stranger follows it: an empty folder, what is written there, and nothing else."""

from __future__ import annotations

import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest

from brokersim.kit.faults import _KINDS
from brokersim.kit.laws import LAWS
from brokersim.testing import modules, strategies

pytest_plugins = ["pytester"]

DOCS = (Path(__file__).parents[2] / "docs" / "testing.md").read_text(encoding="utf-8")
BLOCKS = re.findall(r"```(\w*)\n(.*?)```", DOCS, flags=re.DOTALL)
FILES = {
    match[1]: text
    for kind, text in BLOCKS
    if kind == "python" and (match := re.match(r"# (\S+\.py)\n", text))
}


def test_the_module_and_the_tests_shown_pass_as_they_stand(pytester):
    assert list(FILES) == ["greeter.py", "test_greeter.py", "test_drawn.py"]
    for name, text in FILES.items():
        (pytester.path / name).write_text(text)
    done = pytester.runpytest_inprocess("-p", "no:cacheprovider", "-p", "no:trio")
    done.assert_outcomes(passed=2)


def test_the_commands_shown_do_what_is_said(tmp_path):
    (tmp_path / "greeter.py").write_text(FILES["greeter.py"])
    [work] = [text for kind, text in BLOCKS if kind == "sh"]
    (tmp_path / "work.sh").write_text(work)
    [commands] = [text for kind, text in BLOCKS if not kind and "check --record" in text]
    for command in commands.splitlines():
        _, *words = shlex.split(command, comments=True)
        done = subprocess.run(
            [sys.executable, "-m", "brokersim", *words],
            cwd=tmp_path,
            capture_output=True,
            text=True,
            timeout=60,
        )
        assert done.returncode == 0, done.stderr
    assert "counters within tolerance" in done.stdout


@pytest.mark.parametrize(
    "names",
    [
        list(LAWS),
        [law.number for law in LAWS.values() if law.number],
        list(_KINDS),
        [Path(path).stem.upper() for path in modules.ALL],
        strategies.__all__,
    ],
    ids=["laws", "numbers", "faults", "modules", "strategies"],
)
def test_every_name_there_is_is_told(names):
    assert [name for name in names if not re.search(rf"\b{re.escape(name)}\b", DOCS)] == []
