"""Plugins of the job manager: called at their topics, configured, listed, and dropped when they raise."""

from __future__ import annotations

import itertools
from pathlib import Path
from typing import Any

import pytest

from brokersim.protocol.errnums import RequestError
from tests.modules.job_harness import in_instance, jobspec, log_of, outcome, submit

PATH = ["NEW", "DEPEND", "PRIORITY", "SCHED", "RUN", "CLEANUP", "INACTIVE"]
RECORDER = """
def plugin_init(plugin):
    seen = []
    plugin.add_handler("job.new", lambda call: seen.append([call.topic, call.previous, call.state]))
    plugin.add_handler("job.state.*", lambda call: seen.append([call.topic, call.previous, call.state]))
    plugin.on_query = lambda: {"seen": seen, "conf": plugin.conf}
"""
BREAKS_AT_RUN = """
def plugin_init(plugin):
    def run(call):
        raise KeyError("left hand")
    plugin.add_handler("job.state.run", run)
"""


def plugin(folder: Path, text: str, name: str = "mine.py") -> str:
    file = folder / name
    file.write_text(text)
    return str(file)


async def load(client: Any, path: str, **conf: Any) -> str:
    answer = await client.call("job-manager.jobtap-load", {"path": path, "conf": conf})
    return str(answer["name"])


async def names(client: Any) -> list[str]:
    return [one["name"] for one in (await client.call("job-manager.jobtap-list"))["plugins"]]


async def query(client: Any, name: str) -> dict[str, Any]:
    answer: dict[str, Any] = await client.call("job-manager.jobtap-query", {"name": name})
    return answer


def test_a_plugin_hears_of_the_new_job_and_of_each_state_with_the_one_before(tmp_path: Path) -> None:
    async def test(_instance: Any, client: Any) -> None:
        name = await load(client, plugin(tmp_path, RECORDER), depth=3)
        await outcome(client, await submit(client))
        found = await query(client, name)
        assert found["conf"] == {"depth": 3}
        assert found["seen"] == [["job.new", None, "NEW"]] + [
            [f"job.state.{state.lower()}", before, state] for before, state in itertools.pairwise(PATH)
        ]

    in_instance(test)


def test_a_plugin_loaded_late_meets_the_active_jobs_in_their_states(tmp_path: Path) -> None:
    async def test(instance: Any, client: Any) -> None:
        await submit(client, jobspec(duration=100.0))
        await instance.sleep(1.0)
        name = await load(client, plugin(tmp_path, RECORDER))
        assert (await query(client, name))["seen"] == [["job.new", None, "RUN"]]

    in_instance(test)


def test_a_plugin_that_raises_is_named_and_removed_and_the_jobs_go_on(tmp_path: Path) -> None:
    async def test(instance: Any, client: Any) -> None:
        await load(client, plugin(tmp_path, BREAKS_AT_RUN))
        recorder = await load(client, plugin(tmp_path, RECORDER, "other.py"))
        for _ in range(2):
            assert (await outcome(client, await submit(client)))["success"]
        assert await names(client) == [recorder]
        assert len((await query(client, recorder))["seen"]) == 14
        errors = [line for line in log_lines(instance) if "plugin 'mine'" in line]
        assert len(errors) == 1
        assert "job.state.run" in errors[0]
        assert "KeyError: 'left hand' (mine.py:4)" in errors[0]

    in_instance(test)


def log_lines(instance: Any) -> list[str]:
    return [str(line) for line in instance.broker(0).log.lines()]


def test_a_priority_plugin_decides_the_order_of_the_queue(tmp_path: Path) -> None:
    handler = "lambda call: 1000 - call.job.urgency"
    text = f"def plugin_init(plugin):\n    plugin.add_handler('job.priority.get', {handler})\n"

    async def test(_instance: Any, client: Any) -> None:
        await load(client, plugin(tmp_path, text))
        blocker = await submit(client, jobspec(cores=4, duration=5.0))
        ids = [
            await submit(client, jobspec(cores=4, duration=1.0), urgency=urgency) for urgency in (20, 10, 15)
        ]
        starts = {}
        for job in (blocker, *ids):
            await outcome(client, job)
            events = {event["name"]: event for event in await log_of(client, job)}
            starts[job] = events["alloc"]["timestamp"]
            expected = 1000 if job == blocker else None
            assert expected is None or events["priority"]["context"]["priority"] == 984
        assert sorted(starts, key=starts.__getitem__) == [blocker, ids[1], ids[2], ids[0]]

    in_instance(test)


def test_a_held_job_stays_held_whatever_a_priority_plugin_says(tmp_path: Path) -> None:
    text = "def plugin_init(plugin):\n    plugin.add_handler('job.priority.get', lambda call: 7)\n"

    async def test(_instance: Any, client: Any) -> None:
        await load(client, plugin(tmp_path, text))
        held = await submit(client, urgency=0)
        assert (await outcome(client, await submit(client)))["success"]
        stats = await client.call("job-manager.stats-get")
        assert stats["states"]["SCHED"] == 1
        await client.call("job-manager.urgency", {"id": held, "urgency": 16})
        assert (await outcome(client, held))["success"]

    in_instance(test)


def test_a_priority_that_is_no_number_removes_the_plugin(tmp_path: Path) -> None:
    text = "def plugin_init(plugin):\n    plugin.add_handler('job.priority.get', lambda call: 'high')\n"

    async def test(_instance: Any, client: Any) -> None:
        await load(client, plugin(tmp_path, text))
        assert (await outcome(client, await submit(client)))["success"]
        assert await names(client) == []

    in_instance(test)


def test_remove_takes_a_glob_calls_the_plugins_end_and_says_what_is_loaded(tmp_path: Path) -> None:
    text = "def plugin_init(plugin):\n    plugin.on_remove = lambda: plugin.log.info('over')\n"

    async def test(instance: Any, client: Any) -> None:
        for name in ("aa.py", "ab.py", "b.py"):
            await load(client, plugin(tmp_path, text, name))
        answer = await client.call("job-manager.jobtap-remove", {"name": "a*"})
        assert answer == {"plugins": ["aa", "ab"]}
        assert await names(client) == ["b"]
        assert sum("over" in line for line in log_lines(instance)) == 2
        with pytest.raises(RequestError, match=r"no plugin 'a\*'; loaded: b"):
            await client.call("job-manager.jobtap-remove", {"name": "a*"})
        replaced = await client.call(
            "job-manager.jobtap-load", {"path": str(tmp_path / "aa.py"), "remove": "all"}
        )
        assert replaced == {"name": "aa"}
        assert await names(client) == ["aa"]

    in_instance(test)


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("def plugin_init(plugin:\n", "raises at import: SyntaxError"),
        ("import no_such_library\n", "raises at import: ModuleNotFoundError"),
        ("raise SystemExit(3)\n", "raises at import: SystemExit"),
        ("x = 1\n", "is no plugin; define a function plugin_init"),
        ("def plugin_init(plugin):\n    plugin.add_handler('job.state.rnu', print)\n", "no topic 'job.state.rnu'"),
        ("def plugin_init(plugin):\n    plugin.take(a=int)\n", "unknown setting 'b'; there are a"),
    ],
)  # fmt: skip
def test_a_file_that_is_no_plugin_is_refused_with_the_reason(tmp_path: Path, text: str, told: str) -> None:
    async def test(_instance: Any, client: Any) -> None:
        with pytest.raises(RequestError) as failed:
            await load(client, plugin(tmp_path, text), b=1)
        assert told in failed.value.text
        assert await names(client) == []
        assert (await outcome(client, await submit(client)))["success"]

    in_instance(test)


def test_an_unknown_or_doubled_plugin_is_refused(tmp_path: Path) -> None:
    async def test(_instance: Any, client: Any) -> None:
        with pytest.raises(RequestError, match="shipped are state-counts, state-history"):
            await load(client, "state-count")
        await load(client, "state-counts")
        with pytest.raises(RequestError, match="already loaded"):
            await load(client, "state-counts")
        with pytest.raises(RequestError, match="no plugin 'x'; loaded: state-counts"):
            await query(client, "x")

    in_instance(test)


def test_a_plugin_in_c_is_refused_as_what_it_is(tmp_path: Path) -> None:
    async def test(_instance: Any, client: Any) -> None:
        for name in ("x.so", "x.so.1"):
            with pytest.raises(RequestError, match="a plugin in C") as caught:
                await load(client, plugin(tmp_path, "not python", name))
            assert caught.value.errno == 95

    in_instance(test)
