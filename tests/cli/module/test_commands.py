"""module list, load, remove, reload, stats, debug, trace."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from brokersim.cli.errors import CommandError
from brokersim.cli.module.several import load_on_all
from brokersim.cli.module.trace import Latencies, Summary
from brokersim.cli.session import Session
from brokersim.protocol.errnums import ECONNRESET, EEXIST, EINVAL, ENOENT, ENOSYS, ETIMEDOUT, RequestError
from brokersim.protocol.message import NODEID_ANY, Message
from tests.cli.conftest import Run
from tests.cli.fake_broker import OPEN, FakeBroker, InTurn


def test_list(fake: FakeBroker, run: Run) -> None:
    assert run("module", "list").out == (
        "Module         Idle  S  Sendq  Recvq  Service    Mask  Hooks p/c/i\n"
        "kvs            0     R      0      2  -        0x1000  4211/4211/0\n"
        "content-cache  12    R      0      0  content     0x0  -\n"
        "cron           idle  F      0      0  -             -  -\n"
    )


def test_list_on_several_ranks_with_paths(fake: FakeBroker, run: Run) -> None:
    lines = run("module", "list", "-l", "-r", "0,2", "--tsv").out.splitlines()
    assert lines[0] == "Rank\tModule\tIdle\tS\tSendq\tRecvq\tService\tMask\tHooks p/c/i\tPID\tPath"
    assert lines[1] == "0\tkvs\t0\tR\t0\t2\t-\t0x1000\t4211/4211/0\t-\t/m/kvs"
    assert [line.split("\t")[0] for line in lines[1:]] == ["0", "0", "0", "2", "2", "2"]
    assert fake.nodeids("module.list") == [0, 2]


def test_list_json_keeps_the_shape_of_module_list(fake: FakeBroker, run: Run) -> None:
    assert run("module", "list", "--json").json == fake.answers["module.list"]
    ranked = run("module", "list", "--json", "-r", "all").json["mods"]
    assert [(mod["rank"], mod["name"]) for mod in ranked][:4] == [
        (0, "kvs"), (0, "content-cache"), (0, "cron"), (1, "kvs"),
    ]  # fmt: skip


def test_load_by_name_path_and_with_arguments(
    fake: FakeBroker, run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    fake.answers["module.load"] = None
    (tmp_path / "hello.py").touch()
    monkeypatch.chdir(tmp_path)
    assert run("module", "load", "kvs") == (0, "", "")
    assert run("module", "load", "-n", "h2", "./hello.py", "a=1", "-v").code == 0
    assert run("module", "load", "hello.py", "--json").code == 0
    path = str(tmp_path / "hello.py")
    assert fake.asked("module.load") == [
        {"path": "kvs", "args": [], "exec": False},
        {"path": path, "args": ["a=1", "-v"], "exec": False, "name": "h2"},
        {"path": path, "args": ["--json"], "exec": False},
    ]


def test_load_names_a_missing_file_and_its_neighbour(fake: FakeBroker, run: Run, tmp_path: Path) -> None:
    (tmp_path / "hello.py").touch()
    assert run("module", "load", f"{tmp_path}/helo.py").err.splitlines()[1] == (
        "  hint: a similar one is there: hello.py"
    )
    assert "there is no folder" in run("module", "load", "/nowhere/x.py").err
    assert fake.topics == []


def test_load_tells_why_it_failed(fake: FakeBroker, run: Run) -> None:
    fake.answers["module.load"] = RequestError(EINVAL, "/m/x.py defines no handlers")
    assert run("module", "load", "x").err == (
        "error: module 'x' was not loaded: /m/x.py defines no handlers (EINVAL)\n"
        "  try:  brokersim module load --check x\n"
    )
    fake.answers["module.load"] = RequestError(ECONNRESET)
    assert run("module", "load", "x").err.splitlines()[1] == "  try:  brokersim dmesg"
    fake.answers["module.load"] = RequestError(EEXIST)
    assert run("module", "load", "x").err.splitlines()[1] == "  try:  brokersim module load -n OTHER x"


def test_remove(fake: FakeBroker, run: Run) -> None:
    fake.answers["module.remove"] = None
    assert run("module", "remove", "kvs") == (0, "", "")
    assert run("module", "remove", "--cancel", "kvs", "--json").json == {"removed": "kvs"}
    assert fake.asked("module.remove") == [{"name": "kvs", "cancel": False}, {"name": "kvs", "cancel": True}]


def _by_rank(*loaded: tuple[str, ...]) -> Callable[[Message], Any]:
    """module.list as each rank answers it."""

    def answer(request: Message) -> Any:
        names = loaded[request.nodeid]
        return {"mods": [{"name": name, "services": [name], "path": f"/m/{name}"} for name in names]}

    return answer


def test_load_on_several_ranks_is_taken_back_where_one_refuses(fake: FakeBroker, run: Run) -> None:
    names = [{"kvs"}, {"kvs"}, {"kvs", "hello"}, {"kvs"}]

    def load(request: Message) -> Any:
        if request.nodeid == 2:
            return RequestError(EEXIST, "module 'hello' is already loaded on rank 2; give it another name")
        names[request.nodeid].add("hello")
        return None

    def remove(request: Message) -> None:
        names[request.nodeid].remove(request.payload["name"])

    fake.answers |= {
        "module.list": lambda request: _by_rank(*map(tuple, names))(request),
        "module.load": load,
        "module.remove": remove,
    }
    refused = run("module", "load", "-r", "all", "hello")
    assert (refused.code, refused.out) == (4, "")
    assert (
        refused.err.splitlines()[1]
        == "  hint: rank 2 refused; removed again from ranks 0-1; nothing is changed"
    )
    assert names == [{"kvs"}, {"kvs"}, {"kvs", "hello"}, {"kvs"}]
    fake.answers["module.remove"] = RequestError(ETIMEDOUT)
    assert "; still loaded on ranks 0-1\n" in run("module", "load", "-r", "all", "hello").err


class _Ranks(Session):
    """Lists as each rank answers with them; ``silent``: who is asked to remove does not answer in time."""

    def __init__(self, silent: bool = False) -> None:
        super().__init__()
        self.names: dict[int, set[str]] = {rank: set() for rank in range(4)}
        self.silent = silent

    def rpc(self, topic: str, payload: Any = None, *, rank: int | None = None, **_: Any) -> Any:
        assert rank is not None
        if topic == "module.list":
            return {"mods": [{"name": name} for name in self.names[rank]]}
        assert topic == "module.remove"
        if self.silent:
            raise TimeoutError
        self.names[rank].remove(payload["name"])

    def told_of(self, failing: int, error: Exception) -> list[str]:
        """What is told when this rank fails so to load a module."""

        def load(rank: int | None) -> None:
            assert rank is not None
            if rank == failing:
                raise error
            self.names[rank].add("hello")

        with pytest.raises(CommandError) as caught:
            load_on_all(self, range(4), load)
        return caught.value.lines()


def test_a_load_on_several_ranks_that_runs_out_of_time_tells_where_it_is() -> None:
    ranks = _Ranks()
    assert ranks.told_of(2, TimeoutError()) == [
        "error: --timeout ran out before rank 2 answered",
        "  hint: loaded on ranks 0-1 already; rank 2 may yet load it",
        "  try:  brokersim module list -r all",
    ]
    assert ranks.names[1] == {"hello"}, "there is no time left to take it back"
    assert _Ranks().told_of(0, TimeoutError())[1] == "  hint: rank 0 may yet load it"


def test_what_cannot_be_taken_back_in_time_is_told() -> None:
    told = _Ranks(silent=True).told_of(2, CommandError("no"))
    assert told == ["error: no", "  hint: rank 2 refused; still loaded on ranks 0-1"]
    assert (
        _Ranks().told_of(1, CommandError("no"))[1]
        == "  hint: rank 1 refused; removed again from rank 0; nothing is changed"
    )


def test_load_on_several_ranks_says_nothing_where_all_take_it(fake: FakeBroker, run: Run) -> None:
    fake.answers |= {"module.list": _by_rank((), (), (), ()), "module.load": None}
    assert run("module", "load", "-r", "all", "hello") == (0, "", "")
    assert fake.nodeids("module.load") == [0, 1, 2, 3]


@pytest.mark.parametrize("what", ["remove", "reload"])
def test_a_change_on_several_ranks_is_made_on_none_if_one_lacks_the_module(
    what: str, fake: FakeBroker, run: Run
) -> None:
    fake.answers |= {
        "module.list": _by_rank(("hello",), (), ("hello",), ()), "module.remove": None, "module.load": None,
    }  # fmt: skip
    refused = run("module", what, "-r", "all", "hello")
    first = refused.err.splitlines()[0]
    assert (refused.code, first) == (
        4, f"error: no module 'hello' on ranks 1,3; nothing is {what.removesuffix('e')}ed (ENOENT)",
    )  # fmt: skip
    assert fake.asked("module.remove") == []
    assert run("module", what, "-r", "0,2", "hello").code == 0
    assert fake.nodeids("module.remove") == [0, 2]


def test_a_mask_is_changed_on_all_ranks_or_on_none(fake: FakeBroker, run: Run) -> None:
    fake.answers["kvs.debug"] = lambda one: RequestError(ENOSYS) if one.nodeid == 2 else {"flags": 0}
    refused = run("module", "debug", "-s", "0x1000", "-r", "all", "kvs")
    assert refused.err.startswith("error: no module 'kvs' on rank 2 (ENOSYS)")
    assert [one["flags"] for one in fake.asked("kvs.debug")] == [0, 0, 0]


def test_remove_of_a_module_that_is_not_loaded(fake: FakeBroker, run: Run) -> None:
    fake.answers["module.remove"] = RequestError(ENOENT)
    assert run("module", "remove", "kv").code == 4
    assert run("module", "remove", "-f", "kv").code == 0
    assert run("module", "remove", "-f", "kvs").code == 4, "force hides only that it is not loaded"


def test_reload_removes_and_loads_from_where_it_came(fake: FakeBroker, run: Run) -> None:
    fake.answers |= {"module.remove": None, "module.load": None}
    assert run("module", "reload", "kvs", "x=1").code == 0
    assert fake.topics == ["module.list", "module.remove", "module.load"]
    assert fake.asked("module.load") == [{"path": "/m/kvs", "args": ["x=1"], "exec": False, "name": "kvs"}]


@pytest.mark.parametrize("given", ["kvs.py", "./kvs.py", "{}/kvs.py"])
def test_reload_of_a_file_removes_the_module_of_its_name(
    fake: FakeBroker, run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, given: str
) -> None:
    fake.answers |= {"module.remove": None, "module.load": None}
    (tmp_path / "kvs.py").touch()
    monkeypatch.chdir(tmp_path)
    assert run("module", "reload", given.format(tmp_path)).code == 0
    assert fake.asked("module.remove") == [{"name": "kvs", "cancel": False}]
    assert fake.asked("module.load") == [
        {"path": f"{tmp_path}/kvs.py", "args": [], "exec": False, "name": "kvs"}
    ]


def test_a_check_of_a_file_asks_no_broker(
    fake: FakeBroker, run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    checked: list[tuple[str, tuple[str, ...]]] = []
    monkeypatch.setattr("brokersim.cli.module.check.show_check", lambda _, *given: checked.append(given))
    assert run("module", "load", "--check", "kvs", "a=1").code == 0
    assert (checked, fake.topics) == ([("kvs", ("a=1",))], [])


def test_a_file_that_only_imports_from_here_is_told_both_ways_to_flux(run: Run, tmp_path: Path) -> None:
    path = tmp_path / "hello.py"
    path.write_text(
        "from brokersim.brokermod import BrokerModule, request_handler\n\n\n"
        "class Hello(BrokerModule):\n"
        "    @request_handler('info')\n"
        "    def info(self, msg):\n"
        "        self.handle.respond(msg, {})\n"
    )
    refused = run("module", "load", "--check", str(path))
    assert refused.code == 1
    assert f"flux.brokermod, which is here too; or: brokersim flux load {path}" in refused.err
    path.write_text(path.read_text().replace("brokersim.brokermod", "flux.brokermod"))
    assert run("module", "load", "--check", str(path)).code == 0
    path.write_text(path.read_text() + "import brokersim.brokermod\nimport flux.nosuch\n")
    assert "say what is in the way" in run("module", "load", "--check", str(path)).err


def test_load_as_a_process_and_by_fluxs_loader(fake: FakeBroker, run: Run) -> None:
    fake.answers["module.load"] = None
    assert run("module", "load", "--exec", "kvs").code == 0
    assert run("module", "load", "--exec", "--loader", "flux", "kvs").code == 0
    assert fake.asked("module.load") == [
        {"path": "kvs", "args": [], "exec": True},
        {"path": "kvs", "args": [], "exec": True, "loader": "flux"},
    ]
    refused = run("module", "load", "--loader", "flux", "kvs")
    assert (refused.code, refused.err.splitlines()[1]) == (
        2, "  try:  brokersim module load --exec --loader flux PATH",
    )  # fmt: skip


def test_reload_of_a_process_makes_a_process_again(fake: FakeBroker, run: Run) -> None:
    fake.answers |= {"module.remove": None, "module.load": None}
    fake.answers["module.list"]["mods"][0] |= {"pid": 4711, "loader": "flux"}
    assert run("module", "reload", "kvs").code == 0
    assert fake.asked("module.load") == [
        {"path": "/m/kvs", "args": [], "exec": True, "name": "kvs", "loader": "flux"}
    ]


# --- debug


@pytest.mark.parametrize(
    ("options", "request_"),
    [
        ((), {"op": "setbit", "flags": 0}),
        (("-s", "0x1000"), {"op": "setbit", "flags": 0x1000}),
        (("-s", "4096"), {"op": "setbit", "flags": 4096}),
        (("-s", "010000"), {"op": "setbit", "flags": 4096}),
        (("-s", "msgcount+timing"), {"op": "setbit", "flags": 0x3000}),
        (("-c", "trace"), {"op": "clrbit", "flags": 0x10000}),
        (("-S", "0x1003"), {"op": "set", "flags": 0x1003}),
        (("-C",), {"op": "clr", "flags": 0}),
    ],
)
def test_debug_asks_as_flux_does(
    options: tuple[str, ...], request_: dict[str, Any], fake: FakeBroker, run: Run
) -> None:
    fake.answers["kvs.debug"] = {"flags": 0x1003}
    assert run("module", "debug", *options, "kvs").out == "0x1003\n"
    assert fake.asked("kvs.debug") == [request_]


def test_debug_of_several_modules_and_ranks(fake: FakeBroker, run: Run) -> None:
    fake.answers |= {"kvs.debug": {"flags": 1}, "cron.debug": {"flags": 0}}
    assert run("module", "debug", "-r", "1-2", "kvs", "cron").out == (
        "Rank  Module  Mask\n   1  kvs      0x1\n   1  cron     0x0\n   2  kvs      0x1\n   2  cron     0x0\n"
    )
    assert run("module", "debug", "--all", "kvs", "--json").json["modules"] == [
        {"rank": rank, "name": "kvs", "flags": 1} for rank in range(4)
    ]
    assert run("module", "debug", "kvs", "--json").json == {
        "modules": [{"rank": None, "name": "kvs", "flags": 1}]
    }
    assert fake.nodeids("kvs.debug") == [1, 2, 0, 1, 2, 3, NODEID_ANY]


def test_debug_chooses_the_hook_first(fake: FakeBroker, run: Run) -> None:
    fake.answers |= {"module.hook": {}, "kvs.debug": {"flags": 0x1000}}
    assert run("module", "debug", "-s", "msgcount", "--hook", "timer:1s", "kvs").out == "0x1000\n"
    assert fake.asked("module.hook") == [{"name": "kvs", "hook": "timer:1s"}]
    assert fake.topics == ["module.hook", "kvs.debug"]
    result = run("module", "debug", "--hook", "tick", "kvs")
    assert (result.code, fake.topics) == (2, ["module.hook", "kvs.debug"])
    assert "not a hook: 'tick'; give prepare, check, idle or timer:FSD (timer:1s)" in result.err


def test_debug_says_whether_the_hook_or_the_module_is_wrong(fake: FakeBroker, run: Run) -> None:
    fake.answers["module.hook"] = RequestError(EINVAL, "it has a loop of its own")
    assert run("module", "debug", "--hook", "idle", "kvs").err.startswith(
        "error: hook 'idle': it has a loop of its own"
    )
    fake.answers["module.hook"] = RequestError(ENOENT)
    refused = run("module", "debug", "--hook", "idle", "kv")
    assert refused.code == 4 and "hook" not in refused.err.splitlines()[0]


def test_debug_lists_the_bits_without_an_instance(run: Run) -> None:
    lines = run("module", "debug", "--list", "-n", "--tsv").out.splitlines()
    assert [line.split("\t")[:2] for line in lines] == [
        ["0x1000", "msgcount"], ["0x2000", "timing"], ["0x4000", "queue"], ["0x8000", "hooks"], ["0x10000", "trace"],
    ]  # fmt: skip
    assert run("module", "debug", "--list", "--json").json["bits"][0]["bit"] == 0x1000


def test_debug_refuses_a_whole_mask_with_bits(fake: FakeBroker, run: Run) -> None:
    assert run("module", "debug", "-S", "1", "-s", "2", "kvs").code == 2
    assert fake.topics == []


# --- stats


def counters(base: int) -> dict[str, Any]:
    kinds = ("request", "response", "event", "control")
    return {
        "tx": {kind: base + at for at, kind in enumerate(kinds)},
        "rx": {kind: 10 * base + at for at, kind in enumerate(kinds)},
        "cache": {"hits": 7, "ratio": 0.5},
    }


def test_stats_are_the_answer_indented_by_one(fake: FakeBroker, run: Run) -> None:
    fake.answers["kvs.stats-get"] = {"tx": {"request": 1}, "rx": {}}
    assert run("module", "stats", "kvs").out == '{\n "tx": {\n  "request": 1\n },\n "rx": {}\n}\n'
    assert run("module", "stats", "kvs", "--json").json == {"tx": {"request": 1}, "rx": {}}


@pytest.mark.parametrize(
    ("options", "text"),
    [
        (("-p", "tx.request"), "3"),
        (("-p", "cache.ratio"), "0.500000"),
        (("-p", "tx.event", "-t", "double"), "5.000000"),
        (("-p", "cache.ratio", "-s", "100", "-t", "int"), "50"),
        (("-p", "cache"), '{"hits":7,"ratio":0.5}'),
    ],
)
def test_stats_prints_one_figure(options: tuple[str, ...], text: str, fake: FakeBroker, run: Run) -> None:
    fake.answers["kvs.stats-get"] = counters(3)
    assert run("module", "stats", *options, "kvs").out == f"{text}\n"


def test_stats_legacy_has_the_eight_names_of_2021(fake: FakeBroker, run: Run) -> None:
    fake.answers["kvs.stats-get"] = counters(3)
    assert run("module", "stats", "--legacy", "kvs", "--json").json == {
        "#request (tx)": 3, "#response (tx)": 4, "#event (tx)": 5, "#keepalive (tx)": 6,
        "#request (rx)": 30, "#response (rx)": 31, "#event (rx)": 32, "#keepalive (rx)": 33,
    }  # fmt: skip


def test_stats_of_all_ranks_are_keyed_by_rank(fake: FakeBroker, run: Run) -> None:
    fake.answers["kvs.stats-get"] = InTurn(*({"tx": {}, "rx": {}, "n": n} for n in range(4)))
    stats = run("module", "stats", "--all", "kvs", "--json").json
    assert {rank: one["n"] for rank, one in stats.items()} == {"0": 0, "1": 1, "2": 2, "3": 3}


def test_stats_delta_subtracts_its_own_messages(fake: FakeBroker, run: Run) -> None:
    # what two stats-get over one connection add to an otherwise idle module: one request, one response
    after = counters(3)
    after["rx"]["request"] += 1 + 164
    after["tx"]["response"] += 1
    fake.answers["kvs.stats-get"] = InTurn(counters(3), after)
    result = run("module", "stats", "--delta", "10ms", "kvs")
    lines = [line.split()[:3] for line in result.out.splitlines()]
    assert lines == [
        ["rx", "tx", "rx/s"], ["request", "164", "0"], ["response", "0", "0"], ["event", "0", "0"],
        ["control", "0", "0"],
    ]  # fmt: skip


def test_stats_delta_json(fake: FakeBroker, run: Run) -> None:
    zero = {"request": 0, "response": 0, "event": 0, "control": 0}
    fake.answers["kvs.stats-get"] = InTurn(counters(3), counters(4))
    document = run("module", "stats", "--delta", "10ms", "kvs", "--json").json
    assert document["name"] == "kvs"
    assert document["interval_s"] >= 0.01
    assert document["deltas"] == [{
        "rank": None,
        "tx": {**zero, "request": 1, "response": 0, "event": 1, "control": 1},
        "rx": {**zero, "request": 9, "response": 10, "event": 10, "control": 10},
    }]  # fmt: skip


def test_stats_without_counters_say_why(fake: FakeBroker, run: Run) -> None:
    fake.answers["kvs.stats-get"] = {"cache": {}}
    result = run("module", "stats", "--delta", "1s", "kvs")
    assert result.code == 1
    assert "several modules of a real Flux instance answer with figures of their own" in result.err


def test_stats_clear_and_rusage(fake: FakeBroker, run: Run) -> None:
    fake.answers |= {"kvs.stats-clear": None, "kvs.rusage": {"utime": 0.5}}
    assert run("module", "stats", "-c", "kvs") == (0, "", "")
    assert run("module", "stats", "-R", "kvs", "--json").json == {"utime": 0.5}
    run("module", "stats", "-Rchildren", "kvs")
    run("module", "stats", "--rusage=thread", "kvs")
    assert [one["who"] for one in fake.asked("kvs.rusage")] == ["self", "children", "thread"]
    assert run("module", "stats", "-Rnobody", "kvs").code == 2


def test_stats_clear_all_is_an_event(fake: FakeBroker, run: Run) -> None:
    run("module", "stats", "-C", "kvs")
    run("lsattr")  # the event was sent before; a second connection may overtake it
    for _ in range(100):
        if fake.events:
            break
        run("lsattr")
    assert [event.topic for event in fake.events] == ["kvs.stats-clear"]


# --- trace


def entry(prefix: str, kind: int, topic: str, at: float, size: int = 10, **more: Any) -> dict[str, Any]:
    return {
        "timestamp": at, "prefix": prefix, "rank": -1, "name": "kvs", "type": kind, "topic": topic,
        "payload_size": size, "payload": None, "errnum": 0, "errstr": "", **more,
    }  # fmt: skip


TRACE = [
    entry("rx", 1, "kvs.commit", 1795341601.25, 330),
    entry("tx", 1, "content.store", 1795341601.2505, 100),
    entry("rx", 2, "content.store", 1795341601.2515, 20),
    entry("tx", 2, "kvs.commit", 1795341601.2521, 72),
    entry("rx", 4, "heartbeat.pulse", 1795341602.0, 0),
    entry("tx", 2, "kvs.lookup", 1795341603.0, 0, errnum=ENOENT),
]


def test_trace_human_with_latency(fake: FakeBroker, run: Run) -> None:
    fake.answers["module.trace"] = TRACE
    assert run("module", "trace", "--human", "--latency", "kvs").out == (
        "2026-11-22T10:00:01.250  kvs rx > kvs.commit [330]\n"
        "2026-11-22T10:00:01.250  kvs tx > content.store [100]\n"
        "2026-11-22T10:00:01.251  kvs rx < content.store [20]        +1.0 ms\n"
        "2026-11-22T10:00:01.252  kvs tx < kvs.commit [72]        +2.1 ms\n"
        "2026-11-22T10:00:02.000  kvs rx e heartbeat.pulse [0]\n"
        "2026-11-22T10:00:03.000  kvs tx < kvs.lookup [ENOENT]\n"
    )
    assert fake.asked("module.trace") == [
        {"typemask": 15, "topic_glob": "*", "names": ["kvs"], "full": False}
    ]


def test_trace_filters_are_the_servers(fake: FakeBroker, run: Run) -> None:
    fake.answers["module.trace"] = []
    run("module", "trace", "-t", "request,event", "-T", "kvs.*", "-f")
    run("module", "trace", "-t", "keepalive")
    assert fake.asked("module.trace") == [
        {"typemask": 5, "topic_glob": "kvs.*", "names": [], "full": True},
        {"typemask": 8, "topic_glob": "*", "names": [], "full": False},
    ]


def test_what_is_wrong_with_a_trace_is_told(fake: FakeBroker, run: Run) -> None:
    refused = run("module", "trace", "-t", "requests")
    assert (refused.code, "'requests' is no message type" in refused.err, fake.topics) == (2, True, [])
    fake.answers["module.trace"] = RequestError(EINVAL, "topic_glob is no text")
    for form in ((), ("--summary", "50ms")):
        refused = run("module", "trace", *form)
        assert refused.code == 4 and "topic_glob is no text" in refused.err
    fake.answers["module.trace"] = RequestError(ENOSYS)
    assert run("module", "trace", "--summary", "50ms").err.startswith("error: ")


def test_a_trace_of_a_module_that_is_not_there_says_that_it_waits(fake: FakeBroker, run: Run) -> None:
    fake.answers["module.trace"] = []
    said = "no module 'kv' is loaded here (a similar one is loaded: kvs); waiting for one\n"
    assert run("module", "trace", "kv") == (0, "", said)
    assert run("module", "trace", "kvs", "broker") == (0, "", "")
    assert run("-q", "module", "trace", "kv") == (0, "", "")


def test_trace_prints_seconds_or_differences(fake: FakeBroker, run: Run) -> None:
    fake.answers["module.trace"] = TRACE
    assert run("module", "trace", "-c", "1").out == "1795341601.250000  kvs rx > kvs.commit [330]\n"
    deltas = [line.split()[0] for line in run("module", "trace", "-d", "-c", "4").out.splitlines()]
    assert deltas == ["+0.000000", "+0.000500", "+0.001000", "+0.000600"]


def test_trace_full_prints_payloads_and_error_texts(fake: FakeBroker, run: Run) -> None:
    fake.answers["module.trace"] = [
        entry("rx", 1, "a.b", 1.0, payload={"k": 1}), entry("tx", 2, "a.b", 1.0, errnum=ENOSYS, errstr="no way"),
    ]  # fmt: skip
    assert run("module", "trace", "-f").out == (
        '1.000000  kvs rx > a.b [10]\n{\n  "k": 1\n}\n1.000000  kvs tx < a.b [ENOSYS]\nno way\n'
    )


def test_trace_json_lines_are_the_answers_and_a_latency(fake: FakeBroker, run: Run) -> None:
    fake.answers["module.trace"] = TRACE
    assert run("module", "trace", "--json").lines == TRACE
    timed = run("module", "trace", "--json", "--latency").lines
    assert [round(one["latency_ms"], 3) for one in timed if "latency_ms" in one] == [1.0, 2.1]


def test_trace_summary_is_a_table_by_topic_and_direction(fake: FakeBroker, run: Run) -> None:
    fake.answers["module.trace"] = [*TRACE, OPEN]
    assert run("module", "trace", "--summary", "50ms", "-c", "1").out == (
        "Topic            Dir  Type      Count  Bytes  p50 ms  p99 ms\n"
        "kvs.commit       rx   request       1    330       -       -\n"
        "content.store    tx   request       1    100       -       -\n"
        "content.store    rx   response      1     20       1       1\n"
        "kvs.commit       tx   response      1     72     2.1     2.1\n"
        "heartbeat.pulse  rx   event         1      0       -       -\n"
        "kvs.lookup       tx   response      1      0       -       -\n"
        "\n"
    )


def test_trace_summary_starts_from_zero_after_each_table(fake: FakeBroker, run: Run) -> None:
    fake.answers["module.trace"] = [TRACE[0], OPEN]
    assert [
        len(one["rows"]) for one in run("module", "trace", "--summary", "20ms", "-c", "2", "--json").lines
    ] == [1, 0]


def test_a_summary_is_busiest_first_with_percentiles_of_its_latencies() -> None:
    summary = Summary()
    summary.feed(entry("tx", 2, "rare", 0.0), 5e-3)
    for ms in range(1, 101):
        summary.feed(entry("tx", 2, "busy", 0.0), ms * 1e-3)
    rows = summary.take()
    assert [(row["topic"], row["count"], row["bytes"]) for row in rows] == [
        ("busy", 100, 1000),
        ("rare", 1, 10),
    ]
    assert (rows[0]["p50_ms"], rows[0]["p99_ms"]) == (51.0, 99.0)


def test_latencies_pair_each_response_with_the_oldest_request_of_its_kind() -> None:
    pairs = Latencies()
    feed = [
        ("rx", 1, 0.0),
        ("rx", 1, 1.0),
        ("tx", 1, 5.0),
        ("tx", 2, 3.0),
        ("tx", 2, 7.0),
        ("tx", 2, 8.0),
        ("rx", 2, 9.0),
    ]
    assert [pairs.feed(entry(prefix, kind, "a.b", at)) for prefix, kind, at in feed] == [
        None, None, None, 3.0, 6.0, None, 4.0,
    ]  # fmt: skip
