"""Which tests `make quick` runs."""

from __future__ import annotations

from tests.changed import which_tests


def test_the_tests_called_like_a_changed_file_or_else_its_room_and_no_more(tmp_path):
    for name in (
        "net/test_serve.py",
        "net/test_hostile.py",
        "modules/test_cron_fields.py",
        "cli/job/test_run.py",
        "instance/test_determinism.py",
    ):
        path = tmp_path / "tests" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()
    tests = {
        "src/brokersim/net/serve.py": ["tests/net/test_serve.py"],
        "src/brokersim/net/outbox.py": ["tests/net"],
        "src/brokersim/cli/job/run.py": ["tests/cli/job/test_run.py"],
        "src/brokersim/net/wires/far.py": ["tests/net"],
        "src/brokersim/instance.py": ["tests/instance"],
        "src/brokersim/program.py": [],
        "modules/cron/fields.py": ["tests/modules/test_cron_fields.py"],
        "modules/kvs.py": ["tests/modules"],
        "tests/net/test_hostile.py": ["tests/net/test_hostile.py"],
        "tests/net/test_gone.py": [],
        "src/brokersim/native/turns.h": ["tests/native"],
        "src/brokersim/realflux/hooks.c": [],
        "docs/x.md": [],
    }
    assert {path: which_tests([path], tmp_path) for path in tests} == tests
    both = ["src/brokersim/net/serve.py", "src/brokersim/net/outbox.py"]
    assert which_tests(both, tmp_path) == ["tests/net"], "a room holds its tests already"
