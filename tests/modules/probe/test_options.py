"""What a probe's options may be, and what it makes of them before its first reading."""

from __future__ import annotations

from typing import Any, cast

import pytest

from modules.probe.contract import Context
from modules.probe.probes import PROBES


@pytest.mark.parametrize(
    ("probe", "config", "says"),
    [
        ("cpu", {"first": "now"}, "first is baseline or boot, not 'now'"),
        ("replay", {}, "give either readings"),
        ("replay", {"readings": [1], "file": "x"}, "give either readings"),
        ("execd", {}, "give one of command, argv, not none"),
        ("execd", {"command": "a", "argv": ["b"]}, "give one of command, argv, not command and argv"),
    ],
)
def test_a_probe_refuses_what_it_cannot_be_told(probe, config, says):
    with pytest.raises(ValueError, match=says):
        PROBES[probe].check(config)
    PROBES["cpu"].check({"first": "boot"})


def test_a_program_is_run_with_the_arguments_its_command_names():
    whole = {"command": "", "argv": [], "args": {}, "cwd": ""}
    execd = PROBES["execd"]()
    execd.config = {**whole, "command": "f -n $x", "args": {"x": "1 2"}}
    assert execd.wish().programs == (("f", "-n", "1 2"),)
    execd.config = {**whole, "argv": ["f", "$x"]}
    assert execd.wish().programs == (("f", "$x"),)


def test_a_file_without_readings_is_refused(tmp_path):
    (tmp_path / "none").write_text("")
    context = Context(ask=cast(Any, None), config={"file": str(tmp_path / "none")})
    with pytest.raises(ValueError, match="none: no reading in it"):
        PROBES["replay"]().open(context)
