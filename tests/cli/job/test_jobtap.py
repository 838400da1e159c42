"""The jobtap commands: the requests they send and how they tell failures."""

from __future__ import annotations

from pathlib import Path

import pytest

from brokersim.protocol.errnums import ENOENT, RequestError
from tests.cli.conftest import Run
from tests.cli.fake_broker import FakeBroker


def test_load_reads_settings_as_json_where_they_are_and_else_as_words(fake: FakeBroker, run: Run) -> None:
    fake.answers["job-manager.jobtap-load"] = {"name": "state-counts"}
    assert run("jobtap", "load", "-r", "all", "state-counts", "period=0.5", "form=journal").code == 0
    assert fake.asked("job-manager.jobtap-load") == [
        {"path": "state-counts", "conf": {"period": 0.5, "form": "journal"}, "remove": "all"}
    ]


def test_a_file_is_sent_as_the_path_the_broker_can_find(
    fake: FakeBroker, run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    fake.answers["job-manager.jobtap-load"] = {"name": "mine"}
    monkeypatch.chdir(tmp_path)
    run("jobtap", "load", "./mine.py")
    assert fake.asked("job-manager.jobtap-load")[0]["path"] == str(tmp_path / "mine.py")


def test_a_setting_without_value_is_a_usage_error(fake: FakeBroker, run: Run) -> None:
    done = run("jobtap", "load", "state-counts", "period")
    assert done.code == 2
    assert "'period' is no setting; give KEY=VALUE" in done.err
    assert not fake.asked("job-manager.jobtap-load")


def test_list_is_a_table_and_query_is_json(fake: FakeBroker, run: Run) -> None:
    fake.answers["job-manager.jobtap-list"] = {"plugins": [{"name": "a", "calls": 7, "path": "/x/a.py"}]}
    fake.answers["job-manager.jobtap-query"] = {"name": "a", "path": "/x/a.py", "sent": 3}
    assert run("jobtap", "list", "--json").json == [{"name": "a", "calls": 7, "path": "/x/a.py"}]
    assert run("jobtap", "list", "--tsv", "-n").out == "a\t7\t/x/a.py\n"
    assert run("jobtap", "query", "a").json == {"name": "a", "path": "/x/a.py", "sent": 3}


def test_an_unknown_plugin_is_told_in_the_brokers_words(fake: FakeBroker, run: Run) -> None:
    fake.answers["job-manager.jobtap-remove"] = RequestError(ENOENT, "no plugin 'b'; loaded: a")
    done = run("jobtap", "remove", "b")
    assert done.code == 4
    assert "no plugin 'b'; loaded: a (ENOENT)" in done.err
    assert "brokersim jobtap list" in done.err
